//! Shell completion beyond commands and flags: datasets, versions, columns, filters, mountpoints.
//!
//! The shell runs this program at each tab (`clap_complete`'s `CompleteEnv`: `COMPLETE=bash dcfs -- dcfs show
//! pe`), so the catalog is read for each completion. Only candidates are ever printed, and errors yield none.

mod filter;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::output::sanitized;
use crate::fuse::mounts;
use dcfs_core::cell::Cell;
use dcfs_core::id::RowId;
use dcfs_core::name::DatasetRef;
use dcfs_core::schema::Schema;
use dcfs_data::catalog::{self, Catalog, VersionInfo};

/// Limit of candidates: shells show no more.
const MOST: usize = 1000;

/// Number of first rows whose values are offered: reading them takes some milliseconds, and the user waits for
/// it.
const ROWS: usize = 2000;

/// Limit of distinct values: a column with more is not categorical.
const VALUES: usize = 100;

/// Datasets; after an `@`, the versions of one.
pub fn datasets() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let typed = typed.to_string_lossy();
        let Some(versions) = catalog().and_then(|catalog| catalog.versions().ok()) else {
            return Vec::new();
        };
        match typed.rfind('@').filter(|at| *at > 0) {
            Some(_) => single(&typed, versions.iter().map(ToString::to_string)),
            None => single(&typed, names(&versions)),
        }
    })
}

/// Names of datasets, for arguments without a version.
pub fn names_alone() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let versions = catalog().and_then(|catalog| catalog.versions().ok()).unwrap_or_default();
        single(&typed.to_string_lossy(), names(&versions))
    })
}

/// Columns and models of the dataset typed before; several, separated by commas.
pub fn columns() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let typed = typed.to_string_lossy();
        let Some(schema) = schema() else { return Vec::new() };
        let (before, last) = typed
            .rsplit_once(',')
            .map_or(("", &*typed), |(before, last)| (&typed[..=before.len()], last));
        let all = column_names(&schema).into_iter();
        let wanted =
            all.filter(|name| name.starts_with(last)).map(|name| format!("{before}{name}"));
        single(&typed, wanted)
    })
}

/// Filters of the dataset typed before: its columns, and after `label = ` the values of that column.
pub fn filters() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let typed = typed.to_string_lossy();
        // zsh and fish pass the opening quote too, but want the text inside.
        let typed = typed.strip_prefix(['\'', '"']).unwrap_or(&typed);
        let place = filter::place(typed);
        let Some((catalog, of)) = version() else { return Vec::new() };
        let Ok(schema) = catalog.schema(&of) else { return Vec::new() };
        let words = match place.column {
            Some(column) => values(&catalog, &of, &schema, column),
            None => column_names(&schema),
        };
        let wanted = words.into_iter().filter(|word| word.starts_with(place.word));
        candidates(typed, wanted.map(|word| format!("{}{word}", place.before)))
    })
}

/// The values of a string column in the first rows, as filter values; none for a column with many.
fn values(catalog: &Catalog, of: &VersionInfo, schema: &Schema, column: &str) -> Vec<String> {
    let leaves = schema.leaves();
    let Some(leaf) = leaves.iter().find(|leaf| leaf.name == column) else { return Vec::new() };
    let (mut found, mut rows) = (BTreeSet::new(), 0);
    let all = catalog.cells(
        of,
        &[leaf.column.to_owned()],
        &mut [RowId::ALL].into_iter(),
        &mut |_, cells| {
            if let Cell::Text(text) = cells.cell(0) {
                found.extend(std::str::from_utf8(text).map(filter::quoted));
            }
            rows += 1;
            Ok(match rows < ROWS && found.len() <= VALUES {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        },
    );
    match all {
        Ok(()) if found.len() <= VALUES => found.into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The mountpoints of dcfs.
pub fn mountpoints() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let all = mounts::all().unwrap_or_default().into_iter().filter(mounts::Mount::is_dcfs);
        let places = all.map(|mount| mount.mountpoint.to_string_lossy().into_owned());
        single(&typed.to_string_lossy(), places)
    })
}

fn names(versions: &[VersionInfo]) -> impl Iterator<Item = String> + '_ {
    versions.chunk_by(|a, b| a.dataset == b.dataset).map(|of| of[0].dataset.to_string())
}

