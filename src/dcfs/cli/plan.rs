//! `dcfs plan`: the cost of reading a dataset, without reading it.

use std::path::PathBuf;

use serde::Serialize;

use super::CatalogArg;
use super::access::AccessArgs;
use super::complete;
use super::output::Output;
use super::selecting::Selected;
use crate::session;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;
use dcfs_core::render::numbers::{self, count};
use dcfs_store::Cost;
use dcfs_work::Found;

/// Objects looked up in the cache concurrently: only the disk is read.
const LOOKS: usize = 32;

/// Print the cost of reading a dataset: objects, bytes, requests, and what is cached already
///
/// Sends no requests to any store.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// Only the objects of rows that pass this filter, e.g. `info.width > 400`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true, add = complete::filters())]
    filter: Option<String>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Directory of packed versions and fetched objects [default: $XDG_CACHE_HOME/dcfs]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Address of an S3-compatible server: the cache distinguishes objects by server
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Profile of ~/.aws, which may name another server
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// File of settings per bucket or prefix [default: DCFS_CONFIG, then $XDG_CONFIG_HOME/dcfs/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The cost: objects and bytes by where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Planned {
    dataset: String,
    pub objects: u64,
    pub bytes: u64,
    /// In local files.
    local: u64,
    local_bytes: u64,
    /// In objects that are completely cached, and in all cached parts.
    cached: u64,
    cached_bytes: u64,
    /// The part to fetch.
    pub missing: u64,
    pub missing_bytes: u64,
    requests: u64,
    /// Objects that cannot be read as recorded.
    unreadable: u64,
}

impl Plan {
    /// Computes and prints the cost.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let access = AccessArgs {
            catalog: self.catalog,
            cache_dir: self.cache_dir,
            endpoint_url: self.endpoint_url,
            profile: self.profile,
            config: self.config,
            ..AccessArgs::default()
        };
        let selected = Selected::of(&self.dataset, self.filter.as_deref(), &access, None, None)?;
        Planned::of(&selected, LOOKS)?.print(self.json, out)
    }
}

impl Planned {
    /// Looks up every object in the cache.
    pub fn of(selected: &Selected, jobs: usize) -> Result<Self> {
        let runtime = session::runtime()?;
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

    /// Prints the cost for people or programs.
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
