//! The keys that tables of settings may have for web servers and the hub. Pure.

use toml::de::DeTable;

use crate::settings::{Secret, Vocabulary, Wrong, entries, exclude};

/// A table of settings of a web server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Certificates to trust in addition to the system's, as PEM.
    pub ca_bundle: Option<String>,
}

const OF_HTTP: Vocabulary =
    Vocabulary { names: &["ca_bundle"], secrets: "dcfs shows none to web servers" };

impl Http {
    /// Reads a table.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn read(table: &DeTable<'_>) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for entry in entries(table) {
            match entry.name() {
                "ca_bundle" => said.ca_bundle = Some(entry.path()?),
                _ => return Err(entry.unknown(&OF_HTTP)),
            }
        }
        Ok(said)
    }
}

/// A table of settings of the Hugging Face hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hf {
    pub endpoint_url: Option<String>,
    pub token: Option<Secret>,
    /// Send no token.
    pub anon: bool,
}

const OF_HF: Vocabulary = Vocabulary {
    names: &["endpoint_url", "token_file", "token_env", "anon"],
    secrets: "name a file or a variable that holds the token, by `token_file` or `token_env`",
};

impl Hf {
    /// Reads a table that begins at byte `at`.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn read(at: usize, table: &DeTable<'_>) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for entry in entries(table) {
            match entry.name() {
                "endpoint_url" => said.endpoint_url = Some(entry.text()?),
                "token_file" | "token_env" => entry.secret(at, "token", &mut said.token)?,
                "anon" => said.anon = entry.flag()?,
                _ => return Err(entry.unknown(&OF_HF)),
            }
        }
        exclude(at, [("anon", said.anon), ("token", said.token.is_some())])?;
        Ok(said)
    }
}
