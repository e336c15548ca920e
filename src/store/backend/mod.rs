//! Every kind of store, one folder each: its addresses, its settings, its requests and its listings.
//!
//! A [`StoreKind`] is what is known before any request: schemes, addresses, tables of settings. A [`Backend`]
//! is that kind with the settings of one mount. A new store is a folder here with a `StoreKind`, and one line
//! of [`KINDS`]. Local files are not among them: they have no settings, and are opened rather than requested
//! (`local`).
//!
//! | file | contents |
//! |---|---|
//! | `s3`, `gcs`, `azure` | one cloud each: its settings, credentials, clients and listings |
//! | `web` | web servers and the Hugging Face hub |
//! | `bucket` | addresses in buckets, shared by the clouds |
//! | `ways` | from the settings of one table to one client |

mod azure;
mod bucket;
mod gcs;
mod s3;
mod ways;
mod web;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::allowed::Allowed;
use super::error::Error;
use super::list::How;
use super::list::page::Pages;
use super::net::Variables;
use super::pin::Rules;
use super::put::Writes;
use super::remote::Requests;
use super::settings::Tables;
use dcfs_core::object::Object;
use dcfs_core::provenance::Reached;
use dcfs_core::shared::Objects;

/// Every kind of store, in the order in which messages name them.
static KINDS: [&StoreKind; 5] = [&s3::KIND, &gcs::KIND, &azure::KIND, &web::PAGES, &web::HUB];

/// A kind of store, independent of settings.
pub struct StoreKind {
    /// Schemes without `://`, with which sources of rows and tables of settings begin.
    pub schemes: &'static [&'static str],
    /// How rows identify an object's exact bytes.
    pub rules: Rules,
    /// The address of a row as a URL. Checks that it has an exact meaning; also compared with the allowed
    /// prefixes.
    ///
    /// # Errors
    /// `Unaskable` for a source or a path with no exact meaning, `Scheme` for a part of the store that dcfs
    /// does not read.
    pub url: fn(&Object) -> Result<String, Error>,
    /// Checks a bucket name, if folders of buckets can be listed.
    pub is_bucket: Option<fn(&str) -> bool>,
    pub tables: Tables,
    /// Makes the stores of a mount. Sends no request; invalid settings are reported by [`Backend::check`], or
    /// at first use.
    pub open: fn(&Setup<'_>) -> Box<dyn Backend>,
}

impl PartialEq for StoreKind {
    fn eq(&self, other: &Self) -> bool {
        self.schemes == other.schemes
    }
}

impl Eq for StoreKind {}

impl fmt::Debug for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.schemes[0])
    }
}

/// The inputs that stores are made from.
pub struct Setup<'a> {
    pub config: &'a Config,
    pub environment: &'a Variables,
    pub allowed: &'a Arc<Allowed>,
}

/// A folder of a bucket to list.
pub struct Folder<'a> {
    pub bucket: &'a str,
    /// Prefix of the keys: empty, ending with a slash, or a whole key.
    pub prefix: &'a str,
    /// For messages.
    pub place: String,
    pub how: How,
}

/// The stores of one kind, with the settings of one mount.
pub trait Backend: Send + Sync {
    /// Checks flags and tables of settings.
    ///
    /// # Errors
    /// `Setting`, naming the invalid one.
    fn check(&self) -> Result<(), Error>;

    /// The settings that apply to objects of `source` (`s3://bucket/prefix`), as names and values without
    /// secrets.
    ///
    /// # Errors
    /// As [`Backend::check`].
    fn describe(&self, source: &str) -> Result<Vec<(&'static str, String)>, Error>;

    /// The non-default settings for objects of `source`, as flags; `None` if flags cannot express them.
    fn reached(&self, _source: &str) -> Option<Reached> {
        None
    }

    /// The requests for an object of this kind; `place` is its name for messages.
    ///
    /// # Errors
    /// As [`StoreKind::url`]; `Setting` if its bucket cannot be reached.
    fn object(&self, object: &Object, place: String) -> Result<Arc<dyn Requests>, Error>;

    /// The folder of an object, for use as a cache that hosts share; `place` is its name for messages. `None`
    /// if dcfs cannot write to this kind of store.
    ///
    /// # Errors
    /// As [`Backend::object`].
    fn shared(
        &self,
        _object: &Object,
        _place: &str,
        _timeout: Duration,
    ) -> Result<Option<Arc<dyn Objects>>, Error> {
        Ok(None)
    }

    /// The writer for objects of a bucket below a prefix.
    ///
    /// # Errors
    /// `Setting` if its bucket cannot be reached, or this kind of store is read-only.
    fn writes(&self, _bucket: &str, _prefix: &str) -> Result<Arc<dyn Writes>, Error> {
        Err(Error::Setting("nothing is written to stores of this kind; name an `s3://` one".into()))
    }

    /// The listing of a folder.
    ///
    /// # Errors
    /// `Setting` if its bucket cannot be reached, `Scheme` if this kind of store has no listings.
    fn pages(&self, folder: Folder<'_>) -> Result<Arc<dyn Pages>, Error>;
}

/// The kind that `scheme` (without `://`) belongs to.
pub fn kind(scheme: &str) -> Option<&'static StoreKind> {
    kinds().find(|kind| kind.schemes.contains(&scheme))
}

/// All kinds, in the order in which messages name them.
pub fn kinds() -> impl Iterator<Item = &'static StoreKind> {
    KINDS.iter().copied()
}

/// All stores of a mount.
pub struct Backends(Vec<(&'static StoreKind, Box<dyn Backend>)>);

impl Backends {
    pub fn open(setup: &Setup<'_>) -> Self {
        Self(kinds().map(|kind| (kind, (kind.open)(setup))).collect())
    }

    /// # Errors
    /// `Setting`, naming the invalid one.
    pub fn check(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(|(_, backend)| backend.check())
    }

    /// The stores of `kind`.
    pub fn of(&self, kind: &StoreKind) -> &dyn Backend {
        let known = self.0.iter().find(|(known, _)| *known == kind);
        &*known.expect("every kind is opened").1
    }

    /// The stores that `source` belongs to; `None` for local files, and for schemes that dcfs does not read.
    pub fn of_source(&self, source: &str) -> Option<&dyn Backend> {
        Some(self.of(kind(source.split_once("://")?.0)?))
    }
}

/// Types of the tables of settings, for tests.
#[cfg(test)]
pub mod tables {
    pub use super::azure::settings::Az;
    pub use super::gcs::settings::Gs;
    pub use super::s3::settings::S3;
    pub use super::web::settings::{Hf, Http};
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If two kinds had the same scheme, only the first would be used.
    #[test]
    fn each_scheme_belongs_to_one_kind() {
        let all: Vec<_> = kinds().flat_map(|kind| kind.schemes).collect();
        for scheme in &all {
            assert_eq!(all.iter().filter(|other| other == &scheme).count(), 1, "{scheme}");
        }
        assert!(kind("file").is_none() && kind("ftp").is_none());
        assert_eq!(kind("http"), kind("https"));
    }
}
