//! Sharing between hosts: packs, packed columns and sets of rows in a folder that every host reads.
//!
//! 1. Everything is an object named after the SHA-256 of its bytes, below the version's uuid. A
//!    pack, or a column, is a [`bundle`]: a list of files, each of them a list of pieces.
//! 2. The digest of a bundle is kept in the catalog. Starting there, every byte is verified before
//!    it is trusted, so a forger or a failing disk in the bucket costs only time.
//! 3. One host builds while others wait, by a [`lease`]. If two build anyway, no harm is done.
//! 4. Small objects of stores may be shared too, sealed with a secret of the catalog ([`small`]).
//! 5. Readers need only `GET` and write nothing into the catalog. If the folder does not answer, a
//!    host continues on its own: at once, or after a while for a large version ([`Shared::waits`]).

mod away;
mod bundle;
mod lease;
mod parts;
mod small;
mod sweep;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::away::Outage;
use super::error::PackError;
use super::output::Sums;
use crate::catalog::{Catalog, Digest, VersionInfo, Writer};
use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::shared::Objects;

pub use bundle::{PIECE, Written};
pub use lease::{Lease, Turn};
pub use parts::{List, Pieces};
pub use small::Small;
pub use sweep::{Held, Of, Status, Swept, status, sweep, sweep_small};

/// Changes whenever the layout of objects changes.
const LAYOUT: &str = "v1";

/// The name that a pack is shared under.
pub fn of_pack(pack: &str) -> String {
    format!("pack/{}/{pack}", super::manifest::FORMAT)
}

/// The name that the names of a pack are shared under, in blocks. They come with the manifest of the
/// pack, so both formats are in it.
pub fn of_names(pack: &str) -> String {
    let (names, manifest) = (super::names::FORMAT, super::manifest::FORMAT);
    format!("names/{names}.{manifest}/{pack}")
}

/// The name that a packed column is shared under, by its pack and its folder there.
pub fn of_column(pack: &str, stem: &str) -> String {
    format!("column/{}/{pack}/{stem}", super::columns::FORMAT)
}

/// The name that a set of rows is shared under, by its pack and its file there.
pub fn of_set(pack: &str, file: &str) -> String {
    format!("{SET}{pack}/{file}")
}

const SET: &str = "set/";

/// Whether the object of this name is plain bytes, not a folder of files.
fn is_plain(name: &str) -> bool {
    name.starts_with(SET)
}

/// How long a folder that did not answer is left alone: by those who can do without it, and by those who
/// wait for it.
const AWAY: Duration = Duration::from_secs(30);
pub(super) const AWAY_FOR_NAMES: Duration = Duration::from_secs(1);

/// How long to wait for a pack without rows that another host builds or has built, and how much longer per
/// row: waiting longer than building would take gains nothing.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_A_ROW: Duration = Duration::from_micros(10);

/// How long to wait for the pack of so many rows.
pub fn patience(rows: u64) -> Duration {
    PATIENCE + PATIENCE_A_ROW * u32::try_from(rows).unwrap_or(u32::MAX)
}

/// Settings of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether what is built here is shared.
    pub may_write: bool,
    /// How long a builder may be silent before it is taken for dead.
    pub lease: Duration,
    /// Versions of this many rows and more are shared as names in blocks, too.
    pub split: u64,
    /// For how long the folder may fail before such a version is built here; `None` for what waiting for
    /// a builder would take.
    pub patience: Option<Duration>,
}

/// Why something shared cannot be had.
#[derive(Debug)]
pub enum Lost {
    /// The folder does not answer, or denies it: later it may.
    Away(Error),
    /// It is gone, or not what the catalog says; or it cannot be kept here.
    Unusable(Error),
}

impl Lost {
    fn into_error(self) -> Error {
        match self {
            Self::Away(error) | Self::Unusable(error) => error,
        }
    }
}

impl<E: Into<Error>> From<E> for Lost {
    fn from(error: E) -> Self {
        Self::Unusable(error.into())
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(error) | Self::Unusable(error) => error.fmt(f),
        }
    }
}

