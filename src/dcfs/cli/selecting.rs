//! The objects that `warm`, `plan` and `verify` work on, and their stores.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::access::AccessArgs;
use super::asking::AskingArgs;
use super::complete;
use super::remembered;
use super::sharing;
use crate::session::{self, Session, Who};
use dcfs_core::error::Result;
use dcfs_core::loader::options::digits;
use dcfs_core::name::DatasetRef;
use dcfs_data::catalog::Catalog;
use dcfs_data::lost;
use dcfs_data::pack::shared::{self, Small, Turn, Written};
use dcfs_data::pack::{self, Limits, Packs};
use dcfs_data::query::{Queries, Version};
use dcfs_store::Stores;
use dcfs_work::Selection;

/// The flags, as typed.
#[derive(Clone, Debug, clap::Args)]
pub struct SelectingArgs {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// Only the objects of rows that pass this filter, e.g. `info.width > 400`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true, add = complete::filters())]
    filter: Option<String>,
    /// Objects to process in parallel: most of the time is spent waiting for a store
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub jobs: u16,
    #[command(flatten)]
    access: AccessArgs,
}

/// The order of an epoch, as given to `--order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochOrder {
    seed: u64,
    epoch: u32,
}

impl FromStr for EpochOrder {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text
            .strip_prefix("epochs/")
            .map(|numbers| numbers.split_once('/').unwrap_or((numbers, "0")));
        let parsed = numbers.and_then(|(seed, epoch)| {
            Some(Self { seed: digits(seed)?, epoch: digits(epoch)?.try_into().ok()? })
        });
        parsed.ok_or("write `epochs/SEED` or `epochs/SEED/N`, as in the mount's `_views`, e.g. `epochs/42/0`")
    }
}

/// A version that was shared, and how much of it was written.
pub struct SharedVersion {
    /// `name@version`.
    pub dataset: String,
    pub prefix: String,
    pub kept: Written,
    /// Where its small objects are to be shared too.
    pub small: Option<Arc<Small>>,
}

/// The objects of a version, and their stores.
pub struct Selected {
    /// `name@version`.
    pub dataset: String,
    pub selection: Arc<Selection>,
    pub stores: Arc<Stores>,
    /// Whether fetched objects are cached.
    pub is_cached: bool,
}

impl SelectingArgs {
    /// Finds the version and its rows.
    ///
    /// # Errors
    /// No catalog, no such version; errors of the filter and the pack; invalid settings.
    pub fn select(&self) -> Result<Selected> {
        self.select_within(None)
    }

    /// Shares the pack and the packed columns of the version with other hosts; with a filter its columns and
    /// its rows too.
    ///
    /// # Errors
    /// No shared folder; errors of the folder, the catalog and the filter.
    pub fn share(&self) -> Result<SharedVersion> {
        let access = self.access.clone().resolve()?;
        let catalog = Arc::new(Catalog::open(&access.catalog)?);
        let of = catalog.find(&self.dataset)?;
        let tier = access.tier(&catalog, Who::Told)?.ok_or_else(sharing::none_named)?;
        let shared = tier.of(&of);
        let name = shared::of_pack(&pack::name_of(&(&*catalog, &of), &of.uuid)?);
        let turn = shared.turn(&name, session::PATIENT);
        // The holder of the lease builds; otherwise another host has built it.
        let from = matches!(turn, Turn::There).then(|| tier.clone());
        let packs = Packs::shared(catalog.clone(), access.cache.clone(), Limits::default(), from);
        let pack = session::runtime()?.block_on(packs.get(&of))?;
        let mut kept = Written::default();
        if let Some(filter) = &self.filter {
            let query = lost::check(&catalog, &of, &catalog.schema(&of)?, filter)?;
            let version = Version { catalog: &catalog, of: &of, pack: &pack, each: &|_| {} };
            kept += Queries::for_a_command().share(version, &query, &shared)?;
        }
        kept += pack.share(&shared)?;
        let small = access.shares_objects().then(|| Small::new(tier.clone()));
        Ok(SharedVersion { dataset: of.to_string(), prefix: tier.told().prefix, kept, small })
    }

    /// The same, in the order of an epoch if one is given.
    ///
    /// # Errors
    /// As [`SelectingArgs::select`].
    pub fn select_ordered(&self, order: Option<EpochOrder>) -> Result<Selected> {
        Selected::of(&self.dataset, self.filter.as_deref(), &self.access, order, None)
    }

    /// The same; gives up a server that has never answered after `first_answer`.
    ///
    /// # Errors
    /// As [`SelectingArgs::select`].
    pub fn select_within(&self, first_answer: Option<Duration>) -> Result<Selected> {
        Selected::of(&self.dataset, self.filter.as_deref(), &self.access, None, first_answer)
    }

    /// Small objects of `selected` are looked for in the folder that hosts share first, if the settings say so.
    ///
    /// # Errors
    /// As [`SelectingArgs::share`].
    pub fn look_near(&self, selected: &Selected) -> Result<()> {
        let access = self.access.clone().resolve()?;
        if access.shares_objects() {
            let catalog = Arc::new(Catalog::open(&access.catalog)?);
            if let Some(tier) = access.tier(&catalog, Who::Mount)? {
                selected.stores.share_small(Small::new(tier));
            }
        }
        Ok(())
    }
}

impl Selected {
    /// See [`SelectingArgs::select_within`].
    pub fn of(
        dataset: &DatasetRef,
        filter: Option<&str>,
        access: &AccessArgs,
        order: Option<EpochOrder>,
        first_answer: Option<Duration>,
    ) -> Result<Self> {
        let access = access.clone();
        let asking =
            AskingArgs { catalog: access.catalog.clone(), cache_dir: access.cache_dir.clone() };
        let asked = asking.ask(dataset)?;
        let query = filter.map(|filter| asked.check(filter)).transpose()?;
        let pack = asked.pack()?;
        let rows = query.map(|query| asked.select(&pack, &query)).transpose()?;
        let dataset = asked.of.to_string();
        let (catalog, of) = (asked.catalog.clone(), asked.of.clone());
        let whose = (asked.catalog.clone(), asked.of.clone());
        let mut selection = Selection::new(whose, pack, rows.map(|rows| rows.rows))?;
        if let Some(EpochOrder { seed, epoch }) = order {
            selection = selection.in_epoch(seed, epoch)?;
        }
        let selection = Arc::new(selection);
        let access = Session { first_answer, ..access.resolve()? };
        let (stores, is_cached) = (Arc::new(access.stores(&[])?), access.cache_size > 0);
        remembered::advise(&catalog, &stores, &remembered::sources(&catalog, &of));
        Ok(Self { dataset, selection, stores, is_cached })
    }
}
