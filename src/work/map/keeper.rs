//! Stores answers in the run's file: decides when to commit, and when there were too many errors.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::schema::FileColumn;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::runs::{Answer, RunFile};

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

/// Takes answers.
pub struct Keeping<'k> {
    run: Option<(&'k mut RunFile, &'k (dyn Watch + Sync))>,
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
    pub fn new(run: &'k mut RunFile, policy: Policy, watch: &'k (dyn Watch + Sync)) -> Self {
        Self::of(Some((run, watch)), policy)
    }

    /// Stores nothing: answers are only shown.
    pub fn sample(most: usize) -> Self {
        Self::of(None, Policy { keeps: true, most: u64::MAX, commit: most.saturating_add(1) })
    }

    fn of(run: Option<(&'k mut RunFile, &'k (dyn Watch + Sync))>, policy: Policy) -> Self {
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
        if let Some((_, watch)) = &self.run {
            watch.rows(1, done.bytes, u64::from(why.is_some()));
        }
        if self.ready.len() >= self.policy.commit {
            self.keep()?;
        }
        Ok(flow)
    }

    /// Waits for space on a full disk: computed answers are held meanwhile, and no more are
    /// computed.
    fn keep(&mut self) -> Result<()> {
        let Some((run, watch)) = &mut self.run else { return Ok(()) };
        if self.ready.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let mut is_told = false;
        loop {
            match run.commit(&self.ready) {
                Ok(()) => break,
                Err(error)
                    if matches!(error.kind(), Kind::NoSpace | Kind::Busy)
                        && began.elapsed() < PATIENCE =>
                {
                    if !std::mem::replace(&mut is_told, true) {
                        watch.say(&format!("waiting: {error}"));
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        self.ready.clear();
        Ok(())
    }
}
