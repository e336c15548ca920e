//! Groups: rows with equal values in some columns, which a program sees together.
//!
//! A group is identified by its first row, which is the key of its answer. The assignment of rows
//! to groups is held in memory: eight bytes per row, and some two hundred per group. The contents
//! of rows are read when it is their group's turn.

use std::collections::HashMap;
use std::ops::{ControlFlow, RangeInclusive};

use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::json;
use dcfs_core::render::rows::json::string;
use dcfs_core::render::rows::{Beside, Format, Layout};
use dcfs_core::schema::Schema;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::runs::key;
use roaring::RoaringTreemap;
use tokio::sync::mpsc::Sender;

use super::delta::digest;
use super::feed::{Row, Wanted};

/// The most rows of one group: a program gets all of them at once.
const MOST_ROWS: usize = 1_000_000;

/// The most bytes of their columns.
const MOST_BYTES: usize = 256 << 20;

/// The most characters of a group's name that are shown.
const SHOWN: usize = 80;

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The common values of its rows, for people: `label=pug`.
    pub name: String,
    /// Never empty; ascending, in the order in which rows were chosen.
    pub rows: Vec<RowId>,
}

impl Group {
    /// The row that is the key of its answer.
    pub fn id(&self) -> RowId {
        self.rows[0]
    }
}

/// The groups of a version, in the order of their first rows.
#[derive(Clone, Debug, Default)]
pub struct Groups(pub Vec<Group>);

impl Groups {
    /// Groups the rows of `ranges` by `by`, the dotted names of columns.
    ///
    /// # Errors
    /// An unknown column; a group that is too large; errors of the catalog.
    pub fn read(
        (catalog, of, schema): (&Catalog, &VersionInfo, &Schema),
        by: &[String],
        ranges: &mut dyn Iterator<Item = RangeInclusive<RowId>>,
    ) -> Result<Self> {
        let names: Vec<&str> = by.iter().map(String::as_str).collect();
        let chosen = schema.select(&names, &[])?;
        let columns = Layout::new(&chosen, Format::Jsonl, &[], Beside { path: false, id: false });
        let columns = columns.columns().to_vec();
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<[u8; 16], usize> = HashMap::new();
        let mut too_large = None;
        catalog.cells(of, &columns, ranges, &mut |id: RowId, cells: &dyn Cells| {
            let place = *places.entry(digest(cells, columns.len())).or_insert_with(|| {
                groups.push(Group { name: named(&columns, cells), rows: Vec::new() });
                groups.len() - 1
            });
            let group = &mut groups[place];
            group.rows.push(id);
            if group.rows.len() > MOST_ROWS {
                too_large = Some(group.name.clone());
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        match too_large {
            None => Ok(Self(groups)),
            Some(name) => Err(Error::new(
                Kind::Invalid,
                format!(
                    "the group {name} has more than {MOST_ROWS} rows; group by more columns (`--by`)"
                ),
            )),
        }
    }

    /// The name of the group whose first row is `id`.
    pub fn name(&self, id: i64) -> Option<&str> {
        self.0.iter().find(|group| group.id().key() == id).map(|group| group.name.as_str())
    }
}

/// The common values of a group's rows.
fn named(columns: &[String], cells: &dyn Cells) -> String {
    let text = |(at, name): (usize, &String)| {
        let value = match cells.cell(at) {
            Cell::Null => "null".to_owned(),
            Cell::Integer(n) => n.to_string(),
            Cell::Real(x) => x.to_string(),
            Cell::Text(text) => String::from_utf8_lossy(text).chars().take(SHOWN).collect(),
            Cell::Blob(bytes) => format!("{} bytes", bytes.len()),
        };
        format!("{}={value}", name.replace("__", "."))
    };
    columns.iter().enumerate().map(text).collect::<Vec<_>>().join(", ")
}

/// Reads the rows of groups that are not `done`, until there are `most` of them or nobody takes
/// them any more.
///
/// # Errors
/// Errors of the catalog; a group whose columns are too large.
pub fn feed(
    (catalog, of): (&Catalog, &VersionInfo),
    wanted: &Wanted,
    groups: &Groups,
    (done, most): (&RoaringTreemap, u64),
    to: &Sender<Vec<Row>>,
) -> Result<()> {
    let is_mine = |group: &&Group| {
        !done.contains(key(group.id())) && wanted.shard.is_none_or(|shard| shard.has(group.id()))
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    for group in groups.0.iter().filter(is_mine).take(most) {
        let row = read((catalog, of), wanted, group)?;
        if to.blocking_send(vec![row]).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Combines the rows of a group into one: their objects, and lists of their values.
fn read((catalog, of): (&Catalog, &VersionInfo), wanted: &Wanted, group: &Group) -> Result<Row> {
    let mut lists: Vec<(String, Vec<u8>)> = Vec::new();
    let mut seen = 0;
    let mut line = Vec::new();
    let mut each = |id: RowId, cells: &dyn Cells| {
        line.clear();
        wanted.columns.write(&mut line, id, &[], cells);
        for (at, (name, value)) in json::fields(&line).into_iter().flatten().enumerate() {
            match lists.get_mut(at) {
                Some((_, list)) => list.push(b','),
                None => lists.push((name, Vec::new())),
            }
            lists[at].1.extend_from_slice(value.trim_ascii());
        }
        seen += 1;
        let bytes: usize = lists.iter().map(|(_, list)| list.len()).sum();
        let is_room = bytes <= MOST_BYTES;
        Ok(if is_room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    catalog.cells(of, wanted.columns.columns(), &mut stretches(&group.rows), &mut each)?;
    if seen < group.rows.len() {
        let bytes: usize = lists.iter().map(|(_, list)| list.len()).sum();
        return Err(match bytes > MOST_BYTES {
            true => Error::new(
                Kind::Invalid,
                format!(
                    "the columns of the group {} take more than {} MiB; hand over fewer columns",
                    group.name,
                    MOST_BYTES >> 20
                ),
            ),
            false => Error::new(Kind::Stale, format!("rows of the group {} are gone", group.name)),
        });
    }
    let mut columns = b"{".to_vec();
    for (at, (name, list)) in lists.iter().enumerate() {
        if at > 0 {
            columns.push(b',');
        }
        string(&mut columns, name.as_bytes());
        columns.extend_from_slice(b":[");
        columns.extend_from_slice(list);
        columns.push(b']');
    }
    columns.push(b'}');
    let objects = match &wanted.file {
        Some(file) => catalog.objects(of, file, &group.rows)?,
        None => Vec::new(),
    };
    if let Some(at) = objects.iter().position(Option::is_none) {
        let message = format!("row {} of the group {} names no file", group.rows[at], group.name);
        return Err(Error::new(Kind::Invalid, message));
    }
    let objects = objects.into_iter().flatten().collect();
    Ok(Row { id: group.id(), objects, columns, group: Some(group.name.clone()) })
}

/// Groups consecutive rows into ranges.
fn stretches(rows: &[RowId]) -> impl Iterator<Item = RangeInclusive<RowId>> + '_ {
    rows.chunk_by(|one, other| one.key().checked_add(1) == Some(other.key()))
        .map(|chunk| chunk[0]..=chunk[chunk.len() - 1])
}
