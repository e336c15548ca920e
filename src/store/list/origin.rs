//! The address to list: the user's text, parsed as DataChain's `read_storage` parses it. Sends no request.
//!
//! `s3://bucket/prefix`, `gs://`, `az://`, `file:///folder` or a path, each with patterns
//! ([`dcfs_core::glob`]). A text without patterns and without a trailing slash may name one object:
//! [`Stores::settle`](super::super::Stores::settle) finds out.
//!
//! Unlike in DataChain, a pattern alone (`*.jpg`) applies to the current folder (there it applies to `/`), and
//! `~` is left to the shell.

use std::path::{Path, PathBuf};

use crate::backend::{self, StoreKind};
use crate::error::{Error, show};
use dcfs_core::glob::{self, Glob};

/// The kind of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Local files.
    File,
    Store(&'static StoreKind),
}

impl Storage {
    /// The prefix of its sources.
    pub fn scheme(self) -> String {
        match self {
            Self::File => "file://".into(),
            Self::Store(kind) => format!("{}://", kind.schemes[0]),
        }
    }
}

/// The meaning of the last segment of a text without patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Folder,
    Object,
    /// Not known yet.
    Unknown,
}

/// One listing, and the patterns to apply to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    storage: Storage,
    /// The bucket; empty for local files.
    bucket: String,
    /// The key or the absolute path, without trailing slashes; a key without leading slashes either.
    path: String,
    end: End,
    globs: Vec<Glob>,
    besides: Vec<PathBuf>,
}

