//! What people and agents write: a section of a page, lines of notes, documents of a team. Read, and never changed.

use std::fs;
use std::path::Path;

use super::dataset::Hand;
use super::search::Document;
use crate::memory::{self, LARGEST};
use dcfs_core::name::DatasetName;
use dcfs_disk::regular;

/// The section of a page that is theirs.
const CONTEXT: &str = "## Session Context";

/// Headings that dcfs itself writes behind it.
const OWN: [&str; 8] = [
    "## Notes",
    "## Dependencies",
    "## Preview",
    "## Schema",
    "## Stats",
    "## Use",
    "## Freshness",
    "# Versions",
];

/// Notes that a page tells.
const MOST_NOTES: usize = 20;

/// Documents that are searched, and folders below each other.
const MOST_DOCUMENTS: usize = 500;
const DEEPEST: usize = 6;

/// Folders of theirs.
const FOLDERS: [&str; 3] = ["notes", "docs", "memory"];

/// The file of notes about the dataset whose page is `page`.
pub fn notes_file(page: &str) -> String {
    format!("notes/{}", page.strip_prefix("datasets/").unwrap_or(page))
}

/// The text of their section, if the page has one and it says anything.
pub fn context(page: &str) -> Option<String> {
    let (from, to) = place(page)?;
    let inside = page[from..to].strip_prefix(CONTEXT)?.trim();
    (!inside.is_empty()).then(|| inside.to_owned())
}

/// A page without their section: what dcfs alone has written.
pub fn without_context(page: &str) -> String {
    match place(page) {
        Some((from, to)) => format!("{}{}", &page[..from], &page[to..]),
        None => page.to_owned(),
    }
}

/// Where the section is: up to the next heading of its level or above, blocks of code left aside. Where a block is never
/// closed, a heading that dcfs writes ends the section in it, too.
fn place(page: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut from = None;
    let (mut next, mut own) = (None, None);
    let mut code: Option<usize> = None;
    for line in page.split_inclusive('\n') {
        code = match (fence(line), code) {
            (Some(ticks), None) => Some(ticks),
            (Some(ticks), Some(open)) if ticks >= open => None,
            (_, same) => same,
        };
        let is_heading = code.is_none() && (line.starts_with("## ") || line.starts_with("# "));
        let heading = line.trim_end();
        if from.is_none() {
            if is_heading && heading == CONTEXT {
                from = Some(at);
            }
        } else {
            if is_heading && next.is_none() {
                next = Some(at);
            }
            if OWN.contains(&heading) && own.is_none() {
                own = Some(at);
            }
        }
        at += line.len();
    }
    // The blocks of dcfs are closed: one that is open at the end is theirs.
    let end = if code.is_some() { next.into_iter().chain(own).min() } else { next };
    from.map(|from| (from, end.unwrap_or(page.len())))
}

/// The backticks of a line that opens or closes a block of code. With one behind them they are code within a line.
fn fence(line: &str) -> Option<usize> {
    let line = line.trim_start();
    let info = line.trim_start_matches('`');
    let ticks = line.len() - info.len();
    (ticks >= 3 && !info.contains('`')).then_some(ticks)
}

/// What was written about the dataset with a page, in the folder of pages: what is remembered first, then notes.
pub fn of_page(folder: Option<&Path>, page: &str, name: &DatasetName) -> Hand {
    let Some(folder) = folder else { return Hand::default() };
    let read = |path: &str| regular::read_text(&folder.join(path), LARGEST).ok();
    let notes = read(&notes_file(page)).unwrap_or_default();
    let lines = notes.lines().rev().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned);
    let remembered = memory::recall(folder, Some(name), MOST_NOTES).unwrap_or_default();
    let remembered = remembered.into_iter().map(|memory| {
        let day = memory.when.get(..10).unwrap_or(&memory.when);
        format!("{day}: {} (by {})", memory.text, memory.by)
    });
    Hand {
        context: read(page).as_deref().and_then(context),
        notes: remembered.chain(lines).take(MOST_NOTES).collect(),
    }
}

/// Every Markdown file of theirs, by name.
pub fn documents(folder: &Path) -> Vec<Document> {
    let mut found = Vec::new();
    for name in FOLDERS {
        collect(folder, name, DEEPEST, &mut found);
    }
    found
}

fn collect(folder: &Path, below: &str, depth: usize, found: &mut Vec<Document>) {
    let Ok(entries) = fs::read_dir(folder.join(below)) else { return };
    let mut names: Vec<_> = entries.flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{below}/{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => collect(folder, &path, depth - 1, found),
            Ok(kind) if kind.is_file() && name.ends_with(".md") && found.len() < MOST_DOCUMENTS => {
                let Ok(text) = regular::read_text(&folder.join(&path), LARGEST) else { continue };
                let title = name.trim_end_matches(".md").to_owned();
                found.push(Document { path, title, text });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_of_people_ends_at_the_next_heading() {
        let page = "# a\n\n## Session Context\n\nwhy *we* did\n\n```sh\n## no heading\n```\n\n### inside\n\n## Next\n\nx\n";
        let want = "why *we* did\n\n```sh\n## no heading\n```\n\n### inside";
        assert_eq!(context(page).as_deref(), Some(want));
        assert_eq!(without_context(page), "# a\n\n## Next\n\nx\n");
        assert_eq!(context("# a\n"), None);
        assert_eq!(context("## Session Context\n\n"), None);
        assert_eq!(context("## Session Context\nx").as_deref(), Some("x"));
        assert_eq!(notes_file("datasets/n/p/a.md"), "notes/n/p/a.md");
    }

    #[test]
    fn a_block_that_is_never_closed_takes_nothing_of_the_page() {
        let rest = "## Notes\n\n- x\n\n## Use\n\n```python\n# y\n```\n\n# Versions\n";
        let page = format!("# a\n\n## Session Context\n\nwhy\n\n```sh\nls\n\n{rest}");
        assert_eq!(context(&page).as_deref(), Some("why\n\n```sh\nls"));
        assert_eq!(without_context(&page), format!("# a\n\n{rest}"));
        let closed = format!("## Session Context\n\n```\n## Notes\n```\n\nb\n\n{rest}");
        assert_eq!(context(&closed).as_deref(), Some("```\n## Notes\n```\n\nb"));
        let inline = "## Session Context\n\n```a``` is code\n\n## Mine\n\nb\n";
        assert_eq!(context(inline).as_deref(), Some("```a``` is code"));
    }
}
