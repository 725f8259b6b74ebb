package job

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/router"
)

// server returns a Server for a service, which must be valid.
func (jobs *testRunner) server(s Service) *Server {
	jobs.t.Helper()
	s.Name = "server"
	server, err := jobs.Service(s)
	if err != nil {
		jobs.t.Fatal(err)
	}
	return server
}

// freeAddress returns an address at which nobody listens now.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// listening returns a command that writes "up" when it listens.
func listening(address string) []string {
	host, port, _ := net.SplitHostPort(address)
	return []string{"python3", "-c", `
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen()
print("up", flush=True)
while True: s.accept()`, host, port}
}

// notify is the beginning of a script that sends READY=1.
const notify = `python3 -c '
import os, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"STATUS=x\nREADY=1", os.environ["NOTIFY_SOCKET"])
'; `

// A run of a service returns when the service is ready, and each run ends the service
// of the run before.
func TestServiceIsReady(t *testing.T) {
	address := freeAddress(t)
	up := listening(address)
	tests := []struct {
		name string
		s    Service
		argv []string
	}{
		{"when it listens", Service{Address: address}, up},
		{"when it says so", Service{Notify: true}, []string{"sh", "-c", "echo up; " + notify + "sleep 1000"}},
		{"when it listens and says so", Service{Address: address, Notify: true}, append([]string{"sh", "-c", notify + `exec "$@"`, "sh"}, up...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			jobs, w := newTestRunner(t), newLivenessPipe(t)
			tt.s.Argv = append([]string{"sh", "-c", w.script(`exec "$@"`), "sh"}, tt.argv...)
			s := jobs.server(tt.s)
			for range 3 {
				if err := s.Run(t.Context(), jobs.events()); err != nil {
					t.Fatal(err)
				}
				select {
				case got := <-jobs.lines:
					if got != "up" {
						t.Errorf("it said %q", got)
					}
				case <-time.After(10 * time.Second):
					t.Error("it was ready before it was up")
				}
			}
			if got := history(jobs.Log()); got != "1 2 3…" {
				t.Errorf("the log has %q, want two that are over", got)
			}
			s.Stop()
			w.expectNobody(0)
			for _, r := range jobs.Log().Runs() {
				if !r.Ready || r.Outcome != router.Restarted && r.Outcome != router.Stopped {
					t.Errorf("got %+v, want one that was ready, and stopped", r)
				}
			}
			s.Stop()
		})
	}
}

func TestServiceFails(t *testing.T) {
	address := freeAddress(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		s    Service
		want string
	}{
		{"it does not start", Service{Command: Command{Argv: []string{"./none"}}}, "is not there"},
		{"it ends", Service{Notify: true, Command: Command{Shell: "exit 3"}}, "exit status 3 before it was ready"},
		{"it ends as if all were well", Service{Address: address, Command: Command{Shell: "exit 0"}}, "ended before it was ready"},
		{"it is killed", Service{Address: address, Command: Command{Shell: "kill -SEGV $$"}}, "killed by SIGSEGV before it was ready"},
		{"it never listens", Service{Startup: 50 * time.Millisecond, Address: address, Command: Command{Shell: "sleep 1000"}}, "not ready after 50ms: nothing listens on " + address},
		{"it never says so", Service{Startup: 50 * time.Millisecond, Notify: true, Command: Command{Shell: "sleep 1000"}}, "not ready after 50ms: it sent no READY=1"},
		{"its port is taken", Service{Address: taken.Addr().String(), Command: Command{Shell: "sleep 1000"}}, "another program listens on " + taken.Addr().String() + ": stop that, or choose another port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			jobs := newTestRunner(t)
			err := jobs.server(tt.s).Run(t.Context(), jobs.events())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if got := history(jobs.Log()); got != "1" {
				t.Errorf("the log has %q, want one that is over", got)
			}
		})
	}
}

// A run that is cancelled before the service is ready leaves nothing.
func TestServiceIsCancelled(t *testing.T) {
	jobs, w := newTestRunner(t), newLivenessPipe(t)
	s := jobs.server(Service{Notify: true, Command: Command{Shell: w.script("echo up; sleep 1000")}})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("a change came")
	go func() {
		jobs.expect("up")
		cancel(why)
	}()
	if err := s.Run(ctx, jobs.events()); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	w.expectNobody(0)
}

