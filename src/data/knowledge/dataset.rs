//! The page of a dataset: description, origin, contents, usage. Facts only, each part within its
//! limit of bytes.
//!
//! Texts of strangers are quoted where they are put: a description between quotation marks, names
//! as code, values in cells, scripts in blocks that cannot be closed from inside.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::fitted::{Fitted, cut_lines, section};
use super::frontmatter::Frontmatter;
use super::place::linked;
use super::snapshot::{Dataset, Snapshot, Source};
use crate::catalog::VersionInfo;
use crate::stats::facts::Statistics;
use dcfs_core::annotation::Annotation;
use dcfs_core::hex::hex;
use dcfs_core::id::RowId;
use dcfs_core::name::{DatasetName, LOCAL};
use dcfs_core::render::diff::Counts;
use dcfs_core::render::markdown::{block, code, text};
use dcfs_core::render::numbers::{bytes, count, counted};
use dcfs_core::render::schema_tree::described;
use dcfs_core::render::stranger::{on_page, visible};
use dcfs_core::schema::{Schema, ValueType};
use dcfs_core::secrets::masked;
use dcfs_core::time::Timestamp;

/// The most bytes of a page, not counting what people wrote into it: about 1,500 tokens.
pub const LARGEST: usize = 6 << 10;

/// The most bytes of its parts. The versions get the rest.
const DESCRIPTION: usize = 250;
const NOTES: usize = 500;
const DEPENDENCIES: usize = 400;
const DOCUMENTS: usize = 300;
const PREVIEW: usize = 1_200;
const SCHEMA: usize = 800;
const STATS: usize = 800;

/// The most versions listed, and those in the frontmatter.
const MOST_VERSIONS: usize = 20;
const MOST_KNOWN: usize = 50;

/// The most names of each list in the frontmatter.
const MOST_NAMES: usize = 10;

/// The most bytes of a script.
const SCRIPT: usize = 3_000;

/// The most characters of a cell.
const CELL: usize = 60;

/// Facts besides those in the catalog.
#[derive(Debug, Default)]
pub struct Facts {
    pub schema: Option<Schema>,
    pub statistics: Option<Statistics>,
    /// Why the rows were not read, if they were not.
    pub unread: Option<String>,
    pub preview: Preview,
    /// The changes of the latest version since the one before, if they were compared.
    pub changed: Option<Counts>,
    /// The script of the latest version.
    pub script: String,
    /// The scripts of versions other than the latest: of the first, and of those whose script
    /// differs from the one before.
    pub scripts: Vec<(String, String)>,
}

/// The first rows.
#[derive(Debug, Default)]
pub struct Preview {
    pub columns: Vec<String>,
    /// Cells, not escaped.
    pub rows: Vec<Vec<String>>,
    /// The file of the first row, by its path in a mount.
    pub file: Option<String>,
    /// A column of vectors, and a row that has one.
    pub vector: Option<(String, RowId)>,
}

/// Text written by people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hand {
    /// `## Session Context`, verbatim.
    pub context: Option<String>,
    /// The newest lines of notes, latest first.
    pub notes: Vec<String>,
    /// Documents of the team that name the dataset, by their paths.
    pub documents: Vec<String>,
}

/// `2024-01-02 03:04:05`.
pub fn second(time: Option<Timestamp>) -> String {
    let text = time.map(Timestamp::catalog).unwrap_or_default();
    text.get(..19).unwrap_or(&text).to_owned()
}

