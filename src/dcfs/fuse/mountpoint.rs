//! Checks whether we can mount at a place: every refusal has its own message with a remedy.
//!
//! Everything is checked before mounting, so that the message is ours and not the kernel's "invalid argument".

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::unistd::{AccessFlags, access, geteuid};

use super::mounts::{self, Health};
use dcfs_core::error::Kind;

/// The kernel's FUSE device.
pub(super) const DEVICE: &str = "/dev/fuse";

/// The file in which an administrator allows `allow_other`.
const FUSE_CONF: &str = "/etc/fuse.conf";

/// How long others may look at a mount before it counts as in use: `df`, `dcfs status`, indexers of files.
const GLANCE: Duration = Duration::from_millis(400);

/// Why nothing was mounted, or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{0}` does not exist; make it first: mkdir -p '{0}'")]
    NoMountpoint(String),
    #[error(
        "`{path}` does not exist and cannot be made: {cause}; make it first: mkdir -p '{path}'"
    )]
    NotMade { path: String, cause: io::Error },
    #[error("`{0}` is not a directory; mount on an empty directory")]
    NotADirectory(String),
    #[error("`{0}` is not empty; mount on an empty directory, for its files would be hidden")]
    NotEmpty(String),
    #[error(
        "`{path}` is already mounted, showing `{catalog}`; unmount it first: dcfs unmount '{path}'"
    )]
    AlreadyMounted { path: String, catalog: String },
    #[error("something else ({fstype}) is mounted on `{path}`; choose another directory")]
    OtherMount { path: String, fstype: String },
    #[error("no permission to mount on `{0}`: it must belong to you; choose a directory of yours")]
    NotWritable(String),
    #[error("cannot examine `{path}`: {cause}")]
    Unreadable { path: String, cause: io::Error },
    #[error(
        "there is no `/dev/fuse`: load the module (modprobe fuse); in a container, start it with \
         --device /dev/fuse --cap-add SYS_ADMIN"
    )]
    NoDevice,
    #[error("no permission to open `/dev/fuse` ({0}); run as root, or: chmod 666 /dev/fuse")]
    DeviceDenied(io::Error),
    #[error("there is no `fusermount3`, which mounts for users; install it: apt-get install fuse3")]
    NoHelper,
    #[error(
        "`allow_other` is not allowed on this machine; as root, add the line `user_allow_other` to \
         /etc/fuse.conf, or mount without --allow-other"
    )]
    AllowOther,
    #[error("the kernel refused the mount: {0}; `dcfs doctor` looks for the reason")]
    Refused(io::Error),
    #[error("`{0}` is not a dcfs mount; `dcfs status` lists them")]
    NotMounted(String),
    #[error("`{0}` is in use; leave it (cd, open files), or: dcfs unmount --force '{0}'")]
    InUse(String),
    #[error(
        "`{0}` does not answer; wait, see its log (dcfs status), or: dcfs unmount --force '{0}'"
    )]
    Stuck(String),
    #[error("cannot unmount `{path}`: {cause}")]
    Unmount { path: String, cause: String },
}

impl From<Error> for dcfs_core::error::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NoMountpoint(_) | Error::NotMounted(_) => Kind::Missing,
            Error::NotADirectory(_)
            | Error::NotEmpty(_)
            | Error::AlreadyMounted { .. }
            | Error::OtherMount { .. } => Kind::Invalid,
            Error::NotWritable(_) | Error::DeviceDenied(_) | Error::AllowOther => Kind::Denied,
            Error::InUse(_) | Error::Stuck(_) => Kind::Busy,
            Error::Unreadable { .. }
            | Error::NoDevice
            | Error::NoHelper
            | Error::NotMade { .. }
            | Error::Refused(_)
            | Error::Unmount { .. } => Kind::Broken,
        };
        Self::new(kind, error)
    }
}

/// A directory that is ready for mounting.
#[derive(Debug)]
pub struct Prepared {
    /// Canonical.
    pub path: PathBuf,
    /// Whether a dead mount was removed.
    pub cleaned: bool,
    /// Whether the directory was created.
    pub made: bool,
}

