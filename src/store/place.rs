//! Where a row says its object is: a source and a path become a bucket and a key, or a file.
//!
//! Nothing is decoded or normalised: DataChain writes neither percent-encoding nor `.` segments, so
//! a path that holds them means those very characters, and one that could leave its source, or be
//! read in two ways, is refused. The refusals for files are DataChain's own (`client/local.py`).

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::error::{Error, place, show};
use dcfs_core::object::Object;

/// An object's address.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// An absolute path of this machine.
    File(PathBuf),
    /// A bucket of S3 or of a server that speaks its protocol.
    S3(Key),
    /// A bucket of Google Cloud Storage.
    Gs(Key),
    /// A container of the Azure account of the environment.
    Az(Key),
    /// A URL, encoded.
    Http(String),
    Hub(HubFile),
}

/// A key of a bucket.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Letters, digits, `.`, `-`, `_` and `$` only: it becomes part of a URL.
    pub bucket: String,
    /// The key, with the source's own prefix in front.
    pub key: Vec<u8>,
}

/// A file of a data set of the Hugging Face hub.
#[derive(Debug, PartialEq, Eq)]
pub struct HubFile {
    /// `OWNER/NAME`, of letters, digits, `.`, `-` and `_` only.
    pub repository: String,
    /// What `@` names; where the row records a commit, that goes before it.
    pub revision: Option<String>,
    /// Below the repository; no segment is empty, `.` or `..`.
    pub path: String,
}

impl Place {
    /// The address as a URL, for comparing with those that are allowed.
    pub fn address(&self) -> String {
        let in_bucket = |scheme: &str, key: &Key| {
            format!("{scheme}://{}/{}", key.bucket, String::from_utf8_lossy(&key.key))
        };
        match self {
            Self::File(path) => format!("file://{}", path.display()),
            Self::S3(key) => in_bucket("s3", key),
            Self::Gs(key) => in_bucket("gs", key),
            Self::Az(key) => in_bucket("az", key),
            Self::Http(url) => url.clone(),
            Self::Hub(file) => format!("hf://datasets/{}/{}", file.repository, file.path),
        }
    }

    /// Reads the address of `object`.
    ///
    /// # Errors
    /// `Scheme` for a store that dcfs does not read, `Unaskable` for a source or a path with no
    /// exact meaning.
    pub fn of(object: &Object) -> Result<Self, Error> {
        let unaskable = |reason| Error::Unaskable { place: place(object), reason };
        let path = &object.path[..];
        let found = match object.source.split_once("://") {
            Some(("file", rest)) => file(rest, path),
            Some(("s3", rest)) => bucket(rest, path, NO_BUCKET).map(Self::S3),
            Some(("gs", rest)) => bucket(rest, path, NO_GS_BUCKET).map(Self::Gs),
            Some(("az", rest)) => bucket(rest, path, NO_CONTAINER).map(Self::Az),
            Some(("http" | "https", rest)) => http(&object.source, rest, path),
            Some(("hf", "datasets")) => hub(path),
            Some(("hf", rest)) => {
                let kind = rest.split('/').next().unwrap_or_default();
                return Err(scheme_error(object, &format!("hf://{kind}")));
            }
            Some((scheme, _)) => return Err(scheme_error(object, &format!("{scheme}://"))),
            None => match object.source.strip_prefix("file:") {
                Some(rest) => file(rest, path),
                None if object.source.is_empty() => Err("the row records no source"),
                None => return Err(scheme_error(object, &object.source)),
            },
        };
        found.map_err(unaskable)
    }

    /// What its source begins with.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::File(_) => "file://",
            Self::S3(_) => "s3://",
            Self::Gs(_) => "gs://",
            Self::Az(_) => "az://",
            Self::Http(url) if url.starts_with("https:") => "https://",
            Self::Http(_) => "http://",
            Self::Hub(_) => "hf://",
        }
    }
}

impl HubFile {
    /// What tables of settings are compared with: of any revision.
    pub fn address(&self) -> String {
        format!("hf://datasets/{}/{}", self.repository, self.path)
    }
}

