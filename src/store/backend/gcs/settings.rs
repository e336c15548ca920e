//! What tables of settings may say of Google Cloud Storage. Pure.

use toml::de::DeTable;

use crate::settings::{Vocabulary, Wrong, entries, exclude};

/// What may be said of Google Cloud Storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gs {
    pub endpoint_url: Option<String>,
    /// A service account, or what `gcloud auth application-default login` left.
    pub credentials_file: Option<String>,
    /// Do not sign.
    pub anon: bool,
    /// The project that pays for requests.
    pub user_project: Option<String>,
}

const VOCABULARY: Vocabulary = Vocabulary {
    names: &["endpoint_url", "credentials_file", "anon", "user_project"],
    secrets: "name the file that holds them by `credentials_file`",
};

impl Gs {
    /// Reads a table, which begins at byte `at`.
    ///
    /// # Errors
    /// A name that nobody knows, or a value that is none.
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
