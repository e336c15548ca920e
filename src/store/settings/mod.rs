//! Settings per bucket or prefix, from the user's `config.toml`. Pure.
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
//! 1. A table is named by a scheme (`s3://`), a bucket, a container or a server, or one of these and a prefix
//!    of whole segments. For the hub it is `hf://datasets/OWNER/NAME/PREFIX`, whatever the revision.
//! 2. Of all tables that match an object, only the longest applies: tables are not merged.
//! 3. A key that a table leaves out has its default.
//! 4. `[mount]`, `[shared]` and `[quota]` concern no bucket: options of every mount, the folder that hosts share, and how much
//!    users may keep.
//! 5. Tables contain no secrets: they name a profile, a file or a variable that does.
//!
//! The names and keys of tables are defined by their store ([`Tables`], one for each
//! [`StoreKind`](super::backend::StoreKind)).

mod entry;
mod quota;
mod shared;

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::backend;
use super::error::show;
use dcfs_core::error::Kind;
use dcfs_core::name::nearest;
pub use entry::{Secret, Vocabulary, entries, exclude};
pub use quota::Quota;
pub use shared::Shared;

/// The contents of a table: a type of its store.
pub type Said = Arc<dyn Any + Send + Sync>;

/// The tables of one kind of store.
pub struct Tables {
    /// Why a table name is invalid, if it is. Arguments: the scheme with `://`, the part up to the first slash,
    /// the part after it.
    pub wrong_name: fn(&str, &str, &str) -> Option<String>,
    /// Converts the part after the scheme into the form that addresses have.
    pub address: fn(&str) -> String,
    /// Parses a table that begins at a byte of the file.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub read: fn(usize, &DeTable<'_>) -> Result<Said, Wrong>,
}

/// The contents of the file; empty if there is none.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    file: Option<PathBuf>,
    tables: Vec<Table>,
    /// Entries of `[mount]`: a name, and a value unless that is just `true`.
    mount: Vec<(String, Option<String>)>,
    shared: Option<Shared>,
    quota: Option<Quota>,
}

/// One table of the file.
#[derive(Clone, Debug)]
struct Table {
    name: Name,
    said: Said,
}

/// The name of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `s3://bucket/prefix`, without a trailing slash except those of the scheme.
    shown: String,
    /// The prefix of matching addresses: the same, in the form of a URL.
    start: String,
}

impl Name {
    /// The name as written in the file.
    pub fn text(&self) -> &str {
        &self.shown
    }

    /// Whether it equals `address`, or a whole-segment prefix of it.
    fn is_over(&self, address: &[u8]) -> bool {
        address
            .strip_prefix(self.start.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || self.start.ends_with("://"))
    }
}

/// The longest name that matches `address`, with its value.
pub fn longest<'a, T>(
    tables: impl Iterator<Item = (&'a Name, T)>,
    address: &[u8],
) -> Option<(&'a Name, T)> {
    tables.filter(|(name, _)| name.is_over(address)).max_by_key(|(name, _)| name.start.len())
}

/// The address of a key of a bucket that table names are matched against.
pub fn address(scheme: &str, bucket: &str, key: &[u8]) -> Vec<u8> {
    [scheme.as_bytes(), b"://", bucket.as_bytes(), b"/", key].concat()
}

/// Adds the name of the table to an error in its contents.
pub fn wrong(name: &Name, error: super::Error) -> super::Error {
    super::Error::Setting(format!("settings of `{}`: {error}", show(name.text())))
}

/// Why the file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    file: PathBuf,
    /// Counted from 1.
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

/// A message, and the byte offset that it refers to.
pub type Wrong = (usize, String);

