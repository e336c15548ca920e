//! `_views/`: the directories beside the files of a view. Each is one file here, a [`Directory`], and one line
//! of [`ALL`].
//!
//! ```text
//! _views/  _README.md
//!          by/<column>/<value>/         class folders, nested at will
//!          rows/<sys__id>.json          one file per row
//!          hf/                          for Hugging Face `datasets`
//!          q/<hash>/                    query directories by short names
//!          diff/<version>/              what differs from another version
//!          split/<shares>/<part>/       rows divided by a hash
//!          epochs/<seed>/<n>.txt        rows in a random order
//!          webdataset/<options>/<n>.tar shards for WebDataset
//!          yolo/, coco/                 pictures with boxes, for Ultralytics and pycocotools
//!          gallery/page-0001.html       pages to look at
//!          group/<columns>.csv          how many rows have which values
//! ```
//!
//! A directory consists of *nodes*, which have nothing but an inode number ([`ViewNode`]), and of *views*,
//! which show rows, have tables and `_views/` of their own, and are kept while somebody uses them
//! ([`ViewStep`], [`Narrowing`]). All methods are called in a task, with the pack open: a directory may block.

use std::any::Any;
use std::sync::Arc;

use super::handles::Handle;
use super::inode::{Inode, Slot, ViewNode};
use super::listing::{Each, Listing};
use super::place::{Place, Shown};
use super::turns::Turn;
use super::views::{Kind, Step, View, ViewStep};
use super::{Answer, Attr, Entry, Error, FOREVER, Opened, SHORT, Vfs};
use dcfs_core::error::Result;
use dcfs_core::kept::Kept;
use dcfs_core::schema::Schema;
use dcfs_data::pages;
use dcfs_store::Caller;

mod boxes;
pub mod by;
mod coco;
mod diff;
mod epochs;
mod gallery;
mod group;
mod hugging_face;
mod layout;
mod queries;
mod rows;
mod split;
mod webdataset;
mod yolo;

/// Every directory, in the order of listings and pages. Its index is its number, which is part of inode
/// numbers: new ones are appended.
static ALL: [&dyn Directory; 12] = [
    &by::By,
    &rows::Rows,
    &hugging_face::HuggingFace,
    &queries::Queries,
    &diff::Diff,
    &split::Splits,
    &epochs::Epochs,
    &webdataset::WebDataset,
    &yolo::Yolo,
    &coco::Coco,
    &gallery::Gallery,
    &group::Group,
];

const PAGE: &[u8] = b"_README.md";

/// The views in which a directory exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// All of them.
    Always,
    /// In versions, but not in subsets of their rows.
    InVersions,
    /// Those whose rows name files.
    WithFiles,
}

/// The type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Directory,
    /// A directory whose names change when other versions do.
    Changing,
    File,
}

/// A directory below `_views/`: its nodes, with their types and contents.
pub trait Directory: Sync {
    /// Its index in [`ALL`].
    fn number(&self) -> u8;

    /// Its name in `_views/`.
    fn name(&self) -> &'static str;

    /// Its section of `_views/_README.md`, in Markdown, heading included.
    fn help(&self, schema: &Schema) -> String;

    fn stands(&self) -> Stands {
        Stands::Always
    }

    /// Whether it is listed; otherwise it can only be looked up by name.
    fn is_listed(&self, _schema: &Schema) -> bool {
        true
    }

    /// Its top in a view: a node of kind 0, unless it is a view itself.
    fn top(&self, _vfs: &Vfs, slot: Slot) -> Result<Inode> {
        Ok(inode(self.number(), slot, 0, 0))
    }

    /// The type of nodes of a kind.
    fn shape(&self, kind: u8) -> Shape;

    /// The kind of turn for looking up names in it, and for the sizes and contents of its files.
    fn turn(&self) -> Turn {
        Turn::Any
    }

