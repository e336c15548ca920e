//! `http(s)://` and `hf://`: objects requested by URL, directly with `reqwest`, because a row's URL must reach
//! its server unchanged (queries, escapes), and the hub's answers carry more than an object store's.
//!
//! - Redirects are followed here, at most [`HOPS`], never from TLS to plain HTTP. The token is sent to the hub
//!   only.
//! - Failed connections, 408, 429 and 5xx are retried, as with the other stores.
//! - No message contains a URL: redirects lead to signed ones.
//!
//! | file | contents |
//! |---|---|
//! | `address`, `encode` | text of rows in URLs |
//! | `headers` | response headers |
//! | `hub` | the file of a dataset that a row means; the hub's endpoint, token and headers |
//! | `settings` | keys of the tables of `config.toml` |

mod address;
mod encode;
mod headers;
mod hub;
pub mod settings;

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
use self::hub::{Hub, HubFile, Told};
use super::ways::Ways;
use super::{Backend, Folder, Setup, StoreKind};
use crate::allowed::Allowed;
use crate::budget::{Passing, retry_after};
use crate::cloud::fault;
use crate::error::{Error, show};
use crate::list::page::Pages;
use crate::metrics::SENT;
use crate::net::{self, Net, innermost};
use crate::pin::{Answer, Ask, Rules};
use crate::refusal::Refusal;
use crate::remote::{Failure, Got, Question, Requests};
use crate::settings::Tables;
use dcfs_core::object::Object;

/// Redirects followed for one request.
const HOPS: usize = 10;

/// `https://host/path`, and plain `http://`.
pub static PAGES: StoreKind = StoreKind {
    schemes: &["https", "http"],
    rules: Rules::Http,
    url: page,
    is_bucket: None,
    tables: Tables {
        wrong_name: |scheme, server, below| {
            let is_server = is_plain(server, b":[]") && !below.contains(['?', '#']);
            (!is_server)
                .then(|| format!("write `{scheme}host/prefix`, without a login and a query"))
        },
        address: |rest| address::url_path(rest, b":[]"),
        read: |_, table| Ok(Arc::new(settings::Http::read(table)?)),
    },
    open: |setup| Box::new(Servers::new(setup)),
};

/// `hf://datasets/OWNER/NAME[@REVISION]/PATH`: datasets of the Hugging Face hub.
pub static HUB: StoreKind = StoreKind {
    schemes: &["hf"],
    rules: Rules::Hub,
    url: |object| Ok(hub_file(object)?.address()),
    is_bucket: None,
    tables: Tables {
        wrong_name: |_, kind, below| {
            let text = "write `hf://datasets/OWNER/NAME`, without a revision";
            (kind != "datasets" || below.contains('@')).then(|| text.to_owned())
        },
        address: str::to_owned,
        read: |at, table| Ok(Arc::new(settings::Hf::read(at, table)?)),
    },
    open: |setup| Box::new(Hubs::new(setup)),
};

fn page(object: &Object) -> Result<String, Error> {
    let url = address::url(&object.source, &object.path);
    url.map_err(|reason| Error::unaskable(object, reason))
}

fn hub_file(object: &Object) -> Result<HubFile, Error> {
    match object.source.strip_prefix("hf://") {
        Some("datasets") => {
            HubFile::of(&object.path).map_err(|reason| Error::unaskable(object, reason))
        }
        rest => {
            let kind = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
            Err(Error::scheme(object, &format!("hf://{kind}")))
        }
    }
}

/// Whether `name` consists of letters, digits, `.`, `-`, `_` and bytes of `more`.
fn is_plain(name: &str, more: &[u8]) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b) || more.contains(&b);
    !name.is_empty() && name.bytes().all(plain)
}

/// All web servers of a mount.
struct Servers {
    ways: Ways<Web>,
    allowed: Arc<Allowed>,
}

