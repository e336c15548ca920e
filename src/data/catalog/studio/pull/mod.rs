//! The rows of a version, pulled as DataChain's `dataset pull` does: an export, its parts, a table.
//!
//! Parts that arrived are kept in `parts/`, so that a pull that was interrupted goes on with the same export. Rows become a catalog
//! of their own, made aside and named with one rename when it is complete: nobody sees a half. One process at a time pulls a
//! version, under a lock that dies with it.
//!
//! | file | contents |
//! |---|---|
//! | `fetch` | the parts of an export |
//! | `write` | the catalog of their rows |

mod fetch;
mod write;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use dcfs_core::cancel;
use dcfs_core::name::DatasetName;
use dcfs_core::schema::Layout;
use dcfs_disk::{private, regular};
use nix::fcntl::{Flock, FlockArg};

use super::error::StudioError;
use super::http::Api;
use super::part::{self, Column};
use super::progress::Progress;
use super::{Studio, folder};
use crate::catalog::VersionInfo;
use crate::catalog::error::Error;
use crate::catalog::split::error::line;
use crate::catalog::warehouse::SchemaTexts;

/// The pause until a part, or a version that another process pulls, is looked for again.
const SOON: Duration = Duration::from_millis(100);

/// The file of a version's rows, pulled if it is not there.
///
/// # Errors
/// Errors of the server and of its store; parts that are not what the schema says; a full disk. Nothing of the version is to be
/// seen then.
pub(super) fn pull(
    studio: &Studio,
    of: &VersionInfo,
    dataset: &DatasetName,
    texts: SchemaTexts,
) -> Result<PathBuf, Error> {
    let name = folder::of_version(&of.uuid);
    let done = studio.folder.join(folder::VERSIONS).join(&name);
    let _lock = patiently(&studio.folder, &name, of)?;
    if !done.join("db").exists() {
        let pull = Pull::new(studio, of, texts, &name)?;
        tracing::info!(version = %of, rows = of.rows, "pulling from Studio");
        let parts = pull.fetch(dataset)?;
        pull.write_catalog(parts)?;
        // Somebody may have removed the file alone.
        fs::remove_dir_all(&done).ok();
        let placed = fs::rename(pull.drafts(), &done);
        placed.map_err(|cause| pull.disk(cause))?;
        fs::remove_dir_all(&pull.folder).ok();
        tracing::info!(version = %of, "pulled from Studio");
    }
    Ok(done.join("db"))
}

/// The lock of a version; `None` if another process holds it.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn lock(folder: &Path, name: &str) -> Result<Option<Flock<File>>, Error> {
    let path = folder.join(folder::LOCKS).join(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let opened = regular::open_with(&options, &path);
    let file = opened.map_err(|cause| Error::NotReachable { path: path.clone(), cause })?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(held)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(Error::NotReachable { path, cause: error.into() }),
    }
}

fn patiently(folder: &Path, name: &str, of: &VersionInfo) -> Result<Flock<File>, Error> {
    loop {
        if let Some(held) = lock(folder, name)? {
            return Ok(held);
        }
        if cancel::is_cancelled() {
            return Err(StudioError::Cancelled(of.to_string()).into());
        }
        thread::sleep(SOON);
    }
}

/// A version that is being pulled.
struct Pull<'s> {
    api: &'s Api,
    of: &'s VersionInfo,
    columns: Vec<Column>,
    layout: Layout,
    /// The folder of its parts.
    folder: PathBuf,
    progress: Progress,
}

impl<'s> Pull<'s> {
    fn new(
        studio: &'s Studio,
        of: &'s VersionInfo,
        (features, types, table): SchemaTexts,
        name: &str,
    ) -> Result<Self, Error> {
        let wrong = |what| StudioError::Schema { of: of.to_string(), what };
        let columns = part::columns(&types).map_err(wrong)?;
        let layout = Layout::of_version(&features, &types, &table);
        let layout = layout.map_err(|error| wrong(error.to_string()))?;
        let folder = studio.folder.join(folder::PARTS).join(name);
        private::folder(&folder).map_err(|error| Error::Caller(error.into()))?;
        let progress = Progress::new(of);
        Ok(Self { api: &studio.api, of, columns, layout, folder, progress })
    }

    /// The folder of a catalog that is being written.
    fn drafts(&self) -> PathBuf {
        self.folder.join("building")
    }

    fn place(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.parquet"))
    }

    fn content(&self, number: usize, parts: usize, what: String) -> StudioError {
        StudioError::Part { of: self.of.to_string(), number: number + 1, parts, what: line(&what) }
    }

    fn disk(&self, cause: io::Error) -> StudioError {
        StudioError::Disk { of: self.of.to_string(), folder: self.folder.clone(), cause }
    }

    fn cancelled(&self) -> StudioError {
        StudioError::Cancelled(self.of.to_string())
    }
}

/// A folder that only this user may enter, whatever the umask is.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}
