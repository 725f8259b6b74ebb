package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkJob is the time from write(2) to the first instruction of the command
// of a route without a delay, with the daemon as a process of its own. Its floor
// is measured in turns with it: fork and exec of the same program, and nothing
// else.
func BenchmarkJob(b *testing.B) {
	program := teller(b)
	job := startRoute(b, program)
	var least, took []time.Duration
	for b.Loop() {
		for range 300 {
			least = append(least, job.bare(b, program))
			took = append(took, job.save(b))
			job.done(b)
		}
	}
	b.ReportMetric(ms(percentile(took, 50)), "p50-ms")
	b.ReportMetric(ms(percentile(took, 99)), "p99-ms")
	b.ReportMetric(ms(percentile(least, 50)), "floor-p50-ms")
	b.ReportMetric(ms(percentile(least, 99)), "floor-p99-ms")
	b.ReportMetric(ms(percentile(took, 50))/ms(percentile(least, 50)), "x-floor")
}

// Without a delay a command runs as soon as a save is there, and not sooner: it
// finds all of the file. As each save waits for the run of the one before, a run
// too many is one too early.
func TestNoJobRunsBeforeTheFileIsWritten(t *testing.T) {
	for _, kind := range kindsOfSaves {
		t.Run(kind.name, func(t *testing.T) {
			job := startRoute(t, "sh", "-c", `cat "$1" >copy; echo >>told`, "sh", "{path}")
			for i := range 100 {
				part := bytes.Repeat([]byte{byte(i)}, 2000)
				kind.save(t, job.path, part)
				<-job.heard
				got, err := os.ReadFile(filepath.Join(job.dir, "copy"))
				if err != nil || !bytes.Equal(got, bytes.Repeat(part, parts)) {
					t.Fatalf("save %d: the command saw %d bytes, and not what was saved: %v", i, len(got), err)
				}
				job.done(t)
			}
		})
	}
}

// A started is a route whose command tells when it runs: it writes a byte to
// the pipe "told" in its directory.
type started struct {
	saved
	dir string
	log *bufio.Reader // of the daemon
}

// startRoute starts a daemon with one route.
func startRoute(b testing.TB, command ...string) *started {
	b.Helper()
	root, path := watched(b)
	s := &started{dir: b.TempDir(), saved: saved{path: path}}
	pipe := filepath.Join(s.dir, "told")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		b.Fatal(err)
	}
	told, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	s.heard = hear(func() error {
		_, err := told.Read(make([]byte, 1))
		return err
	})
	b.Cleanup(func() {
		told.Close()
		for range s.heard {
		}
	})
	var words []string
	for _, word := range command {
		words = append(words, "'"+word+"'")
	}
	file := filepath.Join(s.dir, "x.toml")
	text := fmt.Sprintf("[[route]]\nname = 'job'\nroot = %q\ndelay = '0s'\ndebounce = '0s'\nrun = [%s]\n", root, strings.Join(words, ", "))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	s.log = play(b, "daemon", "-config", file)
	s.await(b, "1 route")
	return s
}

// done waits until the run is over. A save before that would wait for it as well,
// and be taken for its own.
func (s *started) done(b testing.TB) { s.await(b, "msg=done") }

func (s *started) await(b testing.TB, text string) {
	b.Helper()
	for {
		line, err := s.log.ReadString('\n')
		if err != nil {
			b.Fatalf("waiting for %q: %v", text, err)
		}
		if strings.Contains(line, text) {
			return
		}
	}
}

// bare starts a program without a daemon and returns how long after that it was
// heard of.
func (s *started) bare(b testing.TB, program string) time.Duration {
	start := time.Now()
	pid, err := syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{Dir: s.dir})
	if err != nil {
		b.Fatal(err)
	}
	took := (<-s.heard).Sub(start)
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		b.Fatal(err)
	}
	return took
}

// teller is a program whose first instructions are to tell that it runs: no
// language's library has its turn before.
func teller(b *testing.B) string {
	b.Helper()
	const source = `
		#include <fcntl.h>
		#include <sys/syscall.h>
		#include <unistd.h>
		void _start(void) {
			int told = syscall(SYS_openat, AT_FDCWD, "told", O_WRONLY);
			syscall(SYS_write, told, "x", 1);
			syscall(SYS_exit, 0);
		}`
	program := filepath.Join(b.TempDir(), "teller")
	cc := exec.Command("gcc", "-O", "-static", "-nostartfiles", "-o", program, "-x", "c", "-")
	cc.Stdin = strings.NewReader(source)
	if out, err := cc.CombinedOutput(); err != nil {
		b.Skipf("no C compiler: %v\n%s", err, out)
	}
	return program
}
