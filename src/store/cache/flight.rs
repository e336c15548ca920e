//! The parts of an object that are being fetched, so that none is fetched twice.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};
use std::sync::{Mutex, PoisonError, Weak};

use tokio::sync::watch;

/// The fetches in progress for one object.
#[derive(Debug, Default)]
pub struct Flights(Arc<Mutex<Vec<Flight>>>);

#[derive(Debug)]
struct Flight {
    range: Range<u64>,
    /// Closed when the fetch ends.
    over: watch::Receiver<()>,
}

/// The right to fetch a range; others wait until it is dropped.
#[derive(Debug)]
pub struct Claim {
    range: Range<u64>,
    flights: Weak<Mutex<Vec<Flight>>>,
    over: watch::Sender<()>,
}

/// A fetch by another task.
#[derive(Debug)]
pub struct Busy(watch::Receiver<()>);

impl Busy {
    /// Waits until the fetch ends, successfully or not.
    pub async fn over(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl Flights {
    /// Claims all of `ranges`, or none if another fetch overlaps one of them.
    pub fn claim(&self, ranges: &[Range<u64>]) -> Result<Vec<Claim>, Busy> {
        let mut flights = lock(&self.0);
        let overlaps = |flight: &&Flight| {
            let other = &flight.range;
            ranges
                .iter()
                .any(|range| range.start < other.end && other.start < range.end || range == other)
        };
        if let Some(flight) = flights.iter().find(overlaps) {
            return Err(Busy(flight.over.clone()));
        }
        let claim = |range: &Range<u64>| {
            let (sender, over) = watch::channel(());
            flights.push(Flight { range: range.clone(), over });
            Claim { range: range.clone(), flights: Arc::downgrade(&self.0), over: sender }
        };
        Ok(ranges.iter().map(claim).collect())
    }
}

/// Tells whether others wait for a claim that was handed on. They wait as long as it exists, so it is short-lived.
#[derive(Debug)]
pub struct Awaited(watch::Sender<()>);

impl Claim {
    /// See [`Awaited`].
    pub fn awaited(&self) -> Awaited {
        Awaited(self.over.clone())
    }
}

impl Awaited {
    /// Whether others wait for it.
    pub fn is_awaited(&self) -> bool {
        // One receiver is that of the flight.
        self.0.receiver_count() > 1
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(flights) = self.flights.upgrade() {
            lock(&flights).retain(|flight| flight.range != self.range);
        }
    }
}

fn lock(flights: &Mutex<Vec<Flight>>) -> MutexGuard<'_, Vec<Flight>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_is_waited_for() {
        let flights = Flights::default();
        let claim = |range: Range<u64>| flights.claim(std::slice::from_ref(&range));
        let claims = flights.claim(&[0..10, 20..30]).expect("free");
        assert!(claim(10..20).is_ok());
        let is_awaited = |claim: &Claim| claim.awaited().is_awaited();
        assert!(!is_awaited(&claims[0]) && !is_awaited(&claims[1]));
        let busy = claim(25..26).expect_err("claimed");
        assert!(!is_awaited(&claims[0]) && is_awaited(&claims[1]));
        assert!(flights.claim(&[12..13, 9..11]).is_err());
        assert!(claim(12..13).is_ok(), "nothing stays of a claim that failed");
        drop(claims);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(busy.over());
        assert!(claim(0..30).is_ok());
    }
}
