//! Errors of a catalog, each with its remedy.
//!
//! Inside the module, SQLite's own errors are passed as [`Error::Sqlite`]; the pool, which knows
//! the file, translates them before they leave (see [`Error::at`]).

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::split::ServerError;
use super::studio::StudioError;
use super::write::Refused;
use dcfs_core::error::Kind;
use dcfs_core::name::{DatasetName, nearest};
use dcfs_core::version::{Requirement, Version};

/// Why the catalog could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    // Finding the file.
    #[error(
        "no catalog: neither {} nor a folder above it holds `.datachain/db`; use `--catalog DIR`, run \
         this where the DataChain script was run, or make one: `dcfs index DIR --save NAME`{}", show(.0), denied(.1.as_deref())
    )]
    NowhereAbove(PathBuf, Option<PathBuf>),
    #[error(
        "no catalog at {}: looked for {}; point `--catalog` to the folder that holds `.datachain`",
        show(.given), list(.looked)
    )]
    NotThere { given: PathBuf, looked: Vec<PathBuf> },
    #[error(
        "the environment variable `{variable}` says that the catalog is {}, and nothing is there; \
         correct it, unset it, or use `--catalog DIR`", show(.db)
    )]
    NotWhereTold { variable: &'static str, db: PathBuf },
    #[error("{} is a pipe, a socket or a device, not a catalog; move it away", show(.0))]
    InTheWay(PathBuf),
    #[error("cannot search {}: {cause}; ask its owner for permission", show(.path))]
    NotReachable { path: PathBuf, cause: std::io::Error },
    #[error(
        "the catalog {} was found, not named, and belongs to {owner}; if you trust it, name it: `--catalog {}`",
        show(.db), .db.display()
    )]
    Foreign { db: PathBuf, owner: String },
    #[error(
        "the catalog {} was found, not named, and {who} may write to {}; `chmod go-w` that, or, if you trust it, name \
         it: `--catalog {}`", show(.db), show(.path), .db.display()
    )]
    OpenToOthers { path: PathBuf, who: String, db: PathBuf },
    #[error("the current folder is gone: {0}; use `--catalog DIR`")]
    NoCurrentFolder(std::io::Error),

    // Opening it.
    #[error("no catalog at {}; point `--catalog` to the folder that holds `.datachain`", show(.0))]
    Missing(PathBuf),
    #[error("{} is not a file; point `--catalog` to the folder that holds `.datachain`", show(.0))]
    NotAFile(PathBuf),
    #[error(
        "{} is not a catalog: it is not an SQLite database; point `--catalog` to the folder that holds \
         `.datachain`", show(.0)
    )]
    NotADatabase(PathBuf),
    #[error(
        "{} is not a catalog: it is a SQLite database, but not one that DataChain made (it has no \
         table `meta`); point `--catalog` to the folder that holds `.datachain`", show(.0)
    )]
    NotDataChain(PathBuf),
    #[error(
        "the catalog {} is of DataChain 0.14 or older, which neither dcfs nor a current DataChain reads; set it aside and save its \
         datasets again, with `dcfs index` or a current DataChain", show(.0)
    )]
    Ancient(PathBuf),
    #[error(
        "the catalog {} holds the virtual table `{}`, which DataChain never makes and dcfs does not read; drop it, or copy \
         the catalog without it", show(.path), .name.escape_debug()
    )]
    Virtual { path: PathBuf, name: String },
    #[error(
        "the catalog {} has schema version {found}, and this dcfs knows only version 1; update dcfs",
        show(.path)
    )]
    UnknownSchema { path: PathBuf, found: String },
    #[error(
        "the catalog {} lacks `{lacks}`; open it once with a current DataChain, which adds what an \
         older one left out", show(.path)
    )]
    OldShape { path: PathBuf, lacks: String },
    #[error(
        "the catalog {} has commits in its `-wal` file that cannot be read from a read-only folder; copy `db` and `db-wal` to a folder of your own, or close the program that writes",
        show(.0)
    )]
    NeedsWal(PathBuf),
    #[error(
        "{} is in the way: {cause}; SQLite would follow or wait for it, so remove it and try again",
        show(.path)
    )]
    Blocked { path: PathBuf, cause: std::io::Error },
    #[error(
        "cannot open the catalog {}: its permissions forbid it, or too many files are open; ask its \
         owner for permission, or raise `ulimit -n`", show(.0)
    )]
    Unreadable(PathBuf),

    // Reading it.
    #[error(
        "the catalog {} is damaged ({cause}); restore a copy, or save what can be saved with \
         `sqlite3 db .recover | sqlite3 new.db`", show(.path)
    )]
    Damaged { path: PathBuf, cause: String },
    #[error(
        "the catalog {} has been locked for {seconds} seconds by another program; try again when it \
         is done, or end it if it hangs", show(.path)
    )]
    Locked { path: PathBuf, seconds: u64 },
    #[error("the catalog {} is gone; put it back, or unmount", show(.0))]
    Gone(PathBuf),
    #[error("the catalog {} changed while it was read without locks; try again", show(.0))]
    Changed(PathBuf),
    #[error(
        "the catalog {} made a query take more steps than its size can explain, so it was stopped; the file is damaged, or crafted to be slow", show(.0)
    )]
    Endless(PathBuf),
    #[error("the catalog {} cannot be read: {cause}", show(.path))]
    Failed { path: PathBuf, cause: String },
    /// Not translated yet: see [`Error::at`].
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A table of the catalog lacks a required column.
    #[error("`{0}` is not in the catalog")]
    Lacks(String),

    // Versions and rows.
    #[error("no dataset `{wanted}`{}", nearest::hint(.near, "`dcfs ls` lists what there is"))]
    NoDataset { wanted: DatasetName, near: Vec<String> },
    #[error("`{name}` has no version {wanted}; the latest is {latest}")]
    NoVersion { name: DatasetName, wanted: Requirement, latest: Version },
    #[error("every version of `{0}` has been removed")]
    AllRemoved(DatasetName),
    #[error("`{0}` has no complete version yet; its script has not finished, or failed")]
    NoneComplete(DatasetName),
    #[error("`{0}` was removed from the catalog")]
    Removed(String),
    #[error("row {row} of `{of}` is gone from the catalog")]
    RowGone { row: i64, of: String },
    #[error(
        "the rows of `{of}` (the table `{table}`) are not in the catalog; remove the version with \
         `datachain dataset rm` and save it again"
    )]
    NoTable { of: String, table: String },
    #[error("the rows of `{of}` cannot be told apart: {why}; save it again with DataChain")]
    BadTable { of: String, why: &'static str },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the disk of the catalog {} is full; nothing was changed: make room and try again", show(.0))]
    DiskFull(PathBuf),
    #[error("the catalog {} may not be written; ask its owner for permission", show(.0))]
    NotWritable(PathBuf),
    /// A catalog on servers.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A catalog of Studio.
    #[error(transparent)]
    Studio(#[from] StudioError),
    /// The error that the caller of a scan returned.
    #[error(transparent)]
    Caller(dcfs_core::error::Error),
}

impl Error {
    /// Whether another program holds an exclusive lock on the file or a part of it.
    pub fn is_locked(&self) -> bool {
        let Self::Sqlite(error) = self else { return matches!(self, Self::Locked { .. }) };
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }

    /// Translates SQLite's error for the catalog at `path`; any other error stays as it is.
    pub fn at(self, path: &Path) -> Self {
        let path = path.to_owned();
        match self {
            Self::Lacks(lacks) => Self::OldShape { path, lacks },
            Self::Sqlite(error) => {
                let cause = said(&error);
                match error.sqlite_error_code() {
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                        Self::Locked { path, seconds: super::sqlite::connect::PATIENCE.as_secs() }
                    }
                    Some(ErrorCode::NotADatabase) => Self::NotADatabase(path),
                    Some(ErrorCode::OperationInterrupted) => Self::Endless(path),
                    Some(ErrorCode::DiskFull) => Self::DiskFull(path),
                    Some(ErrorCode::ReadOnly) => Self::NotWritable(path),
                    Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, cause },
                    Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                        Self::Unreadable(path)
                    }
                    _ => Self::Failed { path, cause },
                }
            }
            other => other,
        }
    }
}