/// Leaves and the models around them, in the form of filters and `--columns`; hidden ones must be typed in
/// full.
fn column_names(schema: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    for leaf in schema.leaves().into_iter().filter(|leaf| !leaf.hidden) {
        for (dot, _) in leaf.name.match_indices('.') {
            let model = leaf.name[..dot].to_owned();
            if !found.contains(&model) {
                found.push(model);
            }
        }
        found.push(leaf.name);
    }
    found
}

/// The candidates of `all` with the typed prefix. Names that a terminal or a shell would interpret are not offered:
/// shells insert candidates into the command line unchanged.
fn candidates(typed: &str, all: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let is_plain = |added: &str| sanitized(added) == added && !added.contains(is_of_shells);
    let wanted = all.filter(|name| name.strip_prefix(typed).is_some_and(is_plain));
    wanted.take(MOST).map(CompletionCandidate::new).collect()
}

/// As [`candidates`], for arguments of one word: `pets --yes`, inserted as it is, would be an argument and an option, and
/// `--yes` an option.
fn single(typed: &str, all: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let is_single = |name: &String| !name.starts_with('-') && !name.contains(char::is_whitespace);
    candidates(typed, all.filter(is_single))
}

/// Whether a shell may interpret a character, inside quotes of either kind or after them.
fn is_of_shells(c: char) -> bool {
    c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-.,:/@+=% \"".contains(c)
}

/// The catalog of the command line so far.
fn catalog() -> Option<Catalog> {
    let words = words();
    let named = value_of(&words, "--catalog").map(PathBuf::from);
    Catalog::open(&catalog::locate(named.as_deref()).ok()?).ok()
}

/// The columns of the first dataset in the words so far.
fn schema() -> Option<Schema> {
    let (catalog, of) = version()?;
    catalog.schema(&of).ok()
}

/// The first dataset in the words so far.
fn version() -> Option<(Catalog, VersionInfo)> {
    let catalog = catalog()?;
    let words = words();
    let mut named =
        words.iter().skip(1).filter_map(|word| word.to_str()?.parse::<DatasetRef>().ok());
    let of = named.find_map(|name| catalog.find(&name).ok())?;
    Some((catalog, of))
}

/// The command line so far, from the command on: the shell passes it after `--`.
fn words() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(2).collect()
}

/// The value of a flag among words.
fn value_of(words: &[OsString], flag: &str) -> Option<OsString> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == flag {
            return words.next().cloned();
        }
        if let Some(value) =
            word.to_str().and_then(|word| word.strip_prefix(flag)?.strip_prefix('='))
        {
            return Some(value.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_flag_is_found_either_way() {
        let words = ["show", "--catalog", "a b", "--columns=x"].map(OsString::from);
        assert_eq!(value_of(&words, "--catalog"), Some("a b".into()));
        assert_eq!(value_of(&words, "--columns"), Some("x".into()));
        assert_eq!(value_of(&words, "--limit"), None);
    }

    #[test]
    fn what_a_terminal_obeys_is_not_offered() {
        let all = ["pets", "pe\u{1b}[2J", "cats"].map(str::to_owned);
        assert_eq!(candidates("pe", all.into_iter()).len(), 1);
    }

    #[test]
    fn what_a_shell_obeys_is_not_offered() {
        let run = [
            "$(x)", "`x`", "a;x", "a|x", "a&x", "a>x", "<(x)", "it's", "a\\", "!x", "{x,y}", "*",
            "a\nx",
        ];
        let all = run.map(|name| format!("pets{name}"));
        assert!(candidates("pe", all.into_iter()).is_empty());
        // What was typed is the user's own.
        let typed = "n > 0 and label = ";
        let all = ["pug", "\"shiba inu\"", "\u{e9}t\u{e9}", "a-b_c.d"]
            .map(|name| format!("{typed}{name}"));
        assert_eq!(candidates(typed, all.into_iter()).len(), 4);
    }

    #[test]
    fn a_name_that_would_be_several_arguments_or_an_option_is_not_offered() {
        let all = ["pets --yes", "pets\u{a0}2", "pets-2", "--yes", "-f", "pets"];
        for (typed, want) in [("", 2), ("pets", 2), ("pets ", 0), ("-", 0), ("pets-", 1)] {
            let offered = single(typed, all.map(str::to_owned).into_iter());
            assert_eq!(offered.len(), want, "{typed}");
        }
    }
}
