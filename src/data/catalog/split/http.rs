//! ClickHouse over HTTP: one statement per request, values as parameters, results read whole or
//! streamed.
//!
//! An error may come after the first bytes, despite status 200: the server then writes
//! `__exception__` and its text, and breaks off without the last chunk. A body without its last
//! chunk is an error, whatever was read of it. Queries change no setting, because a read-only user
//! may not change settings.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dcfs_core::cancel;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::address::Server;
use super::error::{ServerError, cause, line};
use super::profile;
use super::secret;
use super::tasks::{self, Tasks};

/// The timeout for connecting.
const CONNECT: Duration = Duration::from_secs(10);

/// The longest silence of a server before it counts as an error.
const SILENCE: Duration = Duration::from_secs(60);

/// The timeout for a statement that changes something: the server is silent until it is done.
const WORK: Duration = Duration::from_secs(6 * 3600);

/// The timeout for a statement that other writers wait for.
const BRIEF: Duration = Duration::from_secs(30);

/// The timeout for telling a server to stop a query.
const STOP: Duration = Duration::from_millis(500);

/// How long a connection is kept for the next query: less than the server keeps it.
const IDLE: Duration = Duration::from_secs(2);

/// The most chunks buffered ahead of the reader.
const AHEAD: usize = 32;

/// The longest result read whole: the bitmap of some billions of rows.
const MOST: usize = 1 << 30;

/// The longest text result.
const MOST_TEXT: usize = 1 << 20;

/// Precedes the text of an error in the middle of a result.
const EXCEPTION: &str = "__exception__";

/// The bytes at the end of a result that are searched for the text of an error.
const TAIL: usize = 32 << 10;

/// The oldest supported version.
const OLDEST: ([u32; 2], &str) = ([23, 3], "23.3");

/// A server, accessed as one user.
#[derive(Debug)]
pub struct ClickHouse {
    tasks: Arc<Tasks>,
    client: Client,
    /// The client for long statements.
    patient: Client,
    url: String,
    user: String,
    /// The name shown in messages.
    name: String,
    pub database: String,
}

/// A statement and its values, `{p0:Type}`, `{p1:Type}`, ...
pub struct Ask<'a> {
    pub sql: &'a str,
    pub parameters: &'a [String],
}

