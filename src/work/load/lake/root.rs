//! The folder of a table, on disk or in a bucket, and the paths that its metadata may name.
//!
//! Metadata names files by paths below the table, or by addresses. An address below the table is one of its files; any
//! other is refused unless the user allowed the folder that it is in. No path has a segment `..`, and no symbolic link
//! leads to a file that an address may not name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dcfs_core::error::{self, Kind, Result};
use dcfs_core::glob;
use dcfs_core::object::Object;

use super::{Error, SourceFile, wrong};

/// Gets what a table in a bucket consists of.
pub trait Reach {
    /// The objects below the folder at an address; none if there is no such folder.
    ///
    /// # Errors
    /// Errors of the store.
    fn below(&self, folder: &str) -> Result<Vec<SourceFile>>;

    /// The object at an address.
    ///
    /// # Errors
    /// Errors of the store; no such object.
    fn one(&self, address: &str) -> Result<SourceFile>;

    /// The bytes of an object.
    ///
    /// # Errors
    /// Errors of the store.
    fn fetch(&self, object: &Object) -> Result<File>;
}

/// Folders beside the table whose files its metadata may name.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Vec<Root>);

impl Allowed {
    /// # Errors
    /// An address that is none of a folder.
    pub fn new(folders: impl IntoIterator<Item = String>) -> Result<Self> {
        folders.into_iter().map(|folder| Root::new(&folder)).collect::<Result<_>>().map(Self)
    }
}

/// The folder of a table.
#[derive(Clone, Debug)]
pub struct Root {
    /// Its path as given, or its address; without a slash at its end.
    shown: String,
    at: At,
    /// Its path without symbolic links, once it was needed.
    real: OnceLock<Option<PathBuf>>,
}

/// A file in a folder on disk: its name, its path, and what the system tells about it.
type Entry = (String, PathBuf, fs::Metadata);

#[derive(Clone, Debug)]
enum At {
    Local(PathBuf),
    /// The address of a bucket, and the beginning of its keys: empty, or with a slash at its end.
    Store {
        source: String,
        prefix: String,
    },
}

impl Root {
    /// The folder at a path or an address.
    ///
    /// # Errors
    /// An address with a pattern, or with a segment `..`.
    pub fn new(text: &str) -> Result<Self> {
        let shown = text.trim_end_matches('/').to_owned();
        let at = match absolute(&shown) {
            Some(Address::Store { source, key }) => {
                if glob::is_pattern(&key) {
                    return Err(wrong(text, "the address of a folder holds no pattern").into());
                }
                if !is_plain(&key) && !key.is_empty() {
                    return Err(wrong(text, "it is no address of a folder").into());
                }
                let prefix = if key.is_empty() { key } else { key + "/" };
                At::Store { source, prefix }
            }
            Some(Address::Local(path)) => At::Local(path),
            None => At::Local(PathBuf::from(if shown.is_empty() { "/" } else { &shown })),
        };
        Ok(Self { shown, at, real: OnceLock::new() })
    }

    /// Its path or its address, for messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Its absolute path or its address, for records.
    pub fn address(&self) -> String {
        match &self.at {
            At::Local(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                path.display().to_string()
            }
            At::Store { source, prefix } => format!("{source}/{}", prefix.trim_end_matches('/')),
        }
    }

    /// Whether it has a folder of this name; in a bucket, one with anything in it.
    ///
    /// # Errors
    /// Errors of the store.
    pub fn has(&self, folder: &str, reach: &dyn Reach) -> Result<bool> {
        match &self.at {
            At::Local(path) => Ok(path.join(folder).is_dir()),
            At::Store { source, prefix } => {
                Ok(!objects(source, prefix, folder, &|_| true, reach)?.is_empty())
            }
        }
    }

    /// Whether one of its folders has a file of a wanted name.
    ///
    /// # Errors
    /// [`enum@Error`]; errors of the store.
    pub fn has_any(
        &self,
        folder: &str,
        is_wanted: &dyn Fn(&str) -> bool,
        reach: &dyn Reach,
    ) -> Result<bool> {
        match &self.at {
            At::Local(path) => Ok(!entries(&path.join(folder), is_wanted)?.is_empty()),
            At::Store { source, prefix } => {
                Ok(!objects(source, prefix, folder, is_wanted, reach)?.is_empty())
            }
        }
    }

