//! Rows on their way into ClickHouse: a table without a version. Rows of versions that are there never leave the server.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::encode::Column;
use super::gather::{Gathered, Taken};
use super::life::{self, Life};
use super::{Servers, number};
use crate::catalog::ask::bound;
use crate::catalog::error::Error;
use crate::catalog::split::error::ServerError;
use crate::catalog::split::http::{Ask, ClickHouse};
use crate::catalog::split::select;
use crate::catalog::split::table::{self, Table, identifier};
use crate::catalog::split::types::Kind;
use crate::catalog::write::naming::Places;
use crate::catalog::write::preview;
use crate::catalog::write::publish::{self, Copied, Counted, Publication, Saved, Staged};
use crate::catalog::write::{KEPT, Piece, Refused, Watch};
use crate::catalog::{Digest, VersionInfo};
use dcfs_core::cell::Cell;
use dcfs_core::expr::sql::Sql;
use dcfs_core::id::{RowId, VersionId};
use dcfs_core::schema::{Layout, NewColumn};

/// A range of more rows is copied by itself.
const LONG: u64 = 4096;

/// Ids that one statement copies at most, where it has to count rows: the server sorts no more.
const STRETCH: u64 = 1 << 22;

/// A new version's rows in ClickHouse; see [`crate::catalog::Stage`].
#[derive(Debug)]
pub struct ServerStage<'w> {
    servers: &'w mut Servers,
    layout: Layout,
    columns: Vec<Column>,
    life: Option<Life>,
    /// For SQL.
    table: String,
    /// The `sys__id` of the next row.
    next: i64,
    gathered: Gathered,
    watch: Watch<'w>,
}

impl<'w> ServerStage<'w> {
    pub fn begin(servers: &'w mut Servers, layout: Layout) -> Result<Self, Error> {
        if let Some(column) = layout.columns.iter().find(|column| column.name.contains('\0')) {
            return Err(Refused::Column(column.name.clone()).into());
        }
        let columns = Column::all(&layout);
        let life = servers.live()?;
        let table = servers.quoted(&life.table());
        let own: String =
            columns.iter().map(|column| format!(", {} {}", column.quoted, column.kind())).collect();
        let sql = format!(
            "CREATE TABLE {table} (sys__id UInt64, sys__rand UInt64 DEFAULT bitShiftRight(rand64(), 1){own}) \
             ENGINE = MergeTree ORDER BY sys__id COMMENT '{}'",
            life.comment()
        );
        let id = life.id().to_owned();
        // From here on a failure drops the stage, and with it the table if it was made.
        let stage = Self {
            servers,
            layout,
            columns,
            life: Some(life),
            table,
            next: 1,
            gathered: Gathered::default(),
            watch: Watch::nobody(),
        };
        stage.servers.brief(|write| life::note(write, &id)).map_err(life::undone)?;
        stage.servers.server.run(&sql, &[], None)?;
        Ok(stage)
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn watch(&mut self, watch: Watch<'w>) {
        self.watch = watch;
    }

    /// The rows that are there, all of them sent.
    pub fn rows(&mut self) -> Result<u64, Error> {
        self.send()?;
        self.count()
    }

    /// See [`crate::catalog::Stage::digest`].
    pub fn digest(&mut self, each: &dyn Fn(u64)) -> Result<(u64, Digest), Error> {
        self.send()?;
        let plain = self.life.as_ref().map(Life::table).unwrap_or_default();
        let columns = table::describe(self.server(), &plain, &self.layout.types)?;
        let table = Table { name: self.table.clone(), plain, columns };
        select::digest(self.server(), &table, &self.layout, each)
    }

    fn count(&self) -> Result<u64, Error> {
        let sql = format!("SELECT count() FROM {} FORMAT TSV", self.table);
        Ok(number(&self.servers.server, &sql, &[])?.unsigned_abs())
    }

    /// See [`crate::catalog::Stage::mix`].
    pub fn mix<'r, R: AsRef<[Cell<'r>]>>(
        &mut self,
        of: &[VersionInfo],
        names: &[&str],
        pieces: impl IntoIterator<Item = Piece<R>>,
    ) -> Result<(), Error> {
        let order = cell_order(&self.columns, names);
        let keeps = names == KEPT;
        for piece in pieces {
            match piece {
                Piece::New(cells) => {
                    let cells = cells.as_ref();
                    let (at, rand) = match (keeps, cells.get(self.columns.len()..)) {
                        (true, Some(&[rand, Cell::Integer(id)])) => (id, Some(rand)),
                        (true, _) => return Err(self.server().odd("a row without an id").into()),
                        (false, _) => (self.place(1)?, None),
                    };
                    let cell = |from: &usize| cells.get(*from).copied().unwrap_or_default();
                    let cells: Vec<Cell<'_>> = order.iter().map(cell).collect();
                    self.gathered.add((at, rand), &self.columns, &cells)?;
                }
                Piece::Row(number, id, cells) => {
                    let at = self.place(1)?;
                    let columns = given(&self.columns, names);
                    self.gathered.take((at, &of[number], id.key()), &columns, cells.as_ref())?;
                }
                Piece::Rows(number, range) => self.range(&of[number], range)?,
            }
            if self.gathered.is_full() {
                self.send()?;
            }
        }
        Ok(())
    }

