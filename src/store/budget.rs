//! One retry budget for every kind of request: object reads, listings, web pages.
//!
//! - The budget is the time-out. While it lasts, transient failures are retried; a fixed number of tries would
//!   give up after a second on a server that needs three to restart.
//! - Pauses grow exponentially, with jitter: readers that failed together must not come back together. A
//!   `Retry-After` of the server is respected. A pause that is longer than the remaining time is cut, so that
//!   the last try is still made.
//! - Progress renews the budget: it bounds silence, not duration.
//!
//! The clock is tokio's. Independent of any store.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use tokio::time::Instant;

use super::error::Error;

/// The pause before the second try; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two tries unless the server asks for more: a server that is back is noticed within
/// it.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Time reserved for a last try: a healthy server answers within a second.
const LAST_TRY: Duration = Duration::from_secs(1);

/// How long an unknown host name is looked up again: resolvers fail briefly, a typo for ever.
const NAMES: Duration = Duration::from_secs(3);

/// Log target of messages for people who wait.
pub const WAITS: &str = "dcfs_store::waits";

/// Time after which a waiting user sees the reason.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// A transient failure.
#[derive(Debug)]
pub struct Passing {
    pub error: Error,
    /// The pause that the server asks for.
    pub after: Option<Duration>,
    /// It passes soon or never.
    pub is_brief: bool,
}

impl Passing {
    pub fn new(error: Error) -> Self {
        Self { error, after: None, is_brief: false }
    }
}

/// The time that one question has, however many requests it takes.
#[derive(Debug)]
pub struct Budget {
    limit: Duration,
    began: Instant,
    end: Instant,
    /// Number of pauses since the start or the last renewal.
    pauses: u32,
    is_told: bool,
    /// The reason the last try failed.
    last: Option<Error>,
}

impl Budget {
    pub fn new(limit: Duration) -> Self {
        let began = Instant::now();
        Self { limit, began, end: end(began, limit), pauses: 0, is_told: false, last: None }
    }

    /// Restarts the time, because there was progress.
    pub fn renew(&mut self) {
        self.renew_from(Instant::now());
    }

    /// Restarts the time as of `moment`, when there was progress.
    pub fn renew_from(&mut self, moment: Instant) {
        self.began = moment;
        self.end = end(self.began, self.limit);
        self.pauses = 0;
        self.last = None;
    }

    /// The time of the start or the last renewal.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Runs `work` for at most the remaining time; `None` if that is not enough.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.end, work).await.ok()
    }

    /// The error when time runs out during a try: that of the previous try if there was one, else a time-out.
    pub fn over(&mut self, place: &str) -> Error {
        let silent = || Error::Timeout { place: place.into(), seconds: self.limit.as_secs_f64() };
        self.last.take().unwrap_or_else(silent)
    }

    /// Pauses before the next try.
    ///
    /// # Errors
    /// The error of `failed`, if no try is left.
    pub async fn again(&mut self, failed: Passing) -> Result<(), Error> {
        let Some(pause) = self.pause(&failed, Instant::now(), jitter()) else {
            return Err(failed.error);
        };
        if !self.is_told && self.began.elapsed() + pause >= TOLD_AFTER.min(self.limit / 2) {
            let left = (self.end - Instant::now()).as_secs_f64();
            tracing::info!(target: WAITS, "{}; trying for another {left:.0} s", failed.error);
            self.is_told = true;
        }
        self.last = Some(failed.error);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The pause before the next try at `now`; `None` if no try is left. `jitter` is between 0 and 1.
    fn pause(&mut self, failed: &Passing, now: Instant, jitter: f64) -> Option<Duration> {
        let limit = if failed.is_brief { self.limit.min(NAMES) } else { self.limit };
        let left = end(self.began, limit).saturating_duration_since(now);
        let room = left.saturating_sub(LAST_TRY.min(limit / 10));
        let grown = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(16)).min(LONGEST_PAUSE);
        let wanted = grown.mul_f64(0.5 + jitter / 2.0).max(failed.after.unwrap_or_default());
        self.pauses += 1;
        (!room.is_zero()).then(|| wanted.min(room))
    }
}

