//! `dcfs mv`: renames a dataset.

use serde::Serialize;

use super::complete;
use super::output::Output;
use super::{CatalogArg, naming};
use dcfs_core::error::Result;
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::version::Requirement;
use dcfs_data::catalog::Writer;

/// Rename a dataset, with all its versions
#[derive(Debug, clap::Args)]
pub struct Mv {
    /// The dataset, e.g. `pets`
    #[arg(value_parser = naming::dataset, add = complete::names_alone())]
    from: DatasetName,
    /// Its new name
    #[arg(value_parser = naming::dataset)]
    to: DatasetName,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Renamed {
    from: String,
    to: String,
}

impl Mv {
    /// Renames.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let catalog = self.catalog.open()?;
        // Suggests the nearest names.
        catalog.find(&DatasetRef { name: self.from.clone(), requirement: Requirement::Latest })?;
        Writer::open(catalog.path())?.rename(&self.from, &self.to)?;
        let (from, to) = (self.from.to_string(), self.to.to_string());
        match self.json {
            true => out.json(&Renamed { from, to }),
            false => out.line(format_args!("{from} is now {to}")),
        }
    }
}