    /// See [`crate::catalog::Stage::select`].
    pub fn select(&mut self, of: &VersionInfo, filter: &Sql) -> Result<bool, Error> {
        self.copy(of, RowId::ALL, Some(filter))?;
        Ok(true)
    }

    /// Places for so many rows; the first.
    fn place(&mut self, rows: i64) -> Result<i64, Error> {
        let at = self.next;
        self.next = at.checked_add(rows).ok_or_else(|| self.server().odd("ids without end"))?;
        Ok(at)
    }

    fn server(&self) -> &ClickHouse {
        &self.servers.server
    }

    /// Some rows of a version as they are: few by their ids, many by a statement of their own.
    fn range(&mut self, of: &VersionInfo, range: RangeInclusive<RowId>) -> Result<(), Error> {
        let (first, last) = (range.start().key(), range.end().key());
        if first > last {
            return Ok(());
        }
        if last.abs_diff(first) >= LONG {
            return self.copy(of, range, None);
        }
        for id in first..=last {
            let at = self.place(1)?;
            self.gathered.take((at, of, id), &[], &[])?;
        }
        Ok(())
    }

    /// Copies the rows of a range for which `filter` is true, in the order of their ids.
    fn copy(
        &mut self,
        of: &VersionInfo,
        range: RangeInclusive<RowId>,
        filter: Option<&Sql>,
    ) -> Result<(), Error> {
        let table = self.servers.table(of)?;
        let parameters = filter.map(|filter| filter.parameters.as_slice()).unwrap_or_default();
        let (names, values) = self.copied(&table, &[]);
        let (first, last) = (range.start().key(), range.end().key());
        let sql = format!(
            "SELECT count(), toInt64(min(sys__id)), toInt64(max(sys__id)) FROM {} \
             WHERE toInt64(sys__id) BETWEEN {first} AND {last} FORMAT TSV",
            table.name
        );
        let Some((rows, first, last)) = self.extent(&sql)? else { return Ok(()) };
        if first < 0 && !is_signed(&table) {
            let why = "an id is larger than 63 bits";
            return Err(Error::BadTable { of: of.to_string(), why });
        }
        let before = self.count()?;
        let is_dense = last.abs_diff(first).checked_add(1) == Some(rows);
        if is_dense && filter.is_none() {
            let at = self.place(rows.cast_signed())?;
            let sql = format!(
                "INSERT INTO {} ({names}) SELECT toUInt64(toInt64(sys__id) - {first} + {at}){values} FROM {} \
                 WHERE sys__id BETWEEN {first} AND {last}",
                self.table, table.name
            );
            self.server().run(&sql, &[], None)?;
            self.watch.tell(self.next.unsigned_abs() - 1);
            return self.check_copied(of, before, rows);
        }
        let condition = filter.map(|filter| format!(" AND ({})", filter.text)).unwrap_or_default();
        let mut there = before;
        let mut from = first;
        while from <= last {
            let to = self.stretch(&table, (from, last), is_dense)?;
            let within = format!("sys__id BETWEEN {from} AND {to}{condition}");
            let sql = format!(
                "INSERT INTO {} ({names}) SELECT {} + row_number() OVER (ORDER BY sys__id){values} \
                 FROM {} WHERE {within}",
                self.table,
                self.next - 1,
                table.name
            );
            self.server().run(&sql, parameters, None)?;
            let now = self.count()?;
            self.place(now.saturating_sub(there).cast_signed())?;
            there = now;
            self.watch.tell(self.next.unsigned_abs() - 1);
            let Some(next) = to.checked_add(1) else { break };
            from = next;
        }
        match filter {
            Some(_) => Ok(()),
            None => self.check_copied(of, before, rows),
        }
    }

