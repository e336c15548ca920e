//! `/README.md`, `/AGENTS.md` and `/knowledge/`: an introduction to a mount, and a page about every dataset.
//!
//! Pages are generated when somebody reads one, and kept until the catalog changes or a person writes a note:
//! the reported size is the size that is read. A directory of pages is listed without generating them; the
//! sizes in a listing expire at once, so that the kernel asks for the page's attributes. For a large version
//! the page contains no statistics: they are available in its own directory, by name.
//!
//! `usage.md` and `runs.md` describe this machine at this moment: they exist only in the mount, and are
//! generated for each read. A mount that other users share has neither, and no documents of the team: their files may
//! be readable for their owner only.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::runtime::Handle as Runtime;

use super::inode::Inode;
use super::links::Links;
use super::listing::Listing;
use super::{Answer, Attr, Entry, Error, FOREVER, FileKind, Opened, SHORT, Vfs};
use dcfs_core::error::{Kind, Result};
use dcfs_core::object::Object;
use dcfs_data::catalog::{Catalog, Revision};
use dcfs_data::knowledge::{AT_ONCE, Knowledge};
use dcfs_data::runs;
use dcfs_store::Stores;

/// Its name at the top of the mount.
pub const NAME: &[u8] = b"knowledge";

/// Pages about usage and about running programs.
const USAGE: &str = "usage.md";
const RUNS: &str = "runs.md";

/// Limit of cached texts, of some kilobytes each.
const MOST: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// Files beside the directories at the top of the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Readme,
    Agents,
}

impl Front {
    pub const ALL: [Self; 2] = [Self::Agents, Self::Readme];

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Readme => "README.md",
            Self::Agents => "AGENTS.md",
        }
    }

    pub const fn inode(self) -> Inode {
        match self {
            Self::Readme => Inode::Top,
            Self::Agents => Inode::Agents,
        }
    }
}

/// The key of a cached text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Front(&'static str),
    /// By its path below `knowledge/`.
    Page(String),
}

/// A text, and the state it was generated from: the catalog's revision, and a stamp of the notes.
type Made = (Revision, u64, Bytes);

/// The state that directories were made from: the catalog's revision, and a stamp of the documents.
type State = (Revision, u64);

/// Says how a file begins, of the stores that the mount reads. May block; `None` where it cannot.
pub type LookInto = dyn Fn(&Stores, &Object) -> Option<String> + Send + Sync;

/// The pages of a mount.
pub struct Pages {
    vfs: Weak<Vfs>,
    knowledge: Knowledge,
    look_into: OnceLock<Box<LookInto>>,
    /// The directories, and what they were made from.
    tree: Mutex<Option<(State, Arc<Tree>)>>,
    /// Numbers of paths.
    numbers: Links,
    texts: Mutex<LruCache<Key, Made>>,
}

/// The directories of pages: names, and whether they are directories.
type Tree = BTreeMap<String, BTreeSet<(String, bool)>>;

impl Pages {
    /// The pages of the catalog of `vfs`.
    pub fn new(catalog: &Arc<Catalog>, vfs: Weak<Vfs>) -> Self {
        let own = vfs.clone();
        let packs = move |of: &_| {
            let gone = || dcfs_core::error::Error::new(Kind::Broken, "the mount has ended");
            let vfs = vfs.upgrade().ok_or_else(gone)?;
            // Pages are generated in a task that may block.
            Runtime::current().block_on(vfs.packs.get(of))
        };
        let folder = Knowledge::default_folder(catalog);
        let reader = own.clone();
        let look_into = move |object: &Object| {
            let vfs = reader.upgrade()?;
            // Whoever shares the mount may not be allowed to read what its owner may.
            if vfs.is_shared() {
                return None;
            }
            vfs.pages.look_into.get()?(&vfs.stores, object)
        };
        let knowledge = Knowledge::new(catalog.clone(), packs, folder);
        Self {
            vfs: own,
            knowledge: knowledge.within(AT_ONCE).looking(look_into),
            look_into: OnceLock::new(),
            tree: Mutex::default(),
            numbers: Links::default(),
            texts: Mutex::new(LruCache::new(MOST)),
        }
    }

