//! `_views/by/<column>/<value>/`: class folders, by the values of a column or of an expression over columns.
//!
//! A value is an [`Inode::Value`] until someone opens it: a class folder of a million values takes only the
//! memory of their names.

use std::sync::Arc;

use dcfs_core::cell::Cell;
use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::expr::{self, Query, Val};
use dcfs_core::render::beside as text;
use dcfs_core::schema::Schema;
use dcfs_core::tree::classes::classes;
use dcfs_core::tree::values::{Collector, Value, Values};
use dcfs_data::pack::Subset;
use dcfs_data::query::Version;

use super::{At, Directory, Narrowing, Shape, entry, inode, text_of};
use crate::handles::Handle;
use crate::inode::{Inode, MOST_LEAVES, Slot, ViewNode};
use crate::listing::Listing;
use crate::place::{Place, Shown};
use crate::views::{Kind, Step, ViewStep};
use crate::{Attr, Entry, Error, Vfs, filters, sets};

/// The page shown instead if there are more values than are listed.
const TOO_MANY: &[u8] = b"_too_many_values.md";

/// Class folders by the values of a column.
pub struct By;

const NUMBER: u8 = 0;

const TOP: u8 = 0;
/// A directory of values; the number is that of the leaf.
const COLUMN: u8 = 1;
/// The page [`TOO_MANY`] in it.
const PAGE: u8 = 2;

/// Only a cache key: the values of an expression.
const VALUES: u8 = 3;

/// Kinds of views: an expression, with all rows; below it one of its values, by the ordinal of the value's
/// first row.
const EXPRESSION: u8 = 0;
const VALUE: u8 = 1;

/// The directory of a column's values.
pub fn column(slot: Slot, leaf: u16) -> Inode {
    inode(NUMBER, slot, COLUMN, leaf.into())
}

/// The number of a column, below [`MOST_LEAVES`].
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

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for By {
    fn kind(&self, step: ViewStep) -> Kind {
        if step.kind == EXPRESSION { Kind::Own } else { Kind::Class }
    }

    fn narrows(&self, step: ViewStep) -> bool {
        step.kind == VALUE
    }

    fn rows(&self, vfs: &Arc<Vfs>, around: &Place, step: ViewStep) -> Result<Shown> {
        let values = values_of(vfs, around)?;
        let value = u32::try_from(step.number).ok().and_then(|first| values.numbered(first));
        let unknown = || Error::Unknown(Inode::View(around.slot).number());
        let mut rows = value.ok_or_else(unknown)?.rows.clone();
        if let Some(set) = around.set() {
            rows &= &**set.rows();
        }
        Ok(Shown { set: Subset::new(Arc::new(rows)), ranking: None })
    }

    fn above(&self, parent: Slot, step: ViewStep) -> Inode {
        match step.kind {
            EXPRESSION => inode(NUMBER, parent, TOP, 0),
            _ => Inode::View(parent),
        }
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        let above = vfs.view_path(parent)?;
        Some(match step.text {
            Some(text) => {
                format!("{above}/_views/by/{}", filters::as_name(&vfs.filters.text(text)?))
            }
            None => format!("{above}/(the value of row {})", step.number),
        })
    }

    fn lookup(&self, vfs: &Arc<Vfs>, place: &Place, name: &[u8]) -> Result<Entry> {
        let values = values_of(vfs, place)?;
        let value = values.named(name).filter(|value| place.meets(value));
        Ok(entry(value.map(|value| value_of(vfs, place, value)).transpose()?))
    }

    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        let values = values_of(vfs, place)?;
        let shown = values.iter().filter(|value| !value.is_null && place.meets(value));
        let named = |value: &Value| Ok((value.name.clone(), value_of(vfs, place, value)?));
        let heads = shown.map(named).collect::<Result<_>>()?;
        Ok(Listing::known(vfs, (place.view.own, place.view.up), heads))
    }
}