/// The end of `limit`, which may be practically infinite.
pub fn end(began: Instant, limit: Duration) -> Instant {
    // The clock may overflow before that.
    const LONG: Duration = Duration::from_secs(365 * 24 * 3600);
    began + limit.min(LONG)
}

/// A number between 0 and 1, different in each call.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// Parses `Retry-After`: seconds, or a date. Dates are compared with the server's own clock, `date`, if it
/// sends one.
pub fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| DateTime::parse_from_rfc2822(text.trim()).ok();
    let now = date.and_then(moment).map_or_else(SystemTime::now, SystemTime::from);
    let until = SystemTime::from(moment(value)?);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn passing(after: Option<u64>) -> Passing {
        let error = Error::Busy { place: "p".into(), answer: "503".into() };
        Passing { after: after.map(Duration::from_secs), ..Passing::new(error) }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(test)
    }

    #[test]
    fn pauses_grow_and_end_at_the_longest() {
        let mut budget = Budget::new(MINUTE);
        let now = budget.began;
        let pauses = (0..7).map(|_| budget.pause(&passing(None), now, 1.0).expect("time is left"));
        let pauses: Vec<_> = pauses.map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3000, 3000]);
        assert_eq!(budget.pause(&passing(None), now, 0.0), Some(LONGEST_PAUSE / 2), "with jitter");
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&jitter())));
        assert!(jitter() != jitter());
    }

    #[test]
    fn the_last_try_is_made_before_the_end_and_none_after() {
        let mut budget = Budget::new(MINUTE);
        let began = budget.began;
        let mut at = |seconds: u64, after| {
            let now = began + Duration::from_secs(seconds);
            budget.pause(&passing(after), now, 1.0).map(|pause| pause.as_secs())
        };
        assert_eq!(at(0, Some(7)), Some(7), "as the server wants it");
        assert_eq!(at(0, Some(3600)), Some(59), "cut");
        assert_eq!(at(58, Some(3600)), Some(1));
        assert_eq!(at(59, None), None);
        assert_eq!(at(1000, None), None);
        budget.renew();
        assert!(budget.pause(&passing(None), Instant::now(), 1.0).is_some());
    }

    #[test]
    fn a_name_that_nobody_knows_is_given_up_soon() {
        let mut budget = Budget::new(MINUTE);
        let brief = Passing { is_brief: true, ..passing(None) };
        assert!(budget.pause(&brief, budget.began, 1.0).is_some());
        assert_eq!(budget.pause(&brief, budget.began + NAMES, 1.0), None);
    }

    #[test]
    fn the_budget_is_the_time_out() {
        run(async {
            let limit = Duration::from_millis(300);
            let mut budget = Budget::new(limit);
            let mut tries = 1;
            while budget.again(passing(None)).await.is_ok() {
                tries += 1;
            }
            assert!(tries > 2 && budget.began.elapsed() < limit);
            assert!(budget.within(std::future::pending::<()>()).await.is_none());
            assert!(matches!(budget.over("p"), Error::Busy { .. }), "the cause, not the time");
            assert!(matches!(budget.over("p"), Error::Timeout { .. }));
            assert!(Budget::new(Duration::MAX).within(async {}).await.is_some());
        });
    }

    #[test]
    fn servers_say_when_in_seconds_or_by_date() {
        let date = Some("Tue, 02 Jan 2024 03:04:05 GMT");
        let cases = [
            ("3", None, Some(3)),
            (" 0 ", None, Some(0)),
            ("Tue, 02 Jan 2024 03:05:05 GMT", date, Some(60)),
            ("Tue, 02 Jan 2024 03:00:00 GMT", date, Some(0)),
            ("Tue, 02 Jan 2024 03:05:05 GMT", None, Some(0)),
            ("soon", date, None),
            ("-1", None, None),
            ("1.5", None, None),
        ];
        for (value, date, seconds) in cases {
            let want = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, date), want, "{value}");
        }
    }
}
