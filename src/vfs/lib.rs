//! The file system, without a kernel: names, attributes, listings and bytes, by inode number.
//!
//! Each operation is one method. If the answer is in memory or in mapped files, it is returned at once
//! ([`Answer::Now`]); if it may have to wait for the catalog, a build, a page or a bucket, it is a future
//! ([`Answer::Later`]) that owns everything it needs, so that the caller can move it into a task with its
//! reply. Independent of FUSE.
//!
//! | file | contents |
//! |---|---|
//! | [`lookup`], [`opening`] | lookups of names; opening files and versions |
//! | [`asking`], [`place`] | answers from memory, or in a task; a view with its pack and its rows |
//! | [`turns`] | limits of concurrent work per user |
//! | [`beside`] | `_views/`: one file for each directory below it |
//! | [`tables`] | the tables of a view's rows |
//! | [`sets`] | the values of columns and the rows of views |
//! | [`filters`] | query directories: names that are filters, and their contents |
//! | [`attributes`] | data of rows as extended attributes of their files |
//! | [`inode`] | the encoding of inode numbers |
//! | [`views`], [`links`] | the two growing tables: views and links that were looked up |
//! | [`datasets`] | `datasets/` in the catalog's current state |
//! | [`texts`] | helper files, rendered and cached |
//! | [`listing`] | directories, paged by position |
//! | [`export`] | `.` and `..` by number, for file handles |
//! | [`paths`] | inode numbers as paths, for the log |
//! | [`siblings`], [`order`] | prefetching of files |
//! | [`handles`], [`files`] | open files; recently opened files |
//! | [`live`] | the status files of the mount |
//! | [`used`] | usage records of versions |
//! | [`walk`] | paths, trees and bytes, for commands that need no kernel |

mod asking;
pub mod attributes;
mod beside;
mod by_name;
pub mod datasets;
mod export;
mod files;
mod filters;
pub mod handles;
pub mod inode;
pub mod links;
pub mod listing;
pub mod knowledge;
mod live;
mod lookup;
mod opening;
mod order;
mod paths;
mod place;
mod sets;
pub mod siblings;
pub mod tables;
pub mod texts;
mod turns;
mod used;
pub mod views;
pub mod walk;
mod wrong;

use std::fs::File;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use self::by_name::ByName;
use self::datasets::Datasets;
use self::files::Files;
use self::filters::Filters;
pub use self::filters::IdleView;
use self::handles::{Handle, HandleId, Handles};
use self::inode::Inode;
use self::knowledge::{Front, Pages};
use self::links::Links;
use self::listing::Listing;
use self::sets::Sets;
use self::siblings::{Prefetch, Siblings};
use self::tables::Tables;
use self::texts::Texts;
use self::turns::Turns;
pub use self::turns::as_user;
use self::used::Used;
use self::views::{Step, Views};
use self::wrong::Notes;
use dcfs_core::error::{self, Kind, Result};
use dcfs_data::catalog::Catalog;
use dcfs_data::diff::sets::Diffs;
use dcfs_data::pack::Packs;
use dcfs_data::query::Queries;
use dcfs_store::{Caller, Stores};

/// How long the kernel may cache what can never change: unlimited.
pub const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// How long the kernel may cache what other versions can change.
pub const SHORT: Duration = Duration::from_secs(1);

/// Errors of the file system itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table of fixed size has no room.
    #[error("the mount has seen too many {0}; unmount and mount again")]
    Full(&'static str),
    /// Views nested too deeply.
    #[error(
        "filters and class folders are nested deeper than {0}; start from the version's directory"
    )]
    Deep(usize),
    /// A number that this mount never handed out, or whose place no longer exists.
    #[error("what inode {0:#x} named no longer exists, as after `dcfs rm`; look the path up again")]
    Unknown(u64),
    /// A directory operation on a file, or the other way round.
    #[error("inode {0:#x} is not a {1}")]
    Wrong(u64, &'static str),
    /// A build or a query that continues in the background.
    #[error("not ready within {0} s (`--timeout`); the work continues, try again")]
    Timeout(u64),
    /// The process that asked is being killed: nobody reads this.
    #[error("who asked was killed")]
    Left,
    /// A task died; its panic is in the log.
    #[error("the work on it was interrupted: {0}")]
    Lost(String),
    /// A row that no longer matches the pack.
    #[error("row {row} of `{version}` is not the packed one; the pack is rebuilt")]
    Mismatch { row: i64, version: String },
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Full(_) => Kind::Full,
            // Linux looks a path up again after ESTALE, and finds the new view.
            Error::Unknown(_) | Error::Mismatch { .. } => Kind::Stale,
            Error::Wrong(..) | Error::Deep(_) => Kind::Invalid,
            Error::Timeout(_) => Kind::Busy,
            Error::Left => Kind::Interrupted,
            Error::Lost(_) => Kind::Broken,
        };
        Self::new(kind, error)
    }
}

