//! Connections: opened, pooled, checked before they are reused.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::head::Origin;
use super::reach::{reach, within};
use super::socket::Socket;

/// How long an idle connection is kept: servers close theirs after a minute or so.
const KEPT: Duration = Duration::from_secs(60);

/// Maximum of idle connections of one origin.
const MOST: usize = 128;

/// Bytes read from the socket of a TLS connection at a time. `rustls` alone asks for 4 KiB: 21 system calls for 80 KB.
const READ: usize = 64 << 10;

/// A connection, and the bytes received on it but not consumed yet.
#[derive(Debug)]
pub struct Line {
    transport: Transport,
    pub rest: BytesMut,
}

#[derive(Debug)]
enum Transport {
    Plain(Socket),
    Secure(Box<TlsStream<BufReader<Socket>>>),
}

impl Line {
    /// Connects to the first address of the host that accepts.
    ///
    /// # Errors
    /// As [`reach`]; the server's certificate is not trusted.
    pub async fn open(
        origin: &Origin,
        tls: Option<TlsConnector>,
        limit: Duration,
    ) -> io::Result<Self> {
        let socket = reach(origin, limit).await?;
        // A request is one write, and must not wait for the acknowledgement of the last one.
        socket.set_nodelay(true)?;
        let socket = Socket::Known(socket);
        let transport = match tls {
            None => Transport::Plain(socket),
            Some(tls) => {
                let name = ServerName::try_from(origin.name().to_owned());
                let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error));
                let socket = BufReader::with_capacity(READ, socket);
                Transport::Secure(Box::new(within(limit, tls.connect(name?, socket)).await?))
            }
        };
        Ok(Self { transport, rest: BytesMut::new() })
    }

    /// Whether nothing has arrived since its last use: neither its end nor unsolicited bytes.
    fn is_quiet(&self) -> bool {
        let socket = match &self.transport {
            Transport::Plain(socket) => socket,
            Transport::Secure(tls) => {
                let (socket, session) = tls.get_ref();
                // Bytes that are received or decrypted already, or a close notification.
                if !session.wants_read() || !socket.buffer().is_empty() {
                    return false;
                }
                socket.get_ref()
            }
        };
        self.rest.is_empty() && socket.is_quiet()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_read(cx, into),
            Transport::Secure(tls) => Pin::new(tls).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Transport::Secure(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Transport::Secure(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Transport::Secure(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// Idle connections, by origin; the most recently used goes first.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    lines: HashMap<Origin, VecDeque<(Instant, Line)>>,
    /// Whether a task closes expired connections.
    is_swept: bool,
}

impl Pool {
    pub fn take(&self, origin: &Origin) -> Option<Line> {
        let mut idle = self.idle();
        let lines = idle.lines.get_mut(origin)?;
        while let Some((since, line)) = lines.pop_back() {
            if since.elapsed() < KEPT && line.is_quiet() {
                return Some(line);
            }
        }
        None
    }

    /// Returns a connection whose last answer was read to its end. Must be called within the runtime.
    pub fn put(self: &Arc<Self>, origin: &Origin, mut line: Line) {
        if !line.rest.is_empty() {
            return;
        }
        // An idle connection keeps no memory: it may be that of a whole object.
        line.rest = BytesMut::new();
        let mut idle = self.idle();
        match idle.lines.get_mut(origin) {
            Some(lines) if lines.len() < MOST => lines.push_back((Instant::now(), line)),
            Some(_) => {}
            None => {
                idle.lines.insert(origin.clone(), VecDeque::from([(Instant::now(), line)]));
            }
        }
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Drops all connections of one origin: one of them was closed, so older ones will be too.
    pub fn clear(&self, origin: &Origin) {
        self.idle().lines.remove(origin);
    }

    /// Closes expired connections; returns whether any are left.
    fn sweep(&self) -> bool {
        let mut idle = self.idle();
        for lines in idle.lines.values_mut() {
            lines.retain(|(since, _)| since.elapsed() < KEPT);
        }
        idle.lines.retain(|_, lines| !lines.is_empty());
        idle.is_swept = !idle.lines.is_empty();
        idle.is_swept
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Every change under this lock is a single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(KEPT).await;
        match pool.upgrade() {
            Some(pool) if pool.sweep() => {}
            _ => return,
        }
    }
}