    /// Looks up a name in a node that is a directory. Blocking.
    fn lookup(&self, _at: At<'_>, _name: &[u8]) -> Result<Entry> {
        Ok(Entry::Absent(FOREVER))
    }

    /// Lists a node that is a directory. Blocking.
    fn list(&self, at: At<'_>) -> Result<Listing> {
        Ok(at.known(self.up(at.place.slot, at.node), Vec::new()))
    }

    /// The part of a listing that is not precomputed, starting at a number ([`Listing::numbered`]). Blocking.
    fn list_from(&self, _at: At<'_>, _from: u32, _each: &mut Each<'_>) -> Result<()> {
        Ok(())
    }

    /// Opens a node that is a file. Blocking.
    fn open(&self, at: At<'_>) -> Result<Handle> {
        Err(at.unknown())
    }

    /// The size of that file in bytes. Blocking.
    fn size(&self, at: At<'_>) -> Result<u64> {
        Ok(self.open(at)?.size())
    }

    /// The parent of a node that is a directory.
    fn up(&self, slot: Slot, node: ViewNode) -> Inode;

    /// The path of a node below its view, for the log. Never blocks.
    fn path(&self, vfs: &Vfs, slot: Slot, node: ViewNode) -> String;

    /// The views that it makes, if any.
    fn views(&self) -> &dyn Narrowing {
        &Plain
    }
}

/// The views that a directory makes of the rows around it.
pub trait Narrowing: Sync {
    /// The kind of the top directory of such a view.
    fn kind(&self, _step: ViewStep) -> Kind {
        Kind::Version
    }

    /// Whether it shows only some of the parent's rows. Depends on the step alone: [`Narrowing::rows`] is
    /// called only if this is true.
    fn narrows(&self, _step: ViewStep) -> bool {
        true
    }

    /// The rows of a view that narrows. Blocking.
    fn rows(&self, _vfs: &Arc<Vfs>, around: &Place, _step: ViewStep) -> Result<Shown> {
        Err(Error::Unknown(Inode::View(around.slot).number()).into())
    }

    /// The directory that contains the view, which is `step` from the view in the slot `parent`.
    fn above(&self, parent: Slot, step: ViewStep) -> Inode;

    /// The path of the view, for the log.
    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String>;

    /// A description of its rows for its pages, if filters alone do not describe them.
    fn describe(&self, _vfs: &Vfs, _parent: Slot, _step: ViewStep) -> Option<String> {
        None
    }

    /// Whether [`Narrowing::lookup`] handles a name at the top of a [`Kind::Own`] view, rather than its files.
    fn owns(&self, _step: ViewStep, _name: &[u8]) -> bool {
        true
    }

    /// Looks up a name at the top of a [`Kind::Own`] view. Blocking.
    fn lookup(&self, _vfs: &Arc<Vfs>, _place: &Place, _name: &[u8]) -> Result<Entry> {
        Ok(Entry::Absent(FOREVER))
    }

    /// Lists the top of a [`Kind::Own`] view. Blocking.
    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        Listing::top(vfs, place, Vec::new())
    }

    /// Whether the text of a step ([`ViewStep::text`]) is a filter.
    fn is_filter(&self) -> bool {
        false
    }

    /// Whether a file is hidden because of its name.
    fn hides(&self, _step: ViewStep, _name: &[u8]) -> bool {
        false
    }
}

/// For a directory without views.
struct Plain;

impl Narrowing for Plain {
    fn above(&self, parent: Slot, _step: ViewStep) -> Inode {
        Inode::Views(parent)
    }

    fn path(&self, _vfs: &Vfs, _parent: Slot, _step: ViewStep) -> Option<String> {
        None
    }
}

/// A node, in its view.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub vfs: &'a Arc<Vfs>,
    pub place: &'a Place,
    pub node: ViewNode,
    /// The caller that opens a file, if it may have fewer rights than this process.
    pub caller: Option<Caller>,
}

/// A cache for results of directories below `_views/`, of any type, by view and node.
pub type Memory = Kept<(Slot, u32, ViewNode), Arc<dyn Any + Send + Sync>>;

