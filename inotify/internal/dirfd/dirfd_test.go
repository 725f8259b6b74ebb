package dirfd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenEach sees that what is opened without openat2(2), which the
// sandbox of a service forbids, is what is opened with it.
func TestOpenEach(t *testing.T) {
	dir := t.TempDir()
	deep := strings.Repeat("deep/", 600) + "end"
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755),
		os.MkdirAll(filepath.Join(dir, deep), 0o755),
		os.WriteFile(filepath.Join(dir, "a/file"), nil, 0o644),
		os.Symlink("b", filepath.Join(dir, "a/inside")),
		os.Symlink("/", filepath.Join(dir, "a/outside")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	top, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(top)
	ways := []struct {
		name string
		open func(fd int, path string, flags int) (int, error)
	}{
		{"as the system allows", OpenBeneath},
		{"step by step", openEach},
	}
	for _, tt := range []struct {
		path string
		want []error // either: the two calls differ in what they call a link
	}{
		{"a", nil},
		{"a/b/c", nil},
		{deep, nil},
		{"a/none", []error{unix.ENOENT}},
		{"none/b", []error{unix.ENOENT}},
		{"a/file", []error{unix.ENOTDIR}},
		{"a/file/b", []error{unix.ENOTDIR}},
		{"a/inside", []error{unix.ELOOP, unix.ENOTDIR}},
		{"a/inside/c", []error{unix.ELOOP, unix.ENOTDIR}},
		{"a/outside/etc", []error{unix.ELOOP, unix.ENOTDIR}},
	} {
		for _, way := range ways {
			for _, mode := range []int{unix.O_PATH, unix.O_RDONLY} {
				fd, err := way.open(top, tt.path, mode|unix.O_DIRECTORY|unix.O_CLOEXEC)
				if err == nil {
					got, _ := os.Readlink(Path(fd, ""))
					unix.Close(fd)
					if want := filepath.Join(dir, tt.path); tt.want != nil || got != want && len(want) < unix.PathMax {
						t.Errorf("%s, %.20q: got %.40q, want an error in %v", way.name, tt.path, got, tt.want)
					}
					continue
				}
				if !isOneOf(err, tt.want) {
					t.Errorf("%s, %.20q: got %v, want one of %v", way.name, tt.path, err, tt.want)
				}
			}
		}
	}
}

func isOneOf(err error, list []error) bool {
	for _, one := range list {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}
