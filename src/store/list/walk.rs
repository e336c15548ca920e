//! Local files below a folder.
//!
//! - Names that are not UTF-8 cannot be recorded, folders called `.datachain` belong to DataChain, FIFOs,
//!   sockets and devices have no bytes to record: all are skipped and counted. So are folders that the caller
//!   names: mounts of dcfs are not storage.
//! - A link to a file is a row, wherever it leads, with the file's size and the link's own mtime, as DataChain
//!   records it. Links that lead out of the folder are counted: their bytes are outside of the listed folder,
//!   and some mounts may not open them. A link to a folder, or to nothing, is skipped and counted: links may
//!   form cycles.
//! - A file that vanishes during the listing counts as absent. A folder that cannot be read ends the listing:
//!   rows would be missing.
//!
//! Several threads walk depth first, and hand folders to idle threads only, so memory use is a few open
//! folders, however large the tree.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::mpsc::Sender;

use super::{BATCH, Listed, Totals};
use crate::error::{Error, show};
use crate::mtime;
use dcfs_core::time::Timestamp;

/// DataChain's folder, which may contain a catalog.
const OWN: &str = ".datachain";

/// Limit of nested folders that one thread has open. Deeper ones wait, closed.
const DEEPEST: usize = 32;

/// Number of threads: more than processors, because a slow disk answers many requests at a time.
const THREADS: usize = 4;

/// A folder to read: its path, and the prefix of its files' recorded paths.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    prefix: String,
}

/// A folder that is being read.
struct Open {
    folder: Folder,
    entries: ReadDir,
}

/// State shared by the threads.
struct Shared<'a> {
    state: Mutex<State>,
    changed: Condvar,
    to: &'a Sender<Vec<Listed>>,
    /// Folders to skip, as prefixes of paths.
    besides: HashSet<String>,
    /// The listed folder with links resolved; `None` if the system cannot tell.
    root: Option<PathBuf>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Folder>,
    /// Number of threads with a folder.
    busy: usize,
    /// Number of idle threads.
    idle: usize,
    failed: Option<Error>,
    is_over: bool,
    totals: Totals,
}

/// Lists all files below `root` except those below `besides`, which are canonical. Blocking.
///
/// # Errors
/// `Missing`: there is no such folder. `Denied`, `Failed`: one cannot be read.
pub fn walk(root: PathBuf, besides: &[PathBuf], to: &Sender<Vec<Listed>>) -> Result<Totals, Error> {
    let besides = prefixes(&root, besides);
    let first = Folder { path: root, prefix: String::new() };
    let entries = fs::read_dir(&first.path).map_err(|error| unreadable(&first, &error, true))?;
    let root = first.path.canonicalize().ok();
    let shared = Shared { state: Mutex::default(), changed: Condvar::new(), to, besides, root };
    shared.lock().busy = 1;
    let threads = thread::available_parallelism().map_or(THREADS, |n| n.get().clamp(THREADS, 16));
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| Walker::new(&shared).run());
        }
        let mut walker = Walker::new(&shared);
        walker.open.push(Open { folder: first, entries });
        walker.down();
        walker.run();
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.failed.map_or(Ok(state.totals), Err)
}

/// The prefixes of paths below some folders; none for the root itself, which was explicitly requested.
fn prefixes(root: &Path, folders: &[PathBuf]) -> HashSet<String> {
    let Ok(root) = root.canonicalize() else { return HashSet::new() };
    let below = folders.iter().filter_map(|folder| folder.strip_prefix(&root).ok()?.to_str());
    below.filter(|path| !path.is_empty()).map(|path| format!("{path}/")).collect()
}

/// The file at `path`, as a row called `name`.
///
/// # Errors
/// The system's.
pub fn single(path: &Path, name: &str) -> io::Result<Listed> {
    Ok(row(name.to_owned(), fs::metadata(path)?.len(), &fs::symlink_metadata(path)?))
}

