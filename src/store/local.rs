//! Local files.
//!
//! A file is looked up with `O_PATH`, which neither blocks on a FIFO nor disturbs a lock, then checked (guard,
//! kind, size, mtime), and only then opened, through the descriptor: the checked file is the one that is read.
//! Symbolic links are followed, as DataChain follows them. After each read the descriptor is checked again: if
//! size or mtime changed, no bytes are returned. A file that was replaced or removed meanwhile is still read
//! through the descriptor, like any open file.
//!
//! A file that another program opens by its path is looked up and checked only ([`Pinned`]).

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::allowed::{self, Allowed};
use super::caller::{Caller, as_caller};
use super::error::{Error, show};
use super::guard::Guard;
use super::mtime;
use super::pin::Recorded;
use super::plain;
use dcfs_core::time::Timestamp;

/// One open file, or a part of it. Blocking: callers keep it off the reactor.
#[derive(Debug)]
pub struct File {
    place: String,
    file: Arc<fs::File>,
    seen: State,
    base: u64,
    size: u64,
}

/// The checks before a file is opened.
#[derive(Clone, Debug)]
pub struct Rules {
    pub guard: Arc<Guard>,
    pub allowed: Arc<Allowed>,
    /// The caller, whose rights are checked in addition to this process's.
    pub caller: Option<Caller>,
    /// A fresh listing of the forbidden files, if many files are opened at once.
    pub listed: Option<Arc<[(u64, u64)]>>,
}

