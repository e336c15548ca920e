//! The source of credentials, chosen from the environment and the files of `~/.aws` alone, in the order of the
//! AWS command line (`botocore/credentials.py`). Sends no request.
//!
//! 1. Keys of the environment, unless a profile was named to dcfs itself.
//! 2. The profile's `role_arn`, through its `source_profile` or `credential_source`.
//! 3. A web identity, of the environment (with the same exception as 1) or of the profile.
//! 4. SSO.
//! 5. The profile's keys in `~/.aws/credentials`, its `credential_process`, its keys in `~/.aws/config`.
//! 6. The container, then the machine.
//!
//! `AWS_PROFILE` names a profile too, but keys of the environment win over it.

use super::environment::Environment;
use super::error::CredentialError;
use super::keys::Keys;
use super::profile::{Files, Profile};
use super::sso::Sso;
use crate::error::show;

/// Limit of chained roles; more are a mistake.
const DEEPEST: usize = 8;

/// A source of credentials.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// Keys, and where they were found.
    Keys { from: String, keys: Keys },
    /// `credential_process`.
    Process { from: String, command: String },
    /// A role, and the source of the keys that assume it.
    Role { role: Role, by: Box<Source> },
    /// A role, with the token of `aws sso login`.
    Sso(Sso),
    /// A role, with a web identity token in a file.
    WebIdentity { role: Role, token_file: String },
    /// A container's credential service.
    Container(Container),
    /// EC2 metadata, if it answers. If no profile was named, no answer means no credentials.
    Machine { named: Option<String> },
    /// No credentials.
    Nothing,
}

/// The parameters of an AssumeRole request to STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    pub session: Option<String>,
    pub external_id: Option<String>,
    /// In seconds.
    pub duration: Option<u32>,
    /// `None`: the STS of AWS.
    pub endpoint: Option<String>,
    pub region: String,
}

/// The credential service of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub url: String,
    pub token: Token,
}

/// The authorization token of a container.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    None,
    File(String),
    Text(String),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// For messages and `dcfs doctor`: no secrets.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys { from, .. } => write!(f, "the keys of {from}"),
            Self::Process { from, .. } => write!(f, "`credential_process` of {from}"),
            Self::Role { role, by } => write!(f, "the role `{}` by {by}", show(&role.arn)),
            Self::Sso(sso) => write!(
                f,
                "the role `{}` of account `{}` by SSO",
                show(&sso.role),
                show(&sso.account)
            ),
            Self::WebIdentity { role, .. } => {
                write!(f, "the role `{}` by a web identity", show(&role.arn))
            }
            Self::Container(_) => f.write_str("the role of this container"),
            Self::Machine { .. } => f.write_str("the role of this machine, if it has one"),
            Self::Nothing => f.write_str("no credentials"),
        }
    }
}

/// The inputs of [`Source::find`].
#[derive(Clone, Copy)]
pub struct Finder<'a> {
    pub environment: &'a Environment,
    pub files: &'a Files,
    /// The profile that was named to dcfs itself.
    pub named: Option<&'a str>,
    /// Used if the profile and the environment name none.
    pub region: &'a str,
}

const ENVIRONMENT: &str = "the environment";

impl Source {
    /// Chooses the source.
    ///
    /// # Errors
    /// A profile that does not exist, or is invalid.
    pub fn find(of: Finder) -> Result<Self, CredentialError> {
        let profile = of.files.profile(of.named.or_else(|| profile_of(of.environment)))?;
        if of.named.is_none()
            && let Some(keys) = environment_keys(of.environment)?
        {
            return Ok(keys);
        }
        if let Some(source) = of.of_profile(profile, of.named.is_none(), &mut Vec::new())? {
            return Ok(source);
        }
        if let Some(container) = container(of.environment)? {
            return Ok(Self::Container(container));
        }
        let named = of.named.or_else(|| profile_of(of.environment)).map(str::to_owned);
        match (of.environment.is_true("AWS_EC2_METADATA_DISABLED"), named) {
            (false, named) => Ok(Self::Machine { named }),
            (true, Some(profile)) => Err(CredentialError::Nothing { profile: show(&profile) }),
            (true, None) => Ok(Self::Nothing),
        }
    }
}

impl Source {
    /// Checks that the user has signed in, where that is needed. Sends no request.
    ///
    /// # Errors
    /// The user has to sign in first.
    pub fn ready(&self) -> Result<(), CredentialError> {
        match self {
            Self::Sso(sso) => sso.ready(),
            Self::Role { by, .. } => by.ready(),
            _ => Ok(()),
        }
    }
}

/// The profile that the environment names.
pub fn profile_of(environment: &Environment) -> Option<&str> {
    environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
}

