//! The user's folders, by the XDG base directory specification; without any environment (systemd starts mounts
//! without `HOME`), from the password file.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_data::usage::Usage;

/// `$XDG_CACHE_HOME/dcfs`: packs, and fetched objects.
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

/// Creates a folder of [`state`] that only the user may read.
///
/// # Errors
/// The system refuses; the folder belongs to somebody else. The message names it, and how to choose another.
pub fn private(folder: &Path) -> Result<()> {
    dcfs_disk::private::folder(folder).map_err(Error::from).map_err(|error| {
        let message = format!("{error}; name another: `XDG_STATE_HOME`");
        Error::new(error.kind(), message)
    })
}

/// The same as [`private`], for a cache directory.
///
/// # Errors
/// As [`private`]; the message says how to choose another.
pub fn private_cache(folder: &Path) -> Result<()> {
    let inside = ["objects", "packs"];
    dcfs_disk::private::cache(folder, &inside).map_err(Error::from).map_err(|error| {
        let message = format!("{error}; name another: `--cache-dir DIR`, or `XDG_CACHE_HOME`");
        Error::new(error.kind(), message)
    })
}

/// Makes a cache directory for files without names alone. Nobody else can open those, so whose folder it is does not matter.
///
/// # Errors
/// It cannot be made.
pub fn scratch(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        let shown = folder.display();
        let message =
            format!("cannot make the folder `{shown}`: {error}; name another: `--cache-dir DIR`");
        Error::new(Kind::Denied, message)
    })
}

/// Whether it is noted what is used: not with `DCFS_USAGE=off`.
pub fn notes_usage() -> bool {
    let said = env::var("DCFS_USAGE");
    !said.is_ok_and(|said| matches!(said.as_str(), "off" | "0" | "no"))
}

/// The usage records of the catalog at `database`; none with `DCFS_USAGE=off`.
pub fn usage(cache: &Path, database: &Path) -> Usage {
    if notes_usage() { Usage::new(cache, database) } else { Usage::off() }
}

fn base(variable: &str, fallback: &str) -> PathBuf {
    // The specification says to ignore relative paths.
    let named = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named.unwrap_or_else(|| home().join(fallback)).join("dcfs")
}

/// The user's home.
pub fn home() -> PathBuf {
    let named = env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let known = || User::from_uid(geteuid()).ok().flatten().map(|user| user.dir);
    named.or_else(known).unwrap_or_else(|| PathBuf::from("/"))
}
