//! The rows of versions in ClickHouse: a table for each, queried by `sys__id`.
//!
//! Only a table's name and its column `sys__id` are assumed: its types are queried, its order is
//! not trusted. Ids must ascend strictly, or rows could not be told apart: ClickHouse has no unique
//! keys.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::bitmap::{bitmap, treemap};
use super::groups;
use super::http::{Ask, ClickHouse};
use super::select::{After, gone, select};
use super::table::{self, Known, Table, identifier};
use super::types::{Kind, RowBuffer};
use crate::catalog::error::Error;
use crate::catalog::metastore::Metastore;
use crate::catalog::sqlite::rows::table_name;
use crate::catalog::warehouse::{Each, Extent, Found, Matching, SchemaTexts, Warehouse};
use crate::catalog::{EachRow, Revision, Row, VersionInfo, versions};
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::expr::sql::groups::GroupSql;
use dcfs_core::expr::sql::{Remote, Sql};
use dcfs_core::expr::{Column, Group};
use dcfs_core::id::{RowId, VersionId};
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;
use dcfs_core::time::Timestamp;
use lru::LruCache;

/// The most ranges of ids in one query.
const RANGES: usize = 1024;

/// The most rows buffered to be passed on in a different order from that of their ids.
const HELD: u64 = 65_536;

/// Rows whose objects are fetched together, by their ids: files opened in order take one query.
const BLOCK: i64 = 256;

/// The most blocks of objects that are cached.
const BLOCKS: usize = 64;

/// The row tables of a database.
#[derive(Debug)]
pub struct Rows {
    server: ClickHouse,
    metastore: Metastore,
    tables: Mutex<HashMap<VersionId, (Revision, Arc<Table>)>>,
    /// When versions were last known to exist.
    alive: Mutex<HashMap<VersionId, Revision>>,
    objects: Mutex<LruCache<BlockKey, Arc<Block>>>,
}

/// A version and its uuid, the File column, and the block's number: two versions may have the same
/// uuid.
type BlockKey = (VersionId, String, String, i64);

/// Objects of some rows by their ids; `None` for a row that names none.
type Block = HashMap<i64, Option<Object>>;

impl Rows {
    pub fn new(server: ClickHouse, metastore: Metastore) -> Self {
        let most = std::num::NonZeroUsize::new(BLOCKS).unwrap_or(std::num::NonZeroUsize::MIN);
        Self {
            server,
            metastore,
            tables: Mutex::default(),
            alive: Mutex::default(),
            objects: Mutex::new(LruCache::new(most)),
        }
    }

