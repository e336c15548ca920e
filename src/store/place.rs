//! The address that a row gives its object: a local file, or an object in a store.
//!
//! Nothing is decoded or normalised: DataChain writes neither percent-encoding nor `.` segments, so
//! a path that holds them means those very characters, and one that could leave its source, or be
//! read in two ways, is refused. The refusals for files are DataChain's own (`client/local.py`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::backend::{self, StoreKind};
use super::error::Error;
use dcfs_core::object::Object;

/// An object's address.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// An absolute local path.
    File(PathBuf),
    /// An object of a store, and its address as a URL.
    Store(&'static StoreKind, String),
}

impl Place {
    /// Parses the address of `object`.
    ///
    /// # Errors
    /// `Scheme` for a store that dcfs does not support, `Unaskable` for a source or a path with no exact
    /// meaning.
    pub fn of(object: &Object) -> Result<Self, Error> {
        let local = |folder| {
            let path = file(folder, &object.path).map_err(|why| Error::unaskable(object, why))?;
            Ok(Self::File(path))
        };
        match object.source.split_once("://") {
            Some(("file", rest)) => local(rest),
            Some((scheme, _)) => match backend::kind(scheme) {
                Some(kind) => Ok(Self::Store(kind, (kind.url)(object)?)),
                None => Err(Error::scheme(object, &format!("{scheme}://"))),
            },
            None => match object.source.strip_prefix("file:") {
                Some(rest) => local(rest),
                None if object.source.is_empty() => {
                    Err(Error::unaskable(object, "the row records no source"))
                }
                None => Err(Error::scheme(object, &object.source)),
            },
        }
    }
}

/// Joins `/abs/dir` (of `file:///abs/dir`) and a path below it. A bare `file://` means the root.
fn file(dir: &str, path: &[u8]) -> Result<PathBuf, &'static str> {
    if !dir.is_empty() && !dir.starts_with('/') {
        return Err("its source is not an absolute folder; write `file:///folder`");
    }
    if dir.contains('\0') || path.contains(&0) {
        return Err("it holds a NUL");
    }
    if path.is_empty() {
        return Err("its path is empty");
    }
    for segment in path.split(|b| *b == b'/') {
        match segment {
            b"" => return Err("its path begins or ends with `/`, or holds `//`"),
            b"." | b".." => return Err("its path holds a `.` or `..` segment"),
            _ => {}
        }
    }
    let mut whole = PathBuf::from("/");
    whole.push(dir);
    whole.push(OsStr::from_bytes(path));
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str, path: &[u8]) -> Result<Place, String> {
        let object = Object { source: source.into(), path: path.to_vec(), ..Default::default() };
        Place::of(&object).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_datachain_writes() {
        let cases: [(&str, &[u8], &str); 6] = [
            ("file:///data/pets", b"a/b.jpg", "/data/pets/a/b.jpg"),
            ("file:///data/pets/", b"a%20b #?", "/data/pets/a%20b #?"),
            ("file:///a%20b", b"...", "/a%20b/..."),
            ("file://", b"home/x", "/home/x"),
            ("file:///", b"x", "/x"),
            ("file:/data", b"x", "/data/x"),
        ];
        for (source, path, want) in cases {
            assert_eq!(of(source, path), Ok(Place::File(want.into())), "{source}");
        }
        let cases: [(&str, &[u8], &str); 7] = [
            ("s3://b/in/side", b"a//b", "s3://b/in/side/a//b"),
            ("gs://b_1", b"a#b", "gs://b_1/a#b"),
            ("az://$web", b"a?b", "az://$web/a?b"),
            ("http://h:8080", b"a b", "http://h:8080/a%20b"),
            ("https://h", b"a", "https://h/a"),
            ("hf://datasets", b"o/n/a b", "hf://datasets/o/n/a b"),
            ("hf://datasets", b"o/n@v1/a", "hf://datasets/o/n/a"),
        ];
        for (source, path, want) in cases {
            let Ok(Place::Store(kind, url)) = of(source, path) else { panic!("{source}") };
            assert_eq!(url, want, "{source}");
            assert!(kind.schemes.iter().any(|scheme| source.starts_with(scheme)), "{source}");
        }
    }

    #[test]
    fn refuses_what_has_no_exact_meaning() {
        let cases: [(&str, &[u8], &str); 43] = [
            ("", b"a", "`/a` cannot be requested exactly as recorded: the row records no source"),
            ("ftp://h", b"a", "dcfs does not read `ftp://` yet, which `ftp://h/a` asks for"),
            ("hf://o/n", b"a", "dcfs does not read `hf://o` yet"),
            ("hf://spaces", b"o/n/a", "dcfs does not read `hf://spaces` yet"),
            ("gs://$b", b"a", "names no bucket; write `gs://bucket`"),
            ("az://b@c", b"a", "names no container; write `az://container`"),
            ("az://c", b"", "empty"),
            ("http://", b"a", "names no server"),
            ("http:///x", b"a", "names no server"),
            ("http://h?x", b"a", "names no server"),
            ("http://h/x#y", b"a", "names no server"),
            ("http://h\\x", b"a", "names no server"),
            (
                "http://u:secret@h",
                b"a",
                "`http://h/a` cannot be requested exactly as recorded: its source holds a login",
            ),
            ("https://h", b"", "empty"),
            ("https://h", b"a/../b", "`.` or `..`"),
            ("https://h", b"a/%2e%2E/b", "`.` or `..`"),
            ("https://h", b".?x", "`.` or `..`"),
            ("https://h/..", b"a", "`.` or `..`"),
            ("https://h", b"a\nb?secret", "`https://h/a\\nb?...` cannot be requested exactly"),
            ("https://h", b"\xff", "not UTF-8"),
            ("hf://datasets", b"o", "names no file"),
            ("hf://datasets", b"o/n", "names no file"),
            ("hf://datasets", b"o/n@v", "names no file"),
            ("hf://datasets", b"o/n@/v", "names no file"),
            ("hf://datasets", b"/n/v", "names no file"),
            ("hf://datasets", b"o?/n/v", "names no file"),
            ("hf://datasets", b"../n/v", "names no file"),
            ("hf://datasets", b"o/n/../v", "empty, `.` or `..`"),
            ("hf://datasets", b"o/n/v//w", "empty, `.` or `..`"),
            ("s3", b"a", "dcfs does not read `s3` yet"),
            ("x\n://b", b"a", "dcfs does not read `x\\n://` yet"),
            ("file://host/dir", b"a", "not an absolute folder"),
            ("file:///d", b"", "empty"),
            ("file:///d", b"/etc/passwd", "begins or ends with `/`"),
            ("file:///d", b"a/", "begins or ends with `/`"),
            ("file:///d", b"a//b", "begins or ends with `/`"),
            ("file:///d", b"../x", "`.` or `..`"),
            ("file:///d", b"a/./b", "`.` or `..`"),
            ("file:///d", b"a\0", "NUL"),
            ("s3://", b"a", "no bucket"),
            ("s3://..", b"a", "no bucket"),
            ("s3://b@evil.com", b"a", "no bucket"),
            ("s3://b?x#y", b"a", "no bucket"),
        ];
        for (source, path, message) in cases {
            let error = of(source, path).expect_err(source);
            assert!(error.contains(message), "{source}: {error}");
        }
    }
}
