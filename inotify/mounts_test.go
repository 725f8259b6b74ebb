package inotify

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMountPoint(t *testing.T) {
	for line, want := range map[string]string{
		`36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`: "/mnt",
		`36 35 98:0 / /a\040b\134c\ rw - ext3 /dev/root rw`:         `/a b\c\`,
		`36 35 98:0 / /\101\9 rw - ext3 /dev/root rw`:               `/A\9`,
	} {
		if got, ok := mountPoint(line); got != want || !ok {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	if _, ok := mountPoint("36 35"); ok {
		t.Error("a short line has a mount point")
	}
}

// A file system that is mounted below the root is watched, and what it covered
// is watched again when it is gone. So is one that is mounted on the root.
func TestMounts(t *testing.T) {
	for _, at := range []string{"dir", "."} {
		t.Run(at, func(t *testing.T) {
			tr := newTrial(t, Subscription{Mask: Create}).run()
			tr.do(`mkdir dir/covered`)
			tr.flush()
			point := tr.at(at)
			if err := unix.Mount("tmpfs", point, "tmpfs", 0, "size=1m"); err != nil {
				t.Skip("mounting takes a privilege:", err)
			}
			mounted := true
			defer func() {
				if mounted {
					unix.Unmount(point, unix.MNT_DETACH)
				}
			}()
			tr.awaitMount(point)
			checkModel(t, tr)
			tr.must(os.MkdirAll(point+"/in/mount", 0o755))
			checkModel(t, tr)

			tr.must(unix.Unmount(point, 0))
			mounted = false
			tr.flush()
			checkModel(t, tr)
		})
	}
}

// awaitMount returns when the watcher has noticed that something is mounted
// on a directory: a file made in it is reported.
func (tr *trial) awaitMount(point string) {
	tr.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		tr.must(os.WriteFile(point+"/noticed", nil, 0o644))
		tr.must(os.Remove(point + "/noticed"))
		for _, e := range tr.flush() {
			if tr.at(e.Path) == point+"/noticed" {
				return
			}
		}
	}
	tr.t.Fatalf("%s is mounted and nobody notices", point)
}
