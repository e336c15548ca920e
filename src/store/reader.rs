//! One open object, wherever its bytes are: a local file, the cache, a store.

use std::fmt;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::line::Line;
use super::metrics::Metrics;
use super::{AT_CACHE, budget, cache, stream};
use super::{AT_FILES, Result, blocking, bounded, local};

/// Length of a first read in bytes: fewer than any object that is fetched whole.
const BEGINNING: u32 = 4096;

/// How long an open waits for received bytes to be written: 32 MiB take a tenth of it.
const ARRIVAL: Duration = Duration::from_millis(200);

/// One open object; reads may overlap and come in any order.
///
/// A remote object of up to 1.1 MiB is held in memory while it is open; for a larger one sequentially read data
/// is held, within the limit of [`super::Config::memory`].
pub struct Reader {
    pub(super) label: Arc<str>,
    pub(super) size: u64,
    pub(super) timeout: Duration,
    pub(super) source: Source,
    /// Whether an earlier open returned the very same bytes.
    pub(super) is_lasting: bool,
    pub(super) line: Arc<Line>,
    pub(super) metrics: Arc<Metrics>,
}

/// The source of the bytes.
pub(super) enum Source {
    Local(Arc<local::File>),
    Remote(stream::Stream),
    /// The stream reads through the cache; blocks on disk are read from there.
    Cached {
        known: Arc<Kept>,
        entry: Arc<cache::Entry>,
        stream: stream::Stream,
        writer: Arc<cache::Writer>,
    },
}

/// An object that was opened before, and can be reopened cheaply: its identity has been checked, and its cache
/// files are open.
#[derive(Clone, Debug)]
pub struct Known(pub(super) Arc<Kept>);

impl Known {
    /// Whether its cache files are open, and thus on disk.
    pub fn is_here(&self) -> bool {
        self.0.entry.upgrade().is_some_and(|entry| entry.is_here())
    }
}

