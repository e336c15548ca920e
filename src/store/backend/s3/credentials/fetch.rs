//! Fetches credentials from the source that [`super::source`] chose: files, commands, services or the machine.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider};

use super::keys::Keys;
use super::source::Source;
use super::{CredentialError, Inner, generic, process, sso, web};

/// Expiring credentials are renewed this long before their end, or at half of their lifetime if that is sooner.
const EARLY: Duration = Duration::from_secs(300);

/// Lifetime of credentials that do not expire and are costly to find: until the store refuses them.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// Fetched credentials, and how long they are valid.
pub struct Found {
    pub keys: Option<Arc<AwsCredential>>,
    pub fresh: Duration,
    pub ends: Option<Duration>,
}

impl Inner {
    /// The credentials, and a description of whose they are.
    ///
    /// # Errors
    /// Credentials are configured but not available.
    pub async fn find(&self) -> Result<(Found, String), CredentialError> {
        let wanted = self.wanted.clone();
        let source = tokio::task::spawn_blocking(move || wanted.find()).await;
        let source =
            source.map_err(|error| CredentialError::failed("`~/.aws`", error.to_string()))??;
        let found = self.of(&source).await?;
        if found.keys.is_none() {
            tracing::info!("no AWS credentials found; requests to S3 are not signed");
        }
        Ok((found, source.to_string()))
    }

    fn of<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Found, CredentialError>> {
        async move {
            let web = || web::Web::new(&self.wanted.options);
            let from = source.to_string();
            let keys = match source {
                Source::Keys { keys, .. } => {
                    let keys = Some(keys.credential());
                    return Ok(Found { keys, fresh: self.pace.files, ends: None });
                }
                Source::Nothing => return Ok(self.nothing()),
                Source::Machine { named } => return self.machine(named.as_deref()).await,
                Source::Process { from, command } => process::keys(from, command).await?,
                Source::Container(container) => web()?.container(container).await?,
                Source::Sso(sso) => sso::keys(&web()?, sso).await?,
                Source::WebIdentity { role, token_file } => {
                    web()?.web_identity(role, token_file).await?
                }
                Source::Role { role, by } => {
                    let by = self.of(by).await?.keys;
                    let by = by.ok_or_else(|| {
                        CredentialError::failed(&from, "there are no keys to assume the role")
                    })?;
                    web()?.role(role, &by).await?
                }
            };
            let ends = keys.left(&from, SystemTime::now())?;
            Ok(Found { keys: Some(keys.credential()), fresh: fresh(ends), ends })
        }
        .boxed()
    }

    /// EC2 instance metadata. The request continues in the background if the answer is late.
    async fn machine(&self, named: Option<&str>) -> Result<Found, CredentialError> {
        let provider = match self.machine.get() {
            Some(provider) => Arc::clone(provider),
            None => Arc::clone(self.machine.get_or_init(|| self.provider())),
        };
        let asked = tokio::spawn(async move { provider.get_credential().await });
        match (tokio::time::timeout(self.pace.machine, asked).await, named) {
            (Ok(Ok(Ok(given))), _) => {
                let (id, secret, token) =
                    (&given.key_id, &given.secret_key, given.token.as_deref());
                let keys = Keys::new("the role of this machine", id, secret, token)?;
                let keys = Some(keys.credential());
                Ok(Found { keys, fresh: self.pace.files, ends: None })
            }
            (_, Some(profile)) => Err(CredentialError::Nothing { profile: profile.to_owned() }),
            _ => Ok(self.nothing()),
        }
    }

    fn provider(&self) -> AwsCredentialProvider {
        let wanted = &self.wanted;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name("none")
            .with_client_options(wanted.options.clone())
            .with_retry(wanted.retry.clone());
        if let Some(url) = wanted.environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            builder = builder.with_metadata_endpoint(url.trim_end_matches('/'));
        }
        match builder.build() {
            Ok(store) => Arc::clone(store.credentials()),
            Err(error) => Arc::new(Never(error.to_string())),
        }
    }

    fn nothing(&self) -> Found {
        Found { keys: None, fresh: self.pace.nothing, ends: None }
    }
}

/// How long to keep credentials that end after `left` before renewing them.
fn fresh(left: Option<Duration>) -> Duration {
    left.map_or(LONG, |left| left - EARLY.min(left / 2)).min(LONG)
}

/// A metadata service that cannot be reached.
#[derive(Debug)]
struct Never(String);

impl CredentialProvider for Never {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(&'a self) -> BoxFuture<'b, object_store::Result<Arc<AwsCredential>>>
    where
        'a: 'b,
        Self: 'b,
    {
        async move { Err(generic(self.0.clone())) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_again_before_they_end() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(fresh(None), LONG);
        assert_eq!(fresh(Some(minutes(60))), minutes(55));
        assert_eq!(fresh(Some(minutes(6))), minutes(3), "never without end");
        assert_eq!(fresh(Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(fresh(Some(Duration::MAX)), LONG);
    }
}
