//! Shared objects in a bucket, through `object_store`.
//!
//! Requests run on a thread of their own: callers may be in a task, between tasks, or without a runtime.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    UpdateVersion,
};
use tokio::runtime::Runtime;

use crate::budget::{Budget, Passing};
use crate::cloud::Bucket;
use crate::cloud::fault::{self, Asked};
use crate::cloud::wire::Notes;
use crate::error::Error;
use crate::key;
use crate::refusal::Refusal;
use dcfs_core::error::Result;
use dcfs_core::shared::{Listed, Objects, Seen};
use dcfs_core::time::Timestamp;

/// Time limit for an answer about a shared object to begin, unless `--timeout` is less: callers can do without
/// it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time limit between two parts of an answer, and for an upload: a piece is 8 MiB.
const PART: Duration = Duration::from_secs(60);

/// Uploads larger than this have the limit [`PART`].
const SMALL: usize = 64 << 10;

/// Objects that are removed together: as many as every store takes in one request.
const TOGETHER: usize = 256;

/// The most such requests at a time.
const AT_ONCE: usize = 4;

/// A prefix of a bucket.
pub struct Folder<B> {
    inner: Arc<Inner<B>>,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

struct Inner<B> {
    bucket: Arc<B>,
    /// Without a trailing slash; may be empty.
    prefix: String,
    place: String,
    timeout: Duration,
}

/// Whether a part of an answer has arrived.
#[derive(Clone, Default)]
struct Came(Arc<AtomicBool>);

impl Came {
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether one has arrived since the last call.
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The result of a conditional write.
enum Put {
    Done,
    /// The condition does not hold.
    Lost,
}

/// What became of some objects that were to be removed.
struct Removed {
    /// The index of the first.
    at: usize,
    /// Whether each is gone.
    gone: Vec<bool>,
    /// Why the first of them is not.
    error: Option<Error>,
}

/// Why there is no answer.
struct Fault {
    error: Error,
    /// It is about the objects that were asked for: others may be answered.
    is_theirs: bool,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { is_theirs: matches!(error, Error::Unaskable { .. }), error }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

impl<B: Bucket> Folder<B> {
    /// `below` is the key of something just below the folder; `place` is for messages.
    ///
    /// # Errors
    /// No thread can be started; a prefix that cannot be requested exactly.
    pub fn new(
        bucket: Arc<B>,
        below: &[u8],
        place: &str,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let failed = |cause: String| Error::Failed { place: place.to_owned(), cause };
        let below = std::str::from_utf8(below).map_err(|error| failed(error.to_string()))?;
        let prefix = below.rsplit_once('/').map_or("", |(prefix, _)| prefix).to_owned();
        exact(&prefix, place)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("dcfs-shared")
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let inner = Inner { bucket, prefix, place: place.to_owned(), timeout };
        Ok(Self { inner: Arc::new(inner), runtime: Some(runtime) })
    }

    /// Runs `work` on the thread of this folder and waits for it.
    fn wait<T, F>(&self, work: impl FnOnce(Arc<Inner<B>>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (send, receive) = sync_channel(1);
        let work = work(Arc::clone(&self.inner));
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                let _ = send.send(work.await);
            });
        }
        Ok(receive.recv().map_err(|_| self.died())??)
    }

    fn died(&self) -> Error {
        Error::Failed { place: self.inner.place.clone(), cause: "its thread died".into() }
    }

    fn put_as(&self, key: &str, bytes: Vec<u8>, mode: PutMode) -> Result<bool> {
        let key = key.to_owned();
        self.wait(|inner| async move {
            let bytes = bytes::Bytes::from(bytes);
            let patience = if bytes.len() > SMALL { PART } else { PATIENCE };
            let put = inner
                .ask(&key, patience, &Came::default(), |store, path, notes| {
                    let mut options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
                    options.extensions.insert(notes);
                    let payload = bytes.clone().into();
                    let put = async move { lost_or(store.put_opts(path, payload, options).await) };
                    put.boxed()
                })
                .await?;
            Ok(matches!(put, Put::Done))
        })
    }
}

/// A failed condition is an answer. 409: two conditional writes at once.
fn lost_or<T>(put: Result<T, StoreError>) -> Result<Put, StoreError> {
    match put {
        Ok(_) => Ok(Put::Done),
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(Put::Lost),
        Err(error) => match fault::refusal(&error).map(|refusal| refusal.status) {
            Some(409 | 412) => Ok(Put::Lost),
            _ => Err(error),
        },
    }
}

/// The path that requests exactly `key`, which may be empty: that means the whole bucket.
fn exact(key: &str, place: &str) -> Result<Path, Error> {
    if key.is_empty() {
        return Ok(Path::default());
    }
    key::exact(key.as_bytes())
        .map_err(|reason| Error::Unaskable { place: place.to_owned(), reason })
}

impl<B: Bucket> Inner<B> {
    fn path(&self, key: &str, place: &str) -> Result<Path, Error> {
        match (self.prefix.as_str(), key) {
            ("", key) => exact(key, place),
            (prefix, "") => exact(prefix, place),
            (prefix, key) => exact(&format!("{prefix}/{key}"), place),
        }
    }

