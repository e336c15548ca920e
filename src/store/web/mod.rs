//! `http(s)://` and `hf://`: objects asked for by a URL, directly with `reqwest`, for a URL of a row must
//! reach its server as it is (a query, an escape), and the hub's answers tell more than an object store's.
//!
//! - Redirects are followed here, at most [`HOPS`], never from TLS to none. The token is for the hub alone.
//! - Connections that fail, 408, 429 and 5xx may pass, as with the other stores.
//! - No message holds a URL: redirects lead to signed ones.
//!
//! | file | what it decides |
//! |---|---|
//! | `encode` | texts of rows in URLs |
//! | `headers` | what an answer says of its body |
//! | `hf` | where the hub is, its token, what it says of an object |

mod encode;
mod headers;
mod hf;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, IF_MATCH, LOCATION, RANGE};
use reqwest::{Method, Response, Url};
use tokio::sync::OnceCell;

use self::headers::{Head, text};
use self::hf::{Hub, Told};
use super::Config;
use super::allowed::Allowed;
use super::budget::{Passing, retry_after};
use super::cloud::fault;
use super::error::{Error, show};
use super::metrics::SENT;
use super::net::{self, Net, Variables, innermost};
use super::pin::{Answer, Ask};
use super::place::HubFile;
use super::refusal::Refusal;
use super::remote::{Failure, Got, Question, Requests};
use super::settings;
use super::ways::Ways;

/// Redirects followed for one request.
const HOPS: usize = 10;

/// Every web server of a mount, and every hub.
pub struct Webs {
    pages: Ways<Web>,
    hubs: Ways<Web>,
    allowed: Arc<Allowed>,
}

/// How servers, or hubs, of one table are asked, or of none.
pub struct Web {
    net: Net,
    hub: Arc<Hub>,
    client: OnceCell<reqwest::Client>,
}

/// What is asked for.
pub enum Target {
    /// A URL that `place` made.
    Page(String),
    Hub(HubFile),
}

/// One object of the web.
pub struct WebObject {
    web: Arc<Web>,
    target: Target,
    place: String,
    allowed: Arc<Allowed>,
}

/// An answer of status 200 or 206.
struct Reply {
    response: Response,
    head: Head,
    answer: Answer,
}

impl Webs {
    /// Nothing is asked of a network yet.
    pub fn new(config: &Config, environment: &Variables, allowed: &Arc<Allowed>) -> Self {
        let net = Net::new(config.timeout, environment);
        let hub = |table: Option<&_>| Arc::new(Hub::new(config.anon, environment, table));
        let usual = hub(None);
        let page = |table: Option<&settings::Http>| {
            let bundle = table.and_then(|table| table.ca_bundle.as_ref());
            let bundle = bundle.map(|path| net::expand(environment, path));
            let net = net.clone();
            Web::new(bundle.map_or(net.clone(), |bundle| net.with_bundle(bundle)), &usual)
        };
        let hubs = |table: Option<&_>| match table {
            Some(table) => Web::new(net.clone(), &hub(Some(table))),
            None => Web::new(net.clone(), &usual),
        };
        let settings = &config.settings;
        Self {
            pages: Ways::new(settings, page),
            hubs: Ways::new(settings, hubs),
            allowed: Arc::clone(allowed),
        }
    }

    /// How `target` is asked for; `place` is `source/path` for messages.
    pub fn object(&self, target: Target, place: String) -> WebObject {
        let (_, web) = match &target {
            Target::Page(url) => {
                self.pages.of(url.split('?').next().unwrap_or_default().as_bytes())
            }
            Target::Hub(file) => self.hubs.of(file.address().as_bytes()),
        };
        WebObject { web: Arc::clone(web), target, place, allowed: Arc::clone(&self.allowed) }
    }

    /// Whether every table makes sense.
    ///
    /// # Errors
    /// `Setting`, naming the one that does not.
    pub fn check(&self) -> Result<(), Error> {
        self.pages.check(|page| page.net.client().map(drop))?;
        self.hubs.check(|hub| hub.hub.check())
    }

    /// What counts for objects of `source`, as names and values without secrets.
    pub fn describe(&self, source: &str) -> Vec<(&'static str, String)> {
        if source.starts_with("hf://") {
            let say = |web: &Web| {
                [("endpoint", web.hub.server().to_owned()), ("asked with", web.hub.whose())]
            };
            return self.hubs.describe(source.as_bytes(), say);
        }
        self.pages.describe(source.as_bytes(), |web| [("trusted", web.net.trusted())])
    }
}

