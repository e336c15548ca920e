//! Google Cloud Storage, through `object_store` and its XML API.
//!
//! Settings come from the environment, as `gcloud`, its libraries and `gcsfs` read it:
//!
//! - endpoint: `STORAGE_EMULATOR_HOST` (with or without `http://`), `GOOGLE_BASE_URL`, else Google itself.
//! - credentials: none with `--anon`; else `DATACHAIN_GCP_CREDENTIALS` (a service account as JSON),
//!   `GOOGLE_APPLICATION_CREDENTIALS`, and what else `object_store` knows as `GOOGLE_*`; else what
//!   `gcloud auth application-default login` left, below `CLOUDSDK_CONFIG` or `~/.config/gcloud`; else those
//!   of the machine, if they come within [`METADATA`] and `NO_GCE_CHECK` does not forbid to ask; else
//!   none. An emulator is asked without any, unless the environment names some.
//!
//! Files of the type `external_account` (workload identity federation) are not understood yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};
use tokio::sync::OnceCell;

use super::Config;
use super::cloud::fault::Hints;
use super::cloud::{self, Buckets, Client, METADATA};
use super::error::Error;
use super::net::{self, Net, Variables, is_yes};

const CLOUD: &str = "Google Cloud Storage";

pub const HINTS: Hints = Hints {
    signed: "they do not allow it; for a public bucket pass `--anon`",
    expired: "get new credentials and mount again",
    anonymous: "`gcloud auth application-default login`, or set \
                `GOOGLE_APPLICATION_CREDENTIALS`, and do not pass `--anon`",
    elsewhere: "the endpoint sends elsewhere; see `STORAGE_EMULATOR_HOST`",
};

/// Credentials that do not come.
const HINT: &str = "see what `GOOGLE_APPLICATION_CREDENTIALS` names, or pass `--anon`";

/// Below a folder of configuration of `gcloud`.
const DEFAULT: &str = "application_default_credentials.json";

/// Every bucket of a mount.
pub struct Gcs {
    settings: Arc<Settings>,
    buckets: Buckets<Bucket>,
}

/// One bucket and how to ask it.
pub struct Bucket {
    name: String,
    settings: Arc<Settings>,
    client: OnceCell<GoogleCloudStorage>,
}

struct Settings {
    /// Whose errors are told at first use.
    endpoint: Result<Option<String>, String>,
    is_emulator: bool,
    anon: bool,
    net: Net,
    /// Never printed.
    variables: Variables,
    /// What `gcloud` left.
    left: Option<PathBuf>,
    /// Whether requests are signed; known after the first client is made.
    signed: OnceCell<bool>,
}

impl Gcs {
    /// Nothing is asked of a network yet.
    pub fn new(config: &Config, environment: &Variables) -> Self {
        let names = [
            "GOOGLE_",
            "STORAGE_EMULATOR_HOST",
            "DATACHAIN_GCP_CREDENTIALS",
            "CLOUDSDK_CONFIG",
            "HOME",
            "NO_GCE_CHECK",
            "AWS_CA_BUNDLE",
        ];
        let settings = Arc::new(Settings::new(config, net::only(environment, &names)));
        Self { settings, buckets: Buckets::new() }
    }

    /// The bucket called `name`, which holds what a bucket's name may hold.
    pub fn bucket(&self, name: &str) -> Arc<Bucket> {
        let settings = Arc::clone(&self.settings);
        let new = || Bucket { name: name.to_owned(), settings, client: OnceCell::new() };
        self.buckets.get(name.to_owned(), new)
    }
}

impl Bucket {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is not Google itself.
    pub fn endpoint(&self) -> Option<&str> {
        self.settings.endpoint.as_ref().ok()?.as_deref()
    }

    /// How requests of our own are sent, and whether without TLS.
    ///
    /// # Errors
    /// `Setting`: the endpoint makes no sense.
    pub fn wire(&self) -> Result<(&Net, bool), Error> {
        let endpoint = self.settings.endpoint.as_ref();
        let endpoint = endpoint.map_err(|error| Error::Setting(error.clone()))?;
        let is_plain = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        Ok((&self.settings.net, is_plain))
    }

