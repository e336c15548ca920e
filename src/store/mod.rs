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
//! | `guard` | which files are never served |
//! | `local` | files of this machine |
//! | `s3` | requests to S3 and its kin |
//! | `raced`, [`metrics`] | slow requests asked twice; what was done, counted |
//! | `stream` | one open remote object: windows, look-ahead, one fetch per byte |
//! | [`cache`] | objects on disk |
//!
//! A new store is one more [`place::Place`] and one more `Ranges`; the cache is a `Ranges` over another.

#[cfg(feature = "s3")]
mod cache;
mod error;
#[cfg(all(test, feature = "s3"))]
mod fake;
mod guard;
#[cfg(feature = "s3")]
mod key;
mod local;
#[cfg(feature = "s3")]
mod memory;
pub mod metrics;
mod mtime;
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "local files need a part of it"))]
mod pin;
mod place;
mod prometheus;
#[cfg(feature = "s3")]
mod raced;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "s3")]
mod stream;
#[cfg(feature = "s3")]
mod window;

#[cfg(feature = "s3")]
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "s3")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "s3")]
pub use cache::upkeep;
pub use error::Error;

use crate::object::Object;
use guard::Guard;
use metrics::Metrics;
use pin::Recorded;
use place::Place;

/// Objects up to this size are compared with their checksums as they are opened.
#[cfg(feature = "s3")]
const CHECKED_AT_OPEN: u64 = 2 << 20;

/// Bytes of a first read: fewer than any object that is fetched whole.
const BEGINNING: u32 = 4096;

/// What callers get has a kind; inside, errors are [`Error`].
type Result<T, E = crate::error::Error> = std::result::Result<T, E>;

/// How to reach stores; what the command line says, and nothing read from elsewhere.
#[derive(Clone, Debug)]
pub struct Config {
    /// For S3-compatible servers; `None` means `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else AWS.
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    /// Do not sign requests.
    pub anon: bool,
    /// No request waits longer, retries included.
    pub timeout: Duration,
    /// Folders and files never served, whatever a row says: the open catalog, the cache and the
    /// mount point (reading which would wait for ourselves).
    pub forbidden: Vec<PathBuf>,
    /// What was fetched is kept here.
    pub cache: CacheConfig,
    /// Bytes of objects that are held in memory, at most.
    pub memory: u64,
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
}

impl CacheConfig {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: PathBuf::new(), size: 0, free: 0 }
    }
}

/// Every store of a mount.
pub struct Stores {
    timeout: Duration,
    guard: Arc<Guard>,
    #[cfg(feature = "s3")]
    s3: s3::S3,
    #[cfg(feature = "s3")]
    cache: Arc<cache::Cache>,
    #[cfg(feature = "s3")]
    memory: Arc<memory::Memory>,
    #[cfg(feature = "s3")]
    usual: Mutex<HashMap<String, Arc<raced::Usual>>>,
    metrics: Arc<Metrics>,
}

impl Stores {
    /// Asks nothing of a network. Wrong settings are told by [`Stores::check`], or at first use.
    pub fn new(config: Config) -> Self {
        Self {
            timeout: config.timeout,
            guard: Arc::new(Guard::new(&config.forbidden)),
            #[cfg(feature = "s3")]
            s3: s3::S3::new(&config),
            #[cfg(feature = "s3")]
            cache: Arc::new(cache::Cache::new(&config.cache)),
            #[cfg(feature = "s3")]
            memory: Arc::new(memory::Memory::new(config.memory)),
            #[cfg(feature = "s3")]
            usual: Mutex::default(),
            metrics: Arc::default(),
        }
    }

