//! Directories at the top of the mount that are found by name but not listed, so that programs that walk a mount do not enter
//! them. Each is one file here, a [`Folder`], one line of [`ALL`], and its directories in [`FIXED`].
//!
//! ```text
//! /runs/<run>/  status.json  log  errors.jsonl              runs of programs over files
//! /sql/<statement>.csv|.jsonl|.md|.parquet|.arrow           the result of a SELECT
//! /sql/_error/<statement>.csv|...                           why a statement is refused
//! ```
//!
//! The files are texts, made on demand. A text with a stamp is made once for each stamp and has an inode number of its own, so
//! that its size and its pages in the kernel's cache never change; it is opened as it was made, or ESTALE if it was evicted, and
//! Linux looks the path up again. A live text (without a stamp) has the number of its path, is made again by every lookup, and the
//! kernel caches none of its bytes.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lru::LruCache;

use super::handles::Handle;
use super::inode::Inode;
use super::listing::Listing;
use super::wrong::Notes;
use super::{Answer, Attr, Entry, Error, FOREVER, FileKind, Opened, SHORT, Vfs};
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::kept::Kept;
use dcfs_core::render::stranger::on_terminal;

mod runs;
mod sql;

/// Every folder.
static ALL: [&dyn Folder; 2] = [&runs::Runs, &sql::Sql];

/// Directories that are always there, by number: the folders, and `_error` in those that have it. Their numbers are never evicted.
const FIXED: [&str; 3] = ["runs", "sql", "sql/_error"];

/// How the path of a reason begins, below its folder.
const ERRORS: &str = "_error/";

/// The most bytes of texts kept.
const MOST: usize = 64 << 20;

/// The number of texts with a stamp whose sizes are remembered.
const MOST_FACTS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Added to the size of a text for its names and its place in the cache.
const OVERHEAD: usize = 1024;

/// A node of a folder.
#[derive(Debug)]
enum Node {
    Directory,
    File(Bytes),
    /// A file that cannot be opened; the reason is in `_error/`.
    Refused(Refused),
}

/// Why a file cannot be opened.
#[derive(Debug)]
struct Refused {
    kind: Kind,
    why: String,
    /// The same as a text.
    text: Bytes,
    /// Whether it holds as long as the stamp. Otherwise only `_error/` shows it, and the next lookup of the file tries again.
    is_lasting: bool,
}

/// The state of the source of a text.
#[derive(Debug)]
enum Stamp {
    /// There is no such name.
    Absent,
    /// The text may change at any time.
    Live,
    /// A text with the same stamp is not made again.
    At(String),
}

/// A directory at the top of the mount. All methods with a path are called in a task: they may block.
trait Folder: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The node at a path below it, which is not empty; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be made.
    fn find(&self, vfs: &Arc<Vfs>, path: &str) -> Result<Option<Node>>;

    /// Names in one of its directories, and whether they are directories themselves; the path of its top is empty. Files that are
    /// listed are live.
    ///
    /// # Errors
    /// Errors of the catalog.
    fn names(&self, vfs: &Arc<Vfs>, path: &str) -> Result<Vec<(String, bool)>>;

    /// Whether it shows what this user does: then it does not exist in a mount shared with other users.
    fn is_private(&self) -> bool {
        false
    }

    /// Whether a text may occupy a thread for long: it is made in one of the user's few long turns.
    fn is_slow(&self) -> bool {
        false
    }

    /// The state of the source of the text at a path below it.
    ///
    /// # Errors
    /// Errors of the catalog.
    fn stamp(&self, vfs: &Vfs, path: &str) -> Result<Stamp>;
}

/// The path of a text from the top of the mount, and its stamp, unless it is live.
type NameKey = (String, Option<String>);

/// A text that is asked for.
#[derive(Clone)]
struct Wanted {
    folder: &'static dyn Folder,
    /// The path below the folder.
    below: String,
    key: NameKey,
    /// Whether the reason of its refusal is asked for, in `_error/`.
    is_why: bool,
}

/// A node as it was made.
#[derive(Debug)]
struct Made {
    /// The number of its file.
    number: u32,
    node: Option<Node>,
    at: SystemTime,
}

/// The attributes of a text with a stamp, by its number.
#[derive(Clone, Debug)]
struct Facts {
    /// From the top of the mount, of the file that shows it.
    path: String,
    key: NameKey,
    size: u64,
    at: SystemTime,
}

