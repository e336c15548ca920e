//! S3, and every server that speaks its protocol, through `object_store`.
//!
//! Addresses are path-style by default: one endpoint serves every bucket of a catalog. If a store answers that
//! a bucket is in another region, or requires virtual-hosted addresses, requests go there from then on. An
//! `http://` endpoint is used as given. Without credentials, requests are not signed, as DataChain falls back
//! to anonymous access; a mount notices when credentials appear.
//!
//! | file | contents |
//! |---|---|
//! | [`reach`] | endpoint, region and identity of a bucket, from all settings |
//! | [`credentials`] | source and lifetime of credentials |

mod credentials;
mod list;
mod reach;
pub mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use object_store::aws::AmazonS3;

pub use credentials::Answer;
use credentials::{CredentialError, Environment, Files};
use reach::Flags;
pub use reach::Reach;
use reach::Site;

use super::bucket::{self, Naming, is_bucket, wrong_bucket};
use super::{Backend, Folder, StoreKind};
use crate::cloud::direct::{Direct, Signed};
use crate::cloud::fault::Hints;
use crate::cloud::wire::{self, Note};
use crate::cloud::{self, Buckets};
use crate::error::Error;
use crate::http1;
use crate::list::page::Pages;
use crate::net::{Net, Variables};
use crate::pin::Rules;
use crate::put::Writes;
use crate::remote::Requests;
use crate::settings::{Tables, address, longest, wrong};
use crate::shared;
use crate::{Config, Settings};
use dcfs_core::object::Object;
use dcfs_core::provenance::Reached;
use dcfs_core::shared::Objects;

const CLOUD: &str = "S3";

const NAMING: Naming = Naming {
    scheme: "s3",
    is_bucket,
    no_bucket: "its source names no bucket; write `s3://bucket`",
};

/// `s3://bucket/key`.
pub static KIND: StoreKind = StoreKind {
    schemes: &[NAMING.scheme],
    rules: Rules::Bucket,
    url: |object| NAMING.url(object),
    is_bucket: Some(NAMING.is_bucket),
    tables: Tables {
        wrong_name: wrong_bucket,
        address: str::to_owned,
        read: |at, table| Ok(Arc::new(settings::S3::read(at, table)?)),
    },
    open: |setup| Box::new(S3::new(setup.config, setup.environment)),
};

pub const HINTS: Hints = Hints {
    signed: "they do not allow it; name others with `--profile`, or for a public bucket pass `--anon`",
    expired: "get new credentials; the mount takes them from files of `~/.aws`, others need a new mount",
    anonymous: "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or name a profile of `~/.aws` by \
                `--profile`, and do not pass `--anon`",
    elsewhere: "the bucket is in another region; pass it as `--region`",
    unknown: "check the network, and name a server that is not AWS by `--endpoint-url`",
};

/// Name of the table of settings that applies, if any.
type TableName = Option<String>;

/// All buckets of a mount.
pub struct S3 {
    flags: Flags,
    net: Net,
    settings: Settings,
    environment: Arc<Environment>,
    /// The AWS files as they were when the mount began; credentials read them again.
    files: Result<Files, CredentialError>,
    /// One per table.
    reaches: Mutex<HashMap<TableName, Arc<Reach>>>,
    buckets: Buckets<Bucket, (TableName, String)>,
}

/// One bucket and how to reach it.
pub struct Bucket {
    name: String,
    reach: Arc<Reach>,
    first: Clients,
    /// The site that the store named.
    found: OnceLock<Clients>,
}

/// The clients of a bucket at one site.
struct Clients {
    site: Site,
    signed: OnceLock<Made>,
    anonymous: OnceLock<Made>,
}

/// One client of a bucket.
struct Made {
    store: AmazonS3,
    /// For whole objects; `None` if they are requested through `store`.
    direct: Option<Direct>,
}

impl Clients {
    fn new(site: Site) -> Self {
        Self { site, signed: OnceLock::new(), anonymous: OnceLock::new() }
    }
}

