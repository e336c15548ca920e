//! The documents of a team: the Markdown in `docs/` beside the pages, and the datasets that they name.
//!
//! Which files they are is decided by one walk, bounded because the folder may be a stranger's: the stamp covers the
//! files that are read.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::search::Document;
use crate::memory::LARGEST;
use dcfs_core::name::DatasetName;
use dcfs_disk::inside;

/// The folder of documents of a team.
const TEAM: &str = "docs";

/// All folders of texts by people.
const FOLDERS: [&str; 3] = ["notes", TEAM, "memory"];

/// Limits of a walk: documents, depth of folders, and names visited.
const MOST_DOCUMENTS: usize = 500;
const DEEPEST: usize = 6;
const MOST_NAMES: usize = 10_000;

/// The most bytes that are searched for words.
const MOST_READ: usize = 64 << 20;

/// Documents of a team that pages link to, and the bytes in which names are looked for.
const MOST_LINKED: usize = 200;
const MOST_SOUGHT_IN: usize = 4 << 20;

/// How long a stamp is reused: a stamp costs a walk, and a listing of pages asks for one per page.
const REUSED: Duration = Duration::from_secs(1);

/// A shorter name of a dataset may be any word of a text: it counts as code or as a link alone.
const SHORTEST_WORD: usize = 4;

/// For no more names than this, a search for each is faster than one pass over all words.
const FEW: usize = 4;

/// The documents of a team, read again when one changes.
#[derive(Default)]
pub struct Team {
    /// The folder of pages, if any.
    folder: Option<PathBuf>,
    is_hidden: AtomicBool,
    /// The last stamp, and when it was taken.
    stamped: Mutex<Option<(Instant, u64)>>,
    /// The documents when they were last read, and their stamp.
    last: Mutex<Option<(u64, Arc<Vec<Document>>)>>,
}

impl Team {
    /// Those beside the pages of `folder`.
    pub fn of(folder: Option<PathBuf>) -> Self {
        Self { folder, ..Self::default() }
    }

    /// From now on there are none.
    pub fn hide(&self) {
        self.is_hidden.store(true, Ordering::Relaxed);
    }

    fn folder(&self) -> Option<&Path> {
        self.folder.as_deref().filter(|_| !self.is_hidden.load(Ordering::Relaxed))
    }

    /// Changes when a document is written, within [`REUSED`]. Nothing is read for it.
    pub fn stamp(&self) -> u64 {
        let Some(folder) = self.folder() else { return 0 };
        let mut stamped = self.stamped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((taken, stamp)) = *stamped
            && taken.elapsed() < REUSED
        {
            return stamp;
        }
        let stamp = stamp_of(folder);
        *stamped = Some((Instant::now(), stamp));
        stamp
    }

    /// The documents, by name.
    pub fn documents(&self) -> Arc<Vec<Document>> {
        let Some(folder) = self.folder() else { return Arc::default() };
        let stamp = self.stamp();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, documents)) = &*last
            && *seen == stamp
        {
            return documents.clone();
        }
        let paths = markdown(folder, &[TEAM]);
        let documents = Arc::new(read(folder, &paths, MOST_SOUGHT_IN, MOST_LINKED));
        *last = Some((stamp, documents.clone()));
        documents
    }
}

fn stamp_of(folder: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in markdown(folder, &[TEAM]) {
        if let Some(of) = inside::look(folder, &path) {
            (path, of.ino(), of.size(), of.mtime(), of.mtime_nsec()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Every Markdown file written by people, by name.
pub fn written(folder: &Path) -> Vec<Document> {
    read(folder, &markdown(folder, &FOLDERS), MOST_READ, MOST_DOCUMENTS)
}

/// The Markdown files below folders of `folder`: their paths, by name. Links are left out.
fn markdown(folder: &Path, folders: &[&str]) -> Vec<String> {
    let mut walk = Walk { folder, names: MOST_NAMES, found: Vec::new() };
    for name in folders {
        walk.collect(name, DEEPEST);
    }
    walk.found
}

/// A bounded walk through the folder.
struct Walk<'f> {
    folder: &'f Path,
    /// How many more names may be visited.
    names: usize,
    found: Vec<String>,
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
            } else if kind.is_file() && name.ends_with(".md") && self.found.len() < MOST_DOCUMENTS {
                self.found.push(path);
            }
        }
    }
}

/// Reads files of text: at most `most`, until they have `bytes` bytes together.
fn read(folder: &Path, paths: &[String], mut bytes: usize, most: usize) -> Vec<Document> {
    let mut found = Vec::new();
    for path in paths {
        if bytes == 0 || found.len() >= most {
            break;
        }
        let Ok(text) = inside::read_text(folder, path, LARGEST) else { continue };
        bytes = bytes.saturating_sub(text.len());
        let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
        let title = name.trim_end_matches(".md").to_owned();
        found.push(Document { path: path.clone(), title, text });
    }
    found
}

/// The documents that name a dataset, by the name of the dataset.
#[derive(Debug, Default)]
pub struct Links(HashMap<String, Vec<String>>);