/// An answer from memory, or a future that computes it.
pub enum Answer<T> {
    /// Known already.
    Now(Result<T>),
    /// May have to wait; run it in a task.
    Later(Pin<Box<dyn Future<Output = Result<T>> + Send>>),
}

impl<T: 'static> Answer<T> {
    fn later(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self::Later(Box::pin(work))
    }

    /// Converts the value.
    fn map<U: 'static>(self, change: impl FnOnce(T) -> U + Send + 'static) -> Answer<U> {
        match self {
            Self::Now(answer) => Answer::Now(answer.map(change)),
            Self::Later(answer) => Answer::later(async move { answer.await.map(change) }),
        }
    }
}

/// The result of `stat`, without the owner, which is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    pub inode: Inode,
    pub kind: FileKind,
    /// In bytes.
    pub size: u64,
    pub mtime: SystemTime,
    /// How long the kernel may cache it.
    pub ttl: Duration,
}

/// The three kinds of inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Directory,
    File,
    Link,
}

/// The result of a lookup. A missing name is an answer too: the kernel caches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Found(Attr),
    Absent(Duration),
}

/// An open file or directory.
#[derive(Clone, Debug)]
pub struct Opened {
    pub handle: HandleId,
    /// Whether the kernel's page cache of an earlier open is still valid.
    pub keep: bool,
    /// Whether the kernel must pass on every read, whatever the reported size of the file.
    pub is_live: bool,
    /// A local file with the same bytes, which the kernel may read directly.
    pub whole: Option<Arc<File>>,
}

/// Rows and bytes of all versions, for `df`.
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
    pages: Pages,
    sets: Sets,
    filters: Filters,
    notes: Notes,
    by_name: ByName,
    queries: Queries,
    diffs: Diffs,
    tables: Tables,
    handles: Handles,
    files: Files,
    siblings: Siblings,
    memory: beside::Memory,
    used: Used,
    /// Limit of the wait of any request.
    timeout: Duration,
    /// Limits of concurrent work per user.
    turns: Arc<Turns>,
    /// Whether the catalog and the cache are on disks of this machine, once that is known.
    is_near: Arc<OnceLock<bool>>,
    /// The time of the mount, used as the mtime of inodes that have no other.
    born: SystemTime,
}

impl Vfs {
    /// The file system over a catalog. Reads nothing yet.
    pub fn new(
        catalog: Arc<Catalog>,
        packs: Packs,
        stores: Stores,
        timeout: Duration,
        prefetch: Prefetch,
    ) -> Arc<Self> {
        Arc::new_cyclic(|vfs| Self {
            is_near: learn_whether_near(&catalog, &stores),
            pages: Pages::new(&catalog, vfs.clone()),
            datasets: Datasets::new(catalog.clone()),
            catalog,
            packs,
            stores,
            views: Views::default(),
            links: Links::default(),
            texts: Texts::default(),
            sets: Sets::default(),
            filters: Filters::default(),
            notes: Notes::default(),
            by_name: ByName::default(),
            queries: Queries::default(),
            diffs: Diffs::default(),
            tables: Tables::default(),
            handles: Handles::default(),
            files: Files::default(),
            siblings: Siblings::new(prefetch),
            memory: beside::memory(),
            used: Used::default(),
            timeout,
            turns: Arc::default(),
            born: SystemTime::now(),
        })
    }

    /// Whether the catalog and the cache are known to be on disks of this machine.
    fn is_near(&self) -> bool {
        self.is_near.get() == Some(&true)
    }

