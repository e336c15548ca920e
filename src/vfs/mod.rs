//! The file system, without a kernel: names, attributes, listings and bytes, by inode number.
//!
//! Every question has one method. What is answered from memory or maps comes at once
//! ([`Answer::Now`]); what may wait on the catalog, a build, a page or a bucket comes as a future
//! ([`Answer::Later`]) that owns all it needs, so that the door can move it into a task with its
//! reply. Nothing here knows FUSE.
//!
//! | file | what lives there |
//! |---|---|
//! | [`inode`] | what the bits of an inode number say |
//! | [`views`], [`links`] | the two tables that grow: versions seen, links seen |
//! | [`datasets`] | `datasets/` as the catalog stands now |
//! | [`texts`] | helper files, rendered and kept |
//! | [`listing`] | directories, paged by position |
//! | [`handles`] | open files |

pub mod datasets;
pub mod handles;
pub mod inode;
pub mod links;
pub mod listing;
pub mod texts;
pub mod views;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use self::datasets::{Datasets, Found};
use self::handles::{Handle, Handles};
use self::inode::{Inode, Slot};
use self::links::Links;
use self::listing::Listing;
use self::texts::Texts;
use self::views::{View, Views};
use crate::catalog::{Catalog, VersionInfo};
use crate::error::{self, Kind, Result};
use crate::name::escape;
use crate::object::Object;
use crate::pack::{Dir, Node, Pack, Packs};
use crate::pages::Page;
use crate::store::Stores;
use crate::time::Timestamp;

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

impl<T> Answer<T> {
    fn later(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self::Later(Box::pin(work))
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
            Inode::Link(_) => Answer::Now(Ok(self.link(inode))),
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
        match self.list(number) {
            Answer::Now(listing) => Answer::Now(listing.map(opened)),
            Answer::Later(listing) => Answer::later(async move { listing.await.map(opened) }),
        }
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
            Some(Inode::Top) => {
                let vfs = self.clone();
                self.in_background(move || {
                    let text = vfs.texts.kept_top(&vfs.catalog)?;
                    Ok(Opened { handle: vfs.handles.insert(Handle::Text(text)), keep: false })
                })
            }
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
        let named = |slot: Slot, rest: &str| match self.views.get(slot) {
            Some(view) => format!("datasets/{}@{}{rest}", view.of.dataset, view.of.version),
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
            Some(Inode::Column(slot, column)) => named(slot, &format!("/(column {column})")),
            Some(Inode::Page(slot, page)) => named(slot, &format!("/{}", page.name())),
            Some(Inode::Dir(slot, depth, entry)) => {
                named(slot, &self.entry_path(slot, entry, Some(depth)))
            }
            Some(Inode::File(slot, entry)) => named(slot, &self.entry_path(slot, entry, None)),
            None => format!("inode {number:#x}"),
        }
    }

    fn entry_path(&self, slot: Slot, entry: u32, depth: Option<u16>) -> String {
        let view = self.views.get(slot);
        let pack = view.and_then(|view| view.pack());
        let path = pack.and_then(|pack| pack.path(entry).ok()).unwrap_or_default();
        let segments = path.split(|b| *b == b'/').take(depth.map_or(usize::MAX, usize::from));
        segments.map(|s| format!("/{}", String::from_utf8_lossy(s))).collect()
    }

    fn view(&self, number: u64, slot: Slot) -> Result<Arc<View>> {
        Ok(self.views.get(slot).ok_or(Error::Unknown(number))?)
    }

