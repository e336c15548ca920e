//! An HTTP/1.1 client for objects: one task sends, receives and hands on, and a body is read directly into the
//! memory in which it stays.
//!
//! `reqwest` runs each connection in a task of its own, and returns a body in pieces that have to be joined:
//! two thread switches and one more copy per request. It still handles the rare cases: proxies, redirects on
//! one server, requests other than GET or HEAD or with a body.
//!
//! | file | contents |
//! |---|---|
//! | `head` | serialised requests, parsed heads of answers |
//! | `line` | connections: opened, pooled, checked |
//! | `socket` | a socket, awaited by a thread itself or by the runtime |
//! | `reach` | the addresses of a host, tried in parallel |
//! | `body` | bodies: of known length, chunked, or until the connection ends |

mod body;
mod head;
mod line;
mod reach;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Buf;
use object_store::client::{
    HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

pub use self::body::Answered;
pub use self::head::{Origin, Plain, begun, written};

use self::body::Answering;
use self::head::{Framing, Head, Unreadable};
use self::line::{Line, Pool};
use super::buffers;
use super::error::Error;
use super::net::{self, CONNECT, IDLE as SILENCE, Net};
use super::remote::Arriving;

/// Bytes of the first read: a head, and a small body with it.
const FIRST: usize = 8 << 10;

/// Room for the head of an answer before a body that is received with it.
const HEAD: usize = 2 << 10;

/// Maximum of interim answers (1xx).
const INTERIM: usize = 16;

/// The outcome of a request that was already sent ([`Client::whole`]). In the extensions of a request to [`Client`], it is its answer,
/// so nothing is sent.
#[derive(Clone)]
pub struct Told(Arc<Mutex<Option<Result<Talk, HttpError>>>>);

/// A whole object: the head of its answer, and its body.
pub struct Whole {
    pub head: Plain,
    pub body: Answered,
}

/// A client of one cloud's servers.
pub struct Client {
    net: Net,
    /// Whether requests without TLS are allowed.
    is_plain: bool,
    /// Whether any requests go through a proxy.
    has_proxy: bool,
    usual: reqwest::Client,
    tls: OnceLock<TlsConnector>,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("is_plain", &self.is_plain).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; `is_plain` allows requests without TLS.
    ///
    /// # Errors
    /// As [`Net::client`].
    pub fn new(net: &Net, is_plain: bool) -> Result<Self, Error> {
        let usual = net.cloud_client(is_plain)?;
        let (has_proxy, net) = (net::has_proxy(&net::environment()), net.clone());
        let (tls, pool) = Default::default();
        Ok(Self { net, is_plain, has_proxy, usual, tls, pool })
    }

    /// The origin of a request, if this client handles it.
    fn origin(&self, request: &HttpRequest) -> Option<Origin> {
        let is_simple = [Method::GET, Method::HEAD].contains(request.method())
            && request.body().is_empty()
            && !self.has_proxy;
        Origin::of(request).filter(|origin| is_simple && (origin.is_secure || self.is_plain))
    }

    /// Whether requests without TLS are allowed.
    pub const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether requests to `origin` are sent by [`Client::whole`].
    pub fn is_direct(&self, origin: &Origin) -> bool {
        !self.has_proxy && (origin.is_secure || self.is_plain)
    }

    /// Sends a GET for a whole object of `size` bytes, serialised, and returns the usual answer ([`Plain`]).
    ///
    /// # Errors
    /// Any other answer, or none: for the same request to [`Client::call`].
    pub async fn whole(
        &self,
        origin: &Origin,
        sent: &[u8],
        (size, arriving): (u64, &Arriving),
    ) -> Result<Whole, Told> {
        let told = |told| Told(Arc::new(Mutex::new(Some(told))));
        let (head, mut line) = match self.ask(origin, sent, Wanted::Whole(size)).await {
            Ok((Heard::Plain(head), line)) => (head, line),
            Ok((Heard::Any(head), line)) => return Err(told(Ok((head, line)))),
            Err(error) => return Err(told(Err(error))),
        };
        line.rest.advance(head.length);
        let going = Answering {
            line,
            framing: Framing::Length(size),
            is_kept: head.is_kept,
            piece: size,
            origin: origin.clone(),
            pool: Arc::clone(&self.pool),
            arriving: Some(arriving.clone()),
        };
        let body = match is_joined(size) {
            true => Answered::begun(going, head.length),
            false => Answered::new(going),
        };
        Ok(Whole { head, body })
    }

    fn tls(&self, origin: &Origin) -> Result<Option<TlsConnector>, HttpError> {
        if !origin.is_secure {
            return Ok(None);
        }
        if let Some(tls) = self.tls.get() {
            return Ok(Some(tls.clone()));
        }
        let failed = |error| HttpError::new(HttpErrorKind::Connect, error);
        let mut tls = self.net.tls().map_err(failed)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(self.tls.get_or_init(|| Arc::new(tls).into()).clone()))
    }

    async fn open(&self, origin: &Origin) -> Result<Line, HttpError> {
        let limit = CONNECT.min(self.net.timeout);
        let opened = Line::open(origin, self.tls(origin)?, limit).await;
        opened.map_err(|error| HttpError::new(HttpErrorKind::Connect, error))
    }

    /// Sends a request and reads the head of its answer. The server may close a pooled connection at that very
    /// moment: then the request is sent over a new one.
    async fn ask(
        &self,
        origin: &Origin,
        sent: &[u8],
        wanted: Wanted,
    ) -> Result<(Heard, Line), HttpError> {
        if let Some(line) = self.pool.take(origin) {
            match talk(line, sent, wanted).await {
                Err(Lost { is_silent: true, .. }) => self.pool.clear(origin),
                told => return told.map_err(|lost| failed(lost.error)),
            }
        }
        let line = self.open(origin).await?;
        talk(line, sent, wanted).await.map_err(|lost| failed(lost.error))
    }

    /// The answer to a request to `origin`, which is sent if it was not before ([`Told`]).
    async fn told(&self, request: &HttpRequest, origin: &Origin) -> Result<Talk, HttpError> {
        let told = request.extensions().get::<Told>().and_then(Told::take);
        if let Some(told) = told {
            return told;
        }
        let sent = head::written(request, origin);
        let is_get = request.method() == Method::GET;
        let wanted = if is_get { Wanted::Body } else { Wanted::Head };
        match self.ask(origin, &sent, wanted).await? {
            (Heard::Any(head), line) => Ok((head, line)),
            // Only [`Wanted::Whole`] is answered by it.
            (Heard::Plain(_), _) => Err(failed(io::ErrorKind::InvalidData.into())),
        }
    }
}

