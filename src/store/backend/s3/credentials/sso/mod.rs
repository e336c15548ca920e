//! Sign-in by SSO (IAM Identity Center): what a profile says of it, and the way from a token to keys.
//!
//! `aws sso login` opens the browser and leaves a token below `~/.aws/sso/cache`; dcfs opens none, and uses the token
//! as the AWS command line does (`botocore/credentials.py`, `tokens.py`):
//!
//! 1. A profile names an account and a role, and where to sign in: by `sso_session`, the name of a section
//!    `[sso-session NAME]`, or itself (the older form).
//! 2. A token of a session that ends within minutes is exchanged for a new one, once for all who wait, and written back.
//! 3. With the token the portal gives keys of the role, which end.
//!
//! No token is ever in a message.
//!
//! | file | what it decides |
//! |---|---|
//! | this one | where a profile signs in; asks nobody |
//! | [`token`] | the file that a token is in, and whether it is good |
//! | [`portal`] | the questions to the portal and to the service of tokens |

mod portal;
mod token;

use std::path::PathBuf;

use super::error::Error;
use super::profile::{Files, Profile};
use super::source::Finder;
use crate::error::show;
pub use portal::keys;

/// What keys are asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sso {
    /// The profile's name.
    pub profile: String,
    pub account: String,
    pub role: String,
    pub start_url: String,
    pub region: String,
    /// Where the token is; named as the AWS command line names it.
    file: PathBuf,
    /// Whether it is of a session: others are never exchanged.
    is_session: bool,
    /// The portal of AWS, if there is none.
    portal: Option<String>,
    /// The service of tokens of AWS, if there is none.
    oidc: Option<String>,
}

impl Sso {
    /// What `profile` says, if it signs in by SSO.
    ///
    /// # Errors
    /// It says too little, or names a session that is not there or says something else.
    pub fn of(finder: Finder, profile: &Profile) -> Result<Option<Self>, Error> {
        if profile.get("sso_account_id").or_else(|| profile.get("sso_role_name")).is_none() {
            return Ok(None);
        }
        let session = profile.get("sso_session");
        let get = |name| said(finder.files, profile, session, name);
        let start_url = get("sso_start_url")?;
        let file = token::file(session.unwrap_or(&start_url));
        Ok(Some(Self {
            profile: profile.name.clone(),
            account: get("sso_account_id")?,
            role: get("sso_role_name")?,
            region: get("sso_region")?,
            file: finder.environment.expand(&file),
            is_session: session.is_some(),
            portal: finder.endpoint(Some(profile), "sso", "AWS_ENDPOINT_URL_SSO")?,
            oidc: finder.endpoint(Some(profile), "sso_oidc", "AWS_ENDPOINT_URL_SSO_OIDC")?,
            start_url,
        }))
    }

    /// Whether there is a token that is good, or may be exchanged for one. Asks nobody.
    ///
    /// # Errors
    /// `SignedOut`, saying how to sign in.
    pub fn ready(&self) -> Result<(), Error> {
        let token = self.token()?;
        match token.is_good() || self.is_session && token.is_refreshable() {
            true => Ok(()),
            false => Err(self.signed_out("its token has expired")),
        }
    }

    fn token(&self) -> Result<token::Token, Error> {
        token::Token::read(&self.file).map_err(|cause| self.signed_out(cause))
    }

    fn signed_out(&self, cause: impl Into<String>) -> Error {
        Error::SignedOut { profile: show(&self.profile), cause: cause.into() }
    }

    /// For messages.
    fn title(&self) -> String {
        format!("SSO of profile `{}`", show(&self.profile))
    }
}

/// What `profile` or its session says of `name`; where both do, they have to say the same.
fn said(
    files: &Files,
    profile: &Profile,
    session: Option<&str>,
    name: &str,
) -> Result<String, Error> {
    let wrong = |cause| Error::wrong(&profile.title(), cause);
    let of_session = match session {
        Some(session) => files.session(session, name).map_err(|()| {
            wrong(format!("there is no section `[sso-session {}]`", show(session)))
        })?,
        None => None,
    };
    match (profile.get(name), of_session) {
        (Some(own), Some(other)) if own != other => {
            Err(wrong(format!("its `{name}` is not that of its `sso_session`")))
        }
        (Some(said), _) | (None, Some(said)) => Ok(said.to_owned()),
        (None, None) => Err(wrong(format!("SSO needs `{name}`"))),
    }
}
