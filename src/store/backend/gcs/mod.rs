//! Google Cloud Storage, through `object_store` and its XML API.
//!
//! Settings come from the environment, as `gcloud`, its libraries and `gcsfs` read it:
//!
//! - endpoint: `STORAGE_EMULATOR_HOST` (with or without `http://`), `GOOGLE_BASE_URL`, else Google itself.
//! - credentials: none with `--anon`; else `DATACHAIN_GCP_CREDENTIALS` (a service account as JSON),
//!   `GOOGLE_APPLICATION_CREDENTIALS`, and the other `GOOGLE_*` variables that `object_store` knows; else the
//!   file that `gcloud auth application-default login` wrote, below `CLOUDSDK_CONFIG` or `~/.config/gcloud`;
//!   else those of the machine, if they arrive within [`METADATA`] and `NO_GCE_CHECK` does not forbid the
//!   request; else none. Requests to an emulator are unsigned, unless the environment names credentials.
//!
//! A table of `config.toml` names an endpoint, a file of credentials or none, and wins over the environment.
//! Credentials of the environment are never sent to an endpoint that a table names.
//!
//! Files of the type `external_account` (workload identity federation) are not supported yet.

mod list;
pub mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};
use reqwest::header::HeaderValue;
use tokio::sync::OnceCell;

use super::bucket::{self, Naming, is_bucket, wrong_bucket};
use super::ways::Ways;
use super::{Backend, Folder, StoreKind};
use crate::Config;
use crate::cloud::fault::Hints;
use crate::cloud::{self, Buckets, Client, METADATA};
use crate::error::Error;
use crate::list::page::Pages;
use crate::net::{self, Net, Variables, is_yes};
use crate::pin::Rules;
use crate::remote::Requests;
use crate::settings::{Tables, address};
use crate::shared;
use dcfs_core::object::Object;
use dcfs_core::shared::Objects;

const CLOUD: &str = "Google Cloud Storage";

const NAMING: Naming = Naming {
    scheme: "gs",
    is_bucket,
    no_bucket: "its source names no bucket; write `gs://bucket`",
};

/// `gs://bucket/key`.
pub static KIND: StoreKind = StoreKind {
    schemes: &[NAMING.scheme],
    rules: Rules::Google,
    url: |object| NAMING.url(object),
    is_bucket: Some(NAMING.is_bucket),
    tables: Tables {
        wrong_name: wrong_bucket,
        address: str::to_owned,
        read: |at, table| Ok(Arc::new(settings::Gs::read(at, table)?)),
    },
    open: |setup| Box::new(Gcs::new(setup.config, setup.environment)),
};

pub const HINTS: Hints = Hints {
    signed: "they do not allow it; for a public bucket pass `--anon`",
    expired: "get new credentials and mount again",
    anonymous: "`gcloud auth application-default login`, or set \
                `GOOGLE_APPLICATION_CREDENTIALS`, and do not pass `--anon`",
    elsewhere: "the endpoint redirects to another server; see `STORAGE_EMULATOR_HOST`",
    unknown: "check the network, and at `STORAGE_EMULATOR_HOST`",
};

/// Hint when credentials are not available.
const HINT: &str = "see what `GOOGLE_APPLICATION_CREDENTIALS` names, or pass `--anon`";

/// Below the configuration folder of `gcloud`.
const DEFAULT: &str = "application_default_credentials.json";

/// All buckets of a mount.
pub struct Gcs {
    ways: Ways<Way>,
    buckets: Buckets<Bucket, (Option<String>, String)>,
}

/// One bucket and how to reach it.
pub struct Bucket {
    name: String,
    way: Arc<Way>,
    client: OnceCell<GoogleCloudStorage>,
}

/// The settings of one table of `config.toml`, or the default ones.
struct Way {
    /// An error is reported at first use.
    endpoint: Result<Option<String>, String>,
    is_emulator: bool,
    anon: bool,
    net: Net,
    /// Never printed.
    variables: Variables,
    /// The credentials file that a table names; it overrides everything else.
    file: Option<PathBuf>,
    /// The file that `gcloud auth application-default login` wrote.
    left: Option<PathBuf>,
    /// The project that pays for requests.
    payer: Option<String>,
    /// Whether requests are signed; known once the first client has been made.
    signed: OnceCell<bool>,
}

