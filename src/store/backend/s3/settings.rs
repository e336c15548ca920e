//! The keys that tables of settings may have for S3 and compatible stores. Pure.

use toml::de::DeTable;

use crate::settings::{Vocabulary, Wrong, entries, exclude};

/// A table of settings of S3 and compatible stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3 {
    /// A profile of `~/.aws`; it overrides keys of the environment.
    pub profile: Option<String>,
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    /// Do not sign requests.
    pub anon: bool,
    /// Agree to pay for requests.
    pub request_payer: bool,
    /// `virtual` for virtual-hosted addresses.
    pub addressing_style: Option<String>,
}

const VOCABULARY: Vocabulary = Vocabulary {
    names: &["profile", "region", "endpoint_url", "anon", "request_payer", "addressing_style"],
    secrets: "put them into a profile of `~/.aws/credentials`",
};

impl S3 {
    /// Reads a table that begins at byte `at`.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
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
