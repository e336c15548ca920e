//! Annotations: what people say about the columns of a dataset, and who answers for it. DataChain's database has a place
//! for a description of the dataset alone.

use std::collections::BTreeMap;

use serde::Serialize;

/// Bytes of each text: a sentence or two, not a document.
pub const LONGEST: usize = 1024;

/// What is said about one column, or about a dataset as a whole. A stranger's words to whoever shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Annotation {
    /// What it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What to beware of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
}

/// What is said about a dataset, by the dotted names of its columns; about the whole of it under the empty name.
pub type Annotations = BTreeMap<String, Annotation>;

impl Annotation {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same with `said` in place of what it was: what is `None` stays, and what is empty goes.
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

    /// All of it in a line.
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