/// The folder that hosts share, for the versions of one catalog.
pub struct Tier {
    objects: Arc<dyn Objects>,
    catalog: Arc<Catalog>,
    rules: Rules,
    /// When it last failed to answer, and why; and when that was last logged.
    away: Mutex<Option<(Instant, String)>>,
    logged: Mutex<Option<Instant>>,
    /// When it last answered.
    answered: Mutex<Option<SystemTime>>,
    /// Whether a write was refused.
    is_closed: AtomicBool,
    /// Whether the catalog can store digests; determined once.
    takes_digests: OnceLock<bool>,
    counts: Counts,
}

/// Counts of operations.
#[derive(Debug, Default)]
struct Counts {
    fetched: AtomicU64,
    fetched_bytes: AtomicU64,
    put: AtomicU64,
    put_bytes: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    fn fetched(&self, bytes: u64) {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        self.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn put(&self, bytes: u64) {
        self.put.fetch_add(1, Ordering::Relaxed);
        self.put_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One more object failed verification.
    fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// The statistics of a tier, for `_status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    pub prefix: String,
    /// Whether it answered the last request.
    pub is_there: bool,
    pub fetched: u64,
    pub fetched_bytes: u64,
    pub put: u64,
    pub put_bytes: u64,
    /// Objects that failed verification.
    pub refused: u64,
}

impl Tier {
    /// Over a folder. Makes no request yet.
    pub fn new(objects: Arc<dyn Objects>, catalog: Arc<Catalog>, rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            objects,
            catalog,
            rules,
            away: Mutex::default(),
            logged: Mutex::default(),
            answered: Mutex::default(),
            is_closed: AtomicBool::new(false),
            takes_digests: OnceLock::new(),
            counts: Counts::default(),
        })
    }

    /// The part for one version.
    pub fn of(self: &Arc<Self>, version: &VersionInfo) -> Shared {
        Shared {
            tier: self.clone(),
            uuid: version.uuid.clone(),
            home: format!("{LAYOUT}/{}", super::folder::plain_name(&version.uuid)),
        }
    }

    /// The statistics so far.
    pub fn told(&self) -> Told {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Told {
            prefix: self.objects.place().to_owned(),
            is_there: !self.is_away(AWAY),
            fetched: count(&self.counts.fetched),
            fetched_bytes: count(&self.counts.fetched_bytes),
            put: count(&self.counts.put),
            put_bytes: count(&self.counts.put_bytes),
            refused: count(&self.counts.refused),
        }
    }

    /// Whether it failed to answer within this time.
    fn is_away(&self, within: Duration) -> bool {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.as_ref().is_some_and(|(since, _)| since.elapsed() < within)
    }

    /// Whether results can be shared: the settings allow it, the catalog can store digests, and no
    /// write was refused.
    fn may_write(&self) -> bool {
        self.wants_writes() && self.takes_digests()
    }

    /// The same but for the catalog: asks nothing.
    fn wants_writes(&self) -> bool {
        self.rules.may_write && !self.is_closed.load(Ordering::Relaxed)
    }

    fn takes_digests(&self) -> bool {
        *self.takes_digests.get_or_init(|| match Writer::open(self.catalog.path()) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the catalog takes no digests from this user, so what is built here is not shared"
                );
                false
            }
        })
    }

    /// Makes a request, unless the folder is away. Failures are logged once, and the folder is left
    /// alone for a while.
    fn ask<T>(&self, question: impl FnOnce(&dyn Objects) -> Result<T>) -> Result<T> {
        self.ask_after(AWAY, question)
    }

    /// The same of a folder that is left alone for `pause`.
    fn ask_after<T>(
        &self,
        pause: Duration,
        question: impl FnOnce(&dyn Objects) -> Result<T>,
    ) -> Result<T> {
        if self.is_away(pause) {
            let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
            let why = away.as_ref().map_or("", |(_, why)| why);
            return Err(Error::new(Kind::Busy, format!("the shared folder is left alone: {why}")));
        }
        let answer = question(&*self.objects);
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Ok(_) => {
                *away = None;
                self.note_answer();
            }
            // It answers, though with an error.
            Err(error) if matches!(error.kind(), Kind::Denied | Kind::NoSpace | Kind::Stale) => {}
            Err(error) => {
                *away = Some((Instant::now(), error.to_string()));
                self.log_away(error);
            }
        }
        answer
    }

    /// The folder answered just now.
    fn note_answer(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
    }

    /// When it last answered.
    fn answered(&self) -> Option<SystemTime> {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the folder does not answer, unless that was said just now.
    fn log_away(&self, error: &Error) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|before| before.elapsed() >= AWAY) {
            *logged = Some(Instant::now());
            tracing::warn!(
                prefix = self.objects.place(), %error,
                "the shared folder does not answer"
            );
        }
    }

    /// Makes a write request. After a refusal the folder is only read.
    fn write<T>(&self, question: impl FnOnce(&dyn Objects) -> Result<T>) -> Result<T> {
        let answer = self.ask(question);
        if let Err(error) = &answer
            && error.kind() == Kind::Denied
            && !self.is_closed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                prefix = self.objects.place(), %error,
                "the shared folder may not be written, so what is built here is not shared"
            );
        }
        answer
    }

    /// Writes an object; replaces an existing one, which may be damaged.
    fn put(&self, key: String, bytes: Vec<u8>) -> Result<()> {
        let length = bytes.len() as u64;
        self.write(|objects| objects.put(&key, bytes))?;
        self.counts.put(length);
        Ok(())
    }
}

