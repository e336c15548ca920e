//! A socket that either a patient thread ([`patience`]) or the runtime waits for.
//!
//! The runtime wakes a thread of its own whenever something arrives on a socket it knows. So it does not know a socket
//! that is used by a patient thread, until work that waits for it becomes a task.

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::patience::{self, For};

/// See the module. Never blocks.
#[derive(Debug)]
pub enum Socket {
    /// The runtime waits for it.
    Known(TcpStream),
    /// The runtime does not know it.
    Own(std::net::TcpStream),
    /// It could not be moved from one to the other.
    Lost,
}

impl Socket {
    /// Whether nothing has arrived, not even its end.
    pub fn is_quiet(&self) -> bool {
        let found = match self {
            Self::Known(socket) => socket.try_read(&mut [0]),
            Self::Own(socket) => receive(socket, &mut ReadBuf::new(&mut [0])),
            Self::Lost => return false,
        };
        found.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The socket, if nobody but this thread waits for it: always on a patient thread.
    fn own(&mut self) -> io::Result<Option<&std::net::TcpStream>> {
        if patience::is_here()
            && matches!(self, Self::Known(_))
            && let Self::Known(socket) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Own(socket.into_std()?);
        }
        match self {
            Self::Own(socket) => Ok(Some(socket)),
            Self::Known(_) => Ok(None),
            Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The socket, from now on awaited by the runtime.
    fn known(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if matches!(self, Self::Own(_))
            && let Self::Own(socket) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Known(TcpStream::from_std(socket)?);
        }
        match self {
            Self::Known(socket) => Ok(Pin::new(socket)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Does `work` with a socket of our own; `None` if the runtime has to wait for it.
    fn here<T>(
        &mut self,
        cx: &Context<'_>,
        what: For,
        work: impl FnOnce(&std::net::TcpStream) -> io::Result<T>,
    ) -> Option<Poll<io::Result<T>>> {
        let socket = match self.own() {
            Ok(socket) => socket?,
            Err(error) => return Some(Poll::Ready(Err(error))),
        };
        match work(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                patience::wait(socket.as_fd(), what, cx.waker()).then_some(Poll::Pending)
            }
            done => Some(Poll::Ready(done)),
        }
    }
}

/// Receives what has arrived.
fn receive(socket: &std::net::TcpStream, into: &mut ReadBuf<'_>) -> io::Result<usize> {
    // SAFETY: only initialized bytes are written to it.
    let room = unsafe { into.unfilled_mut() };
    let (memory, length) = (room.as_mut_ptr(), room.len());
    loop {
        // SAFETY: the kernel writes at most `length` bytes to `memory`, which is that long and ours.
        let came =
            unsafe { libc::recv(socket.as_raw_fd(), memory.cast(), length, libc::MSG_DONTWAIT) };
        match usize::try_from(came) {
            Ok(came) => {
                // SAFETY: the kernel has initialized so many.
                unsafe { into.assume_init(came) };
                into.advance(came);
                return Ok(came);
            }
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

/// Sends what the kernel takes, also after a signal.
fn sent(mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return sent,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(read) = self.here(cx, For::Reading, |socket| receive(socket, into)) {
            return read.map_ok(drop);
        }
        self.known()?.poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let send = |mut socket: &std::net::TcpStream| sent(|| socket.write(bytes));
        if let Some(sent) = self.here(cx, For::Writing, send) {
            return sent;
        }
        self.known()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let send = |mut socket: &std::net::TcpStream| sent(|| socket.write_vectored(parts));
        if let Some(sent) = self.here(cx, For::Writing, send) {
            return sent;
        }
        self.known()?.poll_write_vectored(cx, parts)
    }

    /// TLS sends its records together, in one system call.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.known()?.poll_shutdown(cx)
    }
}
