//! Errors of building, opening and reading packs.

use std::io;
use std::path::{Path, PathBuf};

use dcfs_core::error::Kind;
use dcfs_core::id::RowId;

/// The result type of this module: public with the default error, internal with [`enum@PackError`].
pub(super) type Result<T, E = dcfs_core::error::Error> = std::result::Result<T, E>;

/// The errors of this module; catalogs have errors of their own.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// No space, no permission, a failing disk.
    #[error(
        "cannot write `{path}`: {cause}; make room or name another folder with `--cache-dir`",
        path = path.display()
    )]
    Write { path: PathBuf, cause: io::Error },
    /// Somebody else could change its contents.
    #[error("{0}; name another folder with `--cache-dir`")]
    Folder(#[from] dcfs_disk::private::Error),
    /// It exists, but cannot be read.
    #[error(
        "cannot read `{path}`: {cause}; name another folder with `--cache-dir`",
        path = path.display()
    )]
    Read { path: PathBuf, cause: io::Error },
    /// The pack does not exist yet.
    #[error("no pack at `{path}`", path = .0.display())]
    Absent(PathBuf),
    /// Written by a release with another format.
    #[error("it has format {found}, this release reads {wanted}")]
    Format { found: u64, wanted: u32 },
    /// A pack of the same name for other File columns.
    #[error("its File columns are not those of the version")]
    Schema,
    /// Bytes that no builder wrote.
    #[error("the pack is damaged: {0}; it is rebuilt at its next use")]
    Damaged(String),
    /// The number of an entry or a directory that this pack never gave out.
    #[error("no {what} {number} in this version")]
    Gone { what: &'static str, number: u64 },
    /// The number does not fit 32 bits.
    #[error("the version has more than {most} {what}; dcfs cannot mount it", most = u32::MAX - 1)]
    TooMany { what: &'static str },
    /// `sys__id` is not a key of the row table.
    #[error("row {id} follows row {before}: `sys__id` must ascend; dcfs cannot mount the version")]
    Disordered { before: RowId, id: RowId },
    /// Rows were added or removed during the scan.
    #[error("the version had {expected} rows and then {found}: it is being changed; try again")]
    Changed { expected: u64, found: u64 },
    /// Another module's error.
    #[error("{0}")]
    Other(dcfs_core::error::Error),
    /// The sorting thread could not start, or died.
    #[error("cannot sort the rows: {0}")]
    Thread(String),
}

impl PackError {
    /// For `map_err` of a write below `path`.
    ///
    /// The path is copied only where there is an error: a build writes millions of times.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Write { path: path.to_path_buf(), cause }
    }

    /// For `map_err` of a read of `path`.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| match cause.kind() {
            io::ErrorKind::NotFound => Self::Absent(path.to_path_buf()),
            _ => Self::Read { path: path.to_path_buf(), cause },
        }
    }

    pub(super) fn damaged(why: impl Into<String>) -> Self {
        Self::Damaged(why.into())
    }
}

impl From<PackError> for dcfs_core::error::Error {
    fn from(error: PackError) -> Self {
        let kind = match error {
            PackError::Other(error) => return error,
            PackError::Gone { .. } => Kind::Stale,
            PackError::Changed { .. } => Kind::Busy,
            _ => Kind::Broken,
        };
        Self::new(kind, error)
    }
}
