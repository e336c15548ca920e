//! Credentials, found as the AWS command line finds them, cached, and renewed before they expire.
//!
//! | file | contents |
//! |---|---|
//! | [`environment`], [`ini`], [`profile`] | parsing of the variables and of the files of `~/.aws` |
//! | [`source`] | choice of the source of credentials; sends no request |
//! | [`fetch`] | fetching from that source |
//! | [`process`], [`words`] | `credential_process` |
//! | [`web`] | STS, and the service of a container |
//! | [`sso`] | the token of `aws sso login`, and its portal |
//! | [`keys`] | validation and lifetime of keys |
//!
//! The files are read again whenever credentials are renewed, so keys that another tool refreshes there are
//! picked up. Rules of an [`Identity`]:
//!
//! 1. Answers are kept for a while ([`Pace`]). After that the old one is returned once more while a new one is
//!    fetched, so that nobody waits, unless the old one has expired.
//! 2. One fetch at a time, in a task of its own, which continues if its reader stops waiting.
//! 3. If a fetch fails, unexpired credentials stay in use; otherwise the error is reported, and cached for
//!    seconds.
//! 4. "No credentials" is never final: it is checked again after minutes, and when a store refuses.

pub mod environment;
pub mod error;
mod fetch;
mod ini;
mod keys;
mod process;
pub mod profile;
pub mod source;
mod sso;
mod web;
mod words;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use object_store::{ClientOptions, CredentialProvider, RetryConfig};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

pub use environment::Environment;
pub use error::CredentialError;
use fetch::Found;
pub use profile::Files;
use source::{Finder, Source};

/// How long each kind of answer is kept.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Keys from files and from the machine, which may change at any time and are cheap to look up.
    files: Duration,
    /// The answer that there are no credentials.
    nothing: Duration,
    /// An error.
    failure: Duration,
    /// Minimum time between two searches that are caused by refusals of the store.
    again: Duration,
    /// How long a reader waits for the metadata service. A later answer is seen by the next reader.
    machine: Duration,
}

const PACE: Pace = Pace {
    files: Duration::from_secs(60),
    nothing: Duration::from_secs(180),
    failure: Duration::from_secs(5),
    again: Duration::from_secs(5),
    machine: Duration::from_secs(2),
};

/// The inputs of a search for credentials.
#[derive(Clone)]
pub struct Wanted {
    pub environment: Arc<Environment>,
    /// A profile named in a flag or in `config.toml`: keys of the environment do not count.
    pub named: Option<String>,
    /// For STS, if the profile names none.
    pub region: String,
    pub options: ClientOptions,
    pub retry: RetryConfig,
}

/// The identity that signs requests. Clones share its state.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    wanted: Wanted,
    pace: Pace,
    held: Mutex<Option<Held>>,
    /// Held by the task that fetches credentials.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The metadata service's client, which caches its own answers.
    machine: OnceLock<AwsCredentialProvider>,
}

/// The result of a search.
#[derive(Clone)]
pub struct Answer {
    /// `None`: requests are not signed.
    pub keys: Option<Arc<AwsCredential>>,
    /// A description of whose they are.
    pub whose: Arc<str>,
}

#[derive(Clone)]
struct Held {
    outcome: Result<Answer, CredentialError>,
    asked: Instant,
    fresh: Instant,
    /// `None`: no known expiry.
    ends: Option<Instant>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("named", &self.0.wanted.named).finish_non_exhaustive()
    }
}

impl Wanted {
    /// The source of credentials, given the current files.
    ///
    /// # Errors
    /// The files, the profile or the environment are invalid.
    pub fn find(&self) -> Result<Source, CredentialError> {
        let files = Files::read(&self.environment)?;
        let (environment, region) = (&*self.environment, self.region.as_str());
        Source::find(Finder { environment, files: &files, named: self.named.as_deref(), region })
    }
}

impl Identity {
    /// Sends no request yet.
    pub fn new(wanted: Wanted) -> Self {
        Self::with_pace(wanted, PACE)
    }

    fn with_pace(wanted: Wanted, pace: Pace) -> Self {
        let (held, turn, machine) = Default::default();
        Self(Arc::new(Inner { wanted, pace, held, turn, machine }))
    }

