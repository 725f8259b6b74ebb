package livereload

import (
	"fmt"
	"strings"
	"testing"
)

// However much happens, a snapshot stays small.
func TestSnapshotIsBounded(t *testing.T) {
	h := New(Config{}, nil)
	for range 100 {
		c := h.join()
		h.describe(c, strings.Repeat("x", 1<<16), "[::1]:5", "")
		h.setTitle(c, strings.Repeat("€", 1<<16))
	}
	var paths []string
	for i := range 100 {
		paths = append(paths, fmt.Sprintf("%d.js", i))
	}
	for range 2 * maxChanges {
		h.broadcast(newChange(paths), nil)
	}
	shot := h.Snapshot(1, 1)
	r := shot.Changes[0]
	if len(shot.Changes) != maxChanges || r.Number != 2*maxChanges || len(r.Files)+r.MoreFiles != 100 || len(r.Files) != maxChangeFiles ||
		len(r.Affected)+r.MorePages != 100 || len(r.Affected) != maxAffected || r.Reloads != 100 || len(shot.Pages[0].URL) != maxURL || shot.Pages[0].Remote != "::1" {
		t.Errorf("%d changes; the last: %+v", len(shot.Changes), r)
	}
	if got := shot.Pages[0].Title; got != strings.Repeat("€", maxTitle/3) {
		t.Errorf("of the title is kept %q", got)
	}
}

// BenchmarkSnapshot is how long a status page holds everybody up while ten
// thousand pages are open.
func BenchmarkSnapshot(b *testing.B) {
	h := New(Config{}, nil)
	for i := range 10_000 {
		h.describe(h.join(), fmt.Sprintf("http://h/%d.html", i), "", "")
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Snapshot(100, 100)
	}
}