    /// Looks up the child `name` of a directory.
    pub fn lookup(self: &Arc<Self>, parent: u64, name: &[u8]) -> Answer<Entry> {
        match Inode::decode(parent) {
            Some(Inode::Root) => self.lookup_root(name),
            Some(Inode::Datasets) => {
                let (vfs, name) = (self.clone(), name.to_vec());
                self.in_background(move || vfs.lookup_dataset(&name))
            }
            Some(inode @ (Inode::Knowledge | Inode::Known(_))) => {
                self.lookup_knowledge(inode, name)
            }
            Some(Inode::ByName(number)) => self.lookup_in_folder(number, name),
            Some(Inode::View(slot)) => self.lookup_top(parent, slot, name),
            Some(Inode::Value(slot, leaf, first)) => {
                match self.views.step(slot, Step::Value(leaf, first)) {
                    Ok(below) => self.lookup_top(parent, below, name),
                    Err(error) => Answer::Now(Err(error.into())),
                }
            }
            Some(Inode::Column(slot, column)) => {
                let name = name.to_vec();
                self.with_place(parent, slot, move |vfs, place| {
                    vfs.lookup_below(place, place.root(parent, column)?, &name)
                })
            }
            Some(Inode::Dir(slot, depth, first)) => {
                let name = name.to_vec();
                self.with_place(parent, slot, move |vfs, place| {
                    vfs.lookup_below(place, place.dir(depth, first)?, &name)
                })
            }
            Some(Inode::Views(slot)) => self.lookup_views(parent, slot, name),
            Some(Inode::Beside(slot, node)) => self.lookup_node(parent, (slot, node), name),
            Some(
                Inode::Errors(slot) | Inode::ColumnErrors(slot, _) | Inode::DirErrors(slot, ..),
            ) => self.lookup_error(parent, slot, name),
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
            // The size of a link is the length of its target.
            Inode::Link(_) => {
                let link = self.link(inode);
                let sized = move |target: Vec<u8>| Attr { size: target.len() as u64, ..link };
                self.readlink(number).map(sized)
            }
            Inode::Top | Inode::Agents => {
                let front = if inode == Inode::Top { Front::Readme } else { Front::Agents };
                let vfs = self.clone();
                self.in_background(move || vfs.front_attr(front))
            }
            Inode::Knowledge | Inode::Known(_) => self.getattr_knowledge(inode),
            Inode::ByName(number) => self.getattr_by_name(number),
            Inode::Status | Inode::Metrics => Answer::Now(Ok(self.live(inode))),
            Inode::View(slot)
            | Inode::Column(slot, _)
            | Inode::Dir(slot, ..)
            | Inode::Views(slot)
            | Inode::Errors(slot)
            | Inode::ColumnErrors(slot, _)
            | Inode::DirErrors(slot, ..)
            | Inode::Value(slot, ..) => {
                let view = self.view(number, slot);
                Answer::Now(view.map(|view| self.directory(inode, Some(&view.of))))
            }
            Inode::File(slot, entry) => {
                self.with_place(number, slot, move |vfs, place| vfs.file(slot, &place.pack, entry))
            }
            Inode::Beside(slot, node) => self.getattr_node(number, slot, node),
            Inode::Page(slot, page) => self.page_attr(number, slot, page),
            Inode::Table(slot, table) => self.table_attr(number, slot, table),
            Inode::ViewsPage(slot) | Inode::ErrorNote(slot, _) => {
                self.note(number, slot, inode).map(|(attr, _)| attr)
            }
        }
    }

    /// The target of a link in `datasets/`.
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

    /// Opens a directory: a snapshot of it if it can change. [`Opened::keep`] tells whether the kernel may
    /// cache the listing.
    pub fn opendir(self: &Arc<Self>, number: u64) -> Answer<Opened> {
        let vfs = self.clone();
        let opened = move |listing: Listing| {
            let keep = listing.is_fixed();
            Opened { keep, ..vfs.opened(Handle::Directory(Arc::new(listing))) }
        };
        self.list(number).map(opened)
    }

    /// The listing of an open directory.
    pub fn listing(&self, handle: HandleId) -> Result<Arc<Listing>> {
        match self.handles.get(handle) {
            Some(Handle::Directory(listing)) => Ok(listing),
            _ => Err(Error::Unknown(handle.0).into()),
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
            Inode::Knowledge | Inode::Known(_) => self.list_knowledge(inode),
            Inode::ByName(number) => self.list_by_name(number),
            Inode::View(slot) => self.list_top(number, slot),
            Inode::Value(slot, leaf, first) => {
                match self.views.step(slot, Step::Value(leaf, first)) {
                    Ok(below) => self.list_top(number, below),
                    Err(error) => Answer::Now(Err(error.into())),
                }
            }
            Inode::Column(slot, column) => self.with_place(number, slot, move |vfs, place| {
                let dir = place.root(number, column)?;
                Listing::files(vfs, (inode, place.view.own), place, dir, Vec::new())
            }),
            Inode::Dir(slot, depth, first) => self.with_place(number, slot, move |vfs, place| {
                let dir = place.dir(depth, first)?;
                let up = place.inode(place.pack.parent(dir)?);
                Listing::files(vfs, (inode, up), place, dir, Vec::new())
            }),
            Inode::Views(slot) => self.list_views(number, slot),
            Inode::Beside(slot, node) => self.list_node(number, slot, node),
            Inode::Errors(_) | Inode::ColumnErrors(..) | Inode::DirErrors(..) => {
                let vfs = self.clone();
                let nothing = move |up| Listing::known(&vfs, (inode, up), Vec::new());
                self.up(number).map(nothing)
            }
            _ => Answer::Now(Err(Error::Wrong(number, "directory").into())),
        }
    }