    /// Whether the flags and the environment make sense: for a door to ask before it mounts.
    ///
    /// # Errors
    /// `Invalid`, naming the setting that is wrong.
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
            Place::S3 { bucket, key } => self.remote(wanted, bucket, &key).await?,
        };
        self.metrics.opened.add(1);
        let (timeout, metrics) = (self.timeout, Arc::clone(&self.metrics));
        Ok(Reader { label: label.into(), size, timeout, source, metrics })
    }

    /// What reading an object takes. Asks nothing of a network.
    ///
    /// # Errors
    /// What cannot be asked for, whatever the store says.
    pub async fn cost(&self, object: &Object) -> Result<Cost> {
        let wanted = Wanted::of(object)?;
        match Place::of(&wanted.object)? {
            Place::File(_) => Ok(Cost::Local),
            #[cfg(feature = "s3")]
            Place::S3 { bucket, .. } => {
                let bucket = self.s3.bucket(bucket);
                let Some((key, size)) =
                    cache::Key::of(bucket.server(), &wanted.object).zip(wanted.object.size)
                else {
                    return Ok(Cost::missing(0, wanted.size));
                };
                let cache = Arc::clone(&self.cache);
                let look = move || Ok(cache.kept(key, size));
                let kept = blocking(&wanted.place, look).await?;
                // Of a member of an archive nobody knows which part is there.
                Ok(Cost::missing(kept.min(wanted.size), wanted.size))
            }
            #[cfg(not(feature = "s3"))]
            Place::S3 { .. } => Err(Error::Scheme { place: wanted.place, scheme: "s3://".into() })?,
        }
    }

    /// Fetches what the cache lacks of an object, and tells what that took.
    ///
    /// # Errors
    /// As [`Stores::open`] and [`Reader::read`].
    pub async fn warm(&self, object: &Object) -> Result<Cost> {
        let cost = self.cost(object).await?;
        let reader = self.open(object).await?;
        match cost {
            Cost::Local => {}
            _ if reader.known().is_none() => {
                return Ok(Cost::Remote { cached: 0, missing: 0, requests: 1 });
            }
            _ => reader.fill().await?,
        }
        Ok(cost)
    }

    /// Whether an object is the one recorded: asks its store for a byte of it, past the cache.
    ///
    /// # Errors
    /// `Stale` where it is not; else as [`Reader::read`].
    pub async fn compare(&self, object: &Object) -> Result<()> {
        let wanted = Wanted::of(object)?;
        match Place::of(&wanted.object)? {
            Place::File(path) => self.local(wanted, path).await.map(|_| ())?,
            #[cfg(feature = "s3")]
            Place::S3 { bucket, key } => {
                let byte = 0..wanted.recorded.size.min(1);
                let object = self.object(wanted, bucket, &key)?;
                object.get(byte).await?;
            }
            #[cfg(not(feature = "s3"))]
            Place::S3 { .. } => Err(Error::Scheme { place: wanted.place, scheme: "s3://".into() })?,
        }
        Ok(())
    }

    /// Waits until everything that was fetched is on disk.
    pub async fn settled(&self) {
        #[cfg(feature = "s3")]
        self.cache.settled().await;
    }

    async fn local(&self, wanted: Wanted, path: PathBuf) -> Result<Source, Error> {
        let guard = Arc::clone(&self.guard);
        let label = wanted.place.clone();
        let open = move || {
            let part = (wanted.base, wanted.size);
            local::File::open(wanted.place, &path, &wanted.recorded, part, &guard)
        };
        let file = bounded(&label, self.timeout, blocking(&label, open)).await?;
        Ok(Source::Local(Arc::new(file)))
    }

    #[cfg(feature = "s3")]
    async fn remote(&self, wanted: Wanted, bucket: String, key: &[u8]) -> Result<Source, Error> {
        let server = self.s3.bucket(bucket.clone());
        let held = self.entry(server.server(), &wanted.object).await?;
        let (base, size, whole) = (wanted.base, wanted.size, wanted.recorded.size);
        let label = wanted.place.clone().into();
        let object = self.object(wanted, bucket, key)?;
        let Some((entry, hold)) = held else {
            let memory = Arc::clone(&self.memory);
            return Ok(Source::Remote(stream::Stream::new(object, base, size, memory)));
        };
        let known = Arc::new(Kept { label, size, base, whole, object, entry });
        Ok(self.cached(known, hold))
    }

    /// An object of a bucket, whole and past the cache.
    #[cfg(feature = "s3")]
    fn object(
        &self,
        wanted: Wanted,
        bucket: String,
        key: &[u8],
    ) -> Result<Arc<dyn stream::Ranges>, Error> {
        let Wanted { place, recorded, .. } = wanted;
        match key::exact(key) {
            Ok(key) => {
                let bucket = self.s3.bucket(bucket);
                let usual = self.usual(bucket.server());
                let object = Arc::new(s3::S3Object::new(bucket, key, place, recorded));
                Ok(Arc::new(raced::Raced::new(object, usual, Arc::clone(&self.metrics))))
            }
            Err(reason) => Err(Error::Unaskable { place, reason }),
        }
    }

    /// How long requests to a server usually take.
    #[cfg(feature = "s3")]
    fn usual(&self, server: &str) -> Arc<raced::Usual> {
        let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(usual.entry(server.to_owned()).or_default())
    }

    /// What was done so far.
    pub fn metrics(&self) -> metrics::Snapshot {
        #[cfg(feature = "s3")]
        let memory = self.memory.used();
        #[cfg(not(feature = "s3"))]
        let memory = (0, 0);
        self.metrics.snapshot(memory)
    }

    /// The same as a page of Prometheus.
    pub fn prometheus(&self) -> String {
        prometheus::page(&self.metrics(), &self.metrics.histogram())
    }

    #[cfg(feature = "s3")]
    fn cached(&self, known: Arc<Kept>, hold: cache::Hold) -> Source {
        let held = (Arc::clone(&known.entry), hold);
        let object = Arc::new(cache::Cached::new(&self.cache, held, Arc::clone(&known.object)));
        let stream = stream::Stream::new(object, known.base, known.size, Arc::clone(&self.memory));
        Source::Cached { known, stream }
    }

    /// Opens again what was opened before, without waiting for anything but system calls. `None` where the
    /// cache let go of it.
    #[cfg_attr(
        not(feature = "s3"),
        expect(clippy::unused_self, reason = "there is nothing to open")
    )]
    pub fn open_again(&self, known: &Known) -> Option<Reader> {
        #[cfg(not(feature = "s3"))]
        match known.0 {}
        #[cfg(feature = "s3")]
        {
            let Known(known) = known;
            let hold = known.entry.hold()?;
            let (label, size, timeout) = (Arc::clone(&known.label), known.size, self.timeout);
            self.metrics.opened.add(1);
            let (source, metrics) =
                (self.cached(Arc::clone(known), hold), Arc::clone(&self.metrics));
            Some(Reader { label, size, timeout, source, metrics })
        }
    }

    /// Where an object is kept; `None` where it cannot be.
    #[cfg(feature = "s3")]
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
        blocking(&error::place(object), open).await
    }

    #[cfg(not(feature = "s3"))]
    async fn remote(&self, wanted: Wanted, _bucket: String, _key: &[u8]) -> Result<Source, Error> {
        Err(Error::Scheme { place: wanted.place, scheme: "s3://".into() })
    }
}