/// SQLite's message, without the statement.
fn said(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, said) => {
            said.clone().unwrap_or_else(|| code.to_string())
        }
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

impl From<Error> for dcfs_core::error::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Caller(_) => Kind::Broken,
            Error::NowhereAbove(..)
            | Error::NotThere { .. }
            | Error::NotWhereTold { .. }
            | Error::NoCurrentFolder(_)
            | Error::Missing(_)
            | Error::NoDataset { .. }
            | Error::NoVersion { .. }
            | Error::AllRemoved(_)
            | Error::NoneComplete(_) => Kind::Missing,
            Error::NotAFile(_)
            | Error::NotADatabase(_)
            | Error::NotDataChain(_)
            | Error::UnknownSchema { .. }
            | Error::Virtual { .. }
            | Error::Ancient(_)
            | Error::OldShape { .. }
            | Error::NeedsWal(_)
            | Error::Blocked { .. }
            | Error::Damaged { .. }
            | Error::Endless(_)
            | Error::Gone(_)
            | Error::Failed { .. }
            | Error::Sqlite(_)
            | Error::Lacks(_)
            | Error::NoTable { .. }
            | Error::BadTable { .. } => Kind::Broken,
            Error::InTheWay(_) => Kind::Invalid,
            Error::NotReachable { .. }
            | Error::Foreign { .. }
            | Error::OpenToOthers { .. }
            | Error::Unreadable(_) => Kind::Denied,
            Error::Refused(refused) => refused.kind(),
            Error::Server(error) => error.kind(),
            Error::Studio(error) => error.kind(),
            Error::NotWritable(_) => Kind::Denied,
            Error::DiskFull(_) => Kind::NoSpace,
            Error::Locked { .. } | Error::Changed(_) => Kind::Busy,
            Error::Removed(_) | Error::RowGone { .. } => Kind::Stale,
        };
        match error {
            Error::Caller(error) => error,
            error => Self::new(kind, error),
        }
    }
}