    /// Checks that a copy added all rows of its range.
    fn check_copied(&self, of: &VersionInfo, before: u64, rows: u64) -> Result<(), Error> {
        match self.count()?.checked_sub(before) {
            Some(copied) if copied == rows => Ok(()),
            copied => {
                let copied = copied.unwrap_or_default();
                Err(self
                    .server()
                    .odd(format!("it copied {copied} of {rows} rows of `{of}`"))
                    .into())
            }
        }
    }

    /// Where a stretch of rows ends that begins at an id.
    fn stretch(
        &self,
        table: &Table,
        (from, last): (i64, i64),
        is_dense: bool,
    ) -> Result<i64, Error> {
        if is_dense {
            return Ok(from.saturating_add_unsigned(STRETCH - 1).min(last));
        }
        let sql = format!(
            "SELECT toInt64(max(id)) FROM (SELECT sys__id AS id FROM {} WHERE sys__id BETWEEN {from} AND {last} \
             ORDER BY sys__id LIMIT {STRETCH}) FORMAT TSV",
            table.name
        );
        Ok(number(self.server(), &sql, &[])?.clamp(from, last))
    }

    /// How many rows, and their first and last ids; `None` for none.
    fn extent(&self, sql: &str) -> Result<Option<(u64, i64, i64)>, Error> {
        let text = self.server().text(sql, &[])?;
        let numbers: Option<Vec<i64>> =
            text.trim().split('\t').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some([0, ..]) => Ok(None),
            Some(&[rows, first, last]) => Ok(Some((rows.unsigned_abs(), first, last))),
            _ => Err(self.server().odd("a count that is none").into()),
        }
    }

    /// The columns of rows that are copied, and SQL for their values; of `given` they are sent, as `__dcfs_0` and on.
    fn copied(&self, table: &Table, given: &[&str]) -> (String, String) {
        let (mut names, mut values) = ("sys__id".to_owned(), String::new());
        if table.column("sys__rand").is_some() {
            names.push_str(", sys__rand");
            values.push_str(", sys__rand");
        }
        for column in &self.columns {
            names.push_str(&format!(", {}", column.quoted));
            values.push_str(", ");
            values.push_str(&match given.iter().position(|name| *name == column.name) {
                Some(at) => format!("__dcfs_{at}"),
                None => {
                    let readable = table.readable(&column.name);
                    column.taken(table.column(&column.name), readable)
                }
            });
        }
        (names, values)
    }

    /// Sends what is gathered.
    fn send(&mut self) -> Result<(), Error> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        if !gathered.new.is_empty() {
            self.send_new(gathered.new, "")?;
        }
        if !gathered.kept.is_empty() {
            self.send_new(gathered.kept, ", sys__rand")?;
        }
        for ((_, _, names), taken) in gathered.taken {
            self.send_taken(&names, taken)?;
        }
        self.watch.tell(self.next.unsigned_abs() - 1);
        Ok(())
    }

    fn send_new(&self, body: Vec<u8>, rand: &str) -> Result<(), Error> {
        let names: String =
            self.columns.iter().map(|column| format!(", {}", column.quoted)).collect();
        let sql = format!("INSERT INTO {} (sys__id{rand}{names}) FORMAT RowBinary", self.table);
        Ok(self.server().run(&sql, &[], Some(body))?)
    }

    /// Joins what was sent with the rows that are there.
    fn send_taken(&mut self, names: &[String], taken: Taken) -> Result<(), Error> {
        let table = self.servers.table(&taken.of)?;
        let given: Vec<&str> = names.iter().map(String::as_str).collect();
        let (columns, values) = self.copied(&table, &given);
        let sent: String = self::given(&self.columns, &given)
            .iter()
            .enumerate()
            .map(|(at, column)| format!(", __dcfs_{at} {}", column.sent().replace('\'', "\\'")))
            .collect();
        let sql = format!(
            "INSERT INTO {} ({columns}) SELECT __dcfs_at{values} FROM {} \
             INNER JOIN (SELECT * FROM input('__dcfs_at UInt64, __dcfs_row Int64{sent}')) AS sent \
             ON toInt64(sys__id) = __dcfs_row WHERE sys__id BETWEEN {} AND {} FORMAT RowBinary",
            self.table, table.name, taken.first, taken.last
        );
        Ok(self.server().run(&sql, &[], Some(taken.body))?)
    }
}