    /// Runs blocking work in a task; the caller stops waiting after the timeout, the work goes on.
    fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let timeout = self.timeout;
        Answer::later(async move { bounded(timeout, tokio::task::spawn_blocking(work)).await })
    }

    /// Asks the pack of a version: at once where it is open, in a task where it has to be built.
    fn with_pack<T: Send + 'static>(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        ask: impl FnOnce(&Arc<Self>, &Arc<Pack>) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let view = match self.view(number, slot) {
            Ok(view) => view,
            Err(error) => return Answer::Now(Err(error)),
        };
        if let Some(pack) = view.pack() {
            return Answer::Now(self.ask(number, slot, &pack, ask));
        }
        let vfs = self.clone();
        Answer::later(async move {
            let pack = vfs.pack(&view).await?;
            vfs.ask(number, slot, &pack, ask)
        })
    }

    /// The pack of a view, opened or built by one however many wait, each no longer than the timeout.
    async fn pack(self: &Arc<Self>, view: &Arc<View>) -> Result<Arc<Pack>> {
        if let Some(pack) = view.pack() {
            return Ok(pack);
        }
        let (vfs, wanted) = (self.clone(), view.clone());
        // In a task of its own: who stops waiting must not stop the build.
        let build = tokio::spawn(async move { vfs.packs.get(&wanted.of).await });
        let pack = bounded(self.timeout, build).await?;
        view.keep(&pack);
        Ok(pack)
    }

    /// One question to a pack. A pack that proves damaged ends the view that its answers were given
    /// in: whoever holds one of its numbers is told to look the path up again.
    fn ask<T>(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        pack: &Arc<Pack>,
        ask: impl FnOnce(&Arc<Self>, &Arc<Pack>) -> Result<T>,
    ) -> Result<T> {
        let answer = ask(self, pack);
        if pack.is_damaged() {
            self.views.retire(slot);
            return Err(Error::Unknown(number).into());
        }
        answer
    }

    fn lookup_root(self: &Arc<Self>, name: &[u8]) -> Answer<Entry> {
        match name {
            b"datasets" => Answer::Now(Ok(Entry::Found(self.directory(Inode::Datasets, None)))),
            b"README.md" => {
                let vfs = self.clone();
                self.in_background(move || vfs.top_attr().map(Entry::Found))
            }
            _ => Answer::Now(Ok(Entry::Absent(FOREVER))),
        }
    }

    fn lookup_dataset(&self, name: &[u8]) -> Result<Entry> {
        let current = self.datasets.current()?;
        if let Some(of) = current.version(name) {
            return Ok(Entry::Found(self.dataset_attr(name, Found::Version(of))?));
        }
        Ok(match current.link(name) {
            Some(target) => Entry::Found(self.dataset_attr(name, Found::Link(&target))?),
            None => Entry::Absent(SHORT),
        })
    }

    /// The attributes of an entry of `datasets/`.
    fn dataset_attr(&self, name: &[u8], found: Found<'_>) -> Result<Attr> {
        Ok(match found {
            Found::Version(of) => Attr {
                ttl: SHORT,
                ..self.directory(Inode::Version(self.views.slot(of)?), Some(of))
            },
            Found::Link(target) => {
                let inode = Inode::Link(self.links.number(name)?);
                Attr { size: target.len() as u64, ..self.link(inode) }
            }
        })
    }

    fn lookup_version(self: &Arc<Self>, parent: u64, slot: Slot, name: &[u8]) -> Answer<Entry> {
        if let Some(page) = Page::ALL.into_iter().find(|page| page.name().as_bytes() == name) {
            return match self.page_attr(parent, slot, page) {
                Answer::Now(attr) => Answer::Now(attr.map(Entry::Found)),
                Answer::Later(attr) => Answer::later(async move { attr.await.map(Entry::Found) }),
            };
        }
        let name = name.to_vec();
        self.with_pack(parent, slot, move |vfs, pack| {
            if only(pack) {
                return vfs.lookup_below(slot, pack, column_root(parent, pack, 0)?, &name);
            }
            let column = pack.columns().iter().position(|column| column.directory == name);
            let Some(column) = column else { return Ok(Entry::Absent(FOREVER)) };
            let view = vfs.view(parent, slot)?;
            let inode = Inode::Column(slot, column as u16);
            Ok(Entry::Found(vfs.directory(inode, Some(&view.of))))
        })
    }

    fn lookup_below(&self, slot: Slot, pack: &Pack, dir: Dir, name: &[u8]) -> Result<Entry> {
        Ok(match pack.lookup(dir, name)? {
            Some(node) => Entry::Found(self.node(slot, pack, node)?),
            None => Entry::Absent(FOREVER),
        })
    }

    fn node(&self, slot: Slot, pack: &Pack, node: Node) -> Result<Attr> {
        match node {
            Node::File(entry) => self.file(slot, pack, entry),
            Node::Dir(dir) => {
                let inode = Inode::dir(slot, dir, only(pack));
                let view = self.views.get(slot);
                Ok(self.directory(inode, view.as_deref().map(|view| &view.of)))
            }
        }
    }

    fn file(&self, slot: Slot, pack: &Pack, entry: u32) -> Result<Attr> {
        let inode = Inode::File(slot, entry);
        let facts = pack.facts(entry)?;
        Ok(Attr {
            inode,
            kind: FileKind::File,
            size: facts.size.unwrap_or(0),
            mtime: facts.mtime.map_or(SystemTime::UNIX_EPOCH, Timestamp::to_system),
            ttl: FOREVER,
        })
    }

    /// The attributes of a directory: of a version, as old as the version.
    fn directory(&self, inode: Inode, of: Option<&VersionInfo>) -> Attr {
        let mtime = of.map_or(self.born, saved_at);
        Attr { inode, kind: FileKind::Directory, size: 0, mtime, ttl: FOREVER }
    }

    fn link(&self, inode: Inode) -> Attr {
        Attr { inode, kind: FileKind::Link, size: 0, mtime: self.born, ttl: SHORT }
    }

    fn top_attr(&self) -> Result<Attr> {
        let text = self.texts.fresh_top(&self.catalog)?;
        Ok(Attr {
            inode: Inode::Top,
            kind: FileKind::File,
            size: text.len() as u64,
            mtime: self.born,
            ttl: SHORT,
        })
    }

    fn page_attr(self: &Arc<Self>, number: u64, slot: Slot, page: Page) -> Answer<Attr> {
        let view = match self.view(number, slot) {
            Ok(view) => view,
            Err(error) => return Answer::Now(Err(error)),
        };
        let vfs = self.clone();
        self.in_background(move || {
            let text = vfs.texts.fresh(&vfs.catalog, slot, page, &view.of)?;
            Ok(page_attr(slot, page, &view.of, &text))
        })
    }

    fn open_page(self: &Arc<Self>, number: u64, slot: Slot, page: Page) -> Answer<Opened> {
        let view = match self.view(number, slot) {
            Ok(view) => view,
            Err(error) => return Answer::Now(Err(error)),
        };
        let vfs = self.clone();
        self.in_background(move || {
            let text = vfs.texts.kept(&vfs.catalog, slot, page, &view.of)?;
            let handle = vfs.handles.insert(Handle::Text(text));
            Ok(Opened { handle, keep: page.is_fixed() })
        })
    }

    fn open_file(self: &Arc<Self>, number: u64, slot: Slot, entry: u32) -> Answer<Opened> {
        let view = match self.view(number, slot) {
            Ok(view) => view,
            Err(error) => return Answer::Now(Err(error)),
        };
        let vfs = self.clone();
        Answer::later(async move {
            let pack = vfs.pack(&view).await?;
            let finder = vfs.clone();
            let find = move || finder.object(number, slot, &view.of, &pack, entry);
            let object = bounded(vfs.timeout, tokio::task::spawn_blocking(find)).await?;
            let reader = vfs.stores.open(&object).await?;
            Ok(Opened { handle: vfs.handles.insert(Handle::Object(Arc::new(reader))), keep: true })
        })
    }

    /// The object behind an entry, proven to be the one that was packed.
    fn object(
        &self,
        number: u64,
        slot: Slot,
        of: &VersionInfo,
        pack: &Pack,
        entry: u32,
    ) -> Result<Object> {
        let facts = pack.facts(entry)?;
        let row = pack.first_row(entry)?;
        let column = pack.columns().get(usize::from(pack.column_of(entry)?));
        let column = column.ok_or(Error::Unknown(number))?;
        let object = self.catalog.object(of, &column.file, row)?;
        match object {
            Some(object) if object.identity().short() == facts.identity => Ok(object),
            _ => {
                let version = format!("{}@{}", of.dataset, of.version);
                let error = error::Error::from(Error::Mismatch { row: row.key(), version });
                self.packs.distrust(of, &error.to_string());
                self.views.retire(slot);
                Err(error)
            }
        }
    }

    fn list_version(self: &Arc<Self>, number: u64, slot: Slot) -> Answer<Listing> {
        let view = match self.view(number, slot) {
            Ok(view) => view,
            Err(error) => return Answer::Now(Err(error)),
        };
        let vfs = self.clone();
        let inode = Inode::Version(slot);
        Answer::later(async move {
            let pack = vfs.pack(&view).await?;
            let (helper, shown) = (vfs.clone(), view.clone());
            let render = move || helper.page_attrs(slot, &shown.of);
            let pages = bounded(vfs.timeout, tokio::task::spawn_blocking(render)).await?;
            if only(&pack) {
                let dir = column_root(number, &pack, 0)?;
                return Ok(Listing::below(inode, Inode::Datasets, &vfs, slot, &pack, dir, pages));
            }
            Ok(Listing::columns(&vfs, slot, &pack, &view.of, pages))
        })
    }

    /// The helper files of a version, with exact sizes.
    fn page_attrs(&self, slot: Slot, of: &VersionInfo) -> Result<Vec<(Vec<u8>, Attr)>> {
        let attr = |page: Page| {
            let text = self.texts.fresh(&self.catalog, slot, page, of)?;
            Ok((page.name().as_bytes().to_vec(), page_attr(slot, page, of, &text)))
        };
        Page::ALL.into_iter().map(attr).collect()
    }
}

/// When a version was saved.
fn saved_at(of: &VersionInfo) -> SystemTime {
    of.finished_at.or(of.created_at).map_or(SystemTime::UNIX_EPOCH, Timestamp::to_system)
}

fn page_attr(slot: Slot, page: Page, of: &VersionInfo, text: &Bytes) -> Attr {
    Attr {
        inode: Inode::Page(slot, page),
        kind: FileKind::File,
        size: text.len() as u64,
        mtime: saved_at(of),
        ttl: if page.is_fixed() { FOREVER } else { SHORT },
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

/// Waits for a task, no longer than `timeout`. The task goes on when nobody waits.
async fn bounded<T>(timeout: Duration, task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(lost)) => Err(Error::Lost(lost.to_string()).into()),
        Err(_) => Err(Error::Timeout(timeout.as_secs()).into()),
    }
}
