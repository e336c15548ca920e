//! The values of columns and the rows of views: computed once, cached while there is room.
//!
//! Both are computed by scans of one column, in tasks; if a caller's timeout expires, the work continues.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::beside::{by, narrowing};
use super::inode::{Inode, MOST_LEAVES, Slot};
use super::place::{Place, Shown};
use super::views::{Step, View};
use super::{Error, Vfs};
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::expr::SLASH;
use dcfs_core::kept::Kept;
use dcfs_core::name::nearest;
use dcfs_core::schema::Schema;
use dcfs_core::tree::classes::{Class, class, classes};
use dcfs_core::tree::values::{Collector, Key, NULL, Values, wanted_name};
use dcfs_data::pack::{Ordinals, Pack, Subset};
use dcfs_data::tables::Source;

/// Limit of cached values of columns, in bytes.
const VALUES: usize = 32 << 20;

/// Limit of cached rows of views, in bytes.
const SHOWN: usize = 32 << 20;

/// The caches of values and rows.
#[derive(Debug)]
pub struct Sets {
    /// By version and leaf; `None` for a column with too many values.
    values: Kept<(Slot, u16), Option<Values>>,
    shown: Kept<Slot, Shown>,
}

impl Default for Sets {
    fn default() -> Self {
        Self { values: Kept::new(VALUES), shown: Kept::new(SHOWN) }
    }
}

impl Sets {
    /// The values of a column, if they are known.
    pub fn values(&self, base: Slot, leaf: u16) -> Option<Arc<Option<Values>>> {
        self.values.ready(&(base, leaf))
    }

    /// Drops the rows of an evicted view.
    pub fn forget(&self, slot: Slot) {
        self.shown.remove(&slot);
    }
}

/// The column with this number, if it has a directory in `_views/by`.
pub fn scalar(schema: &Schema, number: u16) -> Option<Class<'_>> {
    class(schema, number, MOST_LEAVES)
}

/// The column of this name, with single values, for an option.
///
/// # Errors
/// [`Kind::Invalid`] with the nearest names.
pub fn named<'s>(schema: &'s Schema, name: &str) -> Result<Class<'s>> {
    let name = name.replace(SLASH, "/");
    let mut all = classes(schema, MOST_LEAVES);
    if let Some(at) = all.iter().position(|class| class.name == name) {
        return Ok(all.swap_remove(at));
    }
    let near = nearest::to_dotted(&name, all.iter().map(|class| &class.name[..]));
    let hint = nearest::hint(&near, "`ls _views/by` lists what there is");
    Err(error::Error::new(
        Kind::Invalid,
        format!("there is no column of single values called `{name}`{hint}"),
    ))
}

impl Vfs {
    /// The values of a column over the whole version; `None` if there are too many. Blocking.
    pub(super) fn values(&self, of: &Place, leaf: u16) -> Result<Arc<Option<Values>>> {
        let weigh = |values: &Option<Values>| values.as_ref().map_or(0, Values::weight) + 64;
        self.sets.values.get(&(of.view.base, leaf), weigh, || {
            let source = of.whole(self)?;
            let unknown = || Error::Unknown(by::column(of.slot, leaf).number());
            collect(&source, &scalar(&source.schema, leaf).ok_or_else(unknown)?)
        })
    }

    /// The ordinal of the first row of the value called `name`, even if the column's values cannot be listed
    /// (then only names without a disambiguating suffix are known). `None` for no such value. Blocking.
    pub(super) fn value_named(&self, of: &Place, leaf: u16, name: &[u8]) -> Result<Option<u32>> {
        if let Some(values) = &*self.values(of, leaf)? {
            return Ok(values.named(name).map(|value| value.first));
        }
        let source = of.whole(self)?;
        let Some(leaf) = scalar(&source.schema, leaf) else { return Ok(None) };
        let null =
            if name == NULL { first(&source, &leaf, |cell| cell == Cell::Null)? } else { None };
        let named = |cell: Cell<'_>| *wanted_name(cell, leaf.value) == *name;
        null.map_or_else(|| first(&source, &leaf, named), |null| Ok(Some(null)))
    }

    /// The rows that a view shows, if they are known: `Some(None)` is all of them.
    pub(super) fn known_rows(&self, slot: Slot, view: &View) -> Option<Option<Arc<Shown>>> {
        match view.from {
            None => Some(None),
            Some((parent, Step::Beside(step))) if !narrowing(step).narrows(step) => {
                self.known_rows(parent, &*self.views.get(parent)?)
            }
            Some(_) => Some(Some(self.sets.shown.ready(&slot)?)),
        }
    }