/// Looks up a name that is not a column as an expression, in the syntax of `order by` in a filter.
fn lookup_expression(at: At<'_>, name: &[u8]) -> Result<Entry> {
    // A bare name would be a misspelt column; an expression contains a call or an operator.
    let is_meant = |text: &&str| text.contains(['(', '+', '-', '*', '%', ' ']);
    let Some(text) = std::str::from_utf8(name).ok().filter(is_meant) else {
        return Ok(entry(None));
    };
    expression(text, &*at.place.view.schema(&at.vfs.catalog)?)?;
    let text = Some(at.vfs.filters.number(text)?);
    Ok(Entry::Found(at.view(ViewStep { directory: NUMBER, kind: EXPRESSION, number: 0, text })?))
}

/// An expression as a query that orders all rows by it.
fn expression(text: &str, schema: &Schema) -> Result<Query> {
    let query = expr::check(&format!("order by {text}"), schema)?;
    let is_alone = query.order.len() == 1 && !query.order[0].down;
    if is_alone && query.filter.is_none() && query.limit.is_none() && query.offset == 0 {
        return Ok(query);
    }
    let text = format!("`{text}`: write one expression, without `,`, `desc` and `limit`");
    Err(error::Error::new(ErrorKind::Invalid, text))
}

/// The values of the expression of a place, over the whole version.
fn values_of(vfs: &Arc<Vfs>, place: &Place) -> Result<Arc<Values>> {
    let at = At::new(vfs, place, ViewNode { directory: NUMBER, kind: VALUES, number: 0 });
    at.kept(
        at.node,
        |values: &Values| values.weight() + 64,
        || {
            let text = text_of(vfs, place)?;
            let schema = place.view.schema(&vfs.catalog)?;
            let version = Version {
                catalog: &vfs.catalog,
                of: &place.view.of,
                pack: &place.pack,
                each: &|_| {},
            };
            let selected = vfs.queries.select(version, &expression(&text, &schema)?, None)?;
            let ranking = selected.ranking.ok_or_else(|| at.unknown())?;
            let mut rows: Vec<_> =
                ranking.rows.iter().map(|ranked| (ranked.row, &ranked.key)).collect();
            rows.sort_unstable_by_key(|(row, _)| *row);
            let mut collector = Collector::default();
            for (row, key) in rows {
                let cell = match key {
                    Val::Null => Cell::Null,
                    Val::Int(n) => Cell::Integer(*n),
                    Val::Real(x) => Cell::Real(*x),
                    Val::Text(text) => Cell::Text(text),
                };
                if !collector.push(row, cell) {
                    let text = format!("`{text}` has too many values for class folders");
                    return Err(error::Error::new(ErrorKind::Invalid, text));
                }
            }
            let ids = place.pack.ids()?;
            let id = |ordinal| ids.get(ordinal).map_or(0, |id| id.key());
            Ok(collector.finish(&ranking.key, id))
        },
    )
}

/// The directory of a value of an expression.
fn value_of(vfs: &Vfs, place: &Place, value: &Value) -> Result<Attr> {
    let step = ViewStep { directory: NUMBER, kind: VALUE, number: value.first.into(), text: None };
    let slot = vfs.views.step(place.slot, Step::Beside(step))?;
    Ok(vfs.directory(Inode::View(slot), Some(&place.view.of)))
}

fn lookup_column(at: At<'_>, name: &[u8]) -> Result<Entry> {
    let schema = at.place.view.schema(&at.vfs.catalog)?;
    let mut found = classes(&schema, MOST_LEAVES).into_iter();
    match found.find(|class| class.folder() == name) {
        Some(class) => Ok(Entry::Found(at.directory(COLUMN, class.number.into()))),
        None => lookup_expression(at, name),
    }
}

/// The columns with single values, and parts of paths, without hidden ones.
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

/// The values of the rows shown here, or a page that there are too many. NULL is not a class: its directory can
/// be looked up by name but is not listed.
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
    fn is_shown(self: &Arc<Self>, place: &Place, leaf: u16, first: u32) -> Result<bool> {
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
