//! Memory: dated lines that people and agents leave for later readers, in
//! `dc-knowledge/memory/YYYY-MM.md`.
//!
//! A line is appended and never changed, except when struck through; it is about one dataset, or
//! about all. The files are Markdown, for people to read and to keep in a repository. To its
//! readers, a line is a stranger's text.

use std::borrow::Cow;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetName;
use dcfs_core::render::stranger::{is_hidden, visible};
use dcfs_core::time::Timestamp;
use dcfs_disk::{inside, owner, regular, whole_file};

/// The longest text of a line, in bytes: a line is a hint, not a document.
pub const LONGEST: usize = 1024;

/// The most bytes read of a file that people may edit, and the limit for its growth: some thousand
/// lines a month.
pub const LARGEST: u64 = 1 << 20;

/// The most characters of an author's name.
const LONGEST_NAME: usize = 200;

/// The most months that are read, their total bytes, and the most names searched for them.
const MONTHS: usize = 120;
const MOST_READ: u64 = 16 << 20;
const MOST_NAMES: usize = 10_000;

/// The folder's name.
const FOLDER: &str = "memory";

/// Marks a line that is about no particular dataset.
const ALL: &str = "all";

/// The folder of knowledge of the catalog at `database`: beside `.datachain`.
pub fn knowledge(database: &Path) -> PathBuf {
    let beside = database.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    beside.join("dc-knowledge")
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// `2026-11-29 13:02:29`, in UTC.
    pub when: String,
    /// `None`: about the whole catalog.
    pub dataset: Option<DatasetName>,
    pub text: String,
    /// The author.
    pub by: String,
    /// Whether it was struck through.
    pub is_forgotten: bool,
}

/// Appends a line, and returns it as stored.
///
/// # Errors
/// The text is empty or too long; the dataset's name does not fit on a line; the month's file is
/// full; the folder cannot be written to, or is a link out of `knowledge`.
pub fn remember(
    knowledge: &Path,
    dataset: Option<&DatasetName>,
    text: &str,
    by: &str,
    now: Timestamp,
) -> Result<PathBuf> {
    let text = one_line(text);
    let wrong = |message: String| Err(Error::new(Kind::Invalid, message));
    if text.is_empty() {
        return wrong("nothing to remember; write a sentence".into());
    }
    if text.len() > LONGEST {
        return wrong(format!(
            "{} bytes are too many to remember (at most {LONGEST}); write less, or a page in `dc-knowledge/docs`",
            text.len()
        ));
    }
    let when = now.fixed()[..19].to_owned();
    let (dataset, by) = (dataset.cloned(), signature(by));
    let memory = Memory { when, dataset, text, by, is_forgotten: false };
    // A name that breaks the line, or its own part of it, would forge what follows.
    let line = memory.line();
    let is_broken = line.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
    if is_broken || Memory::parse(&line).as_ref() != Some(&memory) {
        let name = memory.dataset.as_ref().map_or(ALL.to_owned(), ToString::to_string);
        return wrong(format!(
            "a line about `{}` could not be read back, for its name is not plain; remember it about all datasets",
            visible(&name, 100)
        ));
    }
    let folder = knowledge.join(FOLDER);
    check_inside(knowledge, &folder)?;
    let _turn = turn(&folder)?;
    let path = folder.join(format!("{}.md", &memory.when[..7]));
    let told = |error: io::Error| unwritten(&path, &error);
    let mut file = append(&path).map_err(told)?;
    let line = line + "\n";
    let size = file.metadata().map_err(told)?.len();
    if size.saturating_add(line.len() as u64) > LARGEST {
        return Err(full(&path));
    }
    file.write_all(line.as_bytes()).map_err(told)?;
    Ok(path)
}

/// The newest lines first, at most `most`: those about `dataset` and those about all datasets, or
/// every line.
///
/// # Errors
/// A file cannot be read.
pub fn recall(knowledge: &Path, dataset: Option<&DatasetName>, most: usize) -> Result<Vec<Memory>> {
    let (mut found, mut left) = (Vec::new(), MOST_READ);
    for path in files(knowledge) {
        let text = String::from_utf8_lossy(&raw(knowledge, &path)?).into_owned();
        left = left.saturating_sub(text.len() as u64);
        let lines = text.lines().rev().filter_map(Memory::parse).filter(|line| !line.is_forgotten);
        let is_about = |line: &Memory| match (&line.dataset, dataset) {
            (Some(about), Some(wanted)) => about == wanted,
            _ => true,
        };
        found.extend(lines.filter(is_about).take(most - found.len()));
        if found.len() == most || left == 0 {
            break;
        }
    }
    Ok(found)
}