impl Gcs {
    /// Sends no request yet.
    pub fn new(config: &Config, environment: &Variables) -> Self {
        let names = [
            "GOOGLE_",
            "STORAGE_EMULATOR_HOST",
            "DATACHAIN_GCP_CREDENTIALS",
            "CLOUDSDK_CONFIG",
            "HOME",
            "GCLOUD_PROJECT",
            "CLOUDSDK_CORE_PROJECT",
            "NO_GCE_CHECK",
            "AWS_CA_BUNDLE",
        ];
        let variables = net::only(environment, &names);
        let way = |table: Option<&settings::Gs>| Way::new(config, variables.clone(), table);
        Self { ways: Ways::new(&config.settings, way), buckets: Buckets::new() }
    }

    /// The bucket called `name`, with the settings that apply to `key`. `name` must already be a valid bucket
    /// name.
    pub fn bucket(&self, name: &str, key: &[u8]) -> Arc<Bucket> {
        let (table, way) = self.ways.of(&address(NAMING.scheme, name, key));
        let way = Arc::clone(way);
        let new = || Bucket { name: name.to_owned(), way, client: OnceCell::new() };
        self.buckets.get((table.map(|table| table.text().to_owned()), name.to_owned()), new)
    }
}

impl Backend for Gcs {
    fn check(&self) -> Result<(), Error> {
        self.ways.check(Way::check)
    }

    fn describe(&self, source: &str) -> Result<Vec<(&'static str, String)>, Error> {
        let say = |way: &Way| [("endpoint", way.server().to_owned()), ("signed with", way.whose())];
        let payer = self.ways.of(source.as_bytes()).1.payer.clone();
        let payer = payer.map(|project| ("payer", format!("the project `{project}`")));
        Ok(self.ways.describe(source.as_bytes(), say).into_iter().chain(payer).collect())
    }

    fn object(&self, object: &Object, place: String) -> Result<Arc<dyn Requests>, Error> {
        let key = NAMING.key(object)?;
        bucket::object(self.bucket(&key.bucket, &key.key), &key, place)
    }

    fn shared(
        &self,
        object: &Object,
        place: &str,
        timeout: Duration,
    ) -> Result<Option<Arc<dyn Objects>>, Error> {
        let key = NAMING.key(object)?;
        shared::in_bucket(self.bucket(&key.bucket, &key.key), &key.key, place, timeout).map(Some)
    }

    fn pages(&self, folder: Folder<'_>) -> Result<Arc<dyn Pages>, Error> {
        let Folder { bucket, prefix, place, how } = folder;
        let bucket = self.bucket(bucket, prefix.as_bytes());
        Ok(Arc::new(list::Lister::new(bucket, place, how)?))
    }
}

impl Bucket {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The endpoint, if it is not Google's own.
    pub fn endpoint(&self) -> Option<&str> {
        self.way.endpoint.as_ref().ok()?.as_deref()
    }

    /// The project that pays for requests.
    pub fn payer(&self) -> Option<&str> {
        self.way.payer.as_deref()
    }

    /// The HTTP settings of our own requests, and whether plain HTTP is allowed.
    ///
    /// # Errors
    /// `Setting` if the endpoint is invalid.
    pub fn wire(&self) -> Result<(&Net, bool), Error> {
        let endpoint = self.way.endpoint.as_ref();
        let endpoint = endpoint.map_err(|error| Error::Setting(error.clone()))?;
        let is_plain = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        Ok((&self.way.net, is_plain))
    }

    /// The token of our own requests; `None` if they are not signed.
    ///
    /// # Errors
    /// `Denied` if a token is configured but not available; `place` is for the message.
    pub async fn bearer(&self, place: &str) -> Result<Option<String>, Error> {
        self.ready(place).await?;
        let Some(client) = self.client.get().filter(|_| self.is_signed()) else { return Ok(None) };
        let came = client.credentials().get_credential().await;
        let came = came.map_err(|error| cloud::no_credentials(place, &error, HINT))?;
        Ok(Some(came.bearer.clone()))
    }

