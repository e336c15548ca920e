//! `_views/by/<column>/<value>/`: class folders.
//!
//! A value is an [`Inode::Value`] until someone goes below it: a class folder of a million values costs nothing but their
//! names.

use dcfs_core::error::Result;
use dcfs_core::render::beside as text;
use dcfs_core::schema::Schema;
use dcfs_core::tree::classes::classes;
use dcfs_core::tree::values::Value;

use super::{At, Directory, Shape, entry, inode};
use crate::handles::Handle;
use crate::inode::{Inode, MOST_LEAVES, Slot, ViewNode};
use crate::listing::Listing;
use crate::place::Place;
use crate::views::Step;
use crate::{Attr, Entry, Vfs, sets};

/// The page that stands in place of more values than are listed.
const TOO_MANY: &[u8] = b"_too_many_values.md";

/// Class folders by the values of a column.
pub struct By;

const NUMBER: u8 = 0;

const TOP: u8 = 0;
/// By the number of the leaf.
const COLUMN: u8 = 1;
/// Its [`TOO_MANY`].
const PAGE: u8 = 2;

/// The directory of a column's values.
pub fn column(slot: Slot, leaf: u16) -> Inode {
    inode(NUMBER, slot, COLUMN, leaf.into())
}

/// The number of a column, of which no node has more than [`MOST_LEAVES`].
fn leaf(node: ViewNode) -> u16 {
    u16::try_from(node.number).unwrap_or(u16::MAX)
}

impl Directory for By {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "by"
    }

    fn help(&self, schema: &Schema) -> String {
        text::by(schema)
    }

    fn shape(&self, kind: u8) -> Shape {
        if kind == PAGE { Shape::File } else { Shape::Directory }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        match at.node.kind {
            COLUMN => lookup_value(at, leaf(at.node), name),
            _ => lookup_column(at, name),
        }
    }

    fn list(&self, at: At<'_>) -> Result<Listing> {
        let heads = match at.node.kind {
            COLUMN => values(at, leaf(at.node))?,
            _ => columns(at)?,
        };
        Ok(at.known(self.up(at.place.slot, at.node), heads))
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        let schema = at.place.view.schema(&at.vfs.catalog)?;
        let column = sets::scalar(&schema, leaf(at.node)).ok_or_else(|| at.unknown())?;
        Ok(Handle::Text(text::too_many_values(&column.name).into()))
    }

    fn up(&self, slot: Slot, node: ViewNode) -> Inode {
        match node.kind {
            TOP => Inode::Views(slot),
            _ => inode(NUMBER, slot, TOP, 0),
        }
    }

    fn path(&self, vfs: &Vfs, slot: Slot, node: ViewNode) -> String {
        match node.kind {
            TOP => "/_views/by".into(),
            COLUMN => vfs.leaf_path(slot, leaf(node)),
            _ => vfs.leaf_path(slot, leaf(node)) + "/_too_many_values.md",
        }
    }
}

fn lookup_column(at: At<'_>, name: &[u8]) -> Result<Entry> {
    let schema = at.place.view.schema(&at.vfs.catalog)?;
    let mut found = classes(&schema, MOST_LEAVES).into_iter();
    let found = found.find(|class| class.folder() == name);
    Ok(entry(found.map(|class| at.directory(COLUMN, class.number.into()))))
}

/// The columns that hold one value each and parts of paths, hidden ones left out.
fn columns(at: At<'_>) -> Result<Vec<(Vec<u8>, Attr)>> {
    let schema = at.place.view.schema(&at.vfs.catalog)?;
    let all = classes(&schema, MOST_LEAVES);
    let listed = all.iter().filter(|class| !class.is_hidden);
    Ok(listed.map(|class| (class.folder(), at.directory(COLUMN, class.number.into()))).collect())
}

fn lookup_value(at: At<'_>, leaf: u16, name: &[u8]) -> Result<Entry> {
    let At { vfs, place, .. } = at;
    if name == TOO_MANY && vfs.values(place, leaf)?.is_none() {
        return Ok(Entry::Found(at.file(PAGE, leaf.into())?));
    }
    let Some(first) = vfs.value_named(place, leaf, name)? else { return Ok(entry(None)) };
    let is_shown = vfs.is_shown(place, leaf, first)?;
    Ok(entry(is_shown.then(|| vfs.value_attr(place, leaf, first))))
}

/// The values that any row shown here has, or a page that there are too many. Rows without a value are no class: theirs
/// is there by name alone.
fn values(at: At<'_>, leaf: u16) -> Result<Vec<(Vec<u8>, Attr)>> {
    let At { vfs, place, .. } = at;
    let Some(values) = &*vfs.values(place, leaf)? else {
        return Ok(vec![(TOO_MANY.to_vec(), at.file(PAGE, leaf.into())?)]);
    };
    let shown = values.iter().filter(|value| !value.is_null && place.meets(value));
    let named = |value: &Value| (value.name.clone(), vfs.value_attr(place, leaf, value.first));
    Ok(shown.map(named).collect())
}

impl Vfs {
    /// Whether any row of the value is shown in `place`.
    fn is_shown(&self, place: &Place, leaf: u16, first: u32) -> Result<bool> {
        let Some(set) = place.set() else { return Ok(true) };
        if let Some(values) = &*self.values(place, leaf)? {
            let value = values.numbered(first);
            return Ok(value.is_some_and(|value| !value.rows.is_disjoint(set.rows())));
        }
        let below = self.views.step(place.slot, Step::Value(leaf, first))?;
        let view = self.view(Inode::View(below).number(), below)?;
        let rows = self.rows_of(below, &view, &place.pack)?;
        Ok(rows.is_some_and(|shown| !shown.set.rows().is_empty()))
    }

    fn value_attr(&self, place: &Place, leaf: u16, first: u32) -> Attr {
        self.directory(Inode::Value(place.slot, leaf, first), Some(&place.view.of))
    }
}