    /// The directories in the catalog's current state.
    fn tree(&self, catalog: &Catalog) -> Result<Arc<Tree>> {
        let made_from = (catalog.revision()?, self.knowledge.documents_stamp());
        let mut kept = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, tree)) = &*kept
            && *seen == made_from
        {
            return Ok(tree.clone());
        }
        let own: &[&str] = if self.is_private() { &[USAGE, RUNS] } else { &[] };
        let own = own.iter().map(|name| ((*name).to_owned(), false)).collect();
        let mut tree = Tree::from([(String::new(), own)]);
        let documents = self.knowledge.documents();
        let documents = documents.iter().map(|document| document.path.clone());
        for path in self.knowledge.pages()?.into_iter().map(|page| page.path).chain(documents) {
            let mut path = path.as_str();
            let mut is_directory = false;
            // Its parent directories, innermost first.
            while !path.is_empty() {
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                tree.entry(above.to_owned()).or_default().insert((name.to_owned(), is_directory));
                (path, is_directory) = (above, true);
            }
        }
        let tree = Arc::new(tree);
        *kept = Some((made_from, tree.clone()));
        Ok(tree)
    }

    /// The current text; `None` for a page that does not exist.
    fn fresh(&self, catalog: &Catalog, key: &Key) -> Result<Option<Bytes>> {
        let revision = catalog.revision()?;
        // Pages that change without a commit are generated on every read.
        if let Key::Page(path) = key
            && let Some(text) = self.of_now(catalog, path)
        {
            let text = Bytes::from(text);
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.put(key.clone(), (revision, 0, text.clone()));
            return Ok(Some(text));
        }
        let stamp = match key {
            Key::Front(_) => 0,
            Key::Page(path) => self.knowledge.stamp(path),
        };
        if let Some((seen, written, text)) = self.look(key)
            && (seen, written) == (revision, stamp)
        {
            return Ok(Some(text));
        }
        let text = match key {
            Key::Front("AGENTS.md") => Some(self.knowledge.agents()?),
            Key::Front(_) => Some(self.knowledge.front()?),
            Key::Page(path) => self.knowledge.page(path)?,
        };
        let Some(text) = text.map(Bytes::from) else { return Ok(None) };
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.put(key.clone(), (revision, stamp, text.clone()));
        Ok(Some(text))
    }

    /// A page about this machine at this moment, if `path` is one.
    fn of_now(&self, catalog: &Catalog, path: &str) -> Option<String> {
        match path {
            USAGE | RUNS if !self.is_private() => None,
            USAGE => Some(self.vfs.upgrade()?.usage().page()),
            RUNS => Some(runs::page(&runs::list(catalog.path()))),
            _ => None,
        }
    }

    /// Leaves out the documents of the team: other users have access.
    pub(super) fn share(&self) {
        self.knowledge.hide_documents();
    }

    /// Whether only the mount's owner has access.
    fn is_private(&self) -> bool {
        self.vfs.upgrade().is_some_and(|vfs| !vfs.is_shared())
    }

    /// The text as last shown; generated if there is none.
    fn kept(&self, catalog: &Catalog, key: &Key) -> Result<Option<Bytes>> {
        match self.look(key) {
            Some((.., text)) => Ok(Some(text)),
            None => self.fresh(catalog, key),
        }
    }

    fn look(&self, key: &Key) -> Option<Made> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The path of a node, from the top of the mount.
    pub fn path(&self, number: u32) -> Option<String> {
        Some(format!("knowledge/{}", self.below(number)?))
    }

    fn below(&self, number: u32) -> Option<String> {
        String::from_utf8(self.numbers.name(number)?.to_vec()).ok()
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("knowledge", &self.knowledge).finish_non_exhaustive()
    }
}

impl Vfs {
    /// Pages of listings tell how some files begin; only before the first page.
    pub fn look_into(
        &self,
        look_into: impl Fn(&Stores, &Object) -> Option<String> + Send + Sync + 'static,
    ) {
        // A second time is too late, and changes nothing.
        let _ = self.pages.look_into.set(Box::new(look_into));
    }

    /// The attributes of a file at the top of the mount.
    pub(super) fn front_attr(&self, front: Front) -> Result<Attr> {
        let key = Key::Front(front.name());
        let text = self.pages.fresh(&self.catalog, &key)?.unwrap_or_default();
        Ok(self.text_attr(front.inode(), &text))
    }

    fn text_attr(&self, inode: Inode, text: &Bytes) -> Attr {
        let (kind, size, mtime) = (FileKind::File, text.len() as u64, self.born);
        Attr { inode, kind, size, mtime, ttl: SHORT }
    }