/// A client, and the credentials that it signs with.
type Client<'a> = cloud::Client<'a, Answer>;

impl S3 {
    /// Sends no request yet.
    pub fn new(config: &Config, variables: &Variables) -> Self {
        let environment = Environment::of(variables);
        let flags = Flags {
            endpoint_url: config.endpoint_url.clone(),
            region: config.region.clone(),
            profile: config.profile.clone(),
            anon: config.anon,
            request_payer: config.request_payer,
        };
        Self {
            flags,
            net: Net::new(config.timeout, variables),
            settings: config.settings.clone(),
            files: Files::read(&environment),
            environment: Arc::new(environment),
            reaches: Mutex::default(),
            buckets: Buckets::new(),
        }
    }

    /// The bucket called `name`, with the settings that apply to `key`. `name` must already be a valid bucket
    /// name.
    ///
    /// # Errors
    /// `Setting` if its settings are invalid.
    pub fn bucket(&self, name: &str, key: &[u8]) -> Result<Arc<Bucket>, Error> {
        let table = self.table(name, key);
        let reach = self.reach(table.clone())?;
        let new = || {
            let first = Clients::new(reach.site(name));
            Bucket { name: name.to_owned(), reach, first, found: OnceLock::new() }
        };
        Ok(self.buckets.get((table, name.to_owned()), new))
    }

    /// The table of settings that applies to a key.
    fn table(&self, bucket: &str, key: &[u8]) -> TableName {
        let address = address(NAMING.scheme, bucket, key);
        let (name, _) = longest(self.settings.all::<settings::S3>(), &address)?;
        Some(name.text().to_owned())
    }

    /// The settings for the buckets of a table.
    fn reach(&self, table: TableName) -> Result<Arc<Reach>, Error> {
        if let Some(known) = lock(&self.reaches).get(&table) {
            return Ok(Arc::clone(known));
        }
        let files = self.files.as_ref().map_err(|error| Error::Setting(error.to_string()))?;
        let mut all = self.settings.all();
        let said = table.as_ref().and_then(|name| all.find(|(n, _)| n.text() == name));
        let said = said.map(|(_, said)| said);
        let reach = Arc::new(Reach::of(&self.flags, &self.net, said, &self.environment, files)?);
        // If two threads made one, the first wins: all buckets of a table share an identity.
        Ok(Arc::clone(lock(&self.reaches).entry(table).or_insert(reach)))
    }
}

impl Backend for S3 {
    fn check(&self) -> Result<(), Error> {
        self.reach(None)?.check()?;
        for (name, _) in self.settings.all::<settings::S3>() {
            let checked = self.reach(Some(name.text().to_owned())).and_then(|reach| reach.check());
            checked.map_err(|error| wrong(name, error))?;
        }
        Ok(())
    }

    fn describe(&self, source: &str) -> Result<Vec<(&'static str, String)>, Error> {
        let (bucket, prefix) = bucket::split(source);
        let table = self.table(bucket, prefix.as_bytes());
        let reach = self.reach(table.clone())?;
        let mut said = vec![
            ("settings", table.map_or("no table".into(), |table| format!("[\"{table}\"]"))),
            ("endpoint", reach.server().to_owned()),
            ("region", reach.region.clone()),
            ("signed with", reach.whose()),
        ];
        if reach.request_payer {
            said.push(("payer", "the requester".into()));
        }
        Ok(said)
    }

    fn reached(&self, source: &str) -> Option<Reached> {
        let (bucket, prefix) = bucket::split(source);
        Some(self.reach(self.table(bucket, prefix.as_bytes())).ok()?.reached())
    }

    fn object(&self, object: &Object, place: String) -> Result<Arc<dyn Requests>, Error> {
        let key = NAMING.key(object)?;
        bucket::object(self.bucket(&key.bucket, &key.key)?, &key, place)
    }