/// The nodes looked up so far.
pub struct ByName {
    /// The numbers of live texts, and of directories other than [`FIXED`], by path.
    paths: Notes,
    /// Texts with a stamp.
    facts: Mutex<LruCache<u32, Facts>>,
    next: AtomicU32,
    /// What was made last for each key, refusals included.
    texts: Kept<NameKey, Made>,
}

impl Default for ByName {
    fn default() -> Self {
        Self {
            paths: Notes::default(),
            facts: Mutex::new(LruCache::new(MOST_FACTS)),
            next: AtomicU32::new(0),
            texts: Kept::new(MOST),
        }
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").finish_non_exhaustive()
    }
}

impl ByName {
    /// The path of a node, from the top of the mount.
    pub fn path(&self, number: u32) -> Option<String> {
        if let Some(path) = FIXED.get(number as usize) {
            return Some((*path).to_owned());
        }
        match self.facts(number) {
            Some(facts) => Some(facts.path),
            None => {
                let (number, is_made) = decode(number);
                let path = self.paths.text(number).filter(|_| !is_made)?;
                Some(path.to_string())
            }
        }
    }

    /// The number of a directory or a live text.
    fn number(&self, path: &str) -> u32 {
        match FIXED.iter().position(|fixed| *fixed == path) {
            Some(number) => number as u32,
            None => encode(self.paths.number(path), false),
        }
    }

    /// The facts of a text with a stamp.
    fn facts(&self, number: u32) -> Option<Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// The number of a text with a stamp that was just made.
    fn add(&self, facts: Facts) -> u32 {
        let number = encode(self.next.fetch_add(1, Relaxed), true);
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).put(number, facts);
        number
    }
}

/// The number of a node: those of [`FIXED`] come first, then paths and texts with a stamp alternate.
fn encode(number: u32, is_made: bool) -> u32 {
    (number << 1 | u32::from(is_made)).wrapping_add(FIXED.len() as u32)
}

fn decode(number: u32) -> (u32, bool) {
    let number = number.wrapping_sub(FIXED.len() as u32);
    (number >> 1, number & 1 == 1)
}

impl Node {
    fn text(&self) -> Option<&Bytes> {
        match self {
            Self::Directory => None,
            Self::File(text) => Some(text),
            Self::Refused(refused) => Some(&refused.text),
        }
    }
}

impl Refused {
    fn new(error: &error::Error, is_lasting: bool) -> Self {
        let why = error.to_string();
        let text = Bytes::from(on_terminal(&why) + "\n");
        Self { kind: error.kind(), why, text, is_lasting }
    }
}

impl Made {
    fn text(&self) -> Option<&Bytes> {
        self.node.as_ref().and_then(Node::text)
    }

    fn weight(&self) -> usize {
        self.text().map_or(0, Bytes::len) + OVERHEAD
    }
}

impl Wanted {
    /// The path that shows the text, or the reason of its refusal.
    fn path(&self, is_why: bool) -> String {
        match is_why {
            true => format!("{}/{ERRORS}{}", self.folder.name(), self.below),
            false => self.key.0.clone(),
        }
    }

    /// Whether a lookup needs nothing newer.
    fn is_answered_by(&self, made: &Made) -> bool {
        let has_stamp = self.key.1.is_some();
        match &made.node {
            // The reason is that of the last try.
            Some(Node::Refused(refused)) => self.is_why || has_stamp && refused.is_lasting,
            _ => has_stamp,
        }
    }

    /// The text of the file that is asked for; `None` if there is none.
    fn text<'m>(&self, made: &'m Made) -> Result<Option<&'m Bytes>> {
        match (&made.node, self.is_why) {
            (Some(Node::Refused(refused)), true) => Ok(Some(&refused.text)),
            (Some(Node::Refused(refused)), false) => {
                Err(error::Error::new(refused.kind, refused.why.clone()))
            }
            (Some(Node::File(text)), false) => Ok(Some(text)),
            _ => Ok(None),
        }
    }
}

impl Vfs {
    /// A folder by its name at the top of the mount.
    pub(super) fn lookup_by_name(&self, name: &[u8]) -> Option<Attr> {
        let (found, _) = self.folder(std::str::from_utf8(name).ok()?)?;
        Some(self.by_name_directory(found.name()))
    }

