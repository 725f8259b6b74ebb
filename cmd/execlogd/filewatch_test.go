package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Where a link leads may be gone before it is looked at.
func TestFileWatchOfWhatComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.toml")
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 10000)
	w := &fileWatch{path: file}
	w.changed = func() { seen <- string(w.text) }
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	turn := func(to, text string) {
		target := filepath.Join(dir, to)
		if err := os.Mkdir(target, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(target, "y.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to+"/y.toml", file+"~"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+"~", file); err != nil {
			t.Fatal(err)
		}
	}
	for n, until := 0, time.Now().Add(3*time.Second); time.Now().Before(until); n++ {
		name := string(rune('a' + n%2))
		turn(name, name)
		time.Sleep(time.Duration(n%70) * time.Millisecond)
		os.RemoveAll(filepath.Join(dir, name))
		select {
		case err := <-ended:
			t.Fatalf("after %d turns: %v", n, err)
		default:
		}
	}
	turn("last", "last")
	for <-seen != "last" {
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A link to where this user may not look is no reason to end.
func TestFileWatchPassesOverWhatIsForbidden(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	for _, err := range []error{
		os.Chmod(filepath.Dir(dir), 0o755),
		os.Mkdir(secret, 0),
		os.Symlink("secret/x.toml", filepath.Join(dir, "x.toml")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &fileWatch{path: filepath.Join(dir, "x.toml")}
	dirs := make(chan []string)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and is nobody's until then
		if os.Geteuid() == 0 {
			const nobody = 65534
			syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
		}
		dirs <- w.dirs()
	}()
	if dirs := <-dirs; !slices.Equal(dirs, []string{dir}) {
		t.Errorf("%v are to be watched, want %s alone", dirs, dir)
	}
}