/// The page.
pub fn page(of: &Dataset, all: &Snapshot, facts: &Facts, hand: &Hand) -> String {
    let mut out = head(of);
    let _ = write!(out, "\n# {}\n\n{}\n\n", text(&of.name().to_string()), paragraph(of, facts));
    if let Some(context) = &hand.context {
        out += &format!("## Session Context\n\n{}\n\n", context.trim());
    }
    let by_hand = hand.context.as_ref().map_or(0, String::len);
    out += &section("Notes", &notes(of.said.get(""), &hand.notes));
    out += &section("Dependencies", &dependencies(of, all));
    out += &section("Documents", &documents(of, &hand.documents));
    out += &section("Preview", &preview(&facts.preview));
    if let Some(schema) = &facts.schema {
        out += &section(
            "Schema",
            &fenced(&described(schema, &of.said), SCHEMA, "line", "`dcfs schema`"),
        );
    }
    if let Some(statistics) = &facts.statistics {
        out += &section("Stats", &stats(statistics));
    }
    if let Some(why) = &facts.unread {
        out += &section("Stats", &text(&visible(why, 200)));
    }
    out += &section("Use", &usage(of, facts));
    out += &section("Freshness", &freshness(of, all));
    let room = (LARGEST + by_hand).saturating_sub(out.len());
    out + &versions(of, facts, room)
}

/// Links to what the team wrote about it.
fn documents(of: &Dataset, paths: &[String]) -> String {
    let mut lines = Fitted::new(DOCUMENTS);
    for path in paths {
        let label = path.trim_start_matches("docs/").trim_end_matches(".md");
        lines.line(&format!("- {}", linked(&visible(label, 60), &of.page, path)));
    }
    lines.finish("document")
}

fn head(of: &Dataset) -> String {
    let latest = of.latest();
    let newest = of.versions.iter().rev().take(MOST_KNOWN).rev();
    let known: Vec<String> = newest.map(|version| version.version.to_string()).collect();
    // DataChain compares the number of rows with an empty text if there are none.
    let records = latest.rows.filter(|rows| *rows > 0).map_or(String::new(), |n| n.to_string());
    let name = of.name();
    let is_local = name.namespace == LOCAL && name.project == LOCAL;
    let mut tags = vec!["dataset".to_owned()];
    tags.extend(of.details.attrs.iter().take(MOST_NAMES).map(|label| tag(label)));
    let wiki = |name: &DatasetName| format!("[[{}]]", visible(&name.to_string(), 80));
    let parents = of.parents.iter().filter_map(|source| match source {
        Source::Dataset { name, is_there: true, .. } => Some(wiki(name)),
        _ => None,
    });
    let parents: Vec<String> = parents.take(MOST_NAMES).collect();
    let children: Vec<String> = of.children.iter().take(MOST_NAMES).map(wiki).collect();
    let head = Frontmatter::default()
        .text("name", &name.to_string())
        .raw("last_version", &latest.version.to_string())
        .text("last_version_uuid", &latest.uuid)
        .raw("updated", &second(latest.finished_at.or(latest.created_at)))
        .raw("records", &records)
        .raw("is_local", if is_local { "true" } else { "false" })
        .words("known_versions", &known)
        .raw("generator", "dcfs")
        .texts("aliases", &[name.to_string()])
        .texts("tags", &tags)
        .raw("size", &latest.size.map_or(String::new(), |size| size.to_string()))
        .texts("parents", &parents)
        .texts("children", &children);
    match of.script_sha256.is_empty() {
        true => head.finish(),
        false => head.raw("script_sha256", &of.script_sha256).finish(),
    }
}

/// A label as a tag of Obsidian: letters, digits, `_`, `-` and `/`.
fn tag(label: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '/') { c } else { '_' };
    label.chars().take(40).map(plain).collect()
}

/// The quoted description, and the known facts.
fn paragraph(of: &Dataset, facts: &Facts) -> String {
    let latest = of.latest();
    let mut parts = Vec::new();
    if let Some(description) = quoted(of.details.description.as_deref()) {
        parts.push(description);
    }
    let rows = latest.rows.map_or("An unknown number of rows".into(), |rows| counted(rows, "row"));
    let size = latest.size.filter(|size| *size > 0);
    let size = size.map_or(String::new(), |size| format!(", {} of files", bytes(size)));
    let what = facts.schema.as_ref().map_or(String::new(), |schema| {
        let columns = schema.leaves().iter().filter(|leaf| !leaf.hidden).count() as u64;
        let files: Vec<String> =
            schema.listed_files().take(3).map(|file| code(&visible(&file.name, 40))).collect();
        let of_files = match files.is_empty() {
            true => "no files".to_owned(),
            false => format!("a file in {}", files.join(" and ")),
        };
        format!(": each has {of_files} and {} in all", counted(columns, "column"))
    });
    parts.push(format!("{rows}{size}{what}."));
    if let Some(by) = &of.details.provenance
        && let Some(author) = by.author()
    {
        let verb = by
            .command
            .get(1)
            .map(|word| format!(" by {}", code(&format!("dcfs {}", visible(word, 20)))));
        parts.push(format!(
            "Saved by {}{}.",
            text(&visible(&author, 80)),
            verb.unwrap_or_default()
        ));
    }
    parts.join(" ")
}