/// Publishing, and giving up.
impl ServerStage<'_> {
    /// See [`crate::catalog::Stage::publish`].
    pub fn publish(
        mut self,
        publication: &Publication<'_>,
        copied: Option<&Copied<'_>>,
    ) -> Result<Saved, Error> {
        self.send()?;
        let counted = self.counted()?;
        let Some(life) = self.life.as_ref() else { return Err(Refused::StageLost.into()) };
        let place = Place { server: &self.servers.server.clone(), stage: &life.table() };
        let uuid = publish::uuid_of(copied);
        let done = self.servers.brief(|write| {
            life::is_held(write, life)?;
            life::published(write, life.id())?;
            let publication = (publication, copied);
            publish::register(write, &place, &self.layout, (&uuid, &counted), publication)
        });
        let saved = match done {
            Err(Error::Server(error)) => {
                self.is_saved_after_all(error, (&uuid, &counted), publication)
            }
            done => done,
        }?;
        if let Some(life) = self.life.take() {
            self.servers.end(life);
        }
        Ok(saved)
    }

    /// The connection may be lost behind the word that ends the transaction: then the metastore is asked what became of it.
    fn is_saved_after_all(
        &mut self,
        error: ServerError,
        (uuid, counted): (&str, &Counted),
        publication: &Publication<'_>,
    ) -> Result<Saved, Error> {
        let Some(life) = self.life.as_ref() else { return Err(error.into()) };
        if !self.servers.is_settled(life) {
            return Err(error.into());
        }
        let sql = "SELECT id, version FROM datasets_versions WHERE uuid = ?1";
        let found = self.servers.ask(|tables| tables.first(sql, bound![uuid]));
        let row = match found {
            Ok(Some(row)) => row,
            Ok(None) => return Err(error.undone().into()),
            Err(_) => return Err(error.into()),
        };
        let version = row.text(1).and_then(|text| text.parse().ok());
        let (Some(id), Some(version)) = (row.integer(0), version) else { return Err(error.into()) };
        Ok(Saved {
            id: VersionId::from_catalog(id),
            dataset: publication.name.clone(),
            version,
            uuid: uuid.to_owned(),
            rows: counted.rows,
            size: counted.size.and_then(|size| size.try_into().ok()),
        })
    }

    fn counted(&self) -> Result<Counted, Error> {
        let sizes = self.columns.iter().filter(|column| self.layout.sizes.contains(&column.name));
        let sizes: Vec<String> =
            sizes.map(|column| format!("toInt128({})", column.quoted)).collect();
        let sum = if sizes.is_empty() { "toInt128(0)".into() } else { sizes.join(" + ") };
        let sql = format!("SELECT count(), toString(sum({sum})) FROM {} FORMAT TSV", self.table);
        let said = self.server().text(&sql, &[])?;
        let (rows, size) = said.trim_end().split_once('\t').unwrap_or_default();
        let rows: u64 = rows.parse().map_err(|_| self.server().odd("a count that is none"))?;
        let size = size.parse().ok().filter(|_| rows > 0);
        Ok(Counted { rows, size, preview: self.preview()? })
    }

    /// The first rows, as DataChain keeps them beside a version.
    fn preview(&self) -> Result<String, Error> {
        let list: String =
            self.columns.iter().map(|column| format!(", {}", column.quoted)).collect();
        let sql = format!(
            "SELECT sys__id, sys__rand{list} FROM {} ORDER BY sys__id LIMIT {} FORMAT RowBinaryWithNamesAndTypes",
            self.table,
            preview::ROWS
        );
        let columns: Vec<&NewColumn> = self.layout.columns.iter().collect();
        let mut blobs = vec![false; 2];
        blobs.extend(columns.iter().map(|column| column.declared == "BINARY"));
        let mut rows = Vec::new();
        let answer = self.server().whole(&Ask { sql: &sql, parameters: &[] })?;
        select::few(self.server(), &answer, blobs, &mut |row| {
            rows.push(preview::row(&columns, row))
        })?;
        Ok(Value::Array(rows).to_string())
    }
}