/// All hubs of a mount.
struct Hubs {
    ways: Ways<(Arc<Web>, Arc<Hub>)>,
    allowed: Arc<Allowed>,
}

/// The settings for servers, or hubs, of one table of `config.toml`, or the default ones.
struct Web {
    net: Net,
    client: OnceCell<reqwest::Client>,
}

/// The target of a request.
enum Target {
    /// A URL that `address` made.
    Page(String),
    Hub(Arc<Hub>, HubFile),
}

/// One object behind a URL.
struct WebObject {
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

impl Servers {
    fn new(setup: &Setup<'_>) -> Self {
        let Setup { config, environment, allowed } = setup;
        let net = Net::new(config.timeout, environment);
        let way = |table: Option<&settings::Http>| {
            let bundle = table.and_then(|table| table.ca_bundle.as_ref());
            let bundle = bundle.map(|path| net::expand(environment, path));
            Web::new(bundle.map_or(net.clone(), |bundle| net.clone().with_bundle(bundle)))
        };
        Self { ways: Ways::new(&config.settings, way), allowed: Arc::clone(allowed) }
    }
}

impl Backend for Servers {
    fn check(&self) -> Result<(), Error> {
        self.ways.check(|web| web.net.client().map(drop))
    }

    fn describe(&self, source: &str) -> Result<Vec<(&'static str, String)>, Error> {
        Ok(self.ways.describe(source.as_bytes(), |web| [("trusted", web.net.trusted())]))
    }

    fn object(&self, object: &Object, place: String) -> Result<Arc<dyn Requests>, Error> {
        let url = page(object)?;
        let (_, web) = self.ways.of(url.split('?').next().unwrap_or_default().as_bytes());
        let (web, allowed) = (Arc::clone(web), Arc::clone(&self.allowed));
        Ok(Arc::new(WebObject { web, target: Target::Page(url), place, allowed }))
    }

    fn pages(&self, folder: Folder<'_>) -> Result<Arc<dyn Pages>, Error> {
        Err(unlisted(&PAGES, folder))
    }
}

impl Hubs {
    fn new(setup: &Setup<'_>) -> Self {
        let Setup { config, environment, allowed } = setup;
        let net = Net::new(config.timeout, environment);
        let way = |table: Option<&_>| {
            let hub = Hub::new(config.anon, environment, table);
            (Arc::new(Web::new(net.clone())), Arc::new(hub))
        };
        Self { ways: Ways::new(&config.settings, way), allowed: Arc::clone(allowed) }
    }
}

impl Backend for Hubs {
    fn check(&self) -> Result<(), Error> {
        self.ways.check(|(_, hub)| hub.check())
    }

    fn describe(&self, source: &str) -> Result<Vec<(&'static str, String)>, Error> {
        let say = |(_, hub): &(Arc<Web>, Arc<Hub>)| {
            [("endpoint", hub.server().to_owned()), ("asked with", hub.whose())]
        };
        Ok(self.ways.describe(source.as_bytes(), say))
    }

    fn object(&self, object: &Object, place: String) -> Result<Arc<dyn Requests>, Error> {
        let file = hub_file(object)?;
        let (_, way) = self.ways.of(file.address().as_bytes());
        let (web, hub) = (Arc::clone(&way.0), Arc::clone(&way.1));
        let allowed = Arc::clone(&self.allowed);
        Ok(Arc::new(WebObject { web, target: Target::Hub(hub, file), place, allowed }))
    }

