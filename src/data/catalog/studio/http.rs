//! Requests to Studio, as DataChain's client makes them (`datachain/remote/studio.py`).
//!
//! The token goes to the server that was named and nowhere else: a redirect of the API is not followed, and links to parts, which
//! are signed, are asked without it. What a link says is a secret too, and is in no message. Answers are bounded in time and size.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dcfs_core::cancel;
use dcfs_core::name::DatasetName;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::address::Account;
use super::answers::{Dataset, Export, Progress};
use super::error::StudioError;
use crate::catalog::split::error::{cause, line};
use crate::catalog::split::tasks::{self, Tasks};

/// The timeout for connecting.
const CONNECT: Duration = Duration::from_secs(10);

/// The longest silence in the middle of a part.
const SILENCE: Duration = Duration::from_secs(60);

/// The longest that an answer may take: about names, about schemas, about a new export, and of a part, which is as long as
/// DataChain waits.
const BRIEF: Duration = Duration::from_secs(30);
const INFO: Duration = Duration::from_secs(120);
const EXPORT: Duration = Duration::from_secs(600);
const PART: Duration = Duration::from_secs(3600);

/// How often a request is made again after an error that may pass, and the first pause before that.
const AGAIN: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// The longest answer of the API, and of one that only reports an error.
const MOST: usize = 256 << 20;
const MOST_OF_ERROR: usize = 64 << 10;

/// The most chunks of a part buffered ahead of its reader.
const AHEAD: usize = 32;

/// The most redirects of a link.
const REDIRECTS: usize = 5;

/// A server, asked about one team.
#[derive(Debug)]
pub struct Api {
    tasks: Arc<Tasks>,
    client: Client,
    /// The client for links.
    links: Client,
    url: String,
    token: HeaderValue,
    team: String,
    /// The name shown in messages.
    server: String,
}

/// The answer to a link.
pub enum LinkAnswer {
    /// The part is not there yet.
    NotYet,
    Body(Body),
}

/// Why a link was not answered.
pub enum Failure {
    /// It may be answered another time.
    Passing(String),
    Lasting(String),
    Cancelled,
}

impl Api {
    /// # Errors
    /// A token that no header can hold.
    pub fn open(tasks: Arc<Tasks>, account: &Account) -> Result<Self, StudioError> {
        let mut token = HeaderValue::from_str(&format!("token {}", account.token.0))
            .map_err(|_| StudioError::Token)?;
        token.set_sensitive(true);
        let server = format!("Studio at {}", account.url);
        // Installing the provider again has no effect.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_secure = account.url.starts_with("https://");
        let builder = || {
            let builder = Client::builder()
                .connect_timeout(CONNECT)
                // A link is a secret of the store that signed it.
                .referer(false)
                .user_agent(concat!("dcfs/", env!("CARGO_PKG_VERSION")));
            // Through a proxy, a token without encryption would leave this machine.
            if is_secure { builder } else { builder.no_proxy() }
        };
        let failed = |error: reqwest::Error| StudioError::Unreachable {
            server: server.clone(),
            cause: cause(&error),
        };
        let follow = Policy::custom(move |attempt| followed(attempt, is_secure));
        Ok(Self {
            tasks,
            client: builder().redirect(Policy::none()).build().map_err(failed)?,
            links: builder().read_timeout(SILENCE).redirect(follow).build().map_err(failed)?,
            url: format!("{}/api/datachain/datasets", account.url),
            token,
            team: account.team.clone(),
            server,
        })
    }

    /// The name of the server, for messages.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// All datasets of the team, with their versions.
    ///
    /// # Errors
    /// [`StudioError`].
    pub fn datasets(&self) -> Result<Vec<Dataset>, StudioError> {
        // A team without datasets may be answered by nothing.
        let found: Option<Vec<Dataset>> = self.get("", &[], BRIEF)?;
        Ok(found.unwrap_or_default())
    }

    /// One dataset, with the schemas of its versions.
    ///
    /// # Errors
    /// [`StudioError`].
    pub fn info(&self, name: &DatasetName) -> Result<Dataset, StudioError> {
        let DatasetName { namespace, project, name } = name;
        self.get("/info", &[("namespace", namespace), ("project", project), ("name", name)], INFO)
    }

    /// Begins the export of a version.
    ///
    /// # Errors
    /// [`StudioError`].
    pub fn export(&self, of: &DatasetName, version: &str) -> Result<Export, StudioError> {
        let DatasetName { namespace, project, name } = of;
        let asked = [
            ("namespace", namespace.as_str()),
            ("project", project),
            ("name", name),
            ("version", version),
            ("source", "cli"),
        ];
        self.get("/export", &asked, EXPORT)
    }

    /// How far an export is.
    ///
    /// # Errors
    /// [`StudioError`].
    pub fn progress(&self, export: &str) -> Result<Progress, StudioError> {
        self.get("/export-status", &[("export_id", export)], BRIEF)
    }

