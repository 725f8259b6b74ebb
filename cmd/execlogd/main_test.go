package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/config"
)

// stopWhenReady keeps what the daemon writes, and tells it to stop at its
// first words.
type stopWhenReady struct {
	bytes.Buffer
	stop func()
}

func (w *stopWhenReady) Write(p []byte) (int, error) {
	w.stop()
	return w.Buffer.Write(p)
}

// Nothing is written any more when run has returned, so nothing is lost and
// the race detector has nothing to say about reading it.
func TestRunSaysThatItStopsBeforeItHasStopped(t *testing.T) {
	for range 20 {
		ctx, cancel := context.WithCancelCause(t.Context())
		said := &stopWhenReady{stop: func() { cancel(errors.New("enough")) }}
		if err := run(ctx, []string{"-root", t.TempDir(), "-port", "0"}, nil, said); err != nil {
			t.Fatal(err)
		}
		if text := said.String(); !strings.Contains(text, "serving") || !strings.Contains(text, "stopping") {
			t.Errorf("wrote %q", text)
		}
	}
}

func TestStrangersOfNoFormAreWrongUsage(t *testing.T) {
	for _, flag := range []string{"-allow-host=a:80", "-allow-host=", "-allow-origin=https://a/"} {
		err := run(t.Context(), []string{"-root", t.TempDir(), "-port", "0", flag}, nil, new(bytes.Buffer))
		if status := exitStatus(err); status != 2 {
			t.Errorf("%s: status %d and %v, want 2", flag, status, err)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for err, want := range map[error]int{
		nil:                               0,
		errors.New("x"):                   1,
		config.Usagef("x"):                2,
		errors.Join(errors.New("y"), nil): 1,
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: status %d, want %d", err, got, want)
		}
	}
}

func TestVersionNamesCommitAndDate(t *testing.T) {
	version, commit, date = "v1.2.3", "abc1234", "2026-11-28"
	t.Cleanup(func() { version, commit, date = "", "", "" })
	var out strings.Builder
	if err := run(t.Context(), []string{"-version"}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if want := "execlogd v1.2.3 (commit abc1234, 2026-11-28)\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
