package inotify

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriters(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	open := func(name string, flags int) *os.File {
		t.Helper()
		f, err := os.OpenFile(at(name), flags, 0o644)
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, name := range []string{"closed", "read", "written", "updated", "two", "linked", "renamed", "mapped", "unmapped"} {
		must(t, os.WriteFile(at(name), []byte("content"), 0o644))
	}
	open("read", os.O_RDONLY)
	open("written", os.O_WRONLY)
	open("updated", os.O_RDWR)
	open("two", os.O_WRONLY)
	open("two", os.O_WRONLY).Close()
	open("linked", os.O_APPEND|os.O_WRONLY)
	open("renamed", os.O_WRONLY)
	for name, keep := range map[string]bool{"mapped": true, "unmapped": false} {
		f := open(name, os.O_RDWR)
		page, err := unix.Mmap(int(f.Fd()), 0, 7, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		f.Close()
		if keep {
			t.Cleanup(func() { _ = unix.Munmap(page) })
		} else if err := unix.Munmap(page); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Link(at("linked"), at("link")), os.Rename(at("renamed"), at("new")),
		os.Symlink("written", at("symlink")),
	} {
		must(t, err)
	}
	tests := []struct {
		name string
		want WriterState
	}{
		{"closed", NoWriter},
		{"read", NoWriter},
		{"written", HasWriter},
		{"updated", HasWriter},
		{"two", HasWriter}, // of which one has closed it
		{"linked", HasWriter},
		{"link", HasWriter},
		{"new", HasWriter},
		{"renamed", NoWriter}, // is not there any more
		{"mapped", HasWriter},
		{"unmapped", NoWriter},
		{"symlink", NoWriter},
		{".", NoWriter},
		{"none", NoWriter},
		{"closed/none", NoWriter},
	}
	for _, tt := range tests {
		if got := Writers(at(tt.name)); got != tt.want {
			t.Errorf("Writers of %s is %d, want %d", tt.name, got, tt.want)
		}
	}
	for name, kind := range map[string]int64{"written": unix.NFS_SUPER_MAGIC, "closed": unix.CIFS_SUPER_MAGIC} {
		statfs := func(_ int, fs *unix.Statfs_t) error {
			fs.Type = kind
			return nil
		}
		if got := writers(at(name), statfs); got != RemoteWriter {
			t.Errorf("%s on a network file system: %d, want %d", name, got, RemoteWriter)
		}
	}
}

// Without a privilege nothing is known of the files of other users.
func TestWritersOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has files of others")
	}
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for up := path; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		must(t, os.Chmod(up, 0o755))
	}
	answer := make(chan WriterState)
	go func() {
		defer close(answer)
		runtime.LockOSThread() // which ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := errors.Join(unix.Setfsuid(65534), unix.Capset(&header, &none[0])); err != nil {
			t.Error(err)
			return
		}
		answer <- Writers(path)
	}()
	got, ok := <-answer
	if !ok {
		return
	}
	if got != UnknownWriter {
		t.Errorf("got %d, want %d", got, UnknownWriter)
	}
}

func BenchmarkWriters(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	must(b, os.WriteFile(path, nil, 0o644))
	for b.Loop() {
		if Writers(path) != NoWriter {
			b.Fatal("a file without a writer has one")
		}
	}
}
