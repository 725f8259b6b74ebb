package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A message, in either direction, is a byte that says its kind, the length of its
// body in four bytes, and the body: fields with a NUL after each. No field holds a
// NUL, as the kernel takes none in an argument, a variable or a path.
const headerSize = 5

// The kinds of messages to a supervisor process. No answer follows but the reports
// of a request.
const (
	runProgram    = 'r' // a Request; three files come along
	stopTree      = 's' // end the tree that runs, if there is one
	killTree      = 'k' // end it with SIGKILL, now
	signalProgram = 'g' // send the program itself the signal that the field has
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
type Kind byte

// There is one Started or Failed for each request, and one Ended for each that has
// started. With a terminal there may be Paused reports in between, and KeySignal
// reports at any time.
const (
	Started   Kind = 'S' // Value is the process id
	Failed    Kind = 'F' // Value is the error number of what kept the program from starting
	Ended     Kind = 'E' // Value is the wait status; the other fields say what has become of the tree
	Paused    Kind = 'P' // Value is the signal that has stopped the program, which goes on at SIGCONT
	KeySignal Kind = 'K' // Value is a signal that came to the process group, as from the terminal
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

// encode makes a message of fields.
func encode(kind byte, fields ...string) []byte {
	size := len(fields)
	for _, f := range fields {
		size += len(f)
	}
	b := make([]byte, headerSize, headerSize+size)
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(size))
	for _, f := range fields {
		b = append(append(b, f...), 0)
	}
	return b
}

// decodeHeader returns the kind of a message, and the length of its body.
func decodeHeader(b []byte) (kind byte, size int) {
	return b[0], int(binary.BigEndian.Uint32(b[1:headerSize]))
}

var errMalformed = errors.New("malformed message")

// A fieldReader takes the fields of a body one after the other. It remembers that
// one was missing or wrong.
type fieldReader struct {
	rest []string
	err  error
}

func readFields(body []byte) *fieldReader {
	text, ok := strings.CutSuffix(string(body), "\x00")
	switch {
	case len(body) == 0:
		return &fieldReader{}
	case !ok:
		return &fieldReader{err: errMalformed}
	}
	return &fieldReader{rest: strings.Split(text, "\x00")}
}

func (r *fieldReader) text() string {
	if len(r.rest) == 0 {
		r.err = errMalformed
		return ""
	}
	field := r.rest[0]
	r.rest = r.rest[1:]
	return field
}

func (r *fieldReader) number() int {
	n, err := strconv.Atoi(r.text())
	if err != nil {
		r.err = errMalformed
	}
	return n
}

// list reads the number of fields that follow, and those.
func (r *fieldReader) list() []string {
	n := r.number()
	if n < 0 || n > len(r.rest) {
		r.err = errMalformed
		return nil
	}
	list := r.rest[:n:n]
	r.rest = r.rest[n:]
	return list
}

// end returns the error, if there was one or something is left over.
func (r *fieldReader) end() error {
	if len(r.rest) > 0 {
		r.err = errMalformed
	}
	return r.err
}

func (r Request) encode() []byte {
	fields := []string{r.Path, r.Dir, strconv.FormatInt(int64(r.Grace), 10), strconv.Itoa(int(r.StopSignal))}
	for _, list := range [][]string{r.Argv, r.Env, r.Leave} {
		fields = append(append(fields, strconv.Itoa(len(list))), list...)
	}
	return encode(runProgram, fields...)
}

func decodeRequest(body []byte) (Request, error) {
	fields := readFields(body)
	r := Request{
		Path:       fields.text(),
		Dir:        fields.text(),
		Grace:      time.Duration(fields.number()),
		StopSignal: syscall.Signal(fields.number()),
		Argv:       fields.list(),
		Env:        fields.list(),
		Leave:      fields.list(),
	}
	return r, fields.end()
}

func (r Report) encode() []byte {
	fields := []string{strconv.Itoa(r.Value), strconv.Itoa(r.Unkillable)}
	for _, list := range [][]Process{r.Killed, r.Left} {
		fields = append(fields, strconv.Itoa(2*len(list)))
		for _, p := range list {
			fields = append(fields, strconv.Itoa(p.PID), p.Name)
		}
	}
	return encode(byte(r.Kind), fields...)
}

// readReport waits for a report. Of the processes it has the id and the name.
func readReport(from io.Reader) (Report, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return Report{}, err
	}
	kind, size := decodeHeader(header[:])
	body := make([]byte, size)
	if _, err := io.ReadFull(from, body); err != nil {
		return Report{}, err
	}

	fields := readFields(body)
	r := Report{Kind: Kind(kind), Value: fields.number(), Unkillable: fields.number()}
	for _, list := range []*[]Process{&r.Killed, &r.Left} {
		for of := (&fieldReader{rest: fields.list()}); len(of.rest) > 0; {
			*list = append(*list, Process{PID: of.number(), Name: of.text()})
		}
	}
	return r, fields.end()
}

// An inbox is the socket of a supervisor process. It blocks the thread that reads,
// so that no other has to be woken first.
type inbox struct {
	socket int
	ahead  []byte // read and not taken
	files  []int  // received and not taken
}

// next waits for the next message. It fails when the daemon is gone.
func (in *inbox) next() (kind byte, body []byte, err error) {
	header, err := in.take(headerSize)
	if err != nil {
		return 0, nil, err
	}
	kind, size := decodeHeader(header)
	body, err = in.take(size)
	return kind, body, err
}

func (in *inbox) take(n int) ([]byte, error) {
	for len(in.ahead) < n {
		if err := in.receive(); err != nil {
			return nil, err
		}
	}
	b := in.ahead[:n:n]
	in.ahead = in.ahead[n:]
	return b, nil
}

// takeFiles returns the files that came with the last messages.
func (in *inbox) takeFiles() []int {
	files := in.files
	in.files = nil
	return files
}

func (in *inbox) receive() error {
	const maxFiles = 8
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(maxFiles*4))
	var n, oobn int
	err := retryInterrupted(func() (err error) {
		n, oobn, _, _, err = unix.Recvmsg(in.socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	switch {
	case err != nil:
		return os.NewSyscallError("recvmsg", err)
	case n == 0:
		return io.EOF
	}
	in.ahead = append(in.ahead, buf[:n]...)

	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	for _, m := range messages {
		files, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fmt.Errorf("control message: %w", err)
		}
		in.files = append(in.files, files...)
	}
	return nil
}

// retryInterrupted makes a system call again as long as signals interrupt it.
func retryInterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
