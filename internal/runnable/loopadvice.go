package runnable

import "github.com/execlog/execlogd/router"

// A loopError is a loop, with what the user of a configuration can do about it.
type loopError struct {
	*router.LoopError
	advice string
}

func (e *loopError) Error() string { return e.Reason() + ": " + e.advice }

func (e *loopError) Unwrap() error { return e.LoopError }

// AdviseOnLoop adds the advice to an error, if it is that of a loop.
func AdviseOnLoop(err error, advice string) error {
	if loop, ok := err.(*router.LoopError); ok {
		return &loopError{loop, advice}
	}
	return err
}
