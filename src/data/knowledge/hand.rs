//! Text written by people and agents about a dataset: a section of its page, notes. Only read, never
//! changed.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::dataset::Hand;
use super::team::Links;
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

/// Everything written about the dataset of a page, from the folder of pages: memories first, then notes.
pub fn of_page(folder: Option<&Path>, page: &str, name: &DatasetName, links: &Links) -> Hand {
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
        documents: links.about(name),
    }
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

#[cfg(test)]
mod tests {
    use super::super::team;
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
        let read = of_page(Some(&home), "datasets/pets.md", &pets, &Links::default());
        assert_eq!(read, Hand::default());
        let found: Vec<String> = team::written(&home).into_iter().map(|found| found.path).collect();
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
