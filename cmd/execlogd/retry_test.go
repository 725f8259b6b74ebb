package main

import (
	"testing"
)

// With -exit-on-failure the last retry counts.
func TestRunRetries(t *testing.T) {
	r := startRun(t, "-retries", "1", "-backoff", "1ms", "-exit-on-failure", "-match", "*.none", "-shell", "exit 3")
	r.next(`execlogd: sh -c "exit 3": exit status 3 after *, again in 1ms`)
	if err := r.wait(); exitStatus(err) != 3 {
		t.Errorf("got %v, want exit status 3", err)
	}
}

// The advice is in the words of who is told.
func TestLoopAdvice(t *testing.T) {
	r := startRun(t, "-delay", "0s", "-debounce", "0s", "-shell", `cd "$EXECLOGD_ROOT"; echo >.out; mv .out out`)
	for range 8 {
		r.next("execlogd: sh: ok after *")
	}
	r.next("execlogd: a loop: 7 runs in a row were each triggered only by what the one before may have written, lastly out: name it with -outputs or -ignore")
}
