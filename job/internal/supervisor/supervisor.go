package supervisor

import (
	"encoding/gob"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// name is the first argument of a supervisor process, by which it knows itself, and
// what ps(1) shows.
const name = "execlogd-supervisor"

// sharesTerminal is the second argument of a supervisor process that shares its
// session and its process group with the program, so that both are in the
// foreground of the terminal if the group is.
const sharesTerminal = "terminal"

// socketFD is the file descriptor at which a supervisor process finds its socket.
const socketFD = 3

// Main does the work of a supervisor process in one, and does not return. In any
// other process it does nothing.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != name {
		return
	}
	// The kernel sends PR_SET_PDEATHSIG to a program when the thread that has
	// started it ends, so that must last as long as the process.
	runtime.LockOSThread()

	if err := serve(len(os.Args) > 1 && os.Args[1] == sharesTerminal); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs one program after the other, as the daemon asks for it. It returns when
// the socket ends, which is when the daemon does, by whatever cause.
func serve(shared bool) error {
	if err := setUp(); err != nil {
		return err
	}
	reports := gob.NewEncoder(os.NewFile(socketFD, "daemon"))
	if shared {
		relayKeySignals(reports)
	}

	in := &fileReader{socket: socketFD}
	orders := gob.NewDecoder(in)
	t := endedTree() // the last that was started
	for {
		var o order
		if err := orders.Decode(&o); err != nil { // the daemon is gone
			t.order(stopTree)
			<-t.done
			return nil
		}

		switch o.Kind {
		case runProgram:
			if started := start(o.Request, in.takeFiles(3), reports, shared); started != nil {
				t = started
			}
		case stopTree, killTree:
			t.order(o.Kind)
		case signalProgram:
			t.signalProgram(o.Signal)
		default:
			return fmt.Errorf("unknown order %d", o.Kind)
		}
	}
}

// setUp makes the process a supervisor process.
func setUp() error {
	// Signals that go to everybody in a terminal or a control group end the
	// daemon, and that ends the supervisor process. They are caught and not
	// ignored, because a program would inherit that.
	catch(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)

	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return err
	}
	return os.Chdir("/") // so that it holds no mount
}

// catch has signals do nothing, if they are not ignored already.
func catch(signals ...os.Signal) { notify(make(chan os.Signal, 1), signals...) }

// notify is signal.Notify for those of the signals that are not ignored.
func notify(c chan<- os.Signal, signals ...os.Signal) {
	for _, s := range signals {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// closeOnExec sees to it that programs inherit no file but their own: neither ours
// nor those that somebody left open for the daemon.
func closeOnExec() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, f := range open {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// flushSignal is a signal that a supervisor process with a terminal sends itself to
// know that all signals before it were reported. It has a greater number than those,
// so that the kernel and the runtime hand it on after them.
const flushSignal = unix.SIGUSR2

// flushTimeout is how long flushSignal is waited for. A program that sends signals to
// its group without end may have it dropped.
const flushTimeout = time.Second

// flushed has an element when flushSignal has come.
var flushed = make(chan struct{}, 1)

// relayKeySignals reports the signals by which a terminal ends what is in its
// foreground, also when it hangs up. The supervisor process is in the group of the
// program, and hears of them for the daemon. It survives all others that a program
// may send to its own group.
func relayKeySignals(reports *gob.Encoder) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, flushSignal)
	notify(signals, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP)
	catch(unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGUSR1, unix.SIGALRM, unix.SIGPIPE)

	go func() {
		for s := range signals {
			if s != flushSignal {
				send(reports, Report{Kind: KeySignal, Value: int(s.(syscall.Signal))})
				continue
			}
			select {
			case flushed <- struct{}{}:
			default:
			}
		}
	}()
}

// flushKeySignals returns when the signals that have come were reported.
func flushKeySignals() {
	select {
	case <-flushed: // a program has sent one to its group
	default:
	}
	timeout := time.After(flushTimeout)
	awaitFlush := func() {
		select {
		case <-flushed:
		case <-timeout:
		}
	}

	// When a signal to the process has come, a thread has taken each one before it.
	pid := os.Getpid()
	if unix.Kill(pid, flushSignal) == nil {
		awaitFlush()
	}

	// That thread may not have handed it on yet, but does so before its next signal.
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return // there are no descriptors left
	}
	for _, thread := range threads {
		if tid, err := strconv.Atoi(thread.Name()); err == nil && unix.Tgkill(pid, tid, flushSignal) == nil {
			awaitFlush()
		}
	}
}

// send sends a report. If the daemon is gone, the stream of orders ends as well.
func send(reports *gob.Encoder, r Report) { _ = reports.Encode(r) }