    /// The folder of a path, and the path below it.
    fn folder<'p>(&self, path: &'p str) -> Option<(&'static dyn Folder, &'p str)> {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let is_there = |folder: &&dyn Folder| !(folder.is_private() && self.is_shared());
        let found = ALL.into_iter().find(|folder| folder.name() == first).filter(is_there);
        found.map(|folder| (folder, rest))
    }

    /// A name in a folder, or below.
    pub(super) fn lookup_in_folder(self: &Arc<Self>, number: u32, name: &[u8]) -> Answer<Entry> {
        let Ok(name) = String::from_utf8(name.to_vec()) else {
            return Answer::Now(Ok(Entry::Absent(FOREVER)));
        };
        let Some(above) = self.by_name.path(number) else {
            return Answer::Now(Err(unknown(number).into()));
        };
        let path = format!("{above}/{name}");
        if FIXED.contains(&path.as_str()) {
            return Answer::Now(Ok(Entry::Found(self.by_name_directory(&path))));
        }
        let vfs = self.clone();
        Answer::later(async move {
            let attr = vfs.by_name_attr(path, false).await?;
            Ok(attr.map_or(Entry::Absent(SHORT), Entry::Found))
        })
    }

    /// The attributes of a node.
    pub(super) fn getattr_by_name(self: &Arc<Self>, number: u32) -> Answer<Attr> {
        if let Some(facts) = self.by_name.facts(number) {
            return Answer::Now(Ok(by_name_file(number, facts.size, facts.at)));
        }
        let Some(path) = self.by_name.path(number) else {
            return Answer::Now(Err(unknown(number).into()));
        };
        if FIXED.contains(&path.as_str()) {
            return Answer::Now(Ok(self.by_name_directory(&path)));
        }
        // Paths are looked up: this is mostly asked of open files.
        let of_last = self.folder(&path).is_some_and(|(folder, _)| folder.is_slow());
        let vfs = self.clone();
        Answer::later(async move {
            let attr = vfs.by_name_attr(path, of_last).await?;
            Ok(attr.ok_or_else(|| unknown(number))?)
        })
    }

    /// A directory of a folder.
    pub(super) fn list_by_name(self: &Arc<Self>, number: u32) -> Answer<Listing> {
        let vfs = self.clone();
        self.in_background(move || {
            let path = vfs.by_name.path(number).ok_or_else(|| unknown(number))?;
            let (folder, below) = vfs.folder(&path).ok_or_else(|| unknown(number))?;
            let up = vfs.up_by_name(number)?;
            let mut heads = Vec::new();
            for (name, is_directory) in folder.names(&vfs, below)? {
                let path = format!("{path}/{name}");
                let file = || by_name_file(vfs.by_name.number(&path), 0, vfs.born);
                let attr = match is_directory {
                    true => vfs.by_name_directory(&path),
                    // Its size is reported by `stat`.
                    false => Attr { ttl: Duration::ZERO, ..file() },
                };
                heads.push((name.into_bytes(), attr));
            }
            Ok(Listing::known(&vfs, (Inode::ByName(number), up), heads))
        })
    }

    /// The directory around a node.
    pub(super) fn up_by_name(&self, number: u32) -> Result<Inode> {
        let path = self.by_name.path(number).ok_or_else(|| unknown(number))?;
        Ok(match path.rsplit_once('/') {
            Some((above, _)) => Inode::ByName(self.by_name.number(above)),
            None => Inode::Root,
        })
    }

    /// Opens a text: one with a stamp as it was made, a live one as of the last `stat`.
    pub(super) fn open_by_name(self: &Arc<Self>, number: u32) -> Answer<Opened> {
        if let Some(facts) = self.by_name.facts(number) {
            let made = self.by_name.texts.ready(&facts.key);
            let text = made.filter(|made| made.number == number);
            return Answer::Now(match text.and_then(|made| made.text().cloned()) {
                Some(text) => Ok(self.opened(Handle::Text(text))),
                None => Err(unknown(number).into()),
            });
        }
        let Some(path) = self.by_name.path(number) else {
            return Answer::Now(Err(unknown(number).into()));
        };
        let inode = Inode::ByName(number).number();
        if FIXED.contains(&path.as_str()) {
            return Answer::Now(Err(Error::Wrong(inode, "file").into()));
        }
        let vfs = self.clone();
        Answer::later(async move {
            let found = vfs.clone().by_name_made(path, true).await?;
            let (wanted, made) = found.ok_or_else(|| unknown(number))?;
            let text = wanted.text(&made)?.cloned().ok_or(Error::Wrong(inode, "file"))?;
            Ok(Opened { keep: false, is_live: true, ..vfs.opened(Handle::Text(text)) })
        })
    }

    /// The attributes of the node at a path; see [`Vfs::by_name_made`].
    async fn by_name_attr(self: &Arc<Self>, path: String, of_last: bool) -> Result<Option<Attr>> {
        let Some((wanted, made)) = self.clone().by_name_made(path, of_last).await? else {
            return Ok(None);
        };
        if !wanted.is_why && matches!(made.node, Some(Node::Directory)) {
            return Ok(Some(self.by_name_directory(&wanted.path(false))));
        }
        let text = wanted.text(&made)?;
        Ok(text.map(|text| by_name_file(made.number, text.len() as u64, made.at)))
    }

    /// The node at a path as it is now, or with `of_last` as it was made last; `None` if there can be none of this name. What is
    /// kept is found in any turn.
    async fn by_name_made(
        self: Arc<Self>,
        path: String,
        of_last: bool,
    ) -> Result<Option<(Wanted, Arc<Made>)>> {
        let vfs = self.clone();
        let first = move || vfs.by_name_at_once(&path, of_last);
        let (wanted, made) = match self.blocking(first).await? {
            None => return Ok(None),
            Some((wanted, Some(made))) => return Ok(Some((wanted, made))),
            Some((wanted, None)) => {
                let (vfs, asked) = (self.clone(), wanted.clone());
                let made = self.in_long_turn(move || vfs.by_name_make(&asked)).await?;
                (wanted, made)
            }
        };
        Ok(Some((wanted, made)))
    }

    /// The same if it is kept or quick to make; else only its key. Blocking.
    fn by_name_at_once(
        self: &Arc<Self>,
        path: &str,
        of_last: bool,
    ) -> Result<Option<(Wanted, Option<Arc<Made>>)>> {
        let Some(wanted) = self.by_name_wanted(path)? else { return Ok(None) };
        let kept = self.by_name.texts.ready(&wanted.key);
        let made = match kept.filter(|made| of_last || wanted.is_answered_by(made)) {
            Some(made) => Some(made),
            None if wanted.folder.is_slow() => None,
            None => Some(self.by_name_make(&wanted)?),
        };
        Ok(Some((wanted, made)))
    }

    /// The text at a path; `None` if there can be none of this name. Blocking.
    fn by_name_wanted(&self, path: &str) -> Result<Option<Wanted>> {
        let Some((folder, below)) = self.folder(path) else { return Ok(None) };
        let reason = below.strip_prefix(ERRORS).filter(|_| {
            let errors = format!("{}/{ERRORS}", folder.name());
            FIXED.contains(&errors.trim_end_matches('/'))
        });
        let is_why = reason.is_some();
        let below = reason.unwrap_or(below);
        let stamp = match folder.stamp(self, below)? {
            Stamp::Absent => return Ok(None),
            Stamp::Live => None,
            Stamp::At(stamp) => Some(stamp),
        };
        let key = (format!("{}/{below}", folder.name()), stamp);
        Ok(Some(Wanted { folder, below: below.to_owned(), key, is_why }))
    }

    /// Makes a node, unless what is kept is good enough; concurrent callers share the work. Blocking.
    fn by_name_make(self: &Arc<Self>, wanted: &Wanted) -> Result<Arc<Made>> {
        let texts = &self.by_name.texts;
        let before = texts.ready(&wanted.key);
        if let Some(made) = &before {
            if wanted.is_answered_by(made) {
                return Ok(made.clone());
            }
            texts.remove_same(&wanted.key, made);
        }
        let find = || self.by_name_find(wanted, before.as_deref());
        texts.get(&wanted.key, Made::weight, find)
    }

    fn by_name_find(self: &Arc<Self>, wanted: &Wanted, before: Option<&Made>) -> Result<Made> {
        let node = wanted.folder.find(self, &wanted.below)?;
        let now = SystemTime::now();
        let Some(text) = node.as_ref().and_then(Node::text).cloned() else {
            return Ok(Made { number: 0, node, at: now });
        };
        let is_same = |before: &&Made| before.text() == Some(&text);
        let at = before.filter(is_same).map_or(now, |before| before.at);
        let path = wanted.path(matches!(node, Some(Node::Refused(_))));
        let number = match wanted.key.1 {
            None => self.by_name.number(&path),
            Some(_) => {
                let (key, size) = (wanted.key.clone(), text.len() as u64);
                self.by_name.add(Facts { path, key, size, at })
            }
        };
        Ok(Made { number, node, at })
    }

    fn by_name_directory(&self, path: &str) -> Attr {
        let inode = Inode::ByName(self.by_name.number(path));
        Attr { ttl: SHORT, ..self.directory(inode, None) }
    }
}