    /// The inputs of its searches.
    pub fn wanted(&self) -> &Wanted {
        &self.0.wanted
    }

    /// The credentials to sign with now.
    ///
    /// # Errors
    /// Credentials are configured but not available.
    pub async fn now(&self) -> Result<Answer, CredentialError> {
        let held = self.held();
        match &held {
            Some(held) if Instant::now() < held.fresh => return held.outcome.clone(),
            Some(held) if held.is_usable() => {
                if let Ok(turn) = Arc::clone(&self.0.turn).try_lock_owned() {
                    drop(self.fetch(turn));
                }
                return held.outcome.clone();
            }
            _ => {}
        }
        self.ask(held.map(|held| held.asked)).await
    }

    /// Credentials other than `used`, which the store refused; `None` if there are no others.
    pub async fn others(&self, used: &Answer) -> Option<Answer> {
        let differ = |answer: &Answer| answer.keys != used.keys;
        let held = self.held();
        let last = held.as_ref().and_then(|held| held.outcome.clone().ok());
        if let Some(answer) = last.filter(differ) {
            return Some(answer);
        }
        let asked = held.map(|held| held.asked);
        if asked.is_some_and(|asked| asked.elapsed() < self.0.pace.again) {
            return None;
        }
        self.ask(asked).await.ok().filter(differ)
    }

    /// Fetches credentials, unless another task has done so since `seen`.
    async fn ask(&self, seen: Option<Instant>) -> Result<Answer, CredentialError> {
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        if let Some(held) = self.held().filter(|held| Some(held.asked) != seen) {
            return held.outcome;
        }
        let ended =
            |_| Err(CredentialError::failed("dcfs", "the search for them ended in a panic"));
        self.fetch(turn).await.unwrap_or_else(ended)
    }

    fn fetch(&self, turn: OwnedMutexGuard<()>) -> JoinHandle<Result<Answer, CredentialError>> {
        let own = self.clone();
        tokio::spawn(async move {
            let _turn = turn;
            let found = own.0.find().await;
            own.keep(found)
        })
    }

    fn keep(
        &self,
        found: Result<(Found, String), CredentialError>,
    ) -> Result<Answer, CredentialError> {
        let (now, pace) = (Instant::now(), &self.0.pace);
        let new = match (found, self.held()) {
            (Ok((found, whose)), _) => Held {
                outcome: Ok(Answer { keys: found.keys, whose: whose.into() }),
                asked: now,
                fresh: now + found.fresh,
                ends: found.ends.map(|ends| now + ends),
            },
            (Err(error), Some(old)) if old.is_usable() => {
                tracing::warn!("credentials could not be found again: {error}; those in use stay");
                Held { asked: now, fresh: now + pace.again, ..old }
            }
            (Err(error), _) => {
                Held { outcome: Err(error), asked: now, fresh: now + pace.failure, ends: None }
            }
        };
        let outcome = new.outcome.clone();
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
        outcome
    }

    fn held(&self) -> Option<Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Held {
    /// Whether it may be used while a new one is being fetched.
    fn is_usable(&self) -> bool {
        self.outcome.is_ok() && self.ends.is_none_or(|ends| Instant::now() < ends)
    }
}

/// For the signing library, which asks before each request.
impl CredentialProvider for Identity {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(&'a self) -> BoxFuture<'b, object_store::Result<Arc<AwsCredential>>>
    where
        'a: 'b,
        Self: 'b,
    {
        let none = || generic("there are no credentials any more");
        async move { self.now().await.map_err(generic)?.keys.ok_or_else(none) }.boxed()
    }
}

fn generic(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: error.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Keeps nothing.
    const IMPATIENT: Pace = Pace {
        files: Duration::ZERO,
        nothing: Duration::ZERO,
        failure: Duration::ZERO,
        again: Duration::ZERO,
        machine: Duration::from_secs(2),
    };

    fn identity(home: &Path, pace: Pace) -> Identity {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let off = ("AWS_EC2_METADATA_DISABLED", "true");
        let wanted = Wanted {
            environment: Arc::new(Environment::made_of(home, &[off])),
            named: None,
            region: "us-east-1".into(),
            options: ClientOptions::new(),
            retry: RetryConfig::default(),
        };
        Identity::with_pace(wanted, pace)
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test)
    }