    fn pages(&self, folder: Folder<'_>) -> Result<Arc<dyn Pages>, Error> {
        Err(unlisted(&HUB, folder))
    }
}

/// The error for listing: the web has no folders.
fn unlisted(kind: &StoreKind, folder: Folder<'_>) -> Error {
    Error::Scheme { place: folder.place, scheme: format!("{}://", kind.schemes[0]) }
}

impl Web {
    fn new(net: Net) -> Self {
        Self { net, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&reqwest::Client, Error> {
        self.client.get_or_try_init(|| async { self.net.client() }).await
    }
}

impl WebObject {
    async fn ask(self: Arc<Self>, question: Question) -> Result<Got, Failure> {
        let Question { ask, range, is_whole, .. } = question;
        let named = (!is_whole).then(|| range.clone());
        let mut reply = self.reply(&ask, named.as_ref()).await?;
        if reply.head.size.is_some() {
            let Reply { response, head, answer } = reply;
            let range = head.range.unwrap_or(0..answer.size);
            let broken = move |error: reqwest::Error| self.broken(&error);
            let body = response.bytes_stream().map_err(broken).boxed();
            return Ok(Got { answer, range, body });
        }
        // Without a length, only the end of the body shows it.
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

    /// Sends one request and follows redirects; the answer has status 200 or 206.
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
            // The host that sends the bytes may be the hub too, and its answer carries less.
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
        let cause = format!("it was redirected {HOPS} times");
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
        match self.hub().and_then(Hub::token) {
            Some(token) if at_home => Ok(request.header(AUTHORIZATION, token)),
            _ => Ok(request),
        }
    }

    fn url(&self, ask: &Ask) -> Result<Url, Error> {
        match &self.target {
            Target::Hub(hub, file) => hub.url(file, ask).map_err(|error| self.setting(error)),
            Target::Page(text) => {
                let reason = "its URL cannot be sent as it is";
                let url = Url::parse(text).ok().filter(|url| is_exact(url, text));
                url.ok_or_else(|| Error::Unaskable { place: self.place.clone(), reason })
            }
        }
    }

    /// The target of the redirect in `response`.
    fn onward(&self, from: &Url, response: &Response) -> Result<Url, Error> {
        let told = response.headers().get(LOCATION);
        let told = told.and_then(|to| std::str::from_utf8(to.as_bytes()).ok());
        let url = told.and_then(|to| from.join(to).ok());
        let is_safe = |to: &Url| match to.scheme() {
            "https" => true,
            "http" => from.scheme() == "http",
            _ => false,
        };
        let no = || "it is redirected to a place that is not allowed".to_owned();
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

    fn hub(&self) -> Option<&Hub> {
        match &self.target {
            Target::Page(_) => None,
            Target::Hub(hub, _) => Some(hub),
        }
    }

    fn is_hub(&self) -> bool {
        self.hub().is_some()
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
        match self.hub().map(Hub::token) {
            None => "dcfs sends no login to web servers",
            Some(None) => {
                "it was requested without a token: `hf auth login`, or set `HF_TOKEN`, and do not pass `--anon`"
            }
            Some(Some(_)) => {
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

    /// The error of a body that broke off.
    fn broken(&self, error: &reqwest::Error) -> Error {
        Error::Failed { place: self.place.clone(), cause: innermost(error) }
    }

    fn unusable(&self, answer: String) -> Error {
        Error::Answer { place: self.place.clone(), answer }
    }

    /// The error of a setting, as a failed read: a read found it, not the command line.
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

    /// For a web page, the row itself names the server.
    fn server(&self) -> &str {
        self.hub().map_or("", Hub::server)
    }

    fn origin(&self) -> String {
        match &self.target {
            Target::Page(url) => url.split('/').take(3).collect::<Vec<_>>().join("/"),
            Target::Hub(hub, _) => hub.server().to_owned(),
        }
    }

    fn timeout(&self) -> Duration {
        self.web.net.timeout
    }
}

fn failed(error: Error) -> Failure {
    Failure::Told(error)
}

/// Whether parsing `text` as a URL changed nothing that a server sees, such as a dot segment or a slash.
fn is_exact(url: &Url, text: &str) -> bool {
    let after = text.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    after.and_then(|rest| rest.split('?').next()) == Some(url.path())
}

/// Reads a body of unknown length, up to one byte more than wanted.
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
