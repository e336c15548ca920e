//! The folder of objects that many hosts share: below a prefix of a bucket, or in a folder that all of them
//! mount.
//!
//! Unlike the objects of rows these are written too. Their contents are not trusted here: callers compare them
//! with the catalog.
//!
//! | file | storage |
//! |---|---|
//! | [`bucket`] | S3, Google, Azure |
//! | [`folder`] | a local folder, which may be a network file system |

mod bucket;
mod folder;

use std::sync::Arc;
use std::time::Duration;

use dcfs_core::error::Result;
use dcfs_core::object::Object;
use dcfs_core::shared::Objects;

use super::allowed::Allowed;
use super::backend::{Backends, Setup};
use super::cloud::Bucket;
use super::error::Error;
use super::place::Place;
use super::{Config, net};

/// Opens the folder at `prefix`, e.g. `s3://bucket/dcfs`, with the settings for objects there. Sends no request
/// yet.
///
/// # Errors
/// `Invalid`: it is not a writable place.
pub fn open(config: &Config, prefix: &str) -> Result<Arc<dyn Objects>> {
    let wrong = |why: &str| {
        Error::Setting(format!(
            "`prefix` of `[shared]`: {why}; write `s3://bucket/prefix`, `gs://bucket/prefix`, \
             `az://container/prefix` or `file:///folder`"
        ))
    };
    let named = prefix.trim_end_matches('/');
    // Addressed as a row would name an object just below it.
    let object = Object { source: named.to_owned(), path: b"x".to_vec(), ..Object::default() };
    match Place::of(&object).map_err(|error| wrong(&error.to_string()))? {
        Place::File(path) => {
            let root = path.parent().unwrap_or(&path).to_path_buf();
            Ok(Arc::new(folder::Folder::new(root, named.to_owned())))
        }
        Place::Store(kind, _) => {
            let (environment, allowed) = (net::environment(), Arc::new(Allowed::new(None, None)));
            let setup = Setup { config, environment: &environment, allowed: &allowed };
            let shared = Backends::open(&setup).of(kind).shared(&object, named, config.timeout)?;
            Ok(shared.ok_or_else(|| wrong("dcfs cannot write there"))?)
        }
    }
}

/// The folder just above the key `below` of a bucket; `place` is for messages.
///
/// # Errors
/// No thread can be started.
pub fn in_bucket(
    bucket: Arc<impl Bucket>,
    below: &[u8],
    place: &str,
    timeout: Duration,
) -> Result<Arc<dyn Objects>, Error> {
    Ok(Arc::new(bucket::Folder::new(bucket, below, place, timeout)?))
}
