//! The folders of catalogs on servers: of this user, below `$XDG_STATE_HOME/dcfs/catalogs/`.

use std::path::PathBuf;

use dcfs_core::hex::hex;
use dcfs_disk::private;
use nix::unistd::{User, geteuid};
use sha2::{Digest, Sha256};

use super::address::Account;
use crate::catalog::error::Error;

/// Rows of versions, and parts of those that are being pulled: a folder for each.
pub const VERSIONS: &str = "versions";
pub const PARTS: &str = "parts";
/// Locks of pulls, and of names.
pub const LOCKS: &str = "locks";
/// An empty file for each version that Studio did not name any more: as old as that.
pub const ABSENT: &str = "absent";
/// The mirror of names, and its lock.
pub const NAMES: &str = "names";

/// The user's folder for state; without any environment, by the home in the password file. Never one that others share.
pub fn state() -> PathBuf {
    let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    named.filter(|path| path.is_absolute()).unwrap_or_else(|| home().join(".local/state"))
}

/// The user's home.
pub fn home() -> PathBuf {
    let named = std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let known = || User::from_uid(geteuid()).ok().flatten().map(|user| user.dir);
    named.or_else(known).unwrap_or_else(|| PathBuf::from("/"))
}

/// The folder of the mirror, which only this user may enter.
///
/// # Errors
/// It cannot be created, or others may write to it.
pub fn made(account: &Account) -> Result<PathBuf, Error> {
    let hash = Sha256::digest(format!("{}\n{}", account.url, account.team));
    let folder = state().join("dcfs/catalogs").join(hex(&hash[..16]));
    let refused = |error: private::Error| Error::Caller(error.into());
    private::folder(&folder).map_err(refused)?;
    for below in [NAMES, VERSIONS, PARTS, LOCKS, ABSENT] {
        private::folder(&folder.join(below)).map_err(refused)?;
    }
    Ok(folder)
}

/// The name of a version's folder: its uuid is a stranger's text.
pub fn of_version(uuid: &str) -> String {
    hex(&Sha256::digest(uuid)[..16])
}
