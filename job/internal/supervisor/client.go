package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Client is the daemon's end of a supervisor process. Stop, Kill and Signal may be
// called by any goroutine; the other methods by one at a time.
type Client struct {
	conn *net.UnixConn
	cmd  *exec.Cmd
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
	return &Client{conn, cmd}, nil
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "daemon")
	defer ours.Close()
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
	rights := unix.UnixRights(int(stdin.Fd()), int(stdout.Fd()), int(stderr.Fd()))
	message := r.encode()
	n, _, err := c.conn.WriteMsgUnix(message, rights, nil)
	if err == nil && n < len(message) {
		_, err = c.conn.Write(message[n:])
	}
	return err
}

// Stop asks for the end of what runs. Where the supervisor process is gone, that has
// ended already.
func (c *Client) Stop() { _, _ = c.conn.Write(encode(stopTree)) }

// Kill is Stop without a grace.
func (c *Client) Kill() { _, _ = c.conn.Write(encode(killTree)) }

// Signal asks to send the program itself a signal.
func (c *Client) Signal(s syscall.Signal) error {
	_, err := c.conn.Write(encode(signalProgram, strconv.Itoa(int(s))))
	return err
}

// Wait waits for a report that is Started, Failed or Ended. It calls note for the
// others. It fails when the supervisor process has ended.
func (c *Client) Wait(note func(Report)) (Report, error) {
	for {
		r, err := readReport(c.conn)
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