fn by_name_file(number: u32, size: u64, mtime: SystemTime) -> Attr {
    Attr { inode: Inode::ByName(number), kind: FileKind::File, size, mtime, ttl: SHORT }
}

fn unknown(number: u32) -> Error {
    Error::Unknown(Inode::ByName(number).number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_has_a_number_that_stays() {
        let known = ByName::default();
        for folder in ALL {
            assert!(FIXED.contains(&folder.name()), "{}", folder.name());
        }
        let first = known.number("runs/first");
        for other in 0..10_000 {
            let key = (format!("sql/select {other}.csv"), Some(String::new()));
            let at = SystemTime::UNIX_EPOCH;
            known.add(Facts { path: key.0.clone(), key, size: 1, at });
        }
        for (number, path) in FIXED.into_iter().enumerate() {
            assert_eq!(known.number(path), number as u32);
            assert_eq!(known.path(number as u32).as_deref(), Some(path));
        }
        assert_eq!(known.path(first).as_deref(), Some("runs/first"), "statements evict no run");
    }

    #[test]
    fn numbers_of_paths_and_of_texts_differ() {
        for number in [0, 1, 7, u32::MAX >> 1] {
            for is_made in [false, true] {
                assert_eq!(decode(encode(number, is_made)), (number, is_made));
            }
        }
        let known = ByName::default();
        let path = known.number("sql/select 1.csv");
        let key = ("sql/select 1.csv".to_owned(), Some("1".to_owned()));
        let facts = Facts { path: key.0.clone(), key, size: 1, at: SystemTime::UNIX_EPOCH };
        let made = [known.add(facts.clone()), known.add(facts)];
        assert!(made[0] != made[1] && !made.contains(&path), "{path} {made:?}");
        assert!(
            made.iter().all(|number| known.path(*number).as_deref() == Some("sql/select 1.csv"))
        );
        assert!(known.path(encode(99, true)).is_none() && known.path(encode(99, false)).is_none());
    }

    #[test]
    fn a_refusal_that_may_pass_answers_only_why() {
        let wanted = |stamp: Option<&str>, is_why| Wanted {
            folder: &sql::Sql,
            below: "select 1.csv".to_owned(),
            key: ("sql/select 1.csv".to_owned(), stamp.map(str::to_owned)),
            is_why,
        };
        let refused = |is_lasting| {
            let error = error::Error::new(Kind::Invalid, "slow");
            let node = Some(Node::Refused(Refused::new(&error, is_lasting)));
            Made { number: 0, node, at: SystemTime::UNIX_EPOCH }
        };
        let text = Made {
            number: 0,
            node: Some(Node::File(Bytes::from_static(b"1\n"))),
            at: SystemTime::UNIX_EPOCH,
        };
        assert!(wanted(Some("1"), false).is_answered_by(&text));
        assert!(!wanted(None, false).is_answered_by(&text), "live");
        assert!(wanted(Some("1"), false).is_answered_by(&refused(true)));
        assert!(!wanted(Some("1"), false).is_answered_by(&refused(false)), "tried again");
        assert!(wanted(Some("1"), true).is_answered_by(&refused(false)));
        assert!(wanted(None, true).is_answered_by(&refused(false)));
        let told = wanted(Some("1"), true).text(&refused(false)).map(|text| text.cloned());
        assert_eq!(told.expect("a reason").as_deref(), Some(&b"slow\n"[..]));
        let error =
            wanted(Some("1"), false).text(&refused(false)).map(|_| ()).expect_err("refused");
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(wanted(Some("1"), true).text(&text).expect("no error").is_none());
    }
}
