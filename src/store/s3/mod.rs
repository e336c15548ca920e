//! S3, and every server that speaks its protocol, through `object_store`.
//!
//! Settings come from the command line first, then from the environment, as other S3 tools read it:
//!
//! - endpoint: `--endpoint-url`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else AWS itself. Bucket
//!   names go into the path, never into the host name: one endpoint serves every bucket of a
//!   catalog. An `http://` endpoint is taken as meant.
//! - region: `--region`, `AWS_REGION`, `AWS_DEFAULT_REGION`, else `us-east-1`.
//! - credentials: none with `--anon`; else keys, a web identity or a container's of the environment;
//!   else those of the machine (EC2 metadata), if they come within [`METADATA`]; else none, as
//!   DataChain falls back to anonymous. `~/.aws` is not read yet.
//!
//! Waits: connecting 5 s, silence 15 s, retries and all of it within `--timeout`. A body has no
//! total timeout of its own: a slow line is no error while bytes come.

mod fault;
mod object;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use tokio::sync::OnceCell;

pub use object::S3Object;

use super::Config;
use super::error::{Error, show};

/// How long to wait for the machine's own credentials, once per mount.
const METADATA: Duration = Duration::from_secs(2);

/// Connecting to a server on the same planet takes less.
const CONNECT: Duration = Duration::from_secs(5);

/// No byte for so long: the connection is dead; ask again.
const IDLE: Duration = Duration::from_secs(15);

/// Clients kept at a time: each holds a pool of connections. A catalog names few buckets, or is
/// hostile.
const BUCKETS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Every bucket of a mount.
pub struct S3 {
    settings: Arc<Settings>,
    buckets: Mutex<LruCache<String, Arc<Bucket>>>,
}

/// One bucket and how to ask it.
pub struct Bucket {
    name: String,
    settings: Arc<Settings>,
    client: OnceCell<AmazonS3>,
}

struct Settings {
    /// As given, checked at first use.
    endpoint: Option<String>,
    region: Option<String>,
    anon: bool,
    timeout: Duration,
    /// `AWS_*` of the environment, empty ones left out. Never printed.
    variables: Vec<(String, String)>,
    /// Whether requests are signed; known after the first client is made.
    signed: OnceCell<bool>,
}

impl S3 {
    /// Nothing is asked of a network yet.
    pub fn new(config: &Config) -> Self {
        Self::with_variables(config, std::env::vars_os().filter_map(readable).collect())
    }

    fn with_variables(config: &Config, variables: Vec<(String, String)>) -> Self {
        let settings = Arc::new(Settings::new(config, variables));
        Self { settings, buckets: Mutex::new(LruCache::new(BUCKETS)) }
    }

    /// The bucket called `name`, which holds what a bucket's name may hold.
    pub fn bucket(&self, name: String) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = &self.settings;
        let new = || {
            let (name, settings) = (name.clone(), Arc::clone(settings));
            Arc::new(Bucket { name, settings, client: OnceCell::new() })
        };
        Arc::clone(buckets.get_or_insert(name.clone(), new))
    }

    /// Whether the flags and the environment make sense.
    ///
    /// # Errors
    /// `Setting`, naming the one that does not.
    pub fn check(&self) -> Result<(), Error> {
        self.settings.builder("bucket")?.build().map(|_| ()).map_err(|e| setting(&e))
    }
}