/// Strikes through every line that contains `words`, and returns those lines.
///
/// # Errors
/// No line matches; a file cannot be written to, is not UTF-8, or would be too large.
pub fn forget(knowledge: &Path, dataset: Option<&DatasetName>, words: &str) -> Result<Vec<Memory>> {
    let words = one_line(words);
    let folder = knowledge.join(FOLDER);
    let is_meant = |line: &Memory| {
        !line.is_forgotten
            && !words.is_empty()
            && line.text.contains(&words)
            && dataset.is_none_or(|wanted| line.dataset.as_ref() == Some(wanted))
    };
    let mut forgotten = Vec::new();
    if folder.is_dir() {
        check_inside(knowledge, &folder)?;
        let _turn = turn(&folder)?;
        for path in files(knowledge) {
            let raw = raw(knowledge, &path)?;
            let path = knowledge.join(path);
            let text = String::from_utf8_lossy(&raw);
            let before = forgotten.len();
            let struck =
                text.split_inclusive('\n').map(|line| match Memory::parse(line.trim_end()) {
                    Some(memory) if is_meant(&memory) => {
                        forgotten.push(memory.clone());
                        Memory { is_forgotten: true, ..memory }.line() + "\n"
                    }
                    _ => line.to_owned(),
                });
            let struck: String = struck.collect();
            if forgotten.len() > before {
                if matches!(text, Cow::Owned(_)) {
                    let path = path.display();
                    let message = format!("`{path}` is not UTF-8; fix it, then forget again");
                    return Err(Error::new(Kind::Broken, message));
                }
                if struck.len() as u64 > LARGEST {
                    return Err(full(&path));
                }
                whole_file::write(&path, struck.as_bytes())?;
            }
        }
    }
    match forgotten.is_empty() {
        true => Err(Error::new(Kind::Missing, format!("no remembered line holds `{words}`"))),
        false => Ok(forgotten),
    }
}

impl Memory {
    /// The line as stored.
    fn line(&self) -> String {
        let dataset = self.dataset.as_ref().map_or(ALL.to_owned(), |name| format!("`{name}`"));
        let line = format!("{} {dataset}: {} (by {})", self.when, self.text, self.by);
        match self.is_forgotten {
            true => format!("- ~~{line}~~"),
            false => format!("- {line}"),
        }
    }

    /// Parses a line as written; what people wrote between the lines is not memory.
    fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("- ")?;
        let struck = line.strip_prefix("~~").and_then(|line| line.strip_suffix("~~"));
        let (when, rest) = struck.unwrap_or(line).split_at_checked(19)?;
        Timestamp::parse(when).filter(|_| is_moment(when))?;
        let (about, rest) = rest.strip_prefix(' ')?.split_once(": ")?;
        let dataset = match about {
            ALL => None,
            quoted => Some(quoted.strip_prefix('`')?.strip_suffix('`')?.parse().ok()?),
        };
        let (text, by) = rest.strip_suffix(')')?.rsplit_once(" (by ")?;
        Some(Self {
            when: when.into(),
            dataset,
            text: text.into(),
            by: by.into(),
            is_forgotten: struck.is_some(),
        })
    }
}

/// Whether a text has the form `2026-11-29 13:02:29`, digit by digit.
fn is_moment(when: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00 00:00:00";
    let is_there = |(c, form): (u8, &u8)| match *form {
        b'0' => c.is_ascii_digit(),
        mark => c == mark,
    };
    when.is_ascii() && when.len() == FORM.len() && when.bytes().zip(FORM).all(is_there)
}

/// The author of a line, as shown in brackets.
pub(crate) fn signature(by: &str) -> String {
    let plain: String = one_line(by).chars().filter(|c| !matches!(c, '(' | ')')).collect();
    one_line(&plain.chars().take(LONGEST_NAME).collect::<String>())
}

/// `text` as one line without invisible characters.
fn one_line(text: &str) -> String {
    let seen: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !is_hidden(*c))
        .collect();
    seen.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Calls `each` with the metadata of every memory file, to detect changes without reading them.
pub(crate) fn stamp(knowledge: &Path, each: &mut dyn FnMut(&Metadata)) {
    files(knowledge)
        .iter()
        .filter_map(|path| inside::look(knowledge, path))
        .for_each(|of| each(&of));
}

/// The memory files below `knowledge`, newest month first.
fn files(knowledge: &Path) -> Vec<String> {
    let entries = inside::list(knowledge, FOLDER, MOST_NAMES).unwrap_or_default();
    let is_month = |name: &str| {
        let name = name.as_bytes();
        name.len() == 10
            && name.ends_with(b".md")
            && name[4] == b'-'
            && [&name[..4], &name[5..7]].concat().iter().all(u8::is_ascii_digit)
    };
    let names = entries.into_iter().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_month(name)).collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.into_iter().take(MONTHS).map(|name| format!("{FOLDER}/{name}")).collect()
}

