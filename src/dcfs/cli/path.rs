//! `dcfs path`: the directory that a filter is.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::asking::AskingArgs;
use super::complete;
use super::output::Output;
use crate::fuse::mounts;
use dcfs_core::error::Result;
use dcfs_core::expr::{self, SLASH};
use dcfs_core::name::{DatasetRef, escape};
use dcfs_data::pack::Pack;
use dcfs_data::query::alias;

/// Bytes of a name that every kernel takes.
const LONGEST: usize = 1024;

/// Print the directory that a filter is, below the mount of its catalog
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
    /// Print the short name that stands for the filter, which holds no characters of a pattern
    #[arg(long)]
    alias: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed {
    dataset: String,
    filter: String,
    /// With U+FFFD where the mount point is no text: JSON has no other way.
    path: String,
    /// Whether `path` begins with a mount point.
    mounted: bool,
}

impl PathOf {
    /// Prints the path.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let query = asked.check(&self.filter)?;
        let name = self.filter.trim().replace('/', SLASH.encode_utf8(&mut [0; 4]));
        let version = escape::segment(asked.of.to_string().as_bytes()).into_owned();
        let version = String::from_utf8_lossy(&version).into_owned();
        let mount = mountpoint(asked.catalog.path());
        let top = mount.clone().unwrap_or_default().join("datasets").join(version);
        if mount.is_none() {
            eprintln!("dcfs: the catalog is not mounted; the path is from the top of a mount");
        }
        let pack = asked.pack()?;
        let trouble = match trouble(&name) {
            None if expr::directory(&name, &asked.schema).is_none() => {
                Some("a directory of this name would be no filter")
            }
            None if is_recorded(&pack, name.as_bytes())? => {
                Some("the version records something of this name, which wins")
            }
            trouble => trouble,
        };
        if let Some(why) = trouble {
            eprintln!("dcfs: {why}; use its short name");
        }
        let path = match !self.alias && trouble.is_none() {
            true => top.join(name),
            false => top.join("_views/q").join(alias::remember(&pack, &query.to_string())?),
        };
        if !self.json {
            return out.line(path.display());
        }
        let (dataset, filter) = (asked.of.to_string(), query.to_string());
        let path = path.to_string_lossy().into_owned();
        out.json(&Printed { dataset, filter, path, mounted: mount.is_some() })
    }
}

/// Whether a file, a directory or a File column of the version has this name at its top.
fn is_recorded(pack: &Pack, name: &[u8]) -> Result<bool> {
    match (pack.columns(), pack.root(0)) {
        ([_], Some(top)) => Ok(pack.lookup(top, name, None)?.is_some()),
        (columns, _) => Ok(columns.iter().any(|column| column.directory == name)),
    }
}

/// Why a name is better not used as it is.
fn trouble(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST {
        return Some("the filter is longer than a name may be");
    }
    if name.contains('\0') {
        return Some("the filter holds a NUL, which no name may");
    }
    name.contains(['*', '?', '[']).then_some(
        "`*`, `?` and `[` are legal in a name, but programs that look for patterns take them for one",
    )
}

/// Where the catalog is mounted, if it is: the latest mount.
fn mountpoint(catalog: &Path) -> Option<PathBuf> {
    let catalog = std::fs::canonicalize(catalog).ok()?;
    let all = mounts::all().ok()?;
    let is_ours = |mount: &mounts::Mount| mount.is_dcfs() && mount.catalog() == catalog;
    all.into_iter().rfind(is_ours).map(|mount| mount.mountpoint)
}