    /// A home whose `credential_process` prints the file `json`, and records each run.
    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().display();
        fs::create_dir(home.path().join(".aws")).unwrap();
        let config =
            format!("[default]\ncredential_process = sh -c 'echo run >> {at}/runs; cat {at}/json'");
        fs::write(home.path().join(".aws/config"), config).unwrap();
        home
    }

    fn give(home: &Path, id: &str, ends: &str) {
        let json = format!(
            "{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"hush\",\"Expiration\":\"{ends}\"}}"
        );
        fs::write(home.join("json"), json).unwrap();
    }

    fn runs(home: &Path) -> usize {
        fs::read_to_string(home.join("runs")).unwrap_or_default().lines().count()
    }

    fn id(answer: &Answer) -> &str {
        answer.keys.as_ref().map_or("-", |keys| &keys.key_id)
    }

    #[test]
    fn many_readers_run_one_process() {
        let home = home();
        give(home.path(), "a", "9999-01-01T00:00:00Z");
        let identity = identity(home.path(), PACE);
        run(async {
            let answers = futures_util::future::join_all((0..20).map(|_| identity.now())).await;
            assert!(answers.iter().all(|answer| id(answer.as_ref().unwrap()) == "a"));
            give(home.path(), "b", "9999-01-01T00:00:00Z");
            assert_eq!(id(&identity.now().await.unwrap()), "a", "not asked while it is good");
            let used = identity.now().await.unwrap();
            assert!(identity.others(&used).await.is_none(), "not at every refusal");
        });
        assert_eq!(runs(home.path()), 1);
    }

    #[test]
    fn a_refusal_finds_others() {
        let home = home();
        give(home.path(), "a", "9999-01-01T00:00:00Z");
        let identity = identity(home.path(), Pace { again: Duration::ZERO, ..PACE });
        run(async {
            let used = identity.now().await.unwrap();
            assert!(identity.others(&used).await.is_none(), "there are no others");
            give(home.path(), "b", "9999-01-01T00:00:00Z");
            assert_eq!(id(&identity.others(&used).await.unwrap()), "b");
            assert_eq!(id(&identity.others(&used).await.unwrap()), "b", "without another question");
        });
        assert_eq!(runs(home.path()), 3);
    }

    #[test]
    fn a_failure_leaves_what_is_good_and_is_told_where_nothing_is() {
        let home = home();
        let identity = identity(home.path(), IMPATIENT);
        run(async {
            let error = identity.now().await.err().unwrap().to_string();
            assert!(error.contains("gave no credentials"), "{error}");
            give(home.path(), "a", "2001-01-01T00:00:00Z");
            let error = identity.now().await.err().unwrap().to_string();
            assert!(error.contains("have expired already"), "{error}");
            give(home.path(), "a", "9999-01-01T00:00:00Z");
            let used = identity.now().await.unwrap();
            fs::remove_file(home.path().join("json")).unwrap();
            assert!(identity.others(&used).await.is_none());
            assert_eq!(id(&identity.now().await.unwrap()), "a");
        });
    }

    #[test]
    fn what_was_nowhere_may_appear() {
        let home = tempfile::tempdir().unwrap();
        let identity = identity(home.path(), IMPATIENT);
        run(async {
            let used = identity.now().await.unwrap();
            assert_eq!(id(&used), "-");
            fs::create_dir(home.path().join(".aws")).unwrap();
            let keys = "[default]\naws_access_key_id=a\naws_secret_access_key=s";
            fs::write(home.path().join(".aws/credentials"), keys).unwrap();
            let others = identity.others(&used).await.unwrap();
            assert_eq!((id(&others), &*others.whose), ("a", "the keys of profile `default`"));
        });
    }

    #[test]
    fn secrets_are_not_printed() {
        let home = tempfile::tempdir().unwrap();
        let identity = identity(home.path(), PACE);
        assert_eq!(format!("{identity:?}"), "Identity { named: None, .. }");
    }
}
