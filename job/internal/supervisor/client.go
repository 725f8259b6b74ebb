package supervisor

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Client is the daemon's end of a supervisor process. Wait may be called beside the
// other methods, which must be called one at a time.
type Client struct {
	conn    *net.UnixConn
	cmd     *exec.Cmd
	writer  *fileWriter
	orders  *gob.Encoder // writes to writer
	reports *gob.Decoder
}

// Start starts a supervisor process. The main function of this program must begin
// with [Main]. With a terminal the process has a group of its own in the session of
// this one, and each program is in that; without it, each program has its own
// session.
func Start(withTerminal bool) (*Client, error) {
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("start supervisor process: %w", err)
	}
	defer theirs.Close()

	// The link is good for the program that runs, also after an upgrade has
	// replaced its file.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{name}
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2") // one thread for the socket, one for the tree
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if withTerminal {
		cmd.Args = append(cmd.Args, sharesTerminal)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start supervisor process: %w", errors.Join(err, conn.Close()))
	}
	return newClient(conn, cmd), nil
}

func newClient(conn *net.UnixConn, cmd *exec.Cmd) *Client {
	writer := &fileWriter{conn: conn}
	return &Client{conn: conn, cmd: cmd, writer: writer, orders: gob.NewEncoder(writer), reports: gob.NewDecoder(conn)}
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}

	ours, theirs := os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "daemon")
	defer ours.Close()

	// FileConn duplicates the descriptor.
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}

	return conn.(*net.UnixConn), theirs, nil
}

// PID is the process id of the supervisor process. With a terminal it is also the
// process group of the programs.
func (c *Client) PID() int { return c.cmd.Process.Pid }

// Run asks for a program, whose standard input, output and error are the files. The
// files are set to blocking, as programs expect.
func (c *Client) Run(r Request, stdin, stdout, stderr *os.File) error {
	c.writer.files = []int{int(stdin.Fd()), int(stdout.Fd()), int(stderr.Fd())}
	return c.orders.Encode(order{Kind: runProgram, Request: r})
}

// Stop asks for the end of what runs, without a grace if it is to be killed. Where the
// supervisor process is gone, that has ended already.
func (c *Client) Stop(kill bool) {
	o := order{Kind: stopTree}
	if kill {
		o.Kind = killTree
	}
	_ = c.orders.Encode(o)
}

// Signal asks to send the program itself a signal.
func (c *Client) Signal(s syscall.Signal) error {
	return c.orders.Encode(order{Kind: signalProgram, Signal: s})
}

// Wait waits for a report that is Started, Failed or Ended. It calls note for the
// others. It fails when the supervisor process has ended.
func (c *Client) Wait(note func(Report)) (Report, error) {
	for {
		var r Report
		err := c.reports.Decode(&r)
		if err != nil || r.Kind != Paused && r.Kind != KeySignal {
			return r, err
		}
		note(r)
	}
}

// Close ends the supervisor process, and what it runs, and waits for it.
func (c *Client) Close() {
	c.conn.Close()
	_ = c.cmd.Wait() // how it has ended makes no difference
}