impl Finder<'_> {
    /// The source that `profile` names, or a web identity of the environment, if that counts.
    fn of_profile(
        self,
        profile: Option<&Profile>,
        may_environment: bool,
        visited: &mut Vec<String>,
    ) -> Result<Option<Source>, CredentialError> {
        let get = |name| profile.and_then(|profile| profile.get(name));
        if let Some(profile) = profile
            && let Some(arn) = profile.get("role_arn")
            && profile.get("web_identity_token_file").is_none()
        {
            return self.role(profile, arn, visited).map(Some);
        }
        let environment = |name| self.environment.get(name).filter(|_| may_environment);
        let file = environment("AWS_WEB_IDENTITY_TOKEN_FILE").or(get("web_identity_token_file"));
        if let Some(file) = file {
            let arn = environment("AWS_ROLE_ARN").or(get("role_arn"));
            let session = environment("AWS_ROLE_SESSION_NAME").or(get("role_session_name"));
            return self.web_identity(profile, file, arn, session).map(Some);
        }
        profile.map_or(Ok(None), |profile| self.keys_of(profile))
    }

    /// Keys of a profile, or the source of them that it names.
    fn keys_of(self, profile: &Profile) -> Result<Option<Source>, CredentialError> {
        match Sso::of(self, profile)? {
            Some(sso) => Ok(Some(Source::Sso(sso))),
            None => keys_of_profile(profile),
        }
    }

    fn role(
        self,
        profile: &Profile,
        arn: &str,
        visited: &mut Vec<String>,
    ) -> Result<Source, CredentialError> {
        let wrong = |cause: String| CredentialError::wrong(&profile.title(), cause);
        if profile.get("mfa_serial").is_some() {
            return Err(CredentialError::Mfa { profile: show(&profile.name) });
        }
        visited.push(profile.name.clone());
        if visited.len() > DEEPEST {
            return Err(wrong(format!("more than {DEEPEST} roles lead to each other")));
        }
        let by = match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(_), Some(_)) => {
                return Err(wrong(
                    "`source_profile` and `credential_source` exclude each other".into(),
                ));
            }
            (None, None) => {
                return Err(wrong(
                    "`role_arn` needs `source_profile` or `credential_source`".into(),
                ));
            }
            (Some(name), None) => self.source_profile(profile, name, visited)?,
            (None, Some(name)) => self.credential_source(profile, name)?,
        };
        let session = profile.get("role_session_name");
        let role = self.asked(Some(profile), arn, session)?;
        Ok(Source::Role { role, by: Box::new(by) })
    }

    fn source_profile(
        self,
        of: &Profile,
        name: &str,
        visited: &mut Vec<String>,
    ) -> Result<Source, CredentialError> {
        let wrong =
            |cause: &str| CredentialError::wrong(&of.title(), format!("`source_profile`: {cause}"));
        let source = self.files.profile(Some(name)).map_err(|error| wrong(&error.to_string()))?;
        let Some(source) = source else { return Err(wrong("it is nowhere")) };
        // A profile with keys may be its own source; without keys this would be a cycle.
        if visited.iter().any(|seen| seen == name) {
            let keys = if name == of.name { self.keys_of(source)? } else { None };
            return keys.ok_or_else(|| wrong("it leads back to itself"));
        }
        let keys = source.get("aws_access_key_id").is_some();
        let found = if keys {
            self.keys_of(source)?
        } else {
            self.of_profile(Some(source), false, visited)?
        };
        found.ok_or_else(|| wrong(&format!("{} has no credentials", source.title())))
    }

    fn credential_source(self, profile: &Profile, name: &str) -> Result<Source, CredentialError> {
        let missing = |what: &str| {
            CredentialError::wrong(
                &profile.title(),
                format!("`credential_source = {name}`, and {what} has none"),
            )
        };
        match name {
            "Environment" => {
                environment_keys(self.environment)?.ok_or_else(|| missing(ENVIRONMENT))
            }
            "EcsContainer" => {
                let container = container(self.environment)?.map(Source::Container);
                container.ok_or_else(|| missing(ENVIRONMENT))
            }
            "Ec2InstanceMetadata" => Ok(Source::Machine { named: Some(profile.name.clone()) }),
            other => {
                let text = "is none; there are Environment, EcsContainer, Ec2InstanceMetadata";
                let text = format!("`credential_source = {}` {text}", show(other));
                Err(CredentialError::wrong(&profile.title(), text))
            }
        }
    }

    fn web_identity(
        self,
        profile: Option<&Profile>,
        token_file: &str,
        arn: Option<&str>,
        session: Option<&str>,
    ) -> Result<Source, CredentialError> {
        let who = profile.map_or(ENVIRONMENT.into(), Profile::title);
        let text = "a web identity needs a role: `role_arn`, or `AWS_ROLE_ARN` in the environment";
        let arn = arn.ok_or_else(|| CredentialError::wrong(&who, text))?;
        let token_file = self.environment.expand(token_file).display().to_string();
        Ok(Source::WebIdentity { role: self.asked(profile, arn, session)?, token_file })
    }

    /// The AssumeRole parameters of `profile`.
    fn asked(
        self,
        profile: Option<&Profile>,
        arn: &str,
        session: Option<&str>,
    ) -> Result<Role, CredentialError> {
        let get = |name| profile.and_then(|profile| profile.get(name));
        let own = |text: &str| text.to_owned();
        Ok(Role {
            arn: own(arn),
            session: session.map(own),
            external_id: get("external_id").map(own),
            duration: get("duration_seconds").and_then(|text| text.parse().ok()),
            endpoint: self.endpoint(profile, "sts", "AWS_ENDPOINT_URL_STS")?,
            region: own(get("region").unwrap_or(self.region)),
        })
    }

    /// The endpoint of a service: from the `variable` of its own, or from the settings for all services; `None`
    /// means AWS's own.
    ///
    /// # Errors
    /// The profile names a `services` section that does not exist.
    pub fn endpoint(
        self,
        profile: Option<&Profile>,
        service: &str,
        variable: &str,
    ) -> Result<Option<String>, CredentialError> {
        let named = self.environment.first(&[variable, "AWS_ENDPOINT_URL"]);
        match (named, profile) {
            (Some(url), _) => Ok(Some(url.to_owned())),
            (None, Some(profile)) => self.files.endpoint(profile, service),
            (None, None) => Ok(None),
        }
    }
}