    /// The rows that a view shows. Blocking; `None` for all rows.
    ///
    /// # Errors
    /// Those of the catalog and the pack; for a query, the mistake in it.
    pub(super) fn rows_of(
        self: &Arc<Self>,
        slot: Slot,
        view: &Arc<View>,
        pack: &Arc<Pack>,
    ) -> Result<Option<Arc<Shown>>> {
        let Some((parent, step)) = view.from else { return Ok(None) };
        let around = self.view(Inode::View(parent).number(), parent)?;
        if let Step::Beside(step) = step
            && !narrowing(step).narrows(step)
        {
            return self.rows_of(parent, &around, pack);
        }
        let found = self.sets.shown.get(&slot, Shown::weight, || {
            let shown = self.rows_of(parent, &around, pack)?;
            let place = Place { slot: parent, view: around, pack: pack.clone(), shown };
            match step {
                Step::Value(leaf, value) => self.shown_of_value(&place, leaf, value),
                Step::Query(number, dir) => self.selected(&place, number, dir),
                Step::Beside(step) => narrowing(step).rows(self, &place, step),
            }
        })?;
        Ok(Some(found))
    }

    /// The rows of a value among those that a place shows. Blocking.
    pub(super) fn shown_of_value(&self, place: &Place, leaf: u16, value: u32) -> Result<Shown> {
        let mut rows = self.rows_of_value(place, leaf, value)?;
        if let Some(set) = place.set() {
            rows &= &**set.rows();
        }
        Ok(Shown { set: Subset::new(Arc::new(rows)), ranking: None })
    }

    /// The rows of a value over the whole version.
    fn rows_of_value(&self, of: &Place, leaf: u16, value: u32) -> Result<Ordinals> {
        let unknown = Error::Unknown(Inode::Value(of.slot, leaf, value).number());
        if let Some(values) = &*self.values(of, leaf)? {
            return Ok(values.numbered(value).ok_or(unknown)?.rows.clone());
        }
        let source = of.whole(self)?;
        let Some(leaf) = scalar(&source.schema, leaf) else { return Err(unknown.into()) };
        let Some(wanted) = cell(&source, &leaf, value)? else { return Err(unknown.into()) };
        matching(&source, &leaf, &wanted)
    }
}

/// Calls `each` with the cell of every row of one column, until it breaks.
fn scan(
    source: &Source,
    leaf: &Class<'_>,
    each: &mut dyn FnMut(u32, Cell<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let columns = [leaf.column.to_owned()];
    source.scan(&columns, 0..=u32::MAX, &mut |at, _, cells: &dyn Cells| {
        Ok(each(at.ordinal, leaf.of(cells.cell(0))))
    })
}

fn collect(source: &Source, leaf: &Class<'_>) -> Result<Option<Values>> {
    let (mut collector, mut fits) = (Collector::default(), true);
    scan(source, leaf, &mut |ordinal, cell| {
        fits = collector.push(ordinal, cell);
        if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let ids = source.pack.ids()?;
    let id = |ordinal| ids.get(ordinal).map_or(0, |id| id.key());
    Ok(fits.then(|| collector.finish(leaf.value, id)))
}

/// The first row whose cell is `wanted`.
fn first(
    source: &Source,
    leaf: &Class<'_>,
    is_wanted: impl Fn(Cell<'_>) -> bool,
) -> Result<Option<u32>> {
    let mut found = None;
    scan(source, leaf, &mut |ordinal, cell| {
        if !is_wanted(cell) {
            return ControlFlow::Continue(());
        }
        found = Some(ordinal);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// The cell of one row.
fn cell(source: &Source, leaf: &Class<'_>, ordinal: u32) -> Result<Option<Key>> {
    let mut found = None;
    let columns = [leaf.column.to_owned()];
    source.scan(&columns, ordinal..=ordinal, &mut |_, _, cells: &dyn Cells| {
        found = Some(Key::from(leaf.of(cells.cell(0))));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The rows whose cell is `wanted`.
fn matching(source: &Source, leaf: &Class<'_>, wanted: &Key) -> Result<Ordinals> {
    let mut rows = Ordinals::new();
    scan(source, leaf, &mut |ordinal, cell| {
        if wanted.is(cell) {
            rows.insert(ordinal);
        }
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}
