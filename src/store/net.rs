//! Time-outs and TLS trust of every request of a mount.
//!
//! Time-outs: connecting 5 s, silence 15 s. Retries are decided by [`super::budget`]. A body has no total
//! time-out of its own: a slow connection is no error while bytes arrive.
//!
//! Trusted are the certificates of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead
//! (`rustls-native-certs` reads them), and in addition those of `AWS_CA_BUNDLE` (for S3 else of the profile's
//! `ca_bundle`), as described in [`certificates`]. Proxies are those of `HTTPS_PROXY`, `HTTP_PROXY`,
//! `ALL_PROXY` and `NO_PROXY` (`reqwest` reads them).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::certificates;
use super::error::{Error, show};

/// Connecting to any server on this planet takes less.
pub const CONNECT: Duration = Duration::from_secs(5);

/// A connection without a byte for this long is dead; the request is retried.
pub const IDLE: Duration = Duration::from_secs(15);

/// Limit of redirects, all on one server.
const HOPS: usize = 5;

/// Number of retries for credentials of the machine.
const RETRIES: u32 = 5;

/// The pauses between them: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The limits and the TLS trust of every request.
#[derive(Clone, Debug)]
pub struct Net {
    /// The longest wait without progress, including retries.
    pub timeout: Duration,
    /// Certificates to trust in addition to the system's, as PEM.
    bundle: Option<PathBuf>,
}

impl Net {
    pub fn new(timeout: Duration, environment: &Variables) -> Self {
        let bundle = find(environment, "AWS_CA_BUNDLE").filter(|path| !path.is_empty());
        Self { timeout, bundle: bundle.map(PathBuf::from) }
    }

    /// Also trusts the certificates in `bundle`, unless the environment names others.
    pub fn or_bundle(self, bundle: Option<PathBuf>) -> Self {
        Self { bundle: self.bundle.or(bundle), ..self }
    }

    /// Also trusts the certificates in `bundle`, whatever the environment names.
    pub fn with_bundle(self, bundle: PathBuf) -> Self {
        Self { bundle: Some(bundle), ..self }
    }

    /// A description of the trusted certificates.
    pub fn trusted(&self) -> String {
        match &self.bundle {
            Some(path) => format!("the system's certificates and `{}`", path.display()),
            None => "the system's certificates".into(),
        }
    }

