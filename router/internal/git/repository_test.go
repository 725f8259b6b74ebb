package git

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Between the steps of a git command there is no lock, but its directory has changed a
// moment ago.
func TestIsBusy(t *testing.T) {
	const quiet = time.Minute
	for _, tt := range []struct {
		name   string
		locked bool
		age    time.Duration // of the last change of the directory
		busy   bool
	}{
		{"long ago", false, time.Hour, false},
		{"a moment ago", false, 0, true},
		{"in the future, by another clock", false, -time.Hour, false},
		{"with a lock that was left behind", true, time.Hour, true},
	} {
		dir := filepath.Join(t.TempDir(), ".git")
		write(t, filepath.Join(dir, "HEAD"), "")
		if tt.locked {
			write(t, filepath.Join(dir, "index.lock"), "")
		}
		at := time.Now().Add(-tt.age)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		if _, got := FindDir(filepath.Join(dir, "../src")); got != dir {
			t.Errorf("%s: the git directory is %q, want %q", tt.name, got, dir)
		}
		if got := IsBusy(dir, quiet); got != tt.busy {
			t.Errorf("%s: busy: %v, want %v", tt.name, got, tt.busy)
		}
	}
}