/// Prepares a directory for mounting. A missing one is created if its parent directory is the caller's own: a
/// mistyped name must not appear in a place that others share.
///
/// # Errors
/// Every reason not to mount there, and every reason why this user cannot mount at all.
pub fn prepare(given: &Path, allow_other: bool) -> Result<Prepared, Error> {
    let cleaned = clean_if_dead(given)?;
    may_mount(allow_other)?;
    let made = make_if_missing(given)?;
    let path = fs::canonicalize(given).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Error::NoMountpoint(shown(given)),
        _ => Error::Unreadable { path: shown(given), cause },
    })?;
    if !path.is_dir() {
        return Err(Error::NotADirectory(shown(given)));
    }
    not_mounted(&path)?;
    let mut entries =
        fs::read_dir(&path).map_err(|cause| Error::Unreadable { path: shown(given), cause })?;
    if entries.next().is_some() {
        return Err(Error::NotEmpty(shown(given)));
    }
    if !geteuid().is_root() {
        access(&path, AccessFlags::W_OK).map_err(|_| Error::NotWritable(shown(given)))?;
    }
    Ok(Prepared { path, cleaned, made })
}

/// Checks that this user can mount at all.
fn may_mount(allow_other: bool) -> Result<(), Error> {
    device()?;
    if !geteuid().is_root() {
        helper().ok_or(Error::NoHelper)?;
        if allow_other && !others_allowed() {
            return Err(Error::AllowOther);
        }
    }
    Ok(())
}

/// Creates the directory, unless it exists or its parent directory is not ours.
fn make_if_missing(given: &Path) -> Result<bool, Error> {
    let missing =
        fs::symlink_metadata(given).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let around = match given.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(false),
    };
    let is_ours = fs::metadata(around)
        .is_ok_and(|parent| parent.is_dir() && parent.uid() == geteuid().as_raw());
    if !(missing && is_ours) {
        return Ok(false);
    }
    fs::create_dir(given).map_err(|cause| Error::NotMade { path: shown(given), cause })?;
    Ok(true)
}

/// Unmounts one of our mounts. `force` detaches it even while it is in use.
///
/// # Errors
/// Nothing of ours is mounted there, it is in use, or the system refuses.
pub fn unmount(given: &Path, force: bool) -> Result<PathBuf, Error> {
    let path = absolute(given);
    let mount = mounts::at(&path).ok().flatten().filter(mounts::Mount::is_dcfs);
    mount.ok_or_else(|| Error::NotMounted(shown(given)))?;
    match mounts::health(&path) {
        _ if force => detach(&path, true)?,
        Health::Dead => detach(&path, true)?,
        Health::Alive => detach_soon(&path)?,
        Health::Stuck => return Err(Error::Stuck(shown(given))),
    }
    Ok(path)
}

/// Checks that `/dev/fuse` exists and can be opened.
///
/// # Errors
/// [`Error::NoDevice`], [`Error::DeviceDenied`].
pub fn device() -> Result<(), Error> {
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
            Err(Error::NoDevice)
        }
        Err(error) => Err(Error::DeviceDenied(error)),
    }
}

/// The program that mounts for users: from `PATH`, or from its usual place if there is no `PATH`.
pub fn helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/sbin", "/usr/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).collect::<Vec<_>>().into_iter().chain(usual);
    folders.map(|folder| folder.join("fusermount3")).find(|file| file.is_file())
}

/// Whether `/etc/fuse.conf` lets users share their mounts with others.
pub fn others_allowed() -> bool {
    let conf = fs::read_to_string(FUSE_CONF).unwrap_or_default();
    conf.lines().any(|line| line.trim() == "user_allow_other")
}

/// Removes the mount of a process that died without unmounting: it would answer ENOTCONN for ever.
fn clean_if_dead(given: &Path) -> Result<bool, Error> {
    let path = absolute(given);
    let ours = mounts::at(&path).ok().flatten().is_some_and(|mount| mount.is_dcfs());
    if ours && mounts::health(&path) == Health::Dead {
        detach(&path, true)?;
        return Ok(true);
    }
    Ok(false)
}