    /// Removes some objects together. Those that fail are tried again by themselves, unless no other would do better.
    async fn remove_some(&self, at: usize, keys: &[String]) -> Removed {
        let mut gone = match self.remove_together(keys).await {
            Ok(gone) => gone,
            Err(Fault { is_theirs: true, .. }) => vec![false; keys.len()],
            Err(Fault { error, .. }) => {
                return Removed { at, gone: vec![false; keys.len()], error: Some(error) };
            }
        };
        let mut first = None;
        for (key, gone) in keys.iter().zip(&mut gone).filter(|(_, gone)| !**gone) {
            match self.remove(key).await {
                Ok(()) => *gone = true,
                Err(Fault { error, is_theirs }) => {
                    first.get_or_insert(error);
                    if !is_theirs {
                        break;
                    }
                }
            }
        }
        Removed { at, gone, error: first }
    }

    /// Whether each of some objects is gone, after a request to remove all of them.
    async fn remove_together(&self, keys: &[String]) -> Result<Vec<bool>, Fault> {
        let path = |key: &String| self.path(key, &format!("{}/{key}", self.place));
        let paths = keys.iter().map(path).collect::<Result<Vec<Path>, Error>>()?;
        let first = keys.first().map_or("", String::as_str);
        let came = Came::default();
        self.ask(first, PART, &came, |store, _, _| {
            delete_all(store, paths.clone(), came.clone()).boxed()
        })
        .await
    }

    async fn remove(&self, key: &str) -> Result<(), Fault> {
        let came = Came::default();
        self.ask(key, PATIENCE, &came, |store, path, _| delete(store, path).boxed()).await
    }

