//! The part of gRPC that the Container Storage Interface needs: unary calls over HTTP/2 on a Unix socket
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
//!
//! A client has to name a host, as the kubelet does (`localhost`): this HTTP/2 library rejects the path of a
//! socket as the authority.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use futures_util::stream;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use tokio::net::UnixListener;

/// Limit of a message in bytes: what Kubernetes sends for a volume is far less.
const LARGEST: usize = 1 << 20;

/// Length of the prefix of a message: a compression flag, and the message's length.
const PREFIX: usize = 5;

/// Status codes of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    PermissionDenied = 7,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// The error of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    pub message: String,
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Serves calls at `listener`: `call` receives the method (`/csi.v1.Identity/Probe`) and the message, and may
/// block.
///
/// # Errors
/// The listener fails.
pub async fn serve<C>(listener: UnixListener, call: C) -> io::Result<()>
where
    C: Fn(&str, &[u8]) -> Result<Vec<u8>, Status> + Send + Sync + 'static,
{
    let call = Arc::new(call);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Too many open descriptors: some will be closed in a moment.
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let call = call.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let call = call.clone();
                async move { Ok::<_, Infallible>(answer(&call, request).await) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("a connection ended: {error}");
            }
        });
    }
}

type Frames = stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

async fn answer<C>(call: &Arc<C>, request: Request<Incoming>) -> Response<StreamBody<Frames>>
where
    C: Fn(&str, &[u8]) -> Result<Vec<u8>, Status> + Send + Sync + 'static,
{
    let method = request.uri().path().to_owned();
    let result = match message_of(request).await {
        Ok(message) => {
            let (call, method) = (call.clone(), method.clone());
            let task = tokio::task::spawn_blocking(move || call(&method, &message));
            let lost =
                |error: tokio::task::JoinError| Err(Status::new(Code::Internal, error.to_string()));
            task.await.unwrap_or_else(lost)
        }
        Err(status) => Err(status),
    };
    if let Err(status) = &result {
        tracing::warn!("{method}: {}", status.message);
    }
    let mut response = Response::new(StreamBody::new(stream::iter(frames(result))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Reads the message of a request.
async fn message_of(request: Request<Incoming>) -> Result<Bytes, Status> {
    let invalid = |what: &str| Status::new(Code::InvalidArgument, what.to_owned());
    let body = Limited::new(request.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| invalid(&error.to_string()))?.to_bytes();
    message(&body).map_err(invalid)
}

/// Parses the single message of a body.
fn message(body: &Bytes) -> Result<Bytes, &'static str> {
    let Some((prefix, message)) = body.split_first_chunk::<PREFIX>() else {
        return Err("the request has no message");
    };
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    match prefix[0] {
        0 if message.len() as u64 == u64::from(length) => Ok(body.slice(PREFIX..)),
        0 => Err("the request is not one message"),
        _ => Err("compressed messages are not read"),
    }
}

/// Frames an answer: the message, then the status.
fn frames(result: Result<Vec<u8>, Status>) -> Vec<Result<Frame<Bytes>, Infallible>> {
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    match result {
        Ok(message) => {
            let mut bytes = Vec::with_capacity(PREFIX + message.len());
            bytes.put_u8(0);
            bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            bytes.extend(message);
            frames.push(Ok(Frame::data(bytes.into())));
            trailers.insert("grpc-status", HeaderValue::from(0));
        }
        Err(status) => {
            trailers.insert("grpc-status", HeaderValue::from(status.code as u16));
            let text =
                utf8_percent_encode(&status.message.replace('%', "%25"), CONTROLS).to_string();
            if let Ok(text) = HeaderValue::try_from(text) {
                trailers.insert("grpc-message", text);
            }
        }
    }
    frames.push(Ok(Frame::trailers(trailers)));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_message() {
        let cases: [(&[u8], Option<&[u8]>); 6] = [
            (b"\0\0\0\0\x02ab", Some(b"ab")),
            (b"\0\0\0\0\0", Some(b"")),
            (b"\x01\0\0\0\x02ab", None),
            (b"\0\0\0\0\x03ab", None),
            (b"\0\xff\xff\xff\xffab", None),
            (b"\0\0", None),
        ];
        for (body, want) in cases {
            let got = message(&Bytes::from_static(body));
            assert_eq!(got.as_deref().ok(), want, "{body:?}");
        }
    }

    #[test]
    fn a_failure_is_told_in_trailers() {
        let status = Status::new(Code::NotFound, "no `p\u{e9}ts`\n100%");
        let frames = frames(Err(status));
        let trailers = frames[0].as_ref().expect("never fails").trailers_ref().expect("trailers");
        assert_eq!(trailers["grpc-status"], "5");
        assert_eq!(trailers["grpc-message"], "no `p%C3%A9ts`%0A100%25");
    }
}
