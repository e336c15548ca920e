//! The rows of a version: its table is looked up in each transaction, then read by `sys__id`.
//!
//! A table is named after its dataset, which a person may rename at any time, so nothing about it
//! is kept beyond the transaction. DataChain renames the dataset first and the tables right after:
//! meanwhile a table is missing, so it is looked up a few times before that counts as an error.

use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row as SqlRow, Statement};

use super::cell;
use super::connect::Pool;
use crate::catalog::columns::{Columns, identifier};
use crate::catalog::error::Error;
use crate::catalog::warehouse::{Each, Found, SchemaTexts};
use crate::catalog::{Row, VersionInfo, versions};
use dcfs_core::cancel;
use dcfs_core::id::RowId;
use dcfs_core::name::DatasetName;
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;

/// Rows per transaction of a scan: about a tenth of a second.
pub(in crate::catalog) const SLICE: usize = 65_536;

/// The rows that examples are taken from.
pub const EXAMPLES: usize = 20;

/// Waits between look-ups of a missing table.
const WAITS: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
];

/// The rows of one version, during one transaction. Its alias in SQL is `t`.
pub(in crate::catalog) struct Table<'c> {
    connection: &'c Connection,
    of: &'c VersionInfo,
    name: String,
    quoted: String,
}

/// Runs `work` over the rows of `of`, in one transaction; may run it more than once.
pub(in crate::catalog) fn read<T>(
    pool: &Pool,
    of: &VersionInfo,
    mut work: impl FnMut(&Table<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    patiently(|| pool.read(|connection| work(&Table::of(connection, of)?)))
}

/// Retries while the table is missing.
pub(in crate::catalog) fn patiently<T>(
    mut ask: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    for wait in WAITS {
        match ask() {
            Err(Error::NoTable { .. }) if !cancel::is_hurried() => sleep(wait),
            answer => return answer,
        }
    }
    ask()
}

/// `ds_<namespace>_<project>_<name>_<version>`, as DataChain names it; `src_` for names like `s3://`.
pub(in crate::catalog) fn table_name(dataset: &DatasetName, version: &str) -> String {
    let DatasetName { namespace, project, name } = dataset;
    let scheme = name.split_once("://").map(|(scheme, _)| scheme);
    let is_uri = scheme.is_some_and(|scheme| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_alphanumeric() || c == '_')
    });
    let kind = if is_uri { "src" } else { "ds" };
    format!("{kind}_{namespace}_{project}_{name}_{}", version.replace('.', "_"))
}

impl<'c> Table<'c> {
    pub fn of(connection: &'c Connection, of: &'c VersionInfo) -> Result<Self, Error> {
        let dataset = versions::alive(connection, of)?;
        let name = table_name(&dataset, &of.version.to_string());
        let Some(quoted) = identifier(&name) else {
            return Err(Error::NoTable { of: of.to_string(), table: name });
        };
        Ok(Self { connection, of, name, quoted })
    }

    /// The columns of a table that exists and whose rows can be told apart.
    pub fn columns(&self) -> Result<Columns, Error> {
        let columns = Columns::of(self.connection, &self.name)?;
        if !columns.exist() {
            return Err(Error::NoTable { of: self.of.to_string(), table: self.name.clone() });
        }
        let bad = |why| Error::BadTable { of: self.of.to_string(), why };
        let keys: Vec<&str> =
            columns.iter().filter(|c| c.key).map(|column| column.name.as_str()).collect();
        match keys[..] {
            ["sys__id"] => Ok(columns),
            _ if columns.has("sys__id") => Err(bad("`sys__id` is not the key of their table")),
            _ => Err(bad("their table has no `sys__id`")),
        }
    }

    /// The quoted name.
    pub fn quoted(&self) -> &str {
        &self.quoted
    }

