package router

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

var kills = flag.Int("kills", 10, "how often TestKill kills the process, while 100 times as many files are reported")

// TestKill kills a process with a router again and again while files are reported to it. Each
// of them must be in a run that succeeds, of every route.
func TestKill(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("ROUTER_TEST_DIR"); dir != "" {
		t.Fatal(killedProcess(dir))
	}
	dir := t.TempDir()
	for range *kills {
		p := startKilled(t, dir)
		time.Sleep(time.Duration(rand.IntN(50)) * ms)
		p.kill(t)
	}

	p := startKilled(t, dir)
	defer p.kill(t)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * ms) {
		lost, doubles := readRuns(t, dir)
		if len(lost) > 0 && time.Now().Before(deadline) {
			continue
		}
		t.Logf("of %d files, and after %d kills: lost %v, twice %v", *kills*100, *kills, counts(lost), counts(doubles))
		if len(lost) > 0 {
			t.Error("files were lost")
		}
		// Of a route by file no more than these were under way.
		if most := *kills * (DefaultConcurrency + 1); len(doubles["file"]) > most {
			t.Errorf("%d files were run twice by themselves, want at most %d", len(doubles["file"]), most)
		}
		return
	}
}

func counts(files map[string][]string) map[string]int {
	n := make(map[string]int)
	for route := range files {
		n[route] = len(files[route])
	}
	return n
}

// A killed is a process that is to be killed.
type killed struct{ cmd *exec.Cmd }

// startKilled starts the process and waits until its router has begun.
func startKilled(t *testing.T, dir string) killed {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestKill$", fmt.Sprint("-kills=", *kills))
	cmd.Env = append(os.Environ(), "ROUTER_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return killed{cmd}
}

func (p killed) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); p.cmd.ProcessState.ExitCode() >= 0 {
		t.Errorf("the process ended by itself: %v", err)
	}
}

// readRuns returns for each route the files that it has not run, and those that it has run more
// than once.
func readRuns(t *testing.T, dir string) (lost, doubles map[string][]string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ran := map[string]map[string]int{"file": {}, "all": {}, "after": {}, "kept": {}}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		route, path, _ := strings.Cut(lines.Text(), " ")
		ran[route][path]++
	}

	lost, doubles = make(map[string][]string), make(map[string][]string)
	for route := range maps.Keys(ran) {
		for i := range *kills * 100 {
			switch path := fmt.Sprint(i); ran[route][path] {
			case 0:
				lost[route] = append(lost[route], path)
			case 1:
			default:
				doubles[route] = append(doubles[route], path)
			}
		}
	}
	return lost, doubles
}

// killedProcess reports files to a router. How many is in a file, as it is in the state of a
// watcher. Callbacks write to another what they have run.
func killedProcess(dir string) error {
	var files []*os.File
	for _, name := range []string{"state", "reported", "runs"} {
		mode := os.O_RDWR | os.O_CREATE
		if name == "runs" {
			mode |= os.O_APPEND
		}
		f, err := os.OpenFile(filepath.Join(dir, name), mode, 0o600)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	state, reported, runs := files[0], files[1], files[2]

	writes := func(name string, work time.Duration) Route {
		return Route{
			Name: name, Durable: true, ReadOnly: true,
			Delay: 3 * ms, Debounce: -1, Quiet: -1, Hold: -1, Retries: 1 << 20, Backoff: ms,
			Callback: func(_ context.Context, batch []inotify.Event) error {
				time.Sleep(work)
				defer time.Sleep(work) // so that some are killed after they have written
				if rand.IntN(8) == 0 {
					return errors.New("try again")
				}
				var lines []byte
				for _, e := range batch {
					lines = fmt.Appendln(lines, name, e.Path)
				}
				_, err := runs.Write(lines)
				return err
			},
		}
	}
	file, all, after, kept := writes("file", ms), writes("all", 5*ms), writes("after", 2*ms), writes("kept", 0)
	file.Per = PerFile
	after.After, after.Follow, after.OnFailure = []string{"all"}, true, Continue
	kept.After, kept.OnFailure = []string{"all"}, Keep

	r, err := New(Options{State: state, Concurrency: DefaultConcurrency}, file, all, after, kept)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Run(context.Background()) }()
	if _, err := os.Stdout.Write([]byte{'\n'}); err != nil {
		return err
	}

	count := make([]byte, 8)
	if _, err := reported.ReadAt(count, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for i := binary.NativeEndian.Uint64(count); i < uint64(*kills)*100; i++ {
		r.Events(word(fmt.Sprint(i)))
		binary.NativeEndian.PutUint64(count, i+1)
		if _, err := reported.WriteAt(count, 0); err != nil {
			return err
		}
		time.Sleep(100 * time.Microsecond)
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Hour): // a timer, as the process would be a deadlock otherwise
		return errors.New("nobody has killed the process")
	}
}
