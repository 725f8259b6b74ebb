package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are the commands of scripts in addition to testscript's own. NAME is the
// name of a daemon or of a page in the script; HEADER is as in -H 'Host: example.org'.
//
//	start NAME [FLAG...]            run execlogd until it is ready; sets $URL and $PORT
//	example DIR                     copy examples/DIR into the working directory
//	says NAME REGEXP                wait until execlogd has written a line that matches,
//	                                after the one that the last says found
//	signal NAME TERM|INT|HUP|KILL   send a signal
//	signal-until-gone NAME TERM|INT send it again and again until the process has ended
//	ended NAME STATUS               wait for its end with that exit status, or by that
//	                                signal; stderr matches what it wrote
//	exits STATUS PROGRAM [ARG...]   run a program; with STATUS 1 it must write one line
//	unreachable                     wait until nobody listens at $URL
//	get, head [-H HEADER] PATH      request $URL; stdout matches status, headers and body;
//	                                ! expects a status of 400 or above
//	get-unread PATH                 request $URL and read nothing of the answer
//	live [-H HEADER] NAME PATH      connect as a browser that shows PATH; ! expects that
//	                                the connection is refused
//	ours NAME PATH [USE...]         connect as a browser with our client that shows PATH
//	                                and uses these files
//	recv NAME N                     wait for N messages; stdout matches them
//	no-message NAME...              check that no message comes for a while
//	going-away NAME                 wait for the close frame with status 1001
//	save-inplace FILE TEXT          truncate and write, as shells and VS Code do
//	save-atomic FILE TEXT           write a neighbour and rename it
//	slow-copy FROM TO               write in pieces, with pauses longer than the delay
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"start":             command(start, 1, 100),
	"example":           command(example, 1, 1),
	"says":              command(says, 2, 2),
	"signal":            command(signal, 2, 2),
	"signal-until-gone": command(signalUntilGone, 2, 2),
	"ended":             command(ended, 2, 2),
	"exits":             command(exits, 2, 100),
	"unreachable":       command(unreachable, 0, 0),
	"get":               command(get, 1, 3),
	"head":              command(head, 1, 3),
	"get-unread":        command(openUnread, 1, 1),
	"live":              command(live, 2, 4),
	"ours":              command(ours, 2, 100),
	"recv":              command(recv, 2, 2),
	"no-message":        command(noMessage, 1, 100),
	"going-away":        command(goingAway, 1, 1),
	"save-inplace":      command(saveInPlace, 2, 2),
	"save-atomic":       command(saveAtomic, 2, 2),
	"slow-copy":         command(slowCopy, 2, 2),
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		Setup:              setup,
		Cmds:               commands,
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// A scriptState is the daemons and pages of one script.
type scriptState struct {
	t       testing.TB
	daemons map[string]*daemon
	pages   map[string]*liveClient
}

// scriptStateKey is the key of a script's state in testscript's environment.
type scriptStateKey struct{}

func setup(env *testscript.Env) error {
	// Programs that run as another user must be able to read the script's files.
	if err := os.Chmod(filepath.Dir(env.WorkDir), 0o755); err != nil {
		return err
	}
	env.Setenv("PATH", filepath.Dir(execlogd)+":"+env.Getenv("PATH"))
	env.Values[scriptStateKey{}] = &scriptState{
		t:       env.T().(testing.TB),
		daemons: map[string]*daemon{},
		pages:   map[string]*liveClient{},
	}
	return nil
}

// condition implements the conditions of scripts: [root] if programs can be started
// as another user, [userns] if they can be started in a user namespace with limits of
// its own, and [port8000] if that port is free.
func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "userns":
		return exec.Command("unshare", "--user", "--map-root-user", "test", "-w", "/proc/sys/user/max_inotify_watches").Run() == nil, nil
	case "port8000":
		ln, err := net.Listen("tcp", "127.0.0.1:8000")
		if err == nil {
			ln.Close()
		}
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// A refusedError is the error that a command with ! expects. Any other error fails
// the script in either case.
type refusedError string

func (r refusedError) Error() string { return "refused: " + string(r) }

