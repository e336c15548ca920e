//! The bytes of recorded objects: pinned when asked for, checked when they come.
//!
//! Everything a store may do wrong ends here: the bytes that come out are those of the object that
//! the row recorded, or an error. `object_store` types stay inside.
//!
//! | file | what it decides |
//! |---|---|
//! | `place`, `key` | where a row's object is, and whether it can be asked for exactly |
//! | `pin`, `mtime` | what to ask for, and whether the answer is the object recorded |
//! | `window` | which bytes to fetch for one read |
//! | `memory` | how much is held in memory, for all files |
//! | [`list`] | what is in a bucket or a folder |
//! | `guard` | which files are never served |
//! | `local` | files of this machine |
//! | `remote` | what every answer of a store is held to, and how a store is asked |
//! | `cloud` | what `object_store` speaks: its clients, its failures |
//! | `s3`, `gcs`, `azure` | the settings of each cloud |
//! | `web` | `http(s)://` and the Hugging Face hub |
//! | `net`, `refusal` | waits, trust and proxies; what a server says in place of an object |
//! | [`Settings`] | what the user says of one bucket or prefix |
//! | `raced`, [`metrics`], `prometheus` | slow requests asked twice; what was done, counted |
//! | `stream` | one open remote object: pieces, look-ahead, one fetch per byte |
//! | [`cache`], `datachain` | objects on disk: those fetched here, those that DataChain fetched |
//! | `reader` | one open object, wherever its bytes are |
//! | `whole` | what is done with an object as a whole: its cost, fetching it, comparing it |
//!
//! A new store is one more [`place::Place`] and one more `Requests`; the cache is a `Ranges` over another.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "remote")]
mod cache;
#[cfg(feature = "cloud")]
mod cloud;
#[cfg(feature = "remote")]
mod datachain;
mod error;
#[cfg(all(test, feature = "remote"))]
mod fake;
#[cfg(feature = "gcs")]
mod gcs;
mod guard;
#[cfg(feature = "cloud")]
mod key;
pub mod list;
mod local;
#[cfg(feature = "remote")]
mod memory;
pub mod metrics;
mod mtime;
#[cfg(feature = "remote")]
mod net;
#[cfg_attr(not(feature = "remote"), allow(dead_code, reason = "local files need a part of it"))]
mod pin;
#[cfg_attr(
    not(all(feature = "s3", feature = "gcs", feature = "azure", feature = "http")),
    allow(dead_code, reason = "a store that is left out is still told from a wrong place")
)]
mod place;
mod prometheus;
#[cfg(feature = "remote")]
mod raced;
mod reader;
#[cfg(feature = "remote")]
mod refusal;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "s3")]
mod s3;
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "only S3 has settings yet"))]
mod settings;
#[cfg(feature = "remote")]
mod stream;
mod wanted;
#[cfg(feature = "http")]
mod web;
mod whole;
#[cfg(feature = "remote")]
mod window;

#[cfg(feature = "remote")]
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "remote")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

#[cfg(feature = "remote")]
pub use cache::upkeep;
pub use error::Error;
pub use reader::{Known, Reader};
pub use settings::Settings;
pub use whole::{Cost, Warmed};

use crate::object::Object;
use guard::Guard;
use metrics::Metrics;
#[cfg(feature = "remote")]
use pin::Recorded;
use place::Place;
#[cfg(feature = "remote")]
use reader::Kept;
use reader::Source;
#[cfg(feature = "remote")]
use remote::Requests;
use wanted::Wanted;

/// Bytes of objects that are held in memory where nobody says how many.
const MEMORY: u64 = 64 << 20;

/// Objects up to this size are compared with their checksums as they are opened.
#[cfg(feature = "remote")]
const CHECKED_AT_OPEN: u64 = 2 << 20;

/// What callers get has a kind; inside, errors are [`Error`].
type Result<T, E = crate::error::Error> = std::result::Result<T, E>;

