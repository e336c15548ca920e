//! How a bucket is reached: flags, the user's `config.toml`, the environment and `~/.aws` resolved into one
//! result.
//!
//! For each of these, the first that sets it wins:
//!
//! | | flag | table of `config.toml` | environment | profile |
//! |---|---|---|---|---|
//! | endpoint | `--endpoint-url` | `endpoint_url` | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` | `endpoint_url` of its `services`, its own |
//! | region | `--region` | `region` | `AWS_REGION`, `AWS_DEFAULT_REGION` | `region`, else `us-east-1` |
//! | signed as | `--anon`, `--profile` | `anon`, `profile` | as [`super::credentials`] says | |
//! | certificates | | | `AWS_CA_BUNDLE` | `ca_bundle` |
//! | payer | `--request-payer` | `request_payer` | | |
//! | addresses | | `addressing_style` | | `addressing_style` of its `s3` |
//! | FIPS, dual stack | | | `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT` | `use_fips_endpoint`, `use_dualstack_endpoint`, its own or of its `s3` |
//!
//! A profile that a table names takes precedence over the environment, for endpoint and region too: the table
//! concerns one bucket, the environment all.
//!
//! Timeouts, retries, certificates and proxies are those of every store ([`crate::net`]).

use std::sync::Arc;

use object_store::ClientOptions;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector};

use super::credentials::{CredentialError, Environment, Files, Identity, Wanted};
use super::credentials::{profile::Profile, source};
use super::settings;
use crate::cloud::{self, wire};
use crate::error::{Error, show};
use crate::net::{self, Net, is_yes};
use dcfs_core::provenance::Reached;

/// The default region.
const REGION: &str = "us-east-1";

/// The flags of the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    pub profile: Option<String>,
    pub anon: bool,
    pub request_payer: bool,
}

/// The settings to reach buckets with.
#[derive(Debug)]
pub struct Reach {
    /// Validated; `None` is AWS.
    pub endpoint: Option<String>,
    pub region: String,
    /// Whether the region was configured.
    is_region_said: bool,
    /// `None`: requests are not signed.
    pub identity: Option<Identity>,
    pub request_payer: bool,
    pub net: Net,
    /// Whether addresses are virtual-hosted rather than path-style.
    pub is_virtual: bool,
    /// Which of AWS's endpoints to use.
    pub kind: Kind,
    options: ClientOptions,
}

impl Reach {
    /// Resolves the settings. Sends no request.
    ///
    /// # Errors
    /// `Setting`, naming the invalid one.
    pub fn of(
        flags: &Flags,
        net: &Net,
        table: Option<&settings::S3>,
        environment: &Arc<Environment>,
        files: &Files,
    ) -> Result<Self, Error> {
        let chosen = Chosen::of(flags, table, environment);
        let name = chosen.named.as_deref().or_else(|| source::profile_of(environment));
        let profile = files.profile(name).map_err(setting)?;
        let given = Given { flags, table, environment, files, profile, first: chosen.by_table };
        let endpoint = given.endpoint()?;
        let region = given.region()?;
        let http = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        let bundle = given.of_profile("ca_bundle").map(|path| environment.expand(path));
        let net = net.clone().or_bundle(bundle);
        let options = net.options(http)?;
        let wanted = || Wanted {
            environment: Arc::clone(environment),
            named: chosen.named.clone(),
            region: region.clone(),
            options: options.clone(),
            retry: net.retry(),
        };
        Ok(Self {
            identity: (!chosen.anon).then(|| Identity::new(wanted())),
            request_payer: flags.request_payer || table.is_some_and(|table| table.request_payer),
            is_region_said: given.named_region().is_some(),
            is_virtual: given.is_virtual()?,
            kind: given.kind(),
            endpoint,
            region,
            net,
            options,
        })
    }

