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
//! | `progress` | how far pulls are |
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
pub(super) mod progress;
mod pull;
mod rows;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub(super) use error::StudioError;

use dcfs_core::cancel;
use dcfs_disk::regular;
use nix::fcntl::Flock;

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

/// How long a command waits while another process asks for names, in steps: then those that are there do.
const TURN: Duration = Duration::from_millis(100);
const TURNS: u32 = 20;

/// How long rows are kept after Studio last named their version.
const ABSENT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A team's catalog.
#[derive(Debug)]
pub(super) struct Studio {
    api: Api,
    /// The folder of the mirror.
    folder: PathBuf,
    names: Arc<Pool>,
    watch: Mutex<NamesWatch>,
}

/// When names were asked for.
#[derive(Debug)]
struct NamesWatch {
    next: Instant,
    is_asked: bool,
    /// Whether it was reported that the server does not answer.
    told: bool,
}

/// Opens a catalog by its address.
///
/// # Errors
/// An invalid address, no token, a token that is refused; a server that cannot be reached, if there are no names yet.
pub(super) fn open(given: &Path) -> Result<(Metastore, Box<dyn Warehouse>), Error> {
    let account = Account::of(given)?;
    let folder = folder::made(&account)?;
    let api = Api::open(Arc::new(Tasks::new()?), &account)?;
    let file = folder.join(folder::NAMES).join("db");
    if let Some(_turn) = turn(&api, &folder, &file)? {
        match api.datasets() {
            Ok(found) => names::sync(&file, &found)?,
            Err(error) if error.is_away() && file.exists() => {
                tracing::warn!(%error, "names are as they were when it last answered");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let names = Arc::new(Pool::open(file.canonicalize().unwrap_or(file))?);
    let watch =
        Mutex::new(NamesWatch { next: Instant::now() + FOLLOW, is_asked: false, told: false });
    let studio = Arc::new(Studio { api, folder, names, watch });
    studio.sweep()?;
    Ok((Metastore::Studio(studio.clone()), Box::new(rows::Rows::new(studio))))
}

/// The right to ask for names and to note them: otherwise an older answer could replace a newer one. `None` if another process
/// has it for long, and there are names.
fn turn(api: &Api, folder: &Path, names: &Path) -> Result<Option<Flock<File>>, Error> {
    let mut turns = 0;
    loop {
        if let Some(turn) = pull::lock(folder, folder::NAMES)? {
            return Ok(Some(turn));
        }
        if turns >= TURNS && names.exists() {
            return Ok(None);
        }
        if cancel::is_cancelled() {
            return Err(StudioError::Unasked(api.server().to_owned()).into());
        }
        thread::sleep(TURN);
        turns += 1;
    }
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
        let done = self.refreshed();
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

    /// The same, unless another process is doing it.
    fn refreshed(&self) -> Result<(), Error> {
        let Some(_turn) = pull::lock(&self.folder, folder::NAMES)? else { return Ok(()) };
        names::sync(&self.file(), &self.api.datasets()?)
    }

    fn watch(&self) -> MutexGuard<'_, NamesWatch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> PathBuf {
        self.folder.join(folder::NAMES).join("db")
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

    /// Removes the rows of versions that Studio has not named for long: an answer may be wrong for a while.
    fn sweep(&self) -> Result<(), Error> {
        let known = self.known()?;
        if known.is_empty() {
            return Ok(());
        }
        let kinds = [folder::VERSIONS, folder::PARTS].map(|kind| self.folder.join(kind));
        for kind in &kinds {
            for name in names_in(kind).filter(|name| !known.contains(name)) {
                if self.is_long_absent(&name)
                    // A pull that goes on holds its lock.
                    && let Some(_held) = pull::lock(&self.folder, &name)?
                    // Another process may have seen it meanwhile.
                    && !self.known()?.contains(&name)
                {
                    fs::remove_dir_all(kind.join(&name)).ok();
                }
            }
        }
        let absent = self.folder.join(folder::ABSENT);
        for name in names_in(&absent) {
            if known.contains(&name) || !kinds.iter().any(|kind| kind.join(&name).exists()) {
                fs::remove_file(absent.join(&name)).ok();
            }
        }
        Ok(())
    }

    /// The names of the folders of versions that the mirror has.
    fn known(&self) -> Result<HashSet<String>, Error> {
        let known = self.names.read(|tables| versions::every(tables))?;
        Ok(known.iter().map(|version| folder::of_version(&version.uuid)).collect())
    }

    /// Whether a version was found absent long ago, and at no time since then present. Notes the first time.
    fn is_long_absent(&self, name: &str) -> bool {
        let note = self.folder.join(folder::ABSENT).join(name);
        match fs::symlink_metadata(&note).and_then(|found| found.modified()) {
            Ok(since) => since.elapsed().is_ok_and(|absent| absent >= ABSENT),
            Err(_) => {
                regular::open_with(OpenOptions::new().write(true).create(true), &note).ok();
                false
            }
        }
    }
}

/// The names in a folder of ours.
fn names_in(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