    fn shared(
        &self,
        object: &Object,
        place: &str,
        timeout: Duration,
    ) -> Result<Option<Arc<dyn Objects>>, Error> {
        let key = NAMING.key(object)?;
        shared::in_bucket(self.bucket(&key.bucket, &key.key)?, &key.key, place, timeout).map(Some)
    }

    fn writes(&self, bucket: &str, prefix: &str) -> Result<Arc<dyn Writes>, Error> {
        Ok(self.bucket(bucket, prefix.as_bytes())?)
    }

    fn pages(&self, folder: Folder<'_>) -> Result<Arc<dyn Pages>, Error> {
        let Folder { bucket, prefix, place, how } = folder;
        let bucket = self.bucket(bucket, prefix.as_bytes())?;
        Ok(Arc::new(list::Lister::new(bucket, place, how)?))
    }
}

impl Bucket {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Its URL, without a trailing slash.
    pub fn url(&self) -> String {
        self.reach.url(&self.name, &self.clients().site)
    }

    /// Whether addresses are virtual-hosted.
    pub fn is_virtual(&self) -> bool {
        self.clients().site.is_virtual
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.clients().site.region
    }

    fn clients(&self) -> &Clients {
        self.found.get().unwrap_or(&self.first)
    }

    /// Whether the store redirected to another site.
    pub fn is_moved(&self) -> bool {
        self.found.get().is_some()
    }

    /// Whether a refusal names the bucket's site: the request may be repeated, and all later ones go there. A
    /// request that already went there (`was_moved`) is not redirected again: a store could redirect without
    /// end.
    pub fn go_on(&self, note: &Note, was_moved: bool) -> bool {
        if was_moved || self.is_moved() {
            return !was_moved;
        }
        let site = elsewhere(&self.first.site, note);
        let is_askable = |site: &Site| !site.is_virtual || self.reach.can_be_host(&self.name);
        let Some(site) = site.filter(is_askable) else { return false };
        tracing::info!("`s3://{}` is accessed in {} from now on", self.name, site.region);
        // If another thread was first, it was given the same site.
        let _ = self.found.set(Clients::new(site));
        true
    }

    /// The credentials to sign with now; without keys if requests are not signed.
    ///
    /// # Errors
    /// `Denied` if credentials are configured but not available; `place` is for the message.
    pub async fn signer(&self, place: &str) -> Result<Answer, Error> {
        let Some(identity) = &self.reach.identity else {
            return Ok(Answer { keys: None, whose: "".into() });
        };
        identity.now().await.map_err(|error| Error::Denied {
            place: place.to_owned(),
            answer: format!("no credentials: {error}"),
            hint: "see `dcfs doctor`, or pass `--anon`",
        })
    }

    /// The client, with its credentials fetched if requests are signed.
    ///
    /// # Errors
    /// `Denied` if credentials are configured but not available; `place` is for the message.
    async fn ready(&self, place: &str) -> Result<Client<'_>, Error> {
        let answer = self.signer(place).await?;
        self.asking(answer)
    }

    fn asking(&self, answer: Answer) -> Result<Client<'_>, Error> {
        let is_signed = answer.keys.is_some();
        let clients = self.clients();
        let made = if is_signed { &clients.signed } else { &clients.anonymous };
        let Made { store, direct } = match made.get() {
            Some(made) => made,
            None => {
                let new = self.build(&clients.site, is_signed)?;
                made.get_or_init(|| new)
            }
        };
        let whose = is_signed.then(|| Arc::clone(&answer.whose));
        let signed = |direct| Signed { direct, keys: answer.keys.clone() };
        let direct = direct.as_ref().map(signed);
        Ok(Client { store, whose, signer: answer, direct })
    }

    fn build(&self, site: &Site, is_signed: bool) -> Result<Made, Error> {
        let url = self.reach.url(&self.name, site);
        // Where there is none, the builder says why.
        let http = http1::Client::new(&self.reach.net, url.starts_with("http://")).ok();
        let http = http.map(Arc::new);
        let connector = wire::Connector::new(&self.reach.net).by(http.clone());
        let builder = self.reach.builder(&self.name, site, connector);
        let builder = builder.with_skip_signature(!is_signed);
        let builder = match &self.reach.identity {
            Some(identity) => builder.with_credentials(Arc::new(identity.clone())),
            None => builder,
        };
        let store = builder.build().map_err(|error| cloud::setting(CLOUD, &error))?;
        let (region, payer) = (&site.region, self.reach.request_payer);
        let direct = http.and_then(|http| Direct::new(http, url, region, payer));
        Ok(Made { store, direct })
    }
}