/// The error for sharing by a user who cannot write the catalog.
fn unwritable() -> Error {
    Error::new(
        Kind::Denied,
        "this user cannot write the catalog, which keeps the digests that hosts believe; share as one who can",
    )
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier").field("prefix", &self.objects.place()).finish_non_exhaustive()
    }
}

/// The shared objects of one version.
#[derive(Clone, Debug)]
pub struct Shared {
    tier: Arc<Tier>,
    uuid: String,
    /// The folder of its objects.
    home: String,
}

impl Shared {
    /// Whether results can be shared.
    pub fn may_write(&self) -> bool {
        self.tier.may_write()
    }

    /// Whether the names of a version of so many rows are shared in blocks.
    pub fn splits(&self, rows: u64) -> bool {
        rows >= self.tier.rules.split
    }

    /// Whether something is shared as `name`.
    pub fn has(&self, name: &str) -> bool {
        self.digest(name).is_some()
    }

    /// The digest stored in the catalog for `name`.
    fn digest(&self, name: &str) -> Option<Digest> {
        self.tier.catalog.shared(&self.uuid, name).unwrap_or_else(|error| {
            tracing::debug!(%error, name, "no digest of what is shared");
            None
        })
    }

    fn key(&self, digest: &Digest) -> String {
        format!("{}/{}", self.home, dcfs_core::hex::hex(digest))
    }

    /// The object with this digest, of at most `most` bytes.
    ///
    /// # Errors
    /// It does not exist, or has other bytes; errors of the folder.
    fn get(&self, digest: &Digest, most: u64) -> Result<Vec<u8>> {
        self.get_after(AWAY, digest, most).map_err(Lost::into_error)
    }

    /// The same from a folder that is left alone for `pause` after it failed.
    fn get_after(&self, pause: Duration, digest: &Digest, most: u64) -> Result<Vec<u8>, Lost> {
        let key = self.key(digest);
        let found = self.tier.ask_after(pause, |objects| objects.get(&key, most));
        let found = match found {
            Err(error) if error.kind() == Kind::Stale => {
                return Err(self.refused(digest, "is too long"));
            }
            found => found.map_err(Lost::Away)?,
        };
        let Some(seen) = found else { return Err(self.refused(digest, "is gone")) };
        if Digest::from(Sha256::digest(&seen.bytes)) != *digest {
            return Err(self.refused(digest, "is not what the catalog says"));
        }
        self.tier.counts.fetched(seen.bytes.len() as u64);
        Ok(seen.bytes)
    }

    /// Counts an object that fails verification.
    fn refused(&self, digest: &Digest, why: &str) -> Lost {
        self.tier.counts.refused();
        let (place, key) = (self.tier.objects.place(), self.key(digest));
        Lost::Unusable(Error::new(Kind::Broken, format!("`{place}/{key}` {why}")))
    }

