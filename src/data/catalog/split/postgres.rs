//! A metastore in PostgreSQL: DataChain's tables of names, queried, and changed in transactions.
//!
//! One connection, reopened when lost. Nothing is assumed about the types of columns: values are
//! bound as text, which the server parses as the type of the column, and come back as text whatever
//! their type.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::address::Server;
use super::error::{ServerError, causes, line};
use super::secret;
use super::tasks::{self, Tasks};
use super::tls::Tls;
use crate::catalog::Revision;
use crate::catalog::ask::{Answer, Ask, Bound, Write};
use crate::catalog::columns::{Column, Columns};
use crate::catalog::error::Error;
use crate::catalog::write::naming::now;
use crate::catalog::write::{create, publish};
use dcfs_core::time::Timestamp;

/// The timeout for connecting.
const CONNECT: Duration = Duration::from_secs(10);

/// The timeout for opening a session: connecting, authenticating, and its settings.
const OPEN: Duration = Duration::from_secs(20);

/// The timeout for a result.
const ANSWER: Duration = Duration::from_secs(60);

/// How often to check for other writers' changes.
const FOLLOW: Duration = Duration::from_secs(1);

/// The source of the password for PostgreSQL.
const WHERE: &str = "`PGPASSWORD` or `~/.pgpass`";

/// Starts every session: limits statements and idle transactions, so that no turn of writers is held for long, and prints
/// times in one format.
const SESSION: &str = "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'; SET TimeZone = 'UTC'";

/// Makes a session read-only.
const READ_ONLY: &str = "SET default_transaction_read_only = on";

/// The number under which all writers of dcfs take turns ("dcfs").
const TURN: i64 = 0x6463_6673;

/// The purpose of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// To write; missing tables are created.
    Create,
}

/// Tables of names, whose token changes with every row that is added, changed or removed: the sum
/// of the transaction ids that wrote the present rows, and their count. (The highest id alone would
/// miss a transaction that began earlier and ended later.)
const FOLLOWED: [&str; 5] =
    ["datasets", "datasets_versions", "datasets_dependencies", "projects", "namespaces"];

/// A server with DataChain's tables.
#[derive(Debug)]
pub struct Postgres {
    tasks: Arc<Tasks>,
    config: Config,
    access: Access,
    secure: bool,
    user: String,
    database: String,
    /// The name shown in messages.
    name: String,
    session: Mutex<Option<Arc<Session>>>,
    watch: Mutex<Watch>,
}

/// A connection, and what is cached about the tables there.
struct Session {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
    columns: Mutex<HashMap<String, Columns>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

/// The last check for others' changes.
#[derive(Debug, Default)]
struct Watch {
    at: Option<Instant>,
    token: String,
    /// Starts at 1 and increments whenever the token changes.
    number: i64,
    /// Whether a query is running.
    is_asked: bool,
    /// Whether the log already says that the server is unreachable.
    told: bool,
}

/// The most prepared statements kept; there are some dozen.
const STATEMENTS: usize = 200;

impl Postgres {
    /// Connects to a server, and checks that it accepts us and has DataChain's tables.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn open(tasks: Arc<Tasks>, server: &Server, access: Access) -> Result<Self, Error> {
        let name = format!("PostgreSQL at {}", server.authority());
        let (user, password) = secret::postgres(server)?;
        let mut config = Config::new();
        config
            .host(&server.host)
            .port(server.port)
            .dbname(&server.database)
            .user(&user)
            .application_name("dcfs")
            .connect_timeout(CONNECT)
            .keepalives_idle(Duration::from_secs(15))
            .ssl_mode(if server.secure { SslMode::Require } else { SslMode::Disable });
        if let Some(password) = &password.0 {
            config.password(password);
        }
        let postgres = Self {
            tasks,
            config,
            access,
            secure: server.secure,
            user,
            database: server.database.clone(),
            name,
            session: Mutex::default(),
            watch: Mutex::default(),
        };
        if access == Access::Create {
            postgres.create()?;
        }
        for lacks in ["datasets", "datasets_versions", "projects", "namespaces"] {
            if !postgres.columns(lacks)?.exist() {
                return Err(ServerError::NoCatalog { server: postgres.name.clone(), lacks }.into());
            }
        }
        if access != Access::Read {
            postgres.check_writable()?;
        }
        Ok(postgres)
    }

