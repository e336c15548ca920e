//! The bytes of recorded objects: pinned when asked for, checked when they come.
//!
//! Everything a store may do wrong ends here: the bytes that come out are those of the object that
//! the row recorded, or an error. `object_store` types stay inside.
//!
//! | file | what it decides |
//! |---|---|
//! | `config` | what is said of stores before the first is asked |
//! | `place`, `key` | where a row's object is, and whether it can be asked for exactly |
//! | `plain` | members of archives that are not compressed |
//! | `pin`, `mtime` | what to ask for, and whether the answer is the object recorded |
//! | `window` | which bytes to fetch for one read |
//! | `memory`, `buffers` | how much is held in memory, for all files; memory used again |
//! | [`list`] | what is in a bucket or a folder |
//! | `guard` | which files are never served |
//! | `local` | files of this machine |
//! | `remote` | what every answer of a store is held to, and how a store is asked |
//! | `cloud` | what `object_store` speaks: its clients, its failures |
//! | `backend` | every kind of store: a folder each, behind one trait, and their registry |
//! | `http1` | requests and answers of the clouds on their connections |
//! | `net`, `certificates`, `refusal` | trust and proxies; what a server says in place of an object |
//! | `budget`, `health` | how long one question is asked again; which servers are away |
//! | [`Settings`] | what the user says of one bucket or prefix |
//! | `line` | how many requests are under way where nobody waits for one |
//! | `raced`, [`metrics`], `prometheus` | slow requests asked twice; what was done, counted |
//! | `stream` | one open remote object: pieces, look-ahead, one fetch per byte |
//! | [`shared`] | objects that many hosts read and one of them writes |
//! | [`cache`], `datachain` | objects on disk: those fetched here, those that DataChain fetched |
//! | `reader` | one open object, wherever its bytes are |
//! | `whole` | what is done with an object as a whole: its cost, fetching it, comparing it |
//!
//! A new store is one more folder of `backend` and one line of its registry; the cache is a `Ranges` over another.

mod allowed;
mod backend;
mod budget;
mod buffers;
mod bundle;
mod cache;
mod caller;
mod certificates;
mod cloud;
mod config;
mod datachain;
mod error;
#[cfg(test)]
mod fake;
mod guard;
mod health;
mod http1;
mod key;
mod line;
pub mod list;
mod local;
mod memory;
pub mod metrics;
mod mtime;
mod net;
mod pin;
mod place;
mod plain;
mod prometheus;
pub mod put;
mod raced;
mod reader;
mod refusal;
mod remote;
mod settings;
pub mod shared;
mod stream;
mod wanted;
mod whole;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use budget::WAITS;
pub use cache::upkeep;
pub use caller::Caller;
pub use config::{CacheConfig, Config};
pub use error::Error;
pub use reader::{Known, Reader};
pub use settings::{Settings, Shared};
pub use whole::{Cost, Here, Warmed};

use allowed::Allowed;
use backend::{Backends, Setup, StoreKind};
use dcfs_core::object::Object;
use dcfs_core::provenance::Reached;
use guard::Guard;
use health::Health;
use metrics::Metrics;
use pin::Recorded;
use place::Place;
use reader::Kept;
use reader::Source;
use remote::Requests;
use wanted::Wanted;

/// Servers whose health is known at a time. A catalog names few, or is hostile.
const SERVERS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// An object of the cache, and what keeps it there.
type Held = (Arc<cache::Entry>, cache::Hold);

/// What callers get has a kind; inside, errors are [`Error`].
type Result<T, E = dcfs_core::error::Error> = std::result::Result<T, E>;

/// How far the row of `object` tells it from another one that takes its place: `version`, `etag`,
/// `weak etag`, `size and time` or `size only`. `None` where nothing can be read.
pub fn held_by(object: &Object) -> Option<&'static str> {
    pin::Held::of(object).map(pin::Held::text)
}

/// Whether two opens of `object` are of the same bytes: it is pinned for good, or a file of this machine, which is
/// compared at each open.
pub fn is_lasting(object: &Object) -> bool {
    is_for_good(object) || is_local(object) && pin::Held::of(object) == Some(pin::Held::SizeAndTime)
}

/// An object's address, for messages: without what may be secret of a URL.
pub fn label(object: &Object) -> String {
    error::place(object)
}

/// Whether an object may be fetched before anybody asks for it, and be right then.
pub fn is_fetchable(object: &Object) -> bool {
    is_for_good(object) && !is_local(object)
}

fn is_for_good(object: &Object) -> bool {
    pin::Held::of(object).is_some_and(pin::Held::is_for_good)
}

/// Whether an object is a file of this machine, or a member of one.
pub fn is_file(object: &Object) -> bool {
    is_local(object)
}

