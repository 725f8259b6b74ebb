package httpd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// A root is the directory that is served: whatever its path leads to at the time of
// a request. Builds remove their output directory and make it again, and releases
// switch a symbolic link, while an open directory stays the old one.
type root struct {
	path string // absolute

	mu    sync.Mutex
	dir   rootDir
	info  fs.FileInfo // of dir
	users int         // who may open files in it; the last of them closes it
}

// openRoot opens a directory that is to be served. It makes sure that the directory
// can be listed, so that a mistake shows at start and not in a browser. The root has
// one user then. If before has the same path it is returned as it is.
func openRoot(name string, before *root) (*root, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if before != nil && before.path == path {
		return before, nil
	}

	dir, info, err := openDir(path)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if err := dir.checkProc(); err != nil {
		dir.close()
		return nil, fmt.Errorf("root: %w", err)
	}
	return &root{path: path, dir: dir, info: info, users: 1}, nil
}

// A rootDir is an open directory, in the two forms in which files are opened beneath
// it. If it is not closed, it is when it becomes unreachable.
type rootDir struct {
	*os.Root
	handle *os.File
}

func openDir(path string) (rootDir, fs.FileInfo, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return rootDir{}, nil, err
	}
	handle, err := root.Open(".")
	if err != nil {
		root.Close()
		return rootDir{}, nil, err
	}
	info, err := handle.Stat()
	return rootDir{root, handle}, info, err
}

// checkProc makes sure that files can be opened through /proc.
func (d rootDir) checkProc() error {
	f, err := reopen(d.handle)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("/proc is not mounted: files cannot be opened without it")
	}
	if err == nil {
		f.Close()
	}
	return err
}

func (d rootDir) close() error {
	d.handle.Close()
	return d.Root.Close()
}

// now returns the directory that the path leads to now, or the one before while it
// leads nowhere. The caller must not close it: a replaced one is closed when no
// request refers to it any more.
func (r *root) now() rootDir {
	info, err := os.Stat(r.path)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || r.users == 0 || os.SameFile(info, r.info) {
		return r.dir
	}

	if dir, info, err := openDir(r.path); err == nil {
		r.dir, r.info = dir, info
	}
	return r.dir
}

// acquire adds a user, until release. It returns false when there is none left and
// the root is closed. A nil root can be acquired.
func (r *root) acquire() bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users == 0 {
		return false
	}
	r.users++
	return true
}

// release takes a user away. The last one closes the root.
func (r *root) release() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users--; r.users > 0 {
		return nil
	}
	return r.dir.close()
}
