package inotify

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mountNamespace may mount what nobody else sees.
func mountNamespace() *syscall.SysProcAttr {
	attr := namespace()
	attr.Cloneflags |= syscall.CLONE_NEWNS
	return attr
}

// wantRemote checks that a trial was told once, of path and a file system.
func (tr *blindTrial) wantRemote(path, fs string) {
	tr.t.Helper()
	told := tr.told()
	if len(told) != 1 {
		tr.t.Fatalf("told %q, want one notice", told)
	}
	if e, ok := errors.AsType[*RemoteError](told[0]); !ok || e.Path != tr.at(path) || e.FS != fs {
		tr.t.Errorf("told %v, want %s on %s", told[0], tr.at(path), fs)
	}
}

// TestRemoteRoot has the file system of the root be another.
func TestRemoteRoot(t *testing.T) {
	tests := []struct {
		name   string
		kind   uint32
		err    error
		remote string
	}{
		{"a disk is watched", unix.EXT4_SUPER_MAGIC, nil, ""},
		{"so is memory", unix.TMPFS_MAGIC, nil, ""},
		{"and what will not say", unix.NFS_SUPER_MAGIC, unix.EACCES, ""},
		{"NFS is looked at", unix.NFS_SUPER_MAGIC, nil, "nfs"},
		{"CIFS, the old number", unix.CIFS_SUPER_MAGIC, nil, "cifs"},
		{"SMB 2 and 3", unix.SMB2_SUPER_MAGIC, nil, "smb2"},
		{"9P", unix.V9FS_MAGIC, nil, "9p"},
		{"FUSE and virtiofs", unix.FUSE_SUPER_MAGIC, nil, "fuse"},
		{"Ceph", unix.CEPH_SUPER_MAGIC, nil, "ceph"},
		{"AFS", unix.AFS_SUPER_MAGIC, nil, "afs"},
		{"the kernel's AFS", unix.AFS_FS_MAGIC, nil, "afs"},
		{"Coda", unix.CODA_SUPER_MAGIC, nil, "coda"},
		{"a cluster's disk", unix.OCFS2_SUPER_MAGIC, nil, "ocfs2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newBlindTrial(t)
			tr.w.statfs = func(string) (uint32, error) { return tt.kind, tt.err }
			tr.do(`mkdir a/b`)
			tr.must(tr.add())
			tr.run()
			if tt.remote == "" {
				tr.unwatched(0, false)
				tr.step(`write a/b/f`, `
					create a/b/f
					close_write a/b/f`)
				return
			}
			tr.unwatched(3, true)
			tr.wantRemote(".", tt.remote)
			tr.step(`write a/b/f`, `modify|close_write|create a/b/f`)
			tr.step(`
				rm a/b
				mkdir c`, `
				delete|isdir a/b
				create|isdir c`)
			tr.unwatched(3, true)
			tr.do(`
				mkdir out:new
				write out:new/f`)
			tr.step(`exchange . out:new`, `
				move_self|isdir .
				create|isdir .
				modify|close_write|create f`)
			tr.wantRemote(".", tt.remote)
			tr.unwatched(1, true)
		})
	}
}

// A remote file system below the root is looked at, and nothing else.
func TestRemoteMount(t *testing.T) {
	if !apart(t, mountNamespace()) {
		return
	}
	for _, late := range []bool{false, true} {
		t.Run(map[bool]string{false: "there at Add", true: "mounted later"}[late], func(t *testing.T) {
			tr := newBlindTrial(t)
			tr.do(`
				mkdir local/dir
				mkdir mnt`)
			mount := func() {
				if err := unix.Mount("tmpfs", tr.at("mnt"), "tmpfs", 0, "size=1m"); err != nil {
					t.Skip("mounting takes a privilege:", err)
				}
			}
			var here unix.Stat_t
			tr.must(unix.Stat(tr.root, &here))
			tr.w.statfs = func(path string) (uint32, error) {
				var st unix.Stat_t
				if err := unix.Stat(path, &st); err != nil || st.Dev == here.Dev {
					return unix.EXT4_SUPER_MAGIC, err
				}
				return unix.NFS_SUPER_MAGIC, nil
			}
			if late {
				tr.must(tr.add())
				tr.run()
				tr.flush()
				mount()
				tr.w.mu.Lock()
				tr.w.mountsChanged() // Run does it too, when it gets to it
				tr.w.wake()
				tr.w.mu.Unlock()
				tr.step(`mkdir mnt/sub`, tr.lateMount())
			} else {
				mount()
				tr.do(`mkdir mnt/sub`)
				tr.must(tr.add())
				tr.run()
			}
			defer unix.Unmount(tr.at("mnt"), unix.MNT_DETACH)
			tr.wantRemote("mnt", "nfs")
			tr.unwatched(2, true)
			tr.step(`write mnt/sub/f`, `modify|close_write|create mnt/sub/f`)
			tr.step(`write local/dir/f`, `
				create local/dir/f
				close_write local/dir/f`)

			tr.must(unix.Unmount(tr.at("mnt"), 0))
			tr.step(``, `
				delete|isdir mnt
				create|isdir mnt`)
			tr.unwatched(0, false)
			checkModel(t, tr.trial)
		})
	}
}

// lateMount is what is reported of a mount in a directory with one in it.
func (tr *blindTrial) lateMount() string {
	return `
		delete|isdir mnt
		create|isdir mnt
		create|isdir mnt/sub`
}

// TestFUSE has a real file system whose files change behind the kernel's back.
func TestFUSE(t *testing.T) {
	bindfs, err := exec.LookPath("bindfs")
	if err != nil {
		t.Skip("a FUSE server is needed:", err)
	}
	if !apart(t, mountNamespace()) {
		return
	}
	tr := newBlindTrial(t)
	tr.do(`
		mkdir mnt
		mkdir out:server/dir
		write out:server/dir/f`)
	if out, err := exec.Command(bindfs, tr.at("out:server"), tr.at("mnt")).CombinedOutput(); err != nil {
		t.Skipf("mounting takes a privilege: %s", strings.TrimSpace(string(out)))
	}
	defer unix.Unmount(tr.at("mnt"), unix.MNT_DETACH)
	if _, err := os.Stat(tr.at("mnt/dir/f")); err != nil {
		t.Fatal(err)
	}
	tr.must(tr.add())
	tr.run()
	tr.wantRemote("mnt", "fuse")
	tr.unwatched(2, true)
	tr.step(``, ``)
	tr.step(`write out:server/dir/g`, `modify|close_write|create mnt/dir/g`)
	tr.step(`rm out:server/dir`, `delete|isdir mnt/dir`)
	tr.step(`write here`, `
		create here
		close_write here`)
	tr.must(unix.Unmount(tr.at("mnt"), 0))
	tr.step(``, `
		delete|isdir mnt
		create|isdir mnt`)
	tr.unwatched(0, false)
	checkModel(t, tr.trial)
}
