//! The keys that tables of settings may have for Google Cloud Storage. Pure.

use toml::de::DeTable;

use crate::settings::{Vocabulary, Wrong, entries, exclude};

/// A table of settings of Google Cloud Storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gs {
    pub endpoint_url: Option<String>,
    /// The file of a service account, or the one that `gcloud auth application-default login` wrote.
    pub credentials_file: Option<String>,
    /// Do not sign requests.
    pub anon: bool,
    /// The project that pays for requests.
    pub user_project: Option<String>,
}

const VOCABULARY: Vocabulary = Vocabulary {
    names: &["endpoint_url", "credentials_file", "anon", "user_project"],
    secrets: "name the file that holds them by `credentials_file`",
};

impl Gs {
    /// Reads a table that begins at byte `at`.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn read(at: usize, table: &DeTable<'_>) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for entry in entries(table) {
            match entry.name() {
                "endpoint_url" => said.endpoint_url = Some(entry.text()?),
                "credentials_file" => said.credentials_file = Some(entry.path()?),
                "anon" => said.anon = entry.flag()?,
                "user_project" => said.user_project = Some(entry.text()?),
                _ => return Err(entry.unknown(&VOCABULARY)),
            }
        }
        exclude(at, [("anon", said.anon), ("credentials_file", said.credentials_file.is_some())])?;
        Ok(said)
    }
}