impl Settings {
    /// Parses the text of `file`.
    ///
    /// # Errors
    /// Invalid TOML, an unknown table or key, or a value of the wrong type; with the line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let found = tables(text).map_err(|(at, message)| Error {
            file: file.to_owned(),
            line: text.as_bytes()[..at.min(text.len())].split(|b| *b == b'\n').count(),
            message,
        })?;
        Ok(Self { file: Some(file.to_owned()), ..found })
    }

    /// The file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The options of `[mount]`, in the form of `-o`.
    pub fn mount(&self) -> impl Iterator<Item = String> {
        self.mount.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}={}", value.replace('\\', "\\\\").replace(',', "\\,")),
            None => name.clone(),
        })
    }

    /// The contents of `[shared]`.
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// What `[quota]` says.
    pub fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    /// The names of all tables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| table.name.text())
    }

    /// All tables of one kind of store, by the type of their contents.
    pub fn all<S: 'static>(&self) -> impl Iterator<Item = (&Name, &S)> {
        self.tables.iter().filter_map(|table| Some((&table.name, table.said.downcast_ref()?)))
    }
}

/// The table of options of every mount.
const MOUNT: &str = "mount";

/// The table of the folder that hosts share.
const SHARED: &str = "shared";

/// The table of what users may keep.
const QUOTA: &str = "quota";

/// The options, as returned by [`Settings::mount`].
type Options = Vec<(String, Option<String>)>;

/// All that a text says.
fn tables(text: &str) -> Result<Settings, Wrong> {
    let document = DeTable::parse(text)
        .map_err(|error| (error.span().map_or(0, |span| span.start), show(error.message())))?;
    let mut said = Settings::default();
    for (name, value) in document.get_ref() {
        let at = name.span().start;
        match (name.get_ref().as_ref(), value.get_ref()) {
            (MOUNT, DeValue::Table(entries)) => {
                said.mount = options(entries)?;
                continue;
            }
            (SHARED, DeValue::Table(entries)) => {
                said.shared = Some(Shared::read(at, entries)?);
                continue;
            }
            (QUOTA, DeValue::Table(entries)) => {
                said.quota = Some(Quota::read(entries)?);
                continue;
            }
            _ => {}
        }
        let wrong = |message| (at, message);
        let (table, kind) = named(name.get_ref()).map_err(wrong)?;
        if said.tables.iter().any(|other| other.name.start == table.start) {
            return Err((at, format!("there are two tables for `{}`", show(table.text()))));
        }
        let DeValue::Table(entries) = value.get_ref() else {
            return Err((at, format!("`{}` is a table: write `[\"{0}\"]`", show(name.get_ref()))));
        };
        said.tables.push(Table { said: (kind.read)(at, entries)?, name: table });
    }
    Ok(said)
}

/// Parses the entries of `[mount]`: strings, numbers, `true`, and lists of strings for repeatable options.
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

/// Parses the name of a table, without trailing slashes; returns the tables of its store.
fn named(name: &str) -> Result<(Name, &'static Tables), String> {
    let schemes = || backend::kinds().flat_map(|kind| kind.schemes);
    let known: Vec<_> = schemes().map(|scheme| format!("{scheme}://")).collect();
    let near = |text| nearest::to(text, known.iter().map(String::as_str));
    let Some((scheme, rest)) = name.split_once("://") else {
        let hint = nearest::hint(&near(name), "tables are named like `[\"s3://bucket/prefix\"]`");
        return Err(format!("`{}` is not a bucket{hint}", show(name)));
    };
    let kind = backend::kind(scheme);
    let scheme = format!("{scheme}://");
    let Some(kind) = kind else {
        let all: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
        let hint = nearest::hint(&near(&scheme), &format!("there are for {}", all.join(", ")));
        return Err(format!("there are no settings for `{}`{hint}", show(&scheme)));
    };
    let rest = rest.trim_end_matches('/');
    let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
    if !rest.is_empty()
        && let Some(wrong) = (kind.tables.wrong_name)(&scheme, first, below)
    {
        return Err(wrong);
    }
    let start = format!("{scheme}{}", (kind.tables.address)(rest));
    Ok((Name { shown: format!("{scheme}{rest}"), start }, &kind.tables))
}

#[cfg(test)]
mod tests;