    /// The files of wanted names in one of its folders, in no order.
    ///
    /// # Errors
    /// [`enum@Error`]: a link that leads out of it; errors of the store.
    pub fn list(
        &self,
        folder: &str,
        is_wanted: &dyn Fn(&str) -> bool,
        reach: &dyn Reach,
        allowed: &Allowed,
    ) -> Result<Vec<(String, SourceFile)>> {
        let path = match &self.at {
            At::Local(path) => path.join(folder),
            At::Store { source, prefix } => {
                return objects(source, prefix, folder, is_wanted, reach);
            }
        };
        let mut found = Vec::new();
        for (name, path, about) in entries(&path, is_wanted)? {
            found.push((name, self.local(path, &about, allowed)?));
        }
        Ok(found)
    }

    /// The file that metadata names: by a path below the table, or by an address. `size`, where it is recorded.
    ///
    /// # Errors
    /// A path that leads outside, a file that is not there or has another size; errors of the store.
    pub fn file(
        &self,
        path: &str,
        size: Option<u64>,
        reach: &dyn Reach,
        allowed: &Allowed,
    ) -> Result<SourceFile> {
        let (root, below) = self.resolve(path, allowed)?;
        match &root.at {
            At::Local(folder) => {
                let path = folder.join(below);
                let about = fs::metadata(&path).map_err(|cause| unread(&path, cause))?;
                // To open a pipe would wait for ever.
                if !about.is_file() {
                    return Err(wrong(&path.display().to_string(), "it is no file").into());
                }
                if size.is_some_and(|size| size != about.len()) {
                    let (is, was) = (about.len(), size.unwrap_or(0));
                    let what = format!("it has {is} bytes, and {was} in the metadata of the table");
                    return Err(wrong(&path.display().to_string(), what).into());
                }
                self.local(path, &about, allowed)
            }
            At::Store { source, prefix } => {
                let path = format!("{prefix}{below}");
                if size.is_none() {
                    let address = format!("{source}/{path}");
                    if glob::is_pattern(&path) {
                        let what = "a name with `*`, `?`, `[` or `{` is not read";
                        return Err(wrong(&address, what).into());
                    }
                    return reach.one(&address);
                }
                let object = Object {
                    source: source.clone(),
                    path: path.into_bytes(),
                    size,
                    version: String::new(),
                    etag: String::new(),
                    last_modified: None,
                    location: None,
                };
                Ok(SourceFile::object(object, prefix))
            }
        }
    }

    /// A file on disk; symbolic links lead to it only within this folder, or to one that is allowed.
    fn local(&self, path: PathBuf, about: &fs::Metadata, allowed: &Allowed) -> Result<SourceFile> {
        let real = fs::canonicalize(&path).map_err(|cause| unread(&path, cause))?;
        let is_within = |root: &Self| root.real().is_some_and(|folder| real.starts_with(folder));
        if !std::iter::once(self).chain(&allowed.0).any(is_within) {
            let what = format!(
                "its file `{}` is behind a link out of it; allow the folder of `{}` with `--local-root`",
                path.display(),
                real.display()
            );
            return Err(wrong(&self.shown, what).into());
        }
        let file = SourceFile::local(path.clone(), None, about);
        Ok(file.map_err(|cause| unread(&path, cause))?)
    }

    /// Its path without symbolic links; `None` in a bucket, or if it is not there.
    fn real(&self) -> Option<&Path> {
        let At::Local(folder) = &self.at else { return None };
        self.real.get_or_init(|| fs::canonicalize(folder).ok()).as_deref()
    }