impl Writes for Bucket {
    fn writer<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Arc<dyn ObjectStore>, Error>> {
        async move {
            let client = self.ready(place).await?;
            let clients = self.clients();
            let made = if client.whose.is_some() { &clients.signed } else { &clients.anonymous };
            let made = made.get().map(|made| made.store.clone());
            let made = made.ok_or_else(|| Error::Setting("no S3 client could be made".into()))?;
            Ok(Arc::new(made) as Arc<dyn ObjectStore>)
        }
        .boxed()
    }
}

impl cloud::Bucket for Bucket {
    type Signer = Answer;

    fn client<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Client<'a>, Error>> {
        self.ready(place).boxed()
    }

    fn other<'a>(&'a self, refused: &'a Answer) -> BoxFuture<'a, Option<Client<'a>>> {
        async {
            let others = self.reach.identity.as_ref()?.others(refused).await?;
            self.asking(others).ok()
        }
        .boxed()
    }

    fn is_moved(&self) -> bool {
        self.is_moved()
    }

    fn go_on(&self, note: &Note, was_moved: bool) -> bool {
        self.go_on(note, was_moved)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn server(&self) -> &str {
        self.reach.server()
    }

    fn timeout(&self) -> Duration {
        self.reach.net.timeout
    }

    fn hints(&self) -> &'static Hints {
        &HINTS
    }
}

/// The site that a refusal names, if it is not the one asked.
fn elsewhere(asked: &Site, note: &Note) -> Option<Site> {
    if !asked.is_virtual && note.code == "SecondLevelDomainForbidden" {
        return Some(Site { is_virtual: true, ..asked.clone() });
    }
    let region = note.region.as_ref().filter(|_| [301, 307, 400].contains(&note.status))?;
    let is_other = *region != asked.region && reach::is_region(region);
    is_other.then(|| Site { region: region.clone(), ..asked.clone() })
}

