//! `dcfs rm`: removes versions, like DataChain: rows are deleted, version numbers stay taken.

use std::io::{self, BufRead, IsTerminal, Write};
use std::str::FromStr;

use serde::Serialize;

use super::complete;
use super::output::{Output, sanitized};
use super::{CatalogArg, usage, warn};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::{self, DatasetRef};
use dcfs_core::render::numbers::{bytes, count, counted};
use dcfs_core::version::Requirement;
use dcfs_data::catalog::{Catalog, VersionInfo, Writer};

/// Number of versions that a message lists.
const LISTED: usize = 10;

/// Remove versions of datasets
///
/// Their rows are deleted for good; their numbers stay taken, and datasets derived from them stay. The files in
/// storage are not touched.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "On a terminal it asks before it removes; elsewhere, as in a script, it wants `--yes`."
)]
pub struct Rm {
    /// Versions, e.g. `pets@1.0.0` or `pets@latest`; with `--all` datasets
    #[arg(required = true, value_name = "NAME@V", add = complete::datasets())]
    versions: Vec<Named>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Remove every version of the datasets named without one
    #[arg(long)]
    all: bool,
    /// Remove without asking
    #[arg(short, long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The versions to remove, as typed.
#[derive(Clone, Debug)]
struct Named {
    wanted: DatasetRef,
    /// Whether the text names exactly one version: by its full number, or as `latest`.
    is_one: bool,
}

impl FromStr for Named {
    type Err = name::Error;

    fn from_str(text: &str) -> Result<Self, name::Error> {
        let wanted: DatasetRef = text.parse()?;
        let is_one = match wanted.requirement {
            Requirement::Exact(_) => true,
            // A bare name means the latest too, but must not remove anything.
            Requirement::Latest => text.contains('@'),
            _ => false,
        };
        Ok(Self { wanted, is_one })
    }
}

/// The output of `--json` for each version.
#[derive(Debug, Serialize)]
struct Removed {
    dataset: String,
    version: String,
    rows: Option<u64>,
    size: Option<u64>,
}

impl Rm {
    /// Removes the versions, after all of them were found and the user confirmed.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let catalog = self.catalog.open()?;
        let mut found: Vec<VersionInfo> = Vec::new();
        for wanted in &self.versions {
            for version in self.find(&catalog, wanted)? {
                if !found.iter().any(|known| known.id == version.id) {
                    found.push(version);
                }
            }
        }
        for version in &found {
            warn_of_children(&catalog, version, &found)?;
        }
        if !self.yes && !agreed(&found)? {
            return Err(usage("nothing was removed"));
        }
        let mut writer = Writer::open(catalog.path())?;
        for version in &found {
            writer.remove(version)?;
            if !self.json {
                out.line(format_args!("removed {version}"))?;
            }
        }
        if self.json {
            out.json(&found.iter().map(Removed::of).collect::<Vec<_>>())
        } else {
            Ok(())
        }
    }

    /// The versions that `named` matches: one, or with `--all` every one.
    fn find(&self, catalog: &Catalog, named: &Named) -> Result<Vec<VersionInfo>> {
        let wanted = &named.wanted;
        // Also reports a wrong name with suggestions.
        let highest = catalog.find(wanted)?;
        if named.is_one {
            return Ok(vec![highest]);
        }
        let mut all = catalog.versions()?;
        all.retain(|v| v.dataset == wanted.name && wanted.requirement.admits(v.version));
        if self.all {
            return Ok(all);
        }
        let message =
            format!("which version of `{}`? there {}; or say `--all`", wanted.name, listed(&all));
        Err(usage(message))
    }
}

impl Removed {
    fn of(version: &VersionInfo) -> Self {
        Self {
            dataset: version.dataset.to_string(),
            version: version.version.to_string(),
            rows: version.rows,
            size: version.size,
        }
    }
}

/// Formats as `is pets@1.0.0`, `are a@1.0.0, a@1.0.1 and 7 more`.
fn listed(versions: &[VersionInfo]) -> String {
    let names: Vec<String> = versions.iter().take(LISTED).map(ToString::to_string).collect();
    let verb = if versions.len() == 1 { "is" } else { "are" };
    let more = match versions.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {} more", count(more as u64)),
    };
    format!("{verb} {}{more}", names.join(", "))
}

/// Warns about versions that were computed from one that is removed, and stay.
fn warn_of_children(catalog: &Catalog, of: &VersionInfo, going: &[VersionInfo]) -> Result<()> {
    let mut children = catalog.children(of.id)?;
    children.retain(|child| !going.iter().any(|version| version.id == child.id));
    if !children.is_empty() {
        let (verb, names) = listed(&children)
            .split_once(' ')
            .map(|(v, n)| (v.to_owned(), n.to_owned()))
            .unwrap_or_default();
        let were = if verb == "is" { "was" } else { "were" };
        warn(format_args!("{names} {were} computed from {of}, and will stay"));
    }
    Ok(())
}

/// Asks for confirmation.
fn agreed(versions: &[VersionInfo]) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(usage("there is no terminal to ask on; add `--yes` to remove without asking"));
    }
    for version in versions {
        let rows = version.rows.map_or(String::new(), |rows| format!(": {}", counted(rows, "row")));
        let size = version.size.map_or(String::new(), |size| format!(", {}", bytes(size)));
        eprintln!("{}", sanitized(&format!("{version}{rows}{size}")));
    }
    let what = if versions.len() == 1 { "this version" } else { "these versions" };
    eprint!("Remove {what}? [y/N] ");
    io::stderr().flush().ok();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Error::new(Kind::Broken, error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_is_named_by_numbers_or_as_the_latest() {
        let cases = [
            ("pets@1.0.0", true),
            ("pets@latest", true),
            ("pets", false),
            ("pets@1", false),
            ("pets@1.0", false),
        ];
        for (text, is_one) in cases {
            assert_eq!(text.parse::<Named>().map(|named| named.is_one), Ok(is_one), "{text}");
        }
    }
}
