//! The connection that statements run on, and its limits.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::vtab::Module;
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement as Prepared};
use serde_json::Value as Json;

use super::table::{Table, TableColumns, declared};
use super::{aggregates, functions};
use crate::catalog::Budget;
use dcfs_core::cancel;
use dcfs_core::cell::Cell;
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::expr::{Group, Val};
use dcfs_core::schema::ValueType;
use dcfs_core::sql::{Bound, GROUPS, Known, nearest_name, quoted, table_name};

/// The longest text or blob by default, and the most allowed, in bytes: the result of `group_concat` or `collect` over a column.
const LONGEST: i32 = 64 << 20;

/// The most pairs of rows of a join by kernels: 512 MiB of numbers.
const MOST_PAIRS: u64 = 1 << 26;

/// The longest statement as passed to SQLite: every column of a wide table with its names.
const LONGEST_SQL: i32 = 4 << 20;

/// Steps of SQLite's virtual machine between checks of the clock: some 10 microseconds.
const STEPS: i32 = 1000;

/// The name of the module of virtual tables.
const MODULE: &str = "dcfs";

const TABLES: &Module<'static, Table> = &Module::read_only_module();

/// Limits for a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest time that SQLite may run. Messages name it.
    pub time: Duration,
    /// The caller's deadline, for kernels and SQLite alike. `None`: only `time` counts.
    pub until: Option<Instant>,
    /// The most memory that SQLite may use for this statement, in bytes.
    pub memory: u64,
    /// The longest text or blob, in bytes. Without `spills` also the most bytes of a row.
    pub length: i32,
    /// The most pairs of rows that a join by kernels may make.
    pub pairs: u64,
    /// Whether large sorts may use temporary files. Without, they count as memory: for a mount,
    /// whose disk is everybody's.
    pub spills: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            until: None,
            memory: 1 << 30,
            length: LONGEST,
            pairs: MOST_PAIRS,
            spills: true,
        }
    }
}

impl Limits {
    /// When a statement that starts now must end: the caller's deadline or after `time`, whichever
    /// is first. `None` where neither bounds it.
    pub fn deadline(&self) -> Option<Instant> {
        let own = Instant::now().checked_add(self.time);
        self.until.into_iter().chain(own).min()
    }

    /// Fails once the caller's deadline has passed, or nobody waits any more.
    ///
    /// # Errors
    /// [`Error::TooLong`]; as [`cancel::check`].
    pub fn check(&self) -> Result<()> {
        cancel::check()?;
        match self.until.is_some_and(|until| Instant::now() >= until) {
            true => Err(Error::TooLong(self.time).into()),
            false => Ok(()),
        }
    }
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the statement took longer than {} s and was stopped; ask for less, or allow it more: --timeout", .0.as_secs_f64())]
    TooLong(Duration),
    #[error("the statement needs more than {} MiB of memory; ask for fewer groups or rows, or allow it more: --memory", .0 >> 20)]
    TooMuchMemory(u64),
    #[error("a value of the answer is longer than {} MiB", .0 >> 20)]
    TooLarge(i32),
    #[error("a row of the answer is longer than {} MiB", .0 >> 20)]
    LongRow(i32),
    #[error(
        "the disk for temporary files is full; free some of it, or name another: SQLITE_TMPDIR"
    )]
    Full,
    #[error("{0}")]
    Sqlite(String),
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Full => Kind::NoSpace,
            _ => Kind::Invalid,
        };
        Self::new(kind, error)
    }
}

/// A connection without a database file, and the tables of one statement.
pub struct Engine {
    connection: Connection,
    limits: Limits,
    /// Whether it was stopped for its use of memory.
    is_greedy: Arc<AtomicBool>,
    /// Dropped after the connection.
    _budget: Budget,
}

/// A prepared statement.
pub struct Answer<'e> {
    engine: &'e Engine,
    bound: &'e Bound,
    statement: Prepared<'e>,
}

/// A column of a result and, if it is one of a table, the index of that table and the name of the
/// column.
pub type AnswerColumn = (String, Option<(usize, String)>);