/// Where a stage is, for who gives it a name.
struct Place<'s> {
    server: &'s ClickHouse,
    stage: &'s str,
}

impl Places for Place<'_> {
    fn has_table(&self, table: &str) -> Result<bool, Error> {
        self.server.has_table(table)
    }
}

impl Staged for Place<'_> {
    fn becomes(&self, table: &str) -> Result<(), Error> {
        let database = identifier(&self.server.database);
        let [from, to] = [self.stage, table].map(identifier);
        let sql = format!("RENAME TABLE {database}.{from} TO {database}.{to}");
        Ok(self.server.run_briefly(&sql)?)
    }
}

/// Gives up what was not published. What cannot be dropped now is left to the next writer.
impl Drop for ServerStage<'_> {
    fn drop(&mut self) {
        let Some(life) = self.life.take() else { return };
        let dropped = match self.servers.locks(&life) {
            Ok(true) => self.servers.drop_stage(life),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = dropped {
            tracing::debug!(%error, "a stage is left to the next writer");
        }
    }
}

/// Whether the ids of a table may be negative; else such a number is one above 63 bits.
fn is_signed(table: &Table) -> bool {
    let id = table.column("sys__id").and_then(|id| Kind::parse(&id.kind));
    matches!(id, Some(Kind::Int(_, true)))
}

/// Where the cell of each column is in a row of no version: those of `names` stand last.
fn cell_order(columns: &[Column], names: &[&str]) -> Vec<usize> {
    let others = columns.iter().filter(|column| !names.contains(&column.name.as_str())).count();
    let mut next = 0;
    let place = |column: &Column| match names.iter().position(|name| *name == column.name) {
        Some(at) => others + at,
        None => {
            next += 1;
            next - 1
        }
    };
    columns.iter().map(place).collect()
}

/// The columns of these names, in their order.
fn given<'c>(columns: &'c [Column], names: &[&str]) -> Vec<&'c Column> {
    names.iter().filter_map(|name| columns.iter().find(|column| column.name == *name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::catalog::split::table::Known;

    #[test]
    fn only_signed_ids_may_be_negative() {
        for (kind, is) in [("Int64", true), ("Int32", true), ("UInt64", false), ("String", false)] {
            let id = Known {
                name: "sys__id".into(),
                quoted: "`sys__id`".into(),
                kind: kind.into(),
                is_blob: false,
                is_json: false,
                is_list: false,
                bytes: 0,
            };
            let table = Table { name: "t".into(), plain: "t".into(), columns: vec![id] };
            assert_eq!(is_signed(&table), is, "{kind}");
        }
    }

    #[test]
    fn cells_of_columns_that_are_given_stand_last() {
        let names = ["a", "b", "c", "d"];
        let columns = names.map(|name| NewColumn { name: name.into(), declared: "INTEGER" });
        let layout = Layout { columns: columns.into(), ..Layout::default() };
        let columns = Column::all(&layout);
        assert_eq!(cell_order(&columns, &[]), [0, 1, 2, 3]);
        assert_eq!(cell_order(&columns, &["c", "a"]), [3, 0, 2, 1]);
    }
}
