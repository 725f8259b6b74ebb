package job

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// reapAfter is how long a dead child is left to whoever has started it.
const reapAfter = time.Second

// Reap reaps the zombies that are left to this process, until ctx ends: those of
// processes whose parents have ended, if it is the first process of a container
// (PID 1) or a subreaper, and children that it had when it was executed. Without
// it they stay in the table of processes until it is full. Package os/exec gets
// the exit statuses of the children that it waits for: a child is reaped here only
// if nobody has done so for a second. A program calls it once, whatever its place
// in the tree of processes; it costs nothing until a child dies.
func Reap(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	look := time.After(reapAfter) // for those that were there before
	var before map[processKey]bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-died:
			if look == nil {
				look = time.After(reapAfter)
			}
		case <-look:
			look = nil
			before = reapZombies(before)
			if len(before) > 0 {
				look = time.After(reapAfter)
			}
		}
	}
}

// reapZombies reaps the children that are dead now and were so before, and
// returns the others that are dead.
func reapZombies(before map[processKey]bool) map[processKey]bool {
	dead := make(map[processKey]bool)
	for _, p := range processes() {
		switch {
		case p.parent != os.Getpid() || !p.zombie:
		case before[p.key()]:
			_, _ = syscall.Wait4(p.id, nil, syscall.WNOHANG, nil) // it may have been reaped meanwhile
		default:
			dead[p.key()] = true
		}
	}
	return dead
}
