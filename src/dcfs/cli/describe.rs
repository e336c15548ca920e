//! `dcfs describe`: what is said of a dataset.

use serde::Serialize;

use super::CatalogArg;
use super::complete;
use super::naming::{self, DescriptionArgs};
use super::output::Output;
use dcfs_core::error::Result;
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::version::Requirement;
use dcfs_data::catalog::{Catalog, Description, Writer};

/// Print what is said of a dataset, or say it
#[derive(Debug, clap::Args)]
pub struct Describe {
    /// The dataset, e.g. `pets`
    #[arg(value_name = "NAME", value_parser = naming::dataset, add = complete::names_alone())]
    name: DatasetName,
    #[command(flatten)]
    catalog: CatalogArg,
    #[command(flatten)]
    described: DescriptionArgs,
    /// Take all labels away
    #[arg(long, conflicts_with = "attrs")]
    no_attrs: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is said.
#[derive(Debug, Serialize)]
struct Said {
    dataset: String,
    description: Option<String>,
    attrs: Vec<String>,
}

impl Describe {
    /// Changes what is to be changed, and prints what is said now.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let catalog = self.catalog.open()?;
        // Tells the nearest names.
        said(&catalog, &self.name)?;
        let attrs = self.described.attrs().or(self.no_attrs.then_some(&[]));
        let description = self.described.description.clone();
        let changes = Description { description, attrs: attrs.map(<[_]>::to_vec) };
        if changes != Description::default() {
            Writer::open(catalog.path())?.describe(&self.name, &changes)?;
        }
        let said = said(&catalog, &self.name)?;
        if self.json { out.json(&said) } else { said.print(out) }
    }
}

fn said(catalog: &Catalog, name: &DatasetName) -> Result<Said> {
    let wanted = DatasetRef { name: name.clone(), requirement: Requirement::Latest };
    let details = catalog.details(&catalog.find(&wanted)?)?;
    let (description, attrs) = (details.description, details.attrs);
    Ok(Said { dataset: name.to_string(), description, attrs })
}

impl Said {
    fn print(&self, out: &mut Output) -> Result<()> {
        out.line(&self.dataset)?;
        match &self.description {
            Some(description) => out.line(format_args!("description  {description}"))?,
            None => out.line("no description")?,
        }
        match self.attrs.is_empty() {
            false => out.line(format_args!("attributes   {}", self.attrs.join(", "))),
            true => out.line("no labels"),
        }
    }
}
