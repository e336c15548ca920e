//! Every kind of store, one folder each: which addresses are its own, what may be said of it, how it is asked and listed.
//!
//! A kind is known before any store is asked ([`StoreKind`]: schemes, addresses, tables of settings); a [`Backend`] is that
//! kind with the settings of one mount. A new store is a folder here with a `StoreKind`, and one line of [`KINDS`]. Files of this
//! machine are none of them: they have no settings, and are opened rather than asked for (`local`).
//!
//! | file | what it decides |
//! |---|---|
//! | `s3`, `gcs`, `azure` | each cloud: its settings, credentials, clients and listings |
//! | `web` | web servers and the Hugging Face hub |
//! | `bucket` | addresses in buckets, which the clouds share |
//! | `ways` | how settings of one table lead to one client |

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

/// A kind of store, before any is asked.
pub struct StoreKind {
    /// Without `://`. Sources of rows and tables of settings begin with one of them.
    pub schemes: &'static [&'static str],
    /// How rows tell an object from another one in its place.
    pub rules: Rules,
    /// The address that a row names, as a URL: to see that it has an exact meaning, and whether it is allowed.
    ///
    /// # Errors
    /// `Unaskable` for a source or a path with no exact meaning, `Scheme` for a part of the store that dcfs does not read.
    pub url: fn(&Object) -> Result<String, Error>,
    /// Which names a bucket may have, where folders of buckets can be listed.
    pub is_bucket: Option<fn(&str) -> bool>,
    pub tables: Tables,
    /// Makes the stores of a mount. Asks nothing of a network; wrong settings are told by [`Backend::check`], or at first use.
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

/// What stores are made from.
pub struct Setup<'a> {
    pub config: &'a Config,
    pub environment: &'a Variables,
    pub allowed: &'a Arc<Allowed>,
}

/// A folder of a bucket that is to be listed.
pub struct Folder<'a> {
    pub bucket: &'a str,
    /// What keys begin with; empty or with a slash at its end, or a key.
    pub prefix: &'a str,
    /// For messages.
    pub place: String,
    pub how: How,
}

/// The stores of one kind, as one mount reaches them.
pub trait Backend: Send + Sync {
    /// Whether flags and tables of settings make sense.
    ///
    /// # Errors
    /// `Setting`, naming the one that does not.
    fn check(&self) -> Result<(), Error>;

    /// The settings that count for objects of `source` (`s3://bucket/prefix`), as names and values without secrets.
    ///
    /// # Errors
    /// As [`Backend::check`].
    fn describe(&self, source: &str) -> Result<Vec<(&'static str, String)>, Error>;

    /// How objects of `source` are reached, where it is not by default; `None` where flags cannot say it.
    fn reached(&self, _source: &str) -> Option<Reached> {
        None
    }

    /// How an object of this kind is asked for; `place` is its name for messages.
    ///
    /// # Errors
    /// As [`StoreKind::url`]; `Setting` where its bucket cannot be reached.
    fn object(&self, object: &Object, place: String) -> Result<Arc<dyn Requests>, Error>;

    /// The folder of an object, as one that hosts share; `place` is its name for messages. `None` where dcfs cannot write.
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

    /// How objects of a bucket below a prefix are written.
    ///
    /// # Errors
    /// `Setting` where its bucket cannot be reached, or nothing is written to this kind of store.
    fn writes(&self, _bucket: &str, _prefix: &str) -> Result<Arc<dyn Writes>, Error> {
        Err(Error::Setting("nothing is written to stores of this kind; name an `s3://` one".into()))
    }

    /// How a folder is listed.
    ///
    /// # Errors
    /// `Setting` where its bucket cannot be reached, `Scheme` where this kind of store is not listed.
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

/// The stores of a mount.
pub struct Backends(Vec<(&'static StoreKind, Box<dyn Backend>)>);

impl Backends {
    pub fn open(setup: &Setup<'_>) -> Self {
        Self(kinds().map(|kind| (kind, (kind.open)(setup))).collect())
    }

    /// # Errors
    /// `Setting`, naming the one that makes no sense.
    pub fn check(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(|(_, backend)| backend.check())
    }

    /// Those of `kind`.
    pub fn of(&self, kind: &StoreKind) -> &dyn Backend {
        let known = self.0.iter().find(|(known, _)| *known == kind);
        &*known.expect("every kind is opened").1
    }

    /// Those that `source` belongs to; `None` for files of this machine, and for what dcfs does not read.
    pub fn of_source(&self, source: &str) -> Option<&dyn Backend> {
        Some(self.of(kind(source.split_once("://")?.0)?))
    }
}

/// The types of what tables say, for the tests of tables.
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

    /// A scheme of two kinds would be read by the first alone.
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
