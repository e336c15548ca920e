//! Query directories: a name that is a filter is a directory of the rows that it selects.
//!
//! A recorded name always wins, so a name is only considered here if there is no such file. Its letters show
//! whether it can be a filter; most names cannot, and cost no more than that check. The selected rows are
//! computed when somebody opens the directory. Every spelling has a view of its own, because Linux keeps one
//! path per directory inode; equal filters share their rows in [`dcfs_data::query`].

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::beside::narrowing;
use super::inode::Inode;
use super::place::{Place, Shown};
use super::views::{Bounds, Idle, Step};
use super::{Entry, Error, FOREVER, Vfs, wrong};
use dcfs_core::error::Result;
use dcfs_core::expr::{self, SLASH};
use dcfs_core::id::RowId;
use dcfs_data::pack::{Dir, Subset};
use dcfs_data::pages::Narrowed;
use dcfs_data::query::Version;

/// Number of rows from which the examples on a page are taken.
const EXAMPLES: usize = 20;

/// Limit of the total length of all filters of a mount, in bytes.
const MOST_TEXT: usize = 16 << 20;

/// The filters that were looked up, as typed, for as long as a view has them. Numbers are never reused.
#[derive(Debug, Default)]
pub struct Filters {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    numbers: HashMap<Arc<str>, u32>,
    texts: HashMap<u32, Arc<str>>,
    next: u32,
    bytes: usize,
}

impl Filters {
    /// The number of a filter, always the same.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(super) fn number(&self, text: &str) -> std::result::Result<u32, Error> {
        if let Some(number) = self.table.read().unwrap_or_else(|e| e.into_inner()).numbers.get(text)
        {
            return Ok(*number);
        }
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        if let Some(number) = table.numbers.get(text) {
            return Ok(*number);
        }
        if table.bytes + text.len() > MOST_TEXT {
            return Err(Error::Full("filters"));
        }
        let number = table.next;
        table.next = number.checked_add(1).ok_or(Error::Full("filters"))?;
        let text: Arc<str> = text.into();
        table.bytes += text.len();
        table.texts.insert(number, text.clone());
        table.numbers.insert(text, number);
        Ok(number)
    }

    /// The filter with a number, as it was typed.
    pub fn text(&self, number: u32) -> Option<Arc<str>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        table.texts.get(&number).cloned()
    }

    /// Whether there is little room left.
    fn is_crowded(&self) -> bool {
        self.table.read().unwrap_or_else(|e| e.into_inner()).bytes > MOST_TEXT / 4 * 3
    }

    /// Forgets a filter that no view has any more.
    fn remove(&self, number: u32) {
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        if let Some(text) = table.texts.remove(&number) {
            table.numbers.remove(&text);
            table.bytes -= text.len();
        }
    }
}

/// A filter directory that the kernel may forget, by its parent and its name there.
#[derive(Clone, Debug)]
pub struct IdleView {
    idle: Idle,
    /// Its name, if known.
    pub name: Option<(u64, Vec<u8>)>,
}

/// The name of a filter's directory.
pub fn as_name(filter: &str) -> String {
    filter.replace('/', SLASH.encode_utf8(&mut [0; 4]))
}

impl Vfs {
    /// Sets other limits for the views of this mount; only before the first lookup.
    pub fn bound_views(&self, bounds: Bounds) {
        self.views.bound(bounds);
    }

    /// Counts an inode number that is handed to the kernel; `false` if its view was evicted meanwhile.
    pub fn hold(&self, inode: Inode) -> bool {
        self.views.hold(inode)
    }

    /// The kernel forgets this many lookups of a number.
    pub fn forget(&self, number: u64, times: u64) {
        if let Some(inode) = Inode::decode(number) {
            self.views.forget(inode, times);
        }
    }

    /// The least recently used views, if there are nearly too many. The caller makes the kernel forget their
    /// names, then calls [`Vfs::evict`].
    pub fn idle_views(&self) -> Vec<IdleView> {
        let idle = self.views.idle(self.filters.is_crowded()).into_iter();
        idle.map(|idle| {
            let name = match idle.step {
                Step::Query(number, _) => self.filters.text(number).map(|text| text.to_string()),
                Step::Beside(step) => self.views.named(idle.slot).and_then(|view| {
                    let path = narrowing(step).path(self, view.from?.0, step)?;
                    path.rsplit('/').next().map(str::to_owned)
                }),
                Step::Value(..) => None,
            };
            let name = name.map(|name| (idle.up.number(), name.into_bytes()));
            IdleView { idle, name }
        })
        .collect()
    }