/// What reading an object takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// It is a file of this machine.
    Local,
    /// Bytes that are cached, bytes that are not, and the requests for these.
    Remote { cached: u64, missing: u64, requests: u64 },
}

impl Cost {
    #[cfg(feature = "s3")]
    fn missing(cached: u64, size: u64) -> Self {
        let missing = size - cached;
        let requests = missing.div_ceil(window::MOST);
        // An empty object is asked for too, to see that it is empty.
        let requests = if size == 0 { 1 } else { requests };
        Self::Remote { cached, missing, requests }
    }
}

/// Settings may hold secrets, so none is printed.
impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The stretch of an object that a row means: all of it, or a member of a tar.
struct Wanted {
    /// What is in the store: for a member its archive.
    object: Object,
    place: String,
    recorded: Recorded,
    base: u64,
    size: u64,
}

impl Wanted {
    fn of(object: &Object) -> Result<Self, Error> {
        let place = error::place(object);
        let member = object.member().map_err(|cause| Error::Location { place, cause })?;
        let (object, part) = match member {
            Some(member) => {
                let place = || error::place(object);
                let row = object.size.ok_or_else(|| Error::NoSize { place: place() })?;
                if row != member.size {
                    return Err(Error::MemberSize { place: place(), row, location: member.size });
                }
                (member.container, Some((member.offset, member.size)))
            }
            None => (object.clone(), None),
        };
        let place = error::place(&object);
        let Some(recorded) = Recorded::of(&object) else { return Err(Error::NoSize { place }) };
        let (base, size) = part.unwrap_or((0, recorded.size));
        if base.checked_add(size).is_none_or(|end| end > recorded.size) {
            let (offset, length, size) = (base, size, recorded.size);
            return Err(Error::Outside { place, size, offset, length });
        }
        Ok(Self { object, place, recorded, base, size })
    }
}

/// One open object; reads may overlap and come in any order.
///
/// A remote object of up to 1.1 MiB is held while it is open; of a larger one what is read in order, as far as
/// [`Config::memory`] goes.
pub struct Reader {
    label: Arc<str>,
    size: u64,
    timeout: Duration,
    source: Source,
    metrics: Arc<Metrics>,
}

enum Source {
    Local(Arc<local::File>),
    #[cfg(feature = "s3")]
    Remote(stream::Stream),
    /// The stream goes through the cache; what is on disk already is read from there.
    #[cfg(feature = "s3")]
    Cached {
        known: Arc<Kept>,
        stream: stream::Stream,
    },
}

/// An object that was opened, to be opened again at little cost: what pins it has been checked, and its files
/// in the cache are open.
#[derive(Clone, Debug)]
pub struct Known(
    #[cfg(feature = "s3")] Arc<Kept>,
    #[cfg(not(feature = "s3"))] std::convert::Infallible,
);