const NO_BUCKET: &str = "its source names no bucket; write `s3://bucket`";
const NO_GS_BUCKET: &str = "its source names no bucket; write `gs://bucket`";
const NO_CONTAINER: &str = "its source names no container; write `az://container`";

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
fn bucket(rest: &str, path: &[u8], no_bucket: &'static str) -> Result<Key, &'static str> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if !is_bucket(bucket, no_bucket == NO_CONTAINER) {
        return Err(no_bucket);
    }
    if path.is_empty() {
        return Err("its path is empty");
    }
    let mut key = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes().to_vec();
    if !key.is_empty() {
        key.push(b'/');
    }
    key.extend_from_slice(path);
    Ok(Key { bucket: bucket.to_owned(), key })
}

/// Whether `name` may stand in a URL as that of a bucket, or of a container.
pub fn is_bucket(name: &str, is_container: bool) -> bool {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b) || (is_container && b == b'$');
    name.len() <= 255 && name.bytes().all(plain) && !["", ".", ".."].contains(&name)
}

/// The URL that DataChain asks for (`HTTPClient.get_uri`): what is percent-encoded already stays, `?` begins
/// a query, and what follows `#` is not sent.
fn http(source: &str, rest: &str, path: &[u8]) -> Result<Place, &'static str> {
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("its source holds a login, which a catalog should not");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if authority.is_empty() || !authority.bytes().all(plain) || source.contains(['?', '#']) {
        return Err("its source names no server; write `https://host`");
    }
    let path = std::str::from_utf8(path).map_err(|_| "its path is not UTF-8")?;
    if path.is_empty() {
        return Err("its path is empty");
    }
    if path.chars().any(char::is_control) || source.chars().any(char::is_control) {
        return Err("its path holds a control character");
    }
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
    let below = rest.split_once('/').map_or("", |(_, below)| below);
    if below.split('/').chain(path.split('/')).any(is_dots) {
        return Err("its path holds a `.` or `..` segment");
    }
    let slash = if source.ends_with('/') || path.starts_with('/') { "" } else { "/" };
    let mut url = source.to_owned() + slash;
    url += &url_path(path, b"");
    if let Some(query) = query {
        url.push('?');
        query.bytes().for_each(|b| encode(&mut url, b, b"-._~/%:?@!$&'()*+,;=[]"));
    }
    Ok(Place::Http(url))
}

/// A path as a URL has it; `more` stays as it is too.
pub fn url_path(path: &str, more: &[u8]) -> String {
    let kept = [b"-._~/%", more].concat();
    let mut url = String::with_capacity(path.len());
    path.bytes().for_each(|b| encode(&mut url, b, &kept));
    url
}

/// Appends `byte` as it is, if it is a letter, a digit or one of `kept`, else percent-encoded.
fn encode(url: &mut String, byte: u8, kept: &[u8]) {
    if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
        url.push(char::from(byte));
    } else {
        // A `String` takes anything.
        let _ = write!(url, "%{byte:02X}");
    }
}

/// Whether a client would take a segment for `.` or `..`, also encoded.
fn is_dots(segment: &str) -> bool {
    let text = segment.to_ascii_lowercase().replace("%2e", ".");
    text == "." || text == ".."
}

/// `OWNER/NAME[@REVISION]/PATH`, as `huggingface_hub` writes it: a revision has its slashes encoded, but
/// for `refs/convert/...` and `refs/pr/...`.
fn hub(path: &[u8]) -> Result<Place, &'static str> {
    const NO_FILE: &str = "its path names no file of a data set; write `OWNER/NAME/PATH`";
    let text = std::str::from_utf8(path).map_err(|_| "its path is not UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("its path holds a control character");
    }
    let (owner, rest) = text.split_once('/').ok_or(NO_FILE)?;
    let end = rest.find(['/', '@']).ok_or(NO_FILE)?;
    let (name, rest) = rest.split_at(end);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(plain) && !is_dots(name);
    if !is_name(owner) || !is_name(name) {
        return Err(NO_FILE);
    }
    let (revision, file) = match rest.strip_prefix('@') {
        Some(rest) => revision(rest).map(|(revision, file)| (Some(revision), file)),
        None => rest.strip_prefix('/').map(|file| (None, file)),
    }
    .ok_or(NO_FILE)?;
    if file.split('/').any(|segment| segment.is_empty() || segment == "." || segment == "..") {
        return Err("its path holds an empty, `.` or `..` segment");
    }
    let repository = format!("{owner}/{name}");
    Ok(Place::Hub(HubFile { repository, revision, path: file.to_owned() }))
}

