//! One open object of a remote store: reads become few requests, each byte is fetched once while
//! reading is sequential, and no byte waits for another reader's exact read.
//!
//! - Bytes already here are returned under a short lock.
//! - Otherwise one reader at a time (`turn`) plans and fetches the bytes that are kept; the others find them
//!   here when their turn comes. Exact reads leave the turn before they fetch.
//! - The longer a reader has read sequentially, the more pieces are fetched ahead of it, in tasks.
//! - Where random reads have cached half of a stretch, one request fetches the rest of it into the cache below.
//!
//! Memory for pieces present or in progress is granted by [`Memory`]; without a grant, nothing is kept or
//! fetched ahead. Dropping the `Stream` frees all of it and cancels what is in progress.
//!
//! Lock order: `turn`, then `held`. `held` is never kept across an await.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync;
use tokio::task::JoinHandle;

use super::error::Error;
use super::line::Line;
use super::memory::{Grant, Holder, Memory};
use super::window::{MOST, Plan, Window};

/// Pieces are kept until this many bytes after them were read: the kernel's requests overtake each other.
const BACK: u64 = 2 << 20;

/// Limit of pieces held: sequentially read ones are dropped long before.
const PIECES: usize = 12;

/// Concurrent fetches of pieces of one object in the background.
const PASSING: usize = 4;

/// The requests of a stream: byte ranges of one object, pinned, checked, bounded in time.
pub trait Ranges: Send + Sync + 'static {
    /// Returns exactly the bytes of `range`, which lies within the object. `range` is empty only for an empty
    /// object: to check that it is empty.
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>>;

    /// `source/path`, for messages.
    fn place(&self) -> &str;

    /// The time of the last progress.
    fn progressed(&self) -> Option<tokio::time::Instant> {
        None
    }

    /// The rest of the stretch around the byte at `at`, if half of it is cached; `None` without a cache, or if less of
    /// it is.
    fn rest(self: Arc<Self>, _at: u64) -> Option<Rest> {
        None
    }
}

/// Completes a stretch of an object in the background.
pub struct Rest {
    /// Memory needed, in bytes.
    pub bytes: u64,
    /// Fetches and caches the bytes. Errors are dropped: a reader of these bytes requests them again. After one, nothing
    /// of this object is completed for half a minute.
    pub work: BoxFuture<'static, ()>,
}

/// One open object, or a part of one.
pub struct Stream {
    object: Arc<dyn Ranges>,
    /// Where the part begins.
    base: u64,
    size: u64,
    memory: Arc<Memory>,
    shared: Arc<Shared>,
}

/// State shared by all readers of a stream, from which [`Memory`] may reclaim.
#[derive(Default)]
struct Shared {
    held: Mutex<Held>,
    turn: sync::Mutex<Turn>,
}

/// The pieces in memory, oldest first.
#[derive(Debug, Default)]
struct Held {
    pieces: VecDeque<Piece>,
    /// The time of the last read.
    touched: Option<Instant>,
}

#[derive(Debug)]
struct Piece {
    start: u64,
    bytes: Bytes,
    _grant: Grant,
}

/// State that only one reader at a time may change.
#[derive(Default)]
struct Turn {
    window: Window,
    /// Fetches in advance, in order and without gaps.
    ahead: VecDeque<Ahead>,
    /// For an empty object: whether it is known to be empty.
    empty: bool,
}

struct Ahead {
    range: Range<u64>,
    task: Task,
    grant: Grant,
}

impl Stream {
    /// Sends no request yet. The stream covers `size` bytes from `base`.
    pub fn new(object: Arc<dyn Ranges>, base: u64, size: u64, memory: Arc<Memory>) -> Self {
        Self { object, base, size, memory, shared: Arc::default() }
    }

