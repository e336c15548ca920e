//! The current mounts, from `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

/// The type of our file systems in `/proc/mounts` and `df -t`.
pub const FSTYPE: &str = "fuse.dcfs";

/// Prefix of the catalog's path in the source of a mount.
pub const SOURCE_PREFIX: &str = "dcfs:";

/// Time limit of a mount's answer to a health check.
const PATIENCE: Duration = Duration::from_secs(2);

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of its file system: different for each mount.
    pub device: String,
    pub mountpoint: PathBuf,
    pub fstype: String,
    pub source: OsString,
    /// The user who mounted it, by the FUSE options; `None` for other file systems.
    pub owner: Option<u32>,
}

/// Whether a mount responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Alive,
    /// Its process is gone: every access fails with ENOTCONN until it is unmounted.
    Dead,
    /// No answer within [`PATIENCE`].
    Stuck,
}

impl Mount {
    /// Whether it is one of ours.
    pub fn is_dcfs(&self) -> bool {
        self.fstype == FSTYPE
    }

    /// The catalog of one of our mounts.
    pub fn catalog(&self) -> PathBuf {
        let source = self.source.clone().into_vec();
        let path = source.strip_prefix(SOURCE_PREFIX.as_bytes()).unwrap_or(&source).to_vec();
        OsString::from_vec(path).into()
    }
}

/// All mounts that this process can see; later ones cover earlier ones at the same place.
///
/// # Errors
/// `/proc` is not available.
pub fn all() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// The mountpoint of a catalog, if any: the latest mount.
pub fn of_catalog(catalog: &Path) -> Option<PathBuf> {
    let catalog = std::fs::canonicalize(catalog).ok()?;
    let is_ours = |mount: &Mount| mount.is_dcfs() && mount.catalog() == catalog;
    all().ok()?.into_iter().rfind(is_ours).map(|mount| mount.mountpoint)
}

/// The topmost mount at `path`, if any. `path` is canonical.
///
/// # Errors
/// `/proc` is not available.
pub fn at(path: &Path) -> io::Result<Option<Mount>> {
    Ok(all()?.into_iter().rfind(|mount| mount.mountpoint == path))
}

/// Asks a mount for its free space, which the kernel never answers from its own cache, unlike attributes of the
/// root. Runs in a thread of its own, because a stuck mount would block this one.
pub fn health(mountpoint: &Path) -> Health {
    let (tell, told) = mpsc::channel();
    let path = mountpoint.to_path_buf();
    thread::spawn(move || tell.send(statvfs(&path).err()));
    match told.recv_timeout(PATIENCE) {
        Ok(Some(Errno::ENOTCONN | Errno::ECONNABORTED)) => Health::Dead,
        Ok(_) => Health::Alive,
        Err(_) => Health::Stuck,
    }
}

/// Lines are `id parent major:minor root mountpoint options [tags] - fstype source options`.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let device = String::from_utf8_lossy(fields.nth(2)?).into_owned();
    let mountpoint = unescape(fields.nth(1)?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let fstype = String::from_utf8_lossy(&unescape(rest.next()?)).into_owned();
    let source = OsString::from_vec(unescape(rest.next()?));
    let owner = rest.next().and_then(owner);
    Some(Mount { device, mountpoint: OsString::from_vec(mountpoint).into(), fstype, source, owner })
}

/// The user id among the options of a FUSE file system.
fn owner(options: &[u8]) -> Option<u32> {
    let mut options = options.split(|b| *b == b',');
    let id = options.find_map(|option| option.strip_prefix(b"user_id="))?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// Space, tab, newline and backslash are escaped as `\040` and so on.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        out.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_the_kernel() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
            90 29 0:62 / /mnt/a\\040b\\134c ro,nosuid - fuse.dcfs dcfs:/x/my\\040cat/.datachain/db ro,user_id=7,group_id=8\n\
            \nnonsense\n1 2 3 4 /short -\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert!(!mounts[0].is_dcfs());
        assert_eq!(mounts[1].device, "0:62");
        assert_eq!((mounts[0].owner, mounts[1].owner), (None, Some(7)));
        assert_eq!(mounts[1].mountpoint, Path::new("/mnt/a b\\c"));
        assert!(mounts[1].is_dcfs());
        assert_eq!(mounts[1].catalog(), Path::new("/x/my cat/.datachain/db"));
    }

    #[test]
    fn this_process_sees_its_root() {
        assert!(at(Path::new("/")).expect("/proc is there").is_some());
    }
}
