package inotify

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A RemoteError says that a directory lies on a file system that others may
// change without this kernel's knowledge, so that it and all below are looked
// at every Options.PollInterval instead of being watched. It is a notice:
// nothing failed.
type RemoteError struct {
	Path string // the root, or where the file system is mounted below it
	FS   string // what statfs(2) says that it is, such as "nfs" or "fuse"
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s is on %s, where inotify does not see what others change: looking for changes instead", Quote(e.Path), e.FS)
}

// remoteFS is the f_type in statfs(2) of the file systems whose files others
// than this kernel's programs can change. Which server is behind FUSE, and
// whether it is on this machine, cannot be told; virtiofs has its number too.
var remoteFS = map[uint32]string{
	0x00006969: "nfs",
	0x0000517b: "smb",
	0x0000564c: "ncp",
	0x00c36400: "ceph",
	0x01021997: "9p",
	0x01161970: "gfs2",
	0x0bd00bd0: "lustre",
	0x19830326: "beegfs",
	0x20030528: "orangefs",
	0x47504653: "gpfs",
	0x5346414f: "afs",
	0x65735546: "fuse",
	0x6b414653: "afs",
	0x73757245: "coda",
	0x7461636f: "ocfs2",
	0x786f4256: "vboxsf",
	0x7c7c6673: "prl_fs",
	0xbacbacbc: "vmhgfs",
	0xfe534d42: "smb2",
	0xff534d42: "cifs",
}

// fileSystem is the f_type of what path lies on.
func fileSystem(path string) (uint32, error) {
	var fs unix.Statfs_t
	err := unix.Statfs(path, &fs)
	return uint32(fs.Type), err
}

// remote names the file system that name in the directory open as fd, or that
// itself when name is empty, lies on; it is empty when inotify sees everything
// there.
func (w *Watcher) remote(fd int, name string) string {
	kind, err := w.statfs(procPath(fd, name))
	if err != nil {
		return ""
	}
	return remoteFS[kind]
}
