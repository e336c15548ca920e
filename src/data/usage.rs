//! Usage statistics: which versions were opened, filtered and joined on this machine, by which
//! columns, and how often.
//!
//! Only names and counts, never a value: `label = "pug"` is recorded as a filter by `label`. Lines
//! are appended to `usage/<catalog>.jsonl` in the cache directory, so the catalog itself is not
//! touched and no other user can read them; equal lines of one day are merged when the file is
//! compacted. [`DAYS`] days and [`MOST`] lines are kept.
//!
//! Counts are approximate: lines that others append while the file is compacted are lost, because
//! nobody waits for a lock here. Nothing fails if usage cannot be recorded or read: then there is
//! none.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalog::VersionInfo;
use dcfs_core::expr::Query;
use dcfs_core::hex::hex;
use dcfs_core::render::markdown::{code, text};
use dcfs_core::render::numbers::counted;
use dcfs_core::render::stranger::visible;
use dcfs_core::time::Timestamp;
use dcfs_disk::{private, regular, whole_file};

/// How many days a line is kept, and the most lines.
const DAYS: i64 = 90;
const MOST: usize = 10_000;

/// The size in bytes after which the file is compacted, and the most bytes that are read.
const LARGE: u64 = 1 << 20;
const LARGEST: u64 = 64 << 20;

/// The most columns and datasets in one line, and the most characters of a name.
const MOST_NAMES: usize = 20;
const LONGEST_NAME: usize = 200;

/// The most lines of a page.
const MOST_TOLD: usize = 100;

/// How a version was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Files of it were opened in a mount.
    Opened,
    /// Its rows were filtered.
    Filtered,
    /// A statement read it.
    Sql,
}

impl How {
    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Filtered => "filtered",
            Self::Sql => "sql",
        }
    }
}

/// One use, or several equal ones of one day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Use {
    /// `2026-11-29`, in UTC.
    #[serde(default)]
    pub day: String,
    pub how: How,
    /// `pets`, and `1.0.0`.
    pub dataset: String,
    pub version: String,
    /// The columns of conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Datasets that were read together with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// The columns that a join compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
}

impl Use {
    /// A use of a version; the caller adds other facts.
    pub fn new(how: How, dataset: impl ToString, version: impl ToString) -> Self {
        let (dataset, version) = (dataset.to_string(), version.to_string());
        let (columns, with, on) = (Vec::new(), Vec::new(), Vec::new());
        Self { day: String::new(), how, dataset, version, columns, with, on }
    }

    /// The use of filtering a version's rows, with the filter's columns.
    pub fn filtered(of: &VersionInfo, query: &Query) -> Self {
        Self { columns: named(query), ..Self::new(How::Filtered, &of.dataset, of.version) }
    }

    /// Limits it to the size of a line.
    fn bounded(mut self, day: &str) -> Self {
        let short = |name: &mut String| {
            if name.len() > LONGEST_NAME {
                *name = name.chars().take(LONGEST_NAME / 4).collect();
            }
        };
        for names in [&mut self.columns, &mut self.with, &mut self.on] {
            names.sort();
            names.dedup();
            names.truncate(MOST_NAMES);
            names.iter_mut().for_each(short);
        }
        [&mut self.dataset, &mut self.version].into_iter().for_each(short);
        self.day = day.to_owned();
        self
    }
}

/// The dotted names of the columns that a filter reads.
pub fn named(query: &Query) -> Vec<String> {
    query.columns().iter().map(|column| column.name.clone()).collect()
}

/// A line of the file: a use, and its count.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    used: Use,
    #[serde(default = "once", skip_serializing_if = "is_once")]
    times: u64,
}

const fn once() -> u64 {
    1
}

const fn is_once(times: &u64) -> bool {
    *times == 1
}

/// The usage of one catalog by this user.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// `None`: nothing is recorded.
    path: Option<PathBuf>,
}