    fn get<T: DeserializeOwned>(
        &self,
        route: &str,
        asked: &[(&str, &str)],
        patience: Duration,
    ) -> Result<T, StudioError> {
        let mut url = format!("{}{route}?team_name={}", self.url, encoded(&self.team));
        for (name, value) in asked {
            url.push_str(&format!("&{name}={}", encoded(value)));
        }
        let patience = hastened(patience);
        let began = Instant::now();
        let mut attempt = 0;
        let (status, body) = loop {
            let error = match self.answer(&url, patience) {
                Ok((status, body)) if is_passing(status) => {
                    let cause = format!("it answers {status}{}", said(&body));
                    StudioError::Unreachable { server: self.server.clone(), cause }
                }
                Err(error) if error.is_away() => error,
                answer => break answer?,
            };
            // A server that hangs is asked twice.
            if is_last(attempt) || began.elapsed() >= patience * 2 {
                return Err(error);
            }
            pause(attempt).ok_or_else(|| StudioError::Unasked(self.server.clone()))?;
            attempt += 1;
        };
        if !status.is_success() {
            return Err(self.refused(status, &body, asked));
        }
        let odd = |why: String| StudioError::Odd { server: self.server.clone(), why };
        serde_json::from_slice(&body).map_err(|error| odd(unread(&error)))
    }

    /// The error of a status.
    fn refused(&self, status: StatusCode, body: &[u8], asked: &[(&str, &str)]) -> StudioError {
        let server = self.server.clone();
        let name = asked.iter().find(|(name, _)| *name == "name");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                StudioError::Refused { server, team: line(&self.team), said: said(body) }
            }
            StatusCode::NOT_FOUND if name.is_some() => {
                let name = name.map(|(_, name)| line(name)).unwrap_or_default();
                StudioError::NoDataset { server, name }
            }
            _ if status.is_redirection() => StudioError::Odd {
                server,
                why: "it leads to another address, where the token is not sent; name that one in \
                      `DATACHAIN_STUDIO_URL`"
                    .into(),
            },
            _ => StudioError::Said { server, said: format!("status {status}{}", said(body)) },
        }
    }

    /// The status and the body of an answer.
    fn answer(&self, url: &str, patience: Duration) -> Result<(StatusCode, Vec<u8>), StudioError> {
        let request = self
            .client
            .get(url)
            .header(AUTHORIZATION, self.token.clone())
            .header("content-type", "application/json")
            .timeout(patience);
        let work = async move {
            let mut response = request.send().await.map_err(|error| Some(cause(&error)))?;
            let status = response.status();
            let most = if status.is_success() { MOST } else { MOST_OF_ERROR };
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| Some(cause(&error)))? {
                if body.len() + chunk.len() > most {
                    return if status.is_success() { Err(None) } else { Ok((status, body)) };
                }
                body.extend_from_slice(&chunk);
            }
            Ok((status, body))
        };
        let server = self.server.clone();
        match self.tasks.wait(work) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(Some(cause))) => Err(StudioError::Unreachable { server, cause }),
            Some(Err(None)) => Err(StudioError::Odd { server, why: "it does not end".into() }),
            None => Err(StudioError::Unasked(server)),
        }
    }

    /// Asks for a part by its link.
    pub fn part(&self, link: &str) -> Result<LinkAnswer, Failure> {
        let url =
            Url::parse(link).map_err(|_| Failure::Lasting("its link is no address".into()))?;
        if !is_allowed(url.scheme(), self.url.starts_with("https://")) {
            let what = "its link is not of `https`, as the server is";
            return Err(Failure::Lasting(what.into()));
        }
        let request = self.links.get(url).timeout(PART);
        // Inside a task, for timers begin when a request is made.
        let sent = self.tasks.wait(async move { request.send().await });
        let sent = sent.ok_or(Failure::Cancelled)?;
        let response = sent.map_err(|error| Failure::Passing(cause(&error)))?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(LinkAnswer::NotYet),
            status if is_passing(status) => {
                Err(Failure::Passing(format!("its store answers {status}")))
            }
            status if !status.is_success() => {
                Err(Failure::Lasting(format!("its store answers {status}")))
            }
            _ => Ok(LinkAnswer::Body(Body::new(&self.tasks, response))),
        }
    }
}

/// Waits before a request is made again; `None` if nobody waits for it.
pub fn pause(attempt: u32) -> Option<()> {
    let until = hastened(PAUSE * 2_u32.saturating_pow(attempt));
    let steps = until.as_millis().div_ceil(100);
    for _ in 0..steps {
        if cancel::is_cancelled() {
            return None;
        }
        sleep(Duration::from_millis(100));
    }
    Some(())
}

