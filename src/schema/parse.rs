//! From the two JSON texts and the table's columns to the tree.

use super::Schema;

/// Why a schema cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a JSON object.
    #[error("the version's `{text}` is not a JSON object: {cause}")]
    Json { text: &'static str, cause: String },
    /// Deeper than any model of people.
    #[error("the models of the version nest deeper than {0} levels")]
    TooDeep(usize),
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(crate::error::Kind::Broken, error)
    }
}

pub(super) fn schema(
    _feature_schema: &str,
    _schema: &str,
    _table: &[(String, String)],
) -> Result<Schema, Error> {
    todo!()
}