    /// The table of a version that exists.
    fn table(&self, of: &VersionInfo) -> Result<Arc<Table>, Error> {
        let revision = self.metastore.revision()?;
        let kept = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, table)) = kept().get(&of.id)
            && *known == revision
        {
            return Ok(table.clone());
        }
        let (dataset, schema) = self.metastore.read(|tables| {
            let dataset = versions::alive(tables, of)?;
            Ok((dataset, versions::schema_texts(tables, of.id)?.1))
        })?;
        let plain = table_name(&dataset, &of.version.to_string());
        let columns = table::describe(&self.server, &plain, &schema)?;
        let bad = |why| Error::BadTable { of: of.to_string(), why };
        match columns.iter().find(|column| column.name == "sys__id").map(|id| Kind::parse(&id.kind))
        {
            None if columns.is_empty() => {
                return Err(Error::NoTable { of: of.to_string(), table: plain });
            }
            None => return Err(bad("their table has no `sys__id`")),
            Some(Some(Kind::Int(..))) => {}
            Some(_) => return Err(bad("`sys__id` is not a whole number in their table")),
        }
        let name = format!("{}.{}", identifier(&self.server.database), identifier(&plain));
        let table = Arc::new(Table { name, plain, columns });
        kept().insert(of.id, (revision, table.clone()));
        Ok(table)
    }

    /// Queries rows in the order of their ids; see [`select`].
    fn select(
        &self,
        of: &VersionInfo,
        table: &Table,
        columns: &[(String, bool)],
        rest: (&str, &str),
        each: &mut dyn FnMut(i64, &RowBuffer) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        select(&self.server, of, table, columns, rest, each)
    }

    /// The objects that some rows name in one File column, by their ids.
    fn fetch(&self, of: &VersionInfo, file: &FileColumn, only: &str) -> Result<Block, Error> {
        let table = self.table(of)?;
        let mut block = Block::new();
        self.select(of, &table, &parts(&table, file), (only, ""), &mut |id, row| {
            let mut object = Object::default();
            fill(&mut object, row, 1);
            block.insert(id, Some(object).filter(Object::is_named));
            Ok(true)
        })?;
        Ok(block)
    }

    fn kept(&self) -> MutexGuard<'_, LruCache<BlockKey, Arc<Block>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on the rows of ranges in ascending order.
    fn in_order(
        &self,
        of: &VersionInfo,
        columns: &[(String, bool)],
        ranges: &[RangeInclusive<RowId>],
        each: &mut EachRow<'_>,
    ) -> Result<bool, Error> {
        let table = self.table(of)?;
        let mut goes_on = true;
        self.select(of, &table, columns, (&*within(ranges), ""), &mut |id, row| {
            goes_on = each(RowId::new(id), &After(row)).map_err(Error::Caller)?.is_continue();
            Ok(goes_on)
        })?;
        Ok(goes_on)
    }

    /// Passes on the rows of ranges in another order: buffered until all have arrived.
    fn out_of_order(
        &self,
        of: &VersionInfo,
        columns: &[(String, bool)],
        ranges: &[RangeInclusive<RowId>],
        each: &mut EachRow<'_>,
    ) -> Result<bool, Error> {
        let table = self.table(of)?;
        let mut held: HashMap<i64, RowBuffer> = HashMap::new();
        self.select(of, &table, columns, (&*within(ranges), ""), &mut |id, row| {
            held.insert(id, row.clone());
            Ok(true)
        })?;
        for id in ranges.iter().flat_map(|range| range.start().key()..=range.end().key()) {
            let Some(row) = held.get(&id) else { continue };
            if each(RowId::new(id), &After(row)).map_err(Error::Caller)?.is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The condition for some ranges of ids; contains only numbers.
fn within(ranges: &[RangeInclusive<RowId>]) -> String {
    if ranges.contains(&RowId::ALL) {
        return String::new();
    }
    let mut ids = Vec::new();
    let mut terms = Vec::new();
    for range in ranges {
        let (start, end) = (range.start().key(), range.end().key());
        match start == end {
            true => ids.push(start.to_string()),
            false => terms.push(format!("sys__id BETWEEN {start} AND {end}")),
        }
    }
    if !ids.is_empty() {
        terms.push(format!("sys__id IN ({})", ids.join(", ")));
    }
    format!("WHERE {}", terms.join(" OR "))
}

/// The number of columns that [`fill`] reads.
const PARTS: usize = 7;

/// SQL for the parts of a File, in the order of [`fill`].
fn parts(table: &Table, file: &FileColumn) -> Vec<(String, bool)> {
    let parts = [
        &file.source,
        &file.path,
        &file.size,
        &file.version,
        &file.etag,
        &file.last_modified,
        &file.location,
    ];
    let sql =
        |name: &Option<String>| name.as_deref().map_or("NULL".into(), |name| table.readable(name));
    parts.map(|name| (sql(name), false)).into()
}

/// Fills `object` from the cells at `at` and after.
fn fill(object: &mut Object, row: &RowBuffer, at: usize) {
    let text = |index: usize| match row.cell(at + index) {
        Cell::Text(text) | Cell::Blob(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    object.source = text(0);
    object.path.clear();
    if let Cell::Text(path) | Cell::Blob(path) = row.cell(at + 1) {
        object.path.extend_from_slice(path);
    }
    object.size = match row.cell(at + 2) {
        Cell::Integer(size) => u64::try_from(size).ok(),
        _ => None,
    };
    object.version = text(3);
    object.etag = text(4);
    object.last_modified = Timestamp::parse(&text(5));
    // The table may have no NULL; this stands for none.
    let location = text(6);
    let is_none = matches!(location.trim(), "" | "{}" | "[]" | "null");
    object.location = (!is_none).then_some(location);
}

impl Warehouse for Rows {
    fn schema_texts(&self, of: &VersionInfo) -> Result<SchemaTexts, Error> {
        let table = self.table(of)?;
        let (features, types) =
            self.metastore.read(|tables| versions::schema_texts(tables, of.id))?;
        let columns = table.columns.iter();
        let columns = columns.map(|known| (known.name.clone(), known.declared().into()));
        Ok((features, types, columns.collect()))
    }

    fn examples(
        &self,
        of: &VersionInfo,
        rows: Option<&[RowId]>,
        most: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        let table = self.table(of)?;
        let shown: Vec<&Known> =
            table.columns.iter().filter(|known| !known.name.starts_with("sys__")).collect();
        let columns: Vec<(String, bool)> =
            shown.iter().map(|known| (table.readable(&known.name), false)).collect();
        let ids: Option<Vec<RangeInclusive<RowId>>> = rows.map(|rows| {
            rows.iter().take(crate::catalog::sqlite::rows::EXAMPLES).map(|id| *id..=*id).collect()
        });
        let only = match &ids {
            Some(ids) if ids.is_empty() => return Ok(Vec::new()),
            Some(ids) => within(ids),
            None => String::new(),
        };
        // After the order of the whole statement: the server sends no more than is read.
        let last = format!("LIMIT {}", crate::catalog::sqlite::rows::EXAMPLES);
        let mut found: Vec<Option<String>> = vec![None; shown.len()];
        let mut left = crate::catalog::sqlite::rows::EXAMPLES;
        self.select(of, &table, &columns, (only.as_str(), last.as_str()), &mut |_, row| {
            for (at, example) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
                *example = printed(row.cell(at + 1)).map(|text| text.chars().take(most).collect());
            }
            left -= 1;
            Ok(left > 0)
        })?;
        let pairs = shown.into_iter().zip(found);
        Ok(pairs.filter_map(|(known, text)| Some((known.name.clone(), text?))).collect())
    }

    fn scan(
        &self,
        of: &VersionInfo,
        files: &[FileColumn],
        range: RangeInclusive<RowId>,
        each: &mut Each<'_>,
    ) -> Result<(), Error> {
        let table = self.table(of)?;
        let columns: Vec<_> = files.iter().flat_map(|file| parts(&table, file)).collect();
        let mut objects: Vec<Option<Object>> = vec![None; files.len()];
        self.select(of, &table, &columns, (&*within(&[range]), ""), &mut |id, row| {
            for (index, object) in objects.iter_mut().enumerate() {
                let mut next = object.take().unwrap_or_default();
                fill(&mut next, row, 1 + index * PARTS);
                *object = Some(next).filter(Object::is_named);
            }
            each(Row { id: RowId::new(id), objects: &objects }).map_err(Error::Caller)?;
            Ok(true)
        })
    }

    fn cells(
        &self,
        of: &VersionInfo,
        columns: &[String],
        ranges: &mut dyn Iterator<Item = RangeInclusive<RowId>>,
        each: &mut EachRow<'_>,
    ) -> Result<(), Error> {
        let table = self.table(of)?;
        let is_blob = |name: &String| table.column(name).is_some_and(|known| known.is_blob);
        let columns: Vec<(String, bool)> =
            columns.iter().map(|name| (table.readable(name), is_blob(name))).collect();
        let mut ranges = ranges.filter(|range| range.start() <= range.end()).peekable();
        while let Some(first) = ranges.next() {
            let mut batch = vec![first];
            let mut rises = true;
            let size = |range: &RangeInclusive<RowId>| {
                range.end().key().abs_diff(range.start().key()).saturating_add(1)
            };
            let mut held = size(&batch[0]);
            while batch.len() < RANGES
                && let Some(next) = ranges.peek()
            {
                let follows = batch.last().is_some_and(|last| last.end() < next.start());
                held = held.saturating_add(size(next));
                if (!rises || !follows) && held > HELD {
                    break;
                }
                rises &= follows;
                batch.extend(ranges.next());
            }
            let goes_on = match rises {
                true => self.in_order(of, &columns, &batch, each)?,
                false => self.out_of_order(of, &columns, &batch, each)?,
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    fn extent(&self, of: &VersionInfo) -> Result<Extent, Error> {
        let table = self.table(of)?;
        let sql = format!(
            "SELECT count(), toString(min(sys__id)), toString(max(sys__id)) FROM {} FORMAT TSV",
            table.name
        );
        let text = self.server.text(&sql, &[]).map_err(|error| gone(error, of, &table))?;
        let numbers: Option<Vec<i64>> =
            text.trim().split('\t').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some([0, ..]) => Ok(Extent::default()),
            Some(&[rows, first, last]) => Ok(Extent { rows: rows.unsigned_abs(), first, last }),
            _ => Err(Error::BadTable { of: of.to_string(), why: "an id is larger than 63 bits" }),
        }
    }

    fn object(&self, of: &VersionInfo, file: &FileColumn, row: RowId) -> Result<Found, Error> {
        // A removed version is refused, whatever is cached of it.
        let _table = self.table(of)?;
        let number = row.key().div_euclid(BLOCK);
        let key = (of.id, of.uuid.clone(), file.name.clone(), number);
        let kept = self.kept().get(&key).cloned();
        let block = match kept {
            Some(block) => block,
            None => {
                let first = number.saturating_mul(BLOCK);
                let last = first.saturating_add(BLOCK - 1);
                let range = RowId::new(first)..=RowId::new(last);
                let block = Arc::new(self.fetch(of, file, &within(&[range]))?);
                self.kept().put(key, block.clone());
                block
            }
        };
        Ok(match block.get(&row.key()) {
            Some(Some(object)) => Found::Object(object.clone()),
            Some(None) => Found::Nothing,
            None => Found::NoRow,
        })
    }

    fn objects(
        &self,
        of: &VersionInfo,
        file: &FileColumn,
        rows: &[RowId],
    ) -> Result<Vec<Option<Object>>, Error> {
        let mut found = Vec::with_capacity(rows.len());
        for some in rows.chunks(RANGES) {
            let ids: Vec<_> = some.iter().map(|id| *id..=*id).collect();
            let block = self.fetch(of, file, &within(&ids))?;
            found.extend(some.iter().map(|id| block.get(&id.key()).cloned().flatten()));
        }
        Ok(found)
    }

    fn remote(&self, of: &VersionInfo, column: &Column) -> Option<Remote> {
        let table = self.table(of).ok()?;
        let known = table.column(&column.column)?;
        let stored = Kind::parse(&known.kind)?.stored()?;
        (!known.is_blob).then(|| Remote { name: known.quoted.clone(), stored })
    }

    fn is_far(&self) -> bool {
        true
    }

    fn check(&self, of: &VersionInfo) -> Result<(), Error> {
        let revision = self.metastore.revision()?;
        let kept = || self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if kept().get(&of.id) == Some(&revision) {
            return Ok(());
        }
        match self.metastore.read(|tables| versions::alive(tables, of)) {
            Ok(_) => {
                kept().insert(of.id, revision);
                Ok(())
            }
            Err(Error::Server(error)) => {
                tracing::debug!(%error, "{of} is taken to exist until the metastore answers again");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn fetched(&self, of: &VersionInfo, columns: &[&str]) -> Option<u64> {
        let table = self.table(of).ok()?;
        let known = columns.iter().filter_map(|name| table.column(name));
        Some(known.map(|known| known.bytes).sum())
    }

    fn matching(
        &self,
        of: &VersionInfo,
        filter: &Sql,
        first: Option<RowId>,
    ) -> Result<Option<Matching>, Error> {
        let table = self.table(of)?;
        let ids = match first {
            Some(first) => format!("toUInt32(toInt64(sys__id) - {})", first.key()),
            None => "toUInt64(sys__id)".into(),
        };
        let sql = format!(
            "SELECT groupBitmapState({ids}) FROM {} WHERE {} FORMAT RowBinary",
            table.name, filter.text
        );
        let ask = Ask { sql: &sql, parameters: &filter.parameters };
        let state = self.server.whole(&ask).map_err(|error| gone(error, of, &table))?;
        let read = match first {
            Some(_) => bitmap(&state).map(Matching::Ordinals),
            None => treemap(&state).map(Matching::Ids),
        };
        read.map(Some).ok_or_else(|| self.server.odd("a bitmap that cannot be read").into())
    }

    fn groups(
        &self,
        of: &[&VersionInfo],
        ask: &GroupSql,
        most: usize,
        until: Option<Instant>,
    ) -> Result<Option<Vec<Group>>, Error> {
        let tables = of.iter().map(|of| self.table(of)).collect::<Result<Vec<_>, _>>()?;
        let groups = groups::ask(&self.server, &tables, ask, (most, until));
        groups.map_err(|error| match (of, &tables[..]) {
            ([of], [table]) => gone(error, of, table),
            _ => error.into(),
        })
    }

    fn count(&self, of: &VersionInfo, filter: &Sql) -> Result<u64, Error> {
        let table = self.table(of)?;
        let sql = format!("SELECT count() FROM {} WHERE {} FORMAT TSV", table.name, filter.text);
        let said = self.server.text(&sql, &filter.parameters);
        let said = said.map_err(|error| gone(error, of, &table))?;
        said.trim().parse().map_err(|_| self.server.odd("a count that is none").into())
    }
}

/// A cell as SQLite prints it.
fn printed(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::Integer(n) => Some(n.to_string()),
        Cell::Real(x) => Some(format!("{x:?}")),
        Cell::Text(text) | Cell::Blob(text) => Some(String::from_utf8_lossy(text).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_numbers() {
        let range = |a, b| RowId::new(a)..=RowId::new(b);
        assert_eq!(within(&[RowId::ALL]), "");
        assert_eq!(
            within(&[range(1, 5), range(9, 9)]),
            "WHERE sys__id BETWEEN 1 AND 5 OR sys__id IN (9)"
        );
    }
}
