//! Operations on whole objects: estimating the cost of reading, fetching, comparing with the row.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::backend::StoreKind;
use super::place::Place;
use super::reader::Source;
use super::wanted::Wanted;
use super::{AT_FILES, Reader, Result, Stores, blocking, bounded, local};
use dcfs_core::object::Object;

/// The cost of reading an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A local file.
    Local,
    /// Bytes that are cached, bytes that are not, and the number of requests for the latter.
    Remote { cached: u64, missing: u64, requests: u64 },
}

/// The result of fetching an object into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmed {
    /// It was cached already.
    Here,
    /// This many bytes were fetched.
    Fetched(u64),
    /// The cache cannot keep it: it has neither a version nor an etag, or there is no room.
    NotKept,
}

/// An object as a local file, for a program to open.
pub enum Here {
    /// A local file in place.
    Pinned(local::Pinned),
    /// A file of the cache.
    Cached(Cached),
    /// It must be read: a member of an archive, or an object that cannot be cached.
    Read(Reader),
}

/// An object in the cache.
pub struct Cached {
    path: PathBuf,
    /// The descriptor that the path names.
    _whole: Arc<File>,
    /// Its entry in the cache stays in use.
    _reader: Reader,
}

impl Here {
    /// A path whose file has the object's bytes as long as this is held; `None` if they must be read.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Pinned(file) => Some(file.path()),
            Self::Cached(file) => Some(&file.path),
            Self::Read(_) => None,
        }
    }

    /// Checks that a local file has been neither changed nor replaced since it was looked up.
    ///
    /// # Errors
    /// `Stale` if it has.
    pub fn compare(&self) -> Result<()> {
        match self {
            Self::Pinned(file) => Ok(file.compare()?),
            Self::Cached(_) => Ok(()),
            Self::Read(reader) => reader.compare(),
        }
    }
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Here").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Cost {
    fn missing((cached, is_whole): (u64, bool), size: u64) -> Self {
        if is_whole {
            return Self::Remote { cached: size, missing: 0, requests: 0 };
        }
        let missing = size - cached;
        // An empty object takes a request too, to check that it is empty.
        let requests = missing.div_ceil(super::window::MOST).max(1);
        Self::Remote { cached, missing, requests }
    }
}

impl Stores {
    /// Estimates the cost of reading an object. Sends no request.
    ///
    /// # Errors
    /// An object that cannot be requested, whatever the store says.
    pub async fn cost(&self, object: &Object) -> Result<Cost> {
        let wanted = Wanted::of(object)?;
        match Place::of(&wanted.object)? {
            Place::File(_) => Ok(Cost::Local),
            Place::Store(kind, url) => self.remote_cost(wanted, kind, &url).await,
        }
    }

    async fn remote_cost(&self, wanted: Wanted, kind: &StoreKind, url: &str) -> Result<Cost> {
        if self.fetched(&wanted).await.is_some() {
            return Ok(Cost::Local);
        }
        let store = self.requests(kind, url, &wanted)?;
        let key = super::cache::Key::of(store.server(), &wanted.object);
        let Some((key, size)) = key.zip(wanted.object.size) else {
            return Ok(Cost::missing((0, false), wanted.size));
        };
        let cache = Arc::clone(&self.cache);
        if wanted.size == 0 && wanted.base > 0 {
            // An empty member of an archive: nothing is read.
            return Ok(Cost::Remote { cached: 0, missing: 0, requests: 0 });
        }
        let part = wanted.base..wanted.base + wanted.size;
        let look = move || Ok(cache.kept(key, size, &part));
        let kept = super::blocking(&super::AT_CACHE, &wanted.place, look).await?;
        Ok(Cost::missing(kept, wanted.size))
    }

    /// Fetches the part of an object that the cache lacks.
    ///
    /// # Errors
    /// As [`Stores::open`] and [`super::Reader::read`].
    pub async fn warm(&self, object: &Object) -> Result<Warmed> {
        let cost = self.cost(object).await?;
        let reader = self.open(object).await?;
        match cost {
            Cost::Local | Cost::Remote { requests: 0, .. } => Ok(Warmed::Here),
            Cost::Remote { .. } if reader.known().is_none() => Ok(Warmed::NotKept),
            Cost::Remote { missing, .. } => reader.fill().await.map(|()| Warmed::Fetched(missing)),
        }
    }