    /// Opens a file at the top of the mount.
    pub(super) fn open_front(self: &Arc<Self>, front: Front) -> Answer<Opened> {
        self.open_text(false, move |vfs| {
            Ok(vfs.pages.kept(&vfs.catalog, &Key::Front(front.name()))?.unwrap_or_default())
        })
    }

    /// The path below `knowledge/` of an inode; empty for `knowledge/` itself.
    fn known_below(&self, inode: Inode) -> Result<String> {
        match inode {
            Inode::Known(number) => {
                Ok(self.pages.below(number).ok_or(Error::Unknown(inode.number()))?)
            }
            _ => Ok(String::new()),
        }
    }

    fn known_inode(&self, path: &str) -> Result<Inode> {
        match path {
            "" => Ok(Inode::Knowledge),
            path => Ok(Inode::Known(self.pages.numbers.number(path.as_bytes())?)),
        }
    }

    /// Looks up a name in a directory of pages.
    pub(super) fn lookup_knowledge(self: &Arc<Self>, inode: Inode, name: &[u8]) -> Answer<Entry> {
        let (vfs, name) = (self.clone(), String::from_utf8(name.to_vec()));
        self.in_background(move || {
            let Ok(name) = name else { return Ok(Entry::Absent(FOREVER)) };
            let above = vfs.known_below(inode)?;
            let path = if above.is_empty() { name } else { format!("{above}/{name}") };
            Ok(vfs.known_attr(&path)?.map_or(Entry::Absent(SHORT), Entry::Found))
        })
    }

    /// The attributes of a page or of a directory of pages.
    pub(super) fn getattr_knowledge(self: &Arc<Self>, inode: Inode) -> Answer<Attr> {
        let vfs = self.clone();
        self.in_background(move || {
            let path = vfs.known_below(inode)?;
            Ok(vfs.known_attr(&path)?.ok_or(Error::Unknown(inode.number()))?)
        })
    }

    fn known_attr(&self, path: &str) -> Result<Option<Attr>> {
        let tree = self.pages.tree(&self.catalog)?;
        if tree.contains_key(path) {
            return Ok(Some(self.folder_attr(self.known_inode(path)?)));
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !tree.get(above).is_some_and(|names| names.contains(&(name.to_owned(), false))) {
            return Ok(None);
        }
        let text = self.pages.fresh(&self.catalog, &Key::Page(path.to_owned()))?;
        let inode = self.known_inode(path)?;
        Ok(text.map(|text| self.text_attr(inode, &text)))
    }

    fn folder_attr(&self, inode: Inode) -> Attr {
        Attr { ttl: SHORT, ..self.directory(inode, None) }
    }

    /// Lists a directory of pages in the catalog's current state.
    pub(super) fn list_knowledge(self: &Arc<Self>, inode: Inode) -> Answer<Listing> {
        let vfs = self.clone();
        self.in_background(move || {
            let path = vfs.known_below(inode)?;
            let tree = vfs.pages.tree(&vfs.catalog)?;
            let names = tree.get(&path).ok_or(Error::Wrong(inode.number(), "directory"))?;
            let mut heads = Vec::new();
            for (name, is_directory) in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                let own = vfs.known_inode(&below)?;
                let attr = match is_directory {
                    true => vfs.folder_attr(own),
                    false => Attr { ttl: Duration::ZERO, ..vfs.text_attr(own, &Bytes::new()) },
                };
                heads.push((name.clone().into_bytes(), attr));
            }
            Ok(Listing::known(&vfs, (inode, vfs.known_up(inode)?), heads))
        })
    }

    /// The parent of a directory of pages.
    pub(super) fn known_up(&self, inode: Inode) -> Result<Inode> {
        let path = self.known_below(inode)?;
        match path.rsplit_once('/') {
            Some((above, _)) => self.known_inode(above),
            None if path.is_empty() => Ok(Inode::Root),
            None => Ok(Inode::Knowledge),
        }
    }

    /// Opens a page.
    pub(super) fn open_knowledge(self: &Arc<Self>, inode: Inode) -> Answer<Opened> {
        self.open_text(false, move |vfs| {
            let path = vfs.known_below(inode)?;
            let text = vfs.pages.kept(&vfs.catalog, &Key::Page(path))?;
            Ok(text.ok_or(Error::Wrong(inode.number(), "file"))?)
        })
    }
}
