//! One object of a remote store: every request pinned, every answer checked.
//!
//! A store only sends one request and returns the answer ([`Requests`]); the checks and the retries are here,
//! the same for all stores.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::budget::{Budget, Passing};
use super::buffers::Buffer;
use super::error::{Error, quoted};
use super::health::{Health, Pass};
use super::pin::{Answer, Ask, Mismatch, Recorded, Seen};
use super::refusal::Refusal;
use super::stream::Ranges;
use super::window;

/// The requests for one object of a store. Each call sends one request; [`Remote`] retries. The messages of its
/// failures are its own.
pub trait Requests: Send + Sync + 'static {
    /// Requests bytes.
    fn get(self: Arc<Self>, question: Question) -> BoxFuture<'static, Result<Got, Failure>>;

    /// Requests the object's current identity, without its bytes.
    fn head(self: Arc<Self>, ask: Ask) -> BoxFuture<'static, Result<Answer, Failure>>;

    /// `source/path`, for messages.
    fn place(&self) -> &str;

    /// The server, if the row does not name it: part of an object's identity.
    fn server(&self) -> &str;

    /// The unit that is up or down as a whole: the server, or a bucket of it.
    fn origin(&self) -> String;

    /// The longest wait without progress, including retries.
    fn timeout(&self) -> Duration;
}

/// The parameters of a request.
#[derive(Clone, Debug)]
pub struct Question {
    pub ask: Ask,
    /// In bytes of the object.
    pub range: Range<u64>,
    /// Whether the range is all of the object. The request then has no range: an empty object has none, and
    /// servers that ignore ranges still work.
    pub is_whole: bool,
    /// For clients that return a body in large pieces, to report the progress of a piece.
    pub arriving: Arriving,
}

/// The progress of a piece that is returned only when complete: arriving bytes are not silence.
#[derive(Clone, Debug, Default)]
pub struct Arriving {
    bytes: Arc<AtomicU64>,
    /// When [`PROGRESS`] bytes last arrived: for this request, and for the object.
    last: Arc<Mutex<Option<Instant>>>,
    of_object: Arc<Mutex<Option<Instant>>>,
}

impl Arriving {
    fn of(of_object: &Arc<Mutex<Option<Instant>>>) -> Self {
        Self { of_object: Arc::clone(of_object), ..Self::default() }
    }

    /// Records that this many bytes arrived.
    pub fn note(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / PROGRESS < (before + bytes) / PROGRESS {
            let now = Some(Instant::now());
            *lock(&self.last) = now;
            *lock(&self.of_object) = now;
        }
    }

    /// The time of the last progress, if after `since`.
    fn since(&self, since: Instant) -> Option<Instant> {
        lock(&self.last).filter(|last| *last > since)
    }
}

fn lock(moment: &Mutex<Option<Instant>>) -> MutexGuard<'_, Option<Instant>> {
    moment.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer whose form is valid, but which has not been compared with anything yet.
pub struct Got {
    pub answer: Answer,
    /// The range of the body, as the server states it.
    pub range: Range<u64>,
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// 412 and 416: the object does not satisfy the condition; 501: the store does not support it.
    Condition(Refusal),
    /// A retry may succeed.
    Passing(Passing),
    Told(Error),
}

/// Number of bytes that renew the time-out. An answer that brings fewer in that time counts as silent.
const PROGRESS: u64 = 64 << 10;

/// A recorded object.
pub struct Remote {
    store: Arc<dyn Requests>,
    recorded: Recorded,
    seen: Seen,
    health: Arc<Health>,
    /// The time limit for a server that has never answered.
    first: Duration,
    /// The time of the last progress.
    progressed: Arc<Mutex<Option<Instant>>>,
}

/// One range in progress, however many requests it takes.
struct Asking<'a> {
    question: Question,
    budget: Budget,
    pass: Pass<'a>,
    /// The bytes received so far.
    arrived: Arrived,
}

/// Consecutive bytes. A single chunk is not copied.
#[derive(Default)]
struct Arrived {
    first: Bytes,
    whole: Option<Buffer>,
    length: u64,
}

