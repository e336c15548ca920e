//! Kinds of file systems: whether an answer is a matter of this machine.

use std::path::Path;

use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC,
    XFS_SUPER_MAGIC, statfs,
};

/// File systems on disks of this machine. On all others, of which nothing is known, a server may be away.
const LOCAL: [FsType; 7] = [
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    TMPFS_MAGIC,
    OVERLAYFS_SUPER_MAGIC,
    // F2FS and ZFS.
    FsType(0xf2f5_2010),
    FsType(0x2fc1_2fc1),
];

/// Whether `path`, or where it will be created, is on a disk of this machine.
pub fn is_local(path: &Path) -> bool {
    let found = path.ancestors().find_map(|path| statfs(path).ok());
    found.is_some_and(|found| LOCAL.contains(&found.filesystem_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_disk_is_not_local() {
        assert!(!is_local(Path::new("/proc/self")));
        assert!(!is_local(Path::new("/proc/self/not/there")));
        assert!(!is_local(Path::new("")));
        let shared = Path::new("/dev/shm");
        assert_eq!(is_local(shared), shared.is_dir());
    }
}
