package livereload

import (
	"fmt"
	"testing"
)

// A page that was served after so many changes has what was served since then,
// and not what may have been served before.
func TestServedFiles(t *testing.T) {
	one, two := FileVersion{Inode: 1}, FileVersion{Inode: 2}
	var s servedFiles
	for _, step := range []struct {
		state          FileVersion
		changes, since uint64
	}{
		{one, 0, 0}, {one, 3, 0}, {two, 3, 4}, {two, 5, 4}, {one, 7, 6}, {two, 7, 8}, {one, 7, 8},
	} {
		s.note("/a", step.state, step.changes)
		if got := s.files["/a"]; got.since != step.since || got.version != step.state {
			t.Errorf("%+v: got %+v", step, got)
		}
	}
	for i := range maxServed {
		s.note(fmt.Sprint(i), one, 9)
	}
	if got := s.files[fmt.Sprint(maxServed-1)]; got.since != 10 || len(s.files) > maxServed {
		t.Errorf("%d files are known, the latest %+v", len(s.files), got)
	}
}
