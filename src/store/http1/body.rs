//! The body of an answer: if its length is known, it is read directly into the memory in which it is handed on.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use object_store::client::HttpError;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, Sleep};

use super::head::{Framing, Origin};
use super::line::{Line, Pool};
use super::{FIRST, SILENCE, failed};
use crate::buffers::Buffer;
use crate::remote::Arriving;
use crate::window;

/// Bytes that are read at a time if the length is unknown.
const STEP: usize = 64 << 10;

/// Limit of a line between chunks, and of all trailer lines together.
const LINE: usize = 16 << 10;

/// The state of a body that is being read.
pub struct Answering {
    pub line: Line,
    pub framing: Framing,
    /// Whether the connection can be reused.
    pub is_kept: bool,
    /// Size of a piece in bytes: this many are handed on at a time, or the rest.
    pub piece: u64,
    pub origin: Origin,
    pub pool: Arc<Pool>,
    pub arriving: Option<Arriving>,
}

/// See the module.
pub struct Answered {
    /// `None` once the body is complete.
    going: Option<Answering>,
    left: Left,
    /// Bytes of trailer lines that were read.
    trailer: usize,
    landing: Option<Landing>,
    /// Errors to report after the bytes that precede them.
    then: VecDeque<io::Error>,
    /// The timer of the silence limit; created when there is something to wait for.
    silence: Option<Pin<Box<Sleep>>>,
}

/// The state of the framing: the part that is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    /// The bytes left in a chunk; then its end.
    Chunk(u64),
    /// The line with the size of the next chunk.
    Size,
    /// The empty line after a chunk.
    End,
    /// Trailer lines after the last chunk.
    Trailer,
    /// Everything until the connection ends.
    All,
}

/// A piece that is being filled.
struct Landing {
    buffer: Buffer,
    room: usize,
}

impl Answered {
    pub fn new(going: Answering) -> Self {
        let left = match going.framing {
            Framing::Length(length) => Left::Bytes(length),
            Framing::Chunked => Left::Size,
            Framing::Close => Left::All,
        };
        let (going, then) = (Some(going), VecDeque::new());
        let mut body = Self { going, left, trailer: 0, landing: None, then, silence: None };
        if body.left == Left::Bytes(0) {
            body.end();
        }
        body
    }

    /// The body of an answer of known length, handed on in one piece: in the memory in which its beginning was received after a head
    /// of `head` bytes, if that has room for all of it and little more.
    pub fn begun(mut going: Answering, head: usize) -> Self {
        let mut beginning = std::mem::take(&mut going.line.rest);
        if let Framing::Length(length) = going.framing
            && let Ok(length) = usize::try_from(length)
        {
            let room = beginning.capacity();
            if beginning.len() > length {
                // Nobody asked for these, so the connection is not used again.
                going.line.rest = beginning.split_off(length);
            }
            // A long head took the room, or made it grow.
            if room < length || head + room > length + FIRST {
                let mut own = BytesMut::with_capacity(length);
                own.extend_from_slice(&beginning);
                beginning = own;
            }
        }
        note(&going, beginning.len() as u64);
        let mut body = Self::new(going);
        if let Left::Bytes(left) = body.left {
            let room = usize::try_from(left).unwrap_or(usize::MAX) - beginning.len();
            body.landing = Some(Landing { buffer: Buffer::Small(beginning), room });
        }
        body
    }

    /// The body is complete: releases the connection.
    fn end(&mut self) {
        self.silence = None;
        if let Some(Answering { line, is_kept: true, origin, pool, .. }) = self.going.take() {
            pool.put(&origin, line);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(error) = self.then.pop_front() {
            return Poll::Ready(Some(Err(error)));
        }
        while self.going.is_some() {
            let step = match ready!(self.poll_step(cx)) {
                Ok(None) => continue,
                Ok(Some(bytes)) => Ok(bytes),
                Err(error) => {
                    self.going = None;
                    Err(error)
                }
            };
            return Poll::Ready(Some(step));
        }
        Poll::Ready(None)
    }

    /// Takes one step: returns bytes, or `None` if something else was done or the body is complete.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let has_rest = self.going.as_ref().is_some_and(|going| !going.line.rest.is_empty());
        match self.left {
            Left::Bytes(left) => return self.poll_landing(cx, left),
            Left::Chunk(0) => {
                self.left = Left::End;
                return Poll::Ready(Ok(None));
            }
            Left::Chunk(_) | Left::All if has_rest => return Poll::Ready(Ok(self.some())),
            Left::Chunk(_) | Left::All => {}
            Left::Size | Left::End | Left::Trailer => {
                if self.advance()? {
                    return Poll::Ready(Ok(None));
                }
            }
        }
        match ready!(self.poll_more(cx))? {
            0 if self.left == Left::All => self.end(),
            0 => return Poll::Ready(Err(cut())),
            _ => {}
        }
        Poll::Ready(Ok(None))
    }

