//! The pages as files: only changed pages are written, and nothing that a person wrote is lost.
//!
//! Beside them is `.dcfs.json`: for every page a hash of the facts it was made from, and of the
//! text written. A page with unchanged facts is not made again. A page that differs from what was
//! written was edited by hand: it is kept as `<page>.orig` before it is replaced. A page without
//! `generator: dcfs` in its frontmatter belongs to another tool (DataChain's own skill), and is
//! left alone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hand;
use super::snapshot::{Dataset, Snapshot};
use super::team::Links;
use super::{Depth, Knowledge, PageInfo, PageKind, frontmatter, index, listed};
use crate::memory::{self, LARGEST};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::hex::hex;
use dcfs_core::time::Timestamp;
use dcfs_disk::{inside, regular};

/// Changes whenever the contents of pages change.
const FORMAT: u32 = 1;

/// The file with the state of the pages written.
const STATE: &str = ".dcfs.json";

/// The most names tried for a kept page.
const MOST_KEPT: u32 = 1000;

/// Options of a refresh.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Only check; write nothing.
    pub is_check: bool,
    /// Replace pages of other tools; these are kept as `.orig`.
    pub takes_over: bool,
}

/// The outcome for the pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Written; for a check, missing or stale pages.
    pub written: Vec<String>,
    /// Removed with their datasets.
    pub removed: Vec<String>,
    /// Left alone because another tool wrote them.
    pub foreign: Vec<String>,
    /// Edited by hand: the paths where the edited texts are kept.
    pub kept: Vec<String>,
    pub unchanged: usize,
}

/// The hashes of a written page.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    format: u32,
    dcfs: String,
    pages: BTreeMap<String, Written>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    /// Of the facts the page was made from.
    facts: String,
    /// Of the page without the sections that people wrote.
    text: String,
}

impl State {
    fn read(folder: &Path) -> Self {
        let read = inside::read(folder, STATE, 64 << 20).ok();
        let mut state: Option<Self> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(state) = &mut state {
            // The file may be a stranger's, and pages that it names may be removed.
            state.pages.retain(|path, _| is_ours(path));
        }
        let dcfs = env!("CARGO_PKG_VERSION");
        match state {
            Some(state) if state.format == FORMAT && state.dcfs == dcfs => state,
            // Pages written by another version of dcfs are still recognised as written.
            Some(state) => {
                let known = state.pages.into_iter();
                let stale =
                    known.map(|(path, page)| (path, Written { facts: String::new(), ..page }));
                Self { format: FORMAT, dcfs: dcfs.to_owned(), pages: stale.collect() }
            }
            None => Self { format: FORMAT, dcfs: dcfs.to_owned(), pages: BTreeMap::new() },
        }
    }
}

/// Whether a path is one that dcfs uses for pages.
fn is_ours(path: &str) -> bool {
    let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let is_in = ["datasets/", "buckets/"].iter().any(|folder| path.starts_with(folder));
    path == index::INDEX || path == index::BASE || is_in && is_plain && path.ends_with(".md")
}

/// A page as found in the folder.
#[derive(PartialEq, Eq)]
enum Found {
    None,
    Ours(String),
    Foreign,
    /// It cannot be read as a page.
    Odd,
}

/// The text of a page in the folder.
pub(super) fn read(folder: &Path, path: &str) -> Option<String> {
    inside::read_text(folder, path, LARGEST).ok()
}

