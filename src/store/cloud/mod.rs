//! The part shared by the clouds of `object_store`: one client per bucket, made at first use, and the requests
//! for an object. The settings of a cloud are in its own file.

pub mod direct;
pub mod fault;
pub mod wire;

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use http_body::Body;
use lru::LruCache;
use object_store::CredentialProvider;
use object_store::client::HttpError;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore};

use self::direct::{Signed, Whole};
use self::fault::{Asked, Hints};
use self::wire::{Note, Notes};
use super::budget::{Budget, Passing};
use super::error::{Error, show};
use super::http1::Told;
use super::net::innermost;
use super::pin::{Answer, Ask};
use super::remote::{Failure, Got, Question, Requests};
use dcfs_core::time::Timestamp;

/// How long to wait for the machine's own credentials, once per mount.
pub const METADATA: Duration = Duration::from_secs(2);

/// Clients kept at a time: each has a connection pool. A catalog names few buckets, or is hostile.
const BUCKETS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// A bucket of a cloud, and how to reach it.
pub trait Bucket: Send + Sync + 'static {
    /// The identity that requests are signed with, if credentials may change between requests.
    type Signer: Send + Sync;

    /// The client, made at first use, with its credentials fetched if requests are signed. `place` is for
    /// messages.
    fn client<'a>(
        &'a self,
        place: &'a str,
    ) -> BoxFuture<'a, Result<Client<'a, Self::Signer>, Error>>;

    /// A client with credentials other than those that the store `refused`, if there are any by now.
    fn other<'a>(
        &'a self,
        _refused: &'a Self::Signer,
    ) -> BoxFuture<'a, Option<Client<'a, Self::Signer>>> {
        std::future::ready(None).boxed()
    }

    /// Whether the store redirected to another site.
    fn is_moved(&self) -> bool {
        false
    }

    /// Whether a refusal names the bucket's site; later requests go there.
    fn go_on(&self, _note: &Note, _was_moved: bool) -> bool {
        false
    }

    fn name(&self) -> &str;

    /// The server, for messages and to tell objects apart. Contains no secret.
    fn server(&self) -> &str;

    fn timeout(&self) -> Duration;

    fn hints(&self) -> &'static Hints;
}

/// A bucket's client, and whose credentials it uses.
pub struct Client<'a, S> {
    pub store: &'a dyn ObjectStore,
    /// A description of the identity that signs; `None` if requests are not signed.
    pub whose: Option<Arc<str>>,
    pub signer: S,
    /// How whole objects are requested without `store`, if they are.
    pub direct: Option<Signed<'a>>,
}

/// The most recently used buckets, by name, or by a key that distinguishes more.
pub struct Buckets<B, K: Hash + Eq = String>(Mutex<LruCache<K, Arc<B>>>);

impl<B, K: Hash + Eq> Buckets<B, K> {
    pub fn new() -> Self {
        Self(Mutex::new(LruCache::new(BUCKETS)))
    }

    /// The bucket called `name`; `new` makes no client yet.
    pub fn get(&self, name: K, new: impl FnOnce() -> B) -> Arc<B> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(buckets.get_or_insert(name, || Arc::new(new())))
    }
}

/// One object of a bucket.
pub struct CloudObject<B> {
    bucket: Arc<B>,
    key: Path,
    place: String,
}

/// An answer, and whose credentials signed the request.
type Answered = (GetResult, Option<Arc<str>>);

impl<B: Bucket> CloudObject<B> {
    /// `place` is `source/path`, for messages.
    pub fn new(bucket: Arc<B>, key: Path, place: String) -> Self {
        Self { bucket, key, place }
    }