/// How to reach stores; what the command line says, and the user's file of settings. Stores read what else their own
/// command lines read.
#[derive(Clone, Debug)]
pub struct Config {
    /// For S3-compatible servers; wins over all else that names one.
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    /// A profile of `~/.aws`.
    pub profile: Option<String>,
    /// Use no credentials of any store.
    pub anon: bool,
    /// Agree to pay for requests.
    pub request_payer: bool,
    /// Settings per bucket or prefix, which flags win over.
    pub settings: Settings,
    /// No request waits longer, retries included.
    pub timeout: Duration,
    /// Folders and files never served, whatever a row says: the open catalog, the cache and the
    /// mount point (reading which would wait for ourselves).
    pub forbidden: Vec<PathBuf>,
    /// What was fetched is kept here.
    pub cache: CacheConfig,
    /// Bytes of objects that are held in memory, at most.
    pub memory: u64,
    /// The catalog's database: DataChain keeps beside it what it fetched.
    pub database: Option<PathBuf>,
}

impl Config {
    /// Nothing is said, nothing kept on disk.
    pub fn new(timeout: Duration) -> Self {
        Self {
            endpoint_url: None,
            region: None,
            profile: None,
            anon: false,
            request_payer: false,
            settings: Settings::default(),
            timeout,
            forbidden: Vec::new(),
            cache: CacheConfig::none(),
            memory: MEMORY,
            database: None,
        }
    }
}

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

/// Whether an object may be fetched before anybody asks for it, and be right then.
pub fn is_fetchable(object: &Object) -> bool {
    is_for_good(object) && !is_local(object)
}

fn is_for_good(object: &Object) -> bool {
    pin::Held::of(object).is_some_and(pin::Held::is_for_good)
}

fn is_local(object: &Object) -> bool {
    matches!(Place::of(object), Ok(Place::File(_)))
}

/// Where objects are kept on disk, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// A directory of dcfs, which is there.
    pub folder: PathBuf,
    /// Bytes of all objects; 0 keeps none.
    pub size: u64,
    /// Bytes that stay free on the disk.
    pub free: u64,
    /// Objects whose files stay open for who opens them again; each takes two descriptors.
    pub open: usize,
}

impl CacheConfig {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: PathBuf::new(), size: 0, free: 0, open: 0 }
    }
}

/// Every store of a mount.
pub struct Stores {
    timeout: Duration,
    guard: Arc<Guard>,
    #[cfg(feature = "s3")]
    s3: s3::S3,
    #[cfg(feature = "gcs")]
    gcs: gcs::Gcs,
    #[cfg(feature = "azure")]
    azure: azure::Azure,
    #[cfg(feature = "http")]
    web: Arc<web::Web>,
    #[cfg(feature = "remote")]
    cache: Arc<cache::Cache>,
    #[cfg(feature = "remote")]
    memory: Arc<memory::Memory>,
    /// What DataChain fetched.
    #[cfg(feature = "remote")]
    fetched: Option<PathBuf>,
    #[cfg(feature = "remote")]
    usual: Mutex<HashMap<String, Arc<raced::Usual>>>,
    metrics: Arc<Metrics>,
}

impl Stores {
    /// Asks nothing of a network. Wrong settings are told by [`Stores::check`], or at first use.
    #[cfg(feature = "remote")]
    pub fn new(config: Config) -> Self {
        Self::with_environment(config, net::environment())
    }

    #[cfg(not(feature = "remote"))]
    pub fn new(config: Config) -> Self {
        let guard = Arc::new(Guard::new(&config.forbidden));
        Self { timeout: config.timeout, guard, metrics: Arc::default() }
    }

    /// As [`Stores::new`], with other variables than this process's: names and values.
    #[cfg(feature = "remote")]
    pub fn with_environment(config: Config, environment: Vec<(String, String)>) -> Self {
        Self {
            timeout: config.timeout,
            guard: Arc::new(Guard::new(&config.forbidden)),
            #[cfg(feature = "s3")]
            s3: s3::S3::new(&config, &environment),
            #[cfg(feature = "gcs")]
            gcs: gcs::Gcs::new(&config, &environment),
            #[cfg(feature = "azure")]
            azure: azure::Azure::new(&config, &environment),
            #[cfg(feature = "http")]
            web: Arc::new(web::Web::new(&config, &environment)),
            cache: Arc::new(cache::Cache::new(&config.cache)),
            memory: Arc::new(memory::Memory::new(config.memory)),
            fetched: config.database.as_deref().and_then(datachain::folder),
            usual: Mutex::default(),
            metrics: Arc::default(),
        }
    }