    /// The quoted name, if the table exists.
    pub fn quoted_if_there(&self) -> Result<Option<&str>, Error> {
        Ok(self.connection.table_exists(None, &*self.name)?.then_some(&*self.quoted))
    }

    /// The `sys__id` of the `count`th row from the row `first` on, counted from 1; `None` if there
    /// are fewer.
    pub fn nth(&self, first: i64, count: i64) -> Result<Option<i64>, Error> {
        let sql = format!(
            "SELECT sys__id FROM {} WHERE sys__id >= ?1 ORDER BY sys__id LIMIT 1 OFFSET ?2",
            self.quoted
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row([first, count - 1], |row| row.get(0)).optional()?)
    }

    /// Prepares a query over the rows, whose alias is `t`.
    pub fn prepare(&self, list: &[String], rest: &str) -> Result<CachedStatement<'_>, Error> {
        let sql = format!("SELECT {} FROM {} t {rest}", list.join(", "), self.quoted);
        Ok(self.connection.prepare_cached(&sql)?)
    }

    /// `SELECT sys__id` and the seven parts of each File column, for [`fill`]; `column` returns the
    /// SQL of each part.
    fn select(&self, files: &[FileColumn], column: impl Fn(&str) -> String) -> String {
        let parts = files.iter().flat_map(parts);
        let parts = parts.map(|name| name.map_or_else(|| "NULL".into(), &column));
        let list: Vec<String> = std::iter::once("t.sys__id".into()).chain(parts).collect();
        format!("SELECT {} FROM {} t", list.join(", "), self.quoted)
    }

    /// Reads one slice of a scan, of the rows `from..=to`. Returns where the next one begins.
    fn slice(
        &self,
        files: &[FileColumn],
        (from, to): (i64, i64),
        scratch: &mut Scratch,
        each: &mut Each<'_>,
    ) -> Result<Option<i64>, Error> {
        let columns = self.columns()?;
        let select = self.select(files, |name| columns.or_null("t", name));
        let sql = format!("{select} WHERE t.sys__id BETWEEN ?1 AND ?2 ORDER BY t.sys__id LIMIT ?3");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([from, to, SLICE as i64])?;
        let (mut count, mut last) = (0, from);
        while let Some(row) = rows.next()? {
            count += 1;
            last = row.get(0)?;
            let objects = scratch.read(row)?;
            each(Row { id: RowId::new(last), objects }).map_err(Error::Caller)?;
        }
        Ok(last.checked_add(1).filter(|next| count == SLICE && *next <= to))
    }

    /// `feature_schema`, `schema` and the table's columns: the arguments of
    /// [`dcfs_core::schema::Schema::parse`].
    pub fn schema_texts(&self) -> Result<SchemaTexts, Error> {
        let (features, types) = versions::schema_texts(self.connection, self.of.id)?;
        let columns = self.columns()?;
        let columns = columns.iter().map(|c| (c.name.clone(), c.declared.clone()));
        Ok((features, types, columns.collect()))
    }

    /// The row `row`.
    ///
    /// Runs for every open of a file, so the columns are assumed to exist, as they did when the
    /// schema was read; the table's columns are queried only if SQLite disagrees.
    pub fn object(&self, file: &FileColumn, row: RowId) -> Result<Found, Error> {
        let mut statement = self.by_row(file)?;
        found(&mut statement, row)
    }

    /// The objects of some rows; `None` for rows that name none or are gone.
    pub fn objects(&self, file: &FileColumn, rows: &[RowId]) -> Result<Vec<Option<Object>>, Error> {
        let mut statement = self.by_row(file)?;
        let object = |row: &RowId| {
            Ok(match found(&mut statement, *row)? {
                Found::Object(object) => Some(object),
                Found::Nothing | Found::NoRow => None,
            })
        };
        rows.iter().map(object).collect()
    }

    /// The statement for [`found`].
    fn by_row(&self, file: &FileColumn) -> Result<CachedStatement<'_>, Error> {
        let files = std::slice::from_ref(file);
        let sql = |select: String| format!("{select} WHERE t.sys__id = ?1");
        let believed = |name: &str| match identifier(name) {
            Some(quoted) => format!("t.{quoted}"),
            None => "NULL".into(),
        };
        match self.connection.prepare_cached(&sql(self.select(files, believed))) {
            Ok(statement) => Ok(statement),
            Err(_) => {
                let columns = self.columns()?;
                let known = |name: &str| columns.or_null("t", name);
                Ok(self.connection.prepare_cached(&sql(self.select(files, known)))?)
            }
        }
    }

    /// First and last `sys__id`; `None` if there are no rows.
    pub fn ends(&self) -> Result<Option<(i64, i64)>, Error> {
        self.columns()?;
        // Two subqueries: SQLite looks up one end by the key, but scans for both at once.
        let end = |which: &str| format!("(SELECT {which}(sys__id) FROM {})", self.quoted);
        let sql = format!("SELECT {}, {}", end("min"), end("max"));
        let ends = self.connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(match ends {
            (Some(first), Some(last)) => Some((first, last)),
            _ => None,
        })
    }

    /// Counts the rows: reads the whole table.
    ///
    /// SQLite answers `count(*)` in one step of its machine, during which neither the bound on steps nor giving up is asked; of a
    /// column it goes from row to row.
    pub fn count(&self) -> Result<u64, Error> {
        let sql = format!("SELECT count(sys__id) FROM {}", self.quoted);
        let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// See [`crate::catalog::Catalog::examples`].
    pub fn examples(
        &self,
        rows: Option<&[RowId]>,
        most: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        let columns = self.columns()?;
        let names = columns.iter().map(|column| column.name.as_str());
        let names: Vec<&str> = names.filter(|name| !name.starts_with("sys__")).collect();
        let list: Vec<String> = names.iter().map(|name| columns.or_null("t", name)).collect();
        let list = if list.is_empty() { "NULL".into() } else { list.join(", ") };
        let ids = rows.map(|rows| &rows[..rows.len().min(EXAMPLES)]);
        let only = ids.map_or(String::new(), |ids| {
            format!("WHERE t.sys__id IN ({})", vec!["?"; ids.len()].join(", "))
        });
        let sql = format!(
            "SELECT {list} FROM {} t {only} ORDER BY t.sys__id LIMIT {EXAMPLES}",
            self.quoted
        );
        let mut statement = self.connection.prepare(&sql)?;
        let ids = ids.unwrap_or_default().iter().map(|id| id.key());
        let mut rows = statement.query(rusqlite::params_from_iter(ids))?;
        let mut found: Vec<Option<String>> = vec![None; names.len()];
        while let Some(row) = rows.next()? {
            for (at, example) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
                *example = cell::text(row.get_ref(at)?).map(|text| cut(text, most));
            }
        }
        let pairs = names.into_iter().zip(found);
        Ok(pairs.filter_map(|(name, text)| Some((name.to_owned(), text?))).collect())
    }
}