    async fn client(&self) -> Result<Client<'_, B::Signer>, Failure> {
        let told = |error| match error {
            // A read found the setting, not the command line.
            Error::Setting(cause) => Error::Failed { place: self.place.clone(), cause },
            error => error,
        };
        self.bucket.client(&self.place).await.map_err(|error| Failure::Told(told(error)))
    }

    async fn ask(self: Arc<Self>, question: Question) -> Result<Got, Failure> {
        let was_moved = self.bucket.is_moved();
        let client = self.client().await?;
        let mut options = options(question.ask.clone());
        if let Some(direct) = &client.direct
            && question.is_whole
            && !question.range.is_empty()
        {
            let wanted = (question.range.end, &question.arriving);
            match direct.whole(&self.key, &question.ask, wanted).await {
                Ok(whole) => {
                    let whose = client.whose;
                    return Ok(Arc::clone(&self).arriving(whole, whose));
                }
                Err(Some(told)) => {
                    options.extensions.insert(told);
                }
                Err(None) => {}
            }
        }
        options.range = (!question.is_whole).then_some(GetRange::Bounded(question.range));
        options.extensions.insert(question.arriving);
        let (got, whose) = self.send(options, (client, was_moved)).await?;
        let (answer, range) = (answer(&got.meta), got.range.clone());
        let failed = move |error| fault::meaning(&self.asked(whose.clone()), &error);
        Ok(Got { answer, range, body: got.into_stream().map_err(failed).boxed() })
    }

    /// A whole object that is arriving.
    fn arriving(self: Arc<Self>, whole: Whole, whose: Option<Arc<str>>) -> Got {
        let Whole { answer, mut body } = whole;
        let body = stream::poll_fn(move |cx| Pin::new(&mut body).poll_frame(cx));
        let failed = move |error: HttpError| {
            // As `object_store` says it.
            let error = object_store::Error::Generic { store: "S3", source: error.into() };
            fault::meaning(&self.asked(whose.clone()), &error)
        };
        let body = body.map(move |frame| {
            frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(&failed)
        });
        Got { range: 0..answer.size, answer, body: body.boxed() }
    }

    async fn ask_now(&self, ask: Ask) -> Result<Answer, Failure> {
        let options = GetOptions { head: true, ..options(ask) };
        let was_moved = self.bucket.is_moved();
        let client = self.client().await?;
        Ok(answer(&self.send(options, (client, was_moved)).await?.0.meta))
    }

    /// Sends a request, and repeats it once if it is refused: to the site that the answer names, or with other
    /// credentials, if there are others by now.
    /// `was_moved`: whether the bucket had moved before `client` was made.
    async fn send<'a>(
        &'a self,
        mut options: GetOptions,
        (mut client, was_moved): (Client<'a, B::Signer>, bool),
    ) -> Result<Answered, Failure> {
        let notes = Notes::default();
        options.extensions.insert(notes.clone());
        let mut error = match client.store.get_opts(&self.key, options.clone()).await {
            Ok(got) => return Ok((got, client.whose)),
            Err(error) => error,
        };
        let mut note = notes.take();
        // The first request may have failed before it was answered by it.
        options.extensions.remove::<Told>();
        if self.bucket.go_on(&note, was_moved) {
            client = self.client().await?;
            error = match client.store.get_opts(&self.key, options.clone()).await {
                Ok(got) => return Ok((got, client.whose)),
                Err(error) => error,
            };
            note = notes.take();
        }
        if fault::refusal(&error).is_some_and(|refusal| fault::is_about_credentials(&refusal))
            && let Some(other) = self.bucket.other(&client.signer).await
        {
            let got = other.store.get_opts(&self.key, options).await;
            let whose = other.whose;
            return match got {
                Ok(got) => Ok((got, whose)),
                Err(error) => Err(self.failure(whose, &error, notes.take())),
            };
        }
        Err(self.failure(client.whose, &error, note))
    }

    fn failure(&self, whose: Option<Arc<str>>, error: &object_store::Error, note: Note) -> Failure {
        let meaning = || fault::meaning(&self.asked(whose.clone()), error);
        match fault::refusal(error) {
            Some(refusal) if [412, 416, 501].contains(&refusal.status) => {
                Failure::Condition(refusal)
            }
            _ if fault::may_pass(error) => Failure::Passing(Passing {
                after: note.after,
                is_brief: fault::is_unknown_name(&innermost(error)),
                error: meaning(),
            }),
            _ => Failure::Told(meaning()),
        }
    }

    fn asked(&self, whose: Option<Arc<str>>) -> Asked<'_> {
        let (server, hints) = (self.bucket.server(), self.bucket.hints());
        Asked { place: &self.place, server, whose, hints }
    }
}

