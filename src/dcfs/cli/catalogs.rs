//! `dcfs catalog copy`: the versions of one catalog into another.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::naming;
use super::output::Output;
use super::progress::{Progress, Unit};
use dcfs_core::error::Result;
use dcfs_core::name::DatasetName;
use dcfs_core::render::numbers::counted;
use dcfs_data::catalog::{self, Catalog, VersionInfo, Writer};
use dcfs_work::copy::{self, Watch};

/// Copy versions between catalogs
#[derive(Debug, clap::Args)]
pub struct Catalogs {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    Copy(Copying),
}

/// Copy versions with their lineage into another catalog, between files and servers
///
/// They keep uuid, number, times and row ids. Those that are there already are left alone, so the same command goes on
/// where it was interrupted. The rows of every version are read back and compared before it is published.
#[derive(Debug, clap::Args)]
struct Copying {
    /// Folder that holds .datachain, or the address of a catalog on servers or of Studio
    from: PathBuf,
    /// The same of the catalog that gets them, but not of Studio; it is made if there is none
    to: PathBuf,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_parser = naming::dataset)]
    datasets: Vec<DatasetName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told {
    copied: u64,
    rows: u64,
    there: u64,
}

impl Catalogs {
    /// Copies.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let Work::Copy(copying) = self.work;
        copying.run(out)
    }
}

impl Copying {
    fn run(&self, out: &mut Output) -> Result<()> {
        let from = Catalog::open(&catalog::locate(Some(&self.from))?)?;
        let (path, _) = catalog::locate_or_new(Some(&self.to))?;
        let mut writer = Writer::open_or_create(&path)?;
        let to = Catalog::open(&path)?;
        let shown = Shown { progress: Progress::new(Unit::Rows) };
        let counts = copy::copy(&from, &to, &mut writer, &self.datasets, &shown);
        shown.progress.clear();
        let copy::Counts { copied, rows, there } = counts?;
        if self.json {
            return out.json(&Told { copied, rows, there });
        }
        let known = if there > 0 {
            format!("; {} were there", counted(there, "version"))
        } else {
            String::new()
        };
        out.line(format_args!(
            "copied {} with {}{known}",
            counted(copied, "version"),
            counted(rows, "row")
        ))
    }
}

/// Parents that a warning names.
const NAMED: usize = 10;

/// Shows how far it is.
struct Shown {
    progress: Progress,
}

impl Watch for Shown {
    fn begin(&self, version: &VersionInfo, number: u64, of: u64) {
        tracing::info!(%version, number, of, "copying");
        self.progress.set_total(version.rows.unwrap_or(0));
        self.progress.reach(0);
    }

    fn wrote(&self, rows: u64) {
        self.progress.reach(rows);
    }

    fn compared(&self, _rows: u64) {}

    fn done(&self, version: &VersionInfo, rows: u64) {
        tracing::info!(%version, rows, "copied and compared");
    }

    fn left_out(&self, parents: &BTreeSet<String>) {
        self.progress.clear();
        let mut names = parents.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if parents.len() > NAMED {
            names.push_str(&format!(" and {} more", parents.len() - NAMED));
        }
        super::warn(format_args!(
            "lineage ends before {names}: not copied. Copy their datasets, then the same command adds the links"
        ));
    }
}