// A service that is ready outlives the context of its run. Close ends it.
func TestServiceOutlivesItsRun(t *testing.T) {
	jobs, w := newTestRunner(t), newLivenessPipe(t)
	died := make(chan error, 1)
	s := jobs.server(Service{Notify: true, Died: func(err error) { died <- err }, Command: Command{Shell: w.script(notify + "echo up; sleep 1000")}})
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Run(ctx, jobs.events()); err != nil {
		t.Fatal(err)
	}
	cancel()
	jobs.expect("up")
	if got := history(jobs.Log()); got != "1…" {
		t.Errorf("the log has %q, want one that runs", got)
	}
	if err := jobs.Close(); err != nil {
		t.Error(err)
	}
	w.expectNobody(0)
	select {
	case err := <-died:
		t.Errorf("a service that was stopped has died: %v", err)
	default:
	}
}

// Died is told when a service ends that was ready, whatever its exit status, and the
// next run starts it again.
func TestServiceDies(t *testing.T) {
	for signal, want := range map[syscall.Signal]string{
		syscall.SIGKILL: "killed by SIGKILL, perhaps because memory ran out",
		syscall.SIGUSR1: "ended by itself, with exit status 0",
	} {
		jobs := newTestRunner(t)
		died := make(chan error, 1)
		s := jobs.server(Service{
			Died:    func(err error) { died <- err },
			Command: Command{Argv: []string{"sh", "-c", `trap 'exit 0' USR1; echo up; while :; do sleep 0.01; done`}},
		})
		for range 2 {
			if err := s.Run(t.Context(), jobs.events()); err != nil {
				t.Fatal(err)
			}
			jobs.expect("up")
			if err := syscall.Kill(jobs.lastRun().PID, signal); err != nil {
				t.Fatal(err)
			}
			var err error
			select {
			case err = <-died:
			case <-time.After(20 * time.Second):
				t.Fatal("Died is not told")
			}
			if e, ok := errors.AsType[*Error](err); !ok || !e.Run.Died() || e.Run.Err.Error() != want {
				t.Errorf("it died with %v, want %s", err, want)
			}
		}
	}
}

// The notify socket is closed to other users, and nothing is left of it.
func TestNotifySocket(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	jobs := newTestRunner(t)
	s := jobs.server(Service{Notify: true, Command: Command{Shell: notify + `stat -c %a "${NOTIFY_SOCKET%/*}"; sleep 1000`}})
	if err := s.Run(t.Context(), jobs.events()); err != nil {
		t.Fatal(err)
	}
	jobs.expect("700")
	s.Stop()
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// Stop does not wait for a service to be ready.
func TestStopWhileAServiceStarts(t *testing.T) {
	jobs, w := newTestRunner(t), newLivenessPipe(t)
	s := jobs.server(Service{Notify: true, Startup: -1, Command: Command{Shell: w.script("echo up; sleep 1000")}})
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), jobs.events()) }()
	jobs.expect("up")
	s.Stop()
	w.expectNobody(0)
	if err := <-ended; !errors.Is(err, errStop) {
		t.Errorf("Run: %v", err)
	}
	if r := jobs.lastRun(); r.Outcome != router.Stopped || r.Err != errStop {
		t.Errorf("got %+v", r)
	}
}

func TestServiceErrors(t *testing.T) {
	jobs := newTestRunner(t)
	for _, tt := range []struct {
		s    Service
		want string
	}{
		{Service{Command: Command{Name: "s"}}, `route "s": there is no command: name a program, or write a shell script`},
		{Service{Command: Command{Name: "s", Shell: "true", Leave: []string{"x"}}}, `route "s": leave is for commands that end: nothing of a service stays when it is started again`},
		{Service{Address: "8080", Command: Command{Name: "s", Shell: "true"}}, `route "s": address "8080": want a host and a port, as in 127.0.0.1:8080: address 8080: missing port in address`},
	} {
		if _, err := jobs.Service(tt.s); err == nil || err.Error() != tt.want {
			t.Errorf("got %v\nwant %s", err, tt.want)
		}
	}
}