impl Origin {
    /// Parses `text`; returns several origins if its braces name several folders. Patterns in one folder share
    /// an origin.
    ///
    /// # Errors
    /// `Invalid`: another scheme, no bucket, malformed braces.
    pub fn parse(text: &str, current_folder: &Path) -> dcfs_core::error::Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for one in glob::expand(text)? {
            let origin = Self::one(&one, current_folder)?;
            let same = |other: &&mut Self| other.is_beside(&origin);
            match all.iter_mut().find(same) {
                Some(known) => known.add(origin),
                None => all.push(origin),
            }
        }
        Ok(all)
    }

    fn one(text: &str, current_folder: &Path) -> Result<Self, Error> {
        if text.contains('\0') {
            return Err(Error::Setting("the address holds a NUL".into()));
        }
        match text.split_once("://") {
            None => Self::local(text, current_folder),
            Some(("file", rest)) if !rest.starts_with('/') => {
                Err(wrong(text, "is not an absolute folder; write `file:///folder`"))
            }
            Some(("file", rest)) => Self::local(rest, current_folder),
            Some((scheme, rest)) => {
                let kind = backend::kind(scheme).and_then(|kind| Some((kind, kind.is_bucket?)));
                let (kind, is_bucket) = kind.ok_or_else(|| unlisted(text))?;
                Self::cloud(text, kind, is_bucket, rest)
            }
        }
    }

    fn cloud(
        text: &str,
        kind: &'static StoreKind,
        is_bucket: fn(&str) -> bool,
        rest: &str,
    ) -> Result<Self, Error> {
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(['*', '?', '[', ']', '{', '}']) {
            return Err(wrong(text, "has a pattern for a bucket; name the bucket"));
        }
        if !is_bucket(bucket) {
            return Err(wrong(text, "names no bucket"));
        }
        let (path, pattern) = glob::split(path);
        let end = end(path, pattern);
        let path = path.trim_start_matches('/').trim_end_matches('/').to_owned();
        let end = if path.is_empty() { End::Folder } else { end };
        let (storage, bucket, besides) = (Storage::Store(kind), bucket.to_owned(), Vec::new());
        Ok(Self { storage, bucket, path, end, globs: globs(pattern), besides })
    }

    fn local(text: &str, current_folder: &Path) -> Result<Self, Error> {
        let (folder, pattern) = glob::split(text);
        let end = end(folder, pattern);
        let is_absolute = text.starts_with('/');
        let start = if is_absolute { Path::new("/") } else { current_folder };
        let Some(start) = start.to_str() else {
            return Err(Error::Setting("the current folder's name is not UTF-8".into()));
        };
        let path = normal(&format!("{start}/{folder}"));
        let end = if path == "/" { End::Folder } else { end };
        let (storage, bucket, besides) = (Storage::File, String::new(), Vec::new());
        Ok(Self { storage, bucket, path, end, globs: globs(pattern), besides })
    }

    /// Whether one listing serves both.
    fn is_beside(&self, other: &Self) -> bool {
        (self.storage, &self.bucket, &self.path, self.end)
            == (other.storage, &other.bucket, &other.path, other.end)
            && self.globs.is_empty() == other.globs.is_empty()
    }

    fn add(&mut self, other: Self) {
        for glob in other.globs {
            if !self.globs.contains(&glob) {
                self.globs.push(glob);
            }
        }
    }

    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// The bucket or container; empty for local files.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether it is one object, a folder, or not known yet.
    pub fn end(&self) -> End {
        self.end
    }

    /// The same origin, with `end` known.
    pub fn settled(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// The same without everything below some local folders, such as mounts of dcfs; they are canonical.
    pub fn without(self, besides: Vec<PathBuf>) -> Self {
        Self { besides, ..self }
    }

    /// The local folders that are left out.
    pub fn besides(&self) -> &[PathBuf] {
        &self.besides
    }

    /// The patterns; empty if everything is listed.
    pub fn globs(&self) -> &[Glob] {
        &self.globs
    }

    /// The `source` that rows record: the bucket; for local files the listed folder, for a single file its
    /// folder.
    pub fn source(&self) -> String {
        match self.storage {
            Storage::File => {
                file_uri(if self.end == End::Object { self.parent() } else { &self.path })
            }
            _ => format!("{}{}", self.storage.scheme(), self.bucket),
        }
    }

    /// The prefix of every key: empty or with a trailing slash; for a single object, its key. Empty for local
    /// files, because it is part of the source.
    pub fn prefix(&self) -> String {
        match (self.storage, self.end) {
            (Storage::File, _) => String::new(),
            (_, End::Object) => self.path.clone(),
            _ if self.path.is_empty() => String::new(),
            _ => format!("{}/", self.path),
        }
    }

    /// The key, or the absolute local path, without a trailing slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The local folder or file.
    pub fn local_path(&self) -> PathBuf {
        PathBuf::from(&self.path)
    }

    fn parent(&self) -> &str {
        match self.path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((parent, _)) => parent,
        }
    }

    /// The last segment: the recorded path of a single local file.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The dataset in which DataChain stores this listing (`parse_listing_uri`); `None` for a single object,
    /// which it does not list. `is_current`: without old versions, which only a bucket may have.
    pub fn listing_name(&self, is_current: bool) -> Option<String> {
        let is_cloud = self.storage != Storage::File;
        let start = if is_current && is_cloud { "lst__current__" } else { "lst__" };
        let folder = format!("{}/{}", self.source(), self.prefix());
        (self.end != End::Object).then(|| format!("{start}{}", sanitized(&folder)))
    }

    /// Whether the patterns match the recorded path of a row.
    pub fn selects(&self, path: &str) -> bool {
        if self.end == End::Object || self.globs.is_empty() {
            return true;
        }
        let below = path.strip_prefix(&self.prefix()).unwrap_or(path);
        self.globs.iter().any(|glob| glob.is_match(below))
    }

    /// For messages: `s3://bucket/prefix/`, safe to print.
    pub fn label(&self) -> String {
        match (self.storage, self.end) {
            (Storage::File, End::Object) => show(&file_uri(&self.path)),
            (Storage::File, _) => show(&self.source()),
            _ => show(&format!("{}/{}", self.source(), self.prefix())),
        }
    }
}

fn wrong(text: &str, what: &str) -> Error {
    Error::Setting(format!("`{}` {what}", show(text)))
}

/// The error for an address without listings.
fn unlisted(text: &str) -> Error {
    let listed = backend::kinds().filter(|kind| kind.is_bucket.is_some());
    let schemes: Vec<_> = listed.map(|kind| format!("{}://", kind.schemes[0])).collect();
    let what = format!("cannot be listed; dcfs lists {} and local folders", schemes.join(", "));
    wrong(text, &what)
}

fn globs(pattern: Option<&str>) -> Vec<Glob> {
    // Nothing can be below an empty pattern, so it means the folder itself.
    pattern.filter(|pattern| !pattern.is_empty()).map(Glob::new).into_iter().collect()
}

fn end(path: &str, pattern: Option<&str>) -> End {
    match pattern {
        None if !path.is_empty() && !path.ends_with('/') => End::Unknown,
        _ => End::Folder,
    }
}

