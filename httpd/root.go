package httpd

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// A root is the directory that is served: whatever its path leads to at the
// time of a request. Builds remove and make their output directory again, and
// releases turn a symbolic link, while a descriptor stays with the old one.
type root struct {
	path string // absolute

	mu     sync.Mutex
	dir    *os.Root
	info   fs.FileInfo // of dir
	closed bool
}

// openRoot opens a directory and makes sure that it can be listed, so that a
// mistake shows at start and not in a browser.
func openRoot(name string) (*root, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	dir, info, err := openDir(path)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	return &root{path: path, dir: dir, info: info}, nil
}

func openDir(path string) (*os.Root, fs.FileInfo, error) {
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, nil, err
	}
	f, err := dir.Open(".")
	if err != nil {
		dir.Close()
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	return dir, info, err
}

// now is the directory as the path leads to it now; the one before while it
// leads nowhere. It must not be closed: the one before is when the last
// request has let go of it.
func (r *root) now() *os.Root {
	info, err := os.Stat(r.path)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || r.closed || os.SameFile(info, r.info) {
		return r.dir
	}
	if dir, info, err := openDir(r.path); err == nil {
		r.dir, r.info = dir, info
	}
	return r.dir
}

func (r *root) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.dir.Close()
}