// command makes a command of scripts out of run, with least to most arguments.
func command(run func(*scriptState, *testscript.TestScript, []string) error, least, most int) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, negated bool, args []string) {
		if len(args) < least || len(args) > most {
			ts.Fatalf("got %d arguments; see the list in script_test.go", len(args))
		}
		err := run(ts.Value(scriptStateKey{}).(*scriptState), ts, args)
		_, refused := errors.AsType[refusedError](err)
		switch {
		case negated && refused:
			ts.Logf("%v", err)
		case negated && err == nil:
			ts.Fatalf("not refused")
		default:
			ts.Check(err)
		}
	}
}

func (s *scriptState) daemon(ts *testscript.TestScript, name string) *daemon {
	d := s.daemons[name]
	if d == nil {
		ts.Fatalf("no daemon is called %q", name)
	}
	return d
}

func (s *scriptState) page(ts *testscript.TestScript, name string) *liveClient {
	p := s.pages[name]
	if p == nil {
		ts.Fatalf("no page is called %q", name)
	}
	return p
}

func start(s *scriptState, ts *testscript.TestScript, args []string) error {
	d, err := startDaemon(s.t, ts.MkAbs("."), args[1:]...)
	if err != nil {
		return err
	}
	at, err := url.Parse(d.URL)
	if err != nil {
		return err
	}
	s.daemons[args[0]] = d
	ts.Setenv("URL", d.URL)
	ts.Setenv("PORT", at.Port())
	fmt.Fprint(ts.Stderr(), d.stderr)
	return nil
}

func example(_ *scriptState, ts *testscript.TestScript, args []string) error {
	return os.CopyFS(ts.MkAbs("."), os.DirFS(filepath.Join("..", "examples", args[0])))
}

func says(s *scriptState, ts *testscript.TestScript, args []string) error {
	line, err := regexp.Compile("(?m)" + args[1] + ".*\n")
	if err != nil {
		return err
	}
	d := s.daemon(ts, args[0])
	err = eventually(s.t.Context(), "execlogd to say "+args[1], func() bool {
		found := line.FindStringIndex(d.stderr.String()[d.read:])
		if found != nil {
			d.read += found[1]
		}
		return found != nil
	})
	if err != nil {
		return fmt.Errorf("%w\nstderr: %s", err, d.stderr)
	}
	return nil
}

func signal(s *scriptState, ts *testscript.TestScript, args []string) error {
	return s.daemon(ts, args[0]).signal(args[1])
}

func signalUntilGone(s *scriptState, ts *testscript.TestScript, args []string) error {
	d := s.daemon(ts, args[0])
	return eventually(s.t.Context(), "execlogd to give in", func() bool {
		ts.Check(d.signal(args[1]))
		return d.hasEnded()
	})
}

func ended(s *scriptState, ts *testscript.TestScript, args []string) error {
	d := s.daemon(ts, args[0])
	status, err := d.wait(s.t.Context())
	fmt.Fprint(ts.Stderr(), d.stderr)
	if err == nil && status != args[1] {
		err = fmt.Errorf("ended with %s, want %s", status, args[1])
	}
	return err
}

func exits(s *scriptState, ts *testscript.TestScript, args []string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), maxWait)
	defer cancel()
	program := args[1]
	if program == "execlogd" {
		program = execlogd
	}
	cmd := exec.CommandContext(ctx, program, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = ts.Stdout(), io.MultiWriter(ts.Stderr(), said)
	if err := cmd.Run(); cmd.ProcessState == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	return checkExit(exitStatus(cmd.ProcessState), args[0], said.String())
}

// checkExit compares exit statuses, and checks what the program wrote to stderr.
func checkExit(status, want, said string) error {
	switch {
	case status != want:
		return fmt.Errorf("exit status %s, want %s", status, want)
	case hasDefect(said):
		return errors.New("a stack trace")
	case status == "1" && strings.Count(said, "\n") != 1:
		return errors.New("the reason is not a single line")
	}
	return nil
}

func unreachable(s *scriptState, ts *testscript.TestScript, _ []string) error {
	host := strings.TrimPrefix(ts.Getenv("URL"), "http://")
	return eventually(s.t.Context(), host+" to refuse connections", func() bool {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			return true
		}
		conn.Close()
		return false
	})
}