impl Arrived {
    fn push(&mut self, chunk: Bytes, want: u64) {
        self.length += chunk.len() as u64;
        if chunk.len() as u64 == want {
            self.first = chunk;
        } else if !chunk.is_empty() {
            self.whole.get_or_insert_with(|| Buffer::new(want)).push(&chunk);
        }
    }

    fn bytes(self) -> Bytes {
        self.whole.map_or(self.first, Buffer::freeze)
    }
}

impl Remote {
    pub fn new(store: Arc<dyn Requests>, recorded: Recorded, health: Arc<Health>) -> Self {
        let first = store.timeout();
        Self { store, recorded, seen: Seen::new(), health, first, progressed: Arc::default() }
    }

    /// Gives up a server that has never answered after `first`.
    pub fn within(self, first: Duration) -> Self {
        Self { first: first.min(self.first), ..self }
    }

    /// Sends requests until all of `range` has arrived, while the budget lasts.
    async fn fetch(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let ask = self.recorded.ask(&self.seen);
        let ask = ask.map_err(|reason| Error::Unaskable { place: self.place(), reason })?;
        let is_whole = range == (0..self.recorded.size) && range.end <= window::FIRST;
        let arriving = Arriving::of(&self.progressed);
        let question = Question { ask, range, is_whole, arriving };
        let pass = self.health.admit(self.store.place()).await?;
        let is_known = self.health.has_answered();
        let budget = Budget::new(if is_known { self.store.timeout() } else { self.first });
        let mut asking = Asking { question, budget, pass, arrived: Arrived::default() };
        loop {
            let error = match self.attempt(&mut asking).await {
                Ok(()) => return Ok(asking.arrived.bytes()),
                Err(Failure::Told(error)) => return Err(error),
                Err(Failure::Condition(refusal)) => return Err(self.other(&refusal)),
                Err(Failure::Passing(failed)) if self.is_last(&asking.pass) => failed.error,
                Err(Failure::Passing(failed)) => match asking.budget.again(failed).await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            self.health.failed(&asking.pass, asking.budget.began(), &error);
            return Err(error);
        }
    }

    /// Whether a failed try was the last: others found the server away.
    fn is_last(&self, pass: &Pass<'_>) -> bool {
        matches!(pass, Pass::Once(_)) || self.health.is_away()
    }

    /// Requests the missing part once; if a condition is refused, requests the object's current identity.
    async fn attempt(&self, asking: &mut Asking<'_>) -> Result<(), Failure> {
        let asked = Arc::clone(&self.store).get(asking.question.clone());
        let got = match self.bounded(asking, asked).await? {
            Err(Failure::Condition(refusal)) => {
                let is_free = matches!(asking.question.ask, Ask::Any);
                self.health.answers();
                self.bounded(asking, self.agreed(&refusal, is_free)).await??;
                // Some servers do not support conditions, or want them in another form; the answer is checked
                // anyway.
                asking.question.ask = Ask::Any;
                let asked = Arc::clone(&self.store).get(asking.question.clone());
                self.bounded(asking, asked).await?
            }
            got => got,
        };
        if !matches!(got, Err(Failure::Passing(_))) {
            self.health.answers();
        }
        let got = got?;
        self.check(&got.answer).map_err(Failure::Told)?;
        let range = &asking.question.range;
        if got.range != *range {
            let answer = format!("it sent bytes {:?} for {range:?}", got.range);
            return Err(Failure::Told(self.answer(answer)));
        }
        self.body(got.body, asking).await
    }

    /// Waits for `work`, for the remaining time.
    async fn bounded<T>(
        &self,
        asking: &mut Asking<'_>,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let came = asking.budget.within(work).await;
        came.ok_or_else(|| self.silent(asking))
    }

    /// The same, for as long as bytes arrive, whether or not they have been returned yet.
    async fn unless_silent<T>(
        &self,
        asking: &mut Asking<'_>,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Some(came) = asking.budget.within(&mut work).await {
                return Ok(came);
            }
            let last = asking.question.arriving.since(asking.budget.began());
            let Some(last) = last else { return Err(self.silent(asking)) };
            asking.budget.renew_from(last);
            self.health.answers();
        }
    }

    /// The failure for silence until the time is up.
    fn silent(&self, asking: &mut Asking<'_>) -> Failure {
        let error = asking.budget.over(self.store.place());
        self.health.failed(&asking.pass, asking.budget.began(), &error);
        Failure::Told(error)
    }

    /// Checks that an answer is the recorded object, and the same as the first answer.
    fn check(&self, answer: &Answer) -> Result<(), Error> {
        self.recorded.check(answer).map_err(|mismatch| self.mismatch(mismatch))?;
        let first = self.seen.get_or_init(|| answer.clone());
        first.agrees(answer).map_err(|mismatch| self.mismatch(mismatch))
    }

    /// Receives a body; if it breaks off, the rest is requested again.
    async fn body(
        &self,
        mut stream: BoxStream<'static, Result<Bytes, Error>>,
        asking: &mut Asking<'_>,
    ) -> Result<(), Failure> {
        let want = asking.arrived.length + asking.question.range.end - asking.question.range.start;
        let mut renewed = asking.arrived.length;
        loop {
            let chunk = match self.unless_silent(asking, stream.next()).await? {
                None => break,
                Some(Ok(chunk)) => chunk,
                // All of it has arrived, however it ended.
                Some(Err(_)) if asking.arrived.length == want => break,
                Some(Err(error)) => {
                    self.go_on(asking);
                    return Err(Failure::Passing(Passing::new(error)));
                }
            };
            let length = asking.arrived.length + chunk.len() as u64;
            if length > want {
                let answer = format!("more than the {want} bytes asked for");
                return Err(Failure::Told(self.answer(answer)));
            }
            // A slow connection is no error while bytes arrive.
            if length >= renewed + PROGRESS {
                renewed = length;
                asking.budget.renew();
                *lock(&self.progressed) = Some(Instant::now());
                self.health.answers();
            }
            asking.question.range.start += chunk.len() as u64;
            asking.arrived.push(chunk, want);
        }
        let length = asking.arrived.length;
        if length < want {
            let answer = format!("{length} bytes in place of {want}");
            return Err(Failure::Told(self.answer(answer)));
        }
        Ok(())
    }

    /// Narrows the question to the rest. If nothing identifies the object, all of it is requested again.
    fn go_on(&self, asking: &mut Asking<'_>) {
        let is_known = self.seen.get().is_some_and(|first| {
            first.version.is_some() || first.etag.is_some() || first.last_modified.is_some()
        });
        let rest = &mut asking.question.range;
        if is_known {
            asking.question.is_whole &= asking.arrived.length == 0;
            return;
        }
        rest.start -= asking.arrived.length;
        asking.arrived = Arrived::default();
    }

    /// After a refused condition, requests the object's current identity: if that is the recorded object by its
    /// etag, only the condition was refused, and all is well.
    ///
    /// # Errors
    /// The current object; the refusal, if the store does not tell.
    async fn agreed(&self, refusal: &Refusal, is_free: bool) -> Result<(), Failure> {
        let version = Some(self.recorded.version.clone()).filter(|v| !v.is_empty());
        let ask = version.map_or(Ask::Any, Ask::Version);
        match Arc::clone(&self.store).head(ask).await {
            Ok(now) => match self.check(&now) {
                Err(changed @ Error::Changed { .. }) => Err(Failure::Told(changed)),
                Ok(()) if !is_free && refusal.status != 416 && now.etag.is_some() => Ok(()),
                _ => Err(Failure::Told(self.other(refusal))),
            },
            Err(Failure::Told(gone @ Error::Gone { .. })) => Err(Failure::Told(gone)),
            Err(Failure::Passing(failed)) => Err(Failure::Passing(failed)),
            Err(_) => Err(Failure::Told(self.other(refusal))),
        }
    }

    /// The error for another object, of which only `refusal` is known.
    fn other(&self, refusal: &Refusal) -> Error {
        let place = self.place();
        if refusal.status == 416 {
            let (recorded, found) = (self.recorded.size, format!("smaller ({refusal})"));
            let recorded = format!("{recorded} bytes");
            return Error::Changed { place, what: "size", recorded, found };
        }
        let first = self.seen.get().and_then(|answer| answer.etag.clone());
        let etag = Some(self.recorded.etag.clone()).filter(|etag| !etag.is_empty()).or(first);
        let recorded = quoted(&etag.unwrap_or_default());
        Error::Changed { place, what: "etag", recorded, found: format!("another one ({refusal})") }
    }

    fn mismatch(&self, mismatch: Mismatch) -> Error {
        let place = self.place();
        match mismatch {
            Mismatch::Changed { what, recorded, found } => {
                Error::Changed { place, what, recorded, found }
            }
            Mismatch::Unproven { what, recorded } => Error::Unproven { place, what, recorded },
        }
    }

    fn answer(&self, answer: String) -> Error {
        Error::Answer { place: self.place(), answer }
    }

    fn place(&self) -> String {
        self.store.place().to_owned()
    }
}

