//! `dcfs plan`: what it would take to read a dataset, without reading it.

use serde::Serialize;

use super::access;
use super::output::Output;
use super::selecting::{Selected, SelectingArgs};
use dcfs_core::error::Result;
use dcfs_core::render::numbers::{self, count};
use dcfs_store::Cost;
use dcfs_work::Found;

/// Print what reading a dataset takes: objects, bytes, requests, and what is cached already
///
/// Asks nothing of any store.
#[derive(Debug, clap::Args)]
pub struct Plan {
    #[command(flatten)]
    selecting: SelectingArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What it takes: objects and bytes by where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Planned {
    dataset: String,
    pub objects: u64,
    pub bytes: u64,
    /// Of files of this machine.
    local: u64,
    local_bytes: u64,
    /// Of objects that are cached as a whole, and of all that are cached.
    cached: u64,
    cached_bytes: u64,
    /// What is to be fetched.
    pub missing: u64,
    pub missing_bytes: u64,
    requests: u64,
    /// Objects that cannot be read as they are recorded.
    unreadable: u64,
}

impl Plan {
    /// Counts, and prints.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let selected = self.selecting.select()?;
        let planned = Planned::of(&selected, self.selecting.jobs.into())?;
        planned.print(self.json, out)
    }
}

impl Planned {
    /// Looks at the cache, for every object.
    pub fn of(selected: &Selected, jobs: usize) -> Result<Self> {
        let runtime = access::runtime()?;
        let mut planned = Self { dataset: selected.dataset.clone(), ..Self::default() };
        let work = |found: Found| {
            let stores = selected.stores.clone();
            async move {
                let cost = match found.object() {
                    Ok(object) => stores.cost(object).await,
                    Err(gone) => Err(gone),
                };
                (found.size(), cost)
            }
        };
        let done = |(size, cost)| planned.add(size, cost);
        runtime.block_on(selected.selection.each(jobs, work, done))?;
        Ok(planned)
    }

    fn add(&mut self, size: u64, cost: Result<Cost>) {
        self.objects += 1;
        self.bytes += size;
        match cost {
            Ok(Cost::Local) => {
                (self.local, self.local_bytes) = (self.local + 1, self.local_bytes + size)
            }
            Ok(Cost::Remote { cached, missing, requests }) => {
                self.cached += u64::from(requests == 0);
                self.cached_bytes += cached;
                self.missing += u64::from(requests > 0);
                self.missing_bytes += missing;
                self.requests += requests;
            }
            Err(_) => self.unreadable += 1,
        }
    }

    /// For people or programs.
    pub fn print(&self, json: bool, out: &mut Output) -> Result<()> {
        if json {
            return out.json(self);
        }
        out.line(format!("{}: {}", self.dataset, numbers::objects(self.objects, self.bytes)))?;
        let parts = [
            ("on this machine", self.local, self.local_bytes),
            ("cached", self.cached, self.cached_bytes),
            ("to fetch", self.missing, self.missing_bytes),
        ];
        for (what, objects, bytes) in parts {
            if objects > 0 || bytes > 0 {
                out.line(format!("  {what}: {}", numbers::objects(objects, bytes)))?;
            }
        }
        if self.requests > 0 {
            out.line(format!("  requests: {}", count(self.requests)))?;
        }
        match self.unreadable {
            0 => Ok(()),
            some => out.line(format!("  cannot be read: {}; `dcfs verify` says why", count(some))),
        }
    }
}
