package runnable

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
)

// What execlogd writes itself, because its output goes into a file of the tree, is
// as little a reason to run as what its commands write: each run would lead to the
// next.
func TestOwnOutputHasWhereExeclogdWritesTo(t *testing.T) {
	dir := t.TempDir()
	into := func(std **os.File, name string) {
		was := *std
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		*std = file
		t.Cleanup(func() { *std = was; file.Close() })
	}
	if err := os.WriteFile(filepath.Join(dir, "a.md"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	runner, err := job.New(job.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer runner.Close()
	own := OwnOutput(runner, "build")
	var events []inotify.Event
	for _, name := range []string{"out.log", "err.log", "a.md", "gone"} {
		events = append(events, inotify.Event{Root: dir, Path: name})
	}
	into(&os.Stdout, "out.log")
	into(&os.Stderr, "err.log")
	if got, want := own(events), []bool{true, true, false, false}; !slices.Equal(got, want) {
		t.Errorf("own output of %v: %v, want %v", events, got, want)
	}
}
