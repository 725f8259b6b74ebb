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

// The commands that scripts have beside testscript's own. NAME is what a
// script calls a daemon or a page; HEADER is as in -H 'Host: example.org'.
//
//	start NAME [FLAG...]            run execlogd until it is ready; sets $URL and $PORT
//	example DIR                     fill the working directory with that of examples/
//	says NAME REGEXP                wait until execlogd has written a line that matches,
//	                                after the one that the last says has found
//	signal NAME TERM|INT|HUP|KILL   send a signal
//	insist NAME TERM|INT            send it until the process is gone
//	ended NAME STATUS               wait for its end with that status, or by that signal;
//	                                what it wrote is there for stderr
//	exits STATUS PROGRAM [ARG...]   run a program to its end; 1 also promises a single line
//	unreachable                     wait until nobody listens at $URL
//	get, head [-H HEADER] PATH      ask $URL; status, headers and body are there for
//	                                stdout; ! wants a status of 400 or above
//	stall PATH                      ask $URL and read nothing of the answer
//	live [-H HEADER] NAME PATH      connect as a browser that shows PATH; ! wants a refusal
//	ours NAME PATH [USE...]         connect as a browser with our client, that shows PATH
//	                                and uses these files
//	recv NAME N                     wait for N messages, which are there for stdout
//	quiet NAME...                   prove that no message is there, nor comes
//	goodbye NAME                    wait for the close frame with status 1001
//	save-inplace FILE TEXT          truncate and write, as shells and VS Code do
//	save-atomic FILE TEXT           write a neighbour and rename it
//	slow-copy FROM TO               write in pieces, with pauses longer than the delay
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"start":        command(start, 1, 100),
	"example":      command(example, 1, 1),
	"says":         command(says, 2, 2),
	"signal":       command(signal, 2, 2),
	"insist":       command(insist, 2, 2),
	"ended":        command(ended, 2, 2),
	"exits":        command(exits, 2, 100),
	"unreachable":  command(unreachable, 0, 0),
	"get":          command(get, 1, 3),
	"head":         command(head, 1, 3),
	"stall":        command(stall, 1, 1),
	"live":         command(live, 2, 4),
	"ours":         command(ours, 2, 100),
	"recv":         command(recv, 2, 2),
	"quiet":        command(quiet, 1, 100),
	"goodbye":      command(goodbye, 1, 1),
	"save-inplace": command(saveInPlace, 2, 2),
	"save-atomic":  command(saveAtomic, 2, 2),
	"slow-copy":    command(slowCopy, 2, 2),
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		Setup:              setup,
		Cmds:               commands,
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// A scene is what one script has running.
type scene struct {
	t       testing.TB
	daemons map[string]*daemon
	pages   map[string]*page
}

// sceneKey is where testscript keeps a script's scene.
type sceneKey struct{}

func setup(env *testscript.Env) error {
	// Some programs of a script run as another user and must find its files.
	if err := os.Chmod(filepath.Dir(env.WorkDir), 0o755); err != nil {
		return err
	}
	env.Setenv("PATH", filepath.Dir(execlogd)+":"+env.Getenv("PATH"))
	env.Values[sceneKey{}] = &scene{
		t:       env.T().(testing.TB),
		daemons: map[string]*daemon{},
		pages:   map[string]*page{},
	}
	return nil
}

// condition knows [root] and [userns], which say that programs can be started
// as somebody else, or in a user namespace with limits of its own, and
// [port8000], which says that nobody has it.
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

// A refusal is the answer that a command with ! wants. Any other error fails
// the script with or without it.
type refusal string

func (r refusal) Error() string { return "refused: " + string(r) }

