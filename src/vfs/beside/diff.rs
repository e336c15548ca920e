//! `_views/diff/<version>/`: the differences from another version of the dataset.
//!
//! ```text
//! _views/diff/  _README.md
//!               1.0.0/  added/  changed/     views of this version
//!                       removed/             a view of the other: its files, its inodes
//!                       _summary.md, .json   not listed: they take a pass over both versions
//! ```
//!
//! Exists only in whole versions. Other versions come and go, so their names are cached for a second only;
//! below, the rows are those of two immutable versions, computed in a task when somebody opens it
//! ([`dcfs_data::diff::sets`]).

use std::sync::Arc;

use tokio::runtime::Handle as Runtime;

use dcfs_core::error::Result;
use dcfs_core::schema::Schema;
use dcfs_core::version::Version;
use dcfs_data::catalog::VersionInfo;
use dcfs_data::diff::sets::{Sets, Side};
use dcfs_data::pack::{Pack, Subset};
use dcfs_data::pages;

use super::{At, Directory, Narrowing, Shape, Stands, entry, inode};
use crate::handles::Handle;
use crate::inode::{Inode, Slot, VIEWS, ViewNode};
use crate::listing::Listing;
use crate::place::{Place, Shown};
use crate::views::{Step, View, ViewStep};
use crate::{Attr, Entry, FOREVER, SHORT, Vfs};

/// The differences from another version of the dataset.
pub struct Diff;

const NUMBER: u8 = 4;

const TOP: u8 = 0;
/// `_README.md`
const PAGE: u8 = 1;
/// The directory of another version, by its slot; so are its pages.
const VERSION: u8 = 2;
const SUMMARY: u8 = 3;
const SUMMARY_JSON: u8 = 4;

/// Kinds of views; their number is the slot of the other version.
const ADDED: u8 = 0;
const CHANGED: u8 = 1;
/// A view of the other version; its number is the slot of the version whose directory contains it.
const REMOVED: u8 = 2;

