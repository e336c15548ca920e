//! The user's folders, as the XDG base directory rules have it, and where there is no environment at
//! all (systemd starts mounts without `HOME`), from the password file.

use std::env;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use dcfs_core::error::{Error, Result};
use dcfs_data::usage::Usage;

/// `$XDG_CACHE_HOME/dcfs`: packs, and what was fetched.
pub fn cache() -> PathBuf {
    base("XDG_CACHE_HOME", ".cache")
}

/// `$XDG_STATE_HOME/dcfs`: logs, and a note for each mount.
pub fn state() -> PathBuf {
    base("XDG_STATE_HOME", ".local/state")
}

/// `$XDG_CONFIG_HOME/dcfs`: settings.
pub fn config() -> PathBuf {
    base("XDG_CONFIG_HOME", ".config")
}

/// Makes a folder of [`state`] that only the user may look into.
///
/// # Errors
/// The system refuses; the folder is somebody else's. The message names it, and what chooses another.
pub fn private(folder: &Path) -> Result<()> {
    dcfs_disk::private::folder(folder).map_err(Error::from).map_err(|error| {
        let message = format!("{error}; name another: `XDG_STATE_HOME`");
        Error::new(error.kind(), message)
    })
}

/// As [`private`], of a cache directory.
///
/// # Errors
/// As [`private`]; the message names what chooses another.
pub fn private_cache(folder: &Path) -> Result<()> {
    let inside = ["objects", "packs"];
    dcfs_disk::private::cache(folder, &inside).map_err(Error::from).map_err(|error| {
        let message = format!("{error}; name another: `--cache-dir DIR`, or `XDG_CACHE_HOME`");
        Error::new(error.kind(), message)
    })
}

/// What is noted of how the catalog at `database` is used; nothing with `DCFS_USAGE=off`.
pub fn usage(cache: &Path, database: &Path) -> Usage {
    let is_off =
        env::var("DCFS_USAGE").is_ok_and(|said| matches!(said.as_str(), "off" | "0" | "no"));
    if is_off { Usage::off() } else { Usage::new(cache, database) }
}

fn base(variable: &str, fallback: &str) -> PathBuf {
    // The rules say to ignore a relative path.
    let named = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named.unwrap_or_else(|| home().join(fallback)).join("dcfs")
}

/// The user's home.
pub fn home() -> PathBuf {
    let named = env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let known = || User::from_uid(geteuid()).ok().flatten().map(|user| user.dir);
    named.or_else(known).unwrap_or_else(|| PathBuf::from("/"))
}