    /// Checks that credentials can be found at all. A missing sign-in is no error: it may happen later. Nor is
    /// an unusable profile that was not named to dcfs: the catalog may hold local files alone.
    ///
    /// # Errors
    /// `Setting`, naming the invalid one.
    pub fn check(&self) -> Result<(), Error> {
        let connector = wire::Connector::new(&self.net);
        let built = self.builder("bucket", &self.site("bucket"), connector).build();
        built.map_err(|error| cloud::setting(super::CLOUD, &error))?;
        let Some(identity) = &self.identity else { return Ok(()) };
        let wanted = identity.wanted();
        match wanted.find() {
            Ok(source) => {
                if let Err(error) = source.ready() {
                    tracing::warn!("no object of S3 will be read until somebody signs in: {error}");
                }
                Ok(())
            }
            Err(
                error @ (CredentialError::SignIn { .. }
                | CredentialError::Mfa { .. }
                | CredentialError::Nothing { .. }),
            ) if wanted.named.is_none() => {
                tracing::warn!("no object of S3 will be read: {error}");
                Ok(())
            }
            Err(error) => Err(setting(error)),
        }
    }

    /// A client builder for `bucket` at `site`, without credentials.
    pub fn builder(
        &self,
        bucket: &str,
        site: &Site,
        connector: wire::Connector,
    ) -> AmazonS3Builder {
        // With path-style addresses `object_store` adds the bucket.
        let endpoint = match site.is_virtual {
            true => self.url(bucket, site),
            false => self.base(&site.region),
        };
        AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&site.region)
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
            .with_virtual_hosted_style_request(site.is_virtual)
            .with_request_payer(self.request_payer)
            .with_http_connector(connector)
            .with_client_options(self.options.clone())
            .with_retry(net::once())
    }

    /// A client for our own requests.
    ///
    /// # Errors
    /// `Setting` if TLS cannot be set up.
    pub fn http(&self) -> Result<HttpClient, Error> {
        wire::Connector::new(&self.net)
            .connect(&self.options)
            .map_err(|error| cloud::setting(super::CLOUD, &error))
    }

    /// The site assumed for `bucket`, until a store names another.
    pub fn site(&self, bucket: &str) -> Site {
        Site {
            region: self.region.clone(),
            is_virtual: self.is_virtual && self.can_be_host(bucket),
        }
    }

    /// Whether the name is valid as part of a host name. A wildcard certificate covers one label only.
    pub fn can_be_host(&self, bucket: &str) -> bool {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let dotted = |b: u8| plain(b) || b == b'.';
        let is_tls = !self.base(&self.region).starts_with("http://");
        !bucket.is_empty() && bucket.bytes().all(|b| if is_tls { plain(b) } else { dotted(b) })
    }

    /// The URL of `bucket`, without a trailing slash.
    pub fn url(&self, bucket: &str, site: &Site) -> String {
        let base = self.base(&site.region);
        match base.split_once("://").filter(|_| site.is_virtual) {
            Some((scheme, rest)) => format!("{scheme}://{bucket}.{rest}"),
            None => format!("{base}/{bucket}"),
        }
    }

    /// The host that serves buckets in `region`.
    fn base(&self, region: &str) -> String {
        self.endpoint.clone().unwrap_or_else(|| self.kind.endpoint(region))
    }

    /// The non-default settings, as flags.
    pub fn reached(&self) -> Reached {
        Reached {
            endpoint_url: self.endpoint.clone(),
            region: self.is_region_said.then(|| self.region.clone()),
            anon: self.identity.is_none(),
        }
    }

    /// The server, for messages. A validated endpoint contains no password.
    pub fn server(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("AWS")
    }

    /// A description of the identity that signs requests.
    pub fn whose(&self) -> String {
        match &self.identity {
            None => "anonymous".into(),
            Some(identity) => match identity.wanted().find() {
                Ok(source) => match source.ready() {
                    Ok(()) => source.to_string(),
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            },
        }
    }
}

/// The place of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub region: String,
    /// Whether addresses are virtual-hosted.
    pub is_virtual: bool,
}

/// The variant of AWS's endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    pub is_fips: bool,
    pub is_dual_stack: bool,
}

/// Prefixes of regions in partitions with a domain other than `amazonaws.com` (`partitions.json` of botocore).
/// `us-gov-`, of the United States government, uses `amazonaws.com`.
const PARTITIONS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
];

