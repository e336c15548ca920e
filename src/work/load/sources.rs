//! The files to load: a file, all of a folder, those that a pattern matches, or objects of a store.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dcfs_core::error::Result;
use dcfs_core::glob::{self, Glob};
use dcfs_core::object::Object;

use super::lake::View;
use super::{Error, Format, wrong};

/// The most files of a folder.
const MOST_FILES: usize = 10_000_000;

/// One file with records.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// What it is called in messages: the path as it was reached, or the address of the object.
    pub shown: String,
    /// The bytes of its absolute path, or of its address: two files never share them, as they may `shown`.
    pub name: Vec<u8>,
    /// The path below the folder, without its ending; of a single file, its name.
    pub stem: String,
    /// What tells whether it changed, beside `version` and `etag`.
    pub size: u64,
    /// The store's own version of an object, or empty.
    pub version: String,
    /// The etag of an object, or its time of modification where it has neither an etag nor a version; the times of a
    /// local file. May be empty.
    pub etag: String,
    /// How the rows of a table's data file are seen.
    pub view: Option<Arc<View>>,
    at: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Local(PathBuf),
    Store(Box<Object>),
}

impl SourceFile {
    /// A local file; `root` is the folder that was named.
    pub(super) fn local(path: PathBuf, root: Option<&Path>, found: &Metadata) -> io::Result<Self> {
        let below = root.and_then(|root| path.strip_prefix(root).ok());
        let below = below.or_else(|| path.file_name().map(Path::new)).unwrap_or(&path);
        Ok(Self {
            shown: path.display().to_string(),
            name: std::path::absolute(&path)?.into_os_string().into_vec(),
            stem: below.with_extension("").to_string_lossy().into_owned(),
            size: found.len(),
            version: String::new(),
            etag: times(found),
            view: None,
            at: Place::Local(path),
        })
    }

    /// An object of a store; `prefix` is that of the folder that was named.
    pub fn object(object: Object, prefix: &str) -> Self {
        let key = String::from_utf8_lossy(&object.path).into_owned();
        let name = [object.source.as_bytes(), b"/".as_slice(), object.path.as_slice()].concat();
        let is_bare = object.version.is_empty() && object.etag.is_empty();
        let modified = object.last_modified.filter(|_| is_bare).map(|time| time.micros());
        let below = key.strip_prefix(prefix).filter(|below| !below.is_empty());
        let below = below.unwrap_or_else(|| key.rsplit('/').next().unwrap_or(&key));
        Self {
            shown: format!("{}/{key}", object.source),
            name,
            stem: Path::new(below).with_extension("").to_string_lossy().into_owned(),
            size: object.size.unwrap_or(0),
            version: object.version.clone(),
            etag: modified.map_or_else(|| object.etag.clone(), |micros| micros.to_string()),
            view: None,
            at: Place::Store(Box::new(object)),
        }
    }

    /// A table's data file: `etag` tells it from what it was before.
    pub(super) fn seen(self, view: View, etag: String) -> Self {
        Self { etag, view: Some(Arc::new(view)), ..self }
    }

    /// The file itself; `fetch` gets an object of a store.
    ///
    /// # Errors
    /// [`enum@Error`]; errors of `fetch`.
    pub fn open(&self, fetch: &dyn Fn(&Object) -> Result<File>) -> Result<File> {
        let path = match &self.at {
            Place::Store(object) => return fetch(object),
            Place::Local(path) => path,
        };
        let opened = File::open(path).and_then(|opened| match opened.metadata()?.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Ok(opened),
        });
        Ok(opened.map_err(|cause| Error::Unread { file: self.shown.clone(), cause })?)
    }

    /// Whether its name has one of these endings.
    pub fn ends_with(&self, endings: &[&str]) -> bool {
        ends_with(Path::new(OsStr::from_bytes(&self.name)), endings)
    }

    /// Whether anything tells that it changed, besides its size.
    pub fn tells_changes(&self) -> bool {
        !self.version.is_empty() || !self.etag.is_empty()
    }
}

/// The times of modification and of change: tools that copy files restore the first, none the second.
fn times(of: &Metadata) -> String {
    format!("{}.{:09} {}.{:09}", of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec())
}