impl Shared<'_> {
    /// Every change under the lock is a single step, so a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a folder to read; `None` if there will be none.
    fn take(&self) -> Option<Folder> {
        let mut state = self.lock();
        state.idle += 1;
        loop {
            if state.is_over || (state.waiting.is_empty() && state.busy == 0) {
                self.changed.notify_all();
                return None;
            }
            if let Some(folder) = state.waiting.pop_back() {
                (state.busy, state.idle) = (state.busy + 1, state.idle - 1);
                return Some(folder);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands a folder to an idle thread, or returns it.
    fn give(&self, folder: Folder, must: bool) -> Option<Folder> {
        let mut state = self.lock();
        if !must && state.idle <= state.waiting.len() {
            return Some(folder);
        }
        state.waiting.push_back(folder);
        self.changed.notify_one();
        None
    }

    fn done(&self) {
        self.lock().busy -= 1;
        self.changed.notify_all();
    }

    fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.failed.get_or_insert(error);
        state.is_over = true;
        self.changed.notify_all();
    }

    fn is_over(&self) -> bool {
        self.lock().is_over
    }
}

/// One thread.
struct Walker<'a> {
    shared: &'a Shared<'a>,
    open: Vec<Open>,
    batch: Vec<Listed>,
    totals: Totals,
}

impl<'a> Walker<'a> {
    fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            shared,
            open: Vec::new(),
            batch: Vec::with_capacity(BATCH),
            totals: Totals::default(),
        }
    }

    /// Reads folders until none is left.
    fn run(&mut self) {
        while let Some(folder) = self.shared.take() {
            self.enter(folder);
            self.down();
        }
        self.send();
        self.shared.lock().totals.add(&self.totals);
    }

    /// Reads the open folders to their ends, and everything below them.
    fn down(&mut self) {
        while let Some(top) = self.open.last_mut() {
            match top.entries.next() {
                None => drop(self.open.pop()),
                Some(Ok(entry)) => self.entry(&entry),
                Some(Err(error)) => {
                    let error = unreadable(&top.folder, &error, false);
                    self.shared.fail(error);
                }
            }
            if self.totals.seen.is_multiple_of(BATCH as u64) && self.shared.is_over() {
                self.open.clear();
            }
        }
        self.shared.done();
    }

    fn enter(&mut self, folder: Folder) {
        match fs::read_dir(&folder.path) {
            Ok(entries) => self.open.push(Open { folder, entries }),
            Err(error) if has_vanished(&error) => {}
            Err(error) => self.shared.fail(unreadable(&folder, &error, false)),
        }
    }

    fn entry(&mut self, entry: &DirEntry) {
        self.totals.seen += 1;
        let Ok(name) = entry.file_name().into_string().map_err(|name| self.unspeakable(&name))
        else {
            return;
        };
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => return self.vanished(&name, &error),
        };
        if kind.is_dir() {
            return self.folder(entry, &name);
        }
        let meta = if kind.is_symlink() {
            match fs::metadata(entry.path()) {
                Ok(meta) => meta,
                // A dangling link, a cycle, or a target that may not be read.
                Err(_) => return self.totals.broken_links += 1,
            }
        } else if kind.is_file() {
            match entry.metadata() {
                Ok(meta) => meta,
                Err(error) => return self.vanished(&name, &error),
            }
        } else {
            return self.totals.special += 1;
        };
        // For a link its own mtime, as DataChain records it.
        let own = if kind.is_symlink() { entry.metadata().ok() } else { None };
        match () {
            () if meta.is_file() => {
                if kind.is_symlink() && self.leads_out(&entry.path()) {
                    self.totals.outside_links += 1;
                }
                self.file(&name, meta.len(), own.as_ref().unwrap_or(&meta));
            }
            () if meta.is_dir() => self.totals.folder_links += 1,
            () => self.totals.special += 1,
        }
    }

    /// Whether a link leads to a file outside of the listed folder.
    fn leads_out(&self, link: &Path) -> bool {
        let root = self.shared.root.as_deref();
        root.zip(link.canonicalize().ok()).is_some_and(|(root, file)| !file.starts_with(root))
    }

    fn folder(&mut self, entry: &DirEntry, name: &str) {
        if name == OWN {
            return self.totals.own += 1;
        }
        let prefix = format!("{}{name}/", self.prefix());
        if self.shared.besides.contains(&prefix) {
            tracing::warn!("`{}` is a mount of dcfs and is left out", show(&prefix));
            return self.totals.own += 1;
        }
        let folder = Folder { path: entry.path(), prefix };
        if let Some(mine) = self.shared.give(folder, self.open.len() >= DEEPEST) {
            self.enter(mine);
        }
    }

    fn file(&mut self, name: &str, size: u64, dated: &Metadata) {
        let prefix = self.prefix();
        let mut path = String::with_capacity(prefix.len() + name.len());
        path.push_str(prefix);
        path.push_str(name);
        self.batch.push(row(path, size, dated));
        if self.batch.len() >= BATCH {
            self.send();
        }
    }

    fn send(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        if batch.is_empty() {
            return;
        }
        self.totals.count(&batch);
        if self.shared.to.blocking_send(batch).is_err() {
            self.shared.fail(Error::Unheard);
        }
    }

    fn prefix(&self) -> &str {
        self.open.last().map_or("", |open| &open.folder.prefix)
    }

    /// Warns once for all such names.
    fn unspeakable(&mut self, name: &OsString) {
        self.totals.not_utf8 += 1;
        let mut state = self.shared.lock();
        if state.totals.not_utf8 == 0 {
            state.totals.not_utf8 += 1;
            self.totals.not_utf8 -= 1;
            let name = show(&format!("{}{}", self.prefix(), name.to_string_lossy()));
            tracing::warn!(
                "names that are not UTF-8 cannot be recorded and are left out, such as `{name}`"
            );
        }
    }

    fn vanished(&mut self, name: &str, error: &io::Error) {
        if !has_vanished(error) {
            let path = format!("{}{name}", self.prefix());
            let cause = error.to_string();
            self.shared.fail(Error::Failed { place: show(&path), cause });
        }
    }
}