impl<B: Bucket> Requests for CloudObject<B> {
    fn get(self: Arc<Self>, question: Question) -> BoxFuture<'static, Result<Got, Failure>> {
        self.ask(question).boxed()
    }

    fn head(self: Arc<Self>, ask: Ask) -> BoxFuture<'static, Result<Answer, Failure>> {
        async move { self.ask_now(ask).await }.boxed()
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn server(&self) -> &str {
        self.bucket.server()
    }

    fn origin(&self) -> String {
        format!("{} {}", self.bucket.server(), self.bucket.name())
    }

    fn timeout(&self) -> Duration {
        self.bucket.timeout()
    }
}

fn options(ask: Ask) -> GetOptions {
    let (version, if_match) = match ask {
        Ask::Version(version) => (Some(version), None),
        Ask::IfMatch(etag) => (None, Some(etag)),
        Ask::Any => (None, None),
    };
    GetOptions { version, if_match, ..GetOptions::default() }
}

/// The identity of the object in an answer. `object_store` reports 1970 if the header is missing.
fn answer(meta: &ObjectMeta) -> Answer {
    let micros = meta.last_modified.timestamp_micros();
    Answer {
        size: meta.size,
        version: meta.version.clone(),
        etag: meta.e_tag.clone(),
        last_modified: (micros != 0).then(|| Timestamp::from_micros(micros)),
    }
}

/// The error for settings that a cloud's client rejects.
pub fn setting(cloud: &str, error: &object_store::Error) -> Error {
    let error = without_values(&innermost(error));
    Error::Setting(format!("the settings for {cloud} are wrong: {error}"))
}

/// A client of `store` once its credentials are available, for which it waits until `limit`; at once if it has
/// none.
///
/// # Errors
/// `Denied` if credentials are configured but not available, with `hint`; `place` is for the message.
pub async fn ready<'a, P: CredentialProvider + ?Sized>(
    store: &'a dyn ObjectStore,
    credentials: Option<(&'static str, &P)>,
    limit: Duration,
    place: &str,
    hint: &'static str,
) -> Result<Client<'a, ()>, Error> {
    let Some((whose, provider)) = credentials else {
        return Ok(Client { store, whose: None, signer: (), direct: None });
    };
    let mut budget = Budget::new(limit);
    while let Err(error) = provider.get_credential().await {
        let denied = no_credentials(place, &error, hint);
        if !fault::may_pass(&error) {
            return Err(denied);
        }
        budget.again(Passing::new(denied)).await?;
    }
    Ok(Client { store, whose: Some(whose.into()), signer: (), direct: None })
}

/// The error for credentials that are configured but not available.
pub fn no_credentials(place: &str, error: &object_store::Error, hint: &'static str) -> Error {
    let answer = format!("no credentials: {}", without_values(&innermost(error)));
    Error::Denied { place: place.to_owned(), answer, hint }
}

/// `text` without the contents of double quotes: parsers repeat the input there, which in a credentials file
/// may be a secret.
fn without_values(text: &str) -> String {
    let parts = text.split('"').enumerate();
    let kept = parts.map(|(n, part)| if n % 2 == 0 { part } else { "\"...\"" });
    show(&kept.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_catalog_cannot_make_clients_without_end() {
        let buckets = Buckets::new();
        let first = buckets.get("b0".to_owned(), || 0);
        assert!(Arc::ptr_eq(&first, &buckets.get("b0".to_owned(), || 1)));
        for n in 0..1000 {
            buckets.get(format!("b{n}"), || n);
        }
        assert_eq!(buckets.0.lock().unwrap().len(), BUCKETS.get());
    }

    #[test]
    fn what_a_parser_found_is_not_repeated() {
        let cases = [
            ("Missing AccessKeyId", "Missing AccessKeyId"),
            (
                "invalid type: string \"secret\", expected u8",
                "invalid type: string \"...\", expected u8",
            ),
            ("a \"secret", "a \"...\""),
        ];
        for (text, shown) in cases {
            assert_eq!(without_values(text), shown);
        }
    }
}