    /// The token of requests of our own; `None` where they are not signed.
    ///
    /// # Errors
    /// `Denied` where there should be one, but it does not come; `place` is for the message.
    pub async fn bearer(&self, place: &str) -> Result<Option<String>, Error> {
        self.ready(place).await?;
        let Some(client) = self.client.get().filter(|_| self.is_signed()) else { return Ok(None) };
        let came = client.credentials().get_credential().await;
        let came = came.map_err(|error| cloud::no_credentials(place, &error, HINT))?;
        Ok(Some(came.bearer.clone()))
    }

    /// `true` until known.
    fn is_signed(&self) -> bool {
        self.settings.signed.get().copied().unwrap_or(true)
    }

    async fn ready(&self, place: &str) -> Result<Client<'_, ()>, Error> {
        let client = self.client.get_or_try_init(|| self.settings.client(&self.name)).await?;
        let is_signed = self.is_signed();
        if is_signed {
            let came = client.credentials().get_credential().await;
            came.map_err(|error| cloud::no_credentials(place, &error, HINT))?;
        }
        let whose = is_signed.then(|| "the Google credentials".into());
        Ok(Client { store: client, whose, signer: () })
    }
}

impl cloud::Bucket for Bucket {
    type Signer = ();

    fn client<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Client<'a, ()>, Error>> {
        self.ready(place).boxed()
    }

    fn server(&self) -> &str {
        self.settings.endpoint.as_ref().ok().and_then(Option::as_deref).unwrap_or("Google Cloud")
    }

    fn timeout(&self) -> Duration {
        self.settings.net.timeout
    }

    fn hints(&self) -> &'static Hints {
        &HINTS
    }
}