/// Every change under these locks is a single step, so a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    use cloud::Bucket as _;

    type Set<'a> = &'a [(&'a str, &'a str)];

    fn s3(anon: bool, settings: &str, variables: Set) -> S3 {
        let config = Config {
            anon,
            settings: Settings::parse(Path::new("/c"), settings).unwrap(),
            ..Config::new(Duration::from_secs(1))
        };
        let home = tempfile::tempdir().unwrap();
        S3::new(&config, &Environment::variables_of(home.path(), variables))
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test)
    }

    #[test]
    fn what_is_wrong_is_told_before_a_mount() {
        let cases: [(&str, Set, &str); 4] = [
            (
                "",
                &[("AWS_SECRET_ACCESS_KEY", "hush")],
                "the environment: `AWS_SECRET_ACCESS_KEY` is set and `AWS_ACCESS_KEY_ID` is not",
            ),
            ("", &[("AWS_PROFILE", "none")], "there is no profile `none` in "),
            (
                "[\"s3://b\"]\nprofile = 'none'",
                &[],
                "settings of `s3://b`: there is no profile `none` in",
            ),
            (
                "[\"s3://b\"]\nendpoint_url = 'x'",
                &[],
                "settings of `s3://b`: `x` is not an endpoint",
            ),
        ];
        for (settings, variables, message) in cases {
            let error = s3(false, settings, variables).check().unwrap_err().to_string();
            assert!(error.starts_with(message) && !error.contains("hush"), "{error}");
        }
        s3(false, "[\"s3://b\"]\nregion = 'x'", &[]).check().unwrap();
    }

    #[test]
    fn credentials_that_do_not_come_are_said_so() {
        let variables = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token"),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ];
        let s3 = s3(false, "", &variables);
        let bucket = s3.bucket("b", b"k").unwrap();
        let error = run(bucket.ready("s3://b/k")).err().unwrap();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert!(error.to_string().contains("no credentials: "), "{error}");
    }

    #[test]
    fn every_prefix_has_its_way_and_shares_it() {
        let s3 = s3(true, "[\"s3://b/in\"]\nendpoint_url = 'http://h:1'", &[]);
        let server = |key: &[u8]| s3.bucket("b", key).unwrap().server().to_owned();
        assert_eq!((server(b"in/x"), server(b"inn")), ("http://h:1".into(), "AWS".into()));
        let [a, b] = [b"in/x", b"in/y"].map(|key| s3.bucket("b", key).unwrap());
        assert!(Arc::ptr_eq(&a, &b));
        let said = s3.describe("s3://b/in/x").unwrap();
        assert_eq!(said[0], ("settings", "[\"s3://b/in\"]".to_owned()));
        assert_eq!(said[3], ("signed with", "anonymous".to_owned()));
    }

    #[test]
    fn a_bucket_is_asked_where_the_store_says_that_it_is() {
        let note = |status, code: &str, region: &str| Note {
            status,
            code: code.into(),
            region: Some(region.to_owned()).filter(|region| !region.is_empty()),
            after: None,
        };
        let cases = [
            (note(301, "PermanentRedirect", "r-2"), Some("https://s3.r-2.amazonaws.com/b")),
            (note(307, "TemporaryRedirect", "r-2"), Some("https://s3.r-2.amazonaws.com/b")),
            (
                note(400, "AuthorizationHeaderMalformed", "r-2"),
                Some("https://s3.r-2.amazonaws.com/b"),
            ),
            (note(301, "", "cn-north-1"), Some("https://s3.cn-north-1.amazonaws.com.cn/b")),
            (note(301, "", "us-east-1"), None),
            (note(301, "", "evil.example/"), None),
            (note(301, "PermanentRedirect", ""), None),
            (note(403, "AccessDenied", "r-2"), None),
            (
                note(403, "SecondLevelDomainForbidden", ""),
                Some("https://b.s3.us-east-1.amazonaws.com"),
            ),
        ];
        for (note, want) in cases {
            let bucket = s3(true, "", &[]).bucket("b", b"k").unwrap();
            assert_eq!(bucket.go_on(&note, false), want.is_some(), "{note:?}");
            let Some(want) = want else { continue };
            assert_eq!(bucket.url(), want);
            assert!(bucket.go_on(&note, false), "asked before that was known");
            assert!(!bucket.go_on(&note, true), "and around");
        }
    }

    #[test]
    fn whole_objects_are_requested_directly() {
        let keys: Set = &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        let plain = "[\"s3://b\"]\nendpoint_url = 'http://h:1'";
        for (anon, settings) in [(true, ""), (true, plain), (false, ""), (false, plain)] {
            let bucket = s3(anon, settings, keys).bucket("b", b"k").unwrap();
            let client = run(bucket.ready("s3://b/k")).unwrap();
            let direct = client.direct.expect("it is not left to `object_store`");
            assert_eq!(direct.keys.is_some(), !anon, "{settings}");
        }
    }

    #[test]
    fn buckets_share_one_way() {
        let s3 = s3(true, "", &[]);
        for n in 0..1000 {
            s3.bucket(&format!("b{n}"), b"k").unwrap();
        }
        assert_eq!(lock(&s3.reaches).len(), 1);
    }
}