impl Links {
    /// Finds the names of datasets in documents; many names in one pass.
    pub fn of<'n>(documents: &[Document], datasets: impl Iterator<Item = &'n DatasetName>) -> Self {
        let wanted: BTreeSet<String> = datasets.map(ToString::to_string).collect();
        let (mut by_word, mut alone) = (HashMap::<&str, Vec<&str>>::new(), Vec::<&str>::new());
        for name in &wanted {
            match first_word(name) {
                word if wanted.len() > FEW && !word.is_empty() => {
                    by_word.entry(word).or_default().push(name);
                }
                _ => alone.push(name),
            }
        }
        let mut found = HashMap::<String, Vec<String>>::new();
        for document in documents {
            let text = document.text.as_str();
            let mut named: BTreeSet<&str> =
                alone.iter().copied().filter(|name| names(text, name)).collect();
            if !by_word.is_empty() {
                // A name stands at the beginning of a word, and that word is the name's first one.
                each_word(text, |at, word| {
                    let candidates = by_word.get(word).into_iter().flatten().copied();
                    named.extend(candidates.filter(|name| is_named(text, at, name)));
                });
            }
            for name in named {
                found.entry(name.to_owned()).or_default().push(document.path.clone());
            }
        }
        Self(found)
    }

    /// The paths of the documents that name a dataset.
    pub fn about(&self, name: &DatasetName) -> Vec<String> {
        self.0.get(&name.to_string()).cloned().unwrap_or_default()
    }
}

/// Whether a text has a name as a word of its own.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| is_named(text, at, name))
}

/// Whether the name is a word of its own at a place of the text.
fn is_named(text: &str, at: usize, name: &str) -> bool {
    let (before, rest) = text.split_at(at);
    let Some(after) = rest.strip_prefix(name) else { return false };
    if name.chars().count() < SHORTEST_WORD {
        return (before.ends_with('`') && after.starts_with('`'))
            || (before.ends_with("[[") && after.starts_with("]]"));
    }
    !before.ends_with(is_inside) && !after.starts_with(is_inside)
}

/// Whether a character beside a name makes it part of a longer word.
fn is_inside(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '/')
}

/// The word at the beginning of a text; empty if there is none.
fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !is_inside(c)).unwrap_or(text.len());
    &text[..end]
}

/// Calls `each` with every word, and where it begins.
fn each_word<'t>(text: &'t str, mut each: impl FnMut(usize, &'t str)) {
    let mut at = 0;
    while let Some(skipped) = text[at..].find(is_inside) {
        let start = at + skipped;
        let word = first_word(&text[start..]);
        each(start, word);
        at = start + word.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    fn document(path: &str, text: &str) -> Document {
        Document { path: path.to_owned(), title: String::new(), text: text.to_owned() }
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
    fn many_names_are_found_in_one_pass_as_each_is_alone() {
        let wanted = [
            "pets",
            "my pets",
            "pets_wide",
            "a/pets",
            "a",
            "b",
            "+odd",
            "\u{e9}t\u{e9}",
            "x y z",
            "dev.pets",
            "none",
        ]
        .map(DatasetName::local);
        let documents = [
            document("docs/1.md", "pets and my pets, `a`, [[b]] and b; +odd; x y zz"),
            document("docs/2.md", "pets_wide/a/pets \u{e9}t\u{e9}.pets a/pets"),
            document("docs/3.md", "x x y z, dev.pets, none_of_them"),
            document("docs/4.md", ""),
        ];
        let links = Links::of(&documents, wanted.iter());
        for name in &wanted {
            let text = name.to_string();
            let alone = documents.iter().filter(|document| names(&document.text, &text));
            let alone: Vec<String> = alone.map(|document| document.path.clone()).collect();
            assert_eq!(links.about(name), alone, "{name}");
            assert_eq!(Links::of(&documents, [name].into_iter()).about(name), alone, "{name}");
        }
        assert_eq!(links.about(&wanted[0]), ["docs/1.md", "docs/2.md", "docs/3.md"]);
        assert_eq!(links.about(&wanted[8]), ["docs/3.md"]);
    }

    #[test]
    fn a_stamp_moves_with_every_document_whatever_lies_beside() {
        let base = tempfile::tempdir().expect("a folder");
        let home = base.path();
        fs::create_dir_all(home.join("docs/pictures")).expect("made");
        for number in 0..250 {
            fs::write(home.join(format!("docs/{number}.png")), "").expect("written");
            fs::create_dir(home.join(format!("docs/pictures/{number}"))).expect("made");
        }
        let mut seen = vec![stamp_of(home)];
        for text in ["one", "three"] {
            fs::write(home.join("docs/guide.md"), text).expect("written");
            seen.push(stamp_of(home));
        }
        fs::write(home.join("docs/0.png"), "more").expect("written");
        assert_eq!(stamp_of(home), seen[2], "no document");
        seen.dedup();
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn hidden_documents_are_neither_read_nor_stamped() {
        let base = tempfile::tempdir().expect("a folder");
        fs::create_dir(base.path().join("docs")).expect("made");
        fs::write(base.path().join("docs/keys.md"), "secret").expect("written");
        let team = Team::of(Some(base.path().to_owned()));
        assert_eq!(team.documents().len(), 1);
        assert_ne!(team.stamp(), 0);
        team.hide();
        assert!(team.documents().is_empty());
        assert_eq!(team.stamp(), 0);
    }
}