fn raw(knowledge: &Path, path: &str) -> Result<Vec<u8>> {
    let told = |error: io::Error| {
        let path = knowledge.join(path);
        Error::new(Kind::Denied, format!("cannot read `{}`: {error}", path.display()))
    };
    inside::read(knowledge, path, LARGEST).map_err(told)
}

/// Refuses a folder below `base` that a link leads out of it, and a `base` that is a link of
/// another user. A folder that does not exist yet passes.
///
/// # Errors
/// It is such a link, or below one.
pub(crate) fn check_inside(base: &Path, folder: &Path) -> Result<()> {
    if let Some(owner) = owner::of_strangers_link(base) {
        let base = base.display();
        let message = format!(
            "`{base}` is a link that {owner} made, and nothing is written there; name the folder that it leads to"
        );
        return Err(Error::new(Kind::Denied, message));
    }
    let Ok(home) = base.canonicalize() else { return Ok(()) };
    // A dangling link exists, too.
    let there = folder.ancestors().find(|part| part.symlink_metadata().is_ok());
    let Some(there) = there else { return Ok(()) };
    match there.canonicalize() {
        Ok(real) if real.starts_with(&home) => Ok(()),
        _ => {
            let (there, base) = (there.display(), base.display());
            let message = format!(
                "`{there}` is a link out of `{base}`, and nothing is written there; put a folder in its place"
            );
            Err(Error::new(Kind::Denied, message))
        }
    }
}

/// The error for a file of lines that is full.
pub(crate) fn full(path: &Path) -> Error {
    let path = path.display();
    let message = format!(
        "`{path}` is full: at most {LARGEST} bytes of it are read; move older lines to a page in `dc-knowledge/docs`"
    );
    Error::new(Kind::Full, message)
}

/// Locks the folder against other writers.
fn turn(folder: &Path) -> Result<Flock<File>> {
    let opened = fs::create_dir_all(folder).and_then(|()| File::open(folder));
    let opened = opened.map_err(|error| unwritten(folder, &error))?;
    Flock::lock(opened, FlockArg::LockExclusive)
        .map_err(|(_, error)| unwritten(folder, &error.into()))
}

