package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// queueConfig is the configuration of a machine with a queue. The options are for the route.
func queueConfig(url, options string) string {
	if !strings.Contains(options, "ack_wait") {
		options += "\nack_wait = \"1s\""
	}
	return fmt.Sprintf(`
[server]
port = 0

[bus]
url = %q

[[route]]
name = "thumbs"
root = "pictures"
wait = true
match = "*.txt"
per = "file"
queue = "thumbs"
%s
`, url, options)
}

// queueDir returns a directory of its own for the daemon of a machine with a queue, for pictures.
func queueDir(t testing.TB, url, pictures, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(pictures, filepath.Join(dir, "pictures")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"execlogd.toml": queueConfig(url, options)})
	return dir
}

// startQueueMachine starts the daemon of a directory that queueDir has made, whose control socket
// is there; if the words of a command are given, by this command, which becomes it.
func startQueueMachine(t testing.TB, dir string, by ...string) *daemon {
	t.Helper()
	words := append(by, execlogd, "-config", "execlogd.toml", "-control", "control.sock", "-log-format", "text")
	d, err := launchCommand(t, dir, exec.Command(words[0], words[1:]...))
	if err == nil {
		err = d.waitReady(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	d.says(t, "bus is connected", 1)
	return d
}

// queueMachine starts a daemon with a queue, for pictures, in a directory of its own.
func queueMachine(t testing.TB, url, pictures, options string) (d *daemon, dir string) {
	t.Helper()
	dir = queueDir(t, url, pictures, options)
	return startQueueMachine(t, dir), dir
}

// askDaemon runs a command of execlogd against the daemon in a directory.
func askDaemon(t testing.TB, dir string, args ...string) (out string, status int) {
	t.Helper()
	cmd := exec.Command(execlogd, append(args[:1:1], append([]string{"-control", filepath.Join(dir, "control.sock")}, args[1:]...)...)...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// A job is done by a machine that takes jobs, and whoever has put it into the queue knows how it
// ended.
func TestQueue(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	pictures, out := t.TempDir(), t.TempDir()
	_, at := queueMachine(t, nats.url(), pictures, `run = ["false"]`) // which is not run: it takes no jobs
	worker, atWorker := queueMachine(t, nats.url(), pictures, fmt.Sprintf("work = true\nrun = [\"cp\", \"{path}\", %q]", out))

	write(t, pictures, map[string]string{"a.txt": "one"})
	worker.says(t, `job ok.* route=thumbs path=.*a\.txt`, 1)
	if err := eventually(t.Context(), "the copy", func() bool { return contentOf(filepath.Join(out, "a.txt")) == "one" }); err != nil {
		t.Fatal(err)
	}
	if out, status := askDaemon(t, at, "trigger", "thumbs", "pictures/a.txt"); status != 0 {
		t.Errorf("trigger: status %d: %s", status, out)
	}
	if out, _ := askDaemon(t, at, "log"); strings.Contains(out, "a.txt") {
		t.Errorf("the machine that takes no jobs has run one: %s", out)
	}
	err := eventually(t.Context(), "the run in the log of the cluster", func() bool {
		out, _ := askDaemon(t, at, "log", "-cluster")
		return strings.Contains(out, ":thumbs") && strings.Contains(out, "a.txt")
	})
	if err != nil {
		t.Error(err)
	}
	if out, _ := askDaemon(t, atWorker, "log"); strings.Count(out, "a.txt") != 2 {
		t.Errorf("the worker has run %q, want two jobs", out)
	}
}

// A job that fails is done again, and in the end it is among the dead ones, from which it is
// given back.
func TestQueueDeadJob(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	pictures := t.TempDir()
	poster, at := queueMachine(t, nats.url(), pictures, `run = ["false"]`)
	worker, _ := queueMachine(t, nats.url(), pictures, "work = true\nretries = 2\nbackoff = \"100ms\"\n"+`shell = 'echo trying; grep -q right "$EXECLOGD_PATH"'`)

	write(t, pictures, map[string]string{"b.txt": "wrong"})
	poster.says(t, `failed.* route=thumbs .*exit status 1`, 1)
	if n := strings.Count(worker.stderr.String(), `msg="job failed"`); n != 3 {
		t.Errorf("the job has failed %d times, want 3\n%s", n, worker.stderr)
	}
	out, _ := askDaemon(t, at, "log", "-dead")
	id := deadID(out)
	if id == "" || !strings.Contains(out, "failed 3 times") || !strings.Contains(out, "b.txt") {
		t.Fatalf("dead jobs: %s", out)
	}

	if out, status := askDaemon(t, at, "retry", id); status != 1 {
		t.Errorf("retry of a job that fails: status %d: %s", status, out)
	}
	if out, status := askDaemon(t, at, "retry", id); status != 1 || !strings.Contains(out, "no dead job has this ID") {
		t.Errorf("retry of one that was given back: status %d: %s", status, out)
	}
	save(t, pictures, "b.txt", "right")
	worker.says(t, `job ok`, 1)
	if out, status := askDaemon(t, at, "retry", "999"); status != 1 || !strings.Contains(out, "no dead job has this ID") {
		t.Errorf("retry of none: status %d: %s", status, out)
	}
}

// makeStream makes a stream as an administrator may.
func makeStream(t *testing.T, url string, cfg jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// A job is over, and a dead one is among the dead, although the streams that an administrator has
// made take no message with so much output.
func TestQueueShortMessages(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	for name, kinds := range map[string][]string{"dead": {"dead"}, "runs": {"runs", "done"}} {
		cfg := jetstream.StreamConfig{Name: "execlogd-default-" + name, MaxMsgSize: 4096}
		for _, kind := range kinds {
			cfg.Subjects = append(cfg.Subjects, fmt.Sprintf("execlogd.default.%s.*.*", kind))
		}
		makeStream(t, nats.url(), cfg)
	}
	pictures := t.TempDir()
	d, at := queueMachine(t, nats.url(), pictures, "work = true\n"+`shell = 'head -c 8000 /dev/zero | tr "\\0" x; echo; grep -q right "$EXECLOGD_PATH"'`)
	write(t, pictures, map[string]string{"a.txt": "right"})
	d.says(t, `msg=done route=thumbs`, 1)
	write(t, pictures, map[string]string{"b.txt": "wrong"})
	d.says(t, `msg=failed route=thumbs .*exit status 1`, 1)
	if out, status := askDaemon(t, at, "log", "-dead"); status != 0 || !strings.Contains(out, "b.txt") {
		t.Errorf("dead jobs: status %d: %s", status, out)
	}
}

// A machine says why a job of it is not over although its command has ended: the stream of reports is
// full.
func TestQueueReportRefused(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	runs := makeStream(t, nats.url(), jetstream.StreamConfig{
		Name: "execlogd-default-runs", Subjects: []string{"execlogd.default.runs.*.*", "execlogd.default.done.*.*"},
		MaxMsgs: 1, Discard: jetstream.DiscardNew,
	})
	pictures := t.TempDir()
	d, _ := queueMachine(t, nats.url(), pictures, "work = true\nrun = [\"true\"]")
	write(t, pictures, map[string]string{"a.txt": ""})
	d.says(t, "msg=done route=thumbs", 1)
	write(t, pictures, map[string]string{"b.txt": ""})
	d.says(t, "the server does not take what has become of a job, which is tried again.*maximum messages", 1)
	if err := runs.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.says(t, "msg=done route=thumbs", 2)
	if n := strings.Count(d.stderr.String(), "does not take what"); n != 1 {
		t.Errorf("it has said so %d times", n)
	}
}

// A dead job that is to be tried again, and is not, because a route that comes first fails, stays
// among the dead ones.
func TestQueueRetryCancelled(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	pictures, other, out := t.TempDir(), t.TempDir(), t.TempDir()
	options := "work = true\nack_wait = \"1s\"\nafter = [\"check\"]\n" + `shell = 'grep -q right "$EXECLOGD_PATH"'` +
		fmt.Sprintf("\n[[route]]\nname = \"check\"\nroot = %q\nshell = 'echo begin >>%s/log; while [ ! -e %s/gate ]; do sleep 0.02; done; exit 1'\n", other, out, out)
	d, at := queueMachine(t, nats.url(), pictures, options)
	write(t, pictures, map[string]string{"b.txt": "wrong"})
	d.says(t, `failed.* route=thumbs .*exit status 1`, 1)
	listed, _ := askDaemon(t, at, "log", "-dead")

	write(t, other, map[string]string{"x": ""})
	logHas(t, out, "begin")
	if text, status := askDaemon(t, at, "retry", "-n", deadID(listed)); status != 0 {
		t.Fatalf("retry: status %d: %s", status, text)
	}
	write(t, out, map[string]string{"gate": ""})
	d.says(t, `msg=failed route=check`, 1)
	time.Sleep(quietTime)
	if text, _ := askDaemon(t, at, "log", "-dead"); text != listed {
		t.Errorf("dead jobs:\n%swant\n%s", text, listed)
	}
}

// deadID returns the ID of the last dead job that execlogd log -dead has printed; empty if
// there is none.
func deadID(out string) (id string) {
	for word := range strings.FieldsSeq(out) {
		if number, is := strings.CutSuffix(word, ":"); is && strings.Trim(number, "0123456789") == "" {
			id = number
		}
	}
	return id
}

// contentOf returns what is in a file; nothing if it is not there.
func contentOf(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// The root of a route may be a single file.
func TestQueueOfFile(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	dir, out := t.TempDir(), t.TempDir()
	write(t, dir, map[string]string{"list.txt": "zero", "execlogd.toml": fmt.Sprintf(`
[server]
port = 0
[bus]
url = %q
[[route]]
name = "list"
root = "list.txt"
queue = "lists"
work = true
run = ["cp", "list.txt", %q]
`, nats.url(), out)})
	d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-log-format", "text")
	if err != nil {
		t.Fatal(err)
	}
	d.says(t, "bus is connected", 1)
	for i, content := range []string{"one", "two", "three"} {
		write(t, dir, map[string]string{"list.txt": content})
		d.says(t, "msg=done route=list", i+1)
		if got := contentOf(filepath.Join(out, "list.txt")); got != content {
			t.Errorf("the job has made %q of %q", got, content)
		}
	}
}

// A job that changes its own file is refused in the end.
func TestQueueLoop(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	pictures := t.TempDir()
	d, _ := queueMachine(t, nats.url(), pictures, "work = true\n"+`shell = 'echo again >"$EXECLOGD_PATH.new" && mv "$EXECLOGD_PATH.new" "$EXECLOGD_PATH"'`)
	write(t, pictures, map[string]string{"a.txt": "once"})
	d.says(t, `failed.* route=thumbs .*name it in outputs or ignore`, 1)
	if n := strings.Count(d.stderr.String(), `msg="job ok"`); n != 8 {
		t.Errorf("there were %d jobs, want 8", n)
	}
}

// gatedRun is a command of a job that says in a file log of a directory that it begins and that
// it ends, which it does when the directory has a file gate.
func gatedRun(dir string) string {
	return fmt.Sprintf("shell = 'cd %s; echo begin >>log; while [ ! -e gate ]; do sleep 0.02; done; echo end >>log'", dir)
}

// logHas waits until a file log has lines, and checks after a while that it has no more.
func logHas(t testing.TB, dir string, lines ...string) {
	t.Helper()
	want := strings.Join(lines, "\n") + "\n"
	var got string
	err := eventually(t.Context(), "the log of jobs", func() bool {
		got = contentOf(filepath.Join(dir, "log"))
		return got == want || !strings.HasPrefix(want, got)
	})
	time.Sleep(quietTime)
	if got = contentOf(filepath.Join(dir, "log")); got != want {
		t.Fatalf("the jobs have said %q, want %q: %v", got, want, err)
	}
}

// hasPut waits until so many jobs are in the queue or done, and so many have been put there.
func hasPut(t testing.TB, url string, there, ever uint64) {
	t.Helper()
	jobs := jobsStream(t, url)
	var a, b uint64
	err := eventually(t.Context(), "jobs", func() bool {
		a, b = jobsState(t, jobs)
		return a == there && b == ever
	})
	if err != nil {
		t.Fatalf("%d jobs of %d are there, want %d of %d: %v", a, b, there, ever, err)
	}
}

// A file that changes again while its job waits is one job.
func TestQueueChangesWhileWaiting(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	pictures, out := t.TempDir(), t.TempDir()
	owner, _ := queueMachine(t, nats.url(), pictures, `run = ["false"]`)
	for i, content := range []string{"one\n", "two\n", "three\n"} {
		write(t, pictures, map[string]string{"a.txt": content})
		hasPut(t, nats.url(), 1, uint64(i+1))
	}
	queueMachine(t, nats.url(), mountBlind(t, pictures), fmt.Sprintf("work = true\nshell = 'cat \"$EXECLOGD_PATH\" >>%s/log'", out))
	owner.says(t, "msg=done route=thumbs", 1)
	logHas(t, out, "three")
}

// A file that changes while its job is done is a second job, which begins when the first one has
// ended, although a machine has nothing to do. It does not matter which machine sees the change.
func TestQueueChangesWhileDone(t *testing.T) {
	for _, another := range []bool{false, true} {
		t.Run(map[bool]string{false: "seen by one machine", true: "seen by another"}[another], func(t *testing.T) {
			t.Parallel()
			nats := startNATS(t)
			pictures, out := t.TempDir(), t.TempDir()
			owner, _ := queueMachine(t, nats.url(), pictures, `run = ["false"]`)
			for range 2 {
				dir := queueDir(t, nats.url(), mountBlind(t, pictures), "work = true\n"+gatedRun(out))
				write(t, dir, map[string]string{"execlogd.toml": "jobs = 1\n" + contentOf(filepath.Join(dir, "execlogd.toml"))})
				startQueueMachine(t, dir)
			}
			write(t, pictures, map[string]string{"a.txt": "one"})
			logHas(t, out, "begin")
			if another {
				queueMachine(t, nats.url(), pictures, `run = ["false"]`)
			}
			write(t, pictures, map[string]string{"a.txt": "two"})
			if another {
				hasPut(t, nats.url(), 1, 2)
			}
			logHas(t, out, "begin")
			write(t, out, map[string]string{"gate": ""})
			logHas(t, out, "begin", "end", "begin", "end")
			owner.says(t, "msg=done route=thumbs", 2)
			hasPut(t, nats.url(), 0, 2)
		})
	}
}

// A machine that is stopped gives its job to another one at once, and takes no more.
func TestQueueGivenBack(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	pictures := t.TempDir()
	const options = "\nack_wait = \"5m\""
	owner, _ := queueMachine(t, nats.url(), pictures, `run = ["false"]`+options)
	var workers []*daemon
	var outs []string
	for i := range 2 {
		outs = append(outs, t.TempDir())
		d, _ := queueMachine(t, nats.url(), mountBlind(t, pictures), "work = true\n"+gatedRun(outs[i])+options)
		workers = append(workers, d)
	}
	write(t, pictures, map[string]string{"a.txt": "one"})
	first := 0
	err := eventually(t.Context(), "the job to begin", func() bool {
		first = slices.IndexFunc(outs, func(dir string) bool { return contentOf(filepath.Join(dir, "log")) != "" })
		return first >= 0
	})
	if err == nil {
		err = workers[first].signal("TERM")
	}
	if err != nil {
		t.Fatal(err)
	}
	workers[first].says(t, "msg=stopping", 1)
	write(t, outs[1-first], map[string]string{"gate": ""})
	const more = 20
	addPictures(t, pictures, 0, more)
	owner.says(t, "msg=done route=thumbs", 1+more)
	if n := strings.Count(contentOf(filepath.Join(outs[1-first], "log")), "end"); n != 1+more {
		t.Errorf("the other machine has done %d jobs, want %d", n, 1+more)
	}
	logHas(t, outs[first], "begin")
}

// Of machines that see the same change, each puts the same job into the queue.
func TestQueueOneJobForAll(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	pictures, out := t.TempDir(), t.TempDir()
	var owners []*daemon
	for range 2 {
		d, _ := queueMachine(t, nats.url(), pictures, `run = ["false"]`)
		owners = append(owners, d)
	}
	queueMachine(t, nats.url(), mountBlind(t, pictures), "work = true\n"+gatedRun(out))
	write(t, out, map[string]string{"gate": ""})
	write(t, pictures, map[string]string{"a.txt": "one"})
	for _, d := range owners {
		d.says(t, "msg=done route=thumbs", 1)
	}
	logHas(t, out, "begin", "end")
	hasPut(t, nats.url(), 0, 1)
}

// The report of a job that ends when the machine stops is waited for, so that nobody does it again.
func TestQueueEndsAtStop(t *testing.T) {
	t.Parallel()
	nats := startNATSProcess(t)
	pictures, out := t.TempDir(), t.TempDir()
	url := nats.url("127.0.0.1")
	owner, _ := queueMachine(t, url, pictures, `run = ["false"]`)
	worker, _ := queueMachine(t, url, mountBlind(t, pictures), "work = true\n"+gatedRun(out))
	write(t, pictures, map[string]string{"a.txt": "one"})
	logHas(t, out, "begin")

	// The server hears of the end of the job when the bus of the machine was told to stop.
	if err := nats.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	write(t, out, map[string]string{"gate": ""})
	worker.says(t, "job ok", 1)
	if err := worker.signal("TERM"); err != nil {
		t.Fatal(err)
	}
	worker.says(t, "msg=stopping", 1)
	time.Sleep(quietTime)
	if err := nats.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if status, err := worker.wait(t.Context()); err != nil || status != "0" {
		t.Errorf("the machine ended with %s, %v\n%s", status, err, worker.stderr)
	}
	owner.says(t, "msg=done route=thumbs", 1)
	hasPut(t, url, 0, 1)
	if strings.Contains(worker.stderr.String(), "may be done again") {
		t.Errorf("it has not waited for the server:\n%s", worker.stderr)
	}
}

// When the server is killed a job that is done goes on, and it is not done again if the server
// is back within ack_wait, whatever the server has forgotten.
func TestQueueServerKilled(t *testing.T) {
	for _, tt := range []struct {
		name              string
		begins, endsAfter bool // the job begins just before that; it ends when the server is back
	}{
		{"ends meanwhile", false, false},
		{"ends later", false, true},
		{"new and ends meanwhile", true, false},
		{"new and ends later", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nats := startNATSProcess(t)
			pictures, out := t.TempDir(), t.TempDir()
			url := nats.url("127.0.0.1")
			daemons := make([]*daemon, 3)
			for i := range daemons {
				at, options := pictures, `run = ["false"]`
				if i > 0 {
					at, options = mountBlind(t, pictures), "work = true\n"+gatedRun(out)
				}
				daemons[i], _ = queueMachine(t, url, at, options+"\nack_wait = \"4s\"")
			}
			write(t, pictures, map[string]string{"a.txt": "one"})
			for tt.begins && contentOf(filepath.Join(out, "log")) == "" {
				time.Sleep(time.Millisecond)
			}
			if !tt.begins {
				logHas(t, out, "begin")
			}
			nats.kill()
			if !tt.endsAfter {
				write(t, out, map[string]string{"gate": ""})
				logHas(t, out, "begin", "end")
			}
			nats.start(t)
			for _, d := range daemons {
				d.says(t, "bus is connected", 2)
			}
			if tt.endsAfter {
				time.Sleep(5 * time.Second) // more than ack_wait
				logHas(t, out, "begin")
				write(t, out, map[string]string{"gate": ""})
			}
			daemons[0].says(t, "msg=done route=thumbs", 1)
			hasPut(t, url, 0, 1)
			logHas(t, out, "begin", "end")
		})
	}
}

// After the server was killed machines that wait for jobs get them as soon as it is back.
func TestQueueServerBack(t *testing.T) {
	t.Parallel()
	nats := startNATSProcess(t)
	pictures, out := t.TempDir(), t.TempDir()
	url := nats.url("127.0.0.1")
	write(t, out, map[string]string{"gate": ""})
	owner, _ := queueMachine(t, url, pictures, `run = ["false"]`)
	worker, _ := queueMachine(t, url, mountBlind(t, pictures), "work = true\n"+gatedRun(out))
	for i := range 3 {
		for _, d := range []*daemon{owner, worker} {
			d.says(t, "bus is connected", i+1)
		}
		put := time.Now()
		write(t, pictures, map[string]string{fmt.Sprintf("%d.txt", i): "x"})
		owner.says(t, "msg=done route=thumbs", i+1)
		if took := time.Since(put); took > 6*time.Second {
			t.Errorf("the job has taken %v after %d kills", took, i)
		}
		nats.kill()
		nats.start(t)
	}
}