    /// Retries until there is an answer or a permanent failure, for at most `patience`; longer while parts of
    /// an answer arrive.
    async fn ask<T>(
        &self,
        key: &str,
        patience: Duration,
        came: &Came,
        question: impl for<'a> Fn(
            &'a dyn ObjectStore,
            &'a Path,
            Notes,
        ) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, Fault> {
        let place = format!("{}/{key}", self.place);
        let path = self.path(key, &place)?;
        let mut budget = Budget::new(self.timeout.min(patience));
        let mut was_moved = self.bucket.is_moved();
        let mut is_renewed = false;
        loop {
            let client = self.bucket.client(&place).await?;
            let asked = Asked {
                place: &place,
                server: self.bucket.server(),
                whose: client.whose.clone(),
                hints: self.bucket.hints(),
            };
            let notes = Notes::default();
            let mut question = question(client.store, &path, notes.clone());
            let answer = loop {
                let answer = budget.within(&mut question).await;
                match answer {
                    Some(answer) => break answer,
                    None if came.take() => budget = Budget::new(self.timeout.min(PART)),
                    None => return Err(budget.over(&place).into()),
                }
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let refusal = fault::refusal(&error);
            if let Some(refusal) = &refusal {
                if !was_moved && self.bucket.go_on(&notes.take(), was_moved) {
                    was_moved = true;
                    continue;
                }
                if !is_renewed
                    && fault::is_about_credentials(refusal)
                    && self.bucket.other(&client.signer).await.is_some()
                {
                    is_renewed = true;
                    continue;
                }
            }
            let meaning = fault::meaning(&asked, &error);
            match fault::may_pass(&error) {
                true => budget.again(Passing::new(meaning)).await?,
                false => {
                    let is_theirs = is_theirs(refusal.as_ref(), &meaning);
                    return Err(Fault { error: meaning, is_theirs });
                }
            }
        }
    }
}

/// Whether a permanent failure is about the objects that were asked for.
fn is_theirs(refusal: Option<&Refusal>, meaning: &Error) -> bool {
    match (refusal, meaning) {
        (Some(refusal), Error::Failed { .. }) => match refusal.status {
            status @ 400 => !fault::is_region(status, &refusal.code),
            status => matches!(status, 409 | 412),
        },
        // S3 answers so for each object where these credentials may remove none.
        (None, Error::Answer { answer, .. }) => !answer.contains("AccessDenied"),
        _ => false,
    }
}

/// Reads an object; `None` if it is longer than `most`.
async fn read(
    store: &dyn ObjectStore,
    path: &Path,
    notes: Notes,
    most: u64,
    came: Came,
) -> Result<Option<Option<Seen>>, StoreError> {
    let mut options = GetOptions::default();
    options.extensions.insert(notes);
    let got = match store.get_opts(path, options).await {
        Err(StoreError::NotFound { .. }) => return Ok(Some(None)),
        got => got?,
    };
    came.note();
    let tag = tag(got.meta.e_tag.as_deref(), got.meta.version.as_deref());
    let mut stream = got.into_stream();
    let mut bytes = Vec::new();
    while let Some(part) = stream.try_next().await? {
        came.note();
        if (bytes.len() + part.len()) as u64 > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Some(Some(Seen { bytes, tag })))
}

/// Reads a part of an object; `None` if it has no such part, or there is none.
async fn read_range(
    store: &dyn ObjectStore,
    path: &Path,
    notes: Notes,
    range: Range<u64>,
    came: Came,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut options = GetOptions::default().with_range(Some(range.clone()));
    options.extensions.insert(notes);
    let got = match store.get_opts(path, options).await {
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) if fault::refusal(&error).is_some_and(|refusal| refusal.status == 416) => {
            return Ok(None);
        }
        got => got?,
    };
    came.note();
    let wanted = range.end - range.start;
    let mut stream = got.into_stream();
    let mut bytes = Vec::new();
    while let Some(part) = stream.try_next().await? {
        came.note();
        bytes.extend_from_slice(&part);
        if bytes.len() as u64 > wanted {
            return Ok(None);
        }
    }
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 == wanted))
}

/// The tag that distinguishes versions of an object: S3 and Azure compare the etag before an overwrite, Google
/// the version.
fn tag(etag: Option<&str>, version: Option<&str>) -> String {
    match (etag.unwrap_or_default(), version.unwrap_or_default()) {
        (etag, "") => etag.to_owned(),
        (etag, version) => format!("{etag}\n{version}"),
    }
}

