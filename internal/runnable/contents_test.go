package runnable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

func TestContents(t *testing.T) {
	dir := t.TempDir()
	event := func(name string, mask inotify.Mask) inotify.Event {
		return inotify.Event{Root: dir, Path: name, Mask: mask}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var known contents
	compare := func(events ...inotify.Event) (changed []string, seen map[string]content) {
		list, seen := known.compare(events)
		for _, e := range list {
			changed = append(changed, e.Path)
		}
		return changed, seen
	}
	is := func(what string, want []string, events ...inotify.Event) map[string]content {
		t.Helper()
		changed, seen := compare(events...)
		if !slices.Equal(changed, want) {
			t.Errorf("%s: changed are %q, want %q", what, changed, want)
		}
		return seen
	}
	saved := event("a", inotify.Modify)
	write("a", "one")
	known.remember(is("the first time", []string{"a"}, saved))
	is("the same", nil, saved)
	write("a", "two") // of the same length
	seen := is("other content", []string{"a"}, saved)
	write("a", "one") // while it runs
	known.remember(seen)
	is("changed during the run", []string{"a"}, saved)
	known.remember(is("again", []string{"a"}, saved))
	write("a", "three")
	for _, want := range [][]string{{"a"}, {"a"}, nil} {
		seen := is("written by the run with the same content", want, saved)
		write("b", "three")
		os.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "a"))
		if want != nil {
			known.remember(seen)
		}
	}
	write("a", "one")
	known.remember(is("other content once more", []string{"a"}, saved))
	is("triggered by hand", []string{"a"}, event("a", 0))
	is("a directory", []string{"."}, event(".", inotify.Create|inotify.IsDir))
	os.Remove(filepath.Join(dir, "a"))
	known.remember(is("gone", []string{"a"}, event("a", inotify.Delete)))
	write("a", "one")
	known.remember(is("it is back", []string{"a"}, event("a", inotify.Create)))
	is("the same as before", nil, saved)
	known.forget(saved)
	is("after its run failed", []string{"a"}, saved)

	f, err := os.Create(filepath.Join(dir, "large"))
	if err == nil {
		err = errors.Join(f.Truncate(maxCompared+1), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	large := event("large", inotify.Modify)
	known.remember(is("a large file", []string{"large"}, large))
	is("a large file as it was", nil, large)
	later := time.Now().Add(time.Hour)
	os.Chtimes(filepath.Join(dir, "large"), later, later)
	is("a large file with another time", []string{"large"}, large)

	for i := range maxContents {
		known.digests[fmt.Sprint(i)] = seen[saved.Name()].digest
	}
	known.remember(is("too many", []string{"a"}, saved))
	is("the only one that is remembered", nil, saved)
	if len(known.digests) != 1 {
		t.Errorf("%d files are remembered", len(known.digests))
	}
	if err := new(Runnable).OnlyChanged(&config.Route{ChangedOnly: true}, nil)(t.Context(), nil); !errors.Is(err, router.ErrSkipped) {
		t.Errorf("without a change: %v", err)
	}
}