impl Usage {
    /// The usage of the catalog at `database`, recorded below the cache directory.
    pub fn new(cache: &Path, database: &Path) -> Self {
        let name = hex(&Sha256::digest(database.as_os_str().as_encoded_bytes())[..8]);
        Self { path: Some(cache.join("usage").join(format!("{name}.jsonl"))) }
    }

    /// Records nothing.
    pub const fn off() -> Self {
        Self { path: None }
    }

    /// Records a use.
    pub fn note(&self, used: Use, now: Timestamp) {
        let Some(path) = &self.path else { return };
        if let Err(error) = append(path, used, now) {
            tracing::debug!(%error, path = %path.display(), "usage is not noted");
        }
    }

    /// Every use with its count, by day.
    pub fn all(&self) -> BTreeMap<Use, u64> {
        self.path.as_deref().map(read).unwrap_or_default()
    }

    /// The most frequent uses, for people.
    pub fn page(&self) -> String {
        let mut sums: BTreeMap<String, (u64, String)> = BTreeMap::new();
        for (used, times) in self.all() {
            let day = used.day.clone();
            let sum = sums.entry(sentence(&used)).or_default();
            *sum = (sum.0.saturating_add(times), day.max(std::mem::take(&mut sum.1)));
        }
        let mut order: Vec<(String, (u64, String))> = sums.into_iter().collect();
        order.sort_by(|one, other| other.1.0.cmp(&one.1.0).then_with(|| one.0.cmp(&other.0)));
        let mut page = format!(
            "# Usage\n\nOn this machine, by this user, in the last {DAYS} days: names and counts, no values. \
             `catalog.usage` has the same in SQL; `DCFS_USAGE=off` turns this off.\n\n"
        );
        if order.is_empty() {
            page += "Nothing was noted.\n";
        }
        let more = order.len().saturating_sub(MOST_TOLD) as u64;
        for (sentence, (times, day)) in order.into_iter().take(MOST_TOLD) {
            page += &format!("- {sentence}: {}, last {}\n", counted(times, "time"), text(&day));
        }
        if more > 0 {
            page += &format!("- {} more\n", counted(more, "use"));
        }
        page
    }
}

fn sentence(used: &Use) -> String {
    let names = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| code(&visible(name, 60))).collect();
        names.join(", ")
    };
    let at = format!("{}@{}", used.dataset, used.version);
    let mut told = format!("{} {}", code(&visible(&at, 100)), used.how.word());
    for (word, some) in [("by", &used.columns), ("with", &used.with), ("on", &used.on)] {
        if !some.is_empty() {
            told += &format!(" {word} {}", names(some));
        }
    }
    told
}

fn append(path: &Path, used: Use, now: Timestamp) -> io::Result<()> {
    let day = now.fixed();
    let used = used.bounded(day.get(..10).unwrap_or(&day));
    let folder = path.parent().unwrap_or(path);
    private::folder(folder).map_err(io::Error::other)?;
    let mut line = serde_json::to_vec(&Line { used, times: 1 })?;
    line.push(b'\n');
    let mut file = regular::open_with(OpenOptions::new().append(true).create(true), path)?;
    // One write per line: others append at the same time.
    file.write_all(&line)?;
    if file.metadata()?.len() > LARGE {
        make_small(path, folder, now)?;
    }
    Ok(())
}

/// Merges equal lines, drops those of old days, and keeps the newest of the rest.
fn make_small(path: &Path, folder: &Path, now: Timestamp) -> io::Result<()> {
    // A second process finds it already compacted.
    let Ok(_turn) = Flock::lock(File::open(folder)?, FlockArg::LockExclusiveNonblock) else {
        return Ok(());
    };
    let oldest = Timestamp::from_micros(now.micros() - DAYS * 86_400_000_000).fixed();
    let oldest = oldest.get(..10).unwrap_or(&oldest);
    let mut kept: Vec<(Use, u64)> =
        read(path).into_iter().filter(|(used, _)| used.day.as_str() >= oldest).collect();
    kept.drain(..kept.len().saturating_sub(MOST));
    // So that the next line does not compact it again.
    while bytes(&kept) > LARGE / 2 && !kept.is_empty() {
        kept.drain(..kept.len().div_ceil(2));
    }
    let mut out = Vec::new();
    for (used, times) in kept {
        serde_json::to_writer(&mut out, &Line { used, times })?;
        out.push(b'\n');
    }
    whole_file::write(path, &out).map_err(io::Error::other)
}