/// A variable of the environment that is for us, set and readable.
fn readable((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
    (name.starts_with("AWS_") && !value.is_empty()).then_some((name, value))
}

impl Bucket {
    /// The client, made at first use, with credentials at hand if requests are signed.
    ///
    /// # Errors
    /// `Setting`, and `Denied` where the environment says where credentials are, but they do not
    /// come; `place` is for the message.
    async fn client(&self, place: &str) -> Result<&AmazonS3, Error> {
        let client = self.client.get_or_try_init(|| self.settings.client(&self.name)).await?;
        if self.is_signed() {
            client.credentials().get_credential().await.map_err(|error| Error::Denied {
                place: place.to_owned(),
                answer: format!("no credentials: {}", show(&fault::innermost(&error))),
                hint: "see what the `AWS_*` variables say of them, or pass `--anon`",
            })?;
        }
        Ok(client)
    }

    fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Who is asked, for messages. An endpoint that was checked holds no password.
    pub fn server(&self) -> &str {
        self.settings.endpoint.as_deref().unwrap_or("AWS")
    }

    /// Whether requests are signed; `true` until known.
    fn is_signed(&self) -> bool {
        self.settings.signed.get().copied().unwrap_or(true)
    }
}

impl Settings {
    fn new(config: &Config, variables: Vec<(String, String)>) -> Self {
        let find = |name: &str| variables.iter().find(|v| v.0 == name).map(|v| v.1.clone());
        let endpoint = config.endpoint_url.clone();
        Self {
            endpoint: endpoint
                .or_else(|| find("AWS_ENDPOINT_URL_S3"))
                .or_else(|| find("AWS_ENDPOINT_URL")),
            region: config
                .region
                .clone()
                .or_else(|| find("AWS_REGION"))
                .or_else(|| find("AWS_DEFAULT_REGION")),
            anon: config.anon,
            timeout: config.timeout,
            variables,
            signed: OnceCell::new(),
        }
    }

    /// A client for `bucket`, after deciding once per mount whether requests are signed.
    async fn client(&self, bucket: &str) -> Result<AmazonS3, Error> {
        let build = |builder: AmazonS3Builder| builder.build().map_err(|e| setting(&e));
        let builder = self.builder(bucket)?;
        let signed = self.signed.get_or_try_init(|| self.decide(builder.clone())).await?;
        build(builder.with_skip_signature(!signed))
    }

    /// Whether there are credentials to sign with.
    async fn decide(&self, builder: AmazonS3Builder) -> Result<bool, Error> {
        let yes = ["1", "true", "on", "yes", "y"];
        let is_true =
            |name| self.get(name).is_some_and(|v| yes.contains(&v.to_ascii_lowercase().as_str()));
        if self.anon || is_true("AWS_SKIP_SIGNATURE") {
            return Ok(false);
        }
        if self.has_credentials() {
            return Ok(true);
        }
        let found = if is_true("AWS_EC2_METADATA_DISABLED") {
            false
        } else {
            let store = builder.build().map_err(|e| setting(&e))?;
            let asked = tokio::time::timeout(METADATA, store.credentials().get_credential());
            matches!(asked.await, Ok(Ok(_)))
        };
        if !found {
            tracing::info!("no AWS credentials found; asking S3 without any");
        }
        Ok(found)
    }

    /// Whether the environment holds credentials, or says where they are.
    fn has_credentials(&self) -> bool {
        let any = [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
        ];
        any.iter().any(|name| self.get(name).is_some())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|v| v.0 == name).map(|v| v.1.as_str())
    }

    fn builder(&self, bucket: &str) -> Result<AmazonS3Builder, Error> {
        // A second install is refused, which is as good: someone chose before us.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &self.variables {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let http = match &self.endpoint {
            Some(given) => {
                let endpoint = endpoint(given)?;
                let http = endpoint.starts_with("http://");
                builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
                http
            }
            None => false,
        };
        if let Some(given) = &self.region {
            builder = builder.with_region(region(given)?);
        }
        Ok(builder
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(false)
            .with_skip_signature(self.anon)
            .with_client_options(self.client_options(http))
            .with_retry(self.retry()))
    }

    fn client_options(&self, http: bool) -> ClientOptions {
        ClientOptions::new()
            .with_allow_http(http)
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT.min(self.timeout))
            .with_read_timeout(IDLE.min(self.timeout))
    }

    fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(3),
                base: 2.0,
            },
            max_retries: 5,
            retry_timeout: self.timeout,
        }
    }
}

/// The endpoint as a prefix of URLs: no slash at its end.
///
/// # Errors
/// Anything but `http[s]://host[:port][/path]`. Credentials in it would be logged one day.
fn endpoint(given: &str) -> Result<String, Error> {
    let wrong = || {
        let text = "is not an endpoint; write `http[s]://host[:port]`";
        Error::Setting(format!("`{}` {text}", show(without_password(given))))
    };
    let url = reqwest::Url::parse(given).map_err(|_| wrong())?;
    let plain = ["http", "https"].contains(&url.scheme())
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(wrong());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// What may be shown of an endpoint that is wrong.
fn without_password(given: &str) -> &str {
    given.rsplit_once('@').map_or(given, |(_, host)| host)
}

/// A region becomes part of a host name and of signatures.
fn region(given: &str) -> Result<&str, Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if given.is_empty() || given.len() > 64 || !given.bytes().all(plain) {
        let text = "is not a region; write one such as `us-east-1`";
        return Err(Error::Setting(format!("`{}` {text}", show(given))));
    }
    Ok(given)
}

