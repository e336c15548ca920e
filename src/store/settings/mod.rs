//! Settings per bucket or prefix, as the user's `config.toml` has them. Pure.
//!
//! ```toml
//! ["s3://training-data"]
//! profile = "research"
//! region = "eu-central-1"
//!
//! ["https://intranet.example"]
//! ca_bundle = "/etc/ssl/intranet.pem"
//! ```
//!
//! 1. A table is named by a scheme (`s3://`), a bucket, a container or a server, or one of these and a prefix of whole
//!    segments. Of the hub it is `hf://datasets/OWNER/NAME/PREFIX`, whatever the revision.
//! 2. Of all tables that an object is under, the longest counts, alone: tables do not add up.
//! 3. What a table leaves out is as if there were no file.
//! 4. Tables hold no secrets: they name a profile, a file or a variable that does.
//!
//! What a table may say depends on its scheme, and is the matter of [`said`]. A new scheme is one more [`Said`], and one
//! more arm in [`Said::read`].

mod said;

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::show;
use super::place;
use dcfs_core::error::Kind;
use dcfs_core::name::nearest;
use said::Said;
pub use said::{Az, Gs, Hf, Http, S3, Says, Secret};

/// Schemes that have settings.
const SCHEMES: [&str; 6] = ["s3://", "gs://", "az://", "https://", "http://", "hf://"];

/// What the file says; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    file: Option<PathBuf>,
    tables: Vec<Table>,
    /// Entries of `[mount]`: a name, and a value unless that is only `true`.
    mount: Vec<(String, Option<String>)>,
}

/// One table of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    name: Name,
    said: Said,
}

/// The name of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `s3://bucket/prefix`, without a slash at its end but those of the scheme.
    shown: String,
    /// What addresses below it begin with: the same, as a URL has it.
    start: String,
}

impl Name {
    /// As the file has it.
    pub fn text(&self) -> &str {
        &self.shown
    }

    /// Whether it is `address`, or ends where a segment of it does.
    fn is_over(&self, address: &[u8]) -> bool {
        address
            .strip_prefix(self.start.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || self.start.ends_with("://"))
    }
}

/// The longest name over `address`, with what belongs to it.
pub fn longest<'a, T>(
    tables: impl Iterator<Item = (&'a Name, T)>,
    address: &[u8],
) -> Option<(&'a Name, T)> {
    tables.filter(|(name, _)| name.is_over(address)).max_by_key(|(name, _)| name.start.len())
}

/// What tables are compared with, of a key of a bucket.
pub fn address(scheme: &str, bucket: &str, key: &[u8]) -> Vec<u8> {
    [scheme.as_bytes(), b"://", bucket.as_bytes(), b"/", key].concat()
}

/// What is wrong with what the table called `name` says.
pub fn wrong(name: &Name, error: super::Error) -> super::Error {
    super::Error::Setting(format!("settings of `{}`: {error}", show(name.text())))
}

/// Why the file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    file: PathBuf,
    /// From 1.
    line: usize,
    message: String,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, line {}: {}", self.file.display(), self.line, self.message)
    }
}

impl From<Error> for dcfs_core::error::Error {
    fn from(error: Error) -> Self {
        Self::new(Kind::Invalid, error)
    }
}

/// A message, and the byte of the text it is about.
type Wrong = (usize, String);

impl Settings {
    /// Reads the text of `file`.
    ///
    /// # Errors
    /// No TOML, a table or a name that nobody knows, or a value that is none; with the line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let (tables, mount) = tables(text).map_err(|(at, message)| Error {
            file: file.to_owned(),
            line: text.as_bytes()[..at.min(text.len())].split(|b| *b == b'\n').count(),
            message,
        })?;
        Ok(Self { file: Some(file.to_owned()), tables, mount })
    }

    /// The file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What `[mount]` says: options as `-o` takes them.
    pub fn mount(&self) -> impl Iterator<Item = String> {
        self.mount.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}={}", value.replace('\\', "\\\\").replace(',', "\\,")),
            None => name.clone(),
        })
    }

    /// The name of every table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| table.name.text())
    }

    /// What counts for an object of S3, and the name of the table that says it.
    pub fn s3(&self, bucket: &str, key: &[u8]) -> Option<(&str, &S3)> {
        let (name, said) = longest(self.all(), &address("s3", bucket, key))?;
        Some((name.text(), said))
    }

    /// Each table of one kind.
    pub fn all<S: Says>(&self) -> impl Iterator<Item = (&Name, &S)> {
        self.tables.iter().filter_map(|table| Some((&table.name, S::of(&table.said)?)))
    }
}

/// The table of options of every mount.
const MOUNT: &str = "mount";