impl ClickHouse {
    /// Connects to a server, and checks that it accepts us and has the database.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn open(tasks: Arc<Tasks>, server: &Server) -> Result<Self, ServerError> {
        let scheme = if server.secure { "https" } else { "http" };
        let name = format!("ClickHouse at {scheme}://{}", server.authority());
        let (user, password) = secret::clickhouse(server)?;
        let mut headers = HeaderMap::new();
        let value = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| ServerError::Refused {
                server: name.clone(),
                user: line(&user),
                where_to: WHERE,
            })?;
            value.set_sensitive(true);
            Ok::<_, ServerError>(value)
        };
        headers.insert("x-clickhouse-user", value(&user)?);
        if let Some(password) = &password.0 {
            headers.insert("x-clickhouse-key", value(password)?);
        }
        // Installing the provider again has no effect.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |silence: Duration| {
            Client::builder()
                .default_headers(headers.clone())
                .connect_timeout(CONNECT)
                .read_timeout(silence)
                .tcp_keepalive(Duration::from_secs(15))
                .pool_idle_timeout(IDLE)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .user_agent(concat!("dcfs/", env!("CARGO_PKG_VERSION")))
                .build()
        };
        let failed = |error: reqwest::Error| ServerError::Unreachable {
            server: name.clone(),
            cause: cause(&error),
        };
        let opened = Self {
            tasks,
            client: client(SILENCE).map_err(failed)?,
            patient: client(WORK).map_err(failed)?,
            url: format!("{scheme}://{}/", server.authority()),
            user,
            name: name.clone(),
            database: server.database.clone(),
        };
        opened.check()?;
        Ok(opened)
    }

    fn check(&self) -> Result<(), ServerError> {
        let version = self.text("SELECT version() FORMAT TSV", &[])?;
        if number(&version).is_none_or(|number| number < OLDEST.0) {
            let (server, version) = (self.name.clone(), line(&version));
            return Err(ServerError::TooOld { server, version, needed: OLDEST.1 });
        }
        let sql = "SELECT count() FROM system.databases WHERE name = {p0:String} FORMAT TSV";
        if self.text(sql, std::slice::from_ref(&self.database))?.trim() != "1" {
            return Err(ServerError::NoDatabase {
                server: self.name.clone(),
                database: self.database.clone(),
                user: self.user.clone(),
            });
        }
        let Some(odd) = profile::misleading(&self.text(profile::COUNTED, &[])?) else {
            return Ok(());
        };
        let said =
            format!("settings of `{}` {odd}; take them out of its profile", line(&self.user));
        Err(ServerError::Said { server: self.name.clone(), said })
    }

    /// Checks, before long work, that its result may be written.
    ///
    /// # Errors
    /// A user whose profile is read-only.
    pub fn check_writable(&self) -> Result<(), ServerError> {
        let sql = "SELECT value FROM system.settings WHERE name = 'readonly' FORMAT TSV";
        match self.text(sql, &[])?.trim() {
            "" | "0" => Ok(()),
            value => {
                let (server, user) = (self.name.clone(), self.user.clone());
                let said = format!("its profile has `readonly = {}`", line(value));
                Err(ServerError::Forbidden { server, user, said })
            }
        }
    }

    /// The whole result as text.
    pub fn text(&self, sql: &str, parameters: &[String]) -> Result<String, ServerError> {
        let body = self.limited(&Ask { sql, parameters }, MOST_TEXT)?;
        String::from_utf8(body).map_err(|_| self.odd("an answer that is not text"))
    }

    /// The whole result.
    pub fn whole(&self, ask: &Ask<'_>) -> Result<Vec<u8>, ServerError> {
        self.limited(ask, MOST)
    }

    /// The whole result, once the server has worked it out, however silent it is until then. At `until`, if
    /// the caller is cancelled, or if the connection breaks, the server is told to stop.
    ///
    /// # Errors
    /// Errors of the server; that it was not done at `until`.
    pub fn whole_until(
        &self,
        ask: &Ask<'_>,
        until: Option<Instant>,
    ) -> Result<Vec<u8>, ServerError> {
        let id = format!("dcfs-{}", Uuid::new_v4().simple());
        let url = self.url(&format!("query_id={id}"), ask.parameters);
        let request = self.patient.post(url).body(ask.sql.to_owned());
        let (server, user) = (self.name.clone(), self.user.clone());
        let work = async move {
            let mut body = Vec::new();
            let keep = |chunk: &[u8]| {
                if body.len() + chunk.len() > MOST {
                    let (server, why) = (server.clone(), "an answer without end".into());
                    return Err(ServerError::Odd { server, why });
                }
                body.extend_from_slice(chunk);
                Ok(())
            };
            read(request, &server, &user, keep).await?;
            Ok(body)
        };
        let left = until.map_or(WORK, |until| until.saturating_duration_since(Instant::now()));
        let limited = async move { tokio::time::timeout(left.min(WORK), work).await };
        match self.tasks.wait(limited) {
            Some(Ok(done)) => {
                // It may work on what nobody reads.
                if let Err(
                    ServerError::Cut { .. }
                    | ServerError::Unreachable { .. }
                    | ServerError::Odd { .. },
                ) = done
                {
                    self.stop(id);
                }
                done
            }
            Some(Err(_)) => {
                self.stop(id);
                let cause = "it takes longer than it may".to_owned();
                Err(ServerError::Cut { server: self.name.clone(), cause })
            }
            None => {
                self.stop(id);
                Err(tasks::unanswered(&self.name))
            }
        }
    }

    /// The URL for a statement, with settings and the values of its parameters.
    fn url(&self, settings: &str, parameters: &[String]) -> String {
        let mut url = format!("{}?{settings}", self.url);
        for (index, value) in parameters.iter().enumerate() {
            url.push_str(&parameter(index, value));
        }
        url
    }

    /// Tells the server to stop a query: one that nobody waits for would go on. Every user may stop its own.
    fn stop(&self, id: String) {
        let url = self.url("", &[id]);
        let sql = "KILL QUERY WHERE query_id = {p0:String} ASYNC";
        let request = self.client.post(url).body(sql);
        let told = async move { tokio::time::timeout(STOP, request.send()).await.is_ok() };
        // The caller may be cancelled; this is not.
        let _ = cancel::within(None, || self.tasks.wait(told));
    }

    /// The whole result, at most `most` bytes.
    fn limited(&self, ask: &Ask<'_>, most: usize) -> Result<Vec<u8>, ServerError> {
        let mut stream = self.stream(ask);
        let mut body = Vec::new();
        while let Some(chunk) = stream.next()? {
            if body.len() + chunk.len() > most {
                return Err(self.odd("an answer without end"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Streams the result.
    pub fn stream(&self, ask: &Ask<'_>) -> Stream {
        let url = self.url("", ask.parameters);
        let request = self.client.post(url).body(ask.sql.to_owned());
        let (send, receive) = channel();
        let permits = Arc::new(Semaphore::new(AHEAD));
        let (server, user, ahead) = (self.name.clone(), self.user.clone(), permits.clone());
        self.tasks.start(async move {
            let mut answer = match request.send().await {
                Ok(response) => match checked(response, &server, &user).await {
                    Ok(response) => response,
                    Err(error) => return drop(send.send(Err(error))),
                },
                Err(error) => return drop(send.send(Err(unreachable(&server, &error)))),
            };
            let mut tail = Vec::new();
            loop {
                let Ok(permit) = ahead.acquire().await else { return };
                permit.forget();
                let said = match answer.chunk().await {
                    Ok(Some(chunk)) => {
                        keep_tail(&mut tail, &chunk);
                        Ok(Some(chunk))
                    }
                    Ok(None) => Ok(None),
                    Err(error) => Err(cut(&tail, &server, &user, &error)),
                };
                let is_last = !matches!(said, Ok(Some(_)));
                if send.send(said).is_err() || is_last {
                    return;
                }
            }
        });
        Stream { receive, permits, is_done: false, server: self.name.clone() }
    }

    /// Runs a statement that changes something, with the rows that it inserts; returns when it is done.
    ///
    /// # Errors
    /// Errors of the server. If the connection is lost, the statement may have been executed.
    pub fn run(
        &self,
        sql: &str,
        parameters: &[String],
        rows: Option<Vec<u8>>,
    ) -> Result<(), ServerError> {
        self.change(sql, parameters, rows, WORK)
    }

    /// The same for a statement that other writers wait for: it may take [`BRIEF`].
    ///
    /// # Errors
    /// As [`ClickHouse::run`]. After a timeout, it may be executed later.
    pub fn run_briefly(&self, sql: &str) -> Result<(), ServerError> {
        self.change(sql, &[], None, BRIEF)
    }

    fn change(
        &self,
        sql: &str,
        parameters: &[String],
        rows: Option<Vec<u8>>,
        most: Duration,
    ) -> Result<(), ServerError> {
        // When it returns, the rows are visible; errors are in the status.
        let url = self.url("async_insert=0&wait_end_of_query=1", parameters);
        let body = statement(sql, rows);
        let request = self.patient.post(url).body(body);
        let (server, user) = (self.name.clone(), self.user.clone());
        let work = async move { read(request, &server, &user, |_| Ok(())).await };
        let limited = async move { tokio::time::timeout(most, work).await };
        match self.tasks.wait(limited) {
            Some(Ok(done)) => done,
            Some(Err(_)) => {
                let cause = format!("it took longer than {} seconds", most.as_secs());
                Err(ServerError::Cut { server: self.name.clone(), cause })
            }
            None => Err(tasks::unanswered(&self.name)),
        }
    }

    /// The error for a result that makes no sense.
    pub fn odd(&self, why: impl Into<String>) -> ServerError {
        ServerError::Odd { server: self.name.clone(), why: why.into() }
    }
}

/// The first two numbers of a version (`25.8.2.1`); `None` if it is none.
fn number(version: &str) -> Option<[u32; 2]> {
    let mut parts = version.split('.');
    let mut next = || parts.next()?.trim().parse().ok();
    Some([next()?, next()?])
}

/// The source of the password for ClickHouse.
const WHERE: &str = "`CLICKHOUSE_PASSWORD`";

/// A result that arrives in chunks. Dropping it cancels the query.
pub struct Stream {
    receive: Receiver<Result<Option<Bytes>, ServerError>>,
    permits: Arc<Semaphore>,
    is_done: bool,
    server: String,
}

impl Stream {
    /// The next chunk; `None` at the end of a complete result.
    ///
    /// # Errors
    /// Errors of the server, also in the middle; a broken connection.
    pub fn next(&mut self) -> Result<Option<Bytes>, ServerError> {
        if self.is_done {
            return Ok(None);
        }
        let Some(said) = tasks::next(&self.receive) else {
            return Err(tasks::unanswered(&self.server));
        };
        self.permits.add_permits(1);
        self.is_done = !matches!(said, Ok(Some(_)));
        said
    }

    /// The server's error at the end of a result that made no sense; `None` if it reports none, or
    /// does not end.
    pub fn error_at_end(mut self) -> Option<ServerError> {
        let mut passed = 0;
        loop {
            match self.next() {
                Ok(Some(chunk)) => {
                    passed += chunk.len();
                    if passed > 2 * TAIL {
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.permits.close();
    }
}

/// The body of a request: a statement and, after a line break, the rows that it inserts. In the URL a statement that names
/// many columns would be too long.
fn statement(sql: &str, rows: Option<Vec<u8>>) -> Vec<u8> {
    let mut body = sql.as_bytes().to_vec();
    if let Some(rows) = rows {
        body.reserve_exact(rows.len() + 1);
        body.push(b'\n');
        body.extend(rows);
    }
    body
}

/// The URL parameter for a value of a statement.
fn parameter(index: usize, value: &str) -> String {
    let value = escaped(value);
    format!("&param_p{index}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC))
}

/// A value escaped for parameters, as in ClickHouse's TSV format.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push_str("\\0"),
            c => text.push(c),
        }
    }
    text
}

fn keep_tail(tail: &mut Vec<u8>, chunk: &[u8]) {
    tail.extend_from_slice(&chunk[chunk.len().saturating_sub(TAIL)..]);
    if tail.len() > 2 * TAIL {
        tail.drain(..tail.len() - TAIL);
    }
}

/// Reads the answer to a request until it ends; `each` is given its chunks.
async fn read(
    request: RequestBuilder,
    server: &str,
    user: &str,
    mut each: impl FnMut(&[u8]) -> Result<(), ServerError> + Send,
) -> Result<(), ServerError> {
    let response = request.send().await.map_err(|error| unreachable(server, &error))?;
    let mut response = checked(response, server, user).await?;
    let mut tail = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                keep_tail(&mut tail, &chunk);
                each(&chunk)?;
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(cut(&tail, server, user, &error)),
        }
    }
}

async fn checked(response: Response, server: &str, user: &str) -> Result<Response, ServerError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let code = response.headers().get("x-clickhouse-exception-code");
    let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    let mut response = response;
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > TAIL {
            break;
        }
    }
    let said = String::from_utf8_lossy(&body).into_owned();
    if code.is_none() && said.trim().is_empty() {
        let why = format!("status {status}, so it may not be ClickHouse");
        return Err(ServerError::Odd { server: server.to_owned(), why });
    }
    Err(error_of(code.or_else(|| code_in(&said)), &said, server, user))
}

/// `Code: 60. DB::Exception: ...`.
fn code_in(said: &str) -> Option<u32> {
    let rest = &said[said.find("Code: ")? + 6..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Translates the code of an error.
fn error_of(code: Option<u32>, said: &str, server: &str, user: &str) -> ServerError {
    // What the system says of a full disk may be far behind.
    let is_full = said.contains("No space left on device");
    let (server, user, said) = (server.to_owned(), user.to_owned(), line(said));
    match code {
        // REQUIRED_PASSWORD, WRONG_PASSWORD, UNKNOWN_USER, IP_ADDRESS_NOT_ALLOWED, AUTHENTICATION_FAILED
        Some(192 | 193 | 194 | 195 | 516) => ServerError::Refused { server, user, where_to: WHERE },
        // READONLY, DATABASE_ACCESS_DENIED, ACCESS_DENIED
        Some(164 | 291 | 497) => ServerError::Forbidden { server, user, said },
        // TOO_MANY_SIMULTANEOUS_QUERIES, MEMORY_LIMIT_EXCEEDED, TOO_MANY_PARTS
        Some(202 | 241 | 252) => ServerError::Busy { server, said },
        // NOT_ENOUGH_SPACE
        Some(243) => ServerError::Full { server, said },
        _ if is_full => ServerError::Full { server, said },
        _ => ServerError::Said { server, said },
    }
}

/// Whether an error says that a table does not exist.
pub fn is_unknown_table(error: &ServerError) -> bool {
    matches!(error, ServerError::Said { said, .. } if code_in(said) == Some(60))
}

/// Whether an error says that a table is above the limit for dropped tables.
pub fn is_too_large_to_drop(error: &ServerError) -> bool {
    matches!(error, ServerError::Said { said, .. } if code_in(said) == Some(359))
}

fn unreachable(server: &str, error: &reqwest::Error) -> ServerError {
    ServerError::Unreachable { server: server.to_owned(), cause: cause(error) }
}

/// The error of a result that broke off: with the server's message, if there is one.
fn cut(tail: &[u8], server: &str, user: &str, error: &reqwest::Error) -> ServerError {
    let text = String::from_utf8_lossy(tail);
    let said = text.rfind(EXCEPTION).map(|at| &text[at..]);
    match said.and_then(|said| said.find("Code: ").map(|at| &said[at..])) {
        Some(said) => error_of(code_in(said), said, server, user),
        None => ServerError::Cut { server: server.to_owned(), cause: cause(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_behind_the_line_of_their_statement() {
        assert_eq!(statement("SELECT 1", None), b"SELECT 1");
        let sql = "INSERT INTO t FORMAT RowBinary";
        let rows = b"\n;\0\xff".to_vec();
        assert_eq!(statement(sql, Some(rows)), b"INSERT INTO t FORMAT RowBinary\n\n;\0\xff");
    }

    #[test]
    fn versions_are_compared_by_their_first_two_numbers() {
        let cases = [
            ("26.9.2.1", Some([26, 9])),
            ("23.3.1.2823\n", Some([23, 3])),
            ("18.16.1", Some([18, 16])),
            ("PostgreSQL", None),
            ("24", None),
        ];
        for (version, want) in cases {
            assert_eq!(number(version), want, "{version}");
        }
        assert!([23, 2] < OLDEST.0 && [23, 3] >= OLDEST.0 && [24, 1] >= OLDEST.0);
    }

    #[test]
    fn a_table_that_is_too_large_to_be_dropped_is_known_by_its_code() {
        let said = "Code: 359. DB::Exception: Table or Partition in a.b was not dropped.";
        assert!(is_too_large_to_drop(&error_of(code_in(said), said, "a server", "me")));
        let said = "Code: 60. DB::Exception: Table a.b does not exist.";
        assert!(!is_too_large_to_drop(&error_of(code_in(said), said, "a server", "me")));
    }
}
