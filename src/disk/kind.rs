//! Kinds of file systems: whether an answer is a matter of this machine.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs,
};

/// File systems on disks of this machine. On all others, of which nothing is known, a server may be away.
///
/// OverlayFS, the root of most containers, is not among them: its layers may be on a server, and a container does not see
/// where they are. What is kept in a container's own layer is thus not taken for local; on a volume it is.
const LOCAL: [FsType; 6] = [
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    TMPFS_MAGIC,
    // F2FS and ZFS.
    FsType(0xf2f5_2010),
    FsType(0x2fc1_2fc1),
];

/// Whether `path`, or where it will be created, is on a disk of this machine. `false` where that cannot be told. Blocks as long as a
/// server that is away does not answer.
///
/// The file system is known, not what is below it: a disk that is itself a server's (iSCSI, NBD, RBD, EBS) with, say, ext4 on it
/// is taken for local.
pub fn is_local(path: &Path) -> bool {
    for place in path.ancestors() {
        match statfs(place) {
            Ok(found) => return LOCAL.contains(&found.filesystem_type()),
            // It will be created: then it is where its parent is. Any other error tells nothing.
            Err(Errno::ENOENT) => {}
            Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_disk_is_not_local() {
        assert!(!is_local(Path::new("/proc/self")));
        assert!(!is_local(Path::new("/proc/self/not/there")));
        assert!(!is_local(Path::new("")));
    }

    #[test]
    fn what_is_not_there_is_where_its_folder_is_unless_nothing_can_be_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = statfs(folder.path()).expect("a file system").filesystem_type();
        let is_known = LOCAL.contains(&found);
        for name in ["", "not", "not/there"] {
            assert_eq!(is_local(&folder.path().join(name)), is_known, "{name}");
        }
        assert!(!is_local(&folder.path().join("x".repeat(300))), "too long a name");
        std::fs::write(folder.path().join("file"), "").expect("a file");
        assert!(!is_local(&folder.path().join("file/below")), "not a folder");
    }
}