/// See [`crate::catalog::Catalog::scan`].
pub(in crate::catalog) fn scan(
    pool: &Pool,
    of: &VersionInfo,
    files: &[FileColumn],
    within: RangeInclusive<RowId>,
    each: &mut Each<'_>,
) -> Result<(), Error> {
    let mut scratch = Scratch::new(files.len());
    let mut next = Some(within.start().key());
    while let Some(from) = next {
        next = slice(pool, of, files, (from, within.end().key()), &mut scratch, each)?;
    }
    Ok(())
}

/// [`Table::slice`] in a transaction of its own. A row is never passed on twice.
fn slice(
    pool: &Pool,
    of: &VersionInfo,
    files: &[FileColumn],
    ends: (i64, i64),
    scratch: &mut Scratch,
    each: &mut Each<'_>,
) -> Result<Option<i64>, Error> {
    patiently(|| {
        pool.read_once(|connection| Table::of(connection, of)?.slice(files, ends, scratch, each))
    })
}

/// One object per File column, reused for every row, with its buffers.
struct Scratch {
    objects: Vec<Option<Object>>,
    /// Holds an object while its row names none.
    spare: Vec<Object>,
}

impl Scratch {
    fn new(files: usize) -> Self {
        Self { objects: vec![None; files], spare: vec![Object::default(); files] }
    }

