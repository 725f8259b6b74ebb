package inotify

import "testing"

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
