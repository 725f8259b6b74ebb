package inotify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each case has a root whose path is way/root below a directory that is not
// watched, and something happens to the way.
func TestRoots(t *testing.T) {
	tests := []struct{ name, setup, before, script, want string }{
		{"missing at the start", `rm out:way`, ``, `
			mkdir out:way/root/a
			write out:way/root/a/f`, `
			create|isdir .
			create|isdir a
			modify|close_write|create a/f`},
		{"the directory above is missing, and comes with everything in it", `
			rm out:way
			mkdir out:new/root
			write out:new/root/f`, ``, `mv out:new out:way`, `
			create|isdir .
			modify|close_write|create f`},
		{"deleted", ``, ``, `rm out:way/root`, `
			delete_self|isdir .`},
		{"deleted and made again", ``, `
			mkdir out:way/root/a
			rm out:way/root`, `
			mkdir out:way/root/b`, `
			create|isdir .
			create|isdir b`},
		{"moved away", ``, ``, `
			mv out:way/root out:way/old`, `
			move_self|isdir .`},
		{"the directory above is moved away", ``, ``, `
			mv out:way out:old`, `
			move_self|isdir .`},
		{"moved away and back", ``, `
			write out:way/root/f
			mv out:way/root out:way/old`, `
			mv out:way/old out:way/root`, `
			create|isdir .
			modify|close_write|create f`},
		{"replaced by a rename", ``, `
			mkdir out:new
			write out:new/f`, `
			mv out:way/root out:old
			mv out:new out:way/root`, `
			move_self|isdir .
			create|isdir .
			modify|close_write|create f`},
		{"exchanged", ``, `
			mkdir out:new
			write out:new/f`, `
			exchange out:new out:way/root`, `
			move_self|isdir .
			create|isdir .
			modify|close_write|create f`},
		{"a symbolic link that is turned", `
			mkdir out:1
			mkdir out:2
			write out:2/f
			rm out:way/root
			symlink out:1 out:way/root`, ``, `
			symlink out:2 out:way/tmp
			mv out:way/tmp out:way/root`, `
			move_self|isdir .
			create|isdir .
			modify|close_write|create f`},
		{"a link on the way that is turned", `
			mkdir out:1/root
			mkdir out:2/root
			write out:2/root/f
			rm out:way
			symlink out:1 out:way`, ``, `
			symlink out:2 out:tmp
			mv out:tmp out:way`, `
			move_self|isdir .
			create|isdir .
			modify|close_write|create f`},
		{"Kubernetes' ..data", `
			mkdir out:way/..1
			mkdir out:way/..2
			write out:way/..2/f
			rm out:way/root
			symlink out:way/..1 out:way/..data
			symlink out:way/..data out:way/root`, ``, `
			symlink out:way/..2 out:way/..data_tmp
			mv out:way/..data_tmp out:way/..data
			rm out:way/..1`, `
			delete_self|isdir .
			create|isdir .
			modify|close_write|create f`},
		{"something else with another name happens on the way", ``, ``, `
			mkdir out:way/other
			rm out:way/other`, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrial(t, Subscription{Mask: Create | CloseWrite})
			tr.do("mkdir out:way/root")
			root := &trial{t: t, root: tr.at("out:way/root"), out: tr.out, w: tr.w}
			tr.do(tt.setup)
			tr.must(tr.w.Add(Subscription{Root: root.root, Wait: true, Mask: Create | CloseWrite, Deliver: root.take}))
			tr.do(tt.before)
			tr.read()
			root.taken()
			tr.do(tt.script)
			tr.read()
			got := lines(root.taken())
			if want := strings.TrimPrefix(strings.ReplaceAll(tt.want, "\t", ""), "\n"); strings.TrimSpace(got) != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if _, err := os.Stat(root.root); err == nil {
				tr.run()
				root.root, _ = filepath.EvalSymlinks(root.root)
				probeRoot(t, root)
			}
		})
	}
}

// probeRoot sees that what happens in the root is reported.
func probeRoot(t *testing.T, root *trial) {
	t.Helper()
	root.flush()
	root.do("write probe")
	if got := lines(root.flush()); got != "create probe\nclose_write probe\n" {
		t.Errorf("after a probe in the root:\n%s", got)
	}
}