/// The metadata that must not change while a file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Device and inode number.
    id: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl File {
    /// Opens `path` and compares it with `recorded`; reads are relative to `base` and limited to `size` bytes.
    ///
    /// # Errors
    /// `Gone` and `Changed` if it is not the recorded file, `Denied` and `Forbidden`.
    pub fn open(
        place: String,
        path: &Path,
        recorded: &Recorded,
        (base, size): (u64, u64),
        rules: &Rules,
    ) -> Result<Self, Error> {
        let mut seen = None;
        let file = as_caller(rules.caller, &place, || {
            let (found, state) = judged(&place, path, recorded, rules)?;
            seen = Some(state);
            let file = fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(allowed::link(&found));
            file.map_err(|error| match fs::metadata("/proc/self/fd") {
                Ok(_) => io_error(&place, &error),
                Err(error) => no_proc(&place, &error),
            })
        })?;
        let seen = seen.expect("a file that was opened was checked");
        if (base, size) != (0, seen.size) && !is_plain(&file, base) {
            return Err(Error::Compressed { place });
        }
        Ok(Self { place, file: Arc::new(file), seen, base, size })
    }

    /// The file, if it is read as a whole.
    pub fn whole(&self) -> Option<Arc<fs::File>> {
        (self.base == 0 && self.size == self.seen.size).then(|| Arc::clone(&self.file))
    }

    /// The bytes `offset..offset + length`, cut at the end.
    ///
    /// # Errors
    /// `Changed` if the file has changed since it was opened.
    pub fn read(&self, offset: u64, length: u32) -> Result<Bytes, Error> {
        let length = u64::from(length).min(self.size.saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = self.file.read_exact_at(&mut bytes, self.base + offset.min(self.size));
        self.compare()?;
        read.map_err(|error| io_error(&self.place, &error))?;
        Ok(bytes.into())
    }

    /// # Errors
    /// `Changed` if the file has changed since it was opened.
    pub fn compare(&self) -> Result<(), Error> {
        let meta = self.file.metadata().map_err(|error| io_error(&self.place, &error))?;
        match State::of(&meta) {
            now if now == self.seen => Ok(()),
            now => Err(self.seen.changed(self.place.clone(), now)),
        }
    }
}

/// A local file that is the recorded one, for a program to open by its path. Its bytes are not read through it:
/// the descriptor only keeps another file from getting its inode number.
#[derive(Debug)]
pub struct Pinned {
    place: String,
    path: PathBuf,
    file: fs::File,
    seen: State,
}

impl Pinned {
    /// Looks up `path` and compares the file with `recorded`.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn new(
        place: String,
        path: PathBuf,
        recorded: &Recorded,
        rules: &Rules,
    ) -> Result<Self, Error> {
        let (file, seen) = judged(&place, &path, recorded, rules)?;
        Ok(Self { place, path, file, seen })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the path still leads to this file, and the file is unchanged, with one system call.
    ///
    /// # Errors
    /// `Changed` or `Replaced` if not.
    pub fn compare(&self) -> Result<(), Error> {
        let change = |now: State| match now == self.seen {
            true => Ok(()),
            false => Err(self.seen.changed(self.place.clone(), now)),
        };
        match fs::metadata(&self.path).map(|meta| State::of(&meta)) {
            Ok(now) if now.id == self.seen.id => change(now),
            // A change before the replacement is the better explanation.
            _ => {
                let now = self.file.metadata().map_err(|error| io_error(&self.place, &error))?;
                change(State::of(&now)).and(Err(Error::Replaced { place: self.place.clone() }))
            }
        }
    }
}

impl State {
    /// The error of a file that was in this state and is in another one now.
    fn changed(&self, place: String, now: Self) -> Error {
        if now.size != self.size {
            return size_changed(place, self.size, now.size);
        }
        let (recorded, found) = (time(self.modified), time(now.modified));
        let (recorded, found) = (recorded.to_string(), found.to_string());
        Error::Changed { place, what: "time of change, while open,", recorded, found }
    }

    fn of(meta: &fs::Metadata) -> Self {
        let (id, modified) = ((meta.dev(), meta.ino()), (meta.mtime(), meta.mtime_nsec()));
        Self { id, size: meta.len(), modified }
    }
}

/// Whether the bytes of a member that begins at `base` are in an archive as they are.
fn is_plain(archive: &fs::File, base: u64) -> bool {
    let mut block = [0; plain::BLOCK];
    let read = archive.read_at(&mut block, 0).unwrap_or(0);
    match plain::Verdict::of(&block[..read]) {
        plain::Verdict::Plain => true,
        plain::Verdict::Compressed => false,
        plain::Verdict::Unknown => plain::header_of(base).is_some_and(|header| {
            archive.read_exact_at(&mut block, header.start).is_ok() && plain::is_header(&block)
        }),
    }
}

/// Finds a file and checks its metadata; the descriptor returned is for looking only (`O_PATH`).
fn judged(
    place: &str,
    path: &Path,
    recorded: &Recorded,
    rules: &Rules,
) -> Result<(fs::File, State), Error> {
    let (found, is_real) = rules.allowed.find(path, place)?;
    let meta = found.metadata().map_err(|error| io_error(place, &error))?;
    let real = match is_real {
        true => Cow::Borrowed(path),
        false => {
            let real = fs::read_link(allowed::link(&found));
            Cow::Owned(real.map_err(|error| no_proc(place, &error))?)
        }
    };
    let place_of = || place.to_owned();
    let is_forbidden = match &rules.listed {
        Some(listed) => rules.guard.forbids_now(listed, &real, (meta.dev(), meta.ino())),
        None => rules.guard.forbids(&real, meta.dev(), meta.ino()),
    };
    if is_forbidden {
        return Err(Error::Forbidden { place: place_of() });
    }
    if !meta.is_file() {
        let (recorded, found) = ("a file".into(), kind(&meta).into());
        return Err(Error::Changed { place: place_of(), what: "kind", recorded, found });
    }
    let seen = State::of(&meta);
    check(place, recorded, &seen).or_else(|error| match link_of(path, &seen) {
        Some(link) => check(place, recorded, &link).map_err(|_| error),
        None => Err(error),
    })?;
    Ok((found, seen))
}

/// The state that DataChain records for a link to a file: the file's size, and the mtime of the link itself.
fn link_of(path: &Path, file: &State) -> Option<State> {
    let link = path.symlink_metadata().ok().filter(fs::Metadata::is_symlink)?;
    Some(State { size: file.size, ..State::of(&link) })
}

/// Whether a file in `state` is the recorded one: compares the size, and the mtime as DataChain writes it: a
/// hexadecimal float in the etag, else a date rounded to the microsecond.
fn check(place: &str, recorded: &Recorded, state: &State) -> Result<(), Error> {
    if state.size != recorded.size {
        return Err(size_changed(place.to_owned(), recorded.size, state.size));
    }
    let (seconds, nanoseconds) = state.modified;
    let now = mtime::python(seconds, nanoseconds);
    let date = time(state.modified);
    let (recorded, found) = match (mtime::parse(&recorded.etag), recorded.last_modified) {
        #[expect(clippy::float_cmp, reason = "both are what Python computed")]
        (Some(etag), _) if etag == now => return Ok(()),
        (Some(etag), _) => (both(etag), both(now)),
        (None, Some(was)) if was.micros().abs_diff(date.micros()) <= 1 => return Ok(()),
        (None, Some(was)) => (was.to_string(), date.to_string()),
        (None, None) => return Ok(()),
    };
    Err(Error::Changed { place: place.to_owned(), what: "time of change", recorded, found })
}

/// An mtime as recorded, and in readable form.
#[expect(clippy::cast_possible_truncation, reason = "saturates; for messages")]
fn both(seconds: f64) -> String {
    let date = Timestamp::from_micros((seconds * 1e6) as i64);
    format!("`{}` ({date})", mtime::hex(seconds))
}

/// For comparison with a date in microseconds, and for messages.
fn time((seconds, nanoseconds): (i64, i64)) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1000))
}