impl Kind {
    fn endpoint(self, region: &str) -> String {
        let fips = if self.is_fips { "-fips" } else { "" };
        let dual = if self.is_dual_stack { ".dualstack" } else { "" };
        let partition = PARTITIONS.iter().find(|(start, _)| region.starts_with(start));
        let domain = partition.map_or("amazonaws.com", |(_, domain)| domain);
        format!("https://s3{fips}{dual}.{region}.{domain}")
    }
}

/// The identity that was chosen to sign requests.
struct Chosen {
    anon: bool,
    /// A profile that was named to dcfs itself.
    named: Option<String>,
    /// Whether a table named it.
    by_table: bool,
}

impl Chosen {
    fn of(flags: &Flags, table: Option<&settings::S3>, environment: &Environment) -> Self {
        let by_table = table.and_then(|table| table.profile.clone());
        let table_anon = table.is_some_and(|table| table.anon);
        let silent = environment.is_true("AWS_SKIP_SIGNATURE");
        match (&flags.profile, by_table) {
            _ if flags.anon => Self { anon: true, named: None, by_table: false },
            (Some(name), _) => Self { anon: false, named: Some(name.clone()), by_table: false },
            (None, Some(name)) => Self { anon: false, named: Some(name), by_table: true },
            (None, None) => Self { anon: table_anon || silent, named: None, by_table: false },
        }
    }
}

/// All sources of settings.
struct Given<'a> {
    flags: &'a Flags,
    table: Option<&'a settings::S3>,
    environment: &'a Environment,
    files: &'a Files,
    profile: Option<&'a Profile>,
    /// Whether the profile takes precedence over the environment.
    first: bool,
}

impl Given<'_> {
    fn endpoint(&self) -> Result<Option<String>, Error> {
        let named = self.flags.endpoint_url.as_deref();
        let named = named.or(self.table.and_then(|table| table.endpoint_url.as_deref()));
        match named {
            Some(given) => net::endpoint(given).map(Some),
            None if self.ignores_endpoints() => Ok(None),
            None => self.configured_endpoint()?.map(|given| net::endpoint(&given)).transpose(),
        }
    }

    fn configured_endpoint(&self) -> Result<Option<String>, Error> {
        let by_environment = self.environment.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        let by_environment = by_environment.map(str::to_owned);
        if by_environment.is_some() && !self.first {
            return Ok(by_environment);
        }
        let by_profile = self.profile.map(|profile| self.files.endpoint(profile, "s3"));
        let by_profile = by_profile.transpose().map_err(setting)?.flatten();
        Ok(by_profile.or(by_environment))
    }

    fn ignores_endpoints(&self) -> bool {
        let by_profile = || self.of_profile("ignore_configured_endpoint_urls");
        let by_environment = self.environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
        is_yes(by_environment.or_else(by_profile))
    }

    fn region(&self) -> Result<String, Error> {
        region(self.named_region().unwrap_or(REGION))
    }

    fn named_region(&self) -> Option<&str> {
        let named = self.flags.region.as_deref();
        let named = named.or(self.table.and_then(|table| table.region.as_deref()));
        let by_environment = self.environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]);
        let by_profile = self.of_profile("region");
        let [one, other] = match self.first {
            true => [by_profile, by_environment],
            false => [by_environment, by_profile],
        };
        named.or(one).or(other)
    }

    /// Whether addresses are virtual-hosted. `auto` means path-style here, which all but a few servers accept.
    fn is_virtual(&self) -> Result<bool, Error> {
        let by_profile =
            self.profile.and_then(|profile| profile.get_nested("s3", "addressing_style"));
        let named = self.table.and_then(|table| table.addressing_style.as_deref()).or(by_profile);
        match named.map(str::to_ascii_lowercase).as_deref() {
            None | Some("path" | "auto") => Ok(false),
            Some("virtual") => Ok(true),
            Some(other) => {
                let text = "is no `addressing_style`; there are `virtual`, `path` and `auto`";
                Err(Error::Setting(format!("`{}` {text}", show(other))))
            }
        }
    }

    fn kind(&self) -> Kind {
        let said = |variable: &str, name: &str| {
            let nested = self.profile.and_then(|profile| profile.get_nested("s3", name));
            is_yes(self.environment.get(variable).or(self.of_profile(name)).or(nested))
        };
        Kind {
            is_fips: said("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            is_dual_stack: said("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
        }
    }

    fn of_profile(&self, name: &str) -> Option<&str> {
        self.profile.and_then(|profile| profile.get(name))
    }
}