fn found(folder: &Path, path: &str) -> Found {
    match inside::read_text(folder, path, LARGEST) {
        Ok(text) if path.ends_with(".md") && frontmatter::value(&text, "generator").is_none() => {
            // Pages by letter have no frontmatter.
            if path.starts_with("datasets/index-") { Found::Ours(text) } else { Found::Foreign }
        }
        Ok(text) => Found::Ours(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::None,
        Err(_) => Found::Odd,
    }
}

fn sum(text: &str) -> String {
    hex(&Sha256::digest(text)[..16])
}

/// Writes the pages of a catalog into `folder`, or checks which are stale. Calls `each` with the
/// number of pages made and their total.
///
/// # Errors
/// Errors of the catalog; a folder that cannot be written to.
pub fn refresh(
    knowledge: &Knowledge,
    folder: &Path,
    how: How,
    each: &(dyn Fn(usize, usize) + Sync),
) -> Result<Outcome> {
    if !how.is_check {
        for name in ["datasets", "buckets"] {
            memory::check_inside(folder, &folder.join(name))?;
        }
    }
    let all = Snapshot::take(&knowledge.catalog)?;
    let links = Links::of(&knowledge.documents(), all.datasets.iter().map(Dataset::name));
    let mut before = State::read(folder);
    let mut after = State { pages: BTreeMap::new(), ..State::read(folder) };
    let mut outcome = Outcome::default();
    let mut todo = Vec::new();
    for page in listed(&all) {
        match look(&all, &links, folder, how, &page, before.pages.remove(&page.path)) {
            Look::Foreign => outcome.foreign.push(page.path),
            Look::Same(written) => {
                outcome.unchanged += 1;
                after.pages.insert(page.path, written);
            }
            // The index costs no more than finding out whether it changed.
            Look::Make(_) if how.is_check && !is_cheap(&page) => outcome.written.push(page.path),
            Look::Make(making) => todo.push((page.path, making)),
        }
    }
    let paths: Vec<&str> = todo.iter().map(|(path, _)| path.as_str()).collect();
    let texts = make(knowledge, (&all, &links), &paths, each)?;
    for ((path, making), text) in todo.into_iter().zip(texts) {
        let Some(text) = text else { continue };
        if matches!(&making.on_disk, Found::Ours(there) if *there == text) {
            outcome.unchanged += 1;
        } else {
            outcome.written.push(path.clone());
            if !how.is_check {
                outcome.kept.extend(replace(folder, &path, &text, &making)?);
            }
        }
        let written = Written { facts: making.facts, text: sum(&hand::without_context(&text)) };
        after.pages.insert(path, written);
    }
    remove(folder, how, before.pages, &mut outcome)?;
    if !how.is_check {
        let text = serde_json::to_string_pretty(&after).map_err(|e| Error::new(Kind::Broken, e))?;
        if read(folder, STATE).as_ref() != Some(&text) {
            write(folder, STATE, &text)?;
        }
    }
    Ok(outcome)
}

/// The action for a page.
enum Look {
    /// It belongs to another tool.
    Foreign,
    /// Its facts are unchanged, and the file is as written.
    Same(Written),
    Make(Making),
}

/// A page that may have to be written.
struct Making {
    on_disk: Found,
    facts: String,
    /// Whether the file is as written, not edited.
    is_as_written: bool,
}

/// Replaces the page that was checked. If it was edited, before the check or since, it is kept;
/// returns where.
fn replace(folder: &Path, path: &str, text: &str, making: &Making) -> Result<Option<String>> {
    // Making pages takes time, and an editor may have saved meanwhile.
    let now = found(folder, path);
    if matches!(&now, Found::Ours(there) if there == text) {
        return Ok(None);
    }
    let is_edited = !making.is_as_written || now != making.on_disk;
    let kept = match now {
        Found::None => None,
        _ if is_edited => Some(keep(folder, path)?),
        _ => None,
    };
    write(folder, path, text)?;
    Ok(kept)
}

/// Whether a page is made from the catalog alone, without reading rows.
fn is_cheap(page: &PageInfo) -> bool {
    !matches!(page.kind, PageKind::Dataset | PageKind::Bucket)
}

fn look(
    all: &Snapshot,
    links: &Links,
    folder: &Path,
    how: How,
    page: &PageInfo,
    before: Option<Written>,
) -> Look {
    let on_disk = found(folder, &page.path);
    if matches!(on_disk, Found::Foreign) && !how.takes_over {
        return Look::Foreign;
    }
    let facts = facts(all, links, &page.path, folder);
    let is_as_written = match (&on_disk, &before) {
        (Found::Ours(text), Some(before)) => sum(&hand::without_context(text)) == before.text,
        _ => false,
    };
    match before {
        Some(before) if is_as_written && before.facts == facts && !is_cheap(page) => {
            Look::Same(before)
        }
        _ => Look::Make(Making { on_disk, facts, is_as_written }),
    }
}

/// The most threads that make pages: much of the time goes into packing columns, which uses one
/// thread for small versions.
const MOST_THREADS: usize = 4;

/// Makes the texts of pages, in order.
fn make(
    knowledge: &Knowledge,
    (all, links): (&Snapshot, &Links),
    paths: &[&str],
    each: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<Option<String>>> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || -> Result<Vec<(usize, Option<String>)>> {
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(path) = paths.get(number) else { return Ok(made) };
            made.push((number, knowledge.compiled((all, links), path, Depth::Full)?));
            each(done.fetch_add(1, Relaxed) + 1, paths.len());
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let helpers = cores.min(MOST_THREADS).min(paths.len()).max(1) - 1;
    let mut made = thread::scope(|scope| {
        let running: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
        let mut made = work()?;
        for thread in running {
            let lost = |_| Error::new(Kind::Broken, "a thread that makes pages died");
            made.extend(thread.join().map_err(lost)??);
        }
        Ok::<_, Error>(made)
    })?;
    made.sort_by_key(|(number, _)| *number);
    Ok(made.into_iter().map(|(_, text)| text).collect())
}

/// Removes written pages whose dataset no longer exists; an edited page is kept.
fn remove(
    folder: &Path,
    how: How,
    gone: BTreeMap<String, Written>,
    outcome: &mut Outcome,
) -> Result<()> {
    for (path, before) in gone {
        let Found::Ours(text) = found(folder, &path) else { continue };
        outcome.removed.push(path.clone());
        if how.is_check {
            continue;
        }
        if sum(&text) == before.text {
            check_inside(folder, &path)?;
            fs::remove_file(folder.join(&path)).map_err(|error| told(folder, &path, &error))?;
        } else {
            outcome.kept.push(keep(folder, &path)?);
        }
    }
    Ok(())
}

/// What a page is made from, in short.
fn facts(all: &Snapshot, links: &Links, path: &str, folder: &Path) -> String {
    let mut text = String::new();
    if let Some(of) = all.datasets.iter().find(|dataset| dataset.page == path) {
        text += &of.fingerprint();
        let hand = hand::of_page(Some(folder), path, of.name(), links);
        text += &format!("{hand:?}");
        for parent in &of.parents {
            let page = all.page_of(parent);
            let listing = all.listings.iter().find(|listing| Some(&*listing.page) == page);
            let newest = all.datasets.iter().find(|dataset| Some(&*dataset.page) == page);
            let newest = newest.map(|dataset| dataset.latest().to_string());
            let listed = listing.map(|listing| listing.of.finished_at);
            text += &format!("{page:?} {newest:?} {listed:?}");
        }
        let children = of.children.iter().filter_map(|child| all.dataset(child));
        children.for_each(|child| text += &child.page);
    } else if let Some(of) = all.listings.iter().find(|listing| listing.page == path) {
        text += &of.fingerprint();
        for dataset in &all.datasets {
            if dataset.parents.iter().any(|parent| all.page_of(parent) == Some(path)) {
                text += &dataset.page;
            }
        }
    }
    sum(&text)
}

/// Refuses a page whose folder is a link that leads out of the folder of pages.
fn check_inside(folder: &Path, path: &str) -> Result<()> {
    memory::check_inside(folder, folder.join(path).parent().unwrap_or(folder))
}

/// Moves an edited page aside; returns its new path.
fn keep(folder: &Path, path: &str) -> Result<String> {
    check_inside(folder, path)?;
    for number in 1..MOST_KEPT {
        let name =
            if number == 1 { format!("{path}.orig") } else { format!("{path}.orig.{number}") };
        let target = folder.join(&name);
        if target.symlink_metadata().is_err() {
            fs::rename(folder.join(path), &target).map_err(|error| told(folder, path, &error))?;
            return Ok(name);
        }
    }
    let message =
        format!("`{path}` was edited, and there are {MOST_KEPT} kept copies of it; remove some");
    Err(Error::new(Kind::Full, message))
}

/// Writes a whole file, replacing an existing one.
fn write(folder: &Path, path: &str, text: &str) -> Result<()> {
    check_inside(folder, path)?;
    let target = folder.join(path);
    let write = || -> io::Result<()> {
        let parent = target.parent().unwrap_or(folder);
        fs::create_dir_all(parent)?;
        let draft = parent.join(format!(".draft-{}", uuid::Uuid::new_v4().simple()));
        let written = OpenOptions::new().write(true).create_new(true).open(&draft);
        let done = written
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&draft, &target));
        done.inspect_err(|_| drop(fs::remove_file(&draft)))
    };
    write().map_err(|error| told(folder, path, &error))
}