/// A person's description of a dataset, quoted on one line; `None` if there is none.
pub fn quoted(description: Option<&str>) -> Option<String> {
    let words: Vec<&str> = description?.split_whitespace().collect();
    let line = words.join(" ");
    let shown = visible(&line, DESCRIPTION);
    (!shown.is_empty()).then(|| format!("\u{201c}{}\u{201d}", on_page(&shown)))
}

fn notes(said: Option<&Annotation>, notes: &[String]) -> String {
    let mut lines = Fitted::new(NOTES);
    let said = said.map(Annotation::line).into_iter();
    said.chain(notes.iter().cloned())
        .for_each(|note| lines.line(&format!("- {}", on_page(&visible(&note, 200)))));
    lines.finish("note")
}

fn dependencies(of: &Dataset, all: &Snapshot) -> String {
    let mut lines = Fitted::new(DEPENDENCIES);
    for source in &of.parents {
        let label = visible(&source.text(), 100);
        lines.line(&match all.page_of(source) {
            Some(page) => format!("- {}", linked(&label, &of.page, page)),
            None => format!("- {}", text(&label)),
        });
    }
    let mut out = lines.finish("parent");
    if !of.children.is_empty() {
        let mut children = Fitted::new(DEPENDENCIES);
        for child in of.children.iter().filter_map(|child| all.dataset(child)) {
            let label = visible(&child.name().to_string(), 60);
            children.line(&linked(&label, &of.page, &child.page));
        }
        let left_out = children.left_out();
        let names: Vec<String> = children.text().lines().map(str::to_owned).collect();
        let more = if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
        // Not in the list: DataChain takes each of its lines for a dependency. Its reader takes
        // links anywhere for dependencies, too.
        out += &format!("\n### Used by\n\n{}{more}\n", names.join(", "));
    }
    out
}

fn preview(of: &Preview) -> String {
    let mut out = String::new();
    if let Some(file) = &of.file {
        let _ = writeln!(out, "First file, relative to a mount: {}\n", code(&visible(file, 200)));
    }
    let room = PREVIEW.saturating_sub(out.len());
    let cell = |raw: &str| text(&visible(raw, CELL));
    // As many columns as leave half of the room for rows.
    let mut shown = 0;
    let mut width = 0;
    for (at, column) in of.columns.iter().enumerate() {
        let widest = of.rows.first().and_then(|row| row.get(at)).map_or(0, |raw| cell(raw).len());
        width += 2 * cell(column).len() + widest + 9;
        if width > room / 2 {
            break;
        }
        shown = at + 1;
    }
    if shown == 0 {
        return out;
    }
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().take(shown).map(|raw| cell(raw)).collect();
        format!("| {} |", cells.join(" | "))
    };
    let mut lines = Fitted::new(room);
    lines.line(&line(&of.columns));
    lines.line(&format!("|{}", "---|".repeat(shown)));
    of.rows.iter().for_each(|row| lines.line(&line(row)));
    out += &lines.text();
    if shown < of.columns.len() {
        let more = counted((of.columns.len() - shown) as u64, "column");
        let _ = writeln!(out, "\n{more} more.");
    }
    out
}

/// Lines in a code block, as many as fit.
fn fenced(lines: &str, most: usize, noun: &str, where_else: &str) -> String {
    let mut fitted = Fitted::new(most - 20);
    lines.lines().for_each(|line| fitted.line(&visible_indented(line)));
    let left_out = fitted.left_out();
    let mut out = block("", &fitted.text());
    if left_out > 0 {
        let _ = writeln!(out, "\n{} more: {where_else}.", counted(left_out, noun));
    }
    out
}