fn is_local(object: &Object) -> bool {
    // What is opened for a member is its archive; the member's own path may be none of this machine.
    let member = object.member().ok().flatten();
    let opened = member.as_ref().map_or(object, |member| &member.container);
    matches!(Place::of(opened), Ok(Place::File(_)))
}

/// Every store of a mount.
pub struct Stores {
    timeout: Duration,
    first_answer: Duration,
    guard: Arc<Guard>,
    allowed: Arc<Allowed>,
    backends: RwLock<Arc<Backends>>,
    /// What the backends were made from.
    config: Config,
    cache: Arc<cache::Cache>,
    memory: Arc<memory::Memory>,
    /// What DataChain fetched.
    fetched: Option<PathBuf>,
    usual: Mutex<HashMap<String, Arc<raced::Usual>>>,
    /// Of the servers asked lately.
    health: Mutex<LruCache<String, Arc<Health>>>,
    archives: plain::Archives,
    /// For what is fetched while nobody waits.
    line: Arc<line::Line>,
    metrics: Arc<Metrics>,
}

impl Stores {
    /// Asks nothing of a network. Wrong settings are told by [`Stores::check`], or at first use.
    pub fn new(config: Config) -> Self {
        Self::with_environment(config, net::environment())
    }

    /// As [`Stores::new`], with other variables than this process's: names and values.
    pub fn with_environment(config: Config, environment: Vec<(String, String)>) -> Self {
        let allowed = Allowed::new(config.local_roots.as_deref(), config.addresses.as_deref());
        let allowed = Arc::new(allowed);
        Self {
            timeout: config.timeout,
            first_answer: config.first_answer.unwrap_or(config.timeout),
            guard: Arc::new(Guard::new(&config.forbidden)),
            allowed: Arc::clone(&allowed),
            backends: RwLock::new(Arc::new(Backends::open(&Setup {
                config: &config,
                environment: &environment,
                allowed: &allowed,
            }))),
            cache: Arc::new(cache::Cache::new(&config.cache)),
            memory: Arc::new(memory::Memory::new(config.memory)),
            // What is beside a stranger's catalog is a stranger's.
            fetched: config
                .database
                .as_deref()
                .filter(|_| allowed.is_any_file())
                .and_then(datachain::folder),
            usual: Mutex::default(),
            health: Mutex::new(LruCache::new(SERVERS)),
            archives: plain::Archives::default(),
            line: Arc::default(),
            metrics: Arc::default(),
            config,
        }
    }