/// An absolute path without empty, `.` and `..` segments, as Python's `os.path.abspath`.
fn normal(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// As DataChain's `path_to_fsspec_uri`: nothing is encoded, and the root has four slashes.
fn file_uri(path: &str) -> String {
    if path == "/" { "file:////".into() } else { format!("file://{path}") }
}

/// DataChain's `_sanitize_ds_name`.
fn sanitized(raw: &str) -> String {
    let raw = raw.replace("_x", "_x_x").replace("_y", "_y_y").replace("_z", "_z_z");
    let mut name = String::with_capacity(raw.len());
    for c in raw.chars() {
        let number = u32::from(c);
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '/' | ':' | '-' => name.push(c),
            '\0'..='\u{ff}' => name += &format!("_x{number:02x}"),
            '\u{100}'..='\u{ffff}' => name += &format!("_y{number:04x}"),
            _ => name += &format!("_z{number:06x}"),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Vec<Origin> {
        Origin::parse(text, Path::new("/here/now"))
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Names as DataChain 0.62's `parse_listing_uri` gives them, after `split_uri_pattern`.
    #[test]
    fn listings_are_named_as_datachain_names_them() {
        let cases: [(&str, &[&str]); 44] = [
            ("s3://b", &["lst__s3://b/"]),
            ("s3://b/", &["lst__s3://b/"]),
            ("s3://b/a", &["lst__s3://b/a/"]),
            ("s3://b/a/", &["lst__s3://b/a/"]),
            ("s3://b/a/b.c", &["lst__s3://b/a/b_x2ec/"]),
            ("s3://b//a", &["lst__s3://b/a/"]),
            ("s3://b/a//b/", &["lst__s3://b/a//b/"]),
            ("s3://b/a b/\u{e9}/\u{1f600}", &["lst__s3://b/a_x20b/_xe9/_z01f600/"]),
            ("s3://b/\u{4e00}", &["lst__s3://b/_y4e00/"]),
            ("s3://my.bucket-1/a_x/_y_z__x", &["lst__s3://my_x2ebucket-1/a_x_x/_y_y_z_z__x_x/"]),
            ("gs://b/x%20y+z", &["lst__gs://b/x_x2520y_x2bz/"]),
            ("az://c/$web/", &["lst__az://c/_x24web/"]),
            ("s3://b/*.jpg", &["lst__s3://b/"]),
            ("s3://b/a/*/x.jpg", &["lst__s3://b/a/"]),
            ("s3://b/a/**/*.{jpg,png}", &["lst__s3://b/a/"]),
            ("s3://b/{x,y}/z", &["lst__s3://b/x/z/", "lst__s3://b/y/z/"]),
            ("s3://b/a{1..3}", &["lst__s3://b/a1/", "lst__s3://b/a2/", "lst__s3://b/a3/"]),
            ("s3://b/a{01..2}/*", &["lst__s3://b/a01/", "lst__s3://b/a02/"]),
            ("s3://b/a?c/d", &["lst__s3://b/"]),
            ("s3://b/a[0-9]/d", &["lst__s3://b/"]),
            ("s3://b/a}b", &["lst__s3://b/a_x7db/"]),
            ("s3://b/a{b", &["lst__s3://b/"]),
            ("s3://b/a#b", &["lst__s3://b/a_x23b/"]),
            ("s3://b/{1..2..3}", &["lst__s3://b/1_x2e_x2e2_x2e_x2e3/"]),
            ("s3://b/{}", &["lst__s3://b/"]),
            ("s3://b/a/_x", &["lst__s3://b/a/_x_x/"]),
            ("s3://b/-:/Z", &["lst__s3://b/-:/Z/"]),
            ("file:///abs/dir", &["lst__file:///abs/dir/"]),
            ("file:///abs/dir/", &["lst__file:///abs/dir/"]),
            ("file:///abs/d/*.txt", &["lst__file:///abs/d/"]),
            ("file:///a/../b", &["lst__file:///b/"]),
            ("file:///a//b/", &["lst__file:///a/b/"]),
            ("/abs/dir", &["lst__file:///abs/dir/"]),
            ("/abs/./x/../dir", &["lst__file:///abs/dir/"]),
            ("//abs//d", &["lst__file:///abs/d/"]),
            ("rel", &["lst__file:///here/now/rel/"]),
            ("./rel/../x", &["lst__file:///here/now/x/"]),
            ("rel/*.txt", &["lst__file:///here/now/rel/"]),
            (".", &["lst__file:///here/now/"]),
            ("/", &["lst__file://///"]),
            ("/abs/a/**", &["lst__file:///abs/a/"]),
            ("/abs/with space/#%/", &["lst__file:///abs/with_x20space/_x23_x25/"]),
            // In DataChain this means `/`.
            ("*.jpg", &["lst__file:///here/now/"]),
            ("/*", &["lst__file://///"]),
        ];
        for (text, names) in cases {
            let got: Vec<_> =
                parse(text).iter().filter_map(|origin| origin.listing_name(false)).collect();
            assert_eq!(got, names, "{text}");
        }
        let current = |text| parse(text)[0].listing_name(true);
        assert_eq!(current("s3://b/a"), Some("lst__current__s3://b/a/".into()));
        assert_eq!(current("/a"), Some("lst__file:///a/".into()));
        assert_eq!(parse("s3://b/a")[0].clone().settled(End::Object).listing_name(false), None);
    }

    #[test]
    fn source_prefix_and_end() {
        let cases = [
            ("s3://b", "s3://b", "", End::Folder),
            ("s3://b//", "s3://b", "", End::Folder),
            ("s3://b/a", "s3://b", "a/", End::Unknown),
            ("s3://b/a/", "s3://b", "a/", End::Folder),
            ("s3://b/a/*", "s3://b", "a/", End::Folder),
            ("/a/b", "file:///a/b", "", End::Unknown),
            ("/a/b/", "file:///a/b", "", End::Folder),
            ("/a/b*", "file:///a", "", End::Folder),
            ("/", "file:////", "", End::Folder),
            ("", "file:///here/now", "", End::Folder),
        ];
        for (text, source, prefix, end) in cases {
            let [origin] = &parse(text)[..] else { panic!("{text}") };
            assert_eq!(
                (origin.source(), origin.prefix(), origin.end()),
                (source.into(), prefix.into(), end),
                "{text}"
            );
        }
        let single = |text| parse(text)[0].clone().settled(End::Object);
        assert_eq!((single("/a/b").source(), single("/a/b").name()), ("file:///a".into(), "b"));
        assert_eq!(single("/b").source(), "file:////");
        assert_eq!(single("s3://b/a/c").prefix(), "a/c");
    }

    #[test]
    fn what_cannot_be_listed_is_refused() {
        let cases = [
            ("s3://", "`s3://` names no bucket"),
            ("s3://b*/x", "`s3://b*/x` has a pattern for a bucket; name the bucket"),
            ("s3://b{1/x", "`s3://b{1/x` has a pattern for a bucket; name the bucket"),
            ("s3://a@b/x", "`s3://a@b/x` names no bucket"),
            ("file://x", "`file://x` is not an absolute folder; write `file:///folder`"),
            (
                "hf://datasets/a/b",
                "`hf://datasets/a/b` cannot be listed; dcfs lists s3://, gs://, az:// and local folders",
            ),
            (
                "{{a,b},c}",
                "`{{a,b},c}` has nested braces, which DataChain does not support; write the alternatives out",
            ),
            ("a\0", "the address holds a NUL"),
        ];
        for (text, message) in cases {
            assert_eq!(
                Origin::parse(text, Path::new("/")).unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }

    #[test]
    fn patterns_are_matched_below_the_prefix() {
        let cases = [
            ("s3://b/a/*.jpg", "a/x.jpg", true),
            ("s3://b/a/*.jpg", "a/b/x.jpg", false),
            ("s3://b/a/**/*.jpg", "a/b/x.jpg", true),
            ("s3://b/*/x", "a/b/x", true),
            ("s3://b/a/*.{jpg,png}", "a/x.png", true),
            ("s3://b/a/", "a/x.png", true),
            ("/a/*.jpg", "x.jpg", true),
            ("/a/*.jpg", "b/x.jpg", false),
        ];
        for (text, path, found) in cases {
            assert_eq!(parse(text)[0].selects(path), found, "{text} {path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(s3://|gs://|file://|/|)[a-c{},.*?\\[/ \u{e9}]{0,30}") {
            if let Ok(origins) = Origin::parse(&text, Path::new("/x")) {
                for origin in origins {
                    let name = origin.listing_name(false).unwrap_or_default();
                    prop_assert!(name.starts_with("lst__"));
                }
            }
        }
    }
}