impl Engine {
    /// A connection with `tables`, indexed as in the statement. `None` is for a table that
    /// [`Engine::plain`] creates.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn new(limits: Limits, tables: Vec<Option<Arc<TableColumns>>>) -> Result<Self> {
        let engine = Self::open(limits).map_err(|error| plain(&error))?;
        let numbers: Vec<usize> =
            (0..tables.len()).filter(|number| tables[*number].is_some()).collect();
        let connection = &engine.connection;
        let made = connection.create_module(MODULE, TABLES, Some(tables)).and_then(|()| {
            numbers.into_iter().try_for_each(|number| {
                let name = quoted(&table_name(number));
                connection
                    .execute_batch(&format!("CREATE VIRTUAL TABLE {name} USING {MODULE}({number})"))
            })
        });
        made.map_err(|error: rusqlite::Error| engine.unmade(&error))?;
        Ok(engine)
    }

    fn open(limits: Limits) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let budget = Budget::begin(limits.memory);
        let mut connection = Connection::open_with_flags(Path::new(":memory:"), flags)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limits.length.clamp(1, LONGEST))?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST_SQL)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        let temporary = if limits.spills { "FILE" } else { "MEMORY" };
        connection.pragma_update(None, "temp_store", temporary)?;
        functions::add(&connection)?;
        aggregates::add(&connection)?;
        let is_greedy = Arc::default();
        watch(&mut connection, limits.until, &is_greedy)?;
        Ok(Self { connection, limits, is_greedy, _budget: budget })
    }

    /// Creates a table that is not a dataset.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn plain(&self, number: usize, known: &Known, rows: Vec<Vec<Json>>) -> Result<()> {
        let columns: Vec<String> = known
            .columns
            .iter()
            .map(|column| format!("{} {}", quoted(&column.name), declared(&column.value)))
            .collect();
        let name = quoted(&table_name(number));
        let places = vec!["?"; columns.len()].join(", ");
        let made = (|| {
            self.connection
                .execute_batch(&format!("CREATE TABLE {name}({})", columns.join(", ")))?;
            let mut insert =
                self.connection.prepare(&format!("INSERT INTO {name} VALUES ({places})"))?;
            for row in rows {
                insert.execute(rusqlite::params_from_iter(row.into_iter().map(cell)))?;
            }
            Ok(())
        })();
        made.map_err(|error: rusqlite::Error| self.unmade(&error))
    }

    /// Creates the table of groups, with keys of these types: they are compared like the columns that they
    /// are of. Aggregates have no type, as in SQLite.
    ///
    /// # Errors
    /// Errors of SQLite; [`Error::TooMuchMemory`].
    pub fn groups(&self, groups: &[Group], keys: &[&ValueType], folds: usize) -> Result<()> {
        let keys = keys.iter().enumerate().map(|(k, value)| format!("k{k} {}", declared(value)));
        let columns: Vec<String> = keys.chain((0..folds).map(|a| format!("a{a}"))).collect();
        let name = quoted(GROUPS);
        let places = vec!["?"; columns.len()].join(", ");
        let made = (|| {
            self.connection
                .execute_batch(&format!("CREATE TABLE {name}({})", columns.join(", ")))?;
            let mut insert =
                self.connection.prepare(&format!("INSERT INTO {name} VALUES ({places})"))?;
            self.connection.execute_batch("BEGIN")?;
            for (keys, folds) in groups {
                for (at, value) in keys.iter().chain(folds).enumerate() {
                    insert.raw_bind_parameter(at + 1, bindable(value))?;
                }
                insert.raw_execute()?;
            }
            self.connection.execute_batch("COMMIT")
        })();
        made.map_err(|error: rusqlite::Error| self.unmade(&error))
    }

    /// Creates a table of nearest rows: of which row, its rank, and the row.
    ///
    /// # Errors
    /// SQLite's errors; [`Error::TooMuchMemory`].
    pub fn pairs(&self, number: usize, rows: impl Iterator<Item = [i64; 3]>) -> Result<()> {
        let name = quoted(&nearest_name(number));
        let made = (|| {
            self.connection.execute_batch(&format!(
                "CREATE TABLE {name}(\"of\" INTEGER, rank INTEGER, id INTEGER, PRIMARY KEY(\"of\", rank)) WITHOUT ROWID; BEGIN"
            ))?;
            let mut insert =
                self.connection.prepare(&format!("INSERT INTO {name} VALUES (?, ?, ?)"))?;
            for row in rows {
                insert.execute(row)?;
            }
            self.connection.execute_batch("COMMIT")
        })();
        made.map_err(|error: rusqlite::Error| self.unmade(&error))
    }

    /// From here on allows only SELECT, starts the limits on time, and prepares the statement.
    ///
    /// # Errors
    /// SQLite's error for the statement, with its position.
    pub fn prepare<'e>(&'e mut self, bound: &'e Bound) -> Result<Answer<'e>> {
        let set = watch(&mut self.connection, self.limits.deadline(), &self.is_greedy)
            .and_then(|()| self.connection.authorizer(Some(authorized)));
        set.map_err(|error| plain(&error))?;
        let engine = &*self;
        let statement = engine.connection.prepare(&bound.sql);
        let statement = statement.map_err(|error| engine.told(bound, error))?;
        Ok(Answer { engine, bound, statement })
    }

    /// The error of a table that could not be made.
    fn unmade(&self, error: &rusqlite::Error) -> error::Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => self.stopped(),
            Some(ErrorCode::OutOfMemory) => Error::TooMuchMemory(self.limits.memory).into(),
            _ => plain(error),
        }
    }

    /// Why SQLite was interrupted.
    fn stopped(&self) -> error::Error {
        if let Err(cancelled) = cancel::check() {
            return cancelled;
        }
        match self.is_greedy.load(Ordering::Relaxed) {
            true => Error::TooMuchMemory(self.limits.memory).into(),
            false => Error::TooLong(self.limits.time).into(),
        }
    }

    fn told(&self, bound: &Bound, error: rusqlite::Error) -> error::Error {
        let code = error.sqlite_error_code();
        match (code, error) {
            (Some(ErrorCode::OperationInterrupted), _) => self.stopped(),
            (Some(ErrorCode::OutOfMemory), _) => Error::TooMuchMemory(self.limits.memory).into(),
            (Some(ErrorCode::TooBig), rusqlite::Error::SqliteFailure(..)) => {
                Error::TooLarge(self.limits.length).into()
            }
            (Some(ErrorCode::DiskFull), _) => Error::Full.into(),
            (Some(ErrorCode::AuthorizationForStatementDenied), _) => {
                Error::Sqlite("only SELECT over datasets is run here".into()).into()
            }
            (_, rusqlite::Error::SqlInputError { msg, offset, .. }) => {
                let offset = usize::try_from(offset).ok();
                // The token that SQLite names may be one that we wrote.
                let is_syntax = msg.starts_with("near ") && msg.ends_with("syntax error");
                let syntax = "the statement cannot continue like this here";
                let message = if is_syntax { syntax } else { &msg };
                bound.error(message, offset).into()
            }
            (_, error) => plain(&error),
        }
    }
}

