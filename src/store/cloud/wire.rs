//! An HTTP layer below `object_store`, which would otherwise accept or discard too much.
//!
//! - It reads a refusal to its end, to put it into a message. A server may send an endless one, so it is cut at
//!   [`REFUSAL`]; bytes that are not UTF-8 are replaced, or it would lose the status.
//! - If it asked for a whole object, it takes a part (206) for the whole. That is an error here.
//! - It discards the headers of a refusal. Those that say what to do next are recorded for the caller
//!   ([`Notes`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};

use super::fault::element;
use crate::budget::retry_after;
use crate::error::Error;
use crate::http1;
use crate::metrics::SENT;
use crate::net::Net;

/// Bytes of a refusal that are read: S3's are below one KiB.
const REFUSAL: usize = 64 << 10;

/// The header that names the project that pays for a request to Google.
const PAYER: &str = "x-goog-user-project";

/// The status of a partial answer.
const PARTIAL: u16 = 206;

/// Notes on a refusal, of which `object_store` keeps only the body. Put into the extensions of a request, and
/// filled in while it is answered.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Note>>);

/// See [`Notes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    pub status: u16,
    /// S3's error code.
    pub code: String,
    /// The pause that the server asks for.
    pub after: Option<Duration>,
    /// The bucket's region, as S3 reports it.
    pub region: Option<String>,
}

impl Note {
    pub fn of(status: u16, headers: &HeaderMap, body: &str) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let after = text("retry-after").and_then(|after| retry_after(after, text("date")));
        let region = text("x-amz-bucket-region").map(str::to_owned);
        let region = region.or_else(|| Some(element(body, "Region")).filter(|r| !r.is_empty()));
        Self { status, code: element(body, "Code"), after, region }
    }
}

impl Notes {
    pub fn take(&self) -> Note {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, note: Note) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = note;
    }
}

/// A part instead of the whole.
#[derive(Debug, thiserror::Error)]
#[error("it sent a part instead of the whole")]
struct Unasked;

/// Makes HTTP clients whose answers are safe for `object_store`, and which send no credentials to another host.
#[derive(Debug)]
pub struct Connector {
    net: Net,
    /// Whether to request objects as stored: Google decompresses gzip objects for clients that do not accept
    /// gzip, but the length and the checksum are those of the compressed object.
    as_stored: bool,
    /// The project that pays, for Google.
    payer: Option<HeaderValue>,
    /// A client that is used by others too.
    shared: Option<Arc<http1::Client>>,
}

impl Connector {
    pub fn new(net: &Net) -> Self {
        Self { net: net.clone(), as_stored: false, payer: None, shared: None }
    }

    /// A connector for objects as stored.
    pub fn as_stored(net: &Net) -> Self {
        Self { as_stored: true, ..Self::new(net) }
    }

    /// The same, by this client if it has the same rule for plain HTTP.
    pub fn by(self, client: Option<Arc<http1::Client>>) -> Self {
        Self { shared: client, ..self }
    }

    /// The same, with a Google project that pays.
    pub fn paid_by(self, payer: Option<HeaderValue>) -> Self {
        Self { payer, ..self }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let is_plain = plain.as_deref() == Some("true");
        let failed =
            |error: Error| object_store::Error::Generic { store: "HTTP", source: error.into() };
        // The metadata service of a machine is asked by a client of its own.
        let client = match self.shared.as_ref().filter(|shared| shared.is_plain() == is_plain) {
            Some(shared) => Arc::clone(shared),
            None => Arc::new(http1::Client::new(&self.net, is_plain).map_err(failed)?),
        };
        let client = HttpClient::new(http1::Shared(client));
        let (as_stored, payer) = (self.as_stored, self.payer.clone());
        Ok(HttpClient::new(Fit { client, as_stored, payer }))
    }
}