/// The path in the form of mountinfo, without accessing what is mounted there: the parent is resolved.
pub fn absolute(given: &Path) -> PathBuf {
    if let Ok(path) = fs::canonicalize(given) {
        return path;
    }
    let (Some(parent), Some(name)) = (given.parent(), given.file_name()) else {
        return given.to_path_buf();
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    fs::canonicalize(parent).map_or_else(|_| given.to_path_buf(), |parent| parent.join(name))
}

fn not_mounted(path: &Path) -> Result<(), Error> {
    match mounts::at(path).ok().flatten() {
        Some(mount) if mount.is_dcfs() => {
            Err(Error::AlreadyMounted { path: shown(path), catalog: shown(mount.catalog()) })
        }
        // An automount point exists to be mounted over, and `/` is never a choice.
        Some(mount) if mount.fstype != "autofs" && mount.fstype.starts_with("fuse") => {
            Err(Error::OtherMount { path: shown(path), fstype: mount.fstype })
        }
        _ => Ok(()),
    }
}

/// Unmounts, and tries again for [`GLANCE`] while the mount is in use.
fn detach_soon(path: &Path) -> Result<(), Error> {
    let since = Instant::now();
    loop {
        match detach(path, false) {
            Err(Error::InUse(_)) if since.elapsed() < GLANCE => thread::sleep(GLANCE / 20),
            other => return other,
        }
    }
}

/// Unmounts, lazily if requested: as root by the system call, else by the helper.
pub(super) fn detach(path: &Path, lazy: bool) -> Result<(), Error> {
    let flags = if lazy { MntFlags::MNT_DETACH } else { MntFlags::UMOUNT_NOFOLLOW };
    match umount2(path, flags) {
        Ok(()) => Ok(()),
        Err(nix::Error::EBUSY) => Err(Error::InUse(shown(path))),
        Err(nix::Error::EPERM) => detach_by_helper(path, lazy),
        Err(cause) => Err(Error::Unmount { path: shown(path), cause: cause.to_string() }),
    }
}

fn detach_by_helper(path: &Path, lazy: bool) -> Result<(), Error> {
    let helper = helper().ok_or(Error::NoHelper)?;
    let flags: &[&str] = if lazy { &["-u", "-z"] } else { &["-u"] };
    let failed = |cause: String| Error::Unmount { path: shown(path), cause };
    let output = Command::new(helper)
        .args(flags)
        .arg("--")
        .arg(path)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if said.contains("busy") => Err(Error::InUse(shown(path))),
        false => Err(failed(said.trim().to_owned())),
    }
}

fn shown(path: impl AsRef<OsStr>) -> String {
    path.as_ref().to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_place_has_its_message() {
        let dir = tempfile::tempdir().expect("a place for files");
        let file = dir.path().join("file");
        fs::write(&file, "x").expect("writable");
        let cases = [
            (dir.path().join("none/none"), "does not exist; make it first"),
            (file, "is not a directory"),
            (dir.path().to_path_buf(), "is not empty"),
        ];
        for (path, message) in cases {
            let error = prepare(&path, false).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_place_is_made_in_a_folder_of_ours_alone() {
        let dir = tempfile::tempdir().expect("a place for files");
        let new = dir.path().join("new");
        assert!(make_if_missing(&new).expect("made") && new.is_dir());
        assert!(!make_if_missing(&new).expect("is there"));
        let dangling = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &dangling).expect("writable");
        assert!(!make_if_missing(&dangling).expect("is something"));
        assert!(!dir.path().join("nowhere").exists());
        if geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(12_345), None).expect("as root");
            let foreign = dir.path().join("other");
            assert!(!make_if_missing(&foreign).expect("not ours") && !foreign.exists());
        }
    }

    #[test]
    fn what_is_not_ours_is_not_unmounted() {
        for path in ["/", "/proc", "/no/such/place"] {
            let error = unmount(Path::new(path), true).expect_err(path);
            assert!(matches!(error, Error::NotMounted(_)), "{path}: {error}");
        }
    }
}