impl Directory for Diff {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "diff"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## diff/\n\n\
         What differs from another version, in `_views` of a whole version: `diff/1.0.0/added/`, `changed/` and `removed/`\n\
         hold the files of those rows, `diff/1.0.0/_summary.md` (by name) says how many and which columns. This alone\n\
         changes as versions come and go. See `diff/_README.md`.\n"
            .into()
    }

    fn stands(&self) -> Stands {
        Stands::InVersions
    }

    fn shape(&self, kind: u8) -> Shape {
        match kind {
            TOP | VERSION => Shape::Changing,
            _ => Shape::File,
        }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        match (at.node.kind, name) {
            (TOP, b"_README.md") => Ok(Entry::Found(at.file(PAGE, 0)?)),
            (TOP, _) => lookup_version(at, name),
            (_, b"_summary.md") => Ok(Entry::Found(at.file(SUMMARY, at.node.number)?)),
            (_, b"_summary.json") => Ok(Entry::Found(at.file(SUMMARY_JSON, at.node.number)?)),
            _ => {
                let part = parts(at)?.into_iter().find(|(part, _)| part == name);
                Ok(entry(part.map(|(_, attr)| attr)))
            }
        }
    }

    fn list(&self, at: At<'_>) -> Result<Listing> {
        let heads = match at.node.kind {
            TOP => versions(at)?,
            // Without the files that take a pass over the rows.
            _ => parts(at)?,
        };
        Ok(at.known(self.up(at.place.slot, at.node), heads))
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        let sets = || at.vfs.diff(at.place, other(at)?);
        let text = match at.node.kind {
            PAGE => pages::diffs(&at.place.view.of),
            SUMMARY => sets()?.summary.page(),
            SUMMARY_JSON => sets()?.summary.json(),
            _ => return Err(at.unknown()),
        };
        Ok(Handle::Text(text.into()))
    }

    fn up(&self, slot: Slot, node: ViewNode) -> Inode {
        match node.kind {
            TOP => Inode::Views(slot),
            _ => inode(NUMBER, slot, TOP, 0),
        }
    }

    fn path(&self, vfs: &Vfs, _slot: Slot, node: ViewNode) -> String {
        let other = || path_of(vfs, Slot(node.number));
        match node.kind {
            TOP => "/_views/diff".into(),
            PAGE => "/_views/diff/_README.md".into(),
            SUMMARY => other() + "/_summary.md",
            SUMMARY_JSON => other() + "/_summary.json",
            _ => other(),
        }
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for Diff {
    fn rows(&self, vfs: &Arc<Vfs>, place: &Place, step: ViewStep) -> Result<Shown> {
        let other = slot_of(step);
        let rows = match step.kind {
            ADDED => vfs.diff(place, other)?.added.clone(),
            CHANGED => vfs.diff(place, other)?.changed.clone(),
            _ => {
                let around = vfs.view(Inode::View(other).number(), other)?;
                let pack = vfs.pack_of(other, &around)?;
                let newer = Place { slot: other, view: around, pack, shown: None };
                vfs.compared(place, &newer)?.removed.clone()
            }
        };
        Ok(Shown { set: Subset::new(rows), ranking: None })
    }

    fn above(&self, parent: Slot, step: ViewStep) -> Inode {
        let other = slot_of(step);
        match step.kind {
            REMOVED => inode(NUMBER, other, VERSION, parent.0),
            _ => inode(NUMBER, parent, VERSION, other.0),
        }
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        let other = slot_of(step);
        Some(match step.kind {
            ADDED => vfs.view_path(parent)? + &path_of(vfs, other) + "/added",
            CHANGED => vfs.view_path(parent)? + &path_of(vfs, other) + "/changed",
            _ => vfs.view_path(other)? + &path_of(vfs, parent) + "/removed",
        })
    }

    fn describe(&self, vfs: &Vfs, _parent: Slot, step: ViewStep) -> Option<String> {
        let what = if step.kind == CHANGED { "otherwise in" } else { "not in" };
        Some(format!("{what} {}", vfs.views.named(slot_of(step))?.of))
    }
}

fn step(kind: u8, other: Slot) -> ViewStep {
    ViewStep { directory: NUMBER, kind, number: other.0.into(), text: None }
}

fn slot_of(step: ViewStep) -> Slot {
    Slot(u32::try_from(step.number).unwrap_or(u32::MAX))
}

/// The slot of the other version of a node.
fn other(at: At<'_>) -> Result<Slot> {
    Some(Slot(at.node.number)).filter(|slot| slot.0 < VIEWS).ok_or_else(|| at.unknown())
}

/// The directory of another version, for the pages.
fn path_of(vfs: &Vfs, other: Slot) -> String {
    match vfs.views.named(other) {
        Some(view) => format!("/_views/diff/{}", view.of.version),
        None => "/_views/diff/(a version)".into(),
    }
}

/// Looks up another version by its full number.
fn lookup_version(at: At<'_>, name: &[u8]) -> Result<Entry> {
    let wanted = std::str::from_utf8(name).ok().and_then(|name| {
        let version: Version = name.parse().ok()?;
        (version.to_string() == name).then_some(version)
    });
    let Some(wanted) = wanted else { return Ok(Entry::Absent(FOREVER)) };
    let current = at.vfs.datasets.current()?;
    let mut others = current.others(&at.place.view.of).into_iter();
    match others.find(|other| other.version == wanted) {
        Some(other) => Ok(Entry::Found(at.directory(VERSION, at.vfs.views.slot(other)?.0))),
        None => Ok(Entry::Absent(SHORT)),
    }
}

/// The other versions at this moment.
fn versions(at: At<'_>) -> Result<Vec<(Vec<u8>, Attr)>> {
    let mut heads = vec![(b"_README.md".to_vec(), at.file(PAGE, 0)?)];
    for other in at.vfs.datasets.current()?.others(&at.place.view.of) {
        let attr = at.directory(VERSION, at.vfs.views.slot(other)?.0);
        heads.push((other.version.to_string().into_bytes(), attr));
    }
    Ok(heads)
}

/// The directories of the rows that differ.
fn parts(at: At<'_>) -> Result<Vec<(Vec<u8>, Attr)>> {
    let (vfs, slot, other) = (at.vfs, at.place.slot, other(at)?);
    let that = vfs.view(at.own().number(), other)?;
    let part = |name: &str, around: Slot, step: ViewStep, of: &VersionInfo| -> Result<_> {
        let view = Inode::View(vfs.views.step(around, Step::Beside(step))?);
        Ok((name.as_bytes().to_vec(), vfs.directory(view, Some(of))))
    };
    let this = &at.place.view.of;
    Ok(vec![
        part("added", slot, step(ADDED, other), this)?,
        part("changed", slot, step(CHANGED, other), this)?,
        part("removed", other, step(REMOVED, slot), &that.of)?,
    ])
}

impl Vfs {
    /// The differences of `place` from another version. Blocking.
    fn diff(&self, place: &Place, other: Slot) -> Result<Arc<Sets>> {
        let view = self.view(Inode::View(other).number(), other)?;
        let pack = self.pack_of(other, &view)?;
        self.compared(&Place { slot: other, view, pack, shown: None }, place)
    }

    fn compared(&self, before: &Place, after: &Place) -> Result<Arc<Sets>> {
        let schemas = [before, after].map(|place| place.view.schema(&self.catalog));
        let [left, right] = schemas;
        let (left, right) = (left?, right?);
        let left = Side { of: &before.view.of, schema: &left, pack: &before.pack };
        let right = Side { of: &after.view.of, schema: &right, pack: &after.pack };
        self.diffs.get(&self.catalog, left, right)
    }

    /// The pack of another version. Blocking, on a blocking thread.
    fn pack_of(&self, slot: Slot, view: &View) -> Result<Arc<Pack>> {
        if let Some(pack) = view.pack() {
            self.believe(Inode::View(slot).number(), slot, &pack)?;
            return Ok(pack);
        }
        let pack = Runtime::current().block_on(self.packs.get(&view.of))?;
        view.keep(&pack);
        Ok(pack)
    }
}
