//! `dcfs path`: the directory that a filter is.

use std::path::{Path, PathBuf};

use super::asking::AskingArgs;
use super::output::Output;
use crate::error::Result;
use crate::expr::{self, SLASH};
use crate::fuse::mounts;
use crate::name::{DatasetRef, escape};
use crate::query::alias;

/// Bytes of a name that every kernel takes.
const LONGEST: usize = 1024;

/// Print the directory that a filter is, below the mount of its catalog
#[derive(Debug, clap::Args)]
#[command(after_help = super::explain::LANGUAGE)]
pub struct PathOf {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    dataset: DatasetRef,
    /// The filter, e.g. `info.width > 400`
    #[arg(allow_hyphen_values = true)]
    filter: String,
    #[command(flatten)]
    asking: AskingArgs,
    /// Print the short name that stands for the filter, which holds no characters of a pattern
    #[arg(long)]
    alias: bool,
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
        let reads_otherwise = || {
            let is_filter = expr::directory(&name, &asked.schema).is_some();
            (!is_filter).then_some("a directory of this name would be no filter")
        };
        let trouble = trouble(&name).or_else(reads_otherwise);
        if let Some(why) = trouble {
            eprintln!("dcfs: {why}; use its short name");
        }
        if !self.alias && trouble.is_none() {
            return out.line(top.join(name).display());
        }
        let alias = alias::remember(&*asked.pack()?, &query.to_string())?;
        out.line(top.join("_views/q").join(alias).display())
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
