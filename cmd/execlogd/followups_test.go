package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
)

func TestCommandsAfterARunSayWhatIsWrong(t *testing.T) {
	runner, err := job.New(job.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer runner.Close()
	for text, want := range map[string]string{
		`on_success = ["no-such-program"]`: `f:4:15: on_success: route "build": command "no-such-program" is in no directory`,
		`on_failure_run = []`:              "on_failure_run has no program",
		`on_success = 7`:                   "on_success is 7",
		`stop_signal = "SIGNOT"`:           `stop_signal is "SIGNOT": want a signal`,
		`signal = "HUP"`:                   `route "build" has signal, which is for a program that goes on running: add service = true`,
	} {
		file := filepath.Join(t.TempDir(), "f")
		testenv.Check(t, os.WriteFile(file, []byte("[[route]]\nname = 'build'\nrun = ['true']\n"+text), 0o600))
		cfg, err := config.Read(file)
		if err == nil {
			_, wrong := runnable.Resolve(&cfg, runner, runnable.Notices{})
			err = wrong.Err()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// A desktop is told by notify-send, and what is missing for that is said once.
func TestNotify(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\nfor arg; do printf '%s|' \"$arg\"; done >>" + bin + "/told\necho >>" + bin + "/told\n"
	testenv.Check(t, os.WriteFile(bin+"/notify-send", []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	t.Setenv("XDG_RUNTIME_DIR", bin)
	r := startRun(t, "-notify", "--", "sh", "-c", `test "${EXECLOGD_PATH##*/}" != "a<b"`)
	r.next("execlogd: sh: ok after *")
	r.save("a<b")
	r.next("execlogd: sh -c *")
	got, err := os.ReadFile(bin + "/told")
	want := "--app-name=execlogd|--urgency=normal|--|execlogd: run|ok|\n" +
		"--app-name=execlogd|--urgency=critical|--|execlogd: run|sh -c &#34;test "
	if err != nil || !strings.HasPrefix(string(got), want) {
		t.Errorf("told %q %v, want %q", got, err, want)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	r = startRun(t, "-notify", "-delay", "0s", "-debounce", "0s", "true")
	r.next("execlogd: notify: there is no session bus*")
	r.next("execlogd: true: ok after *")
	r.save("x")
	r.next("execlogd: true: ok after *") // and no word of the bus again
}

// A change is a signal for a command that goes on, which is started again when it
// has ended.
func TestSignalInsteadOfARestart(t *testing.T) {
	r := startRun(t, "-signal", "usr1", "-debounce", "0s", "--", "sh", "-c",
		`trap 'echo again' USR1; trap 'echo bye; exit 0' TERM; echo up; while [ ! -e "$EXECLOGD_ROOT/stop" ]; do sleep 0.01; done; rm "$EXECLOGD_ROOT/stop"; exit 3`)
	seen := func(want string) { // beside what is said of runs
		t.Helper()
		for line := range r.out {
			if strings.HasPrefix(line, want) {
				return
			}
			if !strings.HasPrefix(line, "execlogd: sh: ok") && line != "Terminated" { // of sleep
				t.Fatalf("got %q, want %q", line, want)
			}
		}
	}
	seen("up")
	r.save("a")
	seen("again")
	r.save("b")
	seen("again")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	seen("bye")
}

func TestStopSignal(t *testing.T) {
	r := startRun(t, "-restart", "-stop-signal", "INT", "--", "sh", "-c", `trap 'echo interrupted; exit' INT; trap 'echo terminated; exit' TERM; echo up; while :; do sleep 0.01; done`)
	r.next("up")
	r.save("x")
	r.next("interrupted")
	r.next("up")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	r.next("interrupted")
}

// Only what is directly in the root counts, and only that is watched.
func TestRunNotRecursive(t *testing.T) {
	dir := t.TempDir()
	testenv.Check(t, os.MkdirAll(dir+"/sub/deep", 0o755))
	r := runIn(t, dir, "-path", dir, "-recursive=false", "-postpone", "-per", "file", "-delay", "0s", "--", "sh", "-c", `echo "${EXECLOGD_PATH##*/}"`)
	r.next("execlogd: watching 1 directory")
	r.save("sub/below")
	r.save("direct")
	r.next("direct")
}