fn setting(error: &object_store::Error) -> Error {
    Error::Setting(format!("the settings for S3 are wrong: {}", show(&fault::innermost(error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: Option<&str>, region: Option<&str>, anon: bool) -> Config {
        Config {
            endpoint_url: endpoint.map(str::to_owned),
            region: region.map(str::to_owned),
            anon,
            timeout: Duration::from_secs(1),
            forbidden: Vec::new(),
            cache: crate::store::CacheConfig::none(),
            memory: 64 << 20,
        }
    }

    fn settings(config: &Config, variables: &[(&str, &str)]) -> Settings {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings::new(config, variables.iter().map(own).collect())
    }

    #[test]
    fn flags_win_over_the_environment() {
        let both = [
            ("AWS_ENDPOINT_URL", "http://general"),
            ("AWS_ENDPOINT_URL_S3", "http://s3"),
            ("AWS_ENDPOINT", "http://other"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-2"),
        ];
        let cases = [
            (Some("http://flag/"), Some("eu-north-1"), &both[..], "http://flag", "eu-north-1"),
            (None, None, &both[..], "http://s3", "eu-west-1"),
            (None, None, &both[..1], "http://general", "us-east-1"),
            (None, None, &both[4..], "", "eu-west-2"),
            (None, None, &[], "", "us-east-1"),
        ];
        for (endpoint, region, variables, url, at) in cases {
            let settings = settings(&config(endpoint, region, true), variables);
            let builder = settings.builder("b").unwrap();
            let get = |key| builder.get_config_value(&key).unwrap_or_default();
            assert_eq!(get(AmazonS3ConfigKey::S3Endpoint), url, "{variables:?}");
            let got = get(AmazonS3ConfigKey::Region);
            assert_eq!(if got.is_empty() { "us-east-1" } else { &got }, at, "{variables:?}");
            builder.build().unwrap();
        }
    }

    #[test]
    fn wrong_settings_are_named_and_secrets_are_not() {
        let cases = [
            (Some("host:9000"), None, "`host:9000` is not an endpoint"),
            (Some("ftp://host"), None, "`ftp://host` is not an endpoint"),
            (Some("http://"), None, "`http://` is not an endpoint"),
            (Some("http://h:99999"), None, "`http://h:99999` is not an endpoint"),
            (Some("http://u:secret@h"), None, "`h` is not an endpoint"),
            (Some("http://h/?a=b"), None, "is not an endpoint"),
            (None, Some("evil.com/#"), "`evil.com/#` is not a region"),
            (None, Some(""), "`` is not a region"),
        ];
        for (endpoint, region, message) in cases {
            let s3 = S3::with_variables(&config(endpoint, region, true), Vec::new());
            let error = s3.check().unwrap_err().to_string();
            assert!(error.contains(message) && !error.contains("secret"), "{error}");
        }
        let half = vec![("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned())];
        let error = S3::with_variables(&config(None, None, false), half).check().unwrap_err();
        assert_eq!(error.to_string(), "the settings for S3 are wrong: Missing AccessKeyId");
    }

    #[test]
    fn credentials_that_do_not_come_are_said_so() {
        let variables = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token"),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let s3 = S3::with_variables(&config(None, None, false), variables.to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bucket = s3.bucket("b".into());
        let error = runtime.block_on(bucket.client("s3://b/k")).unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert!(error.to_string().contains("no credentials: "), "{error}");
    }

    #[test]
    fn a_hostile_catalog_cannot_make_clients_without_end() {
        let s3 = S3::with_variables(&config(None, None, true), Vec::new());
        let first = s3.bucket("b0".into());
        assert!(Arc::ptr_eq(&first, &s3.bucket("b0".into())));
        for n in 0..1000 {
            s3.bucket(format!("b{n}"));
        }
        assert_eq!(s3.buckets.lock().unwrap().len(), BUCKETS.get());
    }
}
