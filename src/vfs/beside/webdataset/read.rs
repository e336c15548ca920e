//! A shard that is being read: its files are opened in turn, and the next ones prefetched.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::id::EntryId;
use dcfs_core::loader::tar::{Archive, Piece};
use dcfs_store::{Caller, Reader};

use super::content::Data;
use crate::handles::{Handle, Reading, Stream};
use crate::inode::Inode;
use crate::place::Place;
use crate::{Error, Vfs};

/// Number of a shard's files that stay open while it is read.
const OPEN: usize = 4;

/// Files prefetched for a sequential reader of a shard, and the number left when more are requested.
const AHEAD: usize = 96;
const LEFT: usize = 48;

/// A shard that is being read.
#[derive(Debug)]
pub struct Tar {
    vfs: Arc<Vfs>,
    place: Place,
    archive: Arc<Archive<Data>>,
    caller: Option<Caller>,
    open: Mutex<OpenFiles>,
}

/// Recently read files, and the progress of prefetching.
#[derive(Debug, Default)]
struct OpenFiles {
    files: Vec<(EntryId, Arc<Reader>)>,
    /// The entry opened last, and the index in the shard up to which files have been prefetched.
    last: Option<usize>,
    until: usize,
}

impl Stream for Tar {
    fn size(&self) -> u64 {
        self.archive.size()
    }

    fn read(self: Arc<Self>, offset: u64, length: u32) -> Reading {
        Box::pin(async move {
            let mut out = BytesMut::with_capacity(length as usize);
            for piece in self.archive.pieces(offset, length.into()) {
                match piece {
                    Piece::Header(bytes, of) => {
                        if matches!(of.data, Data::File(_, false)) {
                            let text = format!("no size is recorded for the file of `{}`", of.name);
                            return Err(error::Error::new(ErrorKind::Broken, text));
                        }
                        out.extend_from_slice(&bytes);
                    }
                    Piece::Zeros(count) => out.resize(out.len() + count as usize, 0),
                    Piece::Data(of, range) => match &of.data {
                        Data::Text(text) => {
                            out.extend_from_slice(&text[range.start as usize..range.end as usize]);
                        }
                        Data::File(entry, _) => self.file(*entry, range, &mut out).await?,
                    },
                }
            }
            Ok(out.freeze())
        })
    }
}

impl Tar {
    pub fn new(
        vfs: &Arc<Vfs>,
        place: &Place,
        archive: Arc<Archive<Data>>,
        caller: Option<Caller>,
    ) -> Self {
        Self { vfs: vfs.clone(), place: place.clone(), archive, caller, open: Mutex::default() }
    }

    /// Appends bytes of a file, all of them or none.
    async fn file(&self, entry: EntryId, range: Range<u64>, out: &mut BytesMut) -> Result<()> {
        let reader = self.reader(entry).await?;
        let mut at = range.start;
        while at < range.end {
            let want = u32::try_from(range.end - at).unwrap_or(u32::MAX);
            let bytes = match reader.read_now(at, want) {
                Some(bytes) => bytes,
                None => reader.read(at, want).await?,
            };
            if bytes.is_empty() {
                let text = "a file of the shard is shorter than its row records";
                return Err(error::Error::new(ErrorKind::Stale, text));
            }
            at += bytes.len() as u64;
            out.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// Opens a file of the shard.
    async fn reader(&self, entry: EntryId) -> Result<Arc<Reader>> {
        let known = self.lock().files.iter().find(|(known, _)| *known == entry).cloned();
        if let Some((_, reader)) = known {
            return Ok(reader);
        }
        self.ahead(entry);
        let number = Inode::File(self.place.view.base, entry).number();
        let opened = self.vfs.open(number, self.caller).wait().await?;
        let handle = self.vfs.handles.get(opened.handle);
        self.vfs.release(opened.handle);
        let Some(Handle::Object(reader)) = handle else {
            return Err(Error::Unknown(number).into());
        };
        let mut open = self.lock();
        open.files.insert(0, (entry, reader.clone()));
        open.files.truncate(OPEN);
        Ok(reader)
    }

    /// Prefetches the next files, if the shard is read sequentially.
    fn ahead(&self, entry: EntryId) {
        let files = || {
            self.archive.members().iter().filter_map(|member| match member.data {
                Data::File(entry, _) => Some(entry),
                Data::Text(_) => None,
            })
        };
        let mut open = self.lock();
        // Search from the last one: a shard has thousands.
        let from = open.last.map_or(0, |last| last + 1);
        let Some(at) = files().skip(from).position(|file| file == entry).map(|at| at + from) else {
            open.last = files().position(|file| file == entry);
            return;
        };
        let follows = at <= from;
        open.last = Some(at);
        if !follows || at + LEFT < open.until {
            return;
        }
        let next = open.until.max(at + 1);
        open.until = at + AHEAD;
        let wanted: Vec<EntryId> =
            files().skip(next).take(open.until.saturating_sub(next)).collect();
        drop(open);
        self.vfs.ahead(&self.place, wanted);
    }

    fn lock(&self) -> MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
