//! One object of a bucket: every request pinned, every answer checked.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore};

use super::Bucket;
use super::fault::{self, Asked, Refusal};
use crate::store::error::{Error, quoted};
use crate::store::pin::{Answer, Ask, Mismatch, Recorded, Seen};
use crate::store::stream::Ranges;
use crate::store::window;
use crate::time::Timestamp;

/// A recorded object.
pub struct S3Object {
    bucket: Arc<Bucket>,
    key: Path,
    place: String,
    recorded: Recorded,
    seen: Seen,
}

impl S3Object {
    /// `place` is `source/path` for messages.
    pub fn new(bucket: Arc<Bucket>, key: Path, place: String, recorded: Recorded) -> Self {
        Self { bucket, key, place, recorded, seen: Seen::new() }
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let client = self.bucket.client(&self.place).await?;
        let whole = range == (0..self.recorded.size) && range.end <= window::FIRST;
        let options = self.options((!whole).then(|| range.clone()))?;
        let result = match client.get_opts(&self.key, options).await {
            Ok(result) => result,
            Err(error) => return Err(self.refused(client, &error).await),
        };
        self.check(&answer(&result.meta))?;
        if result.range != range {
            return Err(self.answer(format!("it sent bytes {:?} for {range:?}", result.range)));
        }
        self.body(result, range.end - range.start).await
    }

    /// A small object is asked for without a range: one that is empty has none, and servers that
    /// ignore ranges can still give it.
    fn options(&self, range: Option<Range<u64>>) -> Result<GetOptions, Error> {
        let ask = self.recorded.ask(&self.seen);
        let ask = ask.map_err(|reason| Error::Unaskable { place: self.place.clone(), reason })?;
        let (version, if_match) = match ask {
            Ask::Version(version) => (Some(version), None),
            Ask::IfMatch(etag) => (None, Some(etag)),
            Ask::Any => (None, None),
        };
        let range = range.map(GetRange::Bounded);
        Ok(GetOptions { range, version, if_match, ..GetOptions::default() })
    }

    /// Whether an answer is the object recorded, and the same as the first answer.
    fn check(&self, answer: &Answer) -> Result<(), Error> {
        self.recorded.check(answer).map_err(|mismatch| self.mismatch(mismatch))?;
        let first = self.seen.get_or_init(|| answer.clone());
        first.agrees(answer).map_err(|mismatch| self.mismatch(mismatch))
    }

    /// Exactly `want` bytes.
    async fn body(&self, result: GetResult, want: u64) -> Result<Bytes, Error> {
        let mut stream = result.into_stream();
        let mut whole = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| fault::meaning(self.asked(), &e))?;
            if chunk.len() as u64 == want && whole.is_empty() {
                whole = BytesMut::from(chunk);
                continue;
            }
            if whole.is_empty() {
                whole.reserve(usize::try_from(want).unwrap_or(0));
            }
            whole.extend_from_slice(&chunk);
            if whole.len() as u64 > want {
                return Err(self.answer(format!("more than the {want} bytes asked for")));
            }
        }
        if (whole.len() as u64) < want {
            return Err(self.answer(format!("{} bytes in place of {want}", whole.len())));
        }
        Ok(whole.freeze())
    }

    /// The meaning of a failure. Where a condition did not hold, the store is asked what is there
    /// now, to be able to say it; if it does not tell, the refusal alone is told.
    async fn refused(&self, client: &impl ObjectStore, error: &object_store::Error) -> Error {
        let refusal = match Refusal::of(error) {
            Some(refusal) if [412, 416].contains(&refusal.status) => refusal,
            _ => return fault::meaning(self.asked(), error),
        };
        match self.head(client).await {
            Ok(now) => match self.check(&now) {
                Err(changed @ Error::Changed { .. }) => changed,
                _ => self.other(&refusal),
            },
            Err(error) if Refusal::of(&error).is_some_and(|r| r.status == 404) => {
                fault::meaning(self.asked(), &error)
            }
            Err(_) => self.other(&refusal),
        }
    }

    /// What is there now.
    async fn head(&self, client: &impl ObjectStore) -> object_store::Result<Answer> {
        let version = Some(self.recorded.version.clone()).filter(|v| !v.is_empty());
        let options = GetOptions { head: true, version, ..GetOptions::default() };
        Ok(answer(&client.get_opts(&self.key, options).await?.meta))
    }

    /// Another object, of which only `refusal` is known.
    fn other(&self, refusal: &Refusal) -> Error {
        let place = self.place.clone();
        if refusal.status == 416 {
            let (recorded, found) = (self.recorded.size, format!("smaller ({refusal})"));
            return Error::Changed {
                place,
                what: "size",
                recorded: format!("{recorded} bytes"),
                found,
            };
        }
        let (recorded, found) = (quoted(&self.recorded.etag), format!("another one ({refusal})"));
        Error::Changed { place, what: "etag", recorded, found }
    }

    fn asked(&self) -> Asked<'_> {
        let (server, signed) = (self.bucket.server(), self.bucket.is_signed());
        Asked { place: &self.place, server, signed }
    }

    fn mismatch(&self, mismatch: Mismatch) -> Error {
        let place = self.place.clone();
        match mismatch {
            Mismatch::Changed { what, recorded, found } => {
                Error::Changed { place, what, recorded, found }
            }
            Mismatch::Unproven { what, recorded } => Error::Unproven { place, what, recorded },
        }
    }

    fn answer(&self, answer: String) -> Error {
        Error::Answer { place: self.place.clone(), answer }
    }
}

impl Ranges for S3Object {
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
        async move {
            let limit = self.bucket.timeout();
            match tokio::time::timeout(limit, self.fetch(range)).await {
                Ok(answer) => answer,
                Err(_) => {
                    let seconds = limit.as_secs_f64();
                    Err(Error::Timeout { place: self.place.clone(), seconds })
                }
            }
        }
        .boxed()
    }

    fn place(&self) -> &str {
        &self.place
    }
}

/// What an answer says of its object. `object_store` gives 1970 where the header is missing.
fn answer(meta: &ObjectMeta) -> Answer {
    let micros = meta.last_modified.timestamp_micros();
    Answer {
        size: meta.size,
        version: meta.version.clone(),
        etag: meta.e_tag.clone(),
        last_modified: (micros != 0).then(|| Timestamp::from_micros(micros)),
    }
}