    /// Whether to wait for a folder that has no answer about a version of so many rows: if so, the error to
    /// tell. `pack` is the folder of its pack on this host, whether it is there or not.
    ///
    /// A fleet whose bucket is away for a minute must not begin to build hundreds of millions of rows on
    /// every host; one whose bucket is gone must not wait for ever.
    pub fn waits(&self, pack: &Path, rows: u64, error: &Error) -> Option<Error> {
        if let Err(cancelled) = cancel::check() {
            return Some(cancelled);
        }
        let patience = self.tier.rules.patience.unwrap_or_else(|| patience(rows));
        let noted = Outage::of(pack).note(patience, self.tier.answered());
        let noted = noted.inspect_err(|error| tracing::warn!(%error, "an outage is not noted"));
        let (age, begins) = noted.ok()?;
        let left = patience.checked_sub(age).filter(|left| !left.is_zero())?;
        let seconds = left.as_secs_f64().ceil();
        let why = format!(
            "this version is read from the shared folder, which cannot be read: {error}; the next access retries, \
             and after {seconds} s it builds the whole pack here (`patience` in `[shared]`)"
        );
        if begins {
            tracing::warn!(pack = %pack.display(), "{why}");
        }
        Some(Error::new(error.kind(), why))
    }

    /// The folder answered about the version whose pack is in this folder, or would be.
    pub fn was_read(&self, pack: &Path) {
        Outage::of(pack).end();
    }

    /// When the folder last answered anything.
    pub fn answered(&self) -> Option<SystemTime> {
        self.tier.answered()
    }

    /// Checks that a digest can be stored: without one nobody would trust the object.
    fn check_writable(&self) -> Result<()> {
        match self.tier.takes_digests() {
            true => Ok(()),
            false => Err(unwritable()),
        }
    }

    /// Writes bytes under their digest.
    fn put(&self, bytes: Vec<u8>) -> Result<Digest> {
        let digest = Digest::from(Sha256::digest(&bytes));
        self.tier.put(self.key(&digest), bytes)?;
        Ok(digest)
    }

    /// Stores a digest in the catalog: from here on hosts find `name`.
    fn note(&self, name: &str, digest: &Digest) -> Result<()> {
        Writer::open(self.tier.catalog.path())?.share(&self.uuid, name, digest)
    }

    /// The bytes shared as `name`, at most `most`; `None` if there are none, or they fail
    /// verification.
    pub fn find(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let digest = self.digest(name)?;
        match self.get(&digest, most) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::warn!(name, %error, "what is shared cannot be used");
                None
            }
        }
    }

    /// Shares folders of files by name on a thread of its own. Failures are logged; the files
    /// remain available here.
    pub fn share_later(
        &self,
        folders: Vec<(String, PathBuf)>,
        files: impl Fn(&Path) -> Result<Sums, PackError> + Send + 'static,
    ) {
        self.share_on_thread(None, folders, files, |_, _| Ok(Written::default()));
    }

    /// The same while holding a lease, which ends with it, and `more` of each folder after it.
    pub fn share_under(
        &self,
        lease: Lease,
        folders: Vec<(String, PathBuf)>,
        files: impl Fn(&Path) -> Result<Sums, PackError> + Send + 'static,
        more: impl Fn(&Self, &Path) -> Result<Written> + Send + 'static,
    ) {
        self.share_on_thread(Some(lease), folders, files, more);
    }

    fn share_on_thread(
        &self,
        lease: Option<Lease>,
        folders: Vec<(String, PathBuf)>,
        files: impl Fn(&Path) -> Result<Sums, PackError> + Send + 'static,
        more: impl Fn(&Self, &Path) -> Result<Written> + Send + 'static,
    ) {
        let shared = self.clone();
        let work = move || {
            let _lease = lease;
            for (name, folder) in folders {
                let sums = files(&folder).map_err(Error::from);
                let shared_it = sums.and_then(|sums| {
                    let mut written = shared.share(&name, &folder, &sums)?;
                    written += more(&shared, &folder)?;
                    Ok(written)
                });
                match shared_it {
                    Ok(Written { objects, bytes }) => {
                        tracing::info!(name, objects, bytes, "shared")
                    }
                    Err(error) => tracing::warn!(name, %error, "not shared"),
                }
            }
        };
        let started = std::thread::Builder::new().name("dcfs-share".into()).spawn(work);
        if let Err(error) = started {
            tracing::warn!(%error, "not shared");
        }
    }

    /// Shares bytes as `name`.
    ///
    /// # Errors
    /// Errors of the folder and the catalog.
    pub fn keep(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.check_writable()?;
        let digest = self.put(bytes)?;
        self.note(name, &digest)
    }
}
