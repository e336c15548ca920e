//! `dcfs schema` and `dcfs lineage`: the pages of the mount, without a mount.

use super::CatalogArg;
use super::complete;
use super::output::Output;
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;
use dcfs_core::render::schema_tree::described;
use dcfs_data::pages::{self, Page};

/// Print the columns of a dataset as a tree; with --json, in the form of _schema.json
#[derive(Debug, clap::Args)]
pub struct Schema {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Schema {
    /// Prints the page.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let catalog = self.catalog.open()?;
        let of = catalog.find(&self.dataset)?;
        match self.json {
            true => out.json_text(&pages::text(&catalog, Page::Schema, &of, None)?),
            false => {
                let said = catalog.annotations(&of.dataset)?;
                out.text(&described(&catalog.schema(&of)?, &said))
            }
        }
    }
}

/// Formats of `dcfs lineage`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Markdown with a Mermaid graph, as _lineage.md
    Md,
    /// The graph and its facts
    Json,
    /// The graph for Graphviz
    Dot,
}

/// Print the origin of a dataset: parents, code, times, and changes
#[derive(Debug, clap::Args)]
pub struct Lineage {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Format of the output
    #[arg(long, value_enum, default_value = "md")]
    format: Format,
    /// Print JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl Lineage {
    /// Prints it.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let catalog = self.catalog.open()?;
        let of = catalog.find(&self.dataset)?;
        let format = if self.json { Format::Json } else { self.format };
        match format {
            Format::Md => out.text(&pages::text(&catalog, Page::Lineage, &of, None)?),
            Format::Json => out.json_text(&pages::lineage_json(&catalog, &of)?),
            Format::Dot => out.text(&pages::lineage_dot(&catalog, &of)?),
        }
    }
}