    /// The bytes `offset..offset + length`, cut at the end of the object.
    pub async fn read(&self, offset: u64, length: u32) -> Result<Bytes, Error> {
        if self.size == 0 {
            return self.check_empty().await;
        }
        let end = offset.saturating_add(u64::from(length)).min(self.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let first = self.piece(offset..end).await?;
        let mut at = offset + len(&first);
        if at == end {
            return Ok(first);
        }
        let mut whole = BytesMut::from(&first[..]);
        while at < end {
            let piece = self.piece(at..end).await?;
            at += len(&piece);
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The bytes `offset..offset + length` if all of them are in memory, in at most two pieces. Finished
    /// fetches are taken in first.
    pub fn here(&self, offset: u64, length: u32) -> Option<Bytes> {
        let wanted = offset..offset.saturating_add(u64::from(length)).min(self.size);
        let mut turn = self.shared.turn.try_lock().ok();
        let bytes = self.all(&wanted).or_else(|| {
            self.take_arrived(turn.as_mut()?, wanted.end);
            self.all(&wanted)
        })?;
        if let Some(turn) = &mut turn {
            self.look_ahead(turn, offset);
        }
        Some(bytes)
    }

    /// All of `wanted`, which is not empty, if it is in memory in at most two pieces.
    fn all(&self, wanted: &Range<u64>) -> Option<Bytes> {
        let first = self.some(wanted)?;
        let rest = wanted.start + len(&first)..wanted.end;
        if rest.is_empty() {
            return Some(first);
        }
        let second = self.some(&rest).filter(|second| len(second) == rest.end - rest.start)?;
        Some([first, second].concat().into())
    }

    /// Takes in finished fetches, as far as a read that ends at `end` goes.
    fn take_arrived(&self, turn: &mut Turn, end: u64) {
        let has_come = |ahead: &Ahead| ahead.range.start < end && ahead.task.handle.is_finished();
        while turn.ahead.front().is_some_and(has_come) {
            let first = turn.ahead.pop_front();
            let Some(Ahead { range, task, grant }) = first else { return };
            match task.finish().now_or_never() {
                Some(Ok(bytes)) => self.keep(range.start, bytes, grant),
                _ => {
                    turn.ahead.clear();
                    return turn.window.lost(range.start);
                }
            }
        }
    }

    /// The time of the last progress.
    pub fn progressed(&self) -> Option<tokio::time::Instant> {
        self.object.progressed()
    }

    /// Fetches everything once, several pieces at a time within the limit of `line`, and keeps none of it: for
    /// the cache below.
    pub async fn pass(&self, line: &Line) -> Result<(), Error> {
        if self.size == 0 {
            let _turn = line.enter().await;
            return self.check_empty().await.map(|_| ());
        }
        let starts = (0..self.size).step_by(usize::try_from(MOST).unwrap_or(usize::MAX));
        let piece = |start: u64| async move {
            let range = start..(start + MOST).min(self.size);
            let _turn = line.enter().await;
            let _grant = self.memory.wait(range.end - range.start).await;
            self.fetch_here(range).await
        };
        let pieces = stream::iter(starts).map(piece).buffer_unordered(PASSING);
        pieces.try_for_each(|_| ready(Ok(()))).await
    }

    /// After a random read at `offset`: fetches the rest of the stretch around it in the background, if half of it is in
    /// the cache below. Random reads that return to the same places, or cover an object, soon need no requests; sparse
    /// ones fetch exactly what was requested.
    pub fn complete(&self, offset: u64, line: &Arc<Line>) {
        let is_scattered = || {
            let turn = self.shared.turn.try_lock();
            turn.is_ok_and(|turn| turn.window.is_scattered())
        };
        if self.size > super::window::FIRST && !is_scattered() {
            return;
        }
        let rest = Arc::clone(&self.object).rest(self.base + offset);
        let granted = rest.and_then(|rest| Some((self.memory.take(rest.bytes)?, rest)));
        let Some((grant, rest)) = granted else { return };
        let line = Arc::clone(line);
        tokio::spawn(async move {
            let _turn = line.enter().await;
            rest.work.await;
            drop(grant);
        });
    }

    /// Returns some bytes from the start of `wanted`; at least one.
    async fn piece(&self, wanted: Range<u64>) -> Result<Bytes, Error> {
        if let Some(bytes) = self.some(&wanted) {
            if let Ok(mut turn) = self.shared.turn.try_lock() {
                self.look_ahead(&mut turn, wanted.start);
            }
            return Ok(bytes);
        }
        let mut turn = self.shared.turn.lock().await;
        if let Some(bytes) = self.some(&wanted) {
            return Ok(bytes);
        }
        self.take_ahead(&mut turn, wanted.start).await;
        if let Some(bytes) = self.some(&wanted) {
            self.look_ahead(&mut turn, wanted.start);
            return Ok(bytes);
        }
        turn.ahead.clear();
        let range = match turn.window.plan(wanted.clone(), self.size) {
            Plan::Once(range) => range,
            Plan::Keep(range) => match self.memory.take(range.end - range.start) {
                Some(grant) => {
                    let bytes = self.fetch_here(range.clone()).await?;
                    self.keep(range.start, bytes, grant);
                    return self.some(&wanted).ok_or_else(|| self.bug());
                }
                None => {
                    turn.window.lost(wanted.end);
                    wanted
                }
            },
        };
        drop(turn);
        self.fetch_here(range).await
    }

    /// Takes in fetches, up to the piece that contains `at`. If one failed, all after it are dropped: the
    /// reader requests them itself.
    async fn take_ahead(&self, turn: &mut Turn, at: u64) {
        if !turn.ahead.iter().any(|ahead| ahead.range.contains(&at)) {
            return;
        }
        while let Some(Ahead { range, task, grant }) = turn.ahead.pop_front() {
            let Ok(bytes) = task.finish().await else {
                turn.ahead.clear();
                return turn.window.lost(range.start);
            };
            self.keep(range.start, bytes, grant);
            if range.contains(&at) {
                return;
            }
        }
    }

    /// Starts the fetches that are due for a reader at `at`, and drops the pieces that it has left behind.
    fn look_ahead(&self, turn: &mut Turn, at: u64) {
        if self.size <= super::window::FIRST {
            return;
        }
        self.held().leave(at);
        while let Some(range) = turn.window.further(at, self.size) {
            let Some(grant) = self.memory.take(range.end - range.start) else {
                return turn.window.undo(&range);
            };
            let task = self.fetch(range.clone());
            turn.ahead.push_back(Ahead { range, task, grant });
        }
    }

    /// Fetches within the reader's own task: one thread switch fewer than [`Stream::fetch`].
    async fn fetch_here(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let want = range.end - range.start;
        let get = Arc::clone(&self.object).get(self.base + range.start..self.base + range.end);
        let answer = AssertUnwindSafe(get).catch_unwind().await;
        checked(self.object.place(), want, answer.ok())
    }

    fn fetch(&self, range: Range<u64>) -> Task {
        let object = Arc::clone(&self.object);
        Task {
            place: self.object.place().to_owned(),
            want: range.end - range.start,
            handle: tokio::spawn(object.get(self.base + range.start..self.base + range.end)),
        }
    }

    async fn check_empty(&self) -> Result<Bytes, Error> {
        if self.base > 0 {
            // An empty member of an archive: there is nothing to request.
            return Ok(Bytes::new());
        }
        let mut turn = self.shared.turn.lock().await;
        if !turn.empty {
            self.fetch_here(0..0).await?;
            turn.empty = true;
        }
        Ok(Bytes::new())
    }

    fn keep(&self, start: u64, bytes: Bytes, grant: Grant) {
        let is_first = self.held().keep(Piece { start, bytes, _grant: grant });
        if is_first {
            let holder: Arc<dyn Holder> = Arc::<Shared>::clone(&self.shared);
            self.memory.register(Arc::downgrade(&holder));
        }
    }

    /// Some of `wanted` from its start on, if in memory.
    fn some(&self, wanted: &Range<u64>) -> Option<Bytes> {
        self.held().slice(wanted)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.shared.held()
    }

    fn bug(&self) -> Error {
        failed(self.object.place(), "the plan missed the read; please report it")
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change under this lock is a single step, so a panic elsewhere leaves it whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Returns whether this is the first piece ever.
    fn keep(&mut self, piece: Piece) -> bool {
        self.pieces.push_back(piece);
        if self.pieces.len() > PIECES {
            self.pieces.pop_front();
        }
        self.touched.replace(Instant::now()).is_none()
    }

    /// Drops the pieces that a reader at `at` has left behind.
    fn leave(&mut self, at: u64) {
        self.pieces.retain(|piece| piece.start + len(&piece.bytes) + BACK > at);
    }

    /// The bytes in memory from the start of `wanted` on.
    fn slice(&mut self, wanted: &Range<u64>) -> Option<Bytes> {
        let found = self.pieces.iter().rev().find_map(|Piece { start, bytes, .. }| {
            let from = usize::try_from(wanted.start.checked_sub(*start)?).ok()?;
            let most = usize::try_from(wanted.end - wanted.start).unwrap_or(usize::MAX);
            let to = from.saturating_add(most).min(bytes.len());
            (from < to).then(|| bytes.slice(from..to))
        })?;
        self.touched = Some(Instant::now());
        Some(found)
    }
}

impl Holder for Shared {
    fn let_go(&self, moment: Instant) {
        if self.held().touched.is_none_or(|touched| touched >= moment) {
            return;
        }
        self.held().pieces.clear();
        if let Ok(mut turn) = self.turn.try_lock()
            && let Some(first) = turn.ahead.front().map(|ahead| ahead.range.start)
        {
            turn.window.lost(first);
            turn.ahead.clear();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("held", &self.held).finish_non_exhaustive()
    }
}

/// A request in a task of its own; dropping it cancels it.
struct Task {
    place: String,
    want: u64,
    handle: JoinHandle<Result<Bytes, Error>>,
}

impl Task {
    async fn finish(mut self) -> Result<Bytes, Error> {
        let answer = (&mut self.handle).await;
        checked(&self.place, self.want, answer.ok())
    }
}

/// Checks that an answer arrived and has the right length. A panic of a library on a hostile answer becomes an
/// error here.
fn checked(place: &str, want: u64, answer: Option<Result<Bytes, Error>>) -> Result<Bytes, Error> {
    let bytes = answer.unwrap_or_else(|| Err(failed(place, "the request panicked")))?;
    if len(&bytes) != want {
        let answer = format!("{} bytes in place of {want}", bytes.len());
        return Err(Error::Answer { place: place.to_owned(), answer });
    }
    Ok(bytes)
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

fn failed(place: &str, cause: &str) -> Error {
    Error::Failed { place: place.to_owned(), cause: cause.to_owned() }
}

fn len(bytes: &Bytes) -> u64 {
    bytes.len() as u64
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::atomic::Ordering;

    use futures_util::future::join_all;
    use proptest::prelude::*;

    use super::*;
    use crate::fake::{Fake, expect};
    use crate::window::{FIRST, MOST};

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        runtime.unwrap().block_on(test)
    }

    fn open(size: u64) -> (Arc<Fake>, Stream) {
        let fake = Arc::new(Fake::default());
        (fake.clone(), Stream::new(fake, 0, size, Arc::new(Memory::new(1 << 30))))
    }

    #[test]
    fn a_small_object_is_one_request_however_many_readers() {
        run(async {
            let (fake, stream) = open(FIRST);
            let reads = (0..9).rev().map(|n| stream.read(n * 131_072, 131_072));
            let got: Vec<_> = join_all(reads).await.into_iter().map(Result::unwrap).collect();
            for (bytes, n) in got.into_iter().zip((0..9).rev()) {
                assert_eq!(bytes, expect(n * 131_072, 131_072, FIRST));
            }
            assert_eq!(fake.requests(), (1, FIRST));
        });
    }

    #[test]
    fn a_sequential_read_fetches_each_byte_once() {
        for step in [131_072, 1_000_003, 9 * 1024 * 1024] {
            run(async {
                let size = 5 * MOST + 7;
                let (fake, stream) = open(size);
                let mut at = 0;
                while at < size {
                    let bytes = stream.read(at, step).await.unwrap();
                    assert_eq!(bytes, expect(at, u64::from(step), size));
                    at += u64::from(step);
                }
                let (count, sum) = fake.requests();
                assert_eq!(sum, size, "step {step}");
                assert!(count <= 24, "{count} requests");
            });
        }
    }

    #[test]
    fn kernel_readahead_arrives_in_any_order_and_fetches_each_byte_once() {
        run(async {
            let size = 3 * MOST;
            let (fake, stream) = open(size);
            for group in 0..size / (1 << 20) {
                let at = group << 20;
                let reads = [5, 0, 3, 1, 2, 7, 6, 4].map(|n| (at + n * 131_072, 131_072));
                let got = join_all(reads.map(|(at, n)| stream.read(at, n))).await;
                for (bytes, (at, n)) in got.into_iter().zip(reads) {
                    assert_eq!(bytes.unwrap(), expect(at, u64::from(n), size));
                }
            }
            assert_eq!(fake.requests().1, size);
        });
    }

    #[test]
    fn a_random_read_is_exact_and_leaves_the_windows_alone() {
        run(async {
            let size = 100 * MOST;
            let (fake, stream) = open(size);
            stream.read(0, 4096).await.unwrap();
            for n in [70, 20, 90, 50] {
                let at = n * MOST + 5;
                assert_eq!(stream.read(at, 4096).await.unwrap(), expect(at, 4096, size));
            }
            stream.read(4096, 4096).await.unwrap();
            assert_eq!(fake.requests(), (5, FIRST + 4 * 4096));
        });
    }

    #[test]
    fn a_header_costs_one_request() {
        run(async {
            let (fake, stream) = open(100 * MOST);
            stream.read(0, 131_072).await.unwrap();
            stream.read(4096, 131_072).await.unwrap();
            tokio::task::yield_now().await;
            assert_eq!(fake.requests(), (1, FIRST));
        });
    }

    #[test]
    fn past_the_end_there_is_nothing_and_an_empty_object_is_checked_once() {
        run(async {
            let (fake, stream) = open(10);
            for (offset, length) in [(10, 1), (u64::MAX, u32::MAX), (3, 0)] {
                assert!(stream.read(offset, length).await.unwrap().is_empty());
            }
            assert_eq!(fake.requests(), (0, 0));
            assert_eq!(stream.read(8, u32::MAX).await.unwrap(), expect(8, 2, 10));
            let (fake, stream) = open(0);
            stream.read(0, 1).await.unwrap();
            stream.read(0, 1).await.unwrap();
            assert_eq!(fake.requests(), (1, 0));
        });
    }

    #[test]
    fn failures_are_told_and_not_kept() {
        run(async {
            let (fake, stream) = open(10);
            fake.failures.store(1, Ordering::SeqCst);
            assert!(stream.read(0, 10).await.is_err());
            assert_eq!(stream.read(0, 10).await.unwrap(), expect(0, 10, 10));
            let fake = Arc::new(Fake { panics: true, ..Fake::default() });
            let error =
                Stream::new(fake, 0, 10, Arc::new(Memory::new(0))).read(0, 10).await.unwrap_err();
            assert_eq!(error.to_string(), "`fake` could not be read: the request panicked");
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn any_reads_in_any_order_are_right(
            size in 0..3 * MOST,
            reads in prop::collection::vec((0..3 * MOST, 0..2_000_000_u32), 1..12),
            failures in 0..3_usize,
        ) {
            run(async {
                let (fake, stream) = open(size);
                fake.failures.store(failures, Ordering::SeqCst);
                let got = join_all(reads.iter().map(|(at, n)| stream.read(*at, *n))).await;
                for (bytes, (at, n)) in got.into_iter().zip(&reads) {
                    match bytes {
                        Ok(bytes) => assert_eq!(bytes, expect(*at, u64::from(*n), size)),
                        Err(_) => assert!(failures > 0),
                    }
                }
            });
        }
    }
}
