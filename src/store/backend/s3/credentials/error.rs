//! Why there are no credentials. Messages hold neither secrets nor raw text from files.

use crate::error::show;

/// Cached and reported again for a while, so it can be cloned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A file of `~/.aws` could not be read.
    #[error("`{path}` cannot be read: {cause}")]
    Unreadable { path: String, cause: String },
    /// A file of `~/.aws` has a syntax error.
    #[error("`{path}`, line {line}: {cause}")]
    Malformed { path: String, line: usize, cause: &'static str },
    /// The named profile does not exist.
    #[error("there is no profile `{profile}` in `{config}` or `{credentials}`{hint}")]
    NoProfile { profile: String, config: String, credentials: String, hint: String },
    /// The named profile configures no credentials.
    #[error(
        "profile `{profile}` leads to no credentials; see `aws configure list --profile {profile}`"
    )]
    Nothing { profile: String },
    /// A profile or the environment is invalid.
    #[error("{who}: {cause}")]
    Wrong { who: String, cause: String },
    /// The user has to sign in with a browser.
    #[error(
        "profile `{profile}` is not signed in by SSO: {cause}; run `aws sso login --profile {profile}`"
    )]
    SignedOut { profile: String, cause: String },
    /// Needs a browser, and an SDK.
    #[error(
        "profile `{profile}` signs in by `aws login`, which dcfs does not do itself; \
         run `aws configure export-credentials --profile {profile} --format env` and mount with what it \
         prints, or name a profile with \
         `credential_process = aws configure export-credentials --profile {profile}`"
    )]
    SignIn { profile: String },
    /// Nobody is there to type the MFA code.
    #[error(
        "profile `{profile}` asks for an MFA code, which nobody can type at a mount; run \
         `aws configure export-credentials --profile {profile} --format env` and mount with what it prints"
    )]
    Mfa { profile: String },
    /// A command, a service or a file returned no credentials.
    #[error("{from} gave no credentials: {cause}")]
    Failed { from: String, cause: String },
}

impl CredentialError {
    /// `who` is `profile ...` or `the environment`.
    pub fn wrong(who: &str, cause: impl Into<String>) -> Self {
        Self::Wrong { who: who.to_owned(), cause: cause.into() }
    }

    /// `cause` may be text from a stranger.
    pub fn failed(from: &str, cause: impl AsRef<str>) -> Self {
        Self::Failed { from: from.to_owned(), cause: show(cause.as_ref()) }
    }
}