    /// The folder that a path is below, and the rest of it.
    fn resolve<'a>(&'a self, path: &str, allowed: &'a Allowed) -> Result<(&'a Self, String)> {
        let outside = |what: &str| -> error::Error {
            wrong(&self.shown, format!("its metadata names `{path}`, {what}")).into()
        };
        let Some(address) = absolute(path) else {
            return match is_plain(path) {
                true => Ok((self, path.to_owned())),
                false => Err(outside("which is no path below it")),
            };
        };
        let roots = std::iter::once(self).chain(&allowed.0);
        let found = roots.into_iter().find_map(|root| Some((root, root.below(&address)?)));
        match found {
            Some((root, below)) if is_plain(&below) => Ok((root, below)),
            Some(_) => Err(outside("which is no path below it")),
            None => {
                let flag = match address {
                    Address::Local(_) => "--local-root",
                    Address::Store { .. } => "--allow-uri",
                };
                let what = format!("which is outside of it; allow that folder with `{flag}`");
                Err(outside(&what))
            }
        }
    }

    /// The rest of an address that is below this folder.
    fn below(&self, address: &Address) -> Option<String> {
        match (&self.at, address) {
            (At::Local(root), Address::Local(path)) => {
                let root = std::path::absolute(root).ok()?;
                path.strip_prefix(root).ok()?.to_str().map(str::to_owned)
            }
            (At::Store { source, prefix }, Address::Store { source: other, key }) => {
                key.strip_prefix(prefix.as_str()).filter(|_| source == other).map(str::to_owned)
            }
            _ => None,
        }
    }
}

/// A parsed address, or an absolute path.
enum Address {
    Local(PathBuf),
    Store { source: String, key: String },
}

/// An address or an absolute path; `None` of a relative path. Hadoop's names of schemes are understood.
fn absolute(text: &str) -> Option<Address> {
    if let Some(path) = text.strip_prefix("file:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Some(Address::Local(PathBuf::from(path)));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let scheme = match scheme {
            "s3a" | "s3n" => "s3",
            scheme => scheme,
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let source = format!("{scheme}://{bucket}");
        return Some(Address::Store { source, key: key.to_owned() });
    }
    text.starts_with('/').then(|| Address::Local(PathBuf::from(text)))
}

/// Whether a path stays below the folder that it starts in.
fn is_plain(path: &str) -> bool {
    let is_name = |segment: &str| !matches!(segment, "" | "." | "..");
    !path.contains('\0') && path.split('/').all(is_name)
}

/// The objects of wanted names in a folder of a bucket.
fn objects(
    source: &str,
    prefix: &str,
    folder: &str,
    is_wanted: &dyn Fn(&str) -> bool,
    reach: &dyn Reach,
) -> Result<Vec<(String, SourceFile)>> {
    let start = format!("{source}/{prefix}{folder}/");
    let mut found = Vec::new();
    for file in reach.below(&start)? {
        let name = file.shown.strip_prefix(&start);
        let name = name.filter(|name| !name.is_empty() && !name.contains('/') && is_wanted(name));
        if let Some(name) = name.map(str::to_owned) {
            found.push((name, file));
        }
    }
    Ok(found)
}

