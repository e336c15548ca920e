//! Opening a local file with no more rights than the program that asked for it.
//!
//! A mount that other users can access reads for all of them. A file is served to whoever could have opened it
//! without the mount, and to nobody else. As root the thread takes on the caller's identity for file system
//! checks (`setfsuid(2)`), so that the kernel checks every folder on the path, including access control lists.
//! Other users cannot do that; then the file's own mode decides, and folders on the path are not checked.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Uid, geteuid, getgroups, setfsgid, setfsuid};

use super::error::Error;

/// The user, group and process behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    /// Its process, whose groups count; 0 if unknown here.
    pub pid: u32,
}

impl Caller {
    /// Its supplementary groups.
    fn groups(self) -> Vec<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        // The pid may have been reused after the process ended.
        let is_same = line("Uid:")
            .is_some_and(|uids| uids.split_whitespace().any(|uid| uid.parse() == Ok(self.uid)));
        let groups = line("Groups:").filter(|_| is_same).unwrap_or_default();
        groups.split_whitespace().filter_map(|group| group.parse().ok()).collect()
    }

    /// Whether the mode of a file allows reading it.
    fn may_read(self, found: &fs::Metadata) -> bool {
        let bit = if found.uid() == self.uid {
            0o400
        } else if found.gid() == self.gid || self.groups().contains(&found.gid()) {
            0o040
        } else {
            0o004
        };
        found.mode() & bit != 0
    }
}

/// Runs `open` as `caller`, on this thread alone.
///
/// # Errors
/// Those of `open`; `Denied` if the caller may not read the file.
pub fn as_caller(
    caller: Option<Caller>,
    place: &str,
    open: impl FnOnce() -> Result<File, Error>,
) -> Result<File, Error> {
    let Some(caller) = caller.filter(|caller| caller.uid != geteuid().as_raw()) else {
        return open();
    };
    if geteuid().is_root() {
        let _identity = Identity::take(caller).map_err(|errno| Error::Failed {
            place: place.to_owned(),
            cause: format!("cannot assume the rights of user {}: {errno}", caller.uid),
        })?;
        return open();
    }
    let file = open()?;
    let found = file.metadata().map_err(|error| super::local::io_error(place, &error))?;
    match caller.may_read(&found) {
        true => Ok(file),
        false => Err(super::local::io_error(place, &std::io::ErrorKind::PermissionDenied.into())),
    }
}

/// The identity of another user, until dropped.
struct Identity {
    groups: Vec<u32>,
    uid: Uid,
    gid: Gid,
}

impl Identity {
    fn take(caller: Caller) -> Result<Self, nix::errno::Errno> {
        let groups = getgroups()?.into_iter().map(Gid::as_raw).collect();
        set_groups(&caller.groups())?;
        let gid = setfsgid(Gid::from_raw(caller.gid));
        let uid = setfsuid(Uid::from_raw(caller.uid));
        let taken = Self { groups, uid, gid };
        // Neither call reports failure, but called with an invalid id it returns the current one.
        let is_now = (setfsuid(Uid::from_raw(u32::MAX)), setfsgid(Gid::from_raw(u32::MAX)));
        match is_now == (Uid::from_raw(caller.uid), Gid::from_raw(caller.gid)) {
            true => Ok(taken),
            false => Err(nix::errno::Errno::EPERM),
        }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
        // Root may always do this; a thread that kept somebody else's groups would serve the wrong files.
        if set_groups(&self.groups).is_err() {
            std::process::abort();
        }
    }
}

/// Sets the groups of this thread. The C library's function sets those of all threads.
fn set_groups(groups: &[u32]) -> Result<(), nix::errno::Errno> {
    // SAFETY: the pointer is valid for the given number of ids, which the kernel only reads.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    nix::errno::Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_opened_with_the_rights_of_the_caller() {
        let base = tempfile::tempdir().expect("a folder");
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let path = base.path().join("a");
        fs::write(&path, "a").expect("a file");
        let open = || File::open(&path).map_err(|error| super::super::local::io_error("a", &error));
        let nobody = Some(Caller { uid: 65534, gid: 65534, pid: 0 });
        let us = Some(Caller { uid: geteuid().as_raw(), gid: 0, pid: std::process::id() });
        for (mode, may) in [(0o644, true), (0o600, false), (0o640, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            assert_eq!(as_caller(nobody, "a", open).is_ok(), may, "{mode:o}");
            assert!(as_caller(us, "a", open).is_ok());
            assert!(as_caller(None, "a", open).is_ok());
        }
        if geteuid().is_root() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
            fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
            assert!(as_caller(nobody, "a", open).is_err(), "the folder forbids it");
        }
    }
}
