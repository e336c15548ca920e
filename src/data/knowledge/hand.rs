//! What people and agents write: a section of a page, lines of notes, documents of a team. Read, and never changed.

use std::fs;
use std::path::Path;

use super::dataset::Hand;
use super::search::Document;
use crate::memory;
use dcfs_core::name::DatasetName;
use dcfs_disk::regular;

/// The section of a page that is theirs.
const CONTEXT: &str = "## Session Context";

/// Bytes of a file of theirs that are read.
pub const LARGEST: u64 = 1 << 20;

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

/// Where the section is: up to the next heading of its level or above, blocks of code left aside.
fn place(page: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut from = None;
    let mut is_code = false;
    for line in page.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let is_heading = !is_code && (line.starts_with("## ") || line.starts_with("# "));
        match from {
            Some(from) if is_heading => return Some((from, at)),
            None if is_heading && line.trim_end() == CONTEXT => from = Some(at),
            _ => {}
        }
        at += line.len();
    }
    from.map(|from| (from, page.len()))
}

/// What was written about the dataset with a page, in the folder of pages: what is remembered first, then notes.
pub fn of_page(folder: Option<&Path>, page: &str, name: &DatasetName) -> Hand {
    let Some(folder) = folder else { return Hand::default() };
    let read = |path: &str| regular::read_text(&folder.join(path), LARGEST).ok();
    let notes = read(&notes_file(page)).unwrap_or_default();
    let lines = notes.lines().rev().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned);
    let remembered = memory::recall(folder, Some(name), MOST_NOTES).unwrap_or_default();
    let remembered = remembered
        .into_iter()
        .map(|memory| format!("{}: {} (by {})", &memory.when[..10], memory.text, memory.by));
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
}