/// The revision at the start of what follows `@`, decoded, and the path after it.
fn revision(rest: &str) -> Option<(String, &str)> {
    let special = ["refs/convert/", "refs/pr/"].into_iter().find(|refs| rest.starts_with(refs));
    let start = special.map_or(0, str::len);
    let end = start + rest[start..].find('/')?;
    let revision = rest[..end].replace("%2F", "/").replace("%2f", "/");
    (end > start).then(|| (revision, &rest[end + 1..]))
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
        let key = |bucket: &str, key: &[u8]| Key { bucket: bucket.into(), key: key.to_vec() };
        let s3 = |k: &[u8]| Ok(Place::S3(key("my.b-1", k)));
        let http = |url: &str| Ok(Place::Http(url.into()));
        let hub = |revision: Option<&str>, path: &str| {
            let (repository, revision) = ("o-1/n_2.x".into(), revision.map(str::to_owned));
            Ok(Place::Hub(HubFile { repository, revision, path: path.into() }))
        };
        let cases: [(&str, &[u8], _); 27] = [
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
            ("gs://b_1", b"a#b", Ok(Place::Gs(key("b_1", b"a#b")))),
            ("az://$web", b"a?b", Ok(Place::Az(key("$web", b"a?b")))),
            ("http://h:8080", b"a b/%20/c", http("http://h:8080/a%20b/%20/c")),
            (
                "https://h",
                "\u{e9}\"<>\\^`{|}".as_bytes(),
                http("https://h/%C3%A9%22%3C%3E%5C%5E%60%7B%7C%7D"),
            ),
            ("https://h", b"a?b=c d&e=%20#f", http("https://h/a?b=c%20d&e=%20")),
            ("https://h", b"a#f?b", http("https://h/a")),
            ("https://h/", b"a", http("https://h/a")),
            ("https://h", b"/a//b/", http("https://h/a//b/")),
            ("https://h/in/side", b"a", http("https://h/in/side/a")),
            ("http://[::1]:80", b"a", http("http://[::1]:80/a")),
            ("https://h", b"a+b:c@d,e;f=g", http("https://h/a%2Bb%3Ac%40d%2Ce%3Bf%3Dg")),
            ("hf://datasets", b"o-1/n_2.x/a b/c%20#?", hub(None, "a b/c%20#?")),
            ("hf://datasets", b"o-1/n_2.x@v1/a@b", hub(Some("v1"), "a@b")),
            ("hf://datasets", b"o-1/n_2.x@a%2Fb/c", hub(Some("a/b"), "c")),
            (
                "hf://datasets",
                b"o-1/n_2.x@refs/convert/parquet/c",
                hub(Some("refs/convert/parquet"), "c"),
            ),
            ("hf://datasets", b"o-1/n_2.x@refs/pr/7/c/d", hub(Some("refs/pr/7"), "c/d")),
            ("hf://datasets", b"o-1/n_2.x@refs/other", hub(Some("refs"), "other")),
        ];
        for (source, path, place) in cases {
            assert_eq!(of(source, path), place, "{source} {}", path.escape_ascii());
        }
    }

    #[test]
    fn refuses_what_has_no_exact_meaning() {
        let cases: [(&str, &[u8], &str); 43] = [
            ("", b"a", "`/a` cannot be asked for exactly as recorded: the row records no source"),
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
                "`http://h/a` cannot be asked for exactly as recorded: its source holds a login",
            ),
            ("https://h", b"", "empty"),
            ("https://h", b"a/../b", "`.` or `..`"),
            ("https://h", b"a/%2e%2E/b", "`.` or `..`"),
            ("https://h", b".?x", "`.` or `..`"),
            ("https://h/..", b"a", "`.` or `..`"),
            ("https://h", b"a\nb?secret", "`https://h/a\\nb?...` cannot be asked for exactly"),
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