fn ends_with(path: &Path, endings: &[&str]) -> bool {
    let own = path.extension().unwrap_or_default();
    endings.iter().any(|ending| own.eq_ignore_ascii_case(ending))
}

/// The local files that a text names, in the order of their paths: a file, those of a folder with one of the `endings`, or
/// those that a pattern matches.
///
/// # Errors
/// [`enum@Error`]: no such file, none in the folder, too many.
pub fn local(text: &Path, endings: &[&str]) -> Result<Vec<SourceFile>> {
    let found = match fs::metadata(text) {
        Ok(found) if found.is_dir() => {
            let all = below(text, &mut |path| ends_with(path, endings))?;
            if all.is_empty() {
                let names: Vec<String> = endings.iter().map(|e| format!("`.{e}`")).collect();
                let what = format!("there is no {} file in it", names.join(" or "));
                return Err(wrong(&text.display().to_string(), what).into());
            }
            all
        }
        Ok(found) => {
            let file = SourceFile::local(text.to_owned(), None, &found);
            vec![file.map_err(|cause| unread(text, cause))?]
        }
        Err(cause) => match text.to_str().filter(|text| glob::is_pattern(text)) {
            Some(pattern) => matched(pattern)?,
            None => return Err(unread(text, cause).into()),
        },
    };
    Ok(found)
}

/// The formats of the files of a folder and of those below it, by their endings. Files without an ending have none.
///
/// # Errors
/// [`enum@Error`]: an ending that tells no format; a folder or a file that cannot be read; too many files.
pub fn formats(folder: &Path) -> Result<HashSet<(Format, u8)>> {
    let mut all = HashSet::new();
    for file in below(folder, &mut |path| path.extension().is_some())? {
        let Some(format) = Format::of_file(path(&file)) else {
            let what = "its ending tells no format; with `--format`, only files that end as that format's do are read";
            return Err(wrong(&file.shown, what).into());
        };
        all.insert(format);
    }
    Ok(all)
}

/// The files that a pattern matches.
fn matched(pattern: &str) -> Result<Vec<SourceFile>> {
    let mut all: Vec<SourceFile> = Vec::new();
    for one in glob::expand(pattern)? {
        let (folder, own) = glob::split(&one);
        let root = Path::new(if folder.is_empty() { "." } else { folder });
        let Some(own) = own.map(Glob::new) else {
            all.extend(local(Path::new(&one), &[])?);
            continue;
        };
        let is_deep = own.text().contains('/') || own.text().contains("**");
        let is_wanted = &mut |path: &Path| {
            // As in SQLite's GLOB, bytes that are not UTF-8 count as U+FFFD.
            let below = path.strip_prefix(root).ok().map(Path::to_string_lossy);
            below.is_some_and(|below| own.is_match(&below))
        };
        all.extend(match is_deep {
            true => below(root, is_wanted)?,
            false => beside(root, is_wanted)?,
        });
    }
    if all.is_empty() {
        return Err(wrong(pattern, "no file matches").into());
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all.dedup_by(|one, other| one.name == other.name);
    Ok(all)
}

/// The wanted files of a folder and of those below it, in order.
fn below(root: &Path, is_wanted: &mut dyn FnMut(&Path) -> bool) -> Result<Vec<SourceFile>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        list(root, &folder, is_wanted, &mut found, Some(&mut folders))?;
    }
    found.sort_by(|one, other| path(one).cmp(path(other)));
    Ok(found)
}

/// The wanted files of a folder alone, in order.
fn beside(root: &Path, is_wanted: &mut dyn FnMut(&Path) -> bool) -> Result<Vec<SourceFile>> {
    let mut found = Vec::new();
    list(root, root, is_wanted, &mut found, None)?;
    found.sort_by(|one, other| path(one).cmp(path(other)));
    Ok(found)
}

fn path(file: &SourceFile) -> &Path {
    match &file.at {
        Place::Local(path) => path,
        Place::Store(_) => Path::new(OsStr::from_bytes(&file.name)),
    }
}