impl Ranges for Remote {
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
        async move { self.fetch(range).await }.boxed()
    }

    fn place(&self) -> &str {
        self.store.place()
    }

    fn progressed(&self) -> Option<Instant> {
        *lock(&self.progressed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{Stream, TryStreamExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    /// Sends `pieces` of `length` bytes each, with pauses between them; supports no conditions.
    struct Slow {
        pieces: u64,
        length: u64,
        apart: Duration,
        /// Whether all of it is returned at once, when complete.
        is_joined: bool,
    }

    impl Slow {
        fn answer(&self) -> Answer {
            let (size, etag) = (self.pieces * self.length, Some("\"e\"".into()));
            Answer { size, etag, ..Answer::default() }
        }
    }

    impl Requests for Slow {
        fn get(self: Arc<Self>, question: Question) -> BoxFuture<'static, Result<Got, Failure>> {
            async move {
                if question.ask != Ask::Any {
                    let code = "NotImplemented".to_owned();
                    return Err(Failure::Condition(Refusal {
                        status: 501,
                        code,
                        message: String::new(),
                    }));
                }
                let (length, apart) = (self.length as usize, self.apart);
                let arriving = question.arriving;
                let body = futures_util::stream::iter(0..self.pieces).then(move |_| {
                    let arriving = arriving.clone();
                    async move {
                        tokio::time::sleep(apart).await;
                        arriving.note(length as u64);
                        Ok(Bytes::from(vec![7; length]))
                    }
                });
                let body = match self.is_joined {
                    false => body.boxed(),
                    true => joined(body).into_stream().boxed(),
                };
                Ok(Got { answer: self.answer(), range: question.range, body })
            }
            .boxed()
        }

        fn head(self: Arc<Self>, _: Ask) -> BoxFuture<'static, Result<Answer, Failure>> {
            async move { Ok(self.answer()) }.boxed()
        }

        fn place(&self) -> &str {
            "slow"
        }

        fn server(&self) -> &str {
            "slow"
        }

        fn origin(&self) -> String {
            "slow".into()
        }

        fn timeout(&self) -> Duration {
            LIMIT
        }
    }

    async fn joined(body: impl Stream<Item = Result<Bytes, Error>>) -> Result<Bytes, Error> {
        let pieces: Vec<Bytes> = body.try_collect().await?;
        Ok(pieces.concat().into())
    }

    fn fetched(slow: Slow, etag: &str) -> Result<usize, Error> {
        let size = slow.pieces * slow.length;
        let recorded = Recorded { size, etag: etag.into(), ..Recorded::default() };
        let remote = Remote::new(Arc::new(slow), recorded, Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(remote.fetch(0..size)).map(|bytes| bytes.len())
    }

    #[test]
    fn a_slow_answer_is_waited_for_while_it_goes_on() {
        // Half as long again as the limit, and each piece well within it.
        for is_joined in [false, true] {
            let slow = Slow { pieces: 6, length: PROGRESS, apart: LIMIT / 4, is_joined };
            assert_eq!(fetched(slow, "e").ok(), Some(6 * PROGRESS as usize));
            let silent = Slow { pieces: 6, length: 1, apart: LIMIT / 2, is_joined };
            let told = fetched(silent, "e");
            assert!(matches!(told, Err(Error::Timeout { .. })), "a byte now and then");
        }
    }

    #[test]
    fn a_condition_that_is_refused_is_left_out_where_nothing_changed() {
        let plain = || Slow { pieces: 1, length: 5, apart: Duration::ZERO, is_joined: false };
        assert_eq!(fetched(plain(), "e").ok(), Some(5));
        assert!(matches!(fetched(plain(), "other"), Err(Error::Changed { .. })));
    }
}
