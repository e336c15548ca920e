//! A catalog of DataChain Studio, read over the API that DataChain's own client uses.
//!
//! Names and rows are mirrored into SQLite files of this user, below `$XDG_STATE_HOME/dcfs/catalogs/`: names are asked for while
//! somebody looks, the rows of a version are pulled once, when they are first read. A version is immutable, so its rows are never
//! asked for again. Everything that comes from the server is a stranger's, and so is every length it claims.
//!
//! | file | contents |
//! |---|---|
//! | `address` | the team, the server, and the token |
//! | `http` | requests, and what their answers may be |
//! | `answers` | the JSON of the API |
//! | `names` | the mirror of names |
//! | `pull` | the rows of a version: from an export to a file |
//! | `part` | one part of an export: Parquet within LZ4 frames, as cells |
//! | `rows` | the warehouse |
//! | `error` | errors of Studio |

pub(super) mod address;
mod answers;
mod error;
pub(super) mod folder;
mod http;
mod names;
mod part;
mod pull;
mod rows;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub(super) use error::StudioError;

use super::error::Error;
use super::metastore::Metastore;
use super::split::tasks::Tasks;
use super::sqlite::connect::Pool;
use super::warehouse::{SchemaTexts, Warehouse};
use super::{Revision, VersionInfo, versions};
use address::Account;
use http::Api;

/// The shortest time between two questions for names; a server that takes long to answer is asked more rarely.
const FOLLOW: Duration = Duration::from_secs(1);

/// How many times as long as the last question took the next one waits, and the longest wait.
const REST: u32 = 10;
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A team's catalog.
#[derive(Debug)]
pub(super) struct Studio {
    api: Api,
    /// The folder of the mirror.
    folder: PathBuf,
    names: Arc<Pool>,
    watch: Mutex<Watch>,
}

/// When names were asked for.
#[derive(Debug)]
struct Watch {
    next: Instant,
    is_asked: bool,
    /// Whether it was reported that the server does not answer.
    told: bool,
}

/// Opens a catalog by its address.
///
/// # Errors
/// An invalid address, no token, a token that is refused; a server that cannot be reached, if it never was.
pub(super) fn open(given: &Path) -> Result<(Metastore, Box<dyn Warehouse>), Error> {
    let account = Account::of(given)?;
    let folder = folder::made(&account)?;
    let api = Api::open(Arc::new(Tasks::new()?), &account)?;
    let file = folder.join("names").join("db");
    match api.datasets() {
        Ok(found) => {
            names::sync(&file, &found)?;
        }
        Err(error) if error.is_away() && file.exists() => {
            tracing::warn!(%error, "names are as they were when it last answered");
        }
        Err(error) => return Err(error.into()),
    }
    let names = Arc::new(Pool::open(file.canonicalize().unwrap_or(file))?);
    let watch = Mutex::new(Watch { next: Instant::now() + FOLLOW, is_asked: false, told: false });
    let studio = Arc::new(Studio { api, folder, names, watch });
    studio.sweep()?;
    Ok((Metastore::Studio(studio.clone()), Box::new(rows::Rows::new(studio))))
}

impl Studio {
    /// The tables of names.
    pub fn names(&self) -> &Pool {
        &self.names
    }

    /// The current revision of names. Starts to ask for newer ones, and does not wait: a server may hang.
    ///
    /// # Errors
    /// The mirror is gone.
    pub fn revision(self: &Arc<Self>) -> Result<Revision, Error> {
        if self.is_due() {
            let studio = self.clone();
            let asking = thread::Builder::new().name("dcfs-studio".into());
            if asking.spawn(move || studio.follow()).is_err() {
                self.watch().is_asked = false;
            }
        }
        self.names.revision()
    }

    fn is_due(&self) -> bool {
        let mut watch = self.watch();
        let is_due = !watch.is_asked && Instant::now() >= watch.next;
        watch.is_asked |= is_due;
        is_due
    }

    /// Asks for names, and notes them.
    fn follow(&self) {
        let began = Instant::now();
        let done = self.api.datasets().map_err(Error::from);
        let done = done.and_then(|found| names::sync(&self.file(), &found));
        let rest = (began.elapsed() * REST).clamp(FOLLOW, LONGEST_REST);
        let mut watch = self.watch();
        (watch.is_asked, watch.next) = (false, Instant::now() + rest);
        match done {
            Ok(()) => watch.told = false,
            Err(error) => {
                if !watch.told {
                    tracing::warn!(%error, "new versions are not seen until Studio answers again");
                }
                watch.told = true;
            }
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("names").join("db")
    }

    /// `feature_schema`, `schema` and the columns of a version; asked for once.
    fn described(&self, of: &VersionInfo) -> Result<SchemaTexts, Error> {
        let known = |tables: &rusqlite::Connection| {
            let dataset = versions::alive(tables, of)?;
            Ok((dataset, versions::schema_texts(tables, of.id)?))
        };
        let (dataset, mut texts) = self.names.read(known)?;
        if texts.1.is_empty() {
            let found = self.api.info(&dataset)?;
            names::describe(&self.file(), &found)?;
            texts = self.names.read(known)?.1;
        }
        if texts.1.is_empty() {
            return Err(Error::Removed(of.to_string()));
        }
        let columns = part::columns(&texts.1)
            .map_err(|what| StudioError::Schema { of: of.to_string(), what })?;
        let mut table = vec![
            ("sys__id".to_owned(), "INTEGER".to_owned()),
            ("sys__rand".to_owned(), "INTEGER".to_owned()),
        ];
        table.extend(columns.iter().map(|c| (c.name.clone(), c.kind.declared().to_owned())));
        Ok((texts.0, texts.1, table))
    }

    /// Removes the rows of versions that Studio no longer has.
    fn sweep(&self) -> Result<(), Error> {
        let known = self.names.read(|tables| versions::every(tables))?;
        let known: HashSet<String> = known.iter().map(|v| folder::of_version(&v.uuid)).collect();
        for kind in [folder::VERSIONS, folder::PARTS] {
            for entry in fs::read_dir(self.folder.join(kind)).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let is_known = name.to_str().is_some_and(|name| known.contains(name));
                // A pull that goes on holds its lock.
                if !is_known && let Some(_held) = pull::lock(&self.folder, &name.to_string_lossy())?
                {
                    fs::remove_dir_all(entry.path()).ok();
                }
            }
        }
        Ok(())
    }
}
