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

// mountNamespaceAttr is for a process that may mount, which no other process sees.
func mountNamespaceAttr() *syscall.SysProcAttr {
	attr := userNamespace()
	attr.Cloneflags |= syscall.CLONE_NEWNS
	return attr
}

// wantRemote checks that there was one problem: a file system that is remote, at path.
func (tr *pollFixture) wantRemote(path, fs string) {
	tr.t.Helper()
	problems := tr.takeProblems()
	if len(problems) != 1 {
		tr.t.Fatalf("problems %q, want one", problems)
	}
	if e, ok := errors.AsType[*RemoteError](problems[0]); !ok || e.Path != tr.at(path) || e.FS != fs {
		tr.t.Errorf("problem %v, want %s on %s", problems[0], tr.at(path), fs)
	}
}

// makeOthersRemote makes every file system but that of the root remote.
func (tr *pollFixture) makeOthersRemote() {
	var here unix.Stat_t
	tr.must(unix.Stat(tr.root, &here))
	tr.watcher.statfs = func(path string) (uint32, error) {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Dev == here.Dev {
			return unix.EXT4_SUPER_MAGIC, err
		}
		return unix.NFS_SUPER_MAGIC, nil
	}
}

// TestRemoteRoot makes the file system of the root another one.
func TestRemoteRoot(t *testing.T) {
	tests := []struct {
		name   string
		kind   uint32
		err    error
		remote string
	}{
		{"a disk is watched", unix.EXT4_SUPER_MAGIC, nil, ""},
		{"so is tmpfs", unix.TMPFS_MAGIC, nil, ""},
		{"so is a file system that statfs fails on", unix.NFS_SUPER_MAGIC, unix.EACCES, ""},
		{"NFS is polled", unix.NFS_SUPER_MAGIC, nil, "nfs"},
		{"CIFS, the old number", unix.CIFS_SUPER_MAGIC, nil, "cifs"},
		{"SMB 2 and 3", unix.SMB2_SUPER_MAGIC, nil, "smb2"},
		{"9P", unix.V9FS_MAGIC, nil, "9p"},
		{"FUSE and virtiofs", unix.FUSE_SUPER_MAGIC, nil, "fuse"},
		{"Ceph", unix.CEPH_SUPER_MAGIC, nil, "ceph"},
		{"AFS", unix.AFS_SUPER_MAGIC, nil, "afs"},
		{"the kernel's AFS", unix.AFS_FS_MAGIC, nil, "afs"},
		{"Coda", unix.CODA_SUPER_MAGIC, nil, "coda"},
		{"OCFS2", unix.OCFS2_SUPER_MAGIC, nil, "ocfs2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newPollFixture(t)
			tr.watcher.statfs = func(string) (uint32, error) { return tt.kind, tt.err }
			tr.do(`mkdir a/b`)
			tr.must(tr.add())
			tr.run()
			if tt.remote == "" {
				tr.wantUnwatched(0, false)
				tr.expect(`write a/b/f`, `
					create a/b/f
					close_write a/b/f`)
				return
			}
			tr.wantUnwatched(3, true)
			tr.wantRemote(".", tt.remote)
			tr.expect(`write a/b/f`, `modify|close_write|create a/b/f`)
			tr.expect(`
				rm a/b
				mkdir c`, `
				delete|isdir a/b
				create|isdir c`)
			tr.wantUnwatched(3, true)
			tr.do(`
				mkdir out:new
				write out:new/f`)
			tr.expect(`exchange . out:new`, `
				move_self|isdir .
				create|isdir .
				modify|close_write|create f`)
			tr.wantRemote(".", tt.remote)
			tr.wantUnwatched(1, true)
		})
	}
}

// A remote file system of which somebody else brings the changes of others is watched.
func TestRemoteTrusted(t *testing.T) {
	tr := newPollFixture(t)
	tr.watcher.statfs = func(string) (uint32, error) { return unix.NFS_SUPER_MAGIC, nil }
	tr.watcher.trusts = func(path, fs string) bool { return path == tr.root && fs == "nfs" }
	tr.do(`mkdir a/b`)
	tr.must(tr.add())
	tr.run()
	tr.wantUnwatched(0, false)
	tr.expect(`write a/b/f`, `
		create a/b/f
		close_write a/b/f`)
	if problems := tr.takeProblems(); len(problems) > 0 {
		t.Errorf("problems %q, want none", problems)
	}
}