/// Options, as [`Settings::mount`] has them.
type Options = Vec<(String, Option<String>)>;

fn tables(text: &str) -> Result<(Vec<Table>, Options), Wrong> {
    let document = DeTable::parse(text)
        .map_err(|error| (error.span().map_or(0, |span| span.start), show(error.message())))?;
    let mut tables: Vec<Table> = Vec::new();
    let mut mount = Options::new();
    for (name, value) in document.get_ref() {
        let at = name.span().start;
        if let (MOUNT, DeValue::Table(entries)) = (name.get_ref().as_ref(), value.get_ref()) {
            mount = options(entries)?;
            continue;
        }
        let wrong = |message| (at, message);
        let table = named(name.get_ref()).map_err(wrong)?;
        if tables.iter().any(|other| other.name.start == table.start) {
            return Err((at, format!("there are two tables for `{}`", show(table.text()))));
        }
        let DeValue::Table(entries) = value.get_ref() else {
            return Err((at, format!("`{}` is a table: write `[\"{0}\"]`", show(name.get_ref()))));
        };
        tables.push(Table { said: Said::read(at, table.text(), entries)?, name: table });
    }
    Ok((tables, mount))
}

/// Entries of `[mount]`: texts, numbers, `true`, and lists of texts for options that are repeated.
fn options(entries: &DeTable<'_>) -> Result<Options, Wrong> {
    let mut options = Options::new();
    for (name, value) in entries {
        let wrong = || {
            let text = "takes a text, a whole number, `true`, or a list of texts";
            (value.span().start, format!("`{}` {text}", show(name.get_ref())))
        };
        let mut add = |value: Option<String>| options.push((name.get_ref().to_string(), value));
        match value.get_ref() {
            DeValue::Boolean(true) => add(None),
            DeValue::Boolean(false) => {}
            DeValue::Integer(number) => add(Some(number.to_string())),
            DeValue::String(text) => add(Some(text.to_string())),
            DeValue::Array(items) => {
                for item in items.iter() {
                    let DeValue::String(text) = item.get_ref() else { return Err(wrong()) };
                    add(Some(text.to_string()));
                }
            }
            _ => return Err(wrong()),
        }
    }
    Ok(options)
}

/// The name of a table, without slashes at its end.
fn named(name: &str) -> Result<Name, String> {
    let Some((scheme, rest)) = name.split_once("://") else {
        let near = nearest::to(name, SCHEMES.into_iter());
        let hint = nearest::hint(&near, "tables are called as `[\"s3://bucket/prefix\"]`");
        return Err(format!("`{}` is no bucket{hint}", show(name)));
    };
    let scheme = format!("{scheme}://");
    if !SCHEMES.contains(&scheme.as_str()) {
        let hint =
            format!("there are for {}", SCHEMES.map(|known| format!("`{known}`")).join(", "));
        let hint = nearest::hint(&nearest::to(&scheme, SCHEMES.into_iter()), &hint);
        return Err(format!("there are no settings for `{}`{hint}", show(&scheme)));
    }
    let rest = rest.trim_end_matches('/');
    let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
    if !(rest.is_empty() || is_plain(&scheme, first, below)) {
        return Err(not_plain(&scheme, first));
    }
    let is_url = scheme.starts_with("http");
    let start = if is_url { place::url_path(rest, b":[]") } else { rest.to_owned() };
    Ok(Name { shown: format!("{scheme}{rest}"), start: format!("{scheme}{start}") })
}

/// Whether `first` may be a bucket, a container, a server, or the hub's kind of repositories.
fn is_plain(scheme: &str, first: &str, below: &str) -> bool {
    let of = |more: &[u8]| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b) || more.contains(&b);
        !first.is_empty() && first.bytes().all(plain)
    };
    match scheme {
        "hf://" => first == "datasets" && !below.contains('@'),
        "az://" => of(b"$"),
        "http://" | "https://" => of(b":[]") && !below.contains(['?', '#']),
        _ => of(b""),
    }
}

/// What may follow `@` or `?` may be a secret, and is not repeated.
fn not_plain(scheme: &str, first: &str) -> String {
    match scheme {
        "hf://" => "write `hf://datasets/OWNER/NAME`, without a revision".into(),
        "http://" | "https://" => {
            format!("write `{scheme}host/prefix`, without a login and a query")
        }
        "az://" => {
            format!("`{}` is no container's name; write `az://container/prefix`", show(first))
        }
        _ => {
            let text =
                format!("is no bucket's name; write `{scheme}bucket/prefix`, without patterns");
            format!("`{}` {text}", show(first))
        }
    }
}

#[cfg(test)]
mod tests;
