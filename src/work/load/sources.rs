//! The files to load: a file, all of a folder, those that a pattern matches, or objects of a store.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dcfs_core::error::Result;
use dcfs_core::glob::{self, Glob};
use dcfs_core::object::Object;

use super::{Error, Format, wrong};

/// The most files of a folder.
const MOST_FILES: usize = 10_000_000;

/// One file with records.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// What it is called in messages: the path as it was reached, or the address of the object.
    pub shown: String,
    /// What it is called in a recipe: its absolute path, or its address.
    pub name: String,
    /// The path below the folder, without its ending; of a single file, its name.
    pub stem: String,
    /// What tells whether it changed.
    pub size: u64,
    pub version: String,
    pub etag: String,
    at: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Local(PathBuf),
    Store(Box<Object>),
}

impl SourceFile {
    /// A local file; `root` is the folder that was named.
    fn local(path: PathBuf, root: Option<&Path>, found: &Metadata) -> io::Result<Self> {
        let below = root.and_then(|root| path.strip_prefix(root).ok());
        let below = below.or_else(|| path.file_name().map(Path::new)).unwrap_or(&path);
        Ok(Self {
            shown: path.display().to_string(),
            name: std::path::absolute(&path)?.to_string_lossy().into_owned(),
            stem: below.with_extension("").to_string_lossy().into_owned(),
            size: found.len(),
            version: String::new(),
            etag: format!("{}.{:09}", found.mtime(), found.mtime_nsec()),
            at: Place::Local(path),
        })
    }

    /// An object of a store; `prefix` is that of the folder that was named.
    pub fn object(object: Object, prefix: &str) -> Self {
        let key = String::from_utf8_lossy(&object.path).into_owned();
        let address = format!("{}/{key}", object.source);
        let below = key.strip_prefix(prefix).filter(|below| !below.is_empty());
        let below = below.unwrap_or_else(|| key.rsplit('/').next().unwrap_or(&key));
        Self {
            shown: address.clone(),
            name: address,
            stem: Path::new(below).with_extension("").to_string_lossy().into_owned(),
            size: object.size.unwrap_or(0),
            version: object.version.clone(),
            etag: object.etag.clone(),
            at: Place::Store(Box::new(object)),
        }
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
        ends_with(Path::new(&self.name), endings)
    }
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
    let shown = text.display().to_string();
    let unread = |cause| Error::Unread { file: shown.clone(), cause };
    let found = match fs::metadata(text) {
        Ok(found) if found.is_dir() => {
            let all = below(text, &mut |path| ends_with(path, endings))?;
            if all.is_empty() {
                let names: Vec<String> = endings.iter().map(|e| format!("`.{e}`")).collect();
                let what = format!("there is no {} file in it", names.join(" or "));
                return Err(wrong(&shown, what).into());
            }
            all
        }
        Ok(found) => vec![SourceFile::local(text.to_owned(), None, &found).map_err(unread)?],
        Err(cause) => match text.to_str().filter(|text| is_pattern(text)) {
            Some(pattern) => matched(pattern)?,
            None => return Err(unread(cause).into()),
        },
    };
    Ok(found)
}

/// Whether a text may name several files.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
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
            let below = path.strip_prefix(root).ok().and_then(Path::to_str);
            below.is_some_and(|below| own.is_match(below))
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
        Place::Store(_) => Path::new(&file.name),
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
    let shown = root.display().to_string();
    let unread = |cause| Error::Unread { file: shown.clone(), cause };
    for entry in fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let path = entry.path();
        if entry.file_type().map_err(unread)?.is_dir() {
            if let Some(folders) = &mut folders {
                folders.push(path);
            }
        } else if is_wanted(&path)
            && let Ok(about) = fs::metadata(&path)
            && about.is_file()
        {
            found.push(SourceFile::local(path, Some(root), &about).map_err(unread)?);
        }
    }
    match found.len() > MOST_FILES {
        true => Err(wrong(&shown, format!("it has more than {MOST_FILES} files")).into()),
        false => Ok(()),
    }
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
