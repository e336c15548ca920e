//! The page of a listing: the contents of a bucket, a prefix or a folder, by its latest listing. It
//! shows how some files begin if the caller can read objects ([`super::Knowledge::looking`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::dataset::second;
use super::fitted::{Fitted, section};
use super::frontmatter::Frontmatter;
use super::place::{linked, parts};
use super::snapshot::{Listing, Snapshot, Source};
use crate::stats::facts::{Files, Number, Statistics};
use dcfs_core::render::markdown::{block, code, text};
use dcfs_core::render::numbers::{bytes, count, counted};
use dcfs_core::render::stranger::visible;
use dcfs_core::time::Timestamp;

/// The most bytes of each part; together below 4 KiB.
const TREE: usize = 1_200;
const TYPES: usize = 600;
const SAMPLES: usize = 700;
const USERS: usize = 400;

/// The most characters of a file's beginning, and of its path.
const BEGINNING: usize = 100;
const PATH: usize = 80;

/// The most folders in a tree, and its depth.
const MOST_FOLDERS: usize = 24;

/// The facts from a listing's rows.
#[derive(Debug, Default)]
pub struct Facts {
    pub statistics: Option<Statistics>,
    /// The number and total bytes of files in every folder of the first two levels, by path.
    pub folders: BTreeMap<String, (u64, u64)>,
    /// The times of the oldest and the newest file.
    pub times: Option<(Timestamp, Timestamp)>,
    /// The first file for each of some extensions.
    pub samples: Vec<Sample>,
    /// The number of files with a space in their path, which shells and some tools split.
    pub spaced: u64,
    /// Whether it was accessed without credentials; `None` if unknown.
    pub is_anon: Option<bool>,
}

/// A sample file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub path: String,
    pub size: Option<u64>,
    /// A picture's format and size, a table's header, a text's first line; `None` if it was not
    /// read.
    pub beginning: Option<String>,
}

/// The page.
pub fn page(of: &Listing, all: &Snapshot, facts: &Facts) -> String {
    let (_, bucket, prefix) = parts(&of.uri);
    let files = facts.statistics.as_ref().and_then(|found| found.files.first());
    let size = files.map_or(of.of.size, |files| Some(files.bytes));
    let rows = of.of.rows.or(files.map(|files| files.count));
    let anon = facts.is_anon.map(|anon| if anon { "true" } else { "false" });
    let mut head =
        Frontmatter::default().text("uri", &of.uri).text("bucket", bucket).text("prefix", prefix);
    if let Some(anon) = anon {
        head = head.raw("anon", anon);
    }
    let head = head
        .text("uuid", &of.of.uuid)
        .raw("scanned", &second(of.of.finished_at.or(of.of.created_at)))
        .raw("files", &rows.map_or(String::new(), |rows| rows.to_string()))
        .raw("size", &size.map_or(String::new(), bytes))
        .raw("generator", "dcfs")
        .texts("tags", &["bucket".to_owned()])
        .finish();
    let title = match (bucket, prefix) {
        ("", prefix) => prefix.to_owned(),
        (bucket, "") => bucket.to_owned(),
        (bucket, prefix) => format!("{bucket} / {prefix}"),
    };
    let mut out = format!("{head}\n# {}\n\n", text(&visible(&title, 200)));
    let lead = format!(
        "{} in {}, as listed {} UTC.",
        rows.map_or("Files".into(), |rows| counted(rows, "file")),
        code(&visible(&of.uri, 200)),
        second(of.of.finished_at.or(of.of.created_at)),
    );
    let _ = writeln!(out, "{lead}\n");
    out += &section("Quick Stats", &quick(of, rows, size, files, facts));
    out += &section("Directory Structure", &tree(&of.uri, &facts.folders));
    if let Some(files) = files {
        out += &section("File Types", &types(files));
        out += &section("Data Quality", &quality(files, facts));
    }
    out += &section("Samples", &samples(&facts.samples));
    out + &section("Used by", &users(of, all))
}

fn quick(
    of: &Listing,
    rows: Option<u64>,
    size: Option<u64>,
    files: Option<&Files>,
    facts: &Facts,
) -> String {
    let mut out = String::new();
    if let Some(rows) = rows {
        let _ = writeln!(out, "- **Total files:** {}", count(rows));
    }
    if let Some(size) = size {
        let _ = writeln!(out, "- **Total size:** {}", bytes(size));
    }
    if let Some(files) = files {
        let most = files.extensions.iter().take(3);
        let named: Vec<String> = most
            .map(|one| format!("{} ({})", code(named(&one.extension)), count(one.count)))
            .collect();
        let _ = writeln!(out, "- **File types:** {}", named.join(", "));
    }
    let sizes = facts.statistics.as_ref().and_then(|found| {
        let of_size = |name: &str| name.ends_with(".size") || name == "size";
        let column = found.statistics.iter().find(|column| of_size(&column.column_name))?;
        Some(&column.column_statistics)
    });
    if let Some(sizes) = sizes {
        let shown = |n: &Option<Number>| {
            let n = n.as_ref().and_then(Number::real);
            n.map_or("?".to_owned(), |n| bytes(n.max(0.0) as u64))
        };
        let _ = writeln!(
            out,
            "- **Sizes:** {} to {}; p10 {}, p50 {}, p90 {}",
            shown(&sizes.min),
            shown(&sizes.max),
            shown(&sizes.q10),
            shown(&sizes.median),
            shown(&sizes.q90),
        );
    }
    if let Some((oldest, newest)) = facts.times {
        let _ =
            writeln!(out, "- **Date range:** {} to {}", second(Some(oldest)), second(Some(newest)));
    }
    match facts.is_anon {
        Some(true) => out += "- **Access:** Public (use `anon=True`)\n",
        Some(false) => out += "- **Access:** Authenticated\n",
        None => {}
    }
    let _ = writeln!(
        out,
        "- **Listing:** as of {}; what came later is not in it",
        second(of.of.finished_at.or(of.of.created_at)),
    );
    out
}

