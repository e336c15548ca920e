//! `dcfs describe`: descriptions of a dataset and its columns.

use std::collections::BTreeMap;

use serde::Serialize;

use super::naming::{self, DescriptionArgs};
use super::output::Output;
use super::{CatalogArg, complete, usage};
use dcfs_core::annotation::{Annotation, Annotations, LONGEST};
use dcfs_core::error::{Error, Result};
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::version::Requirement;
use dcfs_data::catalog::{Catalog, Description, Writer};
use dcfs_work::author;

/// Print or change the description of a dataset or a column
///
/// Descriptions of columns apply to all versions. They are shown by `dcfs schema`, `_schema.json`, the pages of
/// a mount and catalog.columns of `dcfs sql`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Describe {
    /// The dataset, e.g. `pets`
    #[arg(value_name = "NAME", value_parser = naming::dataset, add = complete::names_alone())]
    name: DatasetName,
    /// A column, or a model, by its dotted name, e.g. `info.width`
    #[arg(value_name = "COLUMN")]
    column: Option<String>,
    /// The meaning of the column; empty to remove it
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    catalog: CatalogArg,
    #[command(flatten)]
    described: DescriptionArgs,
    /// Remove all labels
    #[arg(long, conflicts_with = "attrs")]
    no_attrs: bool,
    /// The owner of the dataset, or of the column; empty for none
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// A warning for users of the data; empty for none
    #[arg(long, value_name = "TEXT")]
    caveat: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  dcfs describe pets --description 'Pictures of pets' --owner ann@example.org
  dcfs describe pets info.width 'width in pixels, after rotation'
  dcfs describe pets label --caveat 'labels below row 200 were guessed'
  dcfs describe pets label ''                     remove the description";

/// The current descriptions.
#[derive(Debug, Serialize)]
struct Said {
    dataset: String,
    description: Option<String>,
    attrs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caveat: Option<String>,
    columns: BTreeMap<String, Annotation>,
}

impl Describe {
    /// Applies the changes, and prints the result.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let catalog = self.catalog.open()?;
        let wanted = DatasetRef { name: self.name.clone(), requirement: Requirement::Latest };
        // Suggests the nearest names.
        let latest = catalog.find(&wanted)?;
        if let Some(column) = &self.column {
            catalog.schema(&latest)?.select(&[column], &[])?;
        }
        let is_changed = self.change(&catalog)?;
        let unshown = |error: Error| match is_changed {
            true => {
                let told = format!("the change was made, but cannot be shown: {error}");
                Error::new(error.kind(), told)
            }
            false => error,
        };
        let said = self.said(&catalog).map_err(unshown)?;
        if self.json { out.json(&said) } else { said.print(self.column.as_deref(), out) }
    }

    /// Makes the change that was asked for; returns whether there was one.
    fn change(&self, catalog: &Catalog) -> Result<bool> {
        let attrs = self.described.attrs().or(self.no_attrs.then_some(&[]));
        let description = self.described.description.clone();
        let changes = Description { description, attrs: attrs.map(<[_]>::to_vec) };
        let annotation = Annotation {
            description: self.text.clone(),
            owner: self.owner.clone(),
            caveat: self.caveat.clone(),
        };
        if self.column.is_some() && changes != Description::default() {
            return Err(usage(
                "--description and labels describe the dataset; write the meaning of a column after its name",
            ));
        }
        let texts = [&annotation.description, &annotation.owner, &annotation.caveat];
        if let Some(long) = texts.into_iter().flatten().find(|text| text.len() > LONGEST) {
            let message = format!("{} bytes are too many; the limit is {LONGEST}", long.len());
            return Err(usage(message));
        }
        if changes != Description::default() {
            Writer::open(catalog.path())?.describe(&self.name, &changes)?;
        }
        if !annotation.is_empty() {
            let column = self.column.as_deref().unwrap_or_default();
            let mut writer = Writer::open(catalog.path())?;
            writer.annotate(&self.name, column, &annotation, &author::name())?;
        }
        Ok(changes != Description::default() || !annotation.is_empty())
    }

    fn said(&self, catalog: &Catalog) -> Result<Said> {
        let wanted = DatasetRef { name: self.name.clone(), requirement: Requirement::Latest };
        let details = catalog.details(&catalog.find(&wanted)?)?;
        let mut columns: Annotations = catalog.annotations(&self.name)?;
        let whole = columns.remove("").unwrap_or_default();
        if let Some(column) = &self.column {
            columns.retain(|name, _| name == column);
        }
        Ok(Said {
            dataset: self.name.to_string(),
            description: details.description,
            attrs: details.attrs,
            owner: whole.owner,
            caveat: whole.caveat,
            columns,
        })
    }
}

impl Said {
    fn print(&self, column: Option<&str>, out: &mut Output) -> Result<()> {
        if let Some(column) = column {
            return match self.columns.get(column) {
                Some(said) => out.line(format_args!("{column}  {}", said.line())),
                None => out.line(format_args!("{column}  no description")),
            };
        }
        out.line(&self.dataset)?;
        match &self.description {
            Some(description) => out.line(format_args!("description  {description}"))?,
            None => out.line("no description")?,
        }
        match self.attrs.is_empty() {
            false => out.line(format_args!("attributes   {}", self.attrs.join(", ")))?,
            true => out.line("no labels")?,
        }
        let more = [("owner", &self.owner), ("caveat", &self.caveat)];
        for (what, said) in more.into_iter().filter_map(|(what, said)| Some((what, said.as_ref()?)))
        {
            out.line(format_args!("{what:<12} {said}"))?;
        }
        let columns = self.columns.iter();
        columns
            .map(|(name, said)| (name, said.line()))
            .try_for_each(|(name, said)| out.line(format_args!("{name}: {said}")))
    }
}