fn told(folder: &Path, path: &str, error: &io::Error) -> Error {
    let at = folder.join(path);
    Error::new(Kind::Broken, format!("cannot write `{}`: {error}", at.display()))
}

/// Adds a line to the notes on a dataset, or on the catalog as a whole if `page` is `None`; returns
/// the file, relative to the folder.
///
/// # Errors
/// An empty note; a full file; a folder that cannot be written to, or is a link out of `folder`.
pub fn note(
    folder: &Path,
    page: Option<&str>,
    text: &str,
    now: Timestamp,
    who: &str,
) -> Result<String> {
    let line: Vec<&str> = text.split_whitespace().collect();
    if line.is_empty() {
        return Err(Error::new(Kind::Invalid, "the note is empty"));
    }
    let name = page.map_or("notes/general.md".to_owned(), hand::notes_file);
    check_inside(folder, &name)?;
    let path = folder.join(&name);
    let day = now.catalog();
    let day = day.get(..10).unwrap_or(&day);
    let who = memory::signature(who);
    let who = if who.is_empty() { String::new() } else { format!(" ({who})") };
    let line = format!("- {day}: {}{who}\n", line.join(" "));
    let open = || -> io::Result<(File, u64)> {
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        regular::check(&path)?;
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    let (mut file, size) = open().map_err(|error| told(folder, &name, &error))?;
    if size.saturating_add(line.len() as u64) > LARGEST {
        return Err(memory::full(&path));
    }
    file.write_all(line.as_bytes()).map_err(|error| told(folder, &name, &error))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::symlink;

    const PAGE: &str = "---\ngenerator: dcfs\n---\nold\n";

    fn read_back(folder: &Path, path: &str) -> String {
        fs::read_to_string(folder.join(path)).expect("there")
    }

    #[test]
    fn only_pages_are_taken_from_the_state() {
        let good = ["index.md", "datasets.base", "datasets/n/p/a.md", "buckets//odd.md"];
        let bad = [
            "notes/a.md",
            "/etc/a.md",
            "datasets/../../a.md",
            "datasets/a.txt",
            "../index.md",
            "datasets",
            "",
        ];
        good.iter().for_each(|path| assert!(is_ours(path), "{path}"));
        bad.iter().for_each(|path| assert!(!is_ours(path), "{path}"));
        let base = tempfile::tempdir().expect("a folder");
        let page = Written { facts: String::new(), text: sum(PAGE) };
        let paths = ["../out.md", "datasets/a.md"].map(|path| (path.to_owned(), page.clone()));
        let state = State { format: FORMAT, dcfs: String::new(), pages: paths.into() };
        let json = serde_json::to_vec(&state).expect("JSON");
        fs::write(base.path().join(STATE), json).expect("written");
        let pages = State::read(base.path()).pages;
        assert_eq!(pages.keys().collect::<Vec<_>>(), ["datasets/a.md"]);
    }

    #[test]
    fn what_was_edited_meanwhile_is_kept() {
        let base = tempfile::tempdir().expect("a folder");
        let (folder, path) = (base.path(), "datasets/a.md");
        write(folder, path, PAGE).expect("written");
        let looked =
            || Making { on_disk: found(folder, path), facts: String::new(), is_as_written: true };
        let making = looked();
        assert_eq!(replace(folder, path, PAGE, &making).expect("same"), None);
        let edited = format!("{PAGE}mine\n");
        fs::write(folder.join(path), &edited).expect("edited");
        let new = format!("{PAGE}new\n");
        let kept = replace(folder, path, &new, &making).expect("replaced");
        assert_eq!(kept.as_deref(), Some("datasets/a.md.orig"));
        assert_eq!(read_back(folder, "datasets/a.md.orig"), edited);
        assert_eq!(read_back(folder, path), new);
        assert_eq!(replace(folder, path, PAGE, &looked()).expect("replaced"), None);
        assert_eq!(read_back(folder, path), PAGE);
    }

    #[test]
    fn nothing_is_written_behind_a_link() {
        let base = tempfile::tempdir().expect("a folder");
        let (folder, other) = (base.path().join("home"), base.path().join("other"));
        fs::create_dir(&folder).expect("made");
        fs::create_dir(&other).expect("made");
        for name in ["datasets", "notes"] {
            symlink(&other, folder.join(name)).expect("a link");
        }
        let now = Timestamp::parse("2026-11-01").expect("a moment");
        assert_eq!(write(&folder, "datasets/a.md", PAGE).expect_err("a link").kind(), Kind::Denied);
        assert_eq!(note(&folder, None, "x", now, "").expect_err("a link").kind(), Kind::Denied);
        assert_eq!(fs::read_dir(&other).expect("there").count(), 0);
    }

    #[test]
    fn a_full_file_takes_no_note() {
        let base = tempfile::tempdir().expect("a folder");
        let now = Timestamp::parse("2026-11-01").expect("a moment");
        let name = note(base.path(), None, "a\nb", now, "x)\n- y").expect("noted");
        assert_eq!(read_back(base.path(), &name), "- 2026-11-01: a b (x - y)\n");
        fs::write(base.path().join(&name), vec![b'\n'; LARGEST as usize]).expect("written");
        let refused = note(base.path(), None, "more", now, "").expect_err("full");
        assert_eq!(refused.kind(), Kind::Full);
    }
}
