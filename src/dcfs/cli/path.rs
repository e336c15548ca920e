//! `dcfs path`: the directory that corresponds to a filter.

use serde::Serialize;

use super::asking::AskingArgs;
use super::complete;
use super::output::Output;
use crate::fuse::mounts;
use dcfs_core::error::Result;
use dcfs_core::name::{DatasetRef, escape};
use dcfs_data::query::alias::{self, Directory};

/// Print the directory that corresponds to a filter, below the mount of its catalog
#[derive(Debug, clap::Args)]
#[command(after_help = super::explain::LANGUAGE)]
pub struct PathOf {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// The filter, e.g. `info.width > 400`
    #[arg(allow_hyphen_values = true, add = complete::filters())]
    filter: String,
    #[command(flatten)]
    asking: AskingArgs,
    /// Print the short name of the filter, which contains no wildcard characters
    #[arg(long)]
    alias: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Printed {
    dataset: String,
    filter: String,
    /// Contains U+FFFD if the mountpoint is not UTF-8: JSON cannot represent it otherwise.
    path: String,
    /// Whether `path` begins with a mount point.
    mounted: bool,
}

impl PathOf {
    /// Prints the path.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let query = asked.check(&self.filter)?;
        let version = escape::segment(asked.of.to_string().as_bytes()).into_owned();
        let version = String::from_utf8_lossy(&version).into_owned();
        let mount = mounts::of_catalog(asked.catalog.path());
        let top = mount.clone().unwrap_or_default().join("datasets").join(version);
        if mount.is_none() {
            eprintln!("dcfs: the catalog is not mounted; the path is from the top of a mount");
        }
        let pack = asked.pack()?;
        let name = Directory::new(&pack, &asked.schema, &self.filter)?;
        if let Some(why) = name.trouble {
            eprintln!("dcfs: {why}; use its short name");
        }
        let path = match !self.alias && name.trouble.is_none() {
            true => top.join(name.name),
            false => top.join(alias::remember_below(&pack, &query)?),
        };
        if !self.json {
            return out.line(path.display());
        }
        let (dataset, filter) = (asked.of.to_string(), query.to_string());
        let path = path.to_string_lossy().into_owned();
        out.json(&Printed { dataset, filter, path, mounted: mount.is_some() })
    }
}