    /// The object of a store that hosts may share, for a member its archive, and its key there; `None` if it is none: a
    /// local file, a large or an empty object, or one that nothing tells from a replacement.
    ///
    /// # Errors
    /// As [`Stores::open`].
    pub fn shareable(&self, object: &Object) -> Result<Option<(Object, [u8; 16])>> {
        let wanted = Wanted::of(object)?;
        let Place::Store(kind, url) = Place::of(&wanted.object)? else { return Ok(None) };
        if !super::near::is_small(wanted.recorded.size) {
            return Ok(None);
        }
        let store = self.requests(kind, &url, &wanted)?;
        let key = super::cache::Key::of(store.server(), &wanted.object);
        Ok(key.map(|key| (wanted.object, key.0)))
    }

    /// An object as a file: a local file in place, compared with its row; any other is fetched and checked.
    ///
    /// # Errors
    /// As [`Stores::open`] and [`super::Reader::read`].
    pub async fn here(&self, object: &Object) -> Result<Here> {
        let wanted = Wanted::of(object)?;
        if let Place::File(path) = Place::of(&wanted.object)?
            && !wanted.is_member()
        {
            return Ok(Here::Pinned(self.pinned(wanted, path).await?));
        }
        let reader = self.open(object).await?;
        if reader.known().is_some() && reader.whole_file().is_none() {
            reader.fill().await?;
            reader.arrived().await;
        }
        // By the descriptor: if the file is evicted from the cache meanwhile, these bytes stay.
        let whole = match (&reader.source, reader.whole_file()) {
            (Source::Cached { .. }, Some(whole)) => whole,
            _ => return Ok(Here::Read(reader)),
        };
        let path = format!("/proc/{}/fd/{}", std::process::id(), whole.as_raw_fd());
        Ok(Here::Cached(Cached { path: path.into(), _whole: whole, _reader: reader }))
    }

    async fn pinned(&self, wanted: Wanted, path: PathBuf) -> Result<local::Pinned, super::Error> {
        let (rules, label) = (self.rules(None), wanted.place.clone());
        let look = move || local::Pinned::new(wanted.place, path, &wanted.recorded, &rules);
        bounded(&label, self.timeout, blocking(&AT_FILES, &label, look)).await
    }

    /// The bytes `range` of an object, cut at its end: bypasses the cache and does not read ahead; for callers
    /// that want a little of many objects.
    ///
    /// # Errors
    /// As [`Stores::open`] and [`super::Reader::read`].
    pub async fn part(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        let wanted = Wanted::of(object)?;
        let range = range.start.min(wanted.size)..range.end.min(wanted.size);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        match Place::of(&wanted.object)? {
            Place::File(path) => Ok(self.local_part(wanted, path, range).await?),
            Place::Store(kind, url) => self.remote_part(wanted, kind, &url, range).await,
        }
    }

    async fn local_part(
        &self,
        wanted: Wanted,
        path: PathBuf,
        range: Range<u64>,
    ) -> Result<Bytes, super::Error> {
        let (rules, label) = (self.rules(None), wanted.place.clone());
        let length = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
        let read = move || {
            let part = (wanted.base, wanted.size);
            let file = local::File::open(wanted.place, &path, &wanted.recorded, part, &rules)?;
            file.read(range.start, length)
        };
        bounded(&label, self.timeout, blocking(&AT_FILES, &label, read)).await
    }

    async fn remote_part(
        &self,
        wanted: Wanted,
        kind: &StoreKind,
        url: &str,
        range: Range<u64>,
    ) -> Result<Bytes> {
        let store = self.requests(kind, url, &wanted)?;
        let range = wanted.base + range.start..wanted.base + range.end;
        Ok(self.object(store, wanted.recorded).get(range).await?)
    }

    /// Checks that an object is the recorded one: requests a byte of it from its store, bypassing the cache.
    ///
    /// # Errors
    /// `Stale` if it is not; else as [`super::Reader::read`].
    pub async fn compare(&self, object: &Object) -> Result<()> {
        let wanted = Wanted::of(object)?;
        match Place::of(&wanted.object)? {
            Place::File(path) => self.local(wanted, path, None).await.map(|_| ())?,
            Place::Store(kind, url) => self.compare_remote(wanted, kind, &url).await?,
        }
        Ok(())
    }

    async fn compare_remote(
        &self,
        wanted: Wanted,
        kind: &StoreKind,
        url: &str,
    ) -> std::result::Result<(), super::Error> {
        let byte = 0..wanted.recorded.size.min(1);
        let store = self.requests(kind, url, &wanted)?;
        self.object(store, wanted.recorded).get(byte).await.map(|_| ())
    }

    /// Waits until everything that was fetched is in the cache, and complete large objects are synced and
    /// marked.
    pub async fn settled(&self) {
        self.cache.settled().await;
    }
}
