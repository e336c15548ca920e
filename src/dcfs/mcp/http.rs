//! The same server for several clients, by streamable HTTP on this machine only.
//!
//! Clients authenticate with a token: any user of the machine, and any page in a browser, can reach a loopback
//! port. `Host` and `Origin` are checked too, so that no page reaches it under a name of its own (DNS
//! rebinding). There are no sessions: each request is independent, in the protocol revisions with `initialize`
//! as in that without.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Setup;
use super::server::Server;
use dcfs_core::error::{Error, Kind, Result};

/// Limit of concurrent connections; more wait.
const MOST_CONNECTIONS: usize = 64;

/// Pause after a connection could not be accepted.
const REST: Duration = Duration::from_millis(100);

/// Limit of a request in bytes: a statement has at most 64 KiB.
const LARGEST_REQUEST: usize = 1 << 20;

/// The path of the endpoint.
const PATH: &str = "/mcp";

type Service = StreamableHttpService<Server, NeverSessionManager>;
type Reply = Response<BoxBody<Bytes, Infallible>>;

/// An open port.
pub struct Listening {
    listener: TcpListener,
    token: String,
}

impl Listening {
    /// Opens a local port; 0 picks a free one. `token` is what clients must send.
    ///
    /// # Errors
    /// The address is not local, or in use.
    pub async fn open(address: SocketAddr, token: String) -> Result<Self> {
        if !address.ip().is_loopback() {
            let message = format!(
                "`{address}` can be reached from other machines; name one of this machine, e.g. 127.0.0.1:0"
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Error::new(Kind::Denied, format!("cannot listen on `{address}`: {error}"))
        })?;
        Ok(Self { listener, token })
    }

    /// The URL for clients.
    ///
    /// # Errors
    /// The system does not report the port.
    pub fn address(&self) -> Result<String> {
        let address =
            self.listener.local_addr().map_err(|error| Error::new(Kind::Broken, error))?;
        Ok(format!("http://{address}{PATH}"))
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// No connection can be accepted any more.
    pub async fn serve(self, setup: Setup) -> Result<()> {
        let server = Server::new(setup);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(LARGEST_REQUEST)
            .enforce_origin_validation();
        let made = move || Ok(server.for_another());
        let service: Service = Service::new(made, Arc::default(), config);
        let (door, token) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), digest(&self.token));
        loop {
            let turn = door.clone().acquire_owned().await;
            let turn = turn.map_err(|error| Error::new(Kind::Broken, error))?;
            // A client that disconnects before it is accepted is no reason to stop.
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    // Without free descriptors, accepting fails at once, again and again.
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            let service = service.clone();
            tokio::spawn(async move {
                let answer = service_fn(move |request| answer(service.clone(), token, request));
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), answer);
                if let Err(error) = served.await {
                    tracing::debug!(%error, "a connection ended");
                }
                drop(turn);
            });
        }
    }
}

async fn answer(
    service: Service,
    token: [u8; 32],
    request: Request<Incoming>,
) -> std::result::Result<Reply, Infallible> {
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
    // Comparing digests reveals nothing through timing.
    if shown.map(digest) != Some(token) {
        return Ok(refused(
            StatusCode::UNAUTHORIZED,
            "show the token: Authorization: Bearer TOKEN",
        ));
    }
    if request.uri().path() != PATH {
        return Ok(refused(StatusCode::NOT_FOUND, "the endpoint is /mcp"));
    }
    Ok(service.handle(request).await)
}

fn refused(status: StatusCode, why: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(why.as_bytes())).boxed());
    *reply.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        reply
            .headers_mut()
            .insert(WWW_AUTHENTICATE, hyper::header::HeaderValue::from_static("Bearer"));
    }
    reply
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