impl Settings {
    fn new(config: &Config, variables: Variables) -> Self {
        let find = |name: &str| net::find(&variables, name);
        let emulator = find("STORAGE_EMULATOR_HOST");
        let given =
            emulator.map(with_scheme).or_else(|| find("GOOGLE_BASE_URL").map(str::to_owned));
        let endpoint = given.map(|given| net::endpoint(&given)).transpose();
        let folder = find("CLOUDSDK_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| Some(PathBuf::from(find("HOME")?).join(".config/gcloud")));
        Self {
            endpoint: endpoint.map_err(|error| error.to_string()),
            is_emulator: emulator.is_some(),
            anon: config.anon,
            net: Net::new(config.timeout, &variables),
            left: folder.map(|folder| folder.join(DEFAULT)).filter(|file| file.exists()),
            variables,
            signed: OnceCell::new(),
        }
    }

    /// A client for `bucket`, after deciding once per mount whether requests are signed.
    async fn client(&self, bucket: &str) -> Result<GoogleCloudStorage, Error> {
        let signed = *self.signed.get_or_try_init(|| self.decide(bucket)).await?;
        build(self.builder(bucket, signed)?)
    }

    /// Whether there are credentials to sign with.
    async fn decide(&self, bucket: &str) -> Result<bool, Error> {
        if self.anon || is_yes(self.get("GOOGLE_SKIP_SIGNATURE")) {
            return Ok(false);
        }
        if self.has_credentials() {
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
            tracing::info!("no Google credentials found; asking Google Cloud Storage without any");
        }
        Ok(found)
    }

    /// Whether the environment holds credentials, or says where they are.
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

    fn get(&self, name: &str) -> Option<&str> {
        net::find(&self.variables, name)
    }

    fn builder(&self, bucket: &str, signed: bool) -> Result<GoogleCloudStorageBuilder, Error> {
        let mut builder = GoogleCloudStorageBuilder::new();
        if signed {
            builder = self.with_credentials(builder);
        } else {
            // Else the file that `gcloud` left is read, though it is not needed.
            builder = builder.with_bearer_token("none");
        }
        let endpoint = self.endpoint.as_ref().map_err(|error| Error::Setting(error.clone()))?;
        if let Some(url) = endpoint {
            builder = builder.with_base_url(url);
        }
        let http = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        Ok(builder
            .with_bucket_name(bucket)
            .with_skip_signature(!signed)
            .with_http_connector(cloud::wire::Connector)
            .with_client_options(self.net.options(http)?)
            .with_retry(self.net.retry()))
    }

    fn with_credentials(
        &self,
        mut builder: GoogleCloudStorageBuilder,
    ) -> GoogleCloudStorageBuilder {
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

fn build(builder: GoogleCloudStorageBuilder) -> Result<GoogleCloudStorage, Error> {
    builder.build().map_err(|error| cloud::setting(CLOUD, &error))
}

/// `STORAGE_EMULATOR_HOST` may be `host:port`.
fn with_scheme(given: &str) -> String {
    if given.contains("://") { given.to_owned() } else { format!("http://{given}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(anon: bool) -> Config {
        Config { anon, ..Config::new(Duration::from_secs(1)) }
    }

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn gcs(anon: bool, variables: Pairs<'_>) -> Gcs {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Gcs::new(&config(anon), &variables.iter().map(own).collect())
    }

    /// Whether requests are signed, or why there is no client.
    fn decided(gcs: &Gcs) -> Result<bool, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bucket = gcs.bucket("b");
        let made = runtime.block_on(gcs.settings.client("b")).map_err(|error| error.to_string());
        made.map(|_| *gcs.settings.signed.get().unwrap_or(&bucket.is_signed()))
    }

    #[test]
    fn credentials_are_those_of_the_environment_or_none() {
        let token = ("GOOGLE_BEARER_TOKEN", "secret");
        let cases: [(bool, Pairs<'_>, bool); 6] = [
            (false, &[token], true),
            (true, &[token], false),
            (false, &[token, ("GOOGLE_SKIP_SIGNATURE", "true")], false),
            (false, &[("STORAGE_EMULATOR_HOST", "localhost:1")], false),
            (false, &[("STORAGE_EMULATOR_HOST", "http://localhost:1"), token], true),
            (false, &[("NO_GCE_CHECK", "true")], false),
        ];
        for (anon, variables, signed) in cases {
            assert_eq!(decided(&gcs(anon, variables)), Ok(signed), "{anon} {variables:?}");
        }
    }

    #[test]
    fn what_gcloud_left_is_used_and_never_repeated() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/gcloud");
        std::fs::create_dir_all(&folder).unwrap();
        let user = r#"{"type":"authorized_user","client_id":"c","client_secret":"secret",
            "refresh_token":"secret"}"#;
        std::fs::write(folder.join(DEFAULT), user).unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        assert_eq!(decided(&gcs(false, &[home])), Ok(true));
        assert_eq!(decided(&gcs(true, &[home])), Ok(false));
        let elsewhere = ("CLOUDSDK_CONFIG", folder.to_str().unwrap());
        assert_eq!(decided(&gcs(false, &[elsewhere])), Ok(true));
        for bad in [
            r#"{"type":"external_account","x":"secret"}"#,
            r#"{"type":"authorized_user","client_id":["secret"]}"#,
            "\"secret\"",
            "",
        ] {
            std::fs::write(folder.join(DEFAULT), bad).unwrap();
            let error = decided(&gcs(false, &[home])).unwrap_err();
            assert!(
                error.starts_with("the settings for Google Cloud Storage are wrong: "),
                "{error}"
            );
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_endpoint_is_checked() {
        let servers = [("localhost:9023", "http://localhost:9023"), ("https://h/", "https://h")];
        for (given, server) in servers {
            let gcs = gcs(false, &[("STORAGE_EMULATOR_HOST", given)]);
            assert_eq!(cloud::Bucket::server(&*gcs.bucket("b")), server);
        }
        let error = decided(&gcs(true, &[("STORAGE_EMULATOR_HOST", "http://u:secret@h")]));
        assert_eq!(error, Err("`h` is not an endpoint; write `http[s]://host[:port]`".into()));
    }
}