fn visible_indented(line: &str) -> String {
    let rest = line.trim_start_matches(' ');
    format!("{}{}", &line[..line.len() - rest.len()], visible(rest, 120))
}

fn stats(statistics: &Statistics) -> String {
    let columns = statistics.statistics.iter().map(|column| (&column.column_name, column.line()));
    let files = statistics.files.iter().map(|files| (&files.column_name, files.line()));
    let lines: Vec<String> = columns
        .chain(files)
        .filter(|(_, line)| !line.is_empty())
        .map(|(name, line)| format!("{:<20}  # {}", visible(name, 60), visible(&line, 140)))
        .collect();
    fenced(&lines.join("\n"), STATS, "column", "`dcfs stats`")
}

/// Whether a name needs no quotes in a shell and in SQL.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 60
        && name.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
}

/// Lines that work when pasted, with a column of this dataset.
fn usage(of: &Dataset, facts: &Facts) -> String {
    let name = of.name().to_string();
    if !is_plain(&name) {
        return String::new();
    }
    let at = format!("{name}@{}", of.latest().version);
    let filter =
        facts.schema.as_ref().and_then(|schema| example(schema, facts.statistics.as_ref()));
    let mut out = String::new();
    let _ = writeln!(out, "```sh\ndcfs show {at} --limit 5");
    if let Some(filter) = &filter {
        let _ = writeln!(out, "dcfs count {at} --where '{filter}'");
        let _ = writeln!(out, "ls 'datasets/{at}/{filter}/'   # in a mount");
    }
    if let Some((column, row)) = facts.preview.vector.as_ref().filter(|(name, _)| is_plain(name)) {
        let near = format!("order by cosine_distance({column}, row({row})) limit 5");
        let _ = writeln!(out, "dcfs show {at} --where '{near}'");
    }
    let _ = writeln!(out, "dcfs sql 'select count(*) from \"{at}\"'\n```\n");
    let version = of.latest().version;
    let _ = writeln!(
        out,
        "```python\nimport datachain as dc\ndc.read_dataset(\"{name}\", version=\"{version}\").show(5)\n```"
    );
    out
}

/// A filter that some rows pass.
fn example(schema: &Schema, statistics: Option<&Statistics>) -> Option<String> {
    let leaves = schema.leaves();
    let plain = leaves.iter().filter(|leaf| !leaf.hidden && is_plain(&leaf.name));
    let of = |name: &str| {
        let all = &statistics?.statistics;
        Some(&all.iter().find(|column| column.column_name == name)?.column_statistics)
    };
    let label = plain.clone().find_map(|leaf| {
        let (label, _) = of(&leaf.name)?.labels().next()?;
        let fits = *leaf.value == ValueType::Text
            && label.len() < 40
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' '));
        fits.then(|| format!("{} = \"{label}\"", leaf.name))
    });
    let number = || {
        let mut numbers =
            plain.filter(|leaf| matches!(leaf.value, ValueType::Int | ValueType::Float));
        let last = numbers.next_back()?;
        let middle = of(&last.name).and_then(|of| of.median.as_ref()?.real());
        Some(format!("{} >= {}", last.name, middle.map_or(0, |middle| middle.floor() as i64)))
    };
    label.or_else(number)
}

fn freshness(of: &Dataset, all: &Snapshot) -> String {
    let latest = of.latest();
    let mut out = format!("- saved {} UTC\n", second(latest.finished_at.or(latest.created_at)));
    for source in &of.parents {
        match source {
            Source::Storage(uri) => {
                let listing = all
                    .page_of(source)
                    .and_then(|page| all.listings.iter().find(|listing| listing.page == page));
                if let Some(listing) = listing {
                    let when = second(listing.of.finished_at);
                    let _ = writeln!(out, "- {} listed {when} UTC", code(&visible(uri, 100)));
                }
            }
            Source::Dataset { name, version, .. } => {
                let newest = all.dataset(name).map(|own| own.latest().to_string());
                if let Some(newest) = newest.filter(|newest| newest != version) {
                    let _ = writeln!(
                        out,
                        "- made from {}; there is {} now",
                        text(&visible(version, 80)),
                        text(&visible(&newest, 80))
                    );
                }
            }
            Source::Deleted => {}
        }
        if out.len() > 160 {
            break;
        }
    }
    out
}