/// The approximate size of lines in bytes.
fn bytes(lines: &[(Use, u64)]) -> u64 {
    let names = |names: &[String]| names.iter().map(|name| name.len() + 4).sum::<usize>();
    let line = |used: &Use| {
        let fixed = used.dataset.len() + used.version.len() + 100;
        fixed + names(&used.columns) + names(&used.with) + names(&used.on)
    };
    lines.iter().map(|(used, _)| line(used) as u64).sum()
}

/// Skips lines that cannot be parsed: one that another process is just writing, or damage.
fn read(path: &Path) -> BTreeMap<Use, u64> {
    let mut all = BTreeMap::new();
    let bytes = regular::read(path, LARGEST).unwrap_or_default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(Line { used, times }) = serde_json::from_slice(line) {
            let sum: &mut u64 = all.entry(used).or_default();
            *sum = sum.saturating_add(times);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: &str) -> Timestamp {
        Timestamp::parse(day).expect("a day")
    }

    fn filtered(column: &str) -> Use {
        Use { columns: vec![column.into()], ..Use::new(How::Filtered, "pets", "1.0.0") }
    }

    #[test]
    fn what_is_the_same_is_counted() {
        let cache = tempfile::tempdir().expect("a folder");
        let usage = Usage::new(cache.path(), Path::new("/a/.datachain/db"));
        for day in ["2026-11-28", "2026-11-29", "2026-11-29"] {
            usage.note(filtered("label"), at(day));
        }
        usage.note(Use::new(How::Opened, "pets\n# x", "1.0.0"), at("2026-11-29"));
        let all: Vec<u64> = usage.all().into_values().collect();
        assert_eq!(all, [1, 1, 2]);
        let page = usage.page();
        assert!(page.contains("- `pets@1.0.0` filtered by `label`: 3 times, last 2026-11-29\n"));
        assert!(!page.contains("\n# x"), "{page}");
        let other = Usage::new(cache.path(), Path::new("/b/.datachain/db"));
        assert!(other.all().is_empty());
        let off = Usage::off();
        off.note(filtered("label"), at("2026-11-29"));
        assert!(off.all().is_empty());
    }

    #[test]
    fn it_is_bounded_by_days_lines_and_bytes() {
        let cache = tempfile::tempdir().expect("a folder");
        let usage = Usage::new(cache.path(), Path::new("/a"));
        let path = usage.path.clone().expect("noted");
        usage.note(filtered("old"), at("2026-01-01"));
        let name = "c".repeat(LONGEST_NAME);
        let wide: Vec<String> = (0..50).map(|n| format!("{n}{}", &name[..150])).collect();
        for n in 0..400 {
            let wide = Use { columns: wide.clone(), ..filtered("x") };
            usage.note(Use { version: format!("1.0.{n}"), ..wide }, at("2026-11-29"));
        }
        assert!(path.metadata().expect("there").len() <= LARGE);
        let all = usage.all();
        assert!(!all.is_empty() && all.keys().all(|used| used.columns.len() <= MOST_NAMES));
        assert!(all.keys().all(|used| used.day != "2026-01-01"), "too old");
    }

    #[test]
    fn damage_and_links_are_no_usage() {
        let cache = tempfile::tempdir().expect("a folder");
        let usage = Usage::new(cache.path(), Path::new("/a"));
        usage.note(filtered("x"), at("2026-11-29"));
        let path = usage.path.clone().expect("noted");
        std::fs::write(&path, b"{\"how\":\n\xff\n{}\n").expect("written");
        assert!(usage.all().is_empty());
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/etc/passwd", &path).expect("a link");
        usage.note(filtered("x"), at("2026-11-29"));
        assert!(usage.all().is_empty());
    }
}
