//! Sign-in by SSO (IAM Identity Center): its settings in a profile, and the way from a token to keys.
//!
//! `aws sso login` opens the browser and stores a token below `~/.aws/sso/cache`; dcfs opens no browser, and
//! uses the token as the AWS command line does (`botocore/credentials.py`, `tokens.py`):
//!
//! 1. A profile names an account and a role, and where to sign in: by `sso_session`, the name of a section
//!    `[sso-session NAME]`, or in the profile itself (the legacy form).
//! 2. A session's token that expires within minutes is refreshed, once for all who wait, and written back.
//! 3. With the token the portal returns keys of the role, which expire.
//!
//! Messages never contain a token.
//!
//! | file | contents |
//! |---|---|
//! | this one | the sign-in settings of a profile; sends no request |
//! | [`token`] | the token's file, and its validity |
//! | [`portal`] | requests to the portal and to the OIDC service |

mod portal;
mod token;

use std::path::PathBuf;

use super::error::CredentialError;
use super::profile::{Files, Profile};
use super::source::Finder;
use crate::error::show;
pub use portal::keys;

/// The parameters of a request for keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sso {
    /// The profile's name.
    pub profile: String,
    pub account: String,
    pub role: String,
    pub start_url: String,
    pub region: String,
    /// The token's file, named as the AWS command line names it.
    file: PathBuf,
    /// Whether it belongs to an `sso-session`: other tokens are never refreshed.
    is_session: bool,
    /// `None`: AWS's own portal.
    portal: Option<String>,
    /// `None`: AWS's own OIDC service.
    oidc: Option<String>,
}

impl Sso {
    /// The SSO settings of `profile`, if it has any.
    ///
    /// # Errors
    /// They are incomplete, or name a session that does not exist or contradicts them.
    pub fn of(finder: Finder, profile: &Profile) -> Result<Option<Self>, CredentialError> {
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

    /// Checks that there is a valid token, or one that can be refreshed. Sends no request.
    ///
    /// # Errors
    /// `SignedOut`, saying how to sign in.
    pub fn ready(&self) -> Result<(), CredentialError> {
        let token = self.token()?;
        match token.is_good() || self.is_session && token.is_refreshable() {
            true => Ok(()),
            false => Err(self.signed_out("its token has expired")),
        }
    }

    fn token(&self) -> Result<token::Token, CredentialError> {
        token::Token::read(&self.file).map_err(|cause| self.signed_out(cause))
    }

    fn signed_out(&self, cause: impl Into<String>) -> CredentialError {
        CredentialError::SignedOut { profile: show(&self.profile), cause: cause.into() }
    }

    /// For messages.
    fn title(&self) -> String {
        format!("SSO of profile `{}`", show(&self.profile))
    }
}

/// The value of `name` in `profile` or its session; if both set it, they have to agree.
fn said(
    files: &Files,
    profile: &Profile,
    session: Option<&str>,
    name: &str,
) -> Result<String, CredentialError> {
    let wrong = |cause| CredentialError::wrong(&profile.title(), cause);
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
