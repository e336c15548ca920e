//! Writing objects to S3, for exports: small ones with one request, large ones as multipart uploads, so that an
//! object exists completely or not at all.
//!
//! The metadata of an object (`x-amz-meta-...`) records what it was made from, so that the same command
//! recognises what it has written before.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload, WriteMultipart,
};

use super::error::Error as StoreError;
use super::{Stores, key};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::secrets::masked;

/// Number of tries, with a pause before each repeat that doubles each time.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// Minimum size of a part in bytes, and maximum number of parts of one object.
const PART: u64 = 8 << 20;
const MOST_PARTS: u64 = 9_000;

/// Concurrent uploads of parts of one object.
const UNDER_WAY: usize = 2;

/// Write access to a bucket.
pub trait Writes: Send + Sync {
    /// The client, with its credentials fetched; `place` is for messages.
    fn writer<'a>(
        &'a self,
        place: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn ObjectStore>, StoreError>>;
}

/// A prefix of a bucket to write below.
pub struct Target {
    bucket: Arc<dyn Writes>,
    name: String,
    prefix: String,
}

/// Metadata of an object: names in lower-case letters, and values in printable ASCII.
pub type Notes = [(&'static str, String)];

/// An existing object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct There {
    pub size: u64,
    notes: Attributes,
}

impl There {
    /// The metadata recorded with it.
    pub fn note(&self, name: &'static str) -> Option<&str> {
        self.notes.get(&Attribute::Metadata(Cow::Borrowed(name))).map(AsRef::as_ref)
    }
}

/// An upload in progress. One that is not finished never becomes visible.
pub struct Writing {
    parts: WriteMultipart,
    place: String,
}

impl Stores {
    /// A prefix of a bucket, `s3://bucket/prefix`, to write below. Sends no request yet.
    ///
    /// # Errors
    /// It is not on S3, or not among the allowed addresses; the settings are invalid.
    pub fn target(&self, uri: &str) -> Result<Target> {
        let wrong = |why: &str| Error::new(Kind::Invalid, format!("`{}` {why}", masked(uri)));
        let rest = uri.strip_prefix("s3://").ok_or_else(|| wrong("is no `s3://BUCKET/PREFIX`"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/').to_owned();
        if bucket.is_empty() {
            return Err(wrong("names no bucket"));
        }
        if !prefix.is_empty() {
            key::exact(prefix.as_bytes())
                .map_err(|why| wrong(&format!("cannot be written: {why}")))?;
        }
        self.allowed.check_url(uri, uri)?;
        let name = bucket.to_owned();
        let backends = self.backends();
        let backend = backends.of_source(uri).ok_or_else(|| wrong("is no store"))?;
        let bucket = backend.writes(&name, &prefix)?;
        Ok(Target { bucket, name, prefix })
    }
}

impl Target {
    /// The address of an object: `s3://bucket/prefix/key`.
    pub fn place(&self, key: &str) -> String {
        match self.prefix.as_str() {
            "" => format!("s3://{}/{key}", self.name),
            prefix => format!("s3://{}/{prefix}/{key}", self.name),
        }
    }

    fn path(&self, key: &str) -> Result<object_store::path::Path> {
        let whole = match self.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        };
        key::exact(whole.as_bytes()).map_err(|why| {
            Error::new(Kind::Invalid, format!("`{}` cannot be written: {why}", self.place(key)))
        })
    }

    async fn client(&self, key: &str) -> Result<Arc<dyn ObjectStore>> {
        Ok(self.bucket.writer(&self.place(key)).await?)
    }

    /// The existing object with this key; `None` if there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn look(&self, key: &str) -> Result<Option<There>> {
        let (path, store) = (self.path(key)?, self.client(key).await?);
        let head = || GetOptions { head: true, ..GetOptions::default() };
        let looked = again(|| store.get_opts(&path, head())).await;
        match looked {
            Ok(found) => Ok(Some(There { size: found.meta.size, notes: found.attributes })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(told(&self.place(key), &error)),
        }
    }

    /// Writes an object with one request.
    ///
    /// # Errors
    /// The store's.
    pub async fn put(&self, key: &str, bytes: Bytes, notes: &Notes) -> Result<()> {
        let (path, store) = (self.path(key)?, self.client(key).await?);
        let options = || PutOptions { attributes: attributes(notes), ..PutOptions::default() };
        let put = || store.put_opts(&path, PutPayload::from(bytes.clone()), options());
        again(put).await.map(drop).map_err(|error| told(&self.place(key), &error))
    }

    /// Begins an upload of about `size` bytes.
    ///
    /// # Errors
    /// The store's.
    pub async fn begin(&self, key: &str, size: u64, notes: &Notes) -> Result<Writing> {
        let (path, store) = (self.path(key)?, self.client(key).await?);
        let options = || PutMultipartOptions {
            attributes: attributes(notes),
            ..PutMultipartOptions::default()
        };
        let place = self.place(key);
        let begun = again(|| store.put_multipart_opts(&path, options())).await;
        let upload = begun.map_err(|error| told(&place, &error))?;
        let part = usize::try_from((size / MOST_PARTS).max(PART)).unwrap_or(usize::MAX);
        Ok(Writing { parts: WriteMultipart::new_with_chunk_size(upload, part), place })
    }

    /// Removes an object, if it exists.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove(&self, key: &str) -> Result<()> {
        let (path, store) = (self.path(key)?, self.client(key).await?);
        match again(|| store.delete(&path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(told(&self.place(key), &error)),
        }
    }
}

impl Writing {
    /// Adds bytes, waiting while too many parts are in progress.
    ///
    /// # Errors
    /// A part cannot be written.
    pub async fn add(&mut self, bytes: Bytes) -> Result<()> {
        let room = self.parts.wait_for_capacity(UNDER_WAY).await;
        room.map_err(|error| told(&self.place, &error))?;
        self.parts.put(bytes);
        Ok(())
    }

    /// Completes the upload; the object exists from then on.
    ///
    /// # Errors
    /// The store's; the object does not exist then.
    pub async fn finish(self) -> Result<()> {
        let Self { parts, place } = self;
        parts.finish().await.map(drop).map_err(|error| told(&place, &error))
    }

    /// Aborts the upload.
    pub async fn abort(self) {
        if let Err(error) = self.parts.abort().await {
            tracing::debug!(%error, place = self.place, "parts of an object are left in the store");
        }
    }
}

fn attributes(notes: &Notes) -> Attributes {
    let named = |(name, value): &(&'static str, String)| {
        (Attribute::Metadata(Cow::Borrowed(*name)), value.clone())
    };
    notes.iter().map(named).collect()
}

/// Repeats a request if that may help.
async fn again<T, F: Future<Output = object_store::Result<T>>>(
    mut send: impl FnMut() -> F,
) -> object_store::Result<T> {
    use object_store::Error as Refusal;
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match send().await {
            Err(Refusal::Generic { .. }) => tokio::time::sleep(pause).await,
            answered => return answered,
        }
        pause *= 2;
    }
    send().await
}

fn told(place: &str, error: &object_store::Error) -> Error {
    use object_store::Error as Refusal;
    let kind = match error {
        Refusal::NotFound { .. } => Kind::Missing,
        Refusal::PermissionDenied { .. } | Refusal::Unauthenticated { .. } => Kind::Denied,
        _ => Kind::Broken,
    };
    Error::new(kind, format!("cannot write `{}`: {}", masked(place), masked(&error.to_string())))
}
