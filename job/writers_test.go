package job

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWriting(t *testing.T) {
	jobs := newTestRunner(t)
	for _, name := range []string{"read", "closed", "mine", "both"} {
		write(t, filepath.Join(jobs.dir, name), "x\n")
	}
	for _, name := range []string{"mine", "both"} {
		f, err := os.OpenFile(filepath.Join(jobs.dir, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	tests := []struct {
		file    string
		writing bool
	}{
		{"log", true},        // by the program
		{"both", true},       // and by us
		{"update", true},     // for reading as well
		{"rotated", true},    // under the name that it has now
		{"linked", true},     // and under any
		{"background", true}, // by a child
		{"detached", true},   // by what has left the session
		{"read", false},      // for reading alone
		{"closed", false},    // not any more
		{"mine", false},      // not by the job
		{"old", false},       // there is no such name any more
		{"directory", false}, // nobody writes to one
		{"none/at-all", false},
	}
	script := `exec 3>>log 4>>both 5<>update 6<read 7>>closed 8>>old; echo >&7; exec 7>&-; mv old rotated; ln log linked; mkdir directory
sh -c 'exec 7>>background; sleep 1000' &
setsid sh -c 'exec 7>>detached; sleep 1000' &
until [ -e background ] && [ -e detached ]; do sleep 0.01; done; echo up; sleep 1000`
	j := jobs.job(Command{Shell: script, Dir: jobs.dir})
	other := jobs.job(Command{Name: "other", Shell: "exec 3>>mine; echo up; sleep 1000", Dir: jobs.dir})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for _, j := range []*Job{j, other} {
		go func() { done <- j.Run(ctx, jobs.events()) }()
		jobs.expect("up")
	}
	var files []string
	var want []bool
	for _, tt := range tests {
		files, want = append(files, filepath.Join(jobs.dir, tt.file)), append(want, tt.writing)
	}
	if got := jobs.Writing("test", files...); !slices.Equal(got, want) {
		for i, tt := range tests {
			if got[i] != want[i] {
				t.Errorf("Writing of %s is %v", tt.file, got[i])
			}
		}
	}
	if got := jobs.Writing("other", files[0], files[9]); got[0] || !got[1] {
		t.Errorf("another route writes to what the first does: %v, to what it does itself: %v", got[0], got[1])
	}
	if w, ok := WriterOf(filepath.Join(jobs.dir, "background")); !ok || w.Name != "sh" || w.PID == os.Getpid() {
		t.Errorf("the writer of a job's file is %+v, %v", w, ok)
	}
	if w, ok := WriterOf(filepath.Join(jobs.dir, "read")); ok {
		t.Errorf("the writer of a file that nobody writes is %+v", w)
	}
	stop()
	<-done
	<-done
	if got := jobs.Writing("test", files...); slices.Contains(got, true) {
		t.Errorf("when the run is over: %v", got)
	}
}

func TestOpensForWriting(t *testing.T) {
	tests := []struct {
		fdinfo string
		want   bool
	}{
		{"pos:\t0\nflags:\t0100000\nmnt_id:\t26\n", false},
		{"pos:\t0\nflags:\t0100001\nmnt_id:\t26\n", true},
		{"pos:\t7\nflags:\t02102002\n", true},
		{"flags:\t012000000\n", false}, // O_PATH
		{"flags:\n", false},
		{"", false},
	}
	for _, tt := range tests {
		if got := isWritable([]byte(tt.fdinfo)); got != tt.want {
			t.Errorf("isWritable(%q) is %v", tt.fdinfo, got)
		}
	}
}

// BenchmarkWriting is the cost of a question while a program is running.
func BenchmarkWriting(b *testing.B) {
	jobs := newTestRunner(b)
	j := jobs.job(Command{Shell: "exec 3>>log; echo up; sleep 1000"})
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- j.Run(ctx, jobs.events()) }()
	jobs.expect("up")
	for b.Loop() {
		jobs.Writing("test", filepath.Join(jobs.dir, "log"))
	}
	stop()
	<-done
}

// A program of anybody's may have a file open whose file system does not answer any more. To
// look for writers must not wait for that.
func TestWriterOfWithADeadFileSystem(t *testing.T) {
	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no file system can be made that does not answer: ", err)
	}
	defer server.Close() // ends what waits
	dir := t.TempDir()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd())
	if err := unix.Mount("silent", dir, "fuse", 0, options); err != nil {
		t.Skip("a file system cannot be mounted: ", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	held, err := os.OpenFile(dir, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()

	file := filepath.Join(t.TempDir(), "a")
	write(t, file, "x\n")
	looked := make(chan bool, 1)
	go func() {
		_, ok := WriterOf(file)
		looked <- ok
	}()
	select {
	case ok := <-looked:
		if ok {
			t.Error("there is a writer")
		}
	case <-time.After(10 * time.Second):
		server.Close()
		<-looked
		t.Error("it waits for a file system that does not answer")
	}
}
