//! The health of servers: whether they answer at all, as observed by every request.
//!
//! A request has all of `--timeout` before it fails ([`super::budget`]). Ten thousand files of an unreachable
//! server must not take that long each. So once a whole budget failed and no other request was answered
//! meanwhile, the server counts as away:
//!
//! - One request at a time tries, once; all others wait for its result and share it.
//! - If the try took longer than [`QUICK`], nobody tries again for as long, [`REST`] at most, and all requests
//!   fail at once with the cause.
//! - The first answer, of whatever status, makes the server healthy again.
//!
//! A server that refuses connections is thus tried by every request, at no cost, and noticed as soon as it is
//! back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync;
use tokio::time::Instant;

use super::error::Error;

/// The longest time without a try. A reader notices a recovery within it.
const REST: Duration = Duration::from_secs(2);

/// A refused connection or a 503 arrives faster than this even from far away: trying costs nothing.
const QUICK: Duration = Duration::from_millis(500);

/// The health of one server.
#[derive(Debug, Default)]
pub struct Health {
    known: Mutex<Known>,
    probe: sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// The time of its last answer.
    answered: Option<Instant>,
    away: Option<Away>,
}

#[derive(Clone, Debug)]
struct Away {
    cause: String,
    is_busy: bool,
    /// No tries before this time.
    until: Instant,
}

/// The right to send a request.
#[derive(Debug)]
pub enum Pass<'a> {
    /// As often as the budget allows.
    Free,
    /// Once, for all who wait.
    Once(#[expect(dead_code, reason = "held while asking")] sync::MutexGuard<'a, ()>),
}

impl Health {
    /// Waits for the right to send a request for `place`.
    ///
    /// # Errors
    /// The server is away: the cause, as others observed it.
    pub async fn admit(&self, place: &str) -> Result<Pass<'_>, Error> {
        if self.away(place)?.is_none() {
            return Ok(Pass::Free);
        }
        let began = Instant::now();
        let turn = self.probe.lock().await;
        match self.away(place)? {
            None => Ok(Pass::Free),
            // Somebody tried since, in vain.
            Some(away) if away.until >= began => Err(away.error(place)),
            Some(_) => Ok(Pass::Once(turn)),
        }
    }

    /// Records an answer of any status.
    pub fn answers(&self) {
        let mut known = self.known();
        known.answered = Some(Instant::now());
        known.away = None;
    }

    /// Records that a request with this right, begun at `since`, got no answer within its budget, because of
    /// `error`. If others got one, nothing is concluded.
    pub fn failed(&self, pass: &Pass<'_>, since: Instant, error: &Error) {
        let (cause, is_busy) = match error {
            Error::Busy { answer, .. } => (answer.clone(), true),
            Error::Failed { cause, .. } => (cause.clone(), false),
            Error::Timeout { seconds, .. } => (format!("no answer within {seconds} s"), false),
            _ => return,
        };
        let mut known = self.known();
        if known.answered.is_some_and(|answered| answered >= since) {
            return;
        }
        let now = Instant::now();
        let took = match pass {
            Pass::Once(_) => now - since,
            // A whole budget does not tell how long one try takes.
            Pass::Free => Duration::ZERO,
        };
        let rest = if took > QUICK { took.min(REST) } else { Duration::ZERO };
        known.away = Some(Away { cause, is_busy, until: now + rest });
    }

    /// Whether it has ever answered.
    pub fn has_answered(&self) -> bool {
        self.known().answered.is_some()
    }

    /// Whether it counts as away.
    pub fn is_away(&self) -> bool {
        self.known().away.is_some()
    }

    /// Whether it is away and may be tried once; an error if it may not.
    fn away(&self, place: &str) -> Result<Option<Away>, Error> {
        match &self.known().away {
            Some(away) if Instant::now() < away.until => Err(away.error(place)),
            away => Ok(away.clone()),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change under this lock is a single step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Away {
    fn error(&self, place: &str) -> Error {
        let (place, cause) = (place.to_owned(), self.cause.clone());
        match self.is_busy {
            true => Error::Busy { place, answer: cause },
            false => Error::Failed { place, cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn refused() -> Error {
        Error::Failed { place: "one".into(), cause: "refused".into() }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(test)
    }

    #[test]
    fn who_waits_shares_what_one_found_out() {
        run(async {
            let health = Health::default();
            assert!(matches!(health.admit("a").await, Ok(Pass::Free)));
            health.failed(&Pass::Free, Instant::now(), &refused());
            let once = health.admit("a").await.expect("one may ask");
            assert!(matches!(once, Pass::Once(_)));
            let asking = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                health.failed(&once, Instant::now() - 2 * QUICK, &refused());
                drop(once);
            };
            let others = join_all((0..9).map(|_| health.admit("b")));
            let (others, ()) = tokio::join!(others, asking);
            for other in others {
                let error = other.expect_err("away").to_string();
                assert!(error.contains("`b`") && error.contains("refused"), "{error}");
            }
            assert!(health.admit("c").await.is_err(), "asking took long");
            tokio::time::sleep(3 * QUICK).await;
            let once = health.admit("c").await.expect("one may ask");
            health.failed(&once, Instant::now(), &refused());
            drop(once);
            assert!(matches!(health.admit("c").await, Ok(Pass::Once(_))), "asking took no time");
        });
    }

    #[test]
    fn an_answer_makes_it_well() {
        run(async {
            let health = Health::default();
            let since = Instant::now();
            health.failed(&Pass::Free, since, &refused());
            assert!(health.is_away());
            health.answers();
            assert!(matches!(health.admit("a").await, Ok(Pass::Free)));
            health.failed(&Pass::Free, since, &refused());
            assert!(!health.is_away(), "others got an answer");
            let gone = Error::Gone { place: "a".into(), answer: "404".into() };
            health.failed(&Pass::Free, Instant::now(), &gone);
            assert!(!health.is_away(), "an answer");
        });
    }
}