impl Answer<'_> {
    /// The columns of its result.
    pub fn columns(&self) -> Vec<AnswerColumn> {
        let numbered = |name: &str| name.strip_prefix("dcfs table ")?.parse().ok();
        let column = |column: rusqlite::ColumnMetadata<'_>| {
            let table = column.table_name().and_then(numbered);
            let origin = table.zip(column.origin_name().map(str::to_owned));
            (column.name().to_owned(), origin)
        };
        self.statement.columns_with_metadata().map(column).collect()
    }

    /// Runs it, and calls `each` with every row.
    ///
    /// # Errors
    /// [`enum@Error`]; errors of `each`.
    pub fn rows(
        mut self,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let count = self.statement.column_count();
        let (engine, bound) = (self.engine, self.bound);
        let told = |error| engine.told(bound, error);
        let length = usize::try_from(engine.limits.length).unwrap_or(0);
        let most = if engine.limits.spills { usize::MAX } else { length };
        let mut rows = self.statement.query([]).map_err(told)?;
        while let Some(row) = rows.next().map_err(told)? {
            let mut cells = Vec::with_capacity(count);
            let mut size = 0_usize;
            for number in 0..count {
                let value = row.get_ref(number).map_err(told)?;
                if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = value {
                    size = size.saturating_add(bytes.len());
                }
                cells.push(match value {
                    ValueRef::Null => Cell::Null,
                    ValueRef::Integer(n) => Cell::Integer(n),
                    ValueRef::Real(x) => Cell::Real(x),
                    ValueRef::Text(text) => Cell::Text(text),
                    ValueRef::Blob(bytes) => Cell::Blob(bytes),
                });
            }
            if size > most {
                return Err(Error::LongRow(engine.limits.length).into());
            }
            if each(&cells)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Stops the statements of a connection at a deadline, where they use too much memory, or where
/// nobody waits any more.
fn watch(
    connection: &mut Connection,
    until: Option<Instant>,
    is_greedy: &Arc<AtomicBool>,
) -> rusqlite::Result<()> {
    let is_greedy = is_greedy.clone();
    let must_stop = move || {
        let is_over = Budget::is_over();
        if is_over {
            is_greedy.store(true, Ordering::Relaxed);
        }
        is_over || cancel::is_cancelled() || until.is_some_and(|until| Instant::now() >= until)
    };
    connection.progress_handler(STEPS, Some(must_stop))
}

fn bindable<'v>(value: &'v Val<'_>) -> ToSqlOutput<'v> {
    ToSqlOutput::Borrowed(match value {
        Val::Null => ValueRef::Null,
        Val::Int(n) => ValueRef::Integer(*n),
        Val::Real(x) => ValueRef::Real(*x),
        Val::Text(text) => ValueRef::Text(text),
    })
}

fn cell(json: Json) -> SqlValue {
    match json {
        Json::Null => SqlValue::Null,
        Json::Number(number) => SqlValue::Integer(number.as_i64().unwrap_or_default()),
        Json::String(text) => SqlValue::Text(text),
        other => SqlValue::Text(other.to_string()),
    }
}

/// Whether a statement may make SQLite do something.
fn authorized(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        AuthAction::Function { function_name }
            if !function_name.eq_ignore_ascii_case("load_extension") =>
        {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
}

fn plain(error: &rusqlite::Error) -> error::Error {
    let text = match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) if text == "incomplete input" => {
            "the statement ends too early".to_owned()
        }
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    };
    Error::Sqlite(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::sql::Statement;

    fn run(text: &str, limits: Limits) -> Result<Vec<String>> {
        let bound = Statement::read(text)?.bind(&[])?;
        let mut engine = Engine::new(limits, Vec::new())?;
        let mut found = Vec::new();
        engine.prepare(&bound)?.rows(&mut |row| {
            found.push(format!("{row:?}"));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    #[test]
    fn functions_mean_what_they_mean_in_filters() {
        let cases = [
            ("'abc' like 'A%'", "Integer(0)"),
            ("'abc' ilike 'A%'", "Integer(1)"),
            ("'abc' regexp 'b'", "Integer(1)"),
            ("7 / 2", "Real(3.5)"),
            ("1 / 0", "Null"),
            ("item('[{\"x\": 5}]', 0, 'x')", "Integer(5)"),
            ("item('[1,2,3]', -1)", "Integer(3)"),
            ("contains('[\"a\",\"b\"]', 'b')", "Integer(1)"),
            ("split('a/b', '/')", "Text([91, 34, 97, 34, 44, 34, 98, 34, 93])"),
            ("greatest(1, 2.5, 2)", "Real(2.5)"),
            ("least(1, null)", "Null"),
            ("cosine_distance('[1,0]', '[0,1]')", "Real(1.0)"),
            ("euclidean_distance('[0,3]', '[4,0]')", "Real(5.0)"),
            ("(select median(column1) from (values (1), (2), (9)))", "Real(2.0)"),
            ("(select quantile(column1, 1) from (values (1), (2), (9)))", "Real(9.0)"),
            ("(select stddev(column1) from (values (1), (3)))", "Real(1.4142135623730951)"),
            ("(select mode(column1) from (values (1), (3), (3), (1)))", "Integer(1)"),
            (
                "(select count_distinct(column1) from (values (1), (3), (3.0), (null)))",
                "Integer(2)",
            ),
        ];
        for (text, want) in cases {
            let found = run(&format!("select {text}"), Limits::default())
                .unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(found, [format!("[{want}]")], "{text}");
        }
    }

    #[test]
    fn nothing_but_select_passes() {
        for text in [
            "select load_extension('x')",
            "select * from pragma_table_info('x')",
            "with x as (select 1) delete from x",
            "select writefile('x', 'y')",
        ] {
            assert!(run(text, Limits::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn time_and_memory_are_bounded() {
        let limits =
            Limits { time: Duration::from_millis(300), memory: 64 << 20, ..Limits::default() };
        let endless = "with recursive x(n) as (select 1 union all select n + 1 from x) select count(*) from x";
        let error = run(endless, limits).expect_err("endless").to_string();
        assert!(error.contains("longer than 0.3 s"), "{error}");
        assert!(run("select length(randomblob(1000000000))", limits).is_err());
    }

    #[test]
    fn a_time_without_an_end_is_no_panic() {
        let limits = Limits { time: Duration::MAX, ..Limits::default() };
        assert_eq!(run("select 1", limits).expect("sound"), ["[Integer(1)]"]);
    }

    #[test]
    fn a_caller_may_allow_less() {
        let endless = "with recursive x(n) as (select 1 union all select n + 1 from x) select count(*) from x";
        let late = Limits { until: Some(Instant::now()), ..Limits::default() };
        let error = run(endless, late).expect_err("late").to_string();
        assert!(error.contains("longer than"), "{error}");
        assert!(late.check().is_err() && Limits::default().check().is_ok());
        let flag = cancel::Flag::default();
        flag.cancel();
        let given_up = cancel::within(Some(flag), || run(endless, Limits::default()));
        assert!(given_up.expect_err("cancelled").to_string().contains("cancelled"));
        let short = Limits { length: 1 << 20, spills: false, ..Limits::default() };
        let million = "printf('%.*c', 900000, 'x')";
        assert!(run(&format!("select {million}"), short).is_ok());
        let error = run(&format!("select {million}, {million}"), short).expect_err("a long row");
        assert!(error.to_string().contains("a row of the answer"), "{error}");
        let error = run("select printf('%.*c', 2000000, 'x')", short).expect_err("a long value");
        assert!(error.to_string().contains("longer than 1 MiB"), "{error}");
    }
}
