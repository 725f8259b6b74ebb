package supervisor

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// reapAfter is how long a dead child is left to whoever has started it.
const reapAfter = time.Second

// Reap reaps the children of this process that nobody waits for, until ctx ends.
// A child is reaped when it has been dead for a second.
func Reap(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)

	due := time.After(reapAfter) // for those that were there before
	var zombies map[processID]bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-died:
			if due == nil {
				due = time.After(reapAfter)
			}
		case <-due:
			due = nil
			zombies = reapZombies(zombies)
			if len(zombies) > 0 {
				due = time.After(reapAfter)
			}
		}
	}
}

// reapZombies reaps the children that are dead and were dead before, and returns
// the others that are dead.
func reapZombies(before map[processID]bool) map[processID]bool {
	zombies := make(map[processID]bool)
	for _, p := range Processes() {
		switch {
		case p.Parent != os.Getpid() || !p.Zombie:
		case before[p.id()]:
			_, _ = unix.Wait4(p.PID, nil, unix.WNOHANG, nil) // it may have been reaped meanwhile
		default:
			zombies[p.id()] = true
		}
	}
	return zombies
}
