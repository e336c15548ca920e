//! The folder of a table, on disk or in a bucket, and the paths that its metadata may name.
//!
//! Metadata names files by paths below the table, or by addresses. An address below the table is one of its files; any
//! other is refused unless the user allowed the folder that it is in. No path has a segment `..`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

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
}

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
                    return Err(wrong(text, "the address of a table holds no pattern").into());
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
        Ok(Self { shown, at })
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

    /// Whether it has a folder of this name with anything in it.
    pub fn has(&self, folder: &str, reach: &dyn Reach) -> Result<bool> {
        match &self.at {
            At::Local(path) => Ok(path.join(folder).is_dir()),
            At::Store { .. } => Ok(!self.list(folder, reach)?.is_empty()),
        }
    }

    /// The files in one of its folders with their names, in no order.
    ///
    /// # Errors
    /// [`enum@Error`]; errors of the store.
    pub fn list(&self, folder: &str, reach: &dyn Reach) -> Result<Vec<(String, SourceFile)>> {
        let (source, prefix) = match &self.at {
            At::Local(path) => return Ok(listed(&path.join(folder))?),
            At::Store { source, prefix } => (source, prefix),
        };
        let start = format!("{source}/{prefix}{folder}/");
        let mut found = Vec::new();
        for file in reach.below(&start)? {
            let name = file.shown.strip_prefix(&start).filter(|name| !name.contains('/'));
            if let Some(name) = name.filter(|name| !name.is_empty()).map(str::to_owned) {
                found.push((name, file));
            }
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
                let shown = path.clone();
                let file = SourceFile::local(path, None, &about);
                Ok(file.map_err(|cause| unread(&shown, cause))?)
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

/// What an absolute path or an address names.
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

/// The files in a folder; none if it is not there.
fn listed(folder: &Path) -> Result<Vec<(String, SourceFile)>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|cause| unread(folder, cause))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|cause| unread(folder, cause))?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else { continue };
        let about = fs::metadata(&path).map_err(|cause| unread(&path, cause))?;
        if about.is_file() {
            let file = SourceFile::local(path.clone(), None, &about);
            found.push((name, file.map_err(|cause| unread(&path, cause))?));
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
}
