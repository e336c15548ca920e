//! What tables of settings may say of S3 and its kin. Pure.

use toml::de::DeTable;

use crate::settings::{Vocabulary, Wrong, entries, exclude};

/// What may be said of S3 and its kin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3 {
    /// A profile of `~/.aws`, whatever the environment says of keys.
    pub profile: Option<String>,
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    /// Do not sign.
    pub anon: bool,
    /// Agree to pay for requests.
    pub request_payer: bool,
    /// `virtual`: buckets stand in the name of the host.
    pub addressing_style: Option<String>,
}

const VOCABULARY: Vocabulary = Vocabulary {
    names: &["profile", "region", "endpoint_url", "anon", "request_payer", "addressing_style"],
    secrets: "put them into a profile of `~/.aws/credentials`",
};

impl S3 {
    /// Reads a table, which begins at byte `at`.
    ///
    /// # Errors
    /// A name that nobody knows, or a value that is none.
    pub fn read(at: usize, table: &DeTable<'_>) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for entry in entries(table) {
            match entry.name() {
                "profile" => said.profile = Some(entry.text()?),
                "region" => said.region = Some(entry.text()?),
                "endpoint_url" => said.endpoint_url = Some(entry.text()?),
                "anon" => said.anon = entry.flag()?,
                "request_payer" => said.request_payer = entry.flag()?,
                "addressing_style" => said.addressing_style = Some(entry.text()?),
                _ => return Err(entry.unknown(&VOCABULARY)),
            }
        }
        exclude(at, [("anon", said.anon), ("profile", said.profile.is_some())])?;
        Ok(said)
    }
}