// command makes run a command of the scripts that takes least to most
// arguments.
func command(run func(*scene, *testscript.TestScript, []string) error, least, most int) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, negated bool, args []string) {
		if len(args) < least || len(args) > most {
			ts.Fatalf("got %d arguments; see the list in script_test.go", len(args))
		}
		err := run(ts.Value(sceneKey{}).(*scene), ts, args)
		_, refused := errors.AsType[refusal](err)
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

func (s *scene) daemon(ts *testscript.TestScript, name string) *daemon {
	d := s.daemons[name]
	if d == nil {
		ts.Fatalf("no daemon is called %q", name)
	}
	return d
}

func (s *scene) page(ts *testscript.TestScript, name string) *page {
	p := s.pages[name]
	if p == nil {
		ts.Fatalf("no page is called %q", name)
	}
	return p
}

func start(s *scene, ts *testscript.TestScript, args []string) error {
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

func example(_ *scene, ts *testscript.TestScript, args []string) error {
	return os.CopyFS(ts.MkAbs("."), os.DirFS(filepath.Join("..", "examples", args[0])))
}

func says(s *scene, ts *testscript.TestScript, args []string) error {
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

func signal(s *scene, ts *testscript.TestScript, args []string) error {
	return s.daemon(ts, args[0]).signal(args[1])
}

func insist(s *scene, ts *testscript.TestScript, args []string) error {
	d := s.daemon(ts, args[0])
	return eventually(s.t.Context(), "execlogd to give in", func() bool {
		ts.Check(d.signal(args[1]))
		return d.hasEnded()
	})
}

func ended(s *scene, ts *testscript.TestScript, args []string) error {
	d := s.daemon(ts, args[0])
	status, err := d.wait(s.t.Context())
	fmt.Fprint(ts.Stderr(), d.stderr)
	if err == nil && status != args[1] {
		err = fmt.Errorf("ended with %s, want %s", status, args[1])
	}
	return err
}

func exits(s *scene, ts *testscript.TestScript, args []string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
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
	return judge(exitStatus(cmd.ProcessState), args[0], said.String())
}

// judge compares exit statuses and looks at what the program said on stderr.
func judge(status, want, said string) error {
	switch {
	case status != want:
		return fmt.Errorf("exit status %s, want %s", status, want)
	case defects.MatchString(said):
		return errors.New("a stack trace")
	case status == "1" && strings.Count(said, "\n") != 1:
		return errors.New("the reason is not a single line")
	}
	return nil
}

func unreachable(s *scene, ts *testscript.TestScript, _ []string) error {
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

func get(s *scene, ts *testscript.TestScript, args []string) error {
	return ask(s, ts, http.MethodGet, args)
}

func head(s *scene, ts *testscript.TestScript, args []string) error {
	return ask(s, ts, http.MethodHead, args)
}

func ask(s *scene, ts *testscript.TestScript, method string, args []string) error {
	header, args, err := cutHeader(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
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
	return show(ts.Stdout(), resp)
}

// show writes resp in the order of the wire, the headers sorted.
func show(w io.Writer, resp *http.Response) error {
	fmt.Fprintln(w, resp.Status)
	if err := resp.Header.Write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if _, err := io.Copy(w, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return refusal(resp.Status)
	}
	return nil
}

// cutHeader takes -H HEADER from the front of args.
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

func stall(s *scene, ts *testscript.TestScript, args []string) error {
	host := strings.TrimPrefix(ts.Getenv("URL"), "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", args[0], host); err != nil {
		return err
	}
	// The first byte says that the answer is on its way.
	_, err = conn.Read(make([]byte, 1))
	return err
}

func live(s *scene, ts *testscript.TestScript, args []string) error {
	header, args, err := cutHeader(args)
	if err != nil {
		return err
	}
	p, err := openPage(s.t.Context(), nil, ts.Getenv("URL"), args[1], header)
	s.pages[args[0]] = p
	return err
}

func ours(s *scene, ts *testscript.TestScript, args []string) error {
	p, err := openOurs(s.t.Context(), ts.Getenv("URL"), args[1], args[2:])
	s.pages[args[0]] = p
	return err
}

func recv(s *scene, ts *testscript.TestScript, args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := range n {
		message, err := s.page(ts, args[0]).next(patience)
		if err != nil {
			return fmt.Errorf("message %d of %d: %w", i+1, n, err)
		}
		fmt.Fprintln(ts.Stdout(), message)
	}
	return nil
}

func quiet(s *scene, ts *testscript.TestScript, args []string) error {
	time.Sleep(calm) // proof that nothing happens takes time
	for _, name := range args {
		if message, ok := s.page(ts, name).pending(); ok {
			return fmt.Errorf("%s got %s", name, message)
		}
	}
	return nil
}

func goodbye(s *scene, ts *testscript.TestScript, args []string) error {
	const goingAway = 1001
	status, err := s.page(ts, args[0]).farewell(s.t.Context())
	if err == nil && status != goingAway {
		err = fmt.Errorf("the connection ended with status %d, want %d", status, goingAway)
	}
	return err
}

func saveInPlace(_ *scene, ts *testscript.TestScript, args []string) error {
	return os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+"\n"), 0o644)
}

func saveAtomic(_ *scene, ts *testscript.TestScript, args []string) error {
	return replace(ts.MkAbs(args[0]), args[1]+"\n")
}

func slowCopy(_ *scene, ts *testscript.TestScript, args []string) error {
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
		time.Sleep(calm / 6) // the slowness itself; longer than the reload route's delay
	}
	return to.Close()
}
