//! Where a row says its object is: a source and a path become a bucket and a key, or a file.
//!
//! Nothing is decoded or normalised: DataChain writes neither percent-encoding nor `.` segments, so
//! a path that holds them means those very characters, and one that could leave its source, or be
//! read in two ways, is refused. The refusals for files are DataChain's own (`client/local.py`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::error::{Error, place, show};
use crate::object::Object;

/// An object's address.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// An absolute path of this machine.
    File(PathBuf),
    /// A bucket of S3 or of a server that speaks its protocol.
    S3 {
        /// Letters, digits, `.`, `-` and `_` only: it becomes part of a URL.
        bucket: String,
        /// The key, with the source's own prefix in front.
        key: Vec<u8>,
    },
}

impl Place {
    /// Reads the address of `object`.
    ///
    /// # Errors
    /// `Scheme` for a store that dcfs does not read, `Unaskable` for a source or a path with no
    /// exact meaning.
    pub fn of(object: &Object) -> Result<Self, Error> {
        let unaskable = |reason| Error::Unaskable { place: place(object), reason };
        match object.source.split_once("://") {
            Some(("file", rest)) => file(rest, &object.path).map_err(unaskable),
            Some(("s3", rest)) => s3(rest, &object.path).map_err(unaskable),
            Some((scheme, _)) => Err(scheme_error(object, &format!("{scheme}://"))),
            None => match object.source.strip_prefix("file:") {
                Some(rest) => file(rest, &object.path).map_err(unaskable),
                None if object.source.is_empty() => Err(unaskable("the row records no source")),
                None => Err(scheme_error(object, &object.source)),
            },
        }
    }
}

fn scheme_error(object: &Object, scheme: &str) -> Error {
    Error::Scheme { place: place(object), scheme: show(scheme) }
}

/// `/abs/dir` (of `file:///abs/dir`) and a path below it. Of a bare `file://`, below the root.
fn file(dir: &str, path: &[u8]) -> Result<Place, &'static str> {
    if !dir.is_empty() && !dir.starts_with('/') {
        return Err("its source is no absolute folder; write `file:///folder`");
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
    Ok(Place::File(whole))
}

/// `bucket` or `bucket/prefix` (of `s3://bucket/prefix`) and a key below it.
fn s3(rest: &str, path: &[u8]) -> Result<Place, &'static str> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if bucket.len() > 255 || !bucket.bytes().all(plain) || ["", ".", ".."].contains(&bucket) {
        return Err("its source names no bucket; write `s3://bucket`");
    }
    if path.is_empty() {
        return Err("its path is empty");
    }
    let mut key = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes().to_vec();
    if !key.is_empty() {
        key.push(b'/');
    }
    key.extend_from_slice(path);
    Ok(Place::S3 { bucket: bucket.to_owned(), key })
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
        let file = |path: &str| Ok(Place::File(path.into()));
        let s3 = |key: &[u8]| Ok(Place::S3 { bucket: "my.b-1".into(), key: key.to_vec() });
        let cases: [(&str, &[u8], _); 10] = [
            ("file:///data/pets", b"a/b.jpg", file("/data/pets/a/b.jpg")),
            ("file:///data/pets/", b"a%20b #?", file("/data/pets/a%20b #?")),
            ("file:///a%20b", b"...", file("/a%20b/...")),
            ("file://", b"home/x", file("/home/x")),
            ("file:///", b"x", file("/x")),
            ("file:/data", b"x", file("/data/x")),
            ("s3://my.b-1", b"a//b/../c\xff\n", s3(b"a//b/../c\xff\n")),
            ("s3://my.b-1", b"/a", s3(b"/a")),
            ("s3://my.b-1/", b"a", s3(b"a")),
            ("s3://my.b-1/in/side", b"a", s3(b"in/side/a")),
        ];
        for (source, path, place) in cases {
            assert_eq!(of(source, path), place, "{source} {}", path.escape_ascii());
        }
    }

    #[test]
    fn refuses_what_has_no_exact_meaning() {
        let cases: [(&str, &[u8], &str); 19] = [
            ("", b"a", "`/a` cannot be asked for exactly as recorded: the row records no source"),
            ("gs://b", b"a", "dcfs does not read `gs://` yet, which `gs://b/a` asks for"),
            ("az://b", b"a", "dcfs does not read `az://` yet, which `az://b/a` asks for"),
            ("https://h", b"a", "dcfs does not read `https://` yet, which `https://h/a` asks for"),
            ("hf://datasets", b"a", "`hf://` yet"),
            ("s3", b"a", "dcfs does not read `s3` yet"),
            ("x\n://b", b"a", "dcfs does not read `x\\n://` yet"),
            ("file://host/dir", b"a", "no absolute folder"),
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