    /// Options for a client of `object_store`. `http` allows requests without TLS.
    ///
    /// # Errors
    /// `Setting` if the bundle contains no certificates.
    pub fn options(&self, http: bool) -> Result<object_store::ClientOptions, Error> {
        choose_tls();
        let mut options = object_store::ClientOptions::new()
            .with_allow_http(http)
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT.min(self.timeout))
            .with_read_timeout(IDLE);
        let mut own = self.certificates(object_store::Certificate::from_pem_bundle)?;
        if own.is_empty() && certificates::are_missing() {
            let read = |certificate: &[u8]| object_store::Certificate::from_der(certificate).ok();
            own.extend(certificates::MOZILLA.iter().filter_map(|certificate| read(certificate)));
        }
        for certificate in own {
            options = options.with_root_certificate(certificate);
        }
        Ok(options)
    }

    /// A client for a cloud's requests, which carry signatures and tokens: redirects are followed on the same
    /// server only. `http` allows requests without TLS.
    ///
    /// # Errors
    /// As [`Net::client`].
    pub fn cloud_client(&self, http: bool) -> Result<reqwest::Client, Error> {
        let stays = reqwest::redirect::Policy::custom(|attempt| {
            let origin = |url: &reqwest::Url| url.origin();
            let is_same = attempt.previous().last().map(origin) == Some(origin(attempt.url()));
            if is_same && attempt.previous().len() < HOPS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        self.built(|builder| builder.redirect(stays).referer(false).https_only(!http).http1_only())
    }

    /// For credentials of the machine, which `object_store` requests by itself. All pauses together are shorter
    /// than the available time, so that a refusal is reported as such.
    pub fn retry(&self) -> object_store::RetryConfig {
        let longest = LONGEST_PAUSE.min(self.timeout / (RETRIES + 3));
        object_store::RetryConfig {
            backoff: object_store::BackoffConfig {
                init_backoff: FIRST_PAUSE.min(longest),
                max_backoff: longest,
                base: 2.0,
            },
            max_retries: RETRIES as usize,
            retry_timeout: self.timeout,
        }
    }

    /// A client that does not follow redirects.
    ///
    /// # Errors
    /// As [`Net::options`], and `Setting` if TLS cannot be set up.
    pub fn client(&self) -> Result<reqwest::Client, Error> {
        self.built(|builder| builder.redirect(reqwest::redirect::Policy::none()))
    }

    fn built(
        &self,
        more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<reqwest::Client, Error> {
        let mut builder = more(reqwest::Client::builder())
            .user_agent(concat!("dcfs/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT.min(self.timeout))
            .read_timeout(IDLE);
        if let Some(tls) = self.own_tls()? {
            builder = builder.tls_backend_preconfigured(tls);
        }
        builder.build().map_err(|error| no_tls(&innermost(&error)))
    }

    /// The same TLS trust for a client of our own.
    ///
    /// # Errors
    /// As [`Net::client`].
    pub fn tls(&self) -> Result<rustls::ClientConfig, Error> {
        match self.own_tls()? {
            Some(tls) => Ok(tls),
            None => certificates::config(Vec::new()).map_err(|error| no_tls(&error)),
        }
    }

    /// The same; `None` if only the system's certificates are trusted.
    fn own_tls(&self) -> Result<Option<rustls::ClientConfig>, Error> {
        choose_tls();
        let bundle = self.certificates(certificates::parse)?;
        let own = match bundle.is_empty() {
            false => Some(certificates::config(bundle)),
            true => certificates::are_missing().then(certificates::of_mozilla),
        };
        own.transpose().map_err(|error| no_tls(&error))
    }

    /// The certificates of the bundle, parsed by `parse`.
    fn certificates<C, E: std::error::Error + 'static>(
        &self,
        parse: fn(&[u8]) -> Result<Vec<C>, E>,
    ) -> Result<Vec<C>, Error> {
        let Some(path) = &self.bundle else { return Ok(Vec::new()) };
        let wrong = |cause: &str| {
            let path = show(&path.display().to_string());
            Error::Setting(format!("the CA bundle `{path}` cannot be used: {}", show(cause)))
        };
        let pem = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
        match parse(&pem) {
            Ok(none) if none.is_empty() => Err(wrong("there is no certificate in it")),
            parsed => parsed.map_err(|error| wrong(&innermost(&error))),
        }
    }
}

fn no_tls(cause: &dyn std::fmt::Display) -> Error {
    Error::Setting(format!("TLS cannot be set up: {}", show(&cause.to_string())))
}

/// Whether requests may go through a proxy, by the variables that `reqwest` reads.
pub fn has_proxy(environment: &Variables) -> bool {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let is_one = |name: &str| names.contains(&name.to_ascii_uppercase().as_str());
    environment.iter().any(|(name, value)| is_one(name) && !value.is_empty())
}

/// No retries by `object_store`, which ignores `Retry-After`: such requests are retried here, within their
/// budget.
pub fn once() -> object_store::RetryConfig {
    object_store::RetryConfig { max_retries: 0, ..object_store::RetryConfig::default() }
}

/// Selects `ring`. If a provider is installed already, that one is kept.
fn choose_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Environment variables: name and value. They may be secrets, and are never printed.
pub type Variables = Vec<(String, String)>;

/// Those of this process that are UTF-8.
pub fn environment() -> Variables {
    let readable = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(readable).collect()
}

/// Those with one of `prefixes` that are not empty.
pub fn only(variables: &Variables, prefixes: &[&str]) -> Variables {
    let is_ours = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let ours = variables.iter().filter(|(name, value)| is_ours(name) && !value.is_empty());
    ours.cloned().collect()
}

/// The value of the variable `name`.
pub fn find<'v>(variables: &'v Variables, name: &str) -> Option<&'v str> {
    variables.iter().find(|variable| variable.0 == name).map(|variable| variable.1.as_str())
}

/// `text` as a path, with `~/` expanded.
pub fn expand(variables: &Variables, text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), find(variables, "HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    }
}

/// Whether a variable has a true value, as other tools define it.
pub fn is_yes(value: Option<&str>) -> bool {
    let yes = ["1", "true", "on", "yes", "y"];
    value.is_some_and(|value| yes.contains(&value.to_ascii_lowercase().as_str()))
}

/// Validates an endpoint for use as a URL prefix: removes a trailing slash.
///
/// # Errors
/// Anything but `http[s]://host[:port][/path]`. Credentials in it would be logged one day.
pub fn endpoint(given: &str) -> Result<String, Error> {
    let wrong = || {
        let text = "is not an endpoint; write `http[s]://host[:port]`";
        Error::Setting(format!("`{}` {text}", show(without_secrets(given))))
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

/// Whether traffic to an endpoint is private: by TLS, or because it does not leave the machine.
pub fn is_private(endpoint: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(endpoint) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here =
        host.parse::<std::net::IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback());
    url.scheme() == "https" || is_here
}

/// The part of an invalid endpoint that may be shown: without password and signature.
pub fn without_secrets(given: &str) -> &str {
    let given = given.split(['?', '#']).next().unwrap_or(given);
    given.rsplit_once('@').map_or(given, |(_, host)| host)
}

/// The innermost error of a chain: the one that says what happened, without repeating the others.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |e| (*e).source());
    chain.last().map(|error| show(&error.to_string())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_plain_or_refused_without_its_secrets() {
        let cases = [
            ("http://h:9000/", Ok("http://h:9000")),
            ("https://h/in/side", Ok("https://h/in/side")),
            ("host:9000", Err("`host:9000`")),
            ("ftp://host", Err("`ftp://host`")),
            ("http://u:secret@h", Err("`h`")),
            ("https://h/c?sig=secret", Err("`https://h/c`")),
            ("http://h/#secret", Err("`http://h/`")),
        ];
        for (given, want) in cases {
            match (endpoint(given), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (Err(error), Err(shown)) => {
                    let error = error.to_string();
                    assert!(error.starts_with(shown) && !error.contains("secret"), "{error}");
                }
                (got, want) => panic!("{given}: {got:?} {want:?}"),
            }
        }
    }

    #[test]
    fn tokens_leave_the_machine_by_tls_alone() {
        let cases = [
            ("https://h", true),
            ("http://h", false),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://localhost.evil", false),
            ("http://127.0.0.1.evil", false),
        ];
        for (endpoint, want) in cases {
            assert_eq!(is_private(endpoint), want, "{endpoint}");
        }
    }

    #[test]
    fn certificates_that_are_not_there_are_said_so() {
        let cases = [
            ("/nonexistent/ca.pem", "No such file"),
            ("/dev/null", "there is no certificate in it"),
        ];
        for (path, cause) in cases {
            let variables = vec![("AWS_CA_BUNDLE".to_owned(), path.to_owned())];
            let net = Net::new(Duration::from_secs(1), &variables);
            let message = format!("the CA bundle `{path}` cannot be used: {cause}");
            assert!(net.options(true).unwrap_err().to_string().starts_with(&message));
            assert!(net.client().unwrap_err().to_string().starts_with(&message));
        }
    }

    #[test]
    fn pauses_end_before_the_time_is_up() {
        for seconds in [0.01, 1.0, 3.0, 30.0, 600.0] {
            let timeout = Duration::from_secs_f64(seconds);
            let backoff = Net::new(timeout, &Variables::new()).retry().backoff;
            assert!(backoff.max_backoff * RETRIES < timeout, "{seconds}");
            assert!(backoff.init_backoff <= backoff.max_backoff, "{seconds}");
        }
    }
}
