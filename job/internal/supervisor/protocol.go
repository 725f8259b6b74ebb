package supervisor

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An order is a message to a supervisor process. Both directions are streams of
// package gob, which takes strings of any bytes.
type order struct {
	Kind    orderKind
	Request Request        // for runProgram
	Signal  syscall.Signal // for signalProgram
}

type orderKind int

const (
	runProgram    orderKind = 1 + iota // three files come along; reports follow
	stopTree                           // end the tree that is running, if there is one
	killTree                           // end it with SIGKILL, now
	signalProgram                      // send a signal to the program itself
)

// A Request is a program to run.
type Request struct {
	Path string // of the program, absolute
	Dir  string
	Argv []string
	Env  []string

	// StopSignal asks the program to end, and SIGKILL follows after Grace.
	StopSignal syscall.Signal
	Grace      time.Duration

	// Leave are patterns for the names of processes that the program may leave
	// behind when it ends by itself.
	Leave []string
}

// A Kind says what a Report is about.
type Kind int

// There is one Started or Failed for each request, and one Ended for each that has
// started. With a terminal there may be Paused reports in between, and KeySignal
// reports at any time.
const (
	Started   Kind = 1 + iota // Value is the process id
	Failed                    // Value is the error number of what kept the program from starting
	Ended                     // Value is the wait status; the other fields say what has become of the tree
	Paused                    // Value is the signal that has stopped the program, which goes on at SIGCONT
	KeySignal                 // Value is a signal that came to the process group, as from the terminal
)

// A Report is what a supervisor process says of its program.
type Report struct {
	Kind  Kind
	Value int

	// Of the processes that the program left behind when it ended by itself,
	// Killed were ended and Left go on. Unkillable is how many could not be
	// ended. The supervisor process ends after a report with processes that are
	// there.
	Killed, Left []Process
	Unkillable   int
}

// A fileWriter writes to a socket. Its files go along with the next write.
type fileWriter struct {
	conn  *net.UnixConn
	files []int
}

func (w *fileWriter) Write(b []byte) (n int, err error) {
	if len(w.files) > 0 {
		n, _, err = w.conn.WriteMsgUnix(b, unix.UnixRights(w.files...), nil)
		w.files = nil
	}

	// The kernel may take less than all of a message; the files went with its first byte.
	if err == nil && n < len(b) {
		var rest int
		rest, err = w.conn.Write(b[n:])
		n += rest
	}
	return n, err
}

// A fileReader reads from a socket, and keeps the files that come along. It blocks its
// thread, so that no other has to be woken first.
type fileReader struct {
	socket int
	files  []int // received and not taken
}

func (r *fileReader) Read(b []byte) (n int, err error) {
	const maxFiles = 8
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	var oobn int
	err = retryInterrupted(func() (err error) {
		n, oobn, _, _, err = unix.Recvmsg(r.socket, b, oob, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	switch {
	case err != nil:
		return 0, os.NewSyscallError("recvmsg", err)
	case n == 0:
		return 0, io.EOF
	}

	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, fmt.Errorf("control message: %w", err)
	}
	for _, m := range messages {
		files, err := unix.ParseUnixRights(&m)
		if err != nil {
			return n, fmt.Errorf("control message: %w", err)
		}
		r.files = append(r.files, files...)
	}
	return n, nil
}

// takeFiles returns the next n files, or as many as there are.
func (r *fileReader) takeFiles(n int) []int {
	n = min(n, len(r.files))
	files := r.files[:n:n]
	r.files = r.files[n:]
	return files
}

// retryInterrupted makes a system call again as long as signals interrupt it.
func retryInterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
