//! HTTP on this machine only: clients must know the token, which is part of the URL.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, RANGE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::bytes::{PART, PIECE, type_of};
use super::saving::Saving;
use super::{Near, View};

/// Content-Security-Policy of the page: only its own scripts and its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Content-Security-Policy of rows' files: nothing runs, in an origin of its own.
const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/view.css");
const ICON: &str = include_str!("page/icon.svg");

/// The scripts, in the order in which the page names them.
const SCRIPTS: [(&str, &str); 5] = [
    ("view.js", include_str!("page/view.js")),
    ("row.js", include_str!("page/row.js")),
    ("near.js", include_str!("page/near.js")),
    ("filter.js", include_str!("page/filter.js")),
    ("about.js", include_str!("page/about.js")),
];

/// Limit of a request in bytes: its URL contains a filter.
const LONGEST: usize = 64 << 10;

/// A server with an open port.
pub struct Listening {
    listener: TcpListener,
    token: String,
    address: SocketAddr,
}

/// Opens a local port; 0 picks a free one.
///
/// # Errors
/// It is in use.
pub async fn listen(port: u16) -> Result<Listening> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let taken = |error| {
        Error::new(Kind::Busy, format!("cannot listen on port {port} of 127.0.0.1: {error}"))
    };
    let listener = TcpListener::bind(wanted).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    Ok(Listening { listener, token: uuid::Uuid::new_v4().simple().to_string(), address })
}

impl Listening {
    /// The URL of the page.
    pub fn url(&self) -> String {
        format!("http://{}/{}/", self.address, self.token)
    }

    /// Serves until it is dropped.
    pub async fn serve(self, near: Arc<Near>) {
        let door = Arc::new(Door { near, token: self.token, port: self.address.port() });
        loop {
            let (stream, _) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                // Too many open descriptors: other connections will be closed in a moment.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let door = Arc::clone(&door);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let door = Arc::clone(&door);
                    async move { Ok::<_, Infallible>(door.answer(request).await) }
                });
                let mut server = hyper::server::conn::http1::Builder::new();
                server.timer(TokioTimer::new()).max_buf_size(LONGEST);
                let served = server.serve_connection(TokioIo::new(stream), service).await;
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection of the page ended");
                }
            });
        }
    }
}

/// The body type of requests.
trait Asking: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> {}

impl<B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>> Asking for B {}

type Answer = Response<UnsyncBoxBody<Bytes, Error>>;

/// Access check.
struct Door {
    near: Arc<Near>,
    token: String,
    port: u16,
}