    /// Checks, before long work, that its result may be written.
    fn check_writable(&self) -> Result<(), Error> {
        let sql = "SELECT has_table_privilege(to_regclass('datasets_versions'), 'INSERT')";
        match self.first(sql, &[])?.and_then(|row| row.integer(0)) {
            Some(1) => Ok(()),
            _ => {
                let (server, user) = (self.name.clone(), self.user.clone());
                let said = "it may not write the table `datasets_versions`".into();
                Err(ServerError::Forbidden { server, user, said }.into())
            }
        }
    }

    /// Creates DataChain's tables if there are none.
    fn create(&self) -> Result<(), Error> {
        if self.columns("datasets")?.exist() || self.columns("namespaces")?.exist() {
            return Ok(());
        }
        self.transaction(|write| {
            // Another process may have created them meanwhile.
            if !Columns::of(write, "datasets")?.exist() {
                // The first table, of DataChain's own version, is SQLite's alone.
                let tables = create::TABLES.split_once("CREATE TABLE namespaces");
                let (_, tables) = tables.unwrap_or_default();
                write.define(&format!("CREATE TABLE namespaces{tables}"))?;
                publish::project(write, "system", "listing", &now())?;
            }
            Ok(())
        })
    }

    /// Runs `work` in a transaction, after those of all other writers of dcfs: all or nothing.
    ///
    /// # Errors
    /// Errors of `work` and of the server. If the connection is lost at the end, it may have been committed.
    pub fn transaction<T>(
        &self,
        work: impl FnOnce(&dyn Write) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({TURN})");
        let mut session = self.session()?;
        if let Err(error) = self.batch(&session, &begin) {
            if !session.client.is_closed() {
                self.batch(&session, "ROLLBACK").ok();
                return Err(error);
            }
            // It was lost since it was last used.
            session = self.session()?;
            self.batch(&session, &begin)?;
        }
        let done = work(&Transaction { server: self, session: session.clone() });
        match done {
            Ok(answer) => self.batch(&session, "COMMIT").map(|()| answer),
            Err(error) => {
                self.batch(&session, "ROLLBACK").ok();
                Err(error)
            }
        }
    }

    /// Runs statements that are ours alone.
    fn batch(&self, session: &Arc<Session>, sql: &str) -> Result<(), Error> {
        let (session, sql) = (session.clone(), sql.to_owned());
        let work = async move { session.client.batch_execute(&sql).await };
        self.limited(work)
    }