    /// Fills a piece: returns it once it is full or nothing more comes.
    fn poll_landing(&mut self, cx: &mut Context<'_>, left: u64) -> Poll<io::Result<Option<Bytes>>> {
        let Some(going) = &mut self.going else { return Poll::Ready(Ok(None)) };
        let want = left.min(going.piece);
        let landing = self.landing.get_or_insert_with(|| Landing::new(want));
        let some = going.line.rest.len().min(landing.room);
        landing.put(&going.line.rest[..some]);
        going.line.rest.advance(some);
        let mut came = some as u64;
        while landing.room > 0 {
            let read = match landing.poll_read(cx, &mut going.line) {
                Poll::Pending if came > 0 => {
                    self.silence = None;
                    note(going, came);
                    came = 0;
                    ready!(poll_silence(&mut self.silence, cx));
                    Err(late())
                }
                Poll::Pending => {
                    ready!(poll_silence(&mut self.silence, cx));
                    Err(late())
                }
                Poll::Ready(Ok(0)) => Err(cut()),
                Poll::Ready(read) => read,
            };
            match read {
                Ok(read) => came += read as u64,
                Err(error) => {
                    let partial = self.landing.take().map(|landing| landing.buffer.freeze());
                    self.going = None;
                    let partial = partial.filter(|partial| !partial.is_empty());
                    if partial.is_some() {
                        self.then.push_back(error);
                        return Poll::Ready(Ok(partial));
                    }
                    return Poll::Ready(Err(error));
                }
            }
        }
        note(going, came);
        let whole = self.landing.take().map(|landing| landing.buffer.freeze());
        self.left = Left::Bytes(left - want);
        if left == want {
            self.end();
        }
        Poll::Ready(Ok(whole))
    }

    /// Buffered bytes of a chunk, or of a body without a length.
    fn some(&mut self) -> Option<Bytes> {
        let rest = &mut self.going.as_mut()?.line.rest;
        let some = match &mut self.left {
            Left::Chunk(left) => {
                let some = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= some as u64;
                some
            }
            _ => rest.len(),
        };
        Some(rest.split_to(some).freeze())
    }

    /// Consumes a line between chunks, if it is completely buffered.
    fn advance(&mut self) -> io::Result<bool> {
        let (Some(going), Left::Size | Left::End | Left::Trailer) = (&mut self.going, self.left)
        else {
            return Ok(false);
        };
        let rest = &mut going.line.rest;
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return if rest.len() > LINE { Err(malformed()) } else { Ok(false) };
        };
        let line = rest.split_to(end + 2);
        let line = &line[..end];
        self.left = match self.left {
            Left::Size => match size(line).ok_or_else(malformed)? {
                0 => Left::Trailer,
                size => Left::Chunk(size),
            },
            Left::End if line.is_empty() => Left::Size,
            Left::Trailer if line.is_empty() => {
                self.end();
                return Ok(true);
            }
            Left::Trailer => {
                self.trailer += line.len();
                if self.trailer > LINE {
                    return Err(malformed());
                }
                Left::Trailer
            }
            _ => return Err(malformed()),
        };
        Ok(true)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(going) = &mut self.going else { return Poll::Ready(Ok(0)) };
        let mut rest = std::mem::take(&mut going.line.rest);
        rest.reserve(STEP);
        let read = poll_read(&mut going.line, cx, &mut rest);
        going.line.rest = rest;
        match read {
            Poll::Pending => {
                ready!(poll_silence(&mut self.silence, cx));
                Poll::Ready(Err(late()))
            }
            Poll::Ready(read) => {
                self.silence = None;
                note(going, *read.as_ref().unwrap_or(&0) as u64);
                Poll::Ready(read)
            }
        }
    }
}

impl Landing {
    fn new(want: u64) -> Self {
        Self { buffer: Buffer::new(want), room: usize::try_from(want).unwrap_or(0) }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
        self.room -= bytes.len();
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, line: &mut Line) -> Poll<io::Result<usize>> {
        let read = match &mut self.buffer {
            Buffer::Small(small) => poll_read(line, cx, &mut small.limit(self.room)),
            Buffer::Large(large) => poll_read(line, cx, &mut large.memory().limit(self.room)),
        };
        self.room -= *match &read {
            Poll::Ready(Ok(read)) => read,
            _ => &0,
        };
        read
    }
}

/// Reads once. The future has no state between two polls, so a new one continues where the last one was.
fn poll_read(
    line: &mut Line,
    cx: &mut Context<'_>,
    into: &mut impl BufMut,
) -> Poll<io::Result<usize>> {
    std::pin::pin!(line.read_buf(into)).poll(cx)
}

fn note(going: &Answering, came: u64) {
    if let Some(arriving) = going.arriving.as_ref().filter(|_| came > 0) {
        arriving.note(came);
    }
}

/// Ready when nothing has come for too long.
fn poll_silence(silence: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    let until = || Box::pin(tokio::time::sleep_until(Instant::now() + SILENCE));
    silence.get_or_insert_with(until).as_mut().poll(cx)
}

/// The size of a chunk: hexadecimal digits, and extensions that are ignored.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| is_number)?, 16).ok()
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "operation timed out")
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "end of file before message length reached")
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its chunks are malformed")
}

impl Body for Answered {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let answer = ready!(self.as_mut().get_mut().poll(cx));
        Poll::Ready(answer.map(|bytes| bytes.map(Frame::data).map_err(failed)))
    }

    fn is_end_stream(&self) -> bool {
        self.going.is_none() && self.then.is_empty()
    }
}

/// The piece size for an answer of this status: a refusal is short, or wrong.
pub fn piece(is_success: bool) -> u64 {
    if is_success { window::MOST } else { STEP as u64 }
}
