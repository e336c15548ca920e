//! Dataset names: in the catalog, as a person types them, and as a directory shows them.

pub mod escape;
pub mod nearest;

use std::fmt;
use std::str::FromStr;

use crate::version::{self, Requirement};

/// The namespace and the project of every dataset saved outside Studio.
pub const LOCAL: &str = "local";

/// The name of one dataset: unique in a catalog.
///
/// `name` is any text of a stranger. DataChain refuses `.` and `@` in it, but a hand-made catalog
/// may hold them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DatasetName {
    /// `local` for datasets saved on this machine.
    pub namespace: String,
    /// `local` for datasets saved on this machine.
    pub project: String,
    /// The name given to `.save(...)`.
    pub name: String,
}

/// Why a text is not the name of a dataset.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Empty, or more than two dots.
    #[error("`{0}` is not a dataset; write `name`, `name@1.0.0` or `namespace.project.name@1.0.0`")]
    Malformed(String),
    /// The part after `@` is not a version.
    #[error(transparent)]
    Version(#[from] version::Error),
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(crate::error::Kind::Invalid, error)
    }
}

impl DatasetName {
    /// A dataset of `local.local`.
    pub fn local(name: impl Into<String>) -> Self {
        Self { namespace: LOCAL.into(), project: LOCAL.into(), name: name.into() }
    }

    /// The listing called `name`.
    pub fn listing(name: impl Into<String>) -> Self {
        Self { namespace: "system".into(), project: "listing".into(), name: name.into() }
    }

    /// All three parts: `local.local.pets`, as DataChain names datasets in its events.
    pub fn whole(&self) -> String {
        format!("{}.{}.{}", self.namespace, self.project, self.name)
    }

    /// Whether it is a listing in the namespace where DataChain keeps them.
    pub fn is_listing(&self) -> bool {
        (self.namespace.as_str(), self.project.as_str()) == ("system", "listing")
            && self.name.starts_with("lst__")
    }

    /// Whether it is a listing or a temporary dataset of a running script: never shown.
    pub fn is_internal(&self) -> bool {
        self.name.starts_with("lst__") || self.name.starts_with("session_")
    }

    /// The storage URI that a listing lists: `lst__s3://my_x2ebucket/a/` is `s3://my.bucket/a/`.
    ///
    /// Undoes DataChain's `sanitize`: `_xHH`, `_yHHHH` and `_zHHHHHH` are characters, and `_x_x`,
    /// `_y_y`, `_z_z` the two letters themselves. `None` if it is not a listing.
    pub fn listed_uri(&self) -> Option<String> {
        let rest = self.name.strip_prefix("lst__")?;
        let mut rest = rest.strip_prefix("current__").unwrap_or(rest);
        let mut uri = String::with_capacity(rest.len());
        while let Some(c) = rest.chars().next() {
            let (plain, taken) = escape::desanitize(rest).unwrap_or((c, c.len_utf8()));
            if taken == 4 && plain == '_' {
                uri.push_str(&rest[..2]);
            } else {
                uri.push(plain);
            }
            rest = &rest[taken..];
        }
        Some(uri)
    }
}

/// `name`, or `namespace.project.name` if they are not the defaults.
impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace != LOCAL || self.project != LOCAL {
            write!(f, "{}.{}.", self.namespace, self.project)?;
        }
        f.write_str(&self.name)
    }
}

impl FromStr for DatasetName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('.').collect();
        let (namespace, project, name) = match parts[..] {
            [name] => (LOCAL, LOCAL, name),
            [project, name] => (LOCAL, project, name),
            [namespace, project, name] => (namespace, project, name),
            _ => return Err(Error::Malformed(text.into())),
        };
        if [namespace, project, name].contains(&"") {
            return Err(Error::Malformed(text.into()));
        }
        Ok(Self { namespace: namespace.into(), project: project.into(), name: name.into() })
    }
}

/// The argument `DATASET` of a command: `name`, `name@1.0.0`, `name@latest`, `ns.project.name@1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetRef {
    /// The dataset.
    pub name: DatasetName,
    /// Which of its versions; [`Requirement::Latest`] by default.
    pub requirement: Requirement,
}

impl FromStr for DatasetRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // A namespace of Studio may begin with `@`: `@ann.default.pets`.
        let is_version = |(name, rest): &(&str, &str)| {
            !(name.is_empty() && rest.starts_with(char::is_alphabetic))
        };
        let (name, requirement) = match text.rsplit_once('@').filter(is_version) {
            Some((name, version)) => (name, version.parse()?),
            None => (text, Requirement::Latest),
        };
        Ok(Self { name: name.parse()?, requirement })
    }
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.requirement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_references() {
        let cases = [
            ("pets", "pets@latest"),
            ("pets@1.0.0", "pets@1.0.0"),
            ("pets@1", "pets@1"),
            ("@ann.default.pets", "@ann.default.pets@latest"),
            ("@ann.default.pets@1.0.0", "@ann.default.pets@1.0.0"),
            ("local.local.pets", "pets@latest"),
            ("brain.pets", "local.brain.pets@latest"),
            ("team.brain.eeg features@2.0.0", "team.brain.eeg features@2.0.0"),
        ];
        for (text, printed) in cases {
            assert_eq!(
                text.parse::<DatasetRef>().map(|r| r.to_string()),
                Ok(printed.into()),
                "{text}"
            );
        }
        for text in ["", "@1", ".", "a.", ".a", "a..b", "a.b.c.d", "a@", "a@x", "a@1.0.0.0"] {
            assert!(text.parse::<DatasetRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_listing_names_its_storage() {
        let cases = [
            ("lst__s3://my_x2ebucket-1/a_x20b/", Some("s3://my.bucket-1/a b/")),
            ("lst__current__s3://b/", Some("s3://b/")),
            ("lst__file:///a_x_x/b_y65e5_/", Some("file:///a_x/b\u{65e5}_/")),
            ("lst__s3://b/_xZZ_x2", Some("s3://b/_xZZ_x2")),
            ("lst__s3://b/_z01f600", Some("s3://b/\u{1f600}")),
            ("pets", None),
        ];
        for (name, uri) in cases {
            assert_eq!(DatasetName::local(name).listed_uri().as_deref(), uri, "{name}");
        }
    }
}