/// Whether an answer is the requested part although its status says that it is the whole: some servers use one
/// status for everything.
fn is_part(range: &str, answer: &HttpResponse) -> bool {
    let asked = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let sent = answer.headers().get("content-range").and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| value.strip_prefix("bytes ")?.split_once('/'));
    let sent = sent.and_then(|(range, _)| range.split_once('-'));
    asked.zip(sent).is_some_and(|((from, to), (start, end))| {
        from == start && (to == end || end.parse::<u64>().ok() < to.parse::<u64>().ok())
    })
}

#[derive(Debug)]
struct Fit {
    client: HttpClient,
    as_stored: bool,
    payer: Option<HeaderValue>,
}

#[async_trait]
impl HttpService for Fit {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let range = request.headers().get("range").cloned();
        let is_for_all = range.is_none();
        if self.as_stored {
            request.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
        }
        if let Some(payer) = &self.payer {
            request.headers_mut().insert(PAYER, payer.clone());
        }
        let notes = request.extensions().get::<Notes>().cloned();
        if !request.extensions().get::<http1::Told>().is_some_and(http1::Told::is_left) {
            SENT.add(1);
        }
        let mut answer = self.client.execute(request).await?;
        if let Some(range) = &range
            && answer.status().as_u16() == 200
            && is_part(range.to_str().unwrap_or_default(), &answer)
        {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        if is_for_all && answer.status().as_u16() == PARTIAL {
            return Err(HttpError::new(HttpErrorKind::Decode, Unasked));
        }
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = beginning(body).await;
        if let Some(notes) = notes {
            notes.put(Note::of(head.status.as_u16(), &head.headers, &body));
        }
        Ok(HttpResponse::from_parts(head, body.into()))
    }
}

/// The body of a refusal, up to its end, its limit or a failure.
async fn beginning(body: HttpResponseBody) -> String {
    let (mut body, mut kept) = (body.bytes_stream(), Vec::new());
    while kept.len() < REFUSAL
        && let Some(Ok(chunk)) = body.next().await
    {
        kept.extend_from_slice(&chunk);
    }
    kept.truncate(REFUSAL);
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpRequestBody;

    use super::*;

    /// Answers every request with the same response.
    #[derive(Debug)]
    struct Server(u16, Vec<u8>);

    #[async_trait]
    impl HttpService for Server {
        async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            let mut answer = HttpResponse::new(self.1.clone().into());
            *answer.status_mut() = self.0.try_into().expect("a status");
            Ok(answer)
        }
    }

    /// The status and the body that `object_store` receives; `None` for an error.
    fn seen(range: Option<&str>, status: u16, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        if let Some(range) = range {
            request.headers_mut().insert("range", range.parse().expect("a header"));
        }
        runtime.block_on(async {
            let fit = Fit {
                client: HttpClient::new(Server(status, body.to_vec())),
                as_stored: false,
                payer: None,
            };
            let answer = fit.call(request).await.ok()?;
            let status = answer.status().as_u16();
            Some((status, answer.into_body().bytes().await.expect("a body").to_vec()))
        })
    }

    #[test]
    fn a_refusal_is_cut_and_is_text() {
        let long = vec![b'x'; REFUSAL + 1];
        for status in [301, 403, 404, 412, 500, 503] {
            assert_eq!(seen(None, status, b"why"), Some((status, b"why".to_vec())));
            assert_eq!(seen(None, status, &long), Some((status, long[1..].to_vec())));
            let text = Some((status, "a\u{fffd}b".into()));
            assert_eq!(seen(None, status, b"a\xffb"), text);
        }
        assert_eq!(seen(None, 200, &long), Some((200, long)));
    }

    #[test]
    fn a_part_is_taken_only_where_one_was_asked_for() {
        let part = Some((206, b"part".to_vec()));
        assert_eq!(seen(Some("bytes=0-3"), 206, b"part"), part);
        assert_eq!(seen(None, 206, b"part"), None);
    }
}
