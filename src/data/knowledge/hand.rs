//! Text written by people and agents: a section of a page, notes, documents of a team. Only read,
//! never changed.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::dataset::Hand;
use super::search::Document;
use crate::memory::{self, LARGEST};
use dcfs_core::name::DatasetName;
use dcfs_disk::inside;

/// The section of a page that belongs to people.
const CONTEXT: &str = "## Session Context";

/// Headings that dcfs itself writes behind it.
const OWN: [&str; 9] = [
    "## Notes",
    "## Dependencies",
    "## Documents",
    "## Preview",
    "## Schema",
    "## Stats",
    "## Use",
    "## Freshness",
    "# Versions",
];

/// The most notes on a page.
const MOST_NOTES: usize = 20;

/// Limits for the documents searched: their number, total bytes, depth of folders, and names
/// visited.
const MOST_DOCUMENTS: usize = 500;
const MOST_READ: usize = 64 << 20;
const DEEPEST: usize = 6;
const MOST_NAMES: usize = 10_000;

/// Documents of a team that pages link to, and the bytes in which names are looked for.
const MOST_LINKED: usize = 200;
const MOST_SOUGHT_IN: usize = 4 << 20;

/// A shorter name of a dataset may be any word of a text: it counts as code or as a link alone.
const SHORTEST_WORD: usize = 4;

/// The folder of documents of a team.
const TEAM: &str = "docs";

/// Folders of theirs.
const FOLDERS: [&str; 3] = ["notes", TEAM, "memory"];

/// The file of notes on the dataset whose page is `page`.
pub fn notes_file(page: &str) -> String {
    format!("notes/{}", page.strip_prefix("datasets/").unwrap_or(page))
}

/// The text of people's section, if the page has one that is not empty.
pub fn context(page: &str) -> Option<String> {
    let (from, to) = place(page)?;
    let inside = page[from..to].strip_prefix(CONTEXT)?.trim();
    (!inside.is_empty()).then(|| inside.to_owned())
}

/// A page without people's section: only what dcfs has written.
pub fn without_context(page: &str) -> String {
    match place(page) {
        Some((from, to)) => format!("{}{}", &page[..from], &page[to..]),
        None => page.to_owned(),
    }
}

/// The range of the section: up to the next heading of its level or above, ignoring code blocks. If
/// a block is never closed, a heading that dcfs writes ends the section inside it, too.
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
    // The blocks of dcfs are closed: a block open at the end belongs to people.
    let end = if code.is_some() { next.into_iter().chain(own).min() } else { next };
    from.map(|from| (from, end.unwrap_or(page.len())))
}

/// The number of backticks of a line that opens or closes a code block. A line with further
/// backticks is inline code.
fn fence(line: &str) -> Option<usize> {
    let line = line.trim_start();
    let info = line.trim_start_matches('`');
    let ticks = line.len() - info.len();
    (ticks >= 3 && !info.contains('`')).then_some(ticks)
}

/// What was written about the dataset with a page, in the folder of pages: what is remembered first, then notes.
pub fn of_page(
    folder: Option<&Path>,
    page: &str,
    name: &DatasetName,
    documents: &[Document],
) -> Hand {
    let Some(folder) = folder else { return Hand::default() };
    let read = |path: &str| inside::read_text(folder, path, LARGEST).ok();
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
        documents: about(documents, &name.to_string()),
    }
}

/// Those of the documents that name a dataset, by their paths.
fn about(documents: &[Document], name: &str) -> Vec<String> {
    let named = documents.iter().filter(|document| names(&document.text, name));
    named.map(|document| document.path.clone()).collect()
}

/// Whether a text has a name as a word of its own.
fn names(text: &str, name: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/');
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        if name.chars().count() < SHORTEST_WORD {
            return (before.ends_with('`') && after.starts_with('`'))
                || (before.ends_with("[[") && after.starts_with("]]"));
        }
        !before.ends_with(is_inside) && !after.starts_with(is_inside)
    })
}

/// A number that changes when somebody writes what [`of_page`] reads; cheap enough for a `stat` of
/// a page, because nothing is read.
pub fn stamp(folder: Option<&Path>, page: &str) -> u64 {
    let Some(folder) = folder else { return 0 };
    let mut hasher = DefaultHasher::new();
    let mut add =
        |of: &Metadata| (of.ino(), of.size(), of.mtime(), of.mtime_nsec()).hash(&mut hasher);
    let own = [page.to_owned(), notes_file(page)];
    own.iter().filter_map(|path| inside::look(folder, path)).for_each(|of| add(&of));
    memory::stamp(folder, &mut add);
    hasher.finish()
}