// What is written to a file that is polled is reported by the next poll, also if Update has
// looked at the file before.
func TestRemoteRootFile(t *testing.T) {
	tr := newPollFixture(t)
	tr.watcher.statfs = func(string) (uint32, error) { return unix.NFS_SUPER_MAGIC, nil }
	tr.do(`write f`)
	h := tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at("f"), Deliver: tr.deliver}))
	tr.run()
	tr.expect(`append f`, `modify|close_write .`)
	tr.do(`append f`)
	tr.must(h.Update(Changes|Open, nil, ""))
	tr.expect(``, `modify|close_write .`)
}

// A remote file system below the root is polled, and nothing else is.
func TestRemoteMount(t *testing.T) {
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	for _, late := range []bool{false, true} {
		t.Run(map[bool]string{false: "there at Add", true: "mounted later"}[late], func(t *testing.T) {
			tr := newPollFixture(t)
			tr.do(`
				mkdir local/dir
				mkdir mnt`)
			mount := func() {
				if err := unix.Mount("tmpfs", tr.at("mnt"), "tmpfs", 0, "size=1m"); err != nil {
					t.Skip("mounting needs a privilege:", err)
				}
			}
			tr.makeOthersRemote()
			if late {
				tr.begin()
				mount()
				tr.watcher.mu.Lock()
				tr.watcher.mountsChanged() // Run does it too, when it gets to it
				tr.watcher.wake()
				tr.watcher.mu.Unlock()
				tr.expect(`mkdir mnt/sub`, `
					delete|isdir mnt
					create|isdir mnt
					create|isdir mnt/sub`)
			} else {
				mount()
				tr.do(`mkdir mnt/sub`)
				tr.must(tr.add())
				tr.run()
			}
			defer unix.Unmount(tr.at("mnt"), unix.MNT_DETACH)
			tr.wantRemote("mnt", "nfs")
			tr.wantUnwatched(2, true)
			tr.expect(`write mnt/sub/f`, `modify|close_write|create mnt/sub/f`)
			tr.expect(`write local/dir/f`, `
				create local/dir/f
				close_write local/dir/f`)

			tr.must(unix.Unmount(tr.at("mnt"), 0))
			tr.expect(``, `
				delete|isdir mnt
				create|isdir mnt`)
			tr.wantUnwatched(0, false)
			checkModel(t, tr.fixture)
		})
	}
}

// TestFUSE has a real file system whose files change without the knowledge of the kernel.
func TestFUSE(t *testing.T) {
	bindfs, err := exec.LookPath("bindfs")
	if err != nil {
		t.Skip("a FUSE server is needed:", err)
	}
	if !inSubprocess(t, mountNamespaceAttr()) {
		return
	}
	tr := newPollFixture(t)
	tr.do(`
		mkdir mnt
		mkdir out:server/dir
		write out:server/dir/f`)
	if out, err := exec.Command(bindfs, tr.at("out:server"), tr.at("mnt")).CombinedOutput(); err != nil {
		t.Skipf("mounting needs a privilege: %s", strings.TrimSpace(string(out)))
	}
	defer unix.Unmount(tr.at("mnt"), unix.MNT_DETACH)
	_, err = os.Stat(tr.at("mnt/dir/f"))
	must(t, err)
	tr.must(tr.add())
	tr.run()
	tr.wantRemote("mnt", "fuse")
	tr.wantUnwatched(2, true)
	tr.expect(``, ``)
	tr.expect(`write out:server/dir/g`, `modify|close_write|create mnt/dir/g`)
	tr.expect(`rm out:server/dir`, `delete|isdir mnt/dir`)
	tr.expect(`write here`, `
		create here
		close_write here`)
	tr.must(unix.Unmount(tr.at("mnt"), 0))
	tr.expect(``, `
		delete|isdir mnt
		create|isdir mnt`)
	tr.wantUnwatched(0, false)
	checkModel(t, tr.fixture)
}

// Verify finds nothing where the tree is right, whatever it is asked for.
func TestVerifyWhatIsKnown(t *testing.T) {
	tr := newPollFixture(t)
	tr.do(`
		mkdir a/b
		write a/f`)
	tr.must(tr.add())
	tr.run()
	for _, path := range []string{"a", "a/b", "a/f", "a/none", "none/b", "a/f/x"} {
		tr.watcher.Verify(tr.root, path)
	}
	tr.watcher.Verify("/nowhere", "a")
	tr.expect(``, ``)
	checkModel(t, tr.fixture)
}