    /// Waits for a result, at most [`ANSWER`].
    fn limited<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let limited = async { tokio::time::timeout(ANSWER, work).await };
        match self.tasks.wait(limited) {
            Some(Err(_)) => {
                let cause = format!("it said nothing for {} seconds", ANSWER.as_secs());
                Err(ServerError::Cut { server: self.name.clone(), cause }.into())
            }
            Some(Ok(answer)) => self.answered(Some(answer)),
            None => self.answered(None),
        }
    }

    /// The current revision, at most a second old. While the server is unreachable, the last known
    /// one.
    ///
    /// # Errors
    /// The server does not answer, and never did.
    pub fn revision(&self) -> Result<Revision, Error> {
        let now = |watch: &Watch| Revision { data_version: watch.number, file: (0, 0), opened: 1 };
        {
            let mut watch = self.watch();
            let is_known = watch.number > 0;
            let is_fresh = watch.at.is_some_and(|at| at.elapsed() < FOLLOW);
            // At most one thread asks; the others use the last known revision, because a server may
            // hang.
            if is_known && (is_fresh || watch.is_asked) {
                return Ok(now(&watch));
            }
            watch.is_asked = true;
        }
        let token = self.token();
        let mut watch = self.watch();
        watch.is_asked = false;
        watch.at = Some(Instant::now());
        match token {
            Ok(token) => {
                if token != watch.token {
                    watch.number += 1;
                    watch.token = token;
                }
                watch.told = false;
            }
            Err(error) if watch.number == 0 => return Err(error),
            Err(error) => {
                if !watch.told {
                    tracing::warn!(%error, "new versions are not seen until the metastore answers again");
                }
                watch.told = true;
            }
        }
        Ok(now(&watch))
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self) -> Result<String, Error> {
        let mut parts = Vec::new();
        for table in FOLLOWED {
            let written = "sum(xmin::text::bigint)";
            if self.columns(table)?.exist() {
                parts.push(format!("(SELECT concat(count(*), '/', {written}) FROM {table})"));
            }
        }
        let sql = format!("SELECT concat_ws(' ', {})", parts.join(", "));
        let row = self.first(&sql, &[])?;
        Ok(row.and_then(|mut row| row.take(0)).unwrap_or_default())
    }

    /// The session, opened if there is none.
    fn session(&self) -> Result<Arc<Session>, Error> {
        let mut session = self.lock();
        if let Some(open) = &*session
            && !open.client.is_closed()
        {
            return Ok(open.clone());
        }
        let (config, access) = (self.config.clone(), self.access);
        let wrong = |cause: rustls::Error| ServerError::Unreachable {
            server: self.name.clone(),
            cause: cause.to_string(),
        };
        let tls = self.secure.then(Tls::new).transpose().map_err(wrong)?;
        let open = async move {
            let client = match tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await?;
                    tokio::spawn(connection);
                    client
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    tokio::spawn(connection);
                    client
                }
            };
            client.batch_execute(SESSION).await?;
            if access == Access::Read {
                client.batch_execute(READ_ONLY).await?;
            }
            Ok::<_, tokio_postgres::Error>(client)
        };
        let limited = async { tokio::time::timeout(OPEN, open).await };
        let client = match self.tasks.wait(limited) {
            Some(Ok(opened)) => self.answered(Some(opened))?,
            Some(Err(_)) => {
                let cause = format!("it accepted no connection for {} seconds", OPEN.as_secs());
                return Err(ServerError::Unreachable { server: self.name.clone(), cause }.into());
            }
            None => self.answered(None)?,
        };
        let new = Session { client, statements: Mutex::default(), columns: Mutex::default() };
        Ok(session.insert(Arc::new(new)).clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered<T>(&self, answer: Option<Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        let Some(answer) = answer else {
            return Err(tasks::unanswered(&self.name).into());
        };
        answer.map_err(|error| self.error(&error).into())
    }

    /// Translates an error of the server.
    fn error(&self, error: &tokio_postgres::Error) -> ServerError {
        let (server, user) = (self.name.clone(), self.user.clone());
        let Some(said) = error.as_db_error() else {
            let cause = causes(error);
            // The library reports this if the server wants a password and there is none.
            if cause.contains("password missing") {
                return ServerError::Refused { server, user, where_to: WHERE };
            }
            return ServerError::Unreachable { server, cause };
        };
        let text = line(said.message());
        match said.code() {
            &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                ServerError::Refused { server, user, where_to: WHERE }
            }
            &SqlState::INVALID_CATALOG_NAME => {
                ServerError::NoDatabase { server, database: self.database.clone(), user }
            }
            &SqlState::DISK_FULL => ServerError::Full { server, said: text },
            // Others held a lock for the whole timeout.
            &SqlState::QUERY_CANCELED
            | &SqlState::LOCK_NOT_AVAILABLE
            | &SqlState::T_R_DEADLOCK_DETECTED
            | &SqlState::UNIQUE_VIOLATION => ServerError::Busy { server, said: text },
            &SqlState::INSUFFICIENT_PRIVILEGE | &SqlState::READ_ONLY_SQL_TRANSACTION => {
                ServerError::Forbidden { server, user, said: text }
            }
            &SqlState::TOO_MANY_CONNECTIONS | &SqlState::CANNOT_CONNECT_NOW => {
                ServerError::Busy { server, said: text }
            }
            &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN => {
                ServerError::Cut { server, cause: text }
            }
            _ => ServerError::Said { server, said: text },
        }
    }

    /// The rows of `sql`, retried once if the connection was lost meanwhile.
    fn rows(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Vec<Answer>, Error> {
        let session = self.session()?;
        match self.rows_in(&session, sql, bound) {
            Err(_) if session.client.is_closed() => self.rows_in(&self.session()?, sql, bound),
            answer => answer,
        }
    }

    fn rows_in(
        &self,
        session: &Arc<Session>,
        sql: &str,
        bound: &[Bound<'_>],
    ) -> Result<Vec<Answer>, Error> {
        let values: Vec<Value> = bound.iter().map(Value::of).collect();
        let (session, text) = (session.clone(), sql.replace('?', "$"));
        let work = async move {
            let known = |session: &Session| {
                let statements = session.statements.lock().unwrap_or_else(PoisonError::into_inner);
                statements.get(&text).cloned()
            };
            let statement = match known(&session) {
                Some(statement) => statement,
                None => {
                    let statement = session.client.prepare(&text).await?;
                    let mut statements =
                        session.statements.lock().unwrap_or_else(PoisonError::into_inner);
                    if statements.len() < STATEMENTS {
                        statements.insert(text.clone(), statement.clone());
                    }
                    statement
                }
            };
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            let rows = session.client.query(&statement, &values).await?;
            let texts = |row: &tokio_postgres::Row| {
                (0..row.len()).map(|at| Ok(row.try_get::<_, Text>(at)?.0)).collect()
            };
            rows.iter().map(texts).collect::<Result<Vec<_>, tokio_postgres::Error>>()
        };
        Ok(self.limited(work)?.into_iter().map(Answer::new).collect())
    }

    fn columns_in(
        &self,
        table: &str,
        ask: impl FnOnce(&str, &[Bound<'_>]) -> Result<Vec<Answer>, Error>,
    ) -> Result<Columns, Error> {
        let sql = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
                   WHERE attrelid = to_regclass(quote_ident(?1)) AND attnum > 0 AND NOT attisdropped \
                   ORDER BY attnum";
        let rows = ask(sql, &[Bound::Text(table)])?;
        let column = |mut row: Answer| {
            let (name, declared) = (row.take(0)?, row.take(1).unwrap_or_default());
            Some(Column { name, declared, key: false })
        };
        Ok(Columns::new(table, rows.into_iter().filter_map(column).collect()))
    }
}

/// A transaction of one session: without it, nothing is committed.
struct Transaction<'p> {
    server: &'p Postgres,
    session: Arc<Session>,
}

impl Ask for Transaction<'_> {
    /// Not from the cache: the transaction may change them.
    fn columns(&self, table: &str) -> Result<Columns, Error> {
        self.server.columns_in(table, |sql, bound| self.ask(sql, bound))
    }

    fn ask(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Vec<Answer>, Error> {
        self.server.rows_in(&self.session, sql, bound)
    }
}

impl Write for Transaction<'_> {
    fn run(&self, sql: &str, bound: &[Bound<'_>]) -> Result<u64, Error> {
        let values: Vec<Value> = bound.iter().map(Value::of).collect();
        let (session, text) = (self.session.clone(), sql.replace('?', "$"));
        self.server.limited(async move {
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            session.client.execute(&text, &values).await
        })
    }

    fn define(&self, sql: &str) -> Result<(), Error> {
        let counted = "id BIGINT GENERATED BY DEFAULT AS IDENTITY NOT NULL";
        let sql = sql
            .replace("(\n\tid INTEGER NOT NULL", &format!("(\n\t{counted}"))
            .replace(" INTEGER", " BIGINT")
            .replace(" DATETIME", " TIMESTAMPTZ");
        self.server.batch(&self.session, &sql)
    }
}

impl Ask for Postgres {
    /// Of the first table of that name in the server's search path.
    fn columns(&self, table: &str) -> Result<Columns, Error> {
        let session = self.session()?;
        let kept = || session.columns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(columns) = kept().get(table) {
            return Ok(columns.clone());
        }
        let columns = self.columns_in(table, |sql, bound| self.rows(sql, bound))?;
        if columns.exist() {
            kept().insert(table.to_owned(), columns.clone());
        }
        Ok(columns)
    }

    fn ask(&self, sql: &str, bound: &[Bound<'_>]) -> Result<Vec<Answer>, Error> {
        self.rows(sql, bound)
    }
}

/// A value sent as text, whatever type the server infers.
#[derive(Debug)]
struct Value(Option<String>);

impl Value {
    fn of(bound: &Bound<'_>) -> Self {
        Self(match bound {
            Bound::Null => None,
            Bound::Int(n) => Some(n.to_string()),
            Bound::Text(text) => Some((*text).to_owned()),
        })
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A value of any type that the tables may have, converted to text.
struct Text(Option<String>);

impl<'a> FromSql<'a> for Text {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let text = match *kind {
            Type::BOOL => i64::from(bool::from_sql(kind, raw)?).to_string(),
            Type::INT2 => i16::from_sql(kind, raw)?.to_string(),
            Type::INT4 => i32::from_sql(kind, raw)?.to_string(),
            Type::INT8 => i64::from_sql(kind, raw)?.to_string(),
            Type::FLOAT4 => f32::from_sql(kind, raw)?.to_string(),
            Type::FLOAT8 => f64::from_sql(kind, raw)?.to_string(),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                // Microseconds since 2000-01-01.
                const Y2000: i64 = 946_684_800_000_000;
                let since = i64::from_be_bytes(raw.try_into()?);
                Timestamp::from_micros(since.saturating_add(Y2000)).catalog()
            }
            Type::UUID => uuid::Uuid::from_slice(raw)?.to_string(),
            Type::JSONB => String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?,
            _ => String::from_utf8(raw.to_vec())?,
        };
        Ok(Self(Some(text)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
