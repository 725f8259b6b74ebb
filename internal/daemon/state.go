package daemon

import (
	"errors"
	"os"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/statelog"
	"github.com/execlog/execlogd/router"
)

// A savedState is what the watcher and the router keep for the next process, so that a restart
// loses no change, however the process ends. The files are nil where nothing outlives it.
type savedState struct {
	watches, batches stateFile
	instance         *os.File // of the watcher before; nil for none
}

// A stateFile is the file of Options.State of the watcher or the router.
type stateFile struct {
	*os.File
	name     string // in the descriptor store
	isStored bool   // there is something of that name
	isNew    bool   // which is not this file
}

// openState takes the state of the process before from the descriptor store, or makes a new one
// there.
func (d *daemon) openState() (*savedState, error) {
	s := new(savedState)
	for name, to := range map[string]*stateFile{storedWatches: &s.watches, storedBatches: &s.batches} {
		passed := d.store.take(name)
		*to = stateFile{File: passed, name: name, isStored: passed != nil}
		if passed != nil || os.Getenv("NOTIFY_SOCKET") == "" {
			continue
		}
		file, err := statelog.Memory(name)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		to.File, to.isNew = file, true
	}
	s.instance = d.store.take(storedInstance)
	return s, nil
}

// storeState says what was taken over, and has systemd keep what is there now.
func (p *pipeline) storeState() {
	if p.state.watches.File == nil {
		return
	}

	log := p.d.log
	switch resumption, err := p.group.Resumed(); {
	case err != nil:
		log.Warn("the state of the last run cannot be used, so changes since may be missed", "err", err)
	case resumption == inotify.NotResumed:
		log.Info("no state of an earlier run")
	default:
		log.Info("resumed where the last run ended", "watches", p.group.Watches())
	}
	if err := p.d.store.keepState(p.state, p.group); err != nil {
		log.Warn("systemd does not keep the state for a restart", "err", err)
	}
}

// keepState makes the state of a pipeline the one in the store. An instance in the store fits at
// every moment to the watches there.
func (d *descriptorStore) keepState(s *savedState, group *router.Group) error {
	var errs []error
	resumption, _ := group.Resumed()
	isOther := resumption != inotify.ResumedInstance
	if isOther && s.instance != nil {
		errs = append(errs, d.drop(storedInstance))
	}
	for _, f := range []stateFile{s.watches, s.batches} {
		if f.isNew && f.isStored {
			errs = append(errs, d.drop(f.name))
		}
		if f.isNew {
			errs = append(errs, d.keep(f.name, f))
		}
	}

	if isOther {
		instance, err := group.Instance()
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, d.keep(storedInstance, instance), instance.Close())
	}
	return errors.Join(errs...)
}

func (s *savedState) close() error {
	var errs []error
	for _, f := range []*os.File{s.watches.File, s.batches.File, s.instance} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	*s = savedState{}
	return errors.Join(errs...)
}