/// Validates a region, which becomes part of a host name and of signatures.
fn region(given: &str) -> Result<String, Error> {
    if !is_region(given) {
        let text = "is not a region; write one such as `us-east-1`";
        return Err(Error::Setting(format!("`{}` {text}", show(given))));
    }
    Ok(given.to_owned())
}

/// Whether `text` is a valid region name.
pub fn is_region(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}

fn setting(error: CredentialError) -> Error {
    Error::Setting(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    const CONFIG: &str = "[default]\nregion = r-default\n[profile p]\nregion = r-p\nendpoint_url = http://p\n\
                          [profile q]\nignore_configured_endpoint_urls = true\nendpoint_url = http://q\n\
                          ca_bundle = /nonexistent/ca\n";

    type Variables<'a> = &'a [(&'a str, &'a str)];

    /// Region, endpoint and the named profile, or the error.
    fn reach(flags: &Flags, table: &str, variables: Variables) -> String {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        let variables = Environment::variables_of(home.path(), variables);
        let net = Net::new(Duration::from_secs(1), &variables);
        let environment = Arc::new(Environment::of(&variables));
        let files = Files::read(&environment).unwrap();
        let text = format!("[\"s3://b\"]\n{table}");
        let settings = crate::Settings::parse("/c".as_ref(), &text).unwrap();
        let table = settings.all::<settings::S3>().next().map(|(_, table)| table);
        match Reach::of(flags, &net, table, &environment, &files) {
            Ok(reach) => {
                reach
                    .builder("b", &reach.site("b"), wire::Connector::new(&reach.net))
                    .build()
                    .unwrap();
                let named = reach.identity.as_ref().map(|identity| identity.wanted().named.clone());
                let named = named.map_or("anon".into(), |named| named.unwrap_or_default());
                let payer = if reach.request_payer { " payer" } else { "" };
                format!("{} {} {named}{payer}", reach.server(), reach.region)
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_first_that_names_a_setting_decides() {
        let own = |text: &str| Some(text.to_owned());
        let none = Flags::default();
        let all = Flags {
            endpoint_url: own("http://flag/"),
            region: own("r-flag"),
            profile: own("p"),
            request_payer: true,
            ..Flags::default()
        };
        let profile = Flags { profile: own("p"), ..Flags::default() };
        let anon = Flags { anon: true, ..Flags::default() };
        let both = [
            ("AWS_ENDPOINT_URL", "http://general"),
            ("AWS_ENDPOINT_URL_S3", "http://s3"),
            ("AWS_REGION", "r-env"),
            ("AWS_DEFAULT_REGION", "r-other"),
        ];
        let table = "endpoint_url = 'http://table'\nregion = 'r-table'\nprofile = 'q'";
        let cases: [(&Flags, &str, Variables, &str); 18] = [
            (&none, "", &[], "AWS r-default "),
            (&none, "", &both, "http://s3 r-env "),
            (&none, "", &both[..1], "http://general r-default "),
            (&none, "", &both[3..], "AWS r-other "),
            (&none, "", &[("AWS_PROFILE", "p")], "http://p r-p "),
            (&profile, "", &both, "http://s3 r-env p"),
            (&profile, "", &[], "http://p r-p p"),
            (&none, "profile = 'p'", &both, "http://p r-p p"),
            (&none, "profile = 'p'\nregion = 'r-table'", &both, "http://p r-table p"),
            (&profile, "profile = 'default'", &both, "http://s3 r-env p"),
            (&all, "profile = 'default'\nregion = 'r-table'", &both, "http://flag r-flag p payer"),
            (&none, "anon = true\nrequest_payer = true", &[], "AWS r-default anon payer"),
            (&profile, "anon = true", &[], "http://p r-p p"),
            (&anon, "profile = 'p'", &[], "AWS r-default anon"),
            (&none, "", &[("AWS_SKIP_SIGNATURE", "true")], "AWS r-default anon"),
            (
                &none,
                "",
                &[both[0], ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
                "AWS r-default ",
            ),
            (
                &none,
                table,
                &[("AWS_CA_BUNDLE", "")],
                "the CA bundle `/nonexistent/ca` cannot be used: No such file or directory (os error 2)",
            ),
            (&none, "profile = 'pp'", &[], "there is no profile `pp` in "),
        ];
        for (flags, table, variables, want) in cases {
            let got = reach(flags, table, variables);
            let same =
                if want.starts_with("there is") { got.starts_with(want) } else { got == want };
            assert!(same, "{flags:?} {table:?} {variables:?}: {got}");
        }
    }

    /// The URL of the bucket `b`, given a profile of `~/.aws/config` and the environment.
    fn address(profile: &str, table: &str, variables: Variables) -> String {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/config"), format!("[default]\n{profile}")).unwrap();
        let variables = Environment::variables_of(home.path(), variables);
        let net = Net::new(Duration::from_secs(1), &variables);
        let environment = Arc::new(Environment::of(&variables));
        let files = Files::read(&environment).unwrap();
        let text = format!("[\"s3://b\"]\n{table}");
        let settings = crate::Settings::parse("/c".as_ref(), &text).unwrap();
        let table = settings.all::<settings::S3>().next().map(|(_, table)| table);
        let reach = Reach::of(&Flags::default(), &net, table, &environment, &files);
        reach.map_or_else(|error| error.to_string(), |reach| reach.url("b", &reach.site("b")))
    }

    #[test]
    fn aws_has_an_address_for_each_region_and_kind() {
        let fips = ("AWS_USE_FIPS_ENDPOINT", "true");
        let dual = ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE");
        let other = ("AWS_ENDPOINT_URL", "http://h:1/in");
        let virtual_ = "s3 =\n  addressing_style = virtual\n";
        let cases: [(&str, &str, Variables, &str); 15] = [
            ("", "", &[], "https://s3.us-east-1.amazonaws.com/b"),
            ("region = cn-north-1", "", &[], "https://s3.cn-north-1.amazonaws.com.cn/b"),
            (
                "region = us-gov-west-1",
                "",
                &[fips],
                "https://s3-fips.us-gov-west-1.amazonaws.com/b",
            ),
            ("region = us-iso-east-1", "", &[], "https://s3.us-iso-east-1.c2s.ic.gov/b"),
            ("region = us-isob-east-1", "", &[], "https://s3.us-isob-east-1.sc2s.sgov.gov/b"),
            (
                "region = cn-north-1",
                "",
                &[dual],
                "https://s3.dualstack.cn-north-1.amazonaws.com.cn/b",
            ),
            ("", "", &[fips, dual], "https://s3-fips.dualstack.us-east-1.amazonaws.com/b"),
            (
                "use_dualstack_endpoint = true",
                "",
                &[],
                "https://s3.dualstack.us-east-1.amazonaws.com/b",
            ),
            (
                "s3 =\n  use_dualstack_endpoint = true",
                "",
                &[],
                "https://s3.dualstack.us-east-1.amazonaws.com/b",
            ),
            (
                "use_fips_endpoint = true",
                "",
                &[("AWS_USE_FIPS_ENDPOINT", "false")],
                "https://s3.us-east-1.amazonaws.com/b",
            ),
            (virtual_, "", &[], "https://b.s3.us-east-1.amazonaws.com"),
            (virtual_, "", &[other], "http://b.h:1/in"),
            ("", "addressing_style = 'virtual'", &[other], "http://b.h:1/in"),
            (virtual_, "addressing_style = 'path'", &[fips, other], "http://h:1/in/b"),
            (
                "s3 =\n  addressing_style = mixed\n",
                "",
                &[],
                "`mixed` is no `addressing_style`; there are `virtual`, `path` and `auto`",
            ),
        ];
        for (profile, table, variables, want) in cases {
            assert_eq!(address(profile, table, variables), want, "{profile} {table} {variables:?}");
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
            let [endpoint_url, region] = [endpoint, region].map(|given| given.map(str::to_owned));
            let error = reach(&Flags { endpoint_url, region, ..Flags::default() }, "", &[]);
            assert!(error.contains(message) && !error.contains("secret"), "{error}");
        }
    }
}