    /// `true` until known.
    fn is_signed(&self) -> bool {
        self.way.signed.get().copied().unwrap_or(true)
    }

    async fn ready(&self, place: &str) -> Result<Client<'_, ()>, Error> {
        let client = self.client.get_or_try_init(|| self.way.client(&self.name)).await?;
        let signed = self.is_signed().then(|| ("the Google credentials", &**client.credentials()));
        cloud::ready(client, signed, self.way.net.timeout, place, HINT).await
    }
}

impl cloud::Bucket for Bucket {
    type Signer = ();

    fn client<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Client<'a, ()>, Error>> {
        self.ready(place).boxed()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn server(&self) -> &str {
        self.way.server()
    }

    fn timeout(&self) -> Duration {
        self.way.net.timeout
    }

    fn hints(&self) -> &'static Hints {
        &HINTS
    }
}

impl Way {
    fn new(config: &Config, variables: Variables, table: Option<&settings::Gs>) -> Self {
        let find = |name: &str| net::find(&variables, name);
        let told = table.and_then(|table| table.endpoint_url.clone());
        let emulator = find("STORAGE_EMULATOR_HOST").filter(|_| told.is_none());
        let given = told.or_else(|| emulator.map(with_scheme));
        let given = given.or_else(|| find("GOOGLE_BASE_URL").map(str::to_owned));
        let endpoint = given.map(|given| net::endpoint(&given)).transpose();
        let folder = find("CLOUDSDK_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| Some(PathBuf::from(find("HOME")?).join(".config/gcloud")));
        Self {
            endpoint: endpoint.map_err(|error| error.to_string()),
            is_emulator: emulator.is_some(),
            // A table about another server names its own credentials; those of the environment are for Google.
            anon: config.anon
                || table.is_some_and(|table| {
                    table.anon || table.endpoint_url.is_some() && table.credentials_file.is_none()
                }),
            file: table
                .and_then(|table| Some(net::expand(&variables, table.credentials_file.as_ref()?))),
            net: Net::new(config.timeout, &variables),
            payer: table
                .and_then(|table| table.user_project.clone())
                .or_else(|| config.request_payer.then(|| project(&variables)).flatten()),
            left: folder.map(|folder| folder.join(DEFAULT)).filter(|file| file.exists()),
            variables,
            signed: OnceCell::new(),
        }
    }

    /// A client for `bucket`. The first call of a mount decides whether requests are signed.
    async fn client(&self, bucket: &str) -> Result<GoogleCloudStorage, Error> {
        let signed = *self.signed.get_or_try_init(|| self.decide(bucket)).await?;
        build(self.builder(bucket, signed)?)
    }

    /// Whether there are credentials to sign with.
    async fn decide(&self, bucket: &str) -> Result<bool, Error> {
        if self.anon || self.file.is_none() && is_yes(self.get("GOOGLE_SKIP_SIGNATURE")) {
            return Ok(false);
        }
        if self.file.is_some() || self.has_credentials() {
            return Ok(true);
        }
        if self.is_emulator {
            return Ok(false);
        }
        if self.left.is_some() {
            return Ok(true);
        }
        let found = if is_yes(self.get("NO_GCE_CHECK")) {
            false
        } else {
            let store = build(self.builder(bucket, true)?)?;
            let asked = tokio::time::timeout(METADATA, store.credentials().get_credential());
            matches!(asked.await, Ok(Ok(_)))
        };
        if !found {
            tracing::info!(
                "no Google credentials found; requests to Google Cloud Storage are not signed"
            );
        }
        Ok(found)
    }

    /// Whether the environment contains credentials, or names where they are.
    fn has_credentials(&self) -> bool {
        let any = [
            "DATACHAIN_GCP_CREDENTIALS",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_SERVICE_ACCOUNT",
            "GOOGLE_SERVICE_ACCOUNT_PATH",
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            "GOOGLE_BEARER_TOKEN",
        ];
        any.iter().any(|name| self.get(name).is_some())
    }

    /// Whether a client can be built from the table's settings.
    fn check(&self) -> Result<(), Error> {
        let is_signed = self.file.is_some() && !self.anon;
        build(self.builder("bucket", is_signed)?).map(drop)
    }

    fn server(&self) -> &str {
        self.endpoint.as_ref().ok().and_then(Option::as_deref).unwrap_or("Google Cloud")
    }

    /// A description of the identity that signs requests; sends no request.
    fn whose(&self) -> String {
        match &self.file {
            _ if self.anon => "anonymous".into(),
            Some(file) => format!("the credentials in `{}`", file.display()),
            None if is_yes(self.get("GOOGLE_SKIP_SIGNATURE")) => "anonymous".into(),
            None if self.has_credentials() => "the credentials that the environment names".into(),
            None if self.is_emulator => "anonymous".into(),
            None if self.left.is_some() => "what `gcloud` left".into(),
            None => "the credentials of this machine, if it has some".into(),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        net::find(&self.variables, name)
    }

    fn builder(&self, bucket: &str, signed: bool) -> Result<GoogleCloudStorageBuilder, Error> {
        let mut builder = GoogleCloudStorageBuilder::new();
        if signed {
            builder = self.with_credentials(builder);
        } else {
            // Otherwise the file that `gcloud` wrote is read although it is not needed.
            builder = builder.with_bearer_token("none");
        }
        let endpoint = self.endpoint.as_ref().map_err(|error| Error::Setting(error.clone()))?;
        if let Some(url) = endpoint {
            builder = builder.with_base_url(url);
        }
        let http = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        if let Some(url) = endpoint.as_ref().filter(|url| signed && !net::is_private(url)) {
            let text = "is reached without TLS, so anybody on the path could read the token; write `https://`, or ask without credentials";
            return Err(Error::Setting(format!("`{url}` {text}")));
        }
        Ok(builder
            .with_bucket_name(bucket)
            .with_skip_signature(!signed)
            .with_http_connector(
                cloud::wire::Connector::as_stored(&self.net).paid_by(self.payer()?),
            )
            .with_client_options(self.net.options(http)?)
            .with_retry(net::once()))
    }

    /// The `x-goog-user-project` header.
    fn payer(&self) -> Result<Option<HeaderValue>, Error> {
        let header = |project: &String| HeaderValue::from_str(project);
        self.payer.as_ref().map(header).transpose().map_err(|_| {
            Error::Setting("the project that pays for requests is not valid in a header".into())
        })
    }

    fn with_credentials(
        &self,
        mut builder: GoogleCloudStorageBuilder,
    ) -> GoogleCloudStorageBuilder {
        if let Some(file) = &self.file {
            return builder.with_application_credentials(file.to_string_lossy());
        }
        for (name, value) in &self.variables {
            if let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(account) = self.get("DATACHAIN_GCP_CREDENTIALS") {
            return builder.with_service_account_key(account);
        }
        match &self.left {
            Some(file) if !self.has_credentials() => {
                builder.with_application_credentials(file.to_string_lossy())
            }
            _ => builder,
        }
    }
}

/// The project that the environment names, in the order of Google's own libraries.
fn project(variables: &Variables) -> Option<String> {
    let names = [
        "GOOGLE_CLOUD_QUOTA_PROJECT",
        "GOOGLE_CLOUD_PROJECT",
        "GCLOUD_PROJECT",
        "CLOUDSDK_CORE_PROJECT",
    ];
    names.iter().find_map(|name| net::find(variables, name)).map(str::to_owned)
}

fn build(builder: GoogleCloudStorageBuilder) -> Result<GoogleCloudStorage, Error> {
    builder.build().map_err(|error| cloud::setting(CLOUD, &error))
}

/// Adds `http://` to a bare `host:port` of `STORAGE_EMULATOR_HOST`.
fn with_scheme(given: &str) -> String {
    if given.contains("://") { given.to_owned() } else { format!("http://{given}") }
}

#[cfg(test)]
mod tests;
