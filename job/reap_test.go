package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/job/internal/supervisor"
)

// first is the first process of a PID namespace, which becomes the parent of every
// orphan. It fails if a zombie stays or an exit status is wrong.
func first() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("process %d, want 1", os.Getpid())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reaping sync.WaitGroup
	reaping.Go(func() { Reap(ctx) })
	defer reaping.Wait()
	defer cancel()
	r, err := New(Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	j, err := r.Command(Command{Name: "test", Shell: "exit 42", Dir: "/"})
	if err != nil {
		return err
	}

	// Orphans hold the pipe open as long as they live.
	alive, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	for range 20 {
		parent := exec.Command("sh", "-c", "(sleep 0.1; exit 3) & exit 7")
		parent.Stdout = hold
		if err, ok := errors.AsType[*exec.ExitError](parent.Run()); !ok || err.ExitCode() != 7 {
			return fmt.Errorf("the parent of an orphan: %v, want exit status 7", err)
		}
		if err, ok := errors.AsType[*Error](j.Run(ctx, nil)); !ok || err.Run.Exit != 42 {
			return fmt.Errorf("a job: %v, want exit status 42", err)
		}
	}
	slow := exec.Command("sh", "-c", "sleep 2.5; exit 5")
	if err := slow.Start(); err != nil {
		return err
	}
	hold.Close()
	if _, err := io.Copy(io.Discard, alive); err != nil {
		return err
	}
	if err, ok := errors.AsType[*exec.ExitError](slow.Wait()); !ok || err.ExitCode() != 5 {
		return fmt.Errorf("a slow child: %v, want exit status 5", err)
	}
	isZombie := func(p supervisor.Process) bool { return p.Zombie }
	for end := time.Now().Add(time.Minute); slices.ContainsFunc(supervisor.Processes(), isZombie); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("zombies stay: %v", slices.DeleteFunc(supervisor.Processes(), func(p supervisor.Process) bool { return !p.Zombie }))
		}
	}
	return nil
}

// In a PID namespace, as in a container, nobody else reaps orphans.
func TestFirstProcessReapsOrphans(t *testing.T) {
	namespace := []string{"--pid", "--fork", "--mount-proc"}
	if os.Getuid() != 0 {
		namespace = append(namespace, "--user", "--map-root-user")
	}
	if out, err := exec.Command("unshare", append(namespace, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no PID namespace can be made: %v: %s", err, out)
	}
	cmd := exec.Command("unshare", append(namespace, "--kill-child", os.Args[0])...)
	cmd.Env = append(os.Environ(), "JOB_TEST=first")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, strings.TrimSpace(string(out)))
	}
}