/// The inverse of [`tag`].
fn seen_as(tag: &str) -> UpdateVersion {
    let (etag, version) = tag.split_once('\n').unwrap_or((tag, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    UpdateVersion { e_tag: some(etag), version: some(version) }
}

/// Removes an object.
async fn delete(store: &dyn ObjectStore, path: &Path) -> Result<(), StoreError> {
    match store.delete(path).await {
        Err(StoreError::NotFound { .. }) => Ok(()),
        done => done,
    }
}

/// Removes objects together; whether each is gone.
async fn delete_all(
    store: &dyn ObjectStore,
    paths: Vec<Path>,
    came: Came,
) -> Result<Vec<bool>, StoreError> {
    let count = paths.len();
    let (mut gone, mut first) = (Vec::with_capacity(count), None);
    let mut answers = store.delete_stream(stream::iter(paths).map(Ok).boxed());
    while let Some(answer) = answers.next().await {
        came.note();
        match answer {
            Ok(_) | Err(StoreError::NotFound { .. }) => gone.push(true),
            Err(error) => {
                gone.push(false);
                first.get_or_insert(error);
            }
        }
    }
    match first {
        // It is about all of them.
        Some(error) if gone.len() != count || count == 1 => Err(error),
        _ => Ok(gone),
    }
}

/// Everything below a folder; `start` is the length of the prefix of keys.
async fn listed(
    store: &dyn ObjectStore,
    path: &Path,
    start: usize,
    came: Came,
) -> Result<Vec<Listed>, StoreError> {
    let below = (!path.as_ref().is_empty()).then_some(path);
    let found = store.list(below).map_ok(|meta| {
        came.note();
        Listed {
            key: meta.location.as_ref().get(start..).unwrap_or_default().to_owned(),
            size: meta.size,
            written: Timestamp::from_micros(meta.last_modified.timestamp_micros()),
        }
    });
    found.try_collect().await
}

impl<B: Bucket> Objects for Folder<B> {
    fn place(&self) -> &str {
        &self.inner.place
    }

    fn get(&self, key: &str, most: u64) -> Result<Option<Seen>> {
        let key = key.to_owned();
        self.wait(|inner| async move {
            let long = || Error::Longer { place: format!("{}/{key}", inner.place) };
            let came = Came::default();
            let got = inner
                .ask(&key, PATIENCE, &came, |store, path, notes| {
                    read(store, path, notes, most, came.clone()).boxed()
                })
                .await?;
            got.ok_or_else(long)
        })
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let key = key.to_owned();
        self.wait(|inner| async move {
            let came = Came::default();
            let found = inner
                .ask(&key, PATIENCE, &came, |store, path, notes| {
                    read_range(store, path, notes, range.clone(), came.clone()).boxed()
                })
                .await;
            match found.map_err(Error::from) {
                // A server that ignores ranges always will: a retry gains nothing.
                Err(Error::RangeIgnored { .. }) => Ok(None),
                found => found,
            }
        })
    }

    fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        self.put_as(key, bytes, PutMode::Overwrite).map(drop)
    }

    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool> {
        self.put_as(key, bytes, PutMode::Create)
    }

    fn replace(&self, key: &str, bytes: Vec<u8>, seen: &Seen) -> Result<bool> {
        self.put_as(key, bytes, PutMode::Update(seen_as(&seen.tag)))
    }

    fn remove(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.wait(|inner| async move { Ok(inner.remove(&key).await?) })
    }

    fn remove_all(&self, keys: &[String], each: &mut dyn FnMut(usize, bool)) -> Result<()> {
        let chunks = keys.chunks(TOGETHER).enumerate();
        let chunks: Vec<_> = chunks.map(|(n, keys)| (n * TOGETHER, keys.to_vec())).collect();
        let (send, receive) = channel();
        if let Some(runtime) = &self.runtime {
            let inner = Arc::clone(&self.inner);
            runtime.spawn(async move {
                let (inner, send) = (&inner, &send);
                let remove = |(at, keys): (usize, Vec<String>)| async move {
                    // `object_store` panics at an answer about an object that was not asked for.
                    let removing = AssertUnwindSafe(inner.remove_some(at, &keys)).catch_unwind();
                    if let Ok(removed) = removing.await {
                        // If nobody receives it, nobody waits for the others.
                        let _ = send.send(removed);
                    }
                };
                stream::iter(chunks).for_each_concurrent(AT_ONCE, remove).await;
            });
        }
        let (mut told, mut first) = (vec![false; keys.len()], None);
        for Removed { at, gone, error } in receive {
            for (index, gone) in (at..).zip(gone) {
                told[index] = true;
                each(index, gone);
            }
            first = first.or(error);
        }
        for (index, _) in told.iter().enumerate().filter(|(_, told)| !**told) {
            each(index, false);
            first.get_or_insert_with(|| self.died());
        }
        Ok(first.map_or(Ok(()), Err)?)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let folder = folder.trim_end_matches('/').to_owned();
        self.wait(|inner| async move {
            // The prefix is literally part of the keys: its path is exact.
            let start = inner.prefix.len() + usize::from(!inner.prefix.is_empty());
            let came = Came::default();
            let found = inner
                .ask(&folder, PATIENCE, &came, |store, path, _| {
                    listed(store, path, start, came.clone()).boxed()
                })
                .await?;
            Ok(found)
        })
    }
}

/// Does not wait for pending requests: the caller has no more questions, and may be inside another runtime.
impl<B> Drop for Folder<B> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_over_by_etag_and_by_version() {
        let cases =
            [(None, None), (Some("e"), None), (None, Some("7")), (Some("\"e\""), Some("7"))];
        for (etag, version) in cases {
            let seen = seen_as(&tag(etag, version));
            assert_eq!((seen.e_tag.as_deref(), seen.version.as_deref()), (etag, version));
        }
    }

    #[test]
    fn keys_are_asked_for_as_they_are_written() {
        let path = exact("team a/100%/x", "p").expect("a key");
        assert_eq!(path.as_ref(), "team a/100%/x");
        assert_eq!(exact("", "p").expect("all").as_ref(), "");
        assert!(exact("a//b", "p").is_err());
    }
}