/// `# Versions`, latest first, in `room` bytes.
fn versions(of: &Dataset, facts: &Facts, room: usize) -> String {
    let mut out = "# Versions\n".to_owned();
    // The newest script gets the room that the lines of all versions leave.
    let lines: Vec<String> =
        (0..of.versions.len()).rev().take(MOST_VERSIONS).map(|at| heading(of, facts, at)).collect();
    let more = of.versions.len().saturating_sub(MOST_VERSIONS);
    let told: usize = lines.iter().map(String::len).sum();
    let mut left = room.saturating_sub(out.len() + told + 60);
    let mut shown = room.saturating_sub(out.len() + 60);
    for (number, line) in lines.iter().enumerate() {
        if line.len() > shown {
            break;
        }
        shown -= line.len();
        out += line;
        let version = of.versions[of.versions.len() - 1 - number].version.to_string();
        let script = match number {
            0 => Some(&facts.script),
            _ => facts.scripts.iter().find(|(known, _)| *known == version).map(|(_, text)| text),
        };
        let Some(script) = script.filter(|script| !script.trim().is_empty()) else { continue };
        let block = script_block(script, left.min(SCRIPT));
        left = left.saturating_sub(block.len());
        shown = shown.saturating_sub(block.len());
        out += &block;
    }
    if more > 0 {
        let _ = writeln!(out, "\n{} before.", counted(more as u64, "version"));
    }
    out
}

/// A script in a block, truncated, with its hash if it is.
fn script_block(script: &str, room: usize) -> String {
    const AROUND: usize = 140;
    let Some(room) = room.checked_sub(AROUND).filter(|room| *room > 100) else {
        return String::new();
    };
    let whole = masked(script);
    let (shown, is_cut) = cut_lines(whole.trim_end(), room);
    let mut shown = shown.to_owned();
    let mut out = block("python", &shown);
    // Escaping makes it longer.
    while out.len() > room + AROUND / 2 {
        shown.truncate(cut_lines(&shown, shown.len() / 2).0.len());
        out = block("python", &shown);
    }
    if shown.is_empty() {
        out = String::new();
    }
    let sum = hex(&Sha256::digest(script));
    if is_cut || out.is_empty() {
        let _ = writeln!(
            out,
            "\nThe script has {}; sha256 {}.",
            bytes(script.len() as u64),
            &sum[..16]
        );
    }
    format!("\n{out}")
}

/// A version: a heading and a line.
fn heading(of: &Dataset, facts: &Facts, at: usize) -> String {
    let version = &of.versions[at];
    let when = second(version.finished_at.or(version.created_at));
    let rows = version.rows.map_or("?".to_owned(), count);
    let mut out = format!("\n### {} \u{2014} {when} ({rows} records)\n\n", version.version);
    let before = at.checked_sub(1).map(|before| &of.versions[before]);
    out += &match (before, &facts.changed) {
        (None, _) => "Initial version.\n".to_owned(),
        (Some(before), Some(changed)) if at + 1 == of.versions.len() => {
            let Counts { added, changed, removed, .. } = changed;
            format!(
                "Rows against {}: +{} ~{} -{}.\n",
                before.version,
                count(*added),
                count(*changed),
                count(*removed)
            )
        }
        (Some(before), _) => moved(before, version),
    };
    out
}

fn moved(before: &VersionInfo, after: &VersionInfo) -> String {
    match (before.rows, after.rows) {
        (Some(old), Some(new)) if old != new => {
            let sign = if new > old { "+" } else { "-" };
            format!("{sign}{} against {}.\n", counted(new.abs_diff(old), "row"), before.version)
        }
        (Some(_), Some(_)) => format!("As many rows as {}.\n", before.version),
        _ => "\n".to_owned(),
    }
}
