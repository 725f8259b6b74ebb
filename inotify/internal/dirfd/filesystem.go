package dirfd

import "golang.org/x/sys/unix"

// Numbers of file systems in statfs(2) that x/sys/unix does not have.
const (
	gfs2Magic     = 0x01161970
	lustreMagic   = 0x0bd00bd0
	beegfsMagic   = 0x19830326
	orangefsMagic = 0x20030528
	gpfsMagic     = 0x47504653
	vboxsfMagic   = 0x786f4256
	prlfsMagic    = 0x7c7c6673
	vmhgfsMagic   = 0xbacbacbc
)

// remote has the file systems whose files can be changed without a system call on
// this machine. Which server is behind FUSE, and whether it is on this machine,
// cannot be told; virtiofs has its number too.
var remote = map[uint32]string{
	unix.NFS_SUPER_MAGIC:   "nfs",
	unix.SMB_SUPER_MAGIC:   "smb",
	unix.SMB2_SUPER_MAGIC:  "smb2",
	unix.CIFS_SUPER_MAGIC:  "cifs",
	unix.NCP_SUPER_MAGIC:   "ncp",
	unix.CEPH_SUPER_MAGIC:  "ceph",
	unix.V9FS_MAGIC:        "9p",
	unix.AFS_SUPER_MAGIC:   "afs",
	unix.AFS_FS_MAGIC:      "afs",
	unix.FUSE_SUPER_MAGIC:  "fuse",
	unix.CODA_SUPER_MAGIC:  "coda",
	unix.OCFS2_SUPER_MAGIC: "ocfs2",
	gfs2Magic:              "gfs2",
	lustreMagic:            "lustre",
	beegfsMagic:            "beegfs",
	orangefsMagic:          "orangefs",
	gpfsMagic:              "gpfs",
	vboxsfMagic:            "vboxsf",
	prlfsMagic:             "prl_fs",
	vmhgfsMagic:            "vmhgfs",
}

// Remote returns the name of a remote file system by its f_type in statfs(2), and
// "" for one whose files only this machine changes.
func Remote(kind uint32) string { return remote[kind] }

// Filesystem returns the f_type of the file system that a path leads to.
func Filesystem(path string) (kind uint32, err error) {
	var fs unix.Statfs_t
	err = unix.Statfs(path, &fs)
	return uint32(fs.Type), err
}

// CountsSubdirs reports whether the link count of a directory says how many
// directories it holds, on the file system that fd is on. It does not on btrfs,
// overlayfs and network file systems.
func CountsSubdirs(fd int) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil {
		return false
	}
	switch fs.Type {
	case unix.EXT4_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.XFS_SUPER_MAGIC:
		return true
	}
	return false
}
