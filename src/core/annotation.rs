//! Annotations: descriptions, owners and caveats that people give to the columns of a dataset.
//! DataChain's database can only hold a description of the whole dataset.

use std::collections::BTreeMap;

use serde::Serialize;

/// The longest text, in bytes: a sentence or two, not a document.
pub const LONGEST: usize = 1024;

/// The annotation of one column, or of a dataset as a whole. Written by strangers: escape it before
/// showing it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Annotation {
    /// The meaning of the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who is responsible for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// A warning about using it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
}

/// The annotations of a dataset by the dotted names of its columns; the empty name is the dataset
/// itself.
pub type Annotations = BTreeMap<String, Annotation>;

impl Annotation {
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Applies `said`: `None` leaves a text as it is, an empty text removes it.
    #[must_use]
    pub fn with(self, said: &Self) -> Self {
        let changed = |was: Option<String>, now: &Option<String>| match now {
            None => was,
            Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        };
        Self {
            description: changed(self.description, &said.description),
            owner: changed(self.owner, &said.owner),
            caveat: changed(self.caveat, &said.caveat),
        }
    }

    /// All of it on one line.
    pub fn line(&self) -> String {
        let parts = [
            self.description.clone(),
            self.caveat.as_ref().map(|caveat| format!("beware: {caveat}")),
            self.owner.as_ref().map(|owner| format!("owner: {owner}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_and_what_is_empty_goes() {
        let some = |text: &str| Some(text.to_owned());
        let was = Annotation { description: some("a"), owner: some("ann"), caveat: None };
        let said = Annotation { description: None, owner: some(""), caveat: some("b") };
        let now = was.with(&said);
        assert_eq!(now.line(), "a; beware: b");
        let nothing = Annotation { description: some(""), owner: None, caveat: some("") };
        assert!(now.with(&nothing).is_empty());
    }
}