/// `dated` has the mtime.
fn row(path: String, size: u64, dated: &Metadata) -> Listed {
    let seconds = mtime::python(dated.mtime(), dated.mtime_nsec());
    Listed {
        path,
        size,
        version: String::new(),
        etag: mtime::hex(seconds),
        is_latest: true,
        last_modified: moment(seconds),
    }
}

/// Like `datetime.fromtimestamp`: to the nearest microsecond, half to even.
#[expect(clippy::cast_possible_truncation, reason = "saturates; no file system holds such times")]
fn moment(seconds: f64) -> Timestamp {
    let (whole, part) = (seconds.trunc(), seconds.fract());
    let micros = (part * 1e6).round_ties_even();
    Timestamp::from_micros((whole as i64).saturating_mul(1_000_000).saturating_add(micros as i64))
}

fn has_vanished(error: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind())
}

/// The error for a folder that cannot be read; `is_root` is the one that was named.
fn unreadable(folder: &Folder, error: &io::Error, is_root: bool) -> Error {
    let place = show(&folder.path.display().to_string());
    let answer = error.to_string();
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Denied {
            place,
            answer,
            hint: "nothing was recorded; allow reading it, or name other folders",
        },
        _ if is_root && has_vanished(error) => Error::Missing { place, answer },
        _ => Error::Failed { place, cause: answer },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn listed(root: &Path) -> Result<(Vec<Listed>, Totals), Error> {
        listed_without(root, Vec::new())
    }

    fn listed_without(root: &Path, besides: Vec<PathBuf>) -> Result<(Vec<Listed>, Totals), Error> {
        let (to, mut from) = tokio::sync::mpsc::channel(2);
        let root = root.to_owned();
        let work = thread::spawn(move || walk(root, &besides, &to));
        let mut rows = Vec::new();
        while let Some(batch) = from.blocking_recv() {
            assert!(batch.len() <= BATCH);
            rows.extend(batch);
        }
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        Ok((rows, work.join().unwrap()?))
    }

    #[test]
    fn every_file_is_listed_once() {
        let home = tempfile::tempdir().unwrap();
        let mut want = Vec::new();
        for n in 0..40 {
            let folder = home.path().join(format!("{}/{}/{n}", n % 3, n % 7));
            fs::create_dir_all(&folder).unwrap();
            for m in 0..60 {
                fs::write(folder.join(m.to_string()), "x").unwrap();
                want.push(format!("{}/{}/{n}/{m}", n % 3, n % 7));
            }
        }
        want.sort();
        let (rows, totals) = listed(home.path()).unwrap();
        assert_eq!(
            rows.iter().map(|row| &row.path).collect::<Vec<_>>(),
            want.iter().collect::<Vec<_>>()
        );
        assert_eq!((totals.objects, totals.bytes, totals.skipped()), (2400, 2400, 0));
    }

    #[test]
    fn a_deep_tree_needs_few_descriptors() {
        let home = tempfile::tempdir().unwrap();
        let mut folder = home.path().to_owned();
        for _ in 0..300 {
            folder.push("d");
        }
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("f"), "").unwrap();
        assert_eq!(listed(home.path()).unwrap().0[0].path, "d/".repeat(300) + "f");
    }

    #[test]
    fn what_cannot_be_recorded_is_counted() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at(".hidden %20\n"), "abc").unwrap();
        fs::write(home.path().join(OsString::from_vec(b"\xff".to_vec())), "").unwrap();
        fs::create_dir(home.path().join(OsString::from_vec(b"\xfe".to_vec()))).unwrap();
        fs::create_dir_all(at("a/.datachain")).unwrap();
        fs::write(at("a/.datachain/db"), "").unwrap();
        symlink(".hidden %20\n", at("link")).unwrap();
        symlink("a", at("folder")).unwrap();
        symlink("none", at("dangling")).unwrap();
        symlink("round", at("round")).unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        symlink(elsewhere.path(), at("outside")).unwrap();
        symlink("socket", at("to socket")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let (rows, totals) = listed(home.path()).unwrap();
        assert_eq!(
            rows.iter().map(|row| row.path.as_str()).collect::<Vec<_>>(),
            [".hidden %20\n", "link", "outside"]
        );
        let own = fs::symlink_metadata(at("link")).unwrap();
        let own = mtime::hex(mtime::python(own.mtime(), own.mtime_nsec()));
        assert_eq!((rows[1].size, &rows[1].etag), (3, &own), "a link has its own time");
        let links = (totals.folder_links, totals.broken_links, totals.outside_links);
        assert_eq!(links, (1, 2, 1));
        let counted = (totals.not_utf8, totals.own, totals.special, totals.objects);
        assert_eq!(counted, (2, 1, 2, 3));
    }

    #[test]
    fn what_the_caller_names_is_left_out() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        for path in ["a/b/c", "a/bc", "b/c"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "").unwrap();
        }
        symlink(&root, root.join("a/link")).unwrap();
        let cases: [(&str, &[&str], &[&str]); 5] = [
            ("", &["a/b"], &["a/bc", "b/c"]),
            ("a", &["a/b", "b"], &["bc"]),
            ("a/link/a", &["a/b"], &["bc"]),
            ("a/b", &["a/b"], &["c"]),
            ("b", &["", "a"], &["c"]),
        ];
        for (below, besides, want) in cases {
            let besides = besides.iter().map(|path| root.join(path)).collect();
            let (rows, _) = listed_without(&root.join(below), besides).unwrap();
            assert_eq!(
                rows.iter().map(|row| row.path.as_str()).collect::<Vec<_>>(),
                want,
                "{below}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_missing() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("f"), "").unwrap();
        for name in ["none", "f"] {
            let error = listed(&home.path().join(name)).unwrap_err();
            assert!(matches!(error, Error::Missing { .. }), "{error}");
        }
    }

    #[test]
    fn nobody_to_tell_ends_it() {
        let home = tempfile::tempdir().unwrap();
        (0..3000).for_each(|n| fs::write(home.path().join(n.to_string()), "").unwrap());
        let (to, from) = tokio::sync::mpsc::channel(1);
        drop(from);
        assert!(matches!(walk(home.path().to_owned(), &[], &to), Err(Error::Unheard)));
    }

    #[test]
    fn times_are_rounded_as_python_rounds_them() {
        // `datetime.fromtimestamp(seconds, UTC)`, in microseconds since 1970.
        let cases = [
            (1_732_189_213.287_246_5, 1_732_189_213_287_246),
            (0.5e-6, 0),
            (1.5e-6, 2),
            (2.5e-6, 2),
            (-0.5, -500_000),
            (1e9 + 0.999_999_9, 1_000_000_001_000_000),
        ];
        for (seconds, micros) in cases {
            assert_eq!(moment(seconds).micros(), micros, "{seconds}");
        }
    }
}