func get(s *scriptState, ts *testscript.TestScript, args []string) error {
	return ask(s, ts, http.MethodGet, args)
}

func head(s *scriptState, ts *testscript.TestScript, args []string) error {
	return ask(s, ts, http.MethodHead, args)
}

func ask(s *scriptState, ts *testscript.TestScript, method string, args []string) error {
	header, args, err := cutHeader(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), maxWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, ts.Getenv("URL")+args[0], nil)
	if err != nil {
		return err
	}
	req.Header, req.Host = header, header.Get("Host")
	resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return formatResponse(ts.Stdout(), resp)
}

// formatResponse returns status line, sorted headers and body as text.
func formatResponse(w io.Writer, resp *http.Response) error {
	fmt.Fprintln(w, resp.Status)
	if err := resp.Header.Write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if _, err := io.Copy(w, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return refusedError(resp.Status)
	}
	return nil
}

// cutHeader removes -H HEADER from the front of args.
func cutHeader(args []string) (http.Header, []string, error) {
	header := http.Header{}
	if args[0] == "-H" && len(args) > 2 {
		name, value, ok := strings.Cut(args[1], ": ")
		if !ok {
			return nil, nil, fmt.Errorf("header %q: want NAME: VALUE", args[1])
		}
		header.Set(name, value)
		args = args[2:]
	}
	return header, args, nil
}

func openUnread(s *scriptState, ts *testscript.TestScript, args []string) error {
	host := strings.TrimPrefix(ts.Getenv("URL"), "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", args[0], host); err != nil {
		return err
	}
	// After the first byte the answer is being sent.
	_, err = conn.Read(make([]byte, 1))
	return err
}

func live(s *scriptState, ts *testscript.TestScript, args []string) error {
	header, args, err := cutHeader(args)
	if err != nil {
		return err
	}
	p, err := dialStock(s.t.Context(), nil, ts.Getenv("URL"), args[1], header)
	s.pages[args[0]] = p
	return err
}

func ours(s *scriptState, ts *testscript.TestScript, args []string) error {
	p, err := dialOurs(s.t.Context(), ts.Getenv("URL"), args[1], args[2:])
	s.pages[args[0]] = p
	return err
}

func recv(s *scriptState, ts *testscript.TestScript, args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := range n {
		message, err := s.page(ts, args[0]).next(maxWait)
		if err != nil {
			return fmt.Errorf("message %d of %d: %w", i+1, n, err)
		}
		fmt.Fprintln(ts.Stdout(), message)
	}
	return nil
}

func noMessage(s *scriptState, ts *testscript.TestScript, args []string) error {
	time.Sleep(quietTime) // proof that nothing happens takes time
	for _, name := range args {
		if message, ok := s.page(ts, name).pending(); ok {
			return fmt.Errorf("%s got %s", name, message)
		}
	}
	return nil
}

func goingAway(s *scriptState, ts *testscript.TestScript, args []string) error {
	const goingAway = 1001
	status, err := s.page(ts, args[0]).farewell(s.t.Context())
	if err == nil && status != goingAway {
		err = fmt.Errorf("the connection ended with status %d, want %d", status, goingAway)
	}
	return err
}

func saveInPlace(_ *scriptState, ts *testscript.TestScript, args []string) error {
	return os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+"\n"), 0o644)
}

func saveAtomic(_ *scriptState, ts *testscript.TestScript, args []string) error {
	return replace(ts.MkAbs(args[0]), args[1]+"\n")
}

func slowCopy(_ *scriptState, ts *testscript.TestScript, args []string) error {
	const pieces = 4
	content := []byte(ts.ReadFile(args[0]))
	to, err := os.Create(ts.MkAbs(args[1]))
	if err != nil {
		return err
	}
	defer to.Close()
	for i := range pieces {
		if _, err := to.Write(content[i*len(content)/pieces : (i+1)*len(content)/pieces]); err != nil {
			return err
		}
		time.Sleep(quietTime / 6) // the slowness itself; longer than the reload route's delay
	}
	return to.Close()
}
