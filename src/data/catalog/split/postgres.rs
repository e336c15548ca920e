//! A metastore in PostgreSQL: DataChain's tables of names, only read.
//!
//! One connection, reopened when lost. Nothing is assumed about the types of columns: values are
//! bound as text, which the server parses as the type of the column, and come back as text whatever
//! their type.

use std::collections::HashMap;
use std::error::Error as StdError;
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
use crate::catalog::ask::{Answer, Ask, Bound};
use crate::catalog::columns::{Column, Columns};
use crate::catalog::error::Error;
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

/// Starts every session: makes it read-only, and prints times in one format.
const SESSION: &str =
    "SET default_transaction_read_only = on; SET statement_timeout = '60s'; SET TimeZone = 'UTC'";

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
    pub fn open(tasks: Arc<Tasks>, server: &Server) -> Result<Self, Error> {
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
            secure: server.secure,
            user,
            database: server.database.clone(),
            name,
            session: Mutex::default(),
            watch: Mutex::default(),
        };
        for lacks in ["datasets", "datasets_versions", "projects", "namespaces"] {
            if !postgres.columns(lacks)?.exist() {
                return Err(ServerError::NoCatalog { server: postgres.name.clone(), lacks }.into());
            }
        }
        Ok(postgres)
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
        let config = self.config.clone();
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
            &SqlState::INSUFFICIENT_PRIVILEGE => {
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
        let limited = async { tokio::time::timeout(ANSWER, work).await };
        match self.tasks.wait(limited) {
            Some(Err(_)) => {
                let cause = format!("it did not answer for {} seconds", ANSWER.as_secs());
                Err(ServerError::Cut { server: self.name.clone(), cause }.into())
            }
            Some(Ok(answer)) => {
                Ok(self.answered(Some(answer))?.into_iter().map(Answer::new).collect())
            }
            None => self.answered(None),
        }
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
        let sql = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
                   WHERE attrelid = to_regclass(quote_ident(?1)) AND attnum > 0 AND NOT attisdropped \
                   ORDER BY attnum";
        let rows = self.rows(sql, &[Bound::Text(table)])?;
        let column = |mut row: Answer| {
            let (name, declared) = (row.take(0)?, row.take(1).unwrap_or_default());
            Some(Column { name, declared, key: false })
        };
        let columns = Columns::new(table, rows.into_iter().filter_map(column).collect());
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
struct Value(String);

impl Value {
    fn of(bound: &Bound<'_>) -> Self {
        Self(match bound {
            Bound::Int(n) => n.to_string(),
            Bound::Text(text) => (*text).to_owned(),
        })
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
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