/// Keys of the environment.
fn environment_keys(environment: &Environment) -> Result<Option<Source>, CredentialError> {
    let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    let token = environment.first(&["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"]);
    keys(ENVIRONMENT, (id, environment.get(id)), (secret, environment.get(secret)), token)
}

/// The keys of a profile, or its `credential_process`.
fn keys_of_profile(profile: &Profile) -> Result<Option<Source>, CredentialError> {
    if profile.get_own("aws_access_key_id").is_some() {
        return static_keys(profile);
    }
    if profile.get("login_session").is_some() {
        return Err(CredentialError::SignIn { profile: show(&profile.name) });
    }
    if let Some(command) = profile.get("credential_process") {
        let (from, command) = (profile.title(), command.to_owned());
        return Ok(Some(Source::Process { from, command }));
    }
    static_keys(profile)
}

fn static_keys(profile: &Profile) -> Result<Option<Source>, CredentialError> {
    let (id, secret) = ("aws_access_key_id", "aws_secret_access_key");
    let token = profile.get("aws_session_token").or_else(|| profile.get("aws_security_token"));
    keys(&profile.title(), (id, profile.get(id)), (secret, profile.get(secret)), token)
}

/// Both of a pair, or neither.
fn keys(
    from: &str,
    id: (&str, Option<&str>),
    secret: (&str, Option<&str>),
    token: Option<&str>,
) -> Result<Option<Source>, CredentialError> {
    let half = |there: &str, missing: &str| {
        Err(CredentialError::wrong(from, format!("`{there}` is set and `{missing}` is not")))
    };
    match (id.1, secret.1) {
        (None, None) => Ok(None),
        (Some(_), None) => half(id.0, secret.0),
        (None, Some(_)) => half(secret.0, id.0),
        (Some(id), Some(secret)) => {
            let keys = Keys::new(from, id, secret, token)?;
            Ok(Some(Source::Keys { from: from.to_owned(), keys }))
        }
    }
}

/// The service that the environment of a container names: ECS, EKS, Greengrass.
fn container(environment: &Environment) -> Result<Option<Container>, CredentialError> {
    let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = match (relative, environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
        (Some(path), _) => format!("http://169.254.170.2{path}"),
        (None, Some(url)) => checked(url)?.to_owned(),
        (None, None) => return Ok(None),
    };
    let file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let token = match (file, environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")) {
        (Some(file), _) => Token::File(file.to_owned()),
        (None, Some(token)) => Token::Text(token.to_owned()),
        (None, None) => Token::None,
    };
    Ok(Some(Container { url, token }))
}

/// Without TLS only this machine and the addresses of container services are trusted, as in AWS's tools.
fn checked(url: &str) -> Result<&str, CredentialError> {
    const HOSTS: [&str; 6] =
        ["localhost", "127.0.0.1", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
    let plain = reqwest::Url::parse(url).is_ok_and(|url| match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(|host| HOSTS.contains(&host)),
        _ => false,
    });
    let text = "`AWS_CONTAINER_CREDENTIALS_FULL_URI` is neither `https://` nor of this machine";
    if plain { Ok(url) } else { Err(CredentialError::wrong(ENVIRONMENT, text)) }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