    /// Drops a view, and everything known about it, if the kernel has forgotten it.
    pub fn evict(&self, view: &IdleView) {
        let slot = view.idle.slot;
        let Some(filter) = self.views.evict(&view.idle) else { return };
        self.sets.forget(slot);
        self.tables.forget(slot);
        self.texts.forget(slot);
        if let Some(number) = filter {
            self.filters.remove(number);
        }
    }

    /// Looks up a name that no file has: a query directory, if it is a filter. `dir` is the parent directory,
    /// unless that is the top of the view.
    pub(super) fn lookup_query(
        &self,
        place: &Place,
        dir: Option<Dir>,
        name: &[u8],
    ) -> Result<Entry> {
        let Ok(text) = std::str::from_utf8(name) else { return Ok(Entry::Absent(FOREVER)) };
        if name == wrong::NAME {
            return Ok(self.errors(place, dir));
        }
        let schema = place.view.schema(&self.catalog)?;
        match expr::directory(text, &schema) {
            None => Ok(Entry::Absent(FOREVER)),
            Some(checked) => {
                checked?;
                self.query(place, Step::Query(self.filters.number(text)?, dir))
            }
        }
    }

    fn query(&self, place: &Place, step: Step) -> Result<Entry> {
        let slot = self.views.step(place.slot, step)?;
        Ok(Entry::Found(self.directory(Inode::View(slot), Some(&place.view.of))))
    }

    /// The rows of `place` that a query selects, below `dir` if given. Blocking.
    pub(super) fn selected(&self, place: &Place, number: u32, dir: Option<Dir>) -> Result<Shown> {
        let unknown = || Error::Unknown(Inode::View(place.slot).number());
        let text = self.filters.text(number).ok_or_else(unknown)?;
        let query = expr::check(&text, &*place.view.schema(&self.catalog)?)?;
        self.note_filtered(&place.view.of, &query);
        let mut within = place.set().map(|set| set.rows().clone());
        if let Some(dir) = dir {
            let mut below = place.pack.rows_below(dir)?;
            if let Some(within) = &within {
                below &= &**within;
            }
            within = Some(Arc::new(below));
        }
        let version = Version {
            catalog: &self.catalog,
            of: &place.view.of,
            pack: &place.pack,
            each: &|_| {},
        };
        let selected = self.queries.select(version, &query, within.as_ref())?;
        Ok(Shown { set: Subset::new(selected.rows), ranking: selected.ranking })
    }

    /// The description of the rows of a query's view, for its pages; without examples.
    pub(super) fn narrowed(&self, place: &Place) -> Option<Narrowed> {
        let (mut filters, mut diff) = (Vec::new(), None);
        let mut why_empty = None;
        let mut view = place.view.clone();
        let rows = place.set()?.rows();
        while let Some((parent, step)) = view.from {
            if let Step::Beside(step) = step {
                diff = diff.or_else(|| narrowing(step).describe(self, parent, step));
            }
            if let Some(number) = step.filter()
                && let Some(text) = self.filters.text(number)
            {
                // Only for a single filter: for several, each of their directories explains it.
                if rows.is_empty() && filters.is_empty() {
                    why_empty = self.why_none(place, &text);
                }
                filters.push(self.canonical(place, &text));
            }
            view = self.views.get(parent)?;
        }
        filters.reverse();
        let is_ranked = place.ranking().is_some();
        let first = Vec::new();
        Some(Narrowed { diff, filters, rows: rows.len(), is_ranked, first, why_empty })
    }

    /// The rows of a query's view that are its examples.
    ///
    /// # Errors
    /// Errors of fetching the ids of rows.
    pub(super) fn examples(&self, place: &Place) -> Result<Vec<RowId>> {
        let first: Vec<u32> = match (place.ranking(), place.set()) {
            (Some(ranking), _) => ranking.rows.iter().take(EXAMPLES).map(|row| row.row).collect(),
            (None, Some(set)) => set.rows().iter().take(EXAMPLES).collect(),
            (None, None) => Vec::new(),
        };
        let ids = first.into_iter().map(|row| place.pack.row_id(row));
        ids.filter_map(Result::transpose).collect()
    }

    fn canonical(&self, place: &Place, text: &str) -> String {
        let schema = place.view.schema(&self.catalog);
        let query = schema.ok().and_then(|schema| expr::check(text, &schema).ok());
        query.map_or_else(|| text.to_owned(), |query| query.to_string())
    }
}
