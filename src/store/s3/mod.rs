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

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use tokio::sync::OnceCell;

use super::Config;
use super::cloud::fault::Hints;
use super::cloud::{self, Buckets, METADATA};
use super::error::{Error, show};
use super::net::{self, Net, Variables, is_yes};

const CLOUD: &str = "S3";

const HINTS: Hints = Hints {
    signed: "the credentials of the environment do not allow it; for a public bucket pass `--anon`",
    anonymous: "it was asked for without credentials: set `AWS_ACCESS_KEY_ID` and \
                `AWS_SECRET_ACCESS_KEY` and do not pass `--anon`",
    elsewhere: "the bucket is in another region; pass it as `--region`",
};

/// Every bucket of a mount.
pub struct S3 {
    settings: Arc<Settings>,
    buckets: Buckets<Bucket>,
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
    net: Net,
    /// `AWS_*` of the environment, empty ones left out. Never printed.
    variables: Variables,
    /// Whether requests are signed; known after the first client is made.
    signed: OnceCell<bool>,
}

impl S3 {
    /// Nothing is asked of a network yet.
    pub fn new(config: &Config, environment: &Variables) -> Self {
        let variables = net::only(environment, &["AWS_"]);
        let settings = Arc::new(Settings::new(config, variables));
        Self { settings, buckets: Buckets::new() }
    }

    /// The bucket called `name`, which holds what a bucket's name may hold.
    pub fn bucket(&self, name: &str) -> Arc<Bucket> {
        let settings = Arc::clone(&self.settings);
        let new = || Bucket { name: name.to_owned(), settings, client: OnceCell::new() };
        self.buckets.get(name, new)
    }

    /// Whether the flags and the environment make sense.
    ///
    /// # Errors
    /// `Setting`, naming the one that does not.
    pub fn check(&self) -> Result<(), Error> {
        self.settings.builder("bucket")?.build().map(|_| ()).map_err(|e| cloud::setting(CLOUD, &e))
    }
}

impl Bucket {
    /// # Errors
    /// `Setting`, and `Denied` where the environment says where credentials are, but they do not
    /// come.
    async fn ready(&self, place: &str) -> Result<&dyn ObjectStore, Error> {
        const HINT: &str = "see what the `AWS_*` variables say of them, or pass `--anon`";
        let client = self.client.get_or_try_init(|| self.settings.client(&self.name)).await?;
        if cloud::Bucket::is_signed(self) {
            let came = client.credentials().get_credential().await;
            came.map_err(|error| cloud::no_credentials(place, &error, HINT))?;
        }
        Ok(client)
    }
}

impl cloud::Bucket for Bucket {
    fn client<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<&'a dyn ObjectStore, Error>> {
        self.ready(place).boxed()
    }

    /// An endpoint that was checked holds no password.
    fn server(&self) -> &str {
        self.settings.endpoint.as_deref().unwrap_or("AWS")
    }

    fn is_signed(&self) -> bool {
        self.settings.signed.get().copied().unwrap_or(true)
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
        let find = |name: &str| net::find(&variables, name).map(str::to_owned);
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
            net: Net::new(config.timeout, &variables),
            variables,
            signed: OnceCell::new(),
        }
    }

    /// A client for `bucket`, after deciding once per mount whether requests are signed.
    async fn client(&self, bucket: &str) -> Result<AmazonS3, Error> {
        let build =
            |builder: AmazonS3Builder| builder.build().map_err(|e| cloud::setting(CLOUD, &e));
        let builder = self.builder(bucket)?;
        let signed = self.signed.get_or_try_init(|| self.decide(builder.clone())).await?;
        build(builder.with_skip_signature(!signed))
    }

    /// Whether there are credentials to sign with.
    async fn decide(&self, builder: AmazonS3Builder) -> Result<bool, Error> {
        let is_true = |name| is_yes(self.get(name));
        if self.anon || is_true("AWS_SKIP_SIGNATURE") {
            return Ok(false);
        }
        if self.has_credentials() {
            return Ok(true);
        }
        let found = if is_true("AWS_EC2_METADATA_DISABLED") {
            false
        } else {
            let store = builder.build().map_err(|e| cloud::setting(CLOUD, &e))?;
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
        net::find(&self.variables, name)
    }

    fn builder(&self, bucket: &str) -> Result<AmazonS3Builder, Error> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &self.variables {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let http = match &self.endpoint {
            Some(given) => {
                let endpoint = net::endpoint(given)?;
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
            .with_http_connector(cloud::wire::Connector)
            .with_virtual_hosted_style_request(false)
            .with_skip_signature(self.anon)
            .with_client_options(self.net.options(http)?)
            .with_retry(self.net.retry()))
    }
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
            database: None,
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
            let s3 = S3::new(&config(endpoint, region, true), &Variables::new());
            let error = s3.check().unwrap_err().to_string();
            assert!(error.contains(message) && !error.contains("secret"), "{error}");
        }
        let half = vec![("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned())];
        let error = S3::new(&config(None, None, false), &half).check().unwrap_err();
        assert_eq!(error.to_string(), "the settings for S3 are wrong: Missing AccessKeyId");
    }

    #[test]
    fn credentials_that_do_not_come_are_said_so() {
        let variables = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token"),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let s3 = S3::new(&config(None, None, false), &variables.to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bucket = s3.bucket("b");
        let error = runtime.block_on(bucket.ready("s3://b/k")).err().unwrap();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert!(error.to_string().contains("no credentials: "), "{error}");
    }
}
