//! The bytes of recorded objects: requests are pinned to the recorded object, and answers are verified.
//!
//! Every misbehaviour of a store is caught here: the bytes that come out are those of the object that the row
//! recorded, or an error. `object_store` types stay inside.
//!
//! | file | contents |
//! |---|---|
//! | `config` | the configuration of stores |
//! | `place`, `key` | the address of a row's object, if it can be requested exactly |
//! | `plain` | members of archives that are not compressed |
//! | `pin`, `mtime` | request conditions, and the check that an answer is the recorded object |
//! | `window` | the byte ranges to fetch for a read |
//! | `memory`, `buffers` | the memory limit for all files; reuse of memory |
//! | [`list`] | listings of buckets and folders |
//! | `guard` | files that are never served |
//! | `local` | local files |
//! | `remote` | checks that every answer of a store must pass, and retries |
//! | `cloud` | the clients and errors of `object_store` |
//! | `backend` | every kind of store: a folder each, behind one trait, and their registry |
//! | `http1` | the HTTP client for the clouds |
//! | [`patience`] | waiting for a socket on the thread that took a request |
//! | `net`, `certificates`, `refusal` | TLS trust and proxies; error answers of servers |
//! | `budget`, `health` | retries of one question; servers that are away |
//! | [`Settings`] | the user's settings for one bucket or prefix |
//! | `line` | the number of concurrent requests in the background |
//! | `raced`, [`metrics`], `prometheus` | slow requests sent a second time; counters |
//! | `stream` | one open remote object: pieces, look-ahead, one fetch per byte |
//! | [`shared`] | objects that many hosts read and one of them writes |
//! | `near` | small objects that other hosts fetched |
//! | [`cache`], `datachain` | objects on disk: dcfs's own cache, and DataChain's |
//! | `reader` | one open object, wherever its bytes are |
//! | `whole` | whole objects: their cost, fetching them, comparing them |
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
mod near;
mod net;
pub mod patience;
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
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
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
use dcfs_core::cancel;
use dcfs_core::object::Object;
use dcfs_core::provenance::Reached;
use dcfs_core::shared::Small;
use guard::Guard;
use health::Health;
use metrics::Metrics;
use pin::Recorded;
use place::Place;
use reader::Kept;
use reader::Source;
use remote::Requests;
use wanted::Wanted;

/// Number of servers whose health is tracked. A catalog names few, or is hostile.
const SERVERS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// A cached object, and the hold that keeps it in the cache.
type CacheHit = (Arc<cache::Entry>, cache::Hold);

/// The result for callers, whose error has a kind; inside the crate, errors are [`Error`].
type Result<T, E = dcfs_core::error::Error> = std::result::Result<T, E>;

/// How well the row of `object` identifies it: `version`, `etag`, `weak etag`, `size and time` or `size only`.
/// `None` if it cannot be read at all.
pub fn held_by(object: &Object) -> Option<&'static str> {
    pin::Held::of(object).map(pin::Held::text)
}

/// Whether two opens of `object` return the same bytes: it is pinned for good, or a local file, which is
/// compared at each open.
pub fn is_lasting(object: &Object) -> bool {
    is_for_good(object) || is_local(object) && pin::Held::of(object) == Some(pin::Held::SizeAndTime)
}

/// An object's address, for messages: without the parts of a URL that may be secret.
pub fn label(object: &Object) -> String {
    error::place(object)
}

/// Whether an object fetched in advance is still the right one when it is opened.
pub fn is_fetchable(object: &Object) -> bool {
    is_for_good(object) && !is_local(object)
}

fn is_for_good(object: &Object) -> bool {
    pin::Held::of(object).is_some_and(pin::Held::is_for_good)
}

/// Whether an object is a local file, or a member of one.
pub fn is_file(object: &Object) -> bool {
    is_local(object)
}

fn is_local(object: &Object) -> bool {
    // For a member, the archive is opened; the member's own path may not be a local path.
    let member = object.member().ok().flatten();
    let opened = member.as_ref().map_or(object, |member| &member.container);
    matches!(Place::of(opened), Ok(Place::File(_)))
}

/// All stores of a mount.
pub struct Stores {
    timeout: Duration,
    first_answer: Duration,
    guard: Arc<Guard>,
    allowed: Arc<Allowed>,
    backends: RwLock<Arc<Backends>>,
    /// The configuration of the backends.
    config: Config,
    cache: Arc<cache::Cache>,
    memory: Arc<memory::Memory>,
    /// Small objects that other hosts fetched.
    near: OnceLock<Arc<dyn Small>>,
    /// DataChain's own cache.
    fetched: Option<PathBuf>,
    usual: Mutex<HashMap<String, Arc<raced::Usual>>>,
    /// The most recently used servers.
    health: Mutex<LruCache<String, Arc<Health>>>,
    archives: plain::Archives,
    /// Limits the requests of background work.
    line: Arc<line::Line>,
    metrics: Arc<Metrics>,
}