/// Adds the wanted files of one folder, and the folders in it. Links to folders are not followed.
fn list(
    root: &Path,
    folder: &Path,
    is_wanted: &mut dyn FnMut(&Path) -> bool,
    found: &mut Vec<SourceFile>,
    mut folders: Option<&mut Vec<PathBuf>>,
) -> Result<()> {
    let in_folder = |cause| unread(folder, cause);
    for entry in fs::read_dir(folder).map_err(in_folder)? {
        let entry = entry.map_err(in_folder)?;
        let path = entry.path();
        if entry.file_type().map_err(|cause| unread(&path, cause))?.is_dir() {
            if let Some(folders) = &mut folders {
                folders.push(path);
            }
        } else if is_wanted(&path) {
            found.extend(looked_at(path, root)?);
        }
    }
    match found.len() > MOST_FILES {
        true => {
            let what = format!("it has more than {MOST_FILES} files");
            Err(wrong(&root.display().to_string(), what).into())
        }
        false => Ok(()),
    }
}

/// The file at a path; `None` if nothing is there (a link to nothing, a file that was just removed), or no file.
fn looked_at(path: PathBuf, root: &Path) -> Result<Option<SourceFile>> {
    let about = match fs::metadata(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        about => about.map_err(|cause| unread(&path, cause))?,
    };
    if !about.is_file() {
        return Ok(None);
    }
    let shown = path.clone();
    let file = SourceFile::local(path, Some(root), &about);
    Ok(Some(file.map_err(|cause| unread(&shown, cause))?))
}

fn unread(path: &Path, cause: io::Error) -> Error {
    Error::Unread { file: path.display().to_string(), cause }
}

/// The endings of a format's files in a folder.
pub fn endings(format: Format, delimiter: u8) -> &'static [&'static str] {
    match format {
        Format::Csv if delimiter == b'\t' => &["tsv", "tab"],
        Format::Csv => &["csv"],
        Format::Jsonl => &["jsonl", "ndjson"],
        Format::Json | Format::Coco => &["json"],
        Format::Parquet => &["parquet", "pq"],
        Format::Xml | Format::Voc => &["xml"],
        Format::Yolo | Format::Synsets => &["txt"],
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_told_apart_by_the_bytes_of_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [b"a\xff.csv", b"a\xfe.csv"] {
            fs::write(folder.path().join(OsStr::from_bytes(name)), "n\n1\n").expect("written");
        }
        let of_folder = local(folder.path(), &["csv"]).expect("files");
        let pattern = folder.path().join("a?.csv");
        let of_pattern = local(&pattern, &["csv"]).expect("files");
        for files in [of_folder, of_pattern] {
            let [one, other] = &files[..] else { panic!("{files:?}") };
            assert_eq!(one.shown, other.shown);
            assert!(one.name < other.name && one.name.ends_with(b"/a\xfe.csv"), "{one:?}");
        }
    }

    #[test]
    fn only_a_link_to_nothing_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.csv"), "n\n1\n").expect("written");
        symlink("nothing", folder.path().join("b.csv")).expect("a link");
        assert_eq!(local(folder.path(), &["csv"]).expect("files").len(), 1);
        symlink("c.csv", folder.path().join("c.csv")).expect("a link");
        let told = local(folder.path(), &["csv"]).expect_err("a loop").to_string();
        assert!(told.contains("/c.csv`"), "{told}");
        assert!(local(&folder.path().join("*.csv"), &[]).is_err());
        assert!(formats(folder.path()).is_err());
    }

    #[test]
    fn formats_are_those_of_all_levels() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("deep/er");
        fs::create_dir_all(&deep).expect("a folder");
        for name in ["a.csv", "README", ".hidden"] {
            fs::write(deep.join(name), "n\n1\n").expect("written");
        }
        assert_eq!(formats(folder.path()).expect("known"), HashSet::from([(Format::Csv, b',')]));
        fs::write(folder.path().join("b.JSONL"), "{}\n").expect("written");
        assert_eq!(formats(folder.path()).expect("known").len(), 2);
        fs::write(deep.join("c.csv.gz"), "").expect("written");
        let told = formats(folder.path()).expect_err("unknown").to_string();
        assert!(told.contains("deep/er/c.csv.gz`: its ending tells no format"), "{told}");
    }
}