    /// What counts for objects of `source` (`s3://bucket/prefix`), as names and values without secrets, for a person to
    /// read; `None` where the source has no settings.
    ///
    /// # Errors
    /// As [`Stores::check`].
    pub fn describe(&self, source: &str) -> Result<Option<Vec<(&'static str, String)>>> {
        #[cfg(feature = "s3")]
        if let Some(rest) = source.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            return Ok(Some(self.s3.describe(bucket, prefix)?));
        }
        let _ = source;
        Ok(None)
    }

    /// Whether the flags and the environment make sense: for a door to ask before it mounts.
    ///
    /// # Errors
    /// `Invalid`, naming the setting that is wrong. The other clouds' are told at first use: what somebody
    /// left in a home directory must not stop a mount that does not need it.
    pub fn check(&self) -> Result<()> {
        #[cfg(feature = "s3")]
        self.s3.check()?;
        Ok(())
    }

    /// Opens an object for reading. A local file is opened and compared with the row; nothing is
    /// asked of a network yet.
    ///
    /// # Errors
    /// `Stale` where it is not the object recorded, `Denied` where the system or the row's place
    /// forbids it, `Broken` for a store that dcfs does not know or a key it cannot ask for exactly.
    pub async fn open(&self, object: &Object) -> Result<Reader> {
        let label = error::place(object);
        let wanted = Wanted::of(object)?;
        let size = wanted.size;
        let source = match Place::of(&wanted.object)? {
            Place::File(path) => self.local(wanted, path).await?,
            place => self.remote(wanted, place).await?,
        };
        Ok(self.reader(label.into(), size, source, is_lasting(object)))
    }

    async fn local(&self, wanted: Wanted, path: PathBuf) -> Result<Source, Error> {
        let guard = Arc::clone(&self.guard);
        let label = wanted.place.clone();
        let open = move || {
            let part = (wanted.base, wanted.size);
            local::File::open(wanted.place, &path, &wanted.recorded, part, &guard)
        };
        let file = bounded(&label, self.timeout, blocking(&AT_FILES, &label, open)).await?;
        Ok(Source::Local(Arc::new(file)))
    }

    /// A file that DataChain fetched, of the right size.
    #[cfg(feature = "remote")]
    async fn fetched(&self, wanted: &Wanted) -> Option<local::File> {
        let path = datachain::place(self.fetched.as_deref()?, &wanted.object)?;
        let (place, guard) = (wanted.place.clone(), Arc::clone(&self.guard));
        let (size, part) = (wanted.recorded.size, (wanted.base, wanted.size));
        let open = move || {
            let recorded = Recorded { size, ..Recorded::default() };
            local::File::open(place, &path, &recorded, part, &guard)
        };
        bounded(&wanted.place, self.timeout, blocking(&AT_FILES, &wanted.place, open)).await.ok()
    }

    #[cfg(feature = "remote")]
    async fn remote(&self, wanted: Wanted, address: Place) -> Result<Source, Error> {
        if let Some(file) = self.fetched(&wanted).await {
            return Ok(Source::Local(Arc::new(file)));
        }
        let store = self.requests(address, wanted.place.clone())?;
        let held = self.entry(store.server(), &wanted.object).await?;
        let (base, size, whole) = (wanted.base, wanted.size, wanted.recorded.size);
        let label = wanted.place.into();
        let object = self.object(store, wanted.recorded);
        let Some((entry, hold)) = held else {
            let memory = Arc::clone(&self.memory);
            return Ok(Source::Remote(stream::Stream::new(object, base, size, memory)));
        };
        let known = Kept { label, size, base, whole, object, entry: Arc::downgrade(&entry) };
        Ok(self.cached(Arc::new(known), (entry, hold)))
    }

    /// A recorded object, whole and past the cache: every answer checked, slow requests raced.
    #[cfg(feature = "remote")]
    fn object(&self, store: Arc<dyn Requests>, recorded: Recorded) -> Arc<dyn stream::Ranges> {
        let usual = {
            let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(usual.entry(store.server().to_owned()).or_default())
        };
        let object = Arc::new(remote::Remote::new(store, recorded));
        Arc::new(raced::Raced::new(object, usual, Arc::clone(&self.metrics)))
    }

    #[cfg(feature = "remote")]
    fn cached(&self, known: Arc<Kept>, held: (Arc<cache::Entry>, cache::Hold)) -> Source {
        let (entry, whole) = (Arc::clone(&held.0), Arc::clone(&known.object));
        let object = Arc::new(cache::Cached::new(&self.cache, held, whole));
        let stream = stream::Stream::new(object, known.base, known.size, Arc::clone(&self.memory));
        Source::Cached { known, entry, stream }
    }

    /// Opens again what was opened before, without waiting for anything but system calls. `None` where the
    /// cache let go of it.
    pub fn open_again(&self, known: &Known) -> Option<Reader> {
        #[cfg(not(feature = "remote"))]
        match known.0 {}
        #[cfg(feature = "remote")]
        {
            let Known(known) = known;
            let entry = known.entry.upgrade()?;
            let hold = entry.hold()?;
            let (label, size) = (Arc::clone(&known.label), known.size);
            let source = self.cached(Arc::clone(known), (entry, hold));
            Some(self.reader(label, size, source, true))
        }
    }

    fn reader(&self, label: Arc<str>, size: u64, source: Source, is_lasting: bool) -> Reader {
        self.metrics.opened.add(1);
        let (timeout, metrics) = (self.timeout, Arc::clone(&self.metrics));
        Reader { label, size, timeout, source, is_lasting, metrics }
    }

    /// What was done so far.
    pub fn metrics(&self) -> metrics::Snapshot {
        #[cfg(feature = "remote")]
        let memory = self.memory.used();
        #[cfg(not(feature = "remote"))]
        let memory = (0, 0);
        self.metrics.snapshot(memory)
    }

    /// The same as a page of Prometheus.
    pub fn prometheus(&self) -> String {
        prometheus::page(&self.metrics(), &self.metrics.histogram())
    }

    /// How the object at `address` is asked for.
    #[cfg(feature = "remote")]
    fn requests(&self, address: Place, place: String) -> Result<Arc<dyn Requests>, Error> {
        match address {
            #[cfg(feature = "s3")]
            Place::S3(key) => in_bucket(self.s3.bucket(&key.bucket, &key.key)?, &key, place),
            #[cfg(feature = "gcs")]
            Place::Gs(key) => in_bucket(self.gcs.bucket(&key.bucket), &key, place),
            #[cfg(feature = "azure")]
            Place::Az(key) => in_bucket(self.azure.container(&key.bucket), &key, place),
            #[cfg(feature = "http")]
            Place::Http(url) => Ok(self.on_web(web::Target::Page(url), place)),
            #[cfg(feature = "http")]
            Place::Hub(file) => Ok(self.on_web(web::Target::Hub(file), place)),
            other => Err(Error::Scheme { place, scheme: other.scheme().into() }),
        }
    }

    #[cfg(feature = "http")]
    fn on_web(&self, target: web::Target, place: String) -> Arc<dyn Requests> {
        Arc::new(web::WebObject::new(Arc::clone(&self.web), target, place))
    }

    /// Where an object is kept; `None` where it cannot be.
    #[cfg(feature = "remote")]
    async fn entry(
        &self,
        server: &str,
        object: &Object,
    ) -> Result<Option<(Arc<cache::Entry>, cache::Hold)>, Error> {
        let Some((key, size)) = cache::Key::of(server, object).zip(object.size) else {
            return Ok(None);
        };
        let cache = Arc::clone(&self.cache);
        let open = move || {
            let held = cache.entry(key, size);
            // A small file that is there is checked while it is opened: then the kernel may read it by itself.
            if let Some((entry, _)) = &held
                && size <= CHECKED_AT_OPEN
            {
                entry.check();
            }
            Ok(held)
        };
        let label = error::place(object);
        bounded(&label, self.timeout, blocking(&AT_CACHE, &label, open)).await
    }

    #[cfg(not(feature = "remote"))]
    async fn remote(&self, wanted: Wanted, address: Place) -> Result<Source, Error> {
        Err(Error::Scheme { place: wanted.place, scheme: address.scheme().into() })
    }
}

/// An object of a cloud, by its exact key.
#[cfg(feature = "cloud")]
fn in_bucket(
    bucket: Arc<impl cloud::Bucket>,
    key: &place::Key,
    place: String,
) -> Result<Arc<dyn Requests>, Error> {
    match key::exact(&key.key) {
        Ok(key) => Ok(Arc::new(cloud::CloudObject::new(bucket, key, place))),
        Err(reason) => Err(Error::Unaskable { place, reason }),
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
#[cfg(feature = "remote")]
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
