//! What `object_store` gets to see of an answer, where it would believe or keep too much.
//!
//! - It reads a refusal to its end, to put it into a message. A server may send one without end, so it is
//!   cut at [`REFUSAL`]; bytes that are no text are replaced, or it would lose the status.
//! - Where it asked for all of an object, it takes a part (206) for all. That is an error here.

use async_trait::async_trait;
use futures_util::StreamExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};

use crate::error::Error;
use crate::metrics::SENT;
use crate::net::Net;

/// Bytes of a refusal that are read: S3's are below one KiB.
const REFUSAL: usize = 64 << 10;

/// The status of a part.
const PARTIAL: u16 = 206;

/// A part in place of all.
#[derive(Debug, thiserror::Error)]
#[error("it sent a part where all was asked for")]
struct Unasked;

/// Clients whose answers are fit for `object_store`, and which carry nothing to another host.
#[derive(Debug)]
pub struct Connector(pub Net);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = self.0.cloud_client(plain.as_deref() == Some("true"));
        let failed =
            |error: Error| object_store::Error::Generic { store: "HTTP", source: error.into() };
        Ok(HttpClient::new(Fit(HttpClient::new(client.map_err(failed)?))))
    }
}

#[derive(Debug)]
struct Fit(HttpClient);

#[async_trait]
impl HttpService for Fit {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_for_all = !request.headers().contains_key("range");
        SENT.add(1);
        let answer = self.0.execute(request).await?;
        if is_for_all && answer.status().as_u16() == PARTIAL {
            return Err(HttpError::new(HttpErrorKind::Decode, Unasked));
        }
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        Ok(HttpResponse::from_parts(head, beginning(body).await.into()))
    }
}

/// What came of a refusal before its end, its limit or a failure.
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

    /// Answers every request the same.
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

    /// The status and the body that come of an answer; `None` for an error.
    fn seen(range: Option<&str>, status: u16, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        if let Some(range) = range {
            request.headers_mut().insert("range", range.parse().expect("a header"));
        }
        runtime.block_on(async {
            let fit = Fit(HttpClient::new(Server(status, body.to_vec())));
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