    fn read(&mut self, row: &SqlRow<'_>) -> Result<&[Option<Object>], Error> {
        for (index, (slot, spare)) in self.objects.iter_mut().zip(&mut self.spare).enumerate() {
            let mut object = slot.take().unwrap_or_else(|| std::mem::take(spare));
            fill(&mut object, row, 1 + index * PARTS)?;
            if object.is_named() {
                *slot = Some(object);
            } else {
                *spare = object;
            }
        }
        Ok(&self.objects)
    }
}

/// The object of one row, by the statement for one File column.
fn found(statement: &mut Statement<'_>, row: RowId) -> Result<Found, Error> {
    let mut rows = statement.query([row.key()])?;
    let Some(row) = rows.next()? else { return Ok(Found::NoRow) };
    let mut object = Object::default();
    fill(&mut object, row, 1)?;
    Ok(if object.is_named() { Found::Object(object) } else { Found::Nothing })
}

/// The number of columns that [`fill`] reads.
const PARTS: usize = 7;

/// The database columns of a File, in the order of [`fill`].
fn parts(file: &FileColumn) -> [Option<&str>; PARTS] {
    [
        &file.source,
        &file.path,
        &file.size,
        &file.version,
        &file.etag,
        &file.last_modified,
        &file.location,
    ]
    .map(|part| part.as_deref())
}

/// Fills `object` from the cells at `at` and after.
fn fill(object: &mut Object, row: &SqlRow<'_>, at: usize) -> Result<(), Error> {
    cell::text_into(row.get_ref(at)?, &mut object.source);
    cell::bytes_into(row.get_ref(at + 1)?, &mut object.path);
    object.size = cell::unsigned(row.get_ref(at + 2)?);
    cell::text_into(row.get_ref(at + 3)?, &mut object.version);
    cell::text_into(row.get_ref(at + 4)?, &mut object.etag);
    object.last_modified = cell::time(row.get_ref(at + 5)?);
    object.location = cell::text(row.get_ref(at + 6)?);
    Ok(())
}

/// The first `most` characters.
fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_as_datachain_names_them() {
        let name = |namespace: &str, project: &str, name: &str| DatasetName {
            namespace: namespace.into(),
            project: project.into(),
            name: name.into(),
        };
        let cases = [
            (name("local", "local", "pets_images"), "ds_local_local_pets_images_1_0_0"),
            (
                name("system", "listing", "lst__s3://bkt/a/"),
                "src_system_listing_lst__s3://bkt/a/_1_0_0",
            ),
            (name("a", "b", "x y\"\n"), "ds_a_b_x y\"\n_1_0_0"),
            (name("a", "b", "://x"), "ds_a_b_://x_1_0_0"),
            (name("a", "b", "s 3://x"), "ds_a_b_s 3://x_1_0_0"),
            (name("a", "b", "\u{e9}3://x"), "src_a_b_\u{e9}3://x_1_0_0"),
        ];
        for (dataset, want) in cases {
            assert_eq!(table_name(&dataset, "1.0.0"), want);
        }
    }

    #[test]
    fn a_cut_is_at_a_character() {
        let cases =
            [("abc", 2, "ab"), ("abc", 3, "abc"), ("\u{e9}\u{e9}", 1, "\u{e9}"), ("a", 0, "")];
        for (text, most, want) in cases {
            assert_eq!(cut(text.into(), most), want, "{text} {most}");
        }
    }
}