/// A path in backquotes; bytes that are not UTF-8 or not printable are escaped.
fn show(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = text.chars().all(|c| !c.is_control());
    if plain { format!("`{text}`") } else { format!("`{}`", text.escape_debug()) }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| show(path)).collect::<Vec<_>>().join(", ")
}

fn denied(path: Option<&Path>) -> String {
    path.map(|path| format!(" (cannot search {})", show(path))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    use rusqlite::ffi;

    #[test]
    fn sqlites_codes_become_what_to_do() {
        let cases = [
            (
                ffi::SQLITE_BUSY,
                Kind::Busy,
                "the catalog `/db` has been locked for 10 seconds by another program; try again when \
                 it is done, or end it if it hangs",
            ),
            (
                ffi::SQLITE_LOCKED,
                Kind::Busy,
                "the catalog `/db` has been locked for 10 seconds by another program; try again when \
                 it is done, or end it if it hangs",
            ),
            (
                ffi::SQLITE_CANTOPEN,
                Kind::Denied,
                "cannot open the catalog `/db`: its permissions forbid it, or too many files are \
                 open; ask its owner for permission, or raise `ulimit -n`",
            ),
            (
                ffi::SQLITE_CORRUPT,
                Kind::Broken,
                "the catalog `/db` is damaged (said); restore a copy, or save what can be saved with \
                 `sqlite3 db .recover | sqlite3 new.db`",
            ),
            (
                ffi::SQLITE_FULL,
                Kind::NoSpace,
                "the disk of the catalog `/db` is full; nothing was changed: make room and try again",
            ),
            (
                ffi::SQLITE_READONLY,
                Kind::Denied,
                "the catalog `/db` may not be written; ask its owner for permission",
            ),
            (ffi::SQLITE_TOOBIG, Kind::Broken, "the catalog `/db` cannot be read: said"),
        ];
        for (code, kind, message) in cases {
            let failure =
                rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("said".into()));
            let error = dcfs_core::error::Error::from(Error::from(failure).at(Path::new("/db")));
            assert_eq!((error.kind(), error.to_string()), (kind, message.into()), "{code}");
        }
    }
}