/// Opens a file for appending. A new one is readable by those who may read the folder; links are
/// not followed.
fn append(path: &Path) -> io::Result<File> {
    let mut new = OpenOptions::new();
    new.append(true).create_new(true).mode(0o666).custom_flags(libc::O_NOFOLLOW);
    match new.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            regular::open_with(OpenOptions::new().append(true), path)
        }
        opened => opened,
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Denied, format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pets() -> DatasetName {
        DatasetName::local("pets")
    }

    fn at(day: u8) -> Timestamp {
        Timestamp::parse(&format!("2026-11-{day:02} 10:00:00")).expect("a moment")
    }

    fn texts(found: &[Memory]) -> Vec<&str> {
        found.iter().map(|memory| memory.text.as_str()).collect()
    }

    #[test]
    fn lines_come_back_newest_first_and_where_they_belong() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (pets, cats) = (pets(), DatasetName::local("cats"));
        let all = [(Some(&pets), "one: two"), (None, "for (all) `of` them"), (Some(&cats), "no")];
        for (day, (dataset, text)) in (1..).zip(all) {
            remember(folder, dataset, text, "ann", at(day)).expect("written");
        }
        let december = Timestamp::parse("2026-12-01").expect("a moment");
        let path = remember(folder, Some(&pets), "newest", "bob", december).expect("written");
        assert!(path.ends_with("memory/2026-12.md"), "{path:?}");
        let found = recall(folder, Some(&pets), 20).expect("read");
        assert_eq!(texts(&found), ["newest", "for (all) `of` them", "one: two"]);
        assert_eq!((found[0].by.as_str(), found[2].when.as_str()), ("bob", "2026-11-01 10:00:00"));
        assert_eq!(recall(folder, None, 2).expect("read").len(), 2);
        assert!(recall(&folder.join("none"), None, 9).expect("nothing there").is_empty());
    }

    #[test]
    fn what_is_forgotten_is_struck_through_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for text in ["bad labels below 10", "good labels"] {
            remember(folder, Some(&pets()), text, "ann", at(1)).expect("written");
        }
        let path = folder.join("memory/2026-11.md");
        let with_prose = fs::read_to_string(&path).expect("there") + "A person's own line.\n";
        fs::write(&path, with_prose).expect("written");
        assert_eq!(texts(&forget(folder, None, "bad").expect("struck")), ["bad labels below 10"]);
        assert_eq!(texts(&recall(folder, None, 9).expect("read")), ["good labels"]);
        let text = fs::read_to_string(&path).expect("there");
        assert!(text.starts_with("- ~~2026-11-01 10:00:00 `pets`: bad labels"), "{text}");
        assert!(text.ends_with("A person's own line.\n"), "{text}");
        for words in ["bad", "nowhere", ""] {
            assert_eq!(forget(folder, None, words).expect_err(words).kind(), Kind::Missing);
        }
    }

    #[test]
    fn a_text_stays_on_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let hostile = "a\n- 2026-11-01 10:00:00 all: forged (by root)\n\u{202e}# b\u{0}";
        remember(folder.path(), None, hostile, "x\ny", at(2)).expect("written");
        let found = recall(folder.path(), None, 9).expect("read");
        assert_eq!(texts(&found), ["a - 2026-11-01 10:00:00 all: forged (by root) # b"]);
        for bad in ["", " \n", &"x".repeat(LONGEST + 1)] {
            assert!(remember(folder.path(), None, bad, "x", at(2)).is_err());
        }
    }

    #[test]
    fn a_name_forges_no_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for name in ["a\n- b", "pets`: forged (by root)", "a\r", "a: b`"] {
            let name = DatasetName::local(name);
            let refused = remember(folder, Some(&name), "text", "x", at(1)).expect_err("odd");
            assert_eq!(refused.kind(), Kind::Invalid, "{name:?}");
        }
        assert!(recall(folder, None, 9).expect("read").is_empty());
        let by = "ann) (by\u{1b} root";
        remember(folder, Some(&pets()), "text", by, at(1)).expect("written");
        let found = recall(folder, Some(&pets()), 9).expect("read");
        assert_eq!((texts(&found), found[0].by.as_str()), (vec!["text"], "ann by root"));
    }

    #[test]
    fn a_moment_has_one_form() {
        let line = |when: &str| format!("- {when} all: text (by x)");
        assert!(Memory::parse(&line("2026-11-01 10:00:00")).is_some());
        for when in
            ["2026-1-1\u{2003}\u{2003}\u{2003}  ", "2026-11-01T10:00:00", "+026-11-01 10:00:00"]
        {
            assert_eq!(when.len(), 19);
            assert_eq!(Memory::parse(&line(when)), None, "{when}");
        }
    }

    #[test]
    fn a_full_month_takes_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        remember(folder, None, "first", "x", at(1)).expect("written");
        let path = folder.join("memory/2026-11.md");
        let mut text = fs::read_to_string(&path).expect("there");
        let room = LARGEST as usize - text.len() - 1;
        text.push_str(&" ".repeat(room));
        text.push('\n');
        fs::write(&path, &text).expect("written");
        let refused = remember(folder, None, "more", "x", at(2)).expect_err("full");
        assert_eq!(refused.kind(), Kind::Full);
        assert_eq!(texts(&recall(folder, None, 9).expect("read")), ["first"]);
        assert_eq!(forget(folder, None, "first").expect_err("full").kind(), Kind::Full);
        assert_eq!(fs::read_to_string(&path).expect("there"), text);
    }

    #[test]
    fn a_file_that_is_not_utf8_is_not_rewritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        remember(folder, None, "text", "x", at(1)).expect("written");
        let path = folder.join("memory/2026-11.md");
        let mut raw = fs::read(&path).expect("there");
        raw.extend(b"caf\xe9\n");
        fs::write(&path, &raw).expect("written");
        assert_eq!(forget(folder, None, "text").expect_err("odd").kind(), Kind::Broken);
        assert_eq!(fs::read(&path).expect("there"), raw);
        assert_eq!(texts(&recall(folder, None, 9).expect("read")), ["text"]);
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_written_through() {
        let base = tempfile::tempdir().expect("a folder");
        let (home, other) = (base.path().join("home"), base.path().join("other"));
        fs::create_dir(&home).expect("made");
        fs::create_dir(&other).expect("made");
        std::os::unix::fs::symlink(&other, home.join("memory")).expect("a link");
        let refused = remember(&home, None, "text", "x", at(1)).expect_err("a link");
        assert_eq!(refused.kind(), Kind::Denied);
        assert_eq!(fs::read_dir(&other).expect("there").count(), 0);
        assert!(check_inside(&home, &home.join("none/at/all")).is_ok());
        assert!(check_inside(&home, &home.join("memory/below")).is_err());
    }

    #[test]
    fn a_link_is_not_written_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = folder.path().join("precious");
        fs::write(&other, "mine").expect("written");
        fs::create_dir(folder.path().join("memory")).expect("made");
        let link = folder.path().join("memory/2026-11.md");
        std::os::unix::fs::symlink(&other, &link).expect("a link");
        assert!(remember(folder.path(), None, "text", "x", at(1)).is_err());
        assert_eq!(fs::read_to_string(&other).expect("there"), "mine");
    }
}
