package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/statelog"
	"github.com/execlog/execlogd/router"
)

// A savedState is what the watcher and the router keep for the next process, so that no change is
// lost, however the process ends. The files are in the descriptor store of systemd for a restart,
// in a state directory for a stop and a later start, or both.
type savedState struct {
	watches, batches stateFile
	instance         *os.File // of the watcher before; nil for none
}

// A stateFile is the file of Options.State of the watcher or the router.
type stateFile struct {
	name   string
	passed *os.File // what the descriptor store had; nil for none
	file   *os.File // that is used, which may be the same; nil where nothing outlives the process
}

// openState takes the state of the process before from the descriptor store, or else from the
// state directory, and makes a new one if there is none.
func (d *daemon) openState(cfg *config.Config) (*savedState, error) {
	s := &savedState{
		watches:  stateFile{name: storedWatches, passed: d.store.take(storedWatches)},
		batches:  stateFile{name: storedBatches, passed: d.store.take(storedBatches)},
		instance: d.store.take(storedInstance),
	}
	if cfg.State != "" {
		if err := s.open(cfg.State); err != nil {
			s.close()
			return nil, stateError(cfg, err)
		}
		return s, nil
	}

	// That of the unit is used, if it can be.
	dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
	err := s.open(dir)
	if err != nil && dir != "" {
		d.log.Warn("no state directory", "err", err)
		err = s.open("")
	}
	if err != nil {
		d.log.Warn("a restart will lose changes", "err", err)
	}
	return s, nil
}

// stateError returns the error of a state directory, with the flag or key that names it.
func stateError(cfg *config.Config, err error) error {
	at, ok := cfg.StateKey()
	if !ok {
		return fmt.Errorf("-state: %w", err)
	}
	r := cfg.NewReport()
	r.Add(at, "state: %v", err)
	return r.Mistakes()
}

// open opens the files in a directory, which it makes, or in memory if dir is empty and systemd
// may keep them. With an error nothing has changed.
func (s *savedState) open(dir string) error {
	if dir == "" && os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("%w: choose a directory that this user can make and write", err)
		}
	}
	watches, err := s.watches.open(dir)
	if err != nil {
		return err
	}
	batches, err := s.batches.open(dir)
	if err != nil {
		if watches != s.watches.passed {
			watches.Close()
		}
		return err
	}
	s.watches.file, s.batches.file = watches, batches
	return nil
}

// open returns the file in a directory, or in memory. It has what was passed.
func (f stateFile) open(dir string) (file *os.File, err error) {
	path := filepath.Join(dir, f.name)
	switch {
	case dir == "" && f.passed != nil && isInMemory(f.passed):
		return f.passed, nil
	case dir == "":
		file, err = statelog.Memory(f.name)
	case f.passed != nil && isFile(f.passed, path):
		return f.passed, nil // which has its lock
	default:
		file, err = openStateFile(path)
	}
	if err != nil {
		return nil, err
	}

	if f.passed != nil {
		err = copyFile(file, f.passed)
	}
	if err == nil {
		err = tryState(file)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// openStateFile opens a file that belongs to this user. That of the watches is also the lock of
// the directory: a Router has no Close, and would hold it until the process ends.
func openStateFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		stat := info.Sys().(*syscall.Stat_t)
		if !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
			err = fmt.Errorf("%s is not a file that user %d alone can write: remove it, or choose another directory", path, os.Geteuid())
		}
	}
	if err == nil && filepath.Base(path) == storedWatches {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("another execlogd has its state in %s: stop that, or choose another directory", filepath.Dir(path))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// tryState reports why a file cannot hold state, such as a full disk.
func tryState(file *os.File) error {
	log, _, err := statelog.Open(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file.Name(), err)
	}
	return log.Close()
}

// isInMemory reports whether a file has no name.
func isInMemory(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Sys().(*syscall.Stat_t).Nlink == 0
}

// isFile reports whether a file is the one at a path.
func isFile(file *os.File, path string) bool {
	info, err := file.Stat()
	at, atErr := os.Stat(path)
	return errors.Join(err, atErr) == nil && os.SameFile(info, at)
}

// copyFile replaces what is in a file by what is in another.
func copyFile(to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := to.Truncate(0); err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, info.Size()))
	return err
}

// storeState says what was taken over, and has systemd keep what is there now.
func (p *pipeline) storeState() {
	if p.state.watches.file == nil {
		return
	}

	log := p.d.log
	for route, files := range p.router.Unfinished() {
		log.Info("not finished before this start", "route", route, "files", files)
	}
	switch resumption, err := p.group.Resumed(); {
	case resumption == inotify.ResumedInstance:
		log.Info("resumed where the last process ended", "watches", p.group.Watches())
	case resumption == inotify.ResumedState && err != nil:
		log.Warn("looking for changes since the last process, whose watches cannot be used", "err", err)
	case resumption == inotify.ResumedState:
		log.Info("looking for changes since the last process", "watches", p.group.Watches())
	case err != nil:
		log.Warn("the state of the last process cannot be used, so changes since may be missed", "err", err)
	default:
		log.Info("no state of an earlier process")
	}
	if err := p.d.store.keepState(p.state, p.group); err != nil {
		log.Warn("systemd does not keep the state for a restart", "err", err)
	}
}

// keepState makes the state of a pipeline the one in the store. An instance in the store fits at
// every moment to the watches there.
func (s *descriptorStore) keepState(state *savedState, group *router.Group) error {
	var errs []error
	resumption, _ := group.Resumed()
	isOther := resumption != inotify.ResumedInstance
	if isOther && state.instance != nil {
		errs = append(errs, s.drop(storedInstance))
	}
	for _, f := range []stateFile{state.watches, state.batches} {
		if f.file == f.passed {
			continue
		}
		if f.passed != nil {
			errs = append(errs, s.drop(f.name))
		}
		errs = append(errs, s.keep(f.name, f.file))
	}

	if isOther {
		instance, err := group.Instance()
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, s.keep(storedInstance, instance), instance.Close())
	}
	return errors.Join(errs...)
}

// close closes all files. What systemd keeps of them stays.
func (s *savedState) close() {
	for _, f := range []*os.File{s.watches.file, s.watches.passed, s.batches.file, s.batches.passed, s.instance} {
		if f != nil {
			f.Close() // once more if it was passed and is used
		}
	}
}
