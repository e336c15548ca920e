//! The file system, without a kernel: names, attributes, listings and bytes, by inode number.
//!
//! Every question has one method. What is answered from memory or maps comes at once
//! ([`Answer::Now`]); what may wait on the catalog, a build, a page or a bucket comes as a future
//! ([`Answer::Later`]) that owns all it needs, so that the door can move it into a task with its
//! reply. Nothing here knows FUSE.
//!
//! | file | what lives there |
//! |---|---|
//! | [`lookup`], [`opening`] | what a name is; what an open file or version needs |
//! | [`asking`] | from memory now, or in a task; views whose packs prove damaged |
//! | [`inode`] | what the bits of an inode number say |
//! | [`views`], [`links`] | the two tables that grow: versions seen, links seen |
//! | [`datasets`] | `datasets/` as the catalog stands now |
//! | [`texts`] | helper files, rendered and kept |
//! | [`listing`] | directories, paged by position |
//! | [`handles`] | open files |

mod asking;
pub mod datasets;
pub mod handles;
pub mod inode;
pub mod links;
pub mod listing;
mod lookup;
mod opening;
pub mod texts;
pub mod views;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use self::datasets::Datasets;
use self::handles::{Handle, Handles};
use self::inode::{Inode, Slot};
use self::links::Links;
use self::listing::Listing;
use self::texts::Texts;
use self::views::Views;
use crate::catalog::Catalog;
use crate::error::{self, Kind, Result};
use crate::name::escape;
use crate::pack::{Dir, Pack, Packs};
use crate::store::Stores;

/// How long the kernel may keep what can never change: as long as it takes.
pub const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// How long the kernel may keep what other versions can change.
pub const SHORT: Duration = Duration::from_secs(1);

/// Why the file system itself cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table of fixed size has no room.
    #[error("the mount has seen too many {0}; unmount and mount again")]
    Full(&'static str),
    /// A number that this mount never handed out, or of a place that is no more.
    #[error("inode {0:#x} is not of this mount; look the path up again")]
    Unknown(u64),
    /// A question for directories, asked of a file, or the other way round.
    #[error("inode {0:#x} is not a {1}")]
    Wrong(u64, &'static str),
    /// A build or a query that goes on in the background.
    #[error("not ready within {0} s (`--timeout`); the work goes on, try again")]
    Timeout(u64),
    /// A task died; its panic is in the log.
    #[error("the work on it was cut off: {0}")]
    Lost(String),
    /// A row that no longer names what the pack says.
    #[error("row {row} of `{version}` is not the one that was packed; the pack is built anew")]
    Mismatch { row: i64, version: String },
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Full(_) => Kind::Full,
            // Linux looks a path up again after ESTALE, and finds the new view.
            Error::Unknown(_) | Error::Mismatch { .. } => Kind::Stale,
            Error::Wrong(..) => Kind::Invalid,
            Error::Timeout(_) => Kind::Busy,
            Error::Lost(_) => Kind::Broken,
        };
        Self::new(kind, error)
    }
}

/// An answer from memory, or the work that finds it.
pub enum Answer<T> {
    /// Known already.
    Now(Result<T>),
    /// May wait; run it in a task.
    Later(Pin<Box<dyn Future<Output = Result<T>> + Send>>),
}

impl<T: 'static> Answer<T> {
    fn later(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self::Later(Box::pin(work))
    }

    /// The same of another type.
    fn map<U: 'static>(self, change: impl FnOnce(T) -> U + Send + 'static) -> Answer<U> {
        match self {
            Self::Now(answer) => Answer::Now(answer.map(change)),
            Self::Later(answer) => Answer::later(async move { answer.await.map(change) }),
        }
    }
}

/// What `stat` tells, without the owner, which is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    pub inode: Inode,
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    pub mtime: SystemTime,
    /// How long it may be kept.
    pub ttl: Duration,
}

/// The three kinds of inode there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Directory,
    File,
    Link,
}

/// What a look-up finds. A name that is not there is an answer too: the kernel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Found(Attr),
    Absent(Duration),
}

/// An open file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    pub handle: u64,
    /// Whether what the kernel cached of an earlier open is still right.
    pub keep: bool,
}

/// Rows and bytes of everything shown, for `df`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    pub bytes: u64,
}

/// The file system of one mount.
#[derive(Debug)]
pub struct Vfs {
    catalog: Arc<Catalog>,
    packs: Packs,
    stores: Stores,
    datasets: Datasets,
    views: Views,
    links: Links,
    texts: Texts,
    handles: Handles,
    /// No request waits longer.
    timeout: Duration,
    /// The moment of the mount: the time of what has no other.
    born: SystemTime,
}