/// Limit of that cache in bytes.
const MEMORY: usize = 64 << 20;

/// An empty cache.
pub fn memory() -> Memory {
    Kept::new(MEMORY)
}

impl<'a> At<'a> {
    /// Without a particular caller.
    pub fn new(vfs: &'a Arc<Vfs>, place: &'a Place, node: ViewNode) -> Self {
        Self { vfs, place, node, caller: None }
    }

    /// The cached result, or that of `find`, if there is room to cache it. Each key has one type.
    pub fn kept<T: Send + Sync + 'static>(
        &self,
        node: ViewNode,
        weigh: impl FnOnce(&T) -> usize,
        find: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        self.kept_of(self.place.slot, node, weigh, find)
    }

    /// The same for another view of the same rows.
    pub fn kept_of<T: Send + Sync + 'static>(
        &self,
        slot: Slot,
        node: ViewNode,
        weigh: impl FnOnce(&T) -> usize,
        find: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        // A slot may have belonged to another view before.
        let serial = self.vfs.view(self.own().number(), slot)?.serial();
        let weigh = |any: &Arc<dyn Any + Send + Sync>| any.downcast_ref().map_or(0, weigh);
        let found = self.vfs.memory.get(&(slot, serial, node), weigh, || Ok(Arc::new(find()?)))?;
        Arc::downcast((*found).clone()).map_err(|_| self.unknown())
    }

    /// Another node of the same directory.
    pub fn inode(&self, kind: u8, number: u32) -> Inode {
        inode(self.node.directory, self.place.slot, kind, number)
    }

    /// The node itself.
    pub fn own(&self) -> Inode {
        Inode::Beside(self.place.slot, self.node)
    }

    /// The attributes of another node that is a directory.
    pub fn directory(&self, kind: u8, number: u32) -> Attr {
        self.vfs.node_attr(self.inode(kind, number), self.place)
    }

    /// The attributes of another node that is a file.
    pub fn file(&self, kind: u8, number: u32) -> Result<Attr> {
        let node = ViewNode { kind, number, ..self.node };
        self.vfs.node_file(self.place, node)
    }

    /// A listing whose names are all known.
    pub fn known(&self, up: Inode, heads: Vec<(Vec<u8>, Attr)>) -> Listing {
        Listing::known(self.vfs, (self.own(), up), heads)
    }

    /// A view that the directory makes in this one.
    pub fn view(&self, step: ViewStep) -> Result<Attr> {
        let slot = self.vfs.views.step(self.place.slot, Step::Beside(step))?;
        Ok(self.vfs.directory(Inode::View(slot), Some(&self.place.view.of)))
    }

    /// The error for a number without a node.
    pub fn unknown(&self) -> dcfs_core::error::Error {
        Error::Unknown(self.own().number()).into()
    }
}

/// A node of the directory with this number.
pub fn inode(directory: u8, slot: Slot, kind: u8, number: u32) -> Inode {
    Inode::Beside(slot, ViewNode { directory, kind, number })
}

/// The name by which a view was looked up, if the name defines it ([`ViewStep::text`]).
pub fn text_of(vfs: &Vfs, place: &Place) -> Result<Arc<str>> {
    let number = place.view.from.and_then(|(_, step)| step.text());
    let text = number.and_then(|number| vfs.filters.text(number));
    Ok(text.ok_or(Error::Unknown(place.view.own.number()))?)
}

/// Converts a lookup result.
pub fn entry(found: Option<Attr>) -> Entry {
    found.map_or(Entry::Absent(FOREVER), Entry::Found)
}

/// The directory with a number. Unknown numbers are treated like nodes that do not exist.
fn numbered(number: u8) -> Option<&'static dyn Directory> {
    ALL.get(usize::from(number)).copied()
}

/// The views of a step's directory.
pub fn narrowing(step: ViewStep) -> &'static dyn Narrowing {
    numbered(step.directory).map_or(&Plain, Directory::views)
}