impl Web {
    fn new(net: Net, hub: &Arc<Hub>) -> Self {
        Self { net, hub: Arc::clone(hub), client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&reqwest::Client, Error> {
        self.client.get_or_try_init(|| async { self.net.client() }).await
    }
}

impl WebObject {
    async fn ask(self: Arc<Self>, question: Question) -> Result<Got, Failure> {
        let Question { ask, range, is_whole } = question;
        let named = (!is_whole).then(|| range.clone());
        let mut reply = self.reply(&ask, named.as_ref()).await?;
        if reply.head.size.is_some() {
            let Reply { response, head, answer } = reply;
            let range = head.range.unwrap_or(0..answer.size);
            let broken = move |error: reqwest::Error| self.broken(&error);
            let body = response.bytes_stream().map_err(broken).boxed();
            return Ok(Got { answer, range, body });
        }
        // Without a length only the end tells it.
        let bytes = collect(&mut reply.response, range.end).await;
        let bytes = bytes.map_err(|error| Failure::Passing(Passing::new(self.broken(&error))))?;
        let size = bytes.len() as u64;
        let body = stream::once(async { Ok(bytes) }).boxed();
        Ok(Got { answer: Answer { size, ..reply.answer }, range: 0..size, body })
    }

    async fn reply(&self, ask: &Ask, range: Option<&Range<u64>>) -> Result<Reply, Failure> {
        let (response, told) = self.send(&Method::GET, ask, range).await?;
        let status = response.status();
        let head = Head::of(status, response.headers()).map_err(|a| failed(self.unusable(a)))?;
        if range.is_some() && !head.is_part {
            return Err(failed(Error::RangeIgnored { place: self.place.clone() }));
        }
        if let Some(wanted) = range
            && head.range.as_ref() != Some(wanted)
            && head.size.is_some_and(|size| size >= wanted.end)
        {
            return Err(failed(self.unusable(format!("bytes {:?} for {wanted:?}", head.range))));
        }
        let answer = self.answer(&head, told);
        Ok(Reply { response, head, answer })
    }

    async fn ask_now(&self, ask: &Ask) -> Result<Answer, Failure> {
        let (response, told) = self.send(&Method::HEAD, ask, None).await?;
        let head = Head::of(response.status(), response.headers());
        let head = head.map_err(|answer| Failure::Told(self.unusable(answer)))?;
        match head.size {
            Some(_) => Ok(self.answer(&head, told)),
            None => Err(Failure::Told(self.unusable("no Content-Length".into()))),
        }
    }

    /// Sends one request, wherever it is sent on to; the answer is of status 200 or 206.
    async fn send(
        &self,
        method: &Method,
        ask: &Ask,
        range: Option<&Range<u64>>,
    ) -> Result<(Response, Told), Failure> {
        let first = self.url(ask).map_err(failed)?;
        let (mut url, mut told) = (first.clone(), Told::default());
        for _ in 0..HOPS {
            let at_home = url.origin() == first.origin();
            let request = self.request(method, &url, ask, range, at_home).await.map_err(failed)?;
            SENT.add(1);
            let response = request.send().await.map_err(|error| self.unsent(&url, &error))?;
            // Whoever sends the bytes may be at home too, and says less.
            if at_home && self.is_hub() && told.commit.is_none() {
                told = Told::of(response.headers());
            }
            match response.status().as_u16() {
                200 | 206 => return Ok((response, told)),
                301 | 302 | 303 | 307 | 308 => {
                    url = self.onward(&url, &response).map_err(failed)?
                }
                _ => return Err(self.refused(&response)),
            }
        }
        let cause = format!("it was sent on {HOPS} times");
        Err(failed(Error::Failed { place: self.place.clone(), cause }))
    }

    async fn request(
        &self,
        method: &Method,
        url: &Url,
        ask: &Ask,
        range: Option<&Range<u64>>,
        at_home: bool,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let client = self.web.client().await.map_err(|error| self.setting(error))?;
        let mut request =
            client.request(method.clone(), url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Ask::IfMatch(etag) = ask {
            request = request.header(IF_MATCH, etag);
        }
        match self.web.hub.token() {
            Some(token) if at_home && self.is_hub() => Ok(request.header(AUTHORIZATION, token)),
            _ => Ok(request),
        }
    }

    fn url(&self, ask: &Ask) -> Result<Url, Error> {
        match &self.target {
            Target::Hub(file) => self.web.hub.url(file, ask).map_err(|error| self.setting(error)),
            Target::Page(text) => {
                let reason = "its URL cannot be sent as it is";
                let url = Url::parse(text).ok().filter(|url| is_exact(url, text));
                url.ok_or_else(|| Error::Unaskable { place: self.place.clone(), reason })
            }
        }
    }

    /// Where `response` sends on to.
    fn onward(&self, from: &Url, response: &Response) -> Result<Url, Error> {
        let told = response.headers().get(LOCATION);
        let told = told.and_then(|to| std::str::from_utf8(to.as_bytes()).ok());
        let url = told.and_then(|to| from.join(to).ok());
        let is_safe = |to: &Url| match to.scheme() {
            "https" => true,
            "http" => from.scheme() == "http",
            _ => false,
        };
        let no = || "it is sent on to a place that is not to be asked".to_owned();
        let to = url.filter(is_safe);
        let to = to.ok_or_else(|| Error::Failed { place: self.place.clone(), cause: no() })?;
        if !self.is_hub() {
            self.allowed.check_url(to.as_str(), &self.place)?;
        }
        Ok(to)
    }

    fn answer(&self, head: &Head, told: Told) -> Answer {
        let size = head.size.unwrap_or_default();
        if self.is_hub() {
            return Answer { size, version: told.commit, etag: told.blob, last_modified: None };
        }
        let (etag, last_modified) = (head.etag.clone(), head.last_modified);
        Answer { size, version: None, etag, last_modified }
    }

    fn is_hub(&self) -> bool {
        matches!(self.target, Target::Hub(_))
    }

    /// The meaning of any other status.
    fn refused(&self, response: &Response) -> Failure {
        let of = |name| show(&text(response.headers(), name).unwrap_or_default());
        let status = response.status().as_u16();
        let refusal = Refusal { status, code: of("x-error-code"), message: of("x-error-message") };
        let (place, answer) = (self.place.clone(), refusal.to_string());
        let date = text(response.headers(), "date");
        let after = text(response.headers(), "retry-after");
        let after = after.and_then(|after| retry_after(&after, date.as_deref()));
        match status {
            412 | 416 | 501 => Failure::Condition(refusal),
            401 | 403 | 407 => failed(Error::Denied { place, answer, hint: self.hint() }),
            404 | 410 => failed(Error::Gone { place, answer }),
            429 | 503 => {
                Failure::Passing(Passing { after, ..Passing::new(Error::Busy { place, answer }) })
            }
            _ if fault::is_passing(status) => {
                let error = Error::Failed { place, cause: answer };
                Failure::Passing(Passing { after, ..Passing::new(error) })
            }
            _ => failed(Error::Failed { place, cause: answer }),
        }
    }

    fn hint(&self) -> &'static str {
        match (self.is_hub(), self.web.hub.token()) {
            (false, _) => "dcfs sends no login to web servers",
            (true, None) => {
                "it was asked for without a token: `hf auth login`, or set `HF_TOKEN`, and do not pass `--anon`"
            }
            (true, Some(_)) => {
                "the token does not allow it; a gated data set wants its terms accepted on its page"
            }
        }
    }

    fn unsent(&self, url: &Url, error: &reqwest::Error) -> Failure {
        let (server, cause) = (show(&url.origin().ascii_serialization()), innermost(error));
        let (is_brief, is_lasting) = (fault::is_unknown_name(&cause), fault::is_distrust(&cause));
        let cause = format!("asking `{server}`: {cause}");
        let error = Error::Failed { place: self.place.clone(), cause };
        match is_lasting {
            true => Failure::Told(error),
            false => Failure::Passing(Passing { is_brief, ..Passing::new(error) }),
        }
    }

    /// A body that ended before its end.
    fn broken(&self, error: &reqwest::Error) -> Error {
        Error::Failed { place: self.place.clone(), cause: innermost(error) }
    }

    fn unusable(&self, answer: String) -> Error {
        Error::Answer { place: self.place.clone(), answer }
    }

    /// What is wrong with a setting is asked for by a read here, not by a command line.
    fn setting(&self, error: Error) -> Error {
        Error::Failed { place: self.place.clone(), cause: error.to_string() }
    }
}

impl Requests for WebObject {
    fn get(self: Arc<Self>, question: Question) -> BoxFuture<'static, Result<Got, Failure>> {
        self.ask(question).boxed()
    }

    fn head(self: Arc<Self>, ask: Ask) -> BoxFuture<'static, Result<Answer, Failure>> {
        async move { self.ask_now(&ask).await }.boxed()
    }

    fn place(&self) -> &str {
        &self.place
    }

    /// Of a page the row says it.
    fn server(&self) -> &str {
        if self.is_hub() { self.web.hub.server() } else { "" }
    }

    fn origin(&self) -> String {
        match &self.target {
            Target::Page(url) => url.split('/').take(3).collect::<Vec<_>>().join("/"),
            Target::Hub(_) => self.web.hub.server().to_owned(),
        }
    }

    fn timeout(&self) -> Duration {
        self.web.net.timeout
    }
}

fn failed(error: Error) -> Failure {
    Failure::Told(error)
}

/// Whether reading `text` as a URL changed nothing that a server sees: a dot segment, a slash.
fn is_exact(url: &Url, text: &str) -> bool {
    let after = text.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    after.and_then(|rest| rest.split('?').next()) == Some(url.path())
}

/// A body whose length is not said, up to a byte more than is wanted.
async fn collect(response: &mut Response, want: u64) -> Result<Bytes, reqwest::Error> {
    let mut whole = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        whole.extend_from_slice(&chunk);
        if whole.len() as u64 > want {
            break;
        }
    }
    Ok(whole.into())
}