#[cfg(feature = "s3")]
struct Kept {
    label: Arc<str>,
    /// Of what is read; it begins at `base` of the object.
    size: u64,
    base: u64,
    /// The size of the object.
    whole: u64,
    object: Arc<dyn stream::Ranges>,
    entry: Arc<cache::Entry>,
}

#[cfg(feature = "s3")]
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("of", &self.label).finish_non_exhaustive()
    }
}

impl Reader {
    /// Length in bytes, as recorded.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// For [`Stores::open_again`]; `None` for what must be looked at again each time.
    pub fn known(&self) -> Option<Known> {
        match &self.source {
            #[cfg(feature = "s3")]
            Source::Cached { known, .. } => Some(Known(Arc::clone(known))),
            _ => None,
        }
    }

    /// A file of this machine that holds exactly this object, checked: the kernel may read it by itself.
    pub fn whole_file(&self) -> Option<Arc<std::fs::File>> {
        match &self.source {
            Source::Local(file) => file.whole(),
            #[cfg(feature = "s3")]
            Source::Cached { known, .. } => {
                known.entry.whole().filter(|_| known.size == known.whole)
            }
            #[cfg(feature = "s3")]
            Source::Remote(_) => None,
        }
    }

    /// The bytes `offset..offset + length`, cut at the end of the object, if they can be had without waiting.
    pub fn read_now(&self, offset: u64, length: u32) -> Option<Bytes> {
        match &self.source {
            #[cfg(feature = "s3")]
            Source::Remote(stream) => self.in_memory(stream, offset, length),
            #[cfg(feature = "s3")]
            Source::Cached { known, stream } => {
                self.in_memory(stream, offset, length).or_else(|| {
                    let bytes = known.entry.read_now(&self.range(known.base, offset, length))?;
                    self.metrics.from_disk.add(bytes.len() as u64);
                    Some(bytes)
                })
            }
            Source::Local(_) => None,
        }
    }

    /// The bytes `offset..offset + length`, cut at the end of the object and nowhere else.
    ///
    /// # Errors
    /// As [`Stores::open`]; `Busy` and `Broken` where the store fails after retries. No answer
    /// takes longer than [`Config::timeout`].
    pub async fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        let read = async {
            match &self.source {
                Source::Local(file) => {
                    let file = Arc::clone(file);
                    blocking(&self.label, move || file.read(offset, length)).await
                }
                #[cfg(feature = "s3")]
                Source::Remote(stream) => stream.read(offset, length).await,
                #[cfg(feature = "s3")]
                Source::Cached { known, stream } => {
                    let entry = Arc::clone(&known.entry);
                    let range = self.range(known.base, offset, length);
                    if entry.lacks_now(&entry.aligned(&range)) {
                        return stream.read(offset, length).await;
                    }
                    match blocking(&self.label, move || Ok(entry.read(&range))).await? {
                        Some(bytes) => {
                            self.metrics.from_disk.add(bytes.len() as u64);
                            Ok(bytes)
                        }
                        None => stream.read(offset, length).await,
                    }
                }
            }
        };
        if let Some(bytes) = self.read_now(offset, length) {
            return Ok(bytes);
        }
        Ok(bounded(&self.label, self.timeout, read).await?)
    }

    /// Fetches the beginning, as the first read would: all of an object of up to 1.1 MiB.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn begin(&self) -> Result<()> {
        if self.whole_file().is_none() && self.size > 0 {
            self.read(0, BEGINNING).await?;
        }
        Ok(())
    }

    /// Fetches everything that the cache lacks, into the cache. Where nothing is cached, nothing is done.
    ///
    /// # Errors
    /// As [`Reader::read`]; what was fetched until then stays.
    pub async fn fill(&self) -> Result<()> {
        #[cfg(feature = "s3")]
        if let Source::Cached { stream, .. } = &self.source
            && self.whole_file().is_none()
        {
            stream.pass().await?;
        }
        Ok(())
    }

    #[cfg(feature = "s3")]
    fn in_memory(&self, stream: &stream::Stream, offset: u64, length: u32) -> Option<Bytes> {
        let bytes = stream.here(offset, length)?;
        self.metrics.from_memory.add(bytes.len() as u64);
        Some(bytes)
    }

    /// A read as a range of the object, cut at the end.
    #[cfg(feature = "s3")]
    fn range(&self, base: u64, offset: u64, length: u32) -> std::ops::Range<u64> {
        let start = offset.min(self.size);
        base + start..base + offset.saturating_add(length.into()).min(self.size)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, size) = (&self.label, &self.size);
        f.debug_struct("Reader").field("of", label).field("size", size).finish_non_exhaustive()
    }
}

/// `work`, which waits for a disk, off the threads that answer.
async fn blocking<T: Send + 'static>(
    label: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
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
