//! The keys that tables of settings may have for Azure. Pure.

use toml::de::DeTable;

use crate::settings::{Secret, Vocabulary, Wrong, entries, exclude};

/// A table of settings of Azure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Az {
    pub account: Option<String>,
    pub endpoint_url: Option<String>,
    /// As the portal shows it: an account, with its key or a signature.
    pub connection_string: Option<Secret>,
    /// Do not sign requests.
    pub anon: bool,
}

const VOCABULARY: Vocabulary = Vocabulary {
    names: &["account", "endpoint_url", "connection_string_file", "connection_string_env", "anon"],
    secrets: "name a file or a variable that holds a connection string, by `connection_string_file` or \
              `connection_string_env`",
};

impl Az {
    /// Reads a table that begins at byte `at`.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn read(at: usize, table: &DeTable<'_>) -> Result<Self, Wrong> {
        const SECRET: &str = "connection_string";
        let mut said = Self::default();
        for entry in entries(table) {
            match entry.name() {
                "account" => said.account = Some(entry.text()?),
                "endpoint_url" => said.endpoint_url = Some(entry.text()?),
                "connection_string_file" | "connection_string_env" => {
                    entry.secret(at, SECRET, &mut said.connection_string)?;
                }
                "anon" => said.anon = entry.flag()?,
                _ => return Err(entry.unknown(&VOCABULARY)),
            }
        }
        exclude(at, [("anon", said.anon), (SECRET, said.connection_string.is_some())])?;
        let account = ("account", said.account.is_some());
        exclude(at, [account, (SECRET, said.connection_string.is_some())])?;
        Ok(said)
    }
}