fn size_changed(place: String, recorded: u64, found: u64) -> Error {
    let bytes = |n: u64| format!("{n} bytes");
    Error::Changed { place, what: "size", recorded: bytes(recorded), found: bytes(found) }
}

fn kind(meta: &fs::Metadata) -> &'static str {
    if meta.is_dir() { "a folder" } else { "a pipe, a socket or a device" }
}

pub(super) fn io_error(place: &str, error: &io::Error) -> Error {
    let place = place.to_owned();
    let answer = show(&error.to_string());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Gone { place, answer },
        io::ErrorKind::PermissionDenied => {
            Error::Denied { place, answer, hint: "the user who runs dcfs must be able to read it" }
        }
        _ => Error::Failed { place, cause: answer },
    }
}

/// The error if `/proc`, through which descriptors are reopened, is not available.
fn no_proc(place: &str, error: &io::Error) -> Error {
    let cause = format!("/proc is not mounted or not readable ({error})");
    Error::Failed { place: place.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use super::*;

    struct Folder {
        _temporary: tempfile::TempDir,
        path: PathBuf,
        rules: Rules,
    }

    impl Folder {
        /// Has a file `a` of 5 bytes, changed at 1,500,000,000.25 s, and a forbidden file `db`.
        fn new() -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let path = temporary.path().canonicalize().unwrap();
            let guard = Arc::new(Guard::new(&[path.join("db"), path.join("cache")]));
            let rules = Rules { guard, allowed: Arc::default(), caller: None, listed: None };
            let folder = Self { _temporary: temporary, path, rules };
            folder.write("a", b"hello");
            folder.write("db", b"hello");
            folder
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.path.join(name), bytes).unwrap();
            let file = fs::File::options().write(true).open(self.path.join(name)).unwrap();
            let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500_000_000_250);
            file.set_modified(moment).unwrap();
        }

        fn open(&self, name: &str, recorded: &Recorded) -> Result<File, Error> {
            let whole = (0, recorded.size);
            File::open(name.into(), &self.path.join(name), recorded, whole, &self.rules)
        }
    }

    fn recorded() -> Recorded {
        Recorded {
            size: 5,
            etag: "0x1.65a0bc0100000p+30".into(),
            last_modified: Some(Timestamp::from_micros(1_500_000_000_250_000)),
            ..Recorded::default()
        }
    }

    #[test]
    fn reads_the_file_recorded() {
        let folder = Folder::new();
        symlink("a", folder.path.join("link")).unwrap();
        for name in ["a", "link"] {
            let file = folder.open(name, &recorded()).unwrap();
            for (offset, length, bytes) in
                [(0, 5, "hello"), (1, 3, "ell"), (3, 99, "lo"), (5, 1, ""), (u64::MAX, 9, "")]
            {
                assert_eq!(file.read(offset, length).unwrap(), bytes, "{name} {offset} {length}");
            }
        }
        let path = folder.path.join("tar");
        fs::write(&path, [plain::header(b"x"), b"ello".to_vec()].concat()).unwrap();
        let whole = Recorded { size: 516, ..Recorded::default() };
        let member = File::open("tar".into(), &path, &whole, (512, 3), &folder.rules).unwrap();
        assert_eq!(member.read(0, 99).unwrap(), "ell");
        assert_eq!(member.read(2, 99).unwrap(), "l");
        assert_eq!(member.read(3, 99).unwrap(), "");
    }

    #[test]
    fn a_member_of_what_is_no_tar_is_found_by_its_own_header() {
        let folder = Folder::new();
        let path = folder.path.join("tar");
        // As of Brotli, whose streams begin with no magic number.
        let noise = vec![0x1b; 512];
        fs::write(&path, [noise, plain::header(b"x"), b"ello".to_vec()].concat()).unwrap();
        let whole = Recorded { size: 1028, ..Recorded::default() };
        let open = |base| File::open("tar".into(), &path, &whole, (base, 3), &folder.rules);
        assert_eq!(open(1024).unwrap().read(0, 99).unwrap(), "ell");
        for base in [0, 1, 512, 1023] {
            let error = open(base).unwrap_err().to_string();
            assert!(error.contains("is compressed"), "{base}: {error}");
        }
    }

    #[test]
    fn size_and_time_must_be_those_recorded() {
        let folder = Folder::new();
        let dated = Recorded { etag: String::new(), ..recorded() };
        let at = |micros| Some(Timestamp::from_micros(micros));
        let good = [
            recorded(),
            Recorded { last_modified: at(1), ..recorded() },
            dated.clone(),
            Recorded { last_modified: at(1_500_000_000_250_001), ..dated.clone() },
            Recorded { last_modified: None, ..dated.clone() },
            Recorded { etag: "md5".into(), ..dated.clone() },
        ];
        for recorded in good {
            folder.open("a", &recorded).unwrap();
        }
        let bad = [
            (
                Recorded { size: 6, ..recorded() },
                "`a` is no longer the object recorded: its size was 6 bytes and is 5 bytes; \
                 index it again and save a new version",
            ),
            (
                Recorded { etag: "0x1.65a0bc0100001p+30".into(), ..recorded() },
                "`a` is no longer the object recorded: its time of change was \
                 `0x1.65a0bc0100001p+30` (2017-07-14 02:40:00.250 UTC) and is \
                 `0x1.65a0bc0100000p+30` (2017-07-14 02:40:00.250 UTC); index it again and save a new version",
            ),
            (
                Recorded { last_modified: at(1_500_000_000_250_002), ..dated },
                "`a` is no longer the object recorded: its time of change was \
                 2017-07-14 02:40:00.250002 UTC and is 2017-07-14 02:40:00.250 UTC; index it \
                 again and save a new version",
            ),
        ];
        for (recorded, message) in bad {
            assert_eq!(folder.open("a", &recorded).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn what_is_no_file_or_not_to_be_read_is_refused_at_once() {
        let folder = Folder::new();
        let at = |name: &str| folder.path.join(name);
        fs::create_dir(at("dir")).unwrap();
        fs::create_dir(at("cache")).unwrap();
        folder.write("cache/x", b"hello");
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink(at("db"), at("link")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        fs::hard_link(at("db"), at("hard")).unwrap();
        let cases = [
            ("none", "`none` is gone"),
            ("a/b", "`a/b` is gone"),
            ("dir", "its kind was a file and is a folder"),
            ("fifo", "its kind was a file and is a pipe"),
            ("loop", "`loop` could not be read"),
            ("db", "`db` is never served"),
            ("link", "`link` is never served"),
            ("hard", "`hard` is never served"),
            ("cache/x", "`cache/x` is never served"),
        ];
        for (name, message) in cases {
            let error = folder.open(name, &recorded()).unwrap_err().to_string();
            assert!(error.contains(message), "{name}: {error}");
        }
    }

    #[test]
    fn a_file_that_changes_while_open_gives_no_bytes() {
        let cases = [
            ("other", "its time of change, while open, was"),
            ("hell", "its size was 5 bytes and is 4 bytes"),
            ("hello!", "its size was 5 bytes and is 6 bytes"),
        ];
        for (text, message) in cases {
            let folder = Folder::new();
            let file = folder.open("a", &recorded()).unwrap();
            fs::write(folder.path.join("a"), text).unwrap();
            let error = file.read(0, 5).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_done_to_its_name_leaves_an_open_file_as_it_is() {
        let folder = Folder::new();
        let file = folder.open("a", &recorded()).unwrap();
        let at = |name: &str| folder.path.join(name);
        fs::hard_link(at("a"), at("b")).unwrap();
        assert_eq!(file.read(0, 5).unwrap(), "hello");
        folder.write("new", b"other");
        fs::rename(at("new"), at("a")).unwrap();
        fs::remove_file(at("b")).unwrap();
        assert_eq!(file.read(0, 5).unwrap(), "hello");
    }
}
