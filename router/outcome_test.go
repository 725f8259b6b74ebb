package router

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestOutcomeOf(t *testing.T) {
	failure := errors.New("exit status 1")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"no error", nil, "ok"},
		{"nothing to do", fmt.Errorf("as it was: %w", ErrSkipped), "skipped"},
		{"a failure", failure, "failed"},
		{"a timeout", fmt.Errorf("stopped at its timeout: %w", context.DeadlineExceeded), "failed"},
		{"a loop", &LoopError{}, "failed"},
		{"too many paths", fmt.Errorf("too long: %w", ErrKept), "failed"},
		{"newer events", fmt.Errorf("%w: %w", ErrRestarted, failure), "restarted"},
		{"the end of the router", context.Canceled, "stopped"},
		{"another route in its place", errors.Join(ErrRestarted, context.Canceled), "stopped"},
		{"a panic", &PanicError{Value: 1}, "failed"},
		{"a panic when it was to end", fmt.Errorf("%w: %w", ErrRestarted, &PanicError{Value: 1}), "failed"},
		{"a failure of a route before it", fmt.Errorf("%w: %w", ErrCancelled, failure), "cancelled"},
		{"a panic of a route before it", fmt.Errorf("%w: %w", ErrCancelled, &PanicError{Value: 1}), "cancelled"},
		{"a stop of a route before it", fmt.Errorf("%w: %w", ErrCancelled, context.Canceled), "cancelled"},
	}
	for _, tt := range tests {
		if got := OutcomeOf(tt.err).String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