/// The type of a node, if it exists.
pub fn shape(node: ViewNode) -> Option<Shape> {
    Some(numbered(node.directory)?.shape(node.kind))
}

impl Vfs {
    /// Looks up a name in `_views/`.
    pub(super) fn lookup_views(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        if name == PAGE {
            return self
                .note(parent, slot, Inode::ViewsPage(slot))
                .map(|(attr, _)| Entry::Found(attr));
        }
        let Some(directory) = ALL.iter().copied().find(|one| one.name().as_bytes() == name) else {
            return Answer::Now(Ok(Entry::Absent(FOREVER)));
        };
        match directory.stands() {
            Stands::WithFiles => self.with_place(parent, slot, move |vfs, place| {
                Ok(entry(vfs.top_of(directory, &place.view, slot, || place.names_files())?))
            }),
            Stands::Always | Stands::InVersions => self.with_view(parent, slot, |view| {
                Answer::Now(self.top_of(directory, &view, slot, || false).map(entry))
            }),
        }
    }

    /// The top of a directory in a view, if the view has it.
    fn top_of(
        &self,
        directory: &dyn Directory,
        view: &View,
        slot: Slot,
        names_files: impl FnOnce() -> bool,
    ) -> Result<Option<Attr>> {
        let stands = match directory.stands() {
            Stands::Always => true,
            Stands::InVersions => view.from.is_none(),
            Stands::WithFiles => names_files(),
        };
        let attr = || Ok(self.beside_attr(directory.top(self, slot)?, view));
        stands.then(attr).transpose()
    }

    /// Lists `_views/`.
    pub(super) fn list_views(self: &Arc<Self>, number: u64, slot: Slot) -> Answer<Listing> {
        self.with_place_in_task(number, slot, move |vfs, place| {
            let (page, _) = vfs.note_of(place, Inode::ViewsPage(slot))?;
            let mut heads = vec![(PAGE.to_vec(), page)];
            let schema = place.view.schema(&vfs.catalog)?;
            for directory in ALL.into_iter().filter(|directory| directory.is_listed(&schema)) {
                let top = vfs.top_of(directory, &place.view, slot, || place.names_files())?;
                heads.extend(top.map(|attr| (directory.name().as_bytes().to_vec(), attr)));
            }
            Ok(Listing::known(vfs, (Inode::Views(slot), place.view.own), heads))
        })
    }

    /// `_views/_README.md`.
    pub(super) fn views_page(&self, place: &Place) -> Result<String> {
        let schema = place.view.schema(&self.catalog)?;
        let sections: Vec<String> = ALL.iter().map(|directory| directory.help(&schema)).collect();
        Ok(pages::views(&place.view.of, &sections))
    }

    /// Looks up a name in a node.
    pub(super) fn lookup_node(
        self: &Arc<Self>,
        parent: u64,
        (slot, node): (Slot, ViewNode),
        name: &[u8],
    ) -> Answer<Entry> {
        let Some(directory) = numbered(node.directory) else { return unknown(parent) };
        if directory.shape(node.kind) == Shape::File {
            return Answer::Now(Err(Error::Wrong(parent, "directory").into()));
        }
        let name = name.to_vec();
        self.with_place_in_turn(directory.turn(), parent, slot, move |vfs, place| {
            directory.lookup(At::new(vfs, place, node), &name)
        })
    }

    /// The attributes of a node.
    pub(super) fn getattr_node(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        node: ViewNode,
    ) -> Answer<Attr> {
        match shape(node) {
            None => unknown(number),
            Some(Shape::File) => {
                let turn = numbered(node.directory).map_or(Turn::Any, Directory::turn);
                let file = move |vfs: &Arc<Self>, place: &Place| vfs.node_file(place, node);
                self.with_place_in_turn(turn, number, slot, file)
            }
            Some(Shape::Directory | Shape::Changing) => {
                let view = self.view(number, slot);
                Answer::Now(view.map(|view| self.beside_attr(Inode::Beside(slot, node), &view)))
            }
        }
    }