fn named(extension: &str) -> &str {
    if extension.is_empty() { "(none)" } else { extension }
}

/// Folders of two levels, siblings by descending size.
fn tree(uri: &str, folders: &BTreeMap<String, (u64, u64)>) -> String {
    let mut top: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (path, (files, size)) in folders {
        let first = path.split('/').next().unwrap_or_default();
        let sum = top.entry(first).or_default();
        *sum = (sum.0.saturating_add(*files), sum.1.saturating_add(*size));
    }
    let mut order: Vec<(&str, (u64, u64))> = top.into_iter().collect();
    order.sort_by_key(|(name, (files, _))| (std::cmp::Reverse(*files), *name));
    let mut lines = vec![visible(uri, 200)];
    for (name, sums) in order {
        let inside = if name.is_empty() { "(files here)".to_owned() } else { format!("{name}/") };
        lines.push(line(0, &inside, sums));
        if name.is_empty() {
            continue;
        }
        let prefix = format!("{name}/");
        let mut below: Vec<(&str, (u64, u64))> = folders
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .map(|(path, sums)| (&path[prefix.len()..], *sums))
            .collect();
        below.sort_by_key(|(name, (files, _))| (std::cmp::Reverse(*files), *name));
        lines.extend(below.iter().map(|(name, sums)| line(1, &format!("{name}/"), *sums)));
    }
    let mut fitted = Fitted::new(TREE);
    lines.iter().take(MOST_FOLDERS).for_each(|line| fitted.line(line));
    let cut = lines.len().saturating_sub(MOST_FOLDERS) as u64;
    let more = fitted.left_out().saturating_add(cut);
    let mut out = block("", &fitted.text());
    if more > 0 {
        let _ = writeln!(out, "\n({} not shown)", counted(more, "folder"));
    }
    out
}

fn line(depth: usize, name: &str, (files, size): (u64, u64)) -> String {
    let indent = "  ".repeat(depth + 1);
    let name = format!("{indent}{}", visible(name, 60));
    format!("{name:<34} {:>12}  ({})", counted(files, "file"), bytes(size))
}

fn types(files: &Files) -> String {
    let mut lines = Fitted::new(TYPES);
    lines.line("| Extension | Files | Size | % Files |");
    lines.line("|---|---:|---:|---:|");
    for one in &files.extensions {
        let share = one.count as f64 * 100.0 / files.count.max(1) as f64;
        lines.line(&format!(
            "| {} | {} | {} | {share:.1}% |",
            code(named(&one.extension)),
            count(one.count),
            bytes(one.bytes),
        ));
    }
    let more = files.more_extensions.saturating_add(lines.left_out());
    let mut out = lines.text();
    if more > 0 {
        let _ = writeln!(out, "\n{} more.", counted(more, "extension"));
    }
    out
}

fn samples(samples: &[Sample]) -> String {
    let mut lines = Fitted::new(SAMPLES);
    for sample in samples {
        let size = sample.size.map_or(String::new(), |size| format!(", {}", bytes(size)));
        let beginning = sample.beginning.as_deref().map(|said| visible(said, BEGINNING));
        let beginning = beginning.map_or(String::new(), |said| format!(": {}", code(&said)));
        lines.line(&format!("- {}{size}{beginning}", code(&visible(&sample.path, PATH))));
    }
    lines.finish("sample")
}

fn quality(files: &Files, facts: &Facts) -> String {
    let mut out = String::new();
    if files.empty > 0 {
        let _ = writeln!(out, "- {} of no byte", counted(files.empty, "file"));
    }
    let bare = files.extensions.iter().find(|one| one.extension.is_empty());
    if let Some(bare) = bare {
        let _ = writeln!(out, "- {} without an extension", counted(bare.count, "file"));
    }
    if facts.spaced > 0 {
        let _ = writeln!(out, "- {} with a space in the path", counted(facts.spaced, "file"));
    }
    out
}

/// The datasets made from it.
fn users(of: &Listing, all: &Snapshot) -> String {
    let mut lines = Fitted::new(USERS);
    for dataset in &all.datasets {
        let is_of = |source: &&Source| all.page_of(source) == Some(&of.page);
        if dataset.parents.iter().any(|source| is_of(&source)) {
            let label = visible(&dataset.name().to_string(), 60);
            lines.line(&format!("- {}", linked(&label, &of.page, &dataset.page)));
        }
    }
    lines.finish("dataset")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_strangers_do_not_overflow() {
        let folders = ["a/b", "a/c"].map(|path| (path.to_owned(), (u64::MAX, u64::MAX)));
        assert!(tree("s3://bucket", &folders.into()).contains("a/"));
    }

    #[test]
    fn samples_of_strangers_stay_on_their_lines_and_within_bytes() {
        let hostile = "a`\n# b|[c](d)\u{202e}".repeat(40);
        let one = Sample { path: hostile.clone(), size: Some(u64::MAX), beginning: Some(hostile) };
        let told = samples(&vec![one; 9]);
        assert!(told.len() <= SAMPLES && told.contains("more"), "{told}");
        assert!(told.lines().all(|line| line.starts_with("- ")), "{told}");
        assert_eq!(samples(&[]), "");
    }
}