impl Door {
    async fn answer<B: Asking>(&self, request: Request<B>) -> Answer {
        let is_head = request.method() == Method::HEAD;
        let mut answer = match self.check(&request) {
            Err(status) => plain(status, status.canonical_reason().unwrap_or_default()),
            Ok(path) if request.method() == Method::POST => {
                self.write(&path, request).await.unwrap_or_else(|error| refused(&error))
            }
            Ok(path) => {
                let query = Asked::new(request.uri().query().unwrap_or_default());
                let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
                self.route(&path, query, range).await.unwrap_or_else(|error| refused(&error))
            }
        };
        let headers = answer.headers_mut();
        let mut always = |name: HeaderName, value: &'static str| {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        };
        always(CONTENT_SECURITY_POLICY, POLICY);
        always(CACHE_CONTROL, "no-store");
        always(HeaderName::from_static("x-content-type-options"), "nosniff");
        always(HeaderName::from_static("referrer-policy"), "no-referrer");
        always(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
        always(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
        if is_head {
            *answer.body_mut() = whole(Bytes::new());
        }
        answer
    }

    /// The path after the token.
    fn check<B>(&self, request: &Request<B>) -> Result<String, StatusCode> {
        let may = match *request.method() {
            Method::GET | Method::HEAD => true,
            Method::POST => self.near.may_write,
            _ => false,
        };
        if !may {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        // Refuses pages of other hosts whose name resolves to this machine (DNS rebinding).
        let own = [format!("127.0.0.1:{}", self.port), format!("localhost:{}", self.port)];
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        if !text(HOST).is_some_and(|host| own.iter().any(|own| own == host)) {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        let is_own = |origin: &str| own.iter().any(|own| origin == format!("http://{own}"));
        // Browsers always send the origin of writing requests.
        let is_known = match text(ORIGIN) {
            Some(origin) => is_own(origin),
            None => *request.method() != Method::POST,
        };
        if !is_known {
            return Err(StatusCode::FORBIDDEN);
        }
        let path = request.uri().path().strip_prefix('/').unwrap_or_default();
        let (token, rest) = path.split_once('/').ok_or(StatusCode::NOT_FOUND)?;
        match is_same(token.as_bytes(), self.token.as_bytes()) {
            true => Ok(rest.to_owned()),
            false => Err(StatusCode::NOT_FOUND),
        }
    }

    async fn route(&self, path: &str, asked: Asked, range: Option<&str>) -> Result<Answer> {
        let near = Arc::clone(&self.near);
        let filter = asked.text("where");
        if let Some((_, script)) = SCRIPTS.iter().find(|(name, _)| *name == path) {
            return Ok(typed("text/javascript; charset=utf-8", *script));
        }
        match path {
            "" => return Ok(typed("text/html; charset=utf-8", PAGE)),
            "view.css" => return Ok(typed("text/css; charset=utf-8", STYLE)),
            "icon.svg" => return Ok(typed("image/svg+xml", ICON)),
            _ => {}
        }
        let view = self.version(asked.text("of")).await?;
        let json = |value: serde_json::Value| value.to_string().into_bytes();
        match path {
            "about" => blocking(move || Ok(json(near.about(&view)?))).await,
            "graph" => blocking(move || Ok(json(near.graph(&view.of)?))).await,
            "diff" => {
                let (with, part) = (asked.text("with"), asked.text("part"));
                let from = asked.number("from");
                blocking(move || Ok(json(near.diff(&view, &with, &part, from)?))).await
            }
            "count" => blocking(move || Ok(json(view.count(&filter)))).await,
            "stats" => blocking(move || Ok(view.stats(&filter)?.into_bytes())).await,
            "rows" => {
                let (from, most) = (asked.number("from"), asked.number("most"));
                blocking(move || view.rows(&filter, from, most)).await
            }
            "row" => {
                let id = asked.row()?;
                blocking(move || Ok(json(view.row(id)?))).await
            }
            "why" => {
                let id = asked.row()?;
                blocking(move || Ok(json(near.why(&view, id)?))).await
            }
            "thumb" | "file" => {
                let (row, column) = (asked.row()?, asked.number("column"));
                let column = usize::try_from(column).unwrap_or(usize::MAX);
                let own = Arc::clone(&view);
                let object = tokio::task::spawn_blocking(move || own.object(row, column));
                let object = object.await.unwrap_or_else(|error| Err(died(&error)))?;
                match path {
                    "thumb" => {
                        let mut answer = typed("image/jpeg", view.thumb(object).await?);
                        // A version never changes, and the token is different next time.
                        let lasting = HeaderValue::from_static("private, max-age=86400, immutable");
                        answer.headers_mut().insert(CACHE_CONTROL, lasting);
                        Ok(answer)
                    }
                    _ => file(&view, &object, range).await,
                }
            }
            _ => Ok(plain(StatusCode::NOT_FOUND, "nothing is here")),
        }
    }

    /// The version that a request is about.
    async fn version(&self, name: String) -> Result<Arc<View>> {
        let near = Arc::clone(&self.near);
        let found = tokio::task::spawn_blocking(move || near.version(&name)).await;
        found.unwrap_or_else(|error| Err(died(&error)))
    }

    /// Handles a writing request of the page.
    async fn write<B: Asking>(&self, path: &str, request: Request<B>) -> Result<Answer> {
        if path != "save" {
            return Ok(plain(StatusCode::NOT_FOUND, "nothing is here"));
        }
        let asked = Asked::new(request.uri().query().unwrap_or_default());
        let view = self.version(asked.text("of")).await?;
        let body = Limited::new(request.into_body(), LONGEST).collect().await;
        let body = body.map_err(|_| Error::new(Kind::Invalid, "the request is too long"))?;
        let saving = Saving::read(&body.to_bytes())?;
        blocking(move || Ok(saving.save(&view)?.to_string().into_bytes())).await
    }
}

/// Serves a file of a row, or the requested part of it.
async fn file(
    view: &View,
    object: &dcfs_core::object::Object,
    range: Option<&str>,
) -> Result<Answer> {
    let Some(wanted) = range.and_then(parse_range) else { return all_of(view, object).await };
    let (bytes, part, size) = view
        .part(object, |size| {
            let (from, end) = match wanted {
                (Some(from), to) => (from, to.map_or(size, |to| to.saturating_add(1)).min(size)),
                (None, last) => (size.saturating_sub(last.unwrap_or(0)), size),
            };
            from..end.min(from.saturating_add(PART))
        })
        .await?;
    if part.is_empty() {
        let mut answer = plain(StatusCode::RANGE_NOT_SATISFIABLE, "the range is beyond the end");
        put(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
        return Ok(answer);
    }
    let mut answer = shown(object, whole(bytes));
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    put(&mut answer, CONTENT_RANGE, &told(&part, size));
    Ok(answer)
}

/// Streams all bytes of an object, as fast as the browser reads them.
async fn all_of(view: &View, object: &dcfs_core::object::Object) -> Result<Answer> {
    let reader = view.stores.open(object).await?;
    let size = reader.size();
    let pieces = stream::try_unfold((reader, 0), move |(reader, at)| async move {
        if at >= size {
            return Ok::<_, Error>(None);
        }
        let most = u32::try_from(size - at).unwrap_or(PIECE).min(PIECE);
        let piece = reader.read(at, most).await?;
        if piece.is_empty() {
            return Err(Error::new(Kind::Stale, "its bytes end before its size"));
        }
        let next = at + piece.len() as u64;
        Ok(Some((Frame::data(piece), (reader, next))))
    });
    let mut answer = shown(object, BodyExt::boxed_unsync(StreamBody::new(pieces)));
    put(&mut answer, CONTENT_LENGTH, &size.to_string());
    Ok(answer)
}

/// Serves an object with a type that runs nothing, or as a download.
fn shown(object: &dcfs_core::object::Object, body: UnsyncBoxBody<Bytes, Error>) -> Answer {
    let kind = type_of(object);
    let mut answer = typed(kind.unwrap_or("application/octet-stream"), Bytes::new());
    *answer.body_mut() = body;
    put(&mut answer, CONTENT_SECURITY_POLICY, SANDBOX);
    put(&mut answer, ACCEPT_RANGES, "bytes");
    if kind.is_none() {
        put(&mut answer, CONTENT_DISPOSITION, "attachment");
    }
    answer
}

fn told(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1))
}

/// Parses `bytes=5-9`, `bytes=5-`, `bytes=-9`: one range; several are treated as none.
fn parse_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| match text.is_empty() {
        true => Some(None),
        false => text.parse().ok().map(Some),
    };
    match (number(from)?, number(to)?) {
        (None, None) => None,
        found => Some(found),
    }
}

/// The query string: `where=a%20%3E%201&from=200`.
struct Asked(Vec<(String, String)>);

impl Asked {
    fn new(query: &str) -> Self {
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    fn text(&self, name: &str) -> String {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn row(&self) -> Result<RowId> {
        let id = self.text("id");
        let wrong = || Error::new(Kind::Invalid, format!("`{id}` is no row"));
        id.parse().map(RowId::new).map_err(|_| wrong())
    }
}

/// Compares in constant time.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

async fn blocking(work: impl FnOnce() -> Result<Vec<u8>> + Send + 'static) -> Result<Answer> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(died(&error)));
    Ok(typed("application/json", done?))
}

fn died(error: &tokio::task::JoinError) -> Error {
    Error::new(Kind::Broken, format!("an answer was cut off: {error}"))
}

fn refused(error: &Error) -> Answer {
    let status = match error.kind() {
        Kind::Missing => StatusCode::NOT_FOUND,
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Stale => StatusCode::GONE,
        _ => StatusCode::BAD_GATEWAY,
    };
    plain(status, &error.to_string())
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let mut answer = typed("text/plain; charset=utf-8", text.to_owned());
    *answer.status_mut() = status;
    answer
}

fn typed(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(whole(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, Error> {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn put(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let cases = [
            ("bytes=5-9", Some((Some(5), Some(9)))),
            ("bytes=5-", Some((Some(5), None))),
            ("bytes=-9", Some((None, Some(9)))),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=1-2,5-6", None),
            ("items=1-2", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_range(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_asked_is_decoded() {
        let asked = Asked::new("where=a%20%3E%201%20and%20b%3D%27%26%27&from=7&id=-3&x");
        assert_eq!(asked.text("where"), "a > 1 and b='&'");
        assert_eq!((asked.number("from"), asked.number("most")), (7, 0));
        assert_eq!(asked.row().expect("a row"), RowId::new(-3));
        assert!(Asked::new("id=x").row().is_err());
        assert!(is_same(b"abc", b"abc") && !is_same(b"abc", b"abd") && !is_same(b"abc", b"ab"));
    }
}