/// A wait, shortened where a test asks for that: `DCFS_TEST_HASTE` is how many times.
pub fn hastened(wait: Duration) -> Duration {
    static HASTE: OnceLock<u32> = OnceLock::new();
    let said = || std::env::var("DCFS_TEST_HASTE").ok()?.parse::<u32>().ok();
    wait / *HASTE.get_or_init(|| said().unwrap_or(1).clamp(1, 100))
}

/// Whether the next answer may be another.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// Whether a request is not made again.
pub const fn is_last(attempt: u32) -> bool {
    attempt >= AGAIN
}

/// Whether a link may lead to a scheme, if the server itself is reached by `https` or not.
fn is_allowed(scheme: &str, is_secure: bool) -> bool {
    scheme == "https" || (scheme == "http" && !is_secure)
}

/// Whether a redirect of a link is followed.
fn followed(attempt: Attempt<'_>, is_secure: bool) -> reqwest::redirect::Action {
    let is_allowed = is_allowed(attempt.url().scheme(), is_secure);
    match is_allowed && attempt.previous().len() <= REDIRECTS {
        true => attempt.follow(),
        false => attempt.stop(),
    }
}

/// A part as it arrives. Dropping it ends the request.
pub struct Body {
    receive: Receiver<Result<Option<Bytes>, String>>,
    permits: Arc<Semaphore>,
    chunk: Bytes,
    is_done: bool,
    /// Why it broke off, if it did.
    pub broken: Option<String>,
    /// The request, while it lasts.
    task: Option<AbortHandle>,
}

impl Body {
    fn new(tasks: &Tasks, mut response: reqwest::Response) -> Self {
        let (send, receive) = channel();
        let permits = Arc::new(Semaphore::new(AHEAD));
        let ahead = permits.clone();
        let arriving = async move {
            loop {
                let Ok(permit) = ahead.acquire().await else { return };
                permit.forget();
                let next = response.chunk().await.map_err(|error| cause(&error));
                let is_last = !matches!(next, Ok(Some(_)));
                if send.send(next).is_err() || is_last {
                    return;
                }
            }
        };
        let task = tasks.wait(async move { tokio::spawn(arriving).abort_handle() });
        Self { receive, permits, chunk: Bytes::new(), is_done: false, broken: None, task }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.is_done {
            let next = tasks::next(&self.receive);
            self.permits.add_permits(1);
            match next {
                Some(Ok(Some(chunk))) => self.chunk = chunk,
                Some(Ok(None)) => self.is_done = true,
                Some(Err(cause)) => {
                    self.is_done = true;
                    self.broken = Some(cause);
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                None => {
                    self.is_done = true;
                    self.broken = Some("its answer was lost".into());
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
        }
        let taken = self.chunk.split_to(buffer.len().min(self.chunk.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.permits.close();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn encoded(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

/// Why an answer is not understood. No value of it is quoted: links among them are signed.
fn unread(error: &serde_json::Error) -> String {
    let said = error.to_string();
    if said.starts_with("missing field") {
        return line(&said);
    }
    let what = match error.classify() {
        Category::Syntax => "it is not JSON",
        Category::Eof => "it ends too early",
        Category::Data | Category::Io => "a value is of another type",
    };
    format!("{what}, at line {} column {}", error.line(), error.column())
}

/// What an error says of itself, as `: TEXT`.
fn said(body: &[u8]) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return String::new() };
    let text = ["message", "detail"].iter().find_map(|name| fields.get(*name)?.as_str());
    text.filter(|text| !text.trim().is_empty())
        .map(|text| format!(": {}", line(text)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_secure_server_are_secure() {
        assert!(is_allowed("https", true) && is_allowed("https", false));
        assert!(is_allowed("http", false) && !is_allowed("http", true));
        assert!(!is_allowed("file", false) && !is_allowed("ftp", true));
    }

    #[test]
    fn what_is_not_understood_is_not_quoted() {
        let read = |text: &str| serde_json::from_str::<Export>(text).map(drop);
        for (text, want) in [
            (
                r#"{"export_id": 1, "signed_urls": "https://s/?secret"}"#,
                "a value is of another type",
            ),
            (r#"{"export_id": 1, "signed_urls": ["https://s/?secret"#, "it ends too early"),
            ("<html>secret", "it is not JSON"),
            ("{}", "missing field `export_id`"),
        ] {
            let said = unread(&read(text).expect_err(text));
            assert!(said.starts_with(want) && !said.contains("secret"), "{text}: {said}");
            assert!(said.contains("line 1 column "), "{said}");
        }
    }

    #[test]
    fn what_an_error_says_is_one_line() {
        assert_eq!(said(br#"{"message": "a\nb"}"#), ": a b");
        assert_eq!(said(br#"{"detail": "c"}"#), ": c");
        for none in [&b"<html>"[..], b"[]", b"{}", br#"{"message": 1}"#] {
            assert_eq!(said(none), "");
        }
    }
}