    /// A node, ready to be listed.
    pub(super) fn list_node(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        node: ViewNode,
    ) -> Answer<Listing> {
        match numbered(node.directory) {
            None => unknown(number),
            Some(directory) if directory.shape(node.kind) == Shape::File => {
                Answer::Now(Err(Error::Wrong(number, "directory").into()))
            }
            Some(directory) => self.with_place_in_task(number, slot, move |vfs, place| {
                directory.list(At::new(vfs, place, node))
            }),
        }
    }

    /// Opens a node.
    pub(super) fn open_node(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        node: ViewNode,
        caller: Option<Caller>,
    ) -> Answer<Opened> {
        let Some(directory) = numbered(node.directory) else { return unknown(number) };
        if directory.shape(node.kind) != Shape::File {
            return Answer::Now(Err(Error::Wrong(number, "file").into()));
        }
        let opened = self.with_place_in_turn(directory.turn(), number, slot, move |vfs, place| {
            directory.open(At { caller, ..At::new(vfs, place, node) })
        });
        let vfs = self.clone();
        opened.map(move |handle| {
            // Callers may have different rights to read objects: the kernel must not cache anything.
            let is_private = caller.is_some() && matches!(handle, Handle::Stream(_));
            Opened { keep: !is_private, is_live: is_private, ..vfs.opened(handle) }
        })
    }

    /// The attributes of a node that is a file, with its size.
    fn node_file(self: &Arc<Self>, place: &Place, node: ViewNode) -> Result<Attr> {
        let unknown = || Error::Unknown(Inode::Beside(place.slot, node).number());
        let directory = numbered(node.directory).ok_or_else(unknown)?;
        let size = directory.size(At::new(self, place, node))?;
        Ok(self.fixed(Inode::Beside(place.slot, node), &place.view.of, size))
    }

    fn node_attr(&self, inode: Inode, place: &Place) -> Attr {
        self.beside_attr(inode, &place.view)
    }

    /// The attributes of a directory: cached only briefly if other versions can change it.
    fn beside_attr(&self, inode: Inode, view: &View) -> Attr {
        let ttl = match inode {
            Inode::Beside(_, node) if shape(node) == Some(Shape::Changing) => SHORT,
            _ => FOREVER,
        };
        Attr { ttl, ..self.directory(inode, Some(&view.of)) }
    }

    /// The parent of a node that is a directory.
    pub(super) fn up_node(&self, number: u64, slot: Slot, node: ViewNode) -> Result<Inode> {
        let directory = numbered(node.directory).ok_or(Error::Unknown(number))?;
        match directory.shape(node.kind) {
            Shape::File => Err(Error::Wrong(number, "directory").into()),
            Shape::Directory | Shape::Changing => Ok(directory.up(slot, node)),
        }
    }

    /// The path of a node below its view, for the log.
    pub(super) fn node_path(&self, slot: Slot, node: ViewNode) -> Option<String> {
        Some(numbered(node.directory)?.path(self, slot, node))
    }
}

/// Calls `each` for the entries of a directory, starting at a number.
pub fn list_from(at: At<'_>, from: u32, each: &mut Each<'_>) -> Result<()> {
    match numbered(at.node.directory) {
        Some(directory) => directory.list_from(at, from, each),
        None => Err(at.unknown()),
    }
}

fn unknown<T>(number: u64) -> Answer<T> {
    Answer::Now(Err(Error::Unknown(number).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_has_the_number_of_its_place_and_a_name_of_its_own() {
        for (at, directory) in ALL.iter().enumerate() {
            assert_eq!(usize::from(directory.number()), at, "{}", directory.name());
            let of_name = ALL.iter().filter(|other| other.name() == directory.name());
            assert_eq!(of_name.count(), 1, "{}", directory.name());
        }
    }
}