    fn backends(&self) -> Arc<Backends> {
        Arc::clone(&self.backends.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From here on objects are reached as `settings` say; those that are open go on as they are.
    ///
    /// # Errors
    /// As [`Stores::check`]; then all is as it was.
    pub fn reset(&self, settings: Settings) -> Result<()> {
        let config = Config { settings, ..self.config.clone() };
        let (environment, allowed) = (&net::environment(), &self.allowed);
        let backends = Backends::open(&Setup { config: &config, environment, allowed });
        backends.check()?;
        *self.backends.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(backends);
        Ok(())
    }

    /// What counts for objects of `source` (`s3://bucket/prefix`), as names and values without secrets, for a person to
    /// read; `None` where the source has no settings.
    ///
    /// # Errors
    /// As [`Stores::check`].
    pub fn describe(&self, source: &str) -> Result<Option<Vec<(&'static str, String)>>> {
        let backends = self.backends();
        let said = backends.of_source(source).map(|backend| backend.describe(source));
        Ok(said.transpose()?)
    }

    /// How objects of `source` (`s3://bucket/prefix`) are reached, where it is not by default; `None` where that cannot be
    /// said by flags.
    pub fn reached(&self, source: &str) -> Option<Reached> {
        self.backends().of_source(source)?.reached(source)
    }

    /// Whether the flags, the tables of settings and the environment make sense: for a door to ask before it mounts.
    ///
    /// # Errors
    /// `Invalid`, naming the setting that is wrong. What the environment says of the other clouds is told at first use:
    /// what somebody left in a home directory must not stop a mount that does not need it.
    pub fn check(&self) -> Result<()> {
        Ok(self.backends().check()?)
    }

    /// Opens an object for reading. A local file is opened and compared with the row; nothing is
    /// asked of a network yet.
    ///
    /// # Errors
    /// `Stale` where it is not the object recorded, `Denied` where the system or the row's place
    /// forbids it, `Broken` for a store that dcfs does not know or a key it cannot ask for exactly.
    pub async fn open(&self, object: &Object) -> Result<Reader> {
        self.open_for(object, None).await
    }

    /// The same for a program that may do less than this process: a local file is opened with its rights.
    ///
    /// # Errors
    /// As [`Stores::open`].
    pub async fn open_for(&self, object: &Object, caller: Option<Caller>) -> Result<Reader> {
        let label = error::place(object);
        let wanted = Wanted::of(object)?;
        let size = wanted.size;
        let source = match Place::of(&wanted.object)? {
            Place::File(path) => self.local(wanted, path, caller).await?,
            Place::Store(kind, url) => self.remote(wanted, kind, &url).await?,
        };
        Ok(self.reader(label.into(), size, source, is_lasting(object)))
    }

    fn rules(&self, caller: Option<Caller>) -> local::Rules {
        let (guard, allowed) = (Arc::clone(&self.guard), Arc::clone(&self.allowed));
        local::Rules { guard, allowed, caller, listed: None }
    }

    async fn local(
        &self,
        wanted: Wanted,
        path: PathBuf,
        caller: Option<Caller>,
    ) -> Result<Source, Error> {
        let rules = self.rules(caller);
        let label = wanted.place.clone();
        let open = move || {
            let part = (wanted.base, wanted.size);
            local::File::open(wanted.place, &path, &wanted.recorded, part, &rules)
        };
        let file = bounded(&label, self.timeout, blocking(&AT_FILES, &label, open)).await?;
        Ok(Source::Local(Arc::new(file)))
    }

    /// The right to wait for the cache's disk by [`Stores::open_ahead`], on a thread that may.
    pub async fn looker(&self) -> Option<SemaphorePermit<'static>> {
        AT_CACHE.acquire().await.ok()
    }

    /// Opens an object of a store that is fetched before anyone asks, or whose row was just looked up, as [`Stores::open`]. Waits
    /// for disks: the caller sees to it that nobody is kept waiting by that.
    ///
    /// # Errors
    /// As [`Stores::open`].
    pub fn open_ahead(&self, object: &Object) -> Result<Reader> {
        let wanted = Wanted::of(object)?;
        let size = wanted.size;
        let Place::Store(kind, url) = Place::of(&wanted.object)? else {
            return Err(Error::scheme(object, "file://").into());
        };
        let source = match self.look_for_fetched(&wanted).and_then(|look| look().ok()) {
            Some(file) => Source::Local(Arc::new(file)),
            None => {
                let store = self.requests(kind, &url, &wanted)?;
                let open = self.look_for_entry(store.server(), &wanted.object);
                let held = open.and_then(|open| open());
                self.source(wanted, store, held)
            }
        };
        Ok(self.reader(error::place(object).into(), size, source, is_lasting(object)))
    }

    /// A file that DataChain fetched, of the right size.
    async fn fetched(&self, wanted: &Wanted) -> Option<local::File> {
        let open = self.look_for_fetched(wanted)?;
        bounded(&wanted.place, self.timeout, blocking(&AT_FILES, &wanted.place, open)).await.ok()
    }

    /// The work that finds it.
    fn look_for_fetched(
        &self,
        wanted: &Wanted,
    ) -> Option<impl FnOnce() -> Result<local::File, Error> + Send + use<>> {
        let path = datachain::place(self.fetched.as_deref()?, &wanted.object)?;
        let (place, rules) = (wanted.place.clone(), self.rules(None));
        let (size, part) = (wanted.recorded.size, (wanted.base, wanted.size));
        Some(move || {
            let recorded = Recorded { size, ..Recorded::default() };
            local::File::open(place, &path, &recorded, part, &rules)
        })
    }

    async fn remote(&self, wanted: Wanted, kind: &StoreKind, url: &str) -> Result<Source, Error> {
        if let Some(file) = self.fetched(&wanted).await {
            return Ok(Source::Local(Arc::new(file)));
        }
        let store = self.requests(kind, url, &wanted)?;
        let held = self.entry(store.server(), &wanted.object).await?;
        Ok(self.source(wanted, store, held))
    }

    fn source(&self, wanted: Wanted, store: Arc<dyn Requests>, held: Option<Held>) -> Source {
        let (base, size, whole) = (wanted.base, wanted.size, wanted.recorded.size);
        let archive = wanted.is_member().then(|| wanted.identity(store.server()));
        let label = wanted.place.into();
        let object = self.object(store, wanted.recorded);
        let Some((entry, hold)) = held else {
            let memory = Arc::clone(&self.memory);
            let object = self.of_archive(object, archive.as_ref(), whole);
            return Source::Remote(stream::Stream::new(object, base, size, memory));
        };
        let known =
            Kept { label, size, base, whole, archive, object, entry: Arc::downgrade(&entry) };
        self.cached(Arc::new(known), (entry, hold))
    }

    /// A recorded object, whole and past the cache: every answer checked, slow requests raced.
    fn object(&self, store: Arc<dyn Requests>, recorded: Recorded) -> Arc<dyn stream::Ranges> {
        let usual = {
            let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(usual.entry(store.server().to_owned()).or_default())
        };
        let health = self.health(store.origin());
        let object =
            Arc::new(remote::Remote::new(store, recorded, health).within(self.first_answer));
        Arc::new(raced::Raced::new(object, usual, Arc::clone(&self.metrics)))
    }

    fn health(&self, origin: String) -> Arc<Health> {
        let mut all = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.get_or_insert(origin, Arc::default))
    }