impl Client {
    /// Sends a request, unless its answer is there already ([`Told`]).
    ///
    /// # Errors
    /// There is no answer.
    pub async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(origin) = self.origin(&request) else { return self.usual.call(request).await };
        let (head, mut line) = self.told(&request, &origin).await?;
        if head.leads_on(&origin) {
            return self.usual.call(request).await;
        }
        line.rest.advance(head.length);
        let going = Answering {
            line,
            framing: head.framing,
            is_kept: head.is_kept,
            piece: body::piece(head.status.is_success()),
            origin,
            pool: Arc::clone(&self.pool),
            arriving: request.extensions().get::<Arriving>().cloned(),
        };
        let mut answer = HttpResponse::new(HttpResponseBody::new(Answered::new(going)));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        Ok(answer)
    }
}

/// The head of an answer, and its connection, whose buffer still contains the head.
type Talk = (Head, Line);

/// A client for `object_store`.
#[derive(Debug)]
pub struct Shared(pub Arc<Client>);

#[async_trait]
impl HttpService for Shared {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.call(request).await
    }
}

/// The purpose of a request.
#[derive(Clone, Copy)]
enum Wanted {
    Body,
    Head,
    /// All of an object of this size.
    Whole(u64),
}

/// A head in either form.
enum Heard {
    Plain(Plain),
    Any(Head),
}

impl Wanted {
    /// Bytes of the first read.
    fn room(self) -> usize {
        match self {
            Self::Whole(size) if is_joined(size) => HEAD + usize::try_from(size).unwrap_or(0),
            _ => FIRST,
        }
    }

    /// Parses a head, if it is complete.
    fn heard(self, bytes: &[u8]) -> Result<Option<Heard>, Unreadable> {
        if let Self::Whole(size) = self
            && let Some(plain) = Plain::read(bytes, size)
        {
            return Ok(Some(Heard::Plain(plain)));
        }
        let has_body = !matches!(self, Self::Head);
        Ok(Head::read(bytes, has_body)?.map(Heard::Any))
    }
}

/// Whether an object is received into the memory in which the head of its answer is received: then it usually takes one system call.
fn is_joined(size: u64) -> bool {
    size < buffers::LARGE
}

impl Told {
    /// Whether it was not taken yet: a request that carries it is not sent.
    pub fn is_left(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take(&self) -> Option<Result<Talk, HttpError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A connection that ended before there was an answer.
struct Lost {
    error: io::Error,
    /// Whether not a single byte of an answer came.
    is_silent: bool,
}

async fn talk(mut line: Line, sent: &[u8], wanted: Wanted) -> Result<(Heard, Line), Lost> {
    let silent = |error| Lost { error, is_silent: true };
    reach::within(SILENCE, send(&mut line, sent)).await.map_err(silent)?;
    let mut rest = std::mem::take(&mut line.rest);
    let mut interim = 0;
    loop {
        rest.reserve(wanted.room().saturating_sub(rest.len()).max(HEAD));
        let read = reach::within(SILENCE, line.read_buf(&mut rest)).await;
        let is_silent = rest.is_empty();
        let lost = |error: io::Error| {
            // After a time-out, another try would double the wait.
            Lost { is_silent: is_silent && error.kind() != io::ErrorKind::TimedOut, error }
        };
        if read.map_err(lost)? == 0 {
            return Err(lost(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "connection closed before message completed",
            )));
        }
        while let Some(heard) = wanted.heard(&rest).map_err(|error| lost(unreadable(error)))? {
            let head = match &heard {
                Heard::Any(head) if head.is_interim() => head.length,
                _ => {
                    line.rest = rest;
                    return Ok((heard, line));
                }
            };
            interim += 1;
            if interim > INTERIM {
                let error = io::Error::new(io::ErrorKind::InvalidData, "its answer never comes");
                return Err(Lost { error, is_silent: false });
            }
            rest.advance(head);
        }
    }
}

async fn send(line: &mut Line, sent: &[u8]) -> io::Result<()> {
    line.write_all(sent).await?;
    line.flush().await
}

fn unreadable(error: Unreadable) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A connection error in the type of `object_store`.
fn failed(error: io::Error) -> HttpError {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => HttpErrorKind::Timeout,
        io::ErrorKind::InvalidData => HttpErrorKind::Decode,
        _ => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error)
}