/// The contents of [`Known`].
pub(super) struct Kept {
    pub(super) label: Arc<str>,
    /// Size of the part that is read; it begins at `base` of the object.
    pub(super) size: u64,
    pub(super) base: u64,
    /// The size of the object.
    pub(super) whole: u64,
    /// For a member: the identity of its archive, which is the object.
    pub(super) archive: Option<String>,
    pub(super) object: Arc<dyn stream::Ranges>,
    /// Alive while somebody has its files open.
    pub(super) entry: Weak<cache::Entry>,
}

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

    /// Whether the kernel's page cache from an earlier open is still valid.
    pub fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// For [`super::Stores::open_again`]; `None` for objects that must be checked at each open.
    pub fn known(&self) -> Option<Known> {
        match &self.source {
            Source::Cached { known, .. } => Some(Known(Arc::clone(known))),
            _ => None,
        }
    }

    /// A local file that contains exactly this object, verified: the kernel may read it directly.
    pub fn whole_file(&self) -> Option<Arc<std::fs::File>> {
        match &self.source {
            Source::Local(file) => file.whole(),
            Source::Cached { known, entry, .. } => {
                entry.whole().filter(|_| known.size == known.whole)
            }
            Source::Remote(_) => None,
        }
    }

    /// Checks that a local file is unchanged since it was opened.
    ///
    /// # Errors
    /// `Stale` if it has changed.
    pub fn compare(&self) -> Result<()> {
        match &self.source {
            Source::Local(file) => Ok(file.compare()?),
            _ => Ok(()),
        }
    }

    /// Whether it has been received completely, but not yet written to disk: the kernel may read it directly in
    /// a moment.
    pub fn is_arriving(&self) -> bool {
        match &self.source {
            Source::Cached { entry, .. } => entry.is_arriving(),
            _ => false,
        }
    }

    /// Waits for that moment, for at most [`ARRIVAL`].
    pub async fn arrived(&self) {
        if let Source::Cached { entry, writer, .. } = &self.source
            && self.is_arriving()
        {
            writer.hurry();
            let _ = tokio::time::timeout(ARRIVAL, entry.behind.over()).await;
        }
    }

    /// The bytes `offset..offset + length`, cut at the end of the object, if they are available without
    /// waiting.
    pub fn read_now(&self, offset: u64, length: u32) -> Option<Bytes> {
        match &self.source {
            Source::Remote(stream) => self.in_memory(stream, offset, length),
            Source::Cached { known, entry, stream, .. } => {
                self.in_memory(stream, offset, length).or_else(|| {
                    let bytes = entry.read_now(&self.range(known.base, offset, length))?;
                    self.metrics.from_disk.add(bytes.len() as u64);
                    Some(bytes)
                })
            }
            Source::Local(_) => None,
        }
    }

    /// The bytes `offset..offset + length`, cut only at the end of the object. For reads that
    /// [`Reader::read_now`] cannot answer.
    ///
    /// # Errors
    /// As [`super::Stores::open`]; `Busy` and `Broken` if the store fails for all of
    /// [`super::Config::timeout`], or is silent for that long. A connection that is slow but never silent does
    /// not time out.
    pub async fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        let bytes = match &self.source {
            Source::Local(file) => {
                let file = Arc::clone(file);
                let read = blocking(&AT_FILES, &self.label, move || file.read(offset, length));
                bounded(&self.label, self.timeout, read).await?
            }
            Source::Remote(stream) => self.unless_silent(stream, offset, length).await?,
            Source::Cached { known, entry, stream, .. } => {
                match self.read_kept(entry, self.range(known.base, offset, length)).await? {
                    Some(bytes) => bytes,
                    None => {
                        let bytes = self.unless_silent(stream, offset, length).await?;
                        stream.complete(offset, &self.line);
                        bytes
                    }
                }
            }
        };
        Ok(bytes)
    }

    /// Reads as long as bytes of the object arrive: a reader does not time out while others' bytes come first.
    async fn unless_silent(
        &self,
        stream: &stream::Stream,
        offset: u64,
        length: u32,
    ) -> Result<Bytes, super::Error> {
        let mut read = std::pin::pin!(stream.read(offset, length));
        let mut since = Instant::now();
        loop {
            if let Ok(bytes) = timeout_at(budget::end(since, self.timeout), &mut read).await {
                return bytes;
            }
            match stream.progressed().filter(|progressed| *progressed > since) {
                Some(progressed) => since = progressed,
                None => {
                    let (place, seconds) = (self.label.to_string(), self.timeout.as_secs_f64());
                    return Err(super::Error::Timeout { place, seconds });
                }
            }
        }
    }

    /// The bytes of `range`, if the cache has all of them.
    async fn read_kept(
        &self,
        entry: &Arc<cache::Entry>,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Bytes>> {
        if entry.lacks_now(&entry.aligned(&range)) {
            return Ok(None);
        }
        let entry = Arc::clone(entry);
        let read = blocking(&AT_CACHE, &self.label, move || Ok(entry.read(&range)));
        let kept = bounded(&self.label, self.timeout, read).await?;
        self.metrics.from_disk.add(kept.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(kept)
    }

    /// Whether [`Reader::begin`] has nothing to do.
    pub fn has_begun(&self) -> bool {
        self.size == 0 || self.whole_file().is_some()
    }

    /// Fetches the beginning, as the first read would: all of an object of up to 1.1 MiB.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn begin(&self) -> Result<()> {
        if !self.has_begun() {
            self.read(0, BEGINNING).await?;
        }
        Ok(())
    }

    /// Fetches everything that the cache lacks into the cache. Does nothing without a cache.
    ///
    /// # Errors
    /// As [`Reader::read`]; bytes fetched until then stay.
    pub async fn fill(&self) -> Result<()> {
        if let Source::Cached { stream, .. } = &self.source
            && self.whole_file().is_none()
        {
            stream.pass(&self.line).await?;
        }
        Ok(())
    }

    fn in_memory(&self, stream: &stream::Stream, offset: u64, length: u32) -> Option<Bytes> {
        let bytes = stream.here(offset, length)?;
        self.metrics.from_memory.add(bytes.len() as u64);
        Some(bytes)
    }

    /// A read as a range of the object, cut at its end.
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