    fn cached(&self, known: Arc<Kept>, held: Held) -> Source {
        let (entry, whole) = (Arc::clone(&held.0), Arc::clone(&known.object));
        let object = Arc::new(cache::Cached::new(&self.cache, held, whole));
        let object = self.of_archive(object, known.archive.as_ref(), known.whole);
        let stream = stream::Stream::new(object, known.base, known.size, Arc::clone(&self.memory));
        Source::Cached { known, entry, stream }
    }

    /// What a member is read of: its archive, if that is not compressed.
    fn of_archive(
        &self,
        object: Arc<dyn stream::Ranges>,
        archive: Option<&String>,
        size: u64,
    ) -> Arc<dyn stream::Ranges> {
        match archive {
            Some(archive) => Arc::new(self.archives.checked(object, archive.clone(), size)),
            None => object,
        }
    }

    /// Opens again what was opened before, without waiting for anything but system calls. `None` where the
    /// cache let go of it.
    pub fn open_again(&self, known: &Known) -> Option<Reader> {
        let Known(known) = known;
        let entry = known.entry.upgrade()?;
        let hold = entry.hold()?;
        let (label, size) = (Arc::clone(&known.label), known.size);
        let source = self.cached(Arc::clone(known), (entry, hold));
        Some(self.reader(label, size, source, true))
    }

    fn reader(&self, label: Arc<str>, size: u64, source: Source, is_lasting: bool) -> Reader {
        self.metrics.opened.add(1);
        let (timeout, metrics) = (self.timeout, Arc::clone(&self.metrics));
        Reader { label, size, timeout, source, is_lasting, line: Arc::clone(&self.line), metrics }
    }

    /// What was done so far.
    pub fn metrics(&self) -> metrics::Snapshot {
        let memory = self.memory.used();
        self.metrics.snapshot(memory)
    }

    /// The same as a page of Prometheus.
    pub fn prometheus(&self) -> String {
        prometheus::page(&self.metrics(), &self.metrics.histogram())
    }

    /// How an object of `kind` is asked for, and where it may be.
    fn requests(
        &self,
        kind: &StoreKind,
        url: &str,
        wanted: &Wanted,
    ) -> Result<Arc<dyn Requests>, Error> {
        self.allowed.check_url(url, &wanted.place)?;
        self.backends().of(kind).object(&wanted.object, wanted.place.clone())
    }

    /// Where an object is kept; `None` where it cannot be.
    async fn entry(&self, server: &str, object: &Object) -> Result<Option<Held>, Error> {
        let Some(open) = self.look_for_entry(server, object) else { return Ok(None) };
        let label = error::place(object);
        bounded(&label, self.timeout, blocking(&AT_CACHE, &label, move || Ok(open()))).await
    }

    /// The work that opens it there.
    fn look_for_entry(
        &self,
        server: &str,
        object: &Object,
    ) -> Option<impl FnOnce() -> Option<Held> + Send + use<>> {
        let (key, size) = cache::Key::of(server, object).zip(object.size)?;
        let cache = Arc::clone(&self.cache);
        Some(move || {
            let held = cache.entry(key, size);
            // A small file that is there is checked while it is opened: then the kernel may read it by itself.
            if let Some((entry, _)) = &held
                && size <= cache::CHECKED_AT_OPEN
            {
                entry.check();
            }
            held
        })
    }
}

/// Settings may hold secrets, so none is printed.
impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Who may wait at a time for files of this machine, and for the cache. A disk that is stuck must not take every
/// thread that waits, and catalog and listings with them; nor the other disk.
static AT_FILES: Semaphore = Semaphore::const_new(128);
static AT_CACHE: Semaphore = Semaphore::const_new(128);

/// `work`, which waits for a disk, off the threads that answer.
async fn blocking<T: Send + 'static>(
    disk: &'static Semaphore,
    label: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let right = disk.acquire().await;
    let work = move || {
        let done = work();
        drop(right);
        done
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::Failed { place: label.to_owned(), cause: error.to_string() })
    })
}

async fn bounded<T>(
    label: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::Timeout { place: label.to_owned(), seconds: limit.as_secs_f64() })
    })
}