/// The files of wanted names in a folder on disk; none if it is no folder. Others are not looked at.
fn entries(folder: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Entry>, Error> {
    use io::ErrorKind::{NotADirectory, NotFound};

    let all = match fs::read_dir(folder) {
        Err(cause) if matches!(cause.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        all => all.map_err(|cause| unread(folder, cause))?,
    };
    let mut found = Vec::new();
    for entry in all {
        let entry = entry.map_err(|cause| unread(folder, cause))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !is_wanted(&name) {
            continue;
        }
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(about) if about.is_file() => found.push((name, path, about)),
            Ok(_) => {}
            // A link to nothing, or a file that was just removed.
            Err(cause) if cause.kind() == NotFound => {}
            Err(cause) => return Err(unread(&path, cause)),
        }
    }
    Ok(found)
}

fn unread(path: &Path, cause: io::Error) -> Error {
    Error::Unread { file: path.display().to_string(), cause }
}

/// Reads a whole file of metadata.
///
/// # Errors
/// Longer than `most` bytes; errors of the store or of the disk.
pub fn read(file: &SourceFile, most: u64, reach: &dyn Reach) -> Result<Vec<u8>> {
    use std::io::Read as _;

    let opened = file.open(&|object| reach.fetch(object))?;
    let mut bytes = Vec::new();
    let unread = |cause| Error::Unread { file: file.shown.clone(), cause };
    opened.take(most + 1).read_to_end(&mut bytes).map_err(unread)?;
    match bytes.len() as u64 > most {
        true => {
            let what = format!("it is longer than {} MiB", most >> 20);
            Err(error::Error::new(Kind::Invalid, wrong(&file.shown, what)))
        }
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_stay_in_their_table() {
        let allowed = Allowed::new(["s3://other/x".to_owned(), "/data".to_owned()]).expect("valid");
        let bucket = Root::new("s3://b/t/").expect("an address");
        let local = Root::new("/w/t").expect("a path");
        let cases = [
            (&bucket, "a/b.parquet", Some("s3://b/t a/b.parquet")),
            (&bucket, "s3://b/t/b.parquet", Some("s3://b/t b.parquet")),
            (&bucket, "s3a://b/t/k=1/b.parquet", Some("s3://b/t k=1/b.parquet")),
            (&bucket, "s3://other/x/y", Some("s3://other/x y")),
            (&bucket, "/data/y", Some("/data y")),
            (&bucket, "s3://b/t2/b.parquet", None),
            (&bucket, "s3://b2/t/b.parquet", None),
            (&bucket, "s3://other/xy/z", None),
            (&bucket, "s3://b/t/../x", None),
            (&bucket, "../x", None),
            (&bucket, "a/../../x", None),
            (&bucket, "a//x", None),
            (&bucket, "a/./x", None),
            (&bucket, "", None),
            (&bucket, "a\0", None),
            (&bucket, "file:///w/t/x", None),
            (&local, "file:///w/t/x", Some("/w/t x")),
            (&local, "file:/w/t/x", Some("/w/t x")),
            (&local, "/w/t/x", Some("/w/t x")),
            (&local, "/w/t/../x", None),
            (&local, "/w/tt/x", None),
            (&local, "/w/t", None),
            (&local, "/etc/passwd", None),
        ];
        for (root, path, want) in cases {
            let found = root.resolve(path, &allowed);
            let got = found.ok().map(|(root, below)| format!("{} {below}", root.shown()));
            assert_eq!(got.as_deref(), want, "{path}");
        }
        assert!(Root::new("s3://b/../t").is_err() && Root::new("s3://b/t*").is_err());
        assert_eq!(Root::new("s3://b").expect("a bucket").address(), "s3://b/");
    }

    /// No store is asked for what is on disk.
    struct Nowhere;

    impl Reach for Nowhere {
        fn below(&self, folder: &str) -> Result<Vec<SourceFile>> {
            panic!("{folder}")
        }

        fn one(&self, address: &str) -> Result<SourceFile> {
            panic!("{address}")
        }

        fn fetch(&self, _: &Object) -> Result<File> {
            panic!("a store was asked")
        }
    }

    #[test]
    fn links_stay_in_their_table() {
        let home = tempfile::tempdir().expect("a folder");
        let (table, beside) = (home.path().join("t"), home.path().join("beside"));
        fs::create_dir_all(table.join("log")).expect("a folder");
        fs::create_dir(&beside).expect("a folder");
        for path in [table.join("own"), beside.join("other")] {
            fs::write(path, "x").expect("written");
        }
        let link = |to: &Path, name: &str| symlink(to, table.join(name)).expect("a link");
        link(Path::new("../own"), "log/own");
        link(&beside.join("other"), "log/other");
        link(&beside, "folder");
        link(Path::new("nothing"), "log/gone");
        // The table itself may be reached by a link.
        symlink(&table, home.path().join("link")).expect("a link");
        let root = Root::new(home.path().join("link").to_str().expect("UTF-8")).expect("a path");
        let beside = beside.to_str().expect("UTF-8").to_owned();
        let (none, allowed) = (Allowed::default(), Allowed::new([beside]).expect("a path"));
        for (path, is_out) in
            [("own", false), ("log/own", false), ("log/other", true), ("folder/other", true)]
        {
            let found = |allowed| root.file(path, None, &Nowhere, allowed);
            assert!(found(&allowed).is_ok(), "{path}");
            let told = found(&none).err().map(|error| error.to_string());
            assert_eq!(told.is_some(), is_out, "{path}: {told:?}");
            assert!(told.is_none_or(|told| told.contains("with `--local-root`")), "{path}");
        }
        let listed = |is_wanted: &dyn Fn(&str) -> bool, allowed| {
            let found = root.list("log", is_wanted, &Nowhere, allowed);
            found.map(|all| all.len())
        };
        assert_eq!(listed(&|_| true, &allowed).expect("files"), 2, "none for a link to nothing");
        assert_eq!(listed(&|name| name == "own", &none).expect("a file"), 1);
        assert!(listed(&|_| true, &none).is_err());
        // A file in the place of a folder.
        assert!(root.list("own", &|_| true, &Nowhere, &none).expect("none").is_empty());
    }
}
