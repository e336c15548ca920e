//! Stores answers in the run's file: decides when to commit, and when there were too many errors.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::schema::FileColumn;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::runs::{Answer, RunFile};
use tokio::sync::watch;

use super::engine::Keeper;
use super::task::Done;
use super::{Request, Sampled, Watch, error_of};

/// The most errors reported one by one.
const TOLD: usize = 5;

/// After this many consecutive rows that the store did not return, it counts as away.
const AWAY: u64 = 100;

/// How long to wait for space on a full disk, and the pause between attempts.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_secs(1);

/// The policy for rows that fail.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    keeps: bool,
    most: u64,
    commit: usize,
}

impl Policy {
    /// The policy of a request; if errors are kept, at most 100 or 1%.
    pub fn new(request: &Request, rows: u64) -> Self {
        let most = request.max_errors.unwrap_or((rows / 100).max(100));
        Self { keeps: request.keeps_errors, most, commit: request.commit.max(1) }
    }
}

/// The file of a run, who is told, and whether the run stops.
type Storing<'k> = (&'k mut RunFile, &'k (dyn Watch + Sync), &'k watch::Sender<bool>);

/// Takes answers.
pub struct Keeping<'k> {
    run: Option<Storing<'k>>,
    policy: Policy,
    ready: Vec<(RowId, Answer)>,
    /// The number of rows computed, and of those that failed.
    pub rows: u64,
    pub errors: u64,
    pub first_errors: Vec<String>,
    /// Why the run stops.
    pub why: Option<Error>,
    /// The number of consecutive rows that the store did not return.
    away: u64,
}

impl<'k> Keeping<'k> {
    /// Stores into a run's file.
    pub fn new(storing: Storing<'k>, policy: Policy) -> Self {
        Self::of(Some(storing), policy)
    }

    /// Stores nothing: answers are only shown.
    pub fn sample(most: usize) -> Self {
        Self::of(None, Policy { keeps: true, most: u64::MAX, commit: most.saturating_add(1) })
    }

    fn of(run: Option<Storing<'k>>, policy: Policy) -> Self {
        let (ready, first_errors) = (Vec::new(), Vec::new());
        Self { run, policy, ready, rows: 0, errors: 0, first_errors, why: None, away: 0 }
    }

    /// The computed answers, by row.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub fn into_sample(
        mut self,
        catalog: &Catalog,
        of: &VersionInfo,
        file: Option<&FileColumn>,
    ) -> Result<Vec<Sampled>> {
        self.ready.sort_by_key(|(row, _)| *row);
        let ids: Vec<RowId> = self.ready.iter().map(|(row, _)| *row).collect();
        let objects = match file {
            Some(file) => catalog.objects(of, file, &ids)?,
            None => vec![None; ids.len()],
        };
        let sampled = |((row, answer), object): ((RowId, Answer), Option<_>)| {
            let label = object.map_or_else(|| format!("row {row}"), |o| dcfs_store::label(&o));
            let answer = match answer {
                Answer::Value(value) => Ok(String::from_utf8_lossy(&value).into_owned()),
                Answer::Error(why) => Err(why),
            };
            Sampled { row: row.key(), label, answer }
        };
        Ok(self.ready.into_iter().zip(objects).map(sampled).collect())
    }

    fn failed(&mut self, why: &str) -> ControlFlow<()> {
        self.errors += 1;
        if self.first_errors.len() < TOLD {
            self.first_errors.push(why.to_owned());
        }
        let told = match (self.policy.keeps, self.away >= AWAY) {
            (false, _) => why.to_owned(),
            (true, true) => format!("{AWAY} files in a row could not be fetched; the last: {why}"),
            (true, false) if self.errors > self.policy.most => {
                format!(
                    "more than {} rows failed (`--max-errors`); the last: {why}",
                    self.policy.most
                )
            }
            (true, false) => return ControlFlow::Continue(()),
        };
        self.why.get_or_insert_with(|| Error::new(Kind::Stopped, told));
        ControlFlow::Break(())
    }
}

/// Repeats `commit` while the disk is full or another program holds the file, at most for the first of two
/// times, with the second as a pause; `say` is called once.
fn patiently(
    (most, pause): (Duration, Duration),
    say: &dyn Fn(&Error),
    is_interrupted: &dyn Fn() -> bool,
    commit: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        let Err(error) = commit() else { return Ok(()) };
        let may_pass = matches!(error.kind(), Kind::NoSpace | Kind::Busy);
        if !may_pass || began.elapsed() >= most || is_interrupted() {
            return Err(error);
        }
        if !std::mem::replace(&mut is_told, true) {
            say(&error);
        }
        std::thread::sleep(pause);
    }
}

impl Keeper for Keeping<'_> {
    fn take(&mut self, done: Done) -> Result<ControlFlow<()>> {
        let why = error_of(&done.answer).map(str::to_owned);
        self.away = if done.store.is_some() { self.away + 1 } else { 0 };
        let flow = match &why {
            Some(why) => self.failed(why),
            None => ControlFlow::Continue(()),
        };
        // If an error stops the run, its row is tried again by the next one.
        if why.is_none() || self.policy.keeps {
            self.rows += 1;
            self.ready.push((done.id, done.answer));
        }
        if let Some((_, watch, _)) = &self.run {
            watch.rows(1, done.bytes, u64::from(why.is_some()));
        }
        if self.ready.len() >= self.policy.commit {
            self.keep()?;
        }
        Ok(flow)
    }

    /// Waits for space on a full disk: computed answers are held meanwhile, and no more are
    /// computed. A person who interrupts the run ends the wait.
    fn keep(&mut self) -> Result<()> {
        let Some((run, watch, stop)) = &mut self.run else { return Ok(()) };
        if self.ready.is_empty() {
            return Ok(());
        }
        // A run that stops on an error of its own still stores what it has.
        let is_interrupted = || self.why.is_none() && *stop.borrow();
        let say = |why: &Error| watch.say(&format!("waiting: {why}"));
        patiently((PATIENCE, PAUSE), &say, &is_interrupted, &mut || run.commit(&self.ready))?;
        self.ready.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::cell::Cell;

    #[test]
    fn a_full_disk_is_waited_for_and_given_up_in_the_end() {
        let (tries, told) = (Cell::new(0), Cell::new(0));
        let full = |until: u32, kind| {
            tries.set(tries.get() + 1);
            match tries.get() > until {
                true => Ok(()),
                false => Err(Error::new(kind, "full")),
            }
        };
        let say = |_: &Error| told.set(told.get() + 1);
        let (long, none) = (Duration::from_secs(3600), Duration::ZERO);
        patiently((long, none), &say, &|| false, &mut || full(3, Kind::NoSpace)).expect("room");
        assert_eq!((tries.take(), told.take()), (4, 1), "said once");
        let given_up = patiently((none, none), &say, &|| false, &mut || full(9, Kind::NoSpace));
        assert_eq!(given_up.expect_err("no room").kind(), Kind::NoSpace);
        tries.set(0);
        let interrupted = patiently((long, none), &say, &|| true, &mut || full(9, Kind::Busy));
        assert_eq!((interrupted.expect_err("nobody waits").kind(), tries.take()), (Kind::Busy, 1));
        let broken = patiently((long, none), &say, &|| false, &mut || full(9, Kind::Broken));
        assert_eq!((broken.expect_err("no wait helps").kind(), tries.take()), (Kind::Broken, 1));
    }
}