/// The documents of a team, by name.
pub fn team(folder: &Path) -> Vec<Document> {
    let mut walk = Walk { folder, names: MOST_NAMES, bytes: MOST_SOUGHT_IN, found: Vec::new() };
    walk.collect(TEAM, DEEPEST);
    walk.found.truncate(MOST_LINKED);
    walk.found
}

/// Moves when one of them is written, which are not read for it.
pub fn team_stamp(folder: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = MOST_LINKED;
    stamp_below(folder, TEAM, DEEPEST, &mut left, &mut hasher);
    hasher.finish()
}

fn stamp_below(
    folder: &Path,
    below: &str,
    depth: usize,
    left: &mut usize,
    hasher: &mut DefaultHasher,
) {
    for (name, kind) in inside::list(folder, below, *left).unwrap_or_default() {
        *left = left.saturating_sub(1);
        let Ok(name) = name.into_string() else { continue };
        let path = format!("{below}/{name}");
        if kind.is_dir() && depth > 0 {
            stamp_below(folder, &path, depth - 1, left, hasher);
        } else if let Some(of) = inside::look(folder, &path).filter(|_| kind.is_file()) {
            (path, of.ino(), of.size(), of.mtime(), of.mtime_nsec()).hash(hasher);
        }
    }
}

/// Every Markdown file written by people, by name. Links are left out.
pub fn documents(folder: &Path) -> Vec<Document> {
    let mut walk = Walk { folder, names: MOST_NAMES, bytes: MOST_READ, found: Vec::new() };
    for name in FOLDERS {
        walk.collect(name, DEEPEST);
    }
    walk.found
}

/// A bounded walk through the folder, which may be a stranger's.
struct Walk<'f> {
    folder: &'f Path,
    /// How many more names may be visited.
    names: usize,
    bytes: usize,
    found: Vec<Document>,
}

impl Walk<'_> {
    fn collect(&mut self, below: &str, depth: usize) {
        let Ok(names) = inside::list(self.folder, below, self.names) else { return };
        self.names -= names.len();
        for (name, kind) in names {
            let Ok(name) = name.into_string() else { continue };
            let path = format!("{below}/{name}");
            if kind.is_dir() && depth > 0 {
                self.collect(&path, depth - 1);
            } else if kind.is_file() && name.ends_with(".md") {
                self.add(path, name.trim_end_matches(".md").to_owned());
            }
        }
    }

    fn add(&mut self, path: String, title: String) {
        if self.found.len() >= MOST_DOCUMENTS || self.bytes == 0 {
            return;
        }
        let Ok(text) = inside::read_text(self.folder, &path, LARGEST) else { return };
        self.bytes = self.bytes.saturating_sub(text.len());
        self.found.push(Document { path, title, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

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
    fn a_document_is_about_what_it_names_as_a_word() {
        let cases = [
            ("See pets, of 2024.", "pets", true),
            ("See `pets@1.0.0`.", "pets", true),
            ("carpets and pets_wide and my-pets and a/pets", "pets", false),
            ("a dataset", "a", false),
            ("`a` and", "a", true),
            ("[[a]]", "a", true),
            ("\u{e9}pets", "pets", false),
            ("pets", "pets", true),
        ];
        for (text, name, want) in cases {
            assert_eq!(names(text, name), want, "{name} in {text}");
        }
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

    #[test]
    fn nothing_is_read_behind_a_link() {
        let base = tempfile::tempdir().expect("a folder");
        let (home, other) = (base.path().join("home"), base.path().join("other"));
        for folder in [&home.join("docs"), &other] {
            fs::create_dir_all(folder).expect("made");
        }
        fs::write(other.join("2026-11.md"), "- 2026-11-01 10:00:00 all: secret (by x)\n")
            .expect("written");
        fs::write(other.join("pets.md"), "## Session Context\n\nsecret\n- secret\n")
            .expect("written");
        fs::write(home.join("docs/mine.md"), "mine").expect("written");
        for name in ["memory", "notes", "datasets"] {
            symlink(&other, home.join(name)).expect("a link");
        }
        symlink(&other, home.join("docs/linked")).expect("a link");
        let pets = DatasetName::local("pets");
        assert_eq!(of_page(Some(&home), "datasets/pets.md", &pets, &[]), Hand::default());
        let found: Vec<String> = documents(&home).into_iter().map(|found| found.path).collect();
        assert_eq!(found, ["docs/mine.md"]);
    }

    #[test]
    fn a_stamp_moves_with_what_is_written() {
        let base = tempfile::tempdir().expect("a folder");
        let (home, page) = (base.path(), "datasets/pets.md");
        let mut seen = vec![stamp(Some(home), page)];
        for path in ["notes/pets.md", "memory/2026-11.md", "datasets/pets.md"] {
            let path = home.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "- x\n").expect("written");
            seen.push(stamp(Some(home), page));
        }
        assert_eq!(stamp(Some(home), page), seen[3]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }
}