impl Stores {
    /// Sends no request. Invalid settings are reported by [`Stores::check`], or at first use.
    pub fn new(config: Config) -> Self {
        Self::with_environment(config, net::environment())
    }

    /// The same as [`Stores::new`], with other environment variables than this process's: names and values.
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
            // The cache beside a stranger's catalog is a stranger's too.
            fetched: config
                .database
                .as_deref()
                .filter(|_| allowed.is_any_file())
                .and_then(datachain::folder),
            near: OnceLock::new(),
            usual: Mutex::default(),
            health: Mutex::new(LruCache::new(SERVERS)),
            archives: plain::Archives::default(),
            line: Arc::default(),
            metrics: Arc::default(),
            config,
        }
    }

    /// From now on, small objects are looked for among those that other hosts fetched before their store is asked, and
    /// those fetched here are offered to other hosts. Only the first call counts.
    pub fn share_small(&self, small: Arc<dyn Small>) {
        let _ = self.near.set(small);
    }

    fn backends(&self) -> Arc<Backends> {
        Arc::clone(&self.backends.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies new `settings` to objects from now on; open ones are not affected.
    ///
    /// # Errors
    /// As [`Stores::check`]; then nothing has changed.
    pub fn reset(&self, settings: Settings) -> Result<()> {
        let config = Config { settings, ..self.config.clone() };
        let (environment, allowed) = (&net::environment(), &self.allowed);
        let backends = Backends::open(&Setup { config: &config, environment, allowed });
        backends.check()?;
        *self.backends.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(backends);
        Ok(())
    }

    /// The settings that apply to objects of `source` (`s3://bucket/prefix`), as names and values without
    /// secrets, for display; `None` if the source has no settings.
    ///
    /// # Errors
    /// As [`Stores::check`].
    pub fn describe(&self, source: &str) -> Result<Option<Vec<(&'static str, String)>>> {
        let backends = self.backends();
        let said = backends.of_source(source).map(|backend| backend.describe(source));
        Ok(said.transpose()?)
    }

    /// The non-default settings for objects of `source` (`s3://bucket/prefix`), as flags; `None` if flags
    /// cannot express them.
    pub fn reached(&self, source: &str) -> Option<Reached> {
        self.backends().of_source(source)?.reached(source)
    }

    /// Checks the flags, the tables of settings and the environment, before a mount.
    ///
    /// # Errors
    /// `Invalid`, naming the invalid setting. Errors in the environment of the other clouds are reported at
    /// first use: leftovers in a home directory must not prevent a mount that does not need them.
    pub fn check(&self) -> Result<()> {
        Ok(self.backends().check()?)
    }

    /// Opens an object for reading. A local file is opened and compared with the row; for others no request is
    /// sent yet.
    ///
    /// # Errors
    /// `Stale` if it is not the recorded object, `Denied` if the system or the mount's restrictions forbid it,
    /// `Broken` for a store that dcfs does not support or a key that it cannot request exactly.
    pub async fn open(&self, object: &Object) -> Result<Reader> {
        self.open_for(object, None).await
    }

    /// The same on behalf of a program with fewer rights than this process: a local file is opened with its
    /// rights.
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

    /// A permit to block on the cache's disk in [`Stores::open_ahead`], on a blocking thread. Hurried work, of which there is at most
    /// one at a time, takes none.
    pub async fn looker(&self) -> Option<SemaphorePermit<'static>> {
        AT_CACHE.acquire().await.ok()
    }

    /// Opens an object of a store that is fetched in advance, or whose row was just looked up, as
    /// [`Stores::open`] does. Blocks on disks: the caller makes sure that nobody has to wait for that, or that they are disks of this
    /// machine and the work is hurried ([`cancel::hurried`]).
    ///
    /// # Errors
    /// As [`Stores::open`]. Hurried work changes nothing on disk: `Busy` where files of the cache would have to be created or removed.
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
                let held = match self.look_for_entry(store.server(), &wanted.object) {
                    Some(open) => self.entry_now(open, &wanted)?,
                    None => None,
                };
                self.source(wanted, store, held)
            }
        };
        Ok(self.reader(error::place(object).into(), size, source, is_lasting(object)))
    }

    /// Opens a cache entry on this thread. Hurried work fails if files would have to be created, removed or read at length: for a large
    /// object, and where `open` finds anything but a small file or nothing.
    fn entry_now(
        &self,
        open: impl FnOnce() -> Option<CacheHit>,
        wanted: &Wanted,
    ) -> Result<Option<CacheHit>, Error> {
        let busy = || {
            let answer = "the cache has to write first".to_owned();
            Err(Error::Busy { place: wanted.place.clone(), answer })
        };
        if !cancel::is_hurried() || !self.cache.is_wanted() {
            return Ok(open());
        }
        if !self.cache.is_small(wanted.recorded.size) {
            return busy();
        }
        open().map_or_else(busy, |held| Ok(Some(held)))
    }

    /// A file in DataChain's own cache, if it has the right size.
    async fn fetched(&self, wanted: &Wanted) -> Option<local::File> {
        let open = self.look_for_fetched(wanted)?;
        bounded(&wanted.place, self.timeout, blocking(&AT_FILES, &wanted.place, open)).await.ok()
    }

    /// The blocking work that looks for it.
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

    fn source(&self, wanted: Wanted, store: Arc<dyn Requests>, held: Option<CacheHit>) -> Source {
        let (base, size, whole) = (wanted.base, wanted.size, wanted.recorded.size);
        let archive = wanted.is_member().then(|| wanted.identity(store.server()));
        let label = wanted.place.into();
        let shared = held.as_ref().and_then(|_| self.shared(store.server(), &wanted.object));
        let object = self.object(store, wanted.recorded);
        let object = shared.map_or(Arc::clone(&object), |(small, key)| {
            near::Near::wrap(object, small, key, whole)
        });
        let Some((entry, hold)) = held else {
            let memory = Arc::clone(&self.memory);
            let object = self.of_archive(object, archive.as_ref(), (base, whole));
            return Source::Remote(stream::Stream::new(object, base, size, memory));
        };
        let known =
            Kept { label, size, base, whole, archive, object, entry: Arc::downgrade(&entry) };
        self.cached(Arc::new(known), (entry, hold))
    }

    /// Where other hosts may have put an object, and its key there; `None` if it is not shared.
    fn shared(&self, server: &str, object: &Object) -> Option<(Arc<dyn Small>, cache::Key)> {
        let small = self.near.get().filter(|_| object.size.is_some_and(near::is_small))?;
        Some((Arc::clone(small), cache::Key::of(server, object)?))
    }

    /// The whole recorded object, bypassing the cache: every answer checked, slow requests raced.
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

    fn cached(&self, known: Arc<Kept>, held: CacheHit) -> Source {
        let (entry, whole) = (Arc::clone(&held.0), Arc::clone(&known.object));
        let object = Arc::new(cache::Cached::new(&self.cache, held, whole));
        let object = self.of_archive(object, known.archive.as_ref(), (known.base, known.whole));
        let stream = stream::Stream::new(object, known.base, known.size, Arc::clone(&self.memory));
        Source::Cached { known, entry, stream, writer: self.cache.writer() }
    }

    /// The object that a member is read from: its archive, if that is not compressed.
    fn of_archive(
        &self,
        object: Arc<dyn stream::Ranges>,
        archive: Option<&String>,
        part: (u64, u64),
    ) -> Arc<dyn stream::Ranges> {
        match archive {
            Some(archive) => Arc::new(self.archives.checked(object, archive.clone(), part)),
            None => object,
        }
    }

    /// Reopens an object without blocking on anything but system calls. `None` if the cache evicted it.
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

    /// The folders of the caches: its own, and DataChain's, which may be on other disks.
    pub fn disks(&self) -> Vec<PathBuf> {
        let own = Some(&self.config.cache.folder);
        own.into_iter().chain(&self.fetched).cloned().collect()
    }

    /// The counters so far.
    pub fn metrics(&self) -> metrics::Snapshot {
        let memory = self.memory.used();
        self.metrics.snapshot(memory)
    }

    /// The same in the text format of Prometheus.
    pub fn prometheus(&self) -> String {
        prometheus::page(&self.metrics(), &self.metrics.histogram())
    }

    /// The requests for an object of `kind`, and its caches.
    fn requests(
        &self,
        kind: &StoreKind,
        url: &str,
        wanted: &Wanted,
    ) -> Result<Arc<dyn Requests>, Error> {
        self.allowed.check_url(url, &wanted.place)?;
        self.backends().of(kind).object(&wanted.object, wanted.place.clone())
    }

    /// The cache entry of an object; `None` if it cannot be cached.
    async fn entry(&self, server: &str, object: &Object) -> Result<Option<CacheHit>, Error> {
        let Some(open) = self.look_for_entry(server, object) else { return Ok(None) };
        let label = error::place(object);
        bounded(&label, self.timeout, blocking(&AT_CACHE, &label, move || Ok(open()))).await
    }

    /// The blocking work that opens it.
    fn look_for_entry(
        &self,
        server: &str,
        object: &Object,
    ) -> Option<impl FnOnce() -> Option<CacheHit> + Send + use<>> {
        let (key, size) = cache::Key::of(server, object).zip(object.size)?;
        let cache = Arc::clone(&self.cache);
        Some(move || {
            let held = cache.entry(key, size);
            // A small cached file is verified when it is opened: then the kernel may read it directly.
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

/// Limits of threads that block on local files, and on the cache. A disk that is stuck must not take every
/// blocking thread, and with them the catalog and listings; nor those of the other disk.
static AT_FILES: Semaphore = Semaphore::const_new(128);
static AT_CACHE: Semaphore = Semaphore::const_new(128);

/// Runs `work`, which blocks on a disk, on a blocking thread.
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