impl Vfs {
    /// The file system over a catalog. Nothing is read yet.
    pub fn new(
        catalog: Arc<Catalog>,
        packs: Packs,
        stores: Stores,
        timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            datasets: Datasets::new(catalog.clone()),
            catalog,
            packs,
            stores,
            views: Views::default(),
            links: Links::default(),
            texts: Texts::default(),
            handles: Handles::default(),
            timeout,
            born: SystemTime::now(),
        })
    }

    /// The child `name` of a directory.
    pub fn lookup(self: &Arc<Self>, parent: u64, name: &[u8]) -> Answer<Entry> {
        if name.len() > escape::LONGEST {
            // No listed name is that long. Query directories will be.
            return Answer::Now(Ok(Entry::Absent(FOREVER)));
        }
        match Inode::decode(parent) {
            Some(Inode::Root) => self.lookup_root(name),
            Some(Inode::Datasets) => {
                let (vfs, name) = (self.clone(), name.to_vec());
                self.in_background(move || vfs.lookup_dataset(&name))
            }
            Some(Inode::Version(slot)) => self.lookup_version(parent, slot, name),
            Some(Inode::Column(slot, column)) => {
                let name = name.to_vec();
                self.with_pack(parent, slot, move |vfs, pack| {
                    vfs.lookup_below(slot, pack, column_root(parent, pack, column)?, &name)
                })
            }
            Some(Inode::Dir(slot, depth, first)) => {
                let name = name.to_vec();
                self.with_pack(parent, slot, move |vfs, pack| {
                    vfs.lookup_below(slot, pack, deep_dir(pack, depth, first)?, &name)
                })
            }
            Some(_) => Answer::Now(Err(Error::Wrong(parent, "directory").into())),
            None => Answer::Now(Err(Error::Unknown(parent).into())),
        }
    }

    /// The attributes of an inode.
    pub fn getattr(self: &Arc<Self>, number: u64) -> Answer<Attr> {
        let Some(inode) = Inode::decode(number) else {
            return Answer::Now(Err(Error::Unknown(number).into()));
        };
        match inode {
            Inode::Root | Inode::Datasets => Answer::Now(Ok(self.directory(inode, None))),
            // The size of a link is the length of where it leads.
            Inode::Link(_) => {
                let link = self.link(inode);
                let sized = move |target: Vec<u8>| Attr { size: target.len() as u64, ..link };
                self.readlink(number).map(sized)
            }
            Inode::Top => {
                let vfs = self.clone();
                self.in_background(move || vfs.top_attr())
            }
            Inode::Version(slot) | Inode::Column(slot, _) | Inode::Dir(slot, ..) => {
                let view = self.view(number, slot);
                Answer::Now(view.map(|view| self.directory(inode, Some(&view.of))))
            }
            Inode::File(slot, entry) => {
                self.with_pack(number, slot, move |vfs, pack| vfs.file(slot, pack, entry))
            }
            Inode::Page(slot, page) => self.page_attr(number, slot, page),
        }
    }

    /// Where a link of `datasets/` leads.
    pub fn readlink(self: &Arc<Self>, number: u64) -> Answer<Vec<u8>> {
        let Some(Inode::Link(link)) = Inode::decode(number) else {
            return Answer::Now(Err(Error::Wrong(number, "link").into()));
        };
        let vfs = self.clone();
        self.in_background(move || {
            let name = vfs.links.name(link).ok_or(Error::Unknown(number))?;
            let target = vfs.datasets.current()?.link(&name);
            Ok(target.ok_or(Error::Unknown(number))?)
        })
    }

    /// Opens a directory: a snapshot of it where it can change. [`Opened::keep`] tells whether the
    /// kernel may keep what it lists.
    pub fn opendir(self: &Arc<Self>, number: u64) -> Answer<Opened> {
        let vfs = self.clone();
        let opened = move |listing: Listing| {
            let keep = listing.is_fixed();
            Opened { handle: vfs.handles.insert(Handle::Directory(Arc::new(listing))), keep }
        };
        self.list(number).map(opened)
    }

    /// The listing of an open directory.
    pub fn listing(&self, handle: u64) -> Result<Arc<Listing>> {
        match self.handles.get(handle) {
            Some(Handle::Directory(listing)) => Ok(listing),
            _ => Err(Error::Unknown(handle).into()),
        }
    }

    /// A directory, ready to be listed.
    fn list(self: &Arc<Self>, number: u64) -> Answer<Listing> {
        let Some(inode) = Inode::decode(number) else {
            return Answer::Now(Err(Error::Unknown(number).into()));
        };
        match inode {
            Inode::Root => {
                let vfs = self.clone();
                self.in_background(move || Listing::root(&vfs))
            }
            Inode::Datasets => {
                let vfs = self.clone();
                self.in_background(move || Listing::datasets(&vfs))
            }
            Inode::Version(slot) => self.list_version(number, slot),
            Inode::Column(slot, column) => self.with_pack(number, slot, move |vfs, pack| {
                let dir = column_root(number, pack, column)?;
                Ok(Listing::below(inode, Inode::Version(slot), vfs, slot, pack, dir, Vec::new()))
            }),
            Inode::Dir(slot, depth, first) => self.with_pack(number, slot, move |vfs, pack| {
                let dir = deep_dir(pack, depth, first)?;
                let up = Inode::dir(slot, pack.parent(dir)?, only(pack));
                Ok(Listing::below(inode, up, vfs, slot, pack, dir, Vec::new()))
            }),
            _ => Answer::Now(Err(Error::Wrong(number, "directory").into())),
        }
    }

    /// Opens a file for reading.
    pub fn open(self: &Arc<Self>, number: u64) -> Answer<Opened> {
        match Inode::decode(number) {
            Some(Inode::Top) => self.open_top(),
            Some(Inode::Page(slot, page)) => self.open_page(number, slot, page),
            Some(Inode::File(slot, entry)) => self.open_file(number, slot, entry),
            Some(_) => Answer::Now(Err(Error::Wrong(number, "file").into())),
            None => Answer::Now(Err(Error::Unknown(number).into())),
        }
    }

    /// The bytes `offset..offset + length` of an open file, cut at its end and nowhere else.
    pub fn read(self: &Arc<Self>, handle: u64, offset: u64, length: u32) -> Answer<Bytes> {
        match self.handles.get(handle) {
            Some(Handle::Text(text)) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                let end = start.saturating_add(length as usize).min(text.len());
                Answer::Now(Ok(text.slice(start..end)))
            }
            Some(Handle::Object(reader)) => {
                Answer::later(async move { reader.read(offset, length).await })
            }
            Some(Handle::Directory(_)) => Answer::Now(Err(Error::Wrong(handle, "file").into())),
            None => Answer::Now(Err(Error::Unknown(handle).into())),
        }
    }

    /// Forgets an open file or directory.
    pub fn release(&self, handle: u64) {
        self.handles.remove(handle);
    }

    /// Rows and bytes of all versions shown, from the catalog alone.
    pub fn totals(self: &Arc<Self>) -> Answer<Totals> {
        let vfs = self.clone();
        self.in_background(move || Ok(vfs.datasets.current()?.totals()))
    }

    /// The path of an inode below the mount, for a log line; its number where it has none.
    pub fn path(&self, number: u64) -> String {
        let named = |slot: Slot, rest: &str| match self.views.named(slot) {
            Some(view) => {
                let name = format!("{}@{}", view.of.dataset, view.of.version);
                let name = escape::segment(name.as_bytes()).into_owned();
                format!("datasets/{}{rest}", String::from_utf8_lossy(&name))
            }
            None => format!("inode {number:#x}"),
        };
        match Inode::decode(number) {
            Some(Inode::Root) => "/".into(),
            Some(Inode::Top) => "README.md".into(),
            Some(Inode::Datasets) => "datasets".into(),
            Some(Inode::Link(link)) => match self.links.name(link) {
                Some(name) => format!("datasets/{}", String::from_utf8_lossy(&name)),
                None => format!("inode {number:#x}"),
            },
            Some(Inode::Version(slot)) => named(slot, ""),
            Some(Inode::Column(slot, column)) => named(slot, &self.column_path(slot, column)),
            Some(Inode::Page(slot, page)) => named(slot, &format!("/{}", page.name())),
            Some(Inode::Dir(slot, depth, entry)) => {
                named(slot, &self.entry_path(slot, entry, Some(depth)))
            }
            Some(Inode::File(slot, entry)) => named(slot, &self.entry_path(slot, entry, None)),
            None => format!("inode {number:#x}"),
        }
    }

    fn column_path(&self, slot: Slot, column: u16) -> String {
        let pack = self.views.named(slot).and_then(|view| view.pack());
        let columns = pack.as_ref().map(|pack| pack.columns()).unwrap_or_default();
        match columns.get(usize::from(column)).filter(|_| columns.len() > 1) {
            Some(column) => format!("/{}", String::from_utf8_lossy(&column.directory)),
            None => String::new(),
        }
    }

    fn entry_path(&self, slot: Slot, entry: u32, depth: Option<u16>) -> String {
        let pack = self.views.named(slot).and_then(|view| view.pack());
        let found =
            pack.and_then(|pack| Some((pack.column_of(entry).ok()?, pack.path(entry).ok()?)));
        let Some((column, path)) = found else { return format!("/(entry {entry})") };
        let segments = path.split(|b| *b == b'/').take(depth.map_or(usize::MAX, usize::from));
        let names = segments.map(|s| format!("/{}", String::from_utf8_lossy(s)));
        self.column_path(slot, column) + &names.collect::<String>()
    }
}

/// Whether the version's one File column is the version's own directory.
fn only(pack: &Pack) -> bool {
    pack.columns().len() == 1
}

/// The root of a column's tree.
fn column_root(number: u64, pack: &Pack, column: u16) -> Result<Dir> {
    Ok(pack.root(column).ok_or(Error::Unknown(number))?)
}

/// A directory as its inode number tells it. A forged one is caught by the pack.
fn deep_dir(pack: &Pack, depth: u16, first: u32) -> Result<Dir> {
    Ok(Dir { column: pack.column_of(first)?, depth, first })
}
