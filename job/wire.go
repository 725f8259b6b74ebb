package job

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
)

// What the first byte of a message to a keeper asks for.
const (
	askRun    = 'r' // a length and a request follow; its files come along
	askStop   = 's' // end the tree that runs; without one, nothing
	askKill   = 'k' // end it with SIGKILL, now
	askSignal = 'g' // send the program the signal that follows, in four bytes
)

// A request is a program for a keeper to run. Its strings hold any bytes but
// NUL.
type request struct {
	path  string // of the program
	dir   string
	argv  []string
	env   []string
	grace time.Duration  // between SIGTERM and SIGKILL
	stop  syscall.Signal // in place of SIGTERM, while the program runs
	leave []string       // as in Command

	terminal bool // read from it; the files that come along say so to a keeper
}

// message is the request as it goes to a keeper.
func (r request) message() []byte {
	b := []byte{askRun, 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint64(b, uint64(r.grace))
	b = binary.BigEndian.AppendUint32(b, uint32(r.stop))
	b = appendStrings(b, []string{r.path, r.dir})
	b = appendStrings(b, r.argv)
	b = appendStrings(b, r.env)
	b = appendStrings(b, r.leave)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-5))
	return b
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

var errRequest = errors.New("malformed request")

// parseRequest reads what follows the length in a message.
func parseRequest(b []byte) (request, error) {
	const fixed = 8 + 4 // grace and stop
	if len(b) < fixed {
		return request{}, errRequest
	}
	r := request{grace: time.Duration(binary.BigEndian.Uint64(b)), stop: syscall.Signal(binary.BigEndian.Uint32(b[8:]))}
	places, b, err := cutStrings(b[fixed:])
	if err != nil || len(places) != 2 {
		return request{}, errRequest
	}
	r.path, r.dir = places[0], places[1]
	if r.argv, b, err = cutStrings(b); err != nil {
		return request{}, err
	}
	if r.env, b, err = cutStrings(b); err != nil {
		return request{}, err
	}
	if r.leave, b, err = cutStrings(b); err != nil {
		return request{}, err
	}
	if len(b) > 0 {
		return request{}, errRequest
	}
	return r, nil
}

func cutStrings(b []byte) (list []string, rest []byte, err error) {
	n, b, err := cutUint32(b)
	if err != nil || uint64(n)*4 > uint64(len(b)) {
		return nil, nil, errRequest
	}
	for range n {
		var size uint32
		if size, b, err = cutUint32(b); err != nil || uint64(size) > uint64(len(b)) {
			return nil, nil, errRequest
		}
		list, b = append(list, string(b[:size])), b[size:]
	}
	return list, b, nil
}

func cutUint32(b []byte) (uint32, []byte, error) {
	if len(b) < 4 {
		return 0, nil, errRequest
	}
	return binary.BigEndian.Uint32(b), b[4:], nil
}

// What a keeper reports.
const (
	started = 1 + iota // value is the process id
	failed             // value is the errno of what kept the program from starting
	ended              // value is the wait status; nothing of the tree is left but what alive counts, and what stays
	halted             // value is the signal that has stopped the program, which goes on at SIGCONT
	typed              // value is a signal that came to the keeper's group, as from the terminal
)

// A report is an answer of a keeper: one started or failed to each request,
// and one ended after each started. With a terminal there may be any number of
// halted in between, and typed at any time. The keeper ends after one with processes that
// are alive or stay.
type report struct {
	kind  uint32
	value uint32
	alive uint32    // processes that could not be ended
	ended Processes // that were there when the program itself had ended
	stay  Processes // likewise, which go on
}

// A report begins with its kind, value and alive, and how many bytes follow.
const reportSize = 16

func (r report) message() []byte {
	b := make([]byte, 0, reportSize)
	for _, v := range []uint32{r.kind, r.value, r.alive, 0} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	if r.kind != ended {
		return b
	}
	for _, list := range []Processes{r.ended, r.stay} {
		b = binary.BigEndian.AppendUint32(b, uint32(list.Count))
		var first []string
		for _, p := range list.First {
			first = append(first, strconv.Itoa(p.PID)+" "+p.Name)
		}
		b = appendStrings(b, first)
	}
	binary.BigEndian.PutUint32(b[reportSize-4:], uint32(len(b)-reportSize))
	return b
}

// readReport waits for a report.
func readReport(from io.Reader) (report, error) {
	var head [reportSize]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return report{}, err
	}
	at := func(i int) uint32 { return binary.BigEndian.Uint32(head[4*i:]) }
	r := report{kind: at(0), value: at(1), alive: at(2)}
	b := make([]byte, at(3))
	if _, err := io.ReadFull(from, b); err != nil || len(b) == 0 {
		return r, err
	}
	for _, list := range []*Processes{&r.ended, &r.stay} {
		n, rest, err := cutUint32(b)
		if err != nil {
			return r, err
		}
		first, rest, err := cutStrings(rest)
		if err != nil {
			return r, err
		}
		b = rest
		list.Count = int(n)
		for _, text := range first {
			id, name, _ := strings.Cut(text, " ")
			pid, _ := strconv.Atoi(id)
			list.First = append(list.First, Process{pid, name})
		}
	}
	return r, nil
}

// An inbox is the socket of a keeper, from which bytes and files come. It
// blocks the thread, so that nobody else has to be woken first.
type inbox struct {
	socket int
	buf    []byte // read ahead
	files  []int  // that came and were not taken
}

// next waits for the next n bytes.
func (in *inbox) next(n int) ([]byte, error) {
	for len(in.buf) < n {
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	b := in.buf[:n:n]
	in.buf = in.buf[n:]
	return b, nil
}

func (in *inbox) fill() error {
	buf, oob := make([]byte, 64<<10), make([]byte, syscall.CmsgSpace(8*4))
	var n, oobn int
	err := uninterrupted(func() (err error) {
		n, oobn, _, _, err = syscall.Recvmsg(in.socket, buf, oob, syscall.MSG_CMSG_CLOEXEC)
		return err
	})
	if err != nil {
		return os.NewSyscallError("recvmsg", err)
	}
	if n == 0 {
		return errors.New("the other end is gone")
	}
	in.buf = append(in.buf, buf[:n]...)
	messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	for _, m := range messages {
		files, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return fmt.Errorf("control message: %w", err)
		}
		in.files = append(in.files, files...)
	}
	return nil
}

// request waits for the rest of a message that began with askRun, and gives
// it with the files that came along.
func (in *inbox) request() (request, []int, error) {
	b, err := in.next(4)
	if err != nil {
		return request{}, nil, err
	}
	if b, err = in.next(int(binary.BigEndian.Uint32(b))); err != nil {
		return request{}, nil, err
	}
	r, err := parseRequest(b)
	files := in.files
	in.files = nil
	return r, files, err
}

// uninterrupted makes a system call again that a signal interrupts.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}