    /// Opens a file for reading.
    ///
    /// `caller`: the caller, if it may have fewer rights than this process.
    pub fn open(self: &Arc<Self>, number: u64, caller: Option<Caller>) -> Answer<Opened> {
        match Inode::decode(number) {
            Some(Inode::Top) => self.open_front(Front::Readme),
            Some(Inode::Agents) => self.open_front(Front::Agents),
            Some(inode @ Inode::Known(_)) => self.open_knowledge(inode),
            Some(Inode::ByName(number)) => self.open_by_name(number),
            Some(inode @ (Inode::Status | Inode::Metrics)) => {
                Answer::Now(Ok(self.open_live(inode)))
            }
            Some(Inode::Page(slot, page)) => self.open_page(number, slot, page),
            Some(Inode::File(slot, entry)) => self.open_file(number, slot, entry, caller),
            Some(Inode::Table(slot, table)) => self.open_table(number, slot, table),
            Some(Inode::Beside(slot, node)) => self.open_node(number, slot, node, caller),
            Some(inode @ (Inode::ViewsPage(slot) | Inode::ErrorNote(slot, _))) => {
                let vfs = self.clone();
                self.note(number, slot, inode).map(move |(_, text)| vfs.opened(Handle::Text(text)))
            }
            Some(_) => Answer::Now(Err(Error::Wrong(number, "file").into())),
            None => Answer::Now(Err(Error::Unknown(number).into())),
        }
    }

    /// The bytes `offset..offset + length` of an open file, cut only at its end.
    pub fn read(self: &Arc<Self>, handle: HandleId, offset: u64, length: u32) -> Answer<Bytes> {
        match self.handles.get(handle) {
            Some(Handle::Text(text)) => Answer::Now(Ok(cut(&text, offset, length))),
            Some(Handle::Object(reader)) => match reader.read_now(offset, length) {
                Some(bytes) => Answer::Now(Ok(bytes)),
                None => Answer::later(async move { reader.read(offset, length).await }),
            },
            Some(Handle::Table(table)) => self.in_background(move || table.read(offset, length)),
            Some(Handle::Stream(stream)) => Answer::Later(stream.read(offset, length)),
            Some(Handle::Directory(_)) => Answer::Now(Err(Error::Wrong(handle.0, "file").into())),
            None => Answer::Now(Err(Error::Unknown(handle.0).into())),
        }
    }

    /// The stores that objects are read from.
    pub const fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Waits until everything fetched is in the cache, and complete large objects are marked.
    pub async fn settled(&self) {
        self.stores.settled().await;
    }

    /// Closes an open file or directory.
    pub fn release(&self, handle: HandleId) {
        self.handles.remove(handle);
    }

    /// Rows and bytes of all versions, only from the catalog.
    pub fn totals(self: &Arc<Self>) -> Answer<Totals> {
        let vfs = self.clone();
        self.in_background(move || Ok(vfs.datasets.current()?.totals()))
    }
}

/// Asks on a thread of its own: a disk whose server is away answers late, or never.
fn learn_whether_near(catalog: &Arc<Catalog>, stores: &Stores) -> Arc<OnceLock<bool>> {
    let is_near = Arc::new(OnceLock::new());
    let (known, catalog, disks) = (Arc::clone(&is_near), Arc::clone(catalog), stores.disks());
    let ask = move || {
        let is_local = disks.iter().all(|folder| dcfs_disk::kind::is_local(folder));
        let _ = known.set(is_local && catalog.is_near());
    };
    // Without a thread it stays unknown, so no disk is asked on the thread of a request.
    let _ = std::thread::Builder::new().name("dcfs-near".into()).spawn(ask);
    is_near
}

/// The bytes `offset..offset + length` of a text, cut at its end.
fn cut(text: &Bytes, offset: u64, length: u32) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    let end = start.saturating_add(length as usize).min(text.len());
    text.slice(start..end)
}
