//! Parsing of the entries of a settings table. Pure.
//!
//! The keys of a table are defined by its store (`backend`). No table contains a secret: it names a profile, a
//! file or an environment variable that does.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Wrong;
use crate::error::show;
use dcfs_core::name::nearest;

/// The keys of one kind of table, and a hint where its secrets belong.
pub struct Vocabulary {
    pub names: &'static [&'static str],
    pub secrets: &'static str,
}

/// The place of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// An absolute path, or one that begins with `~/`.
    File(String),
    /// An environment variable.
    Variable(String),
}

/// Checks that at most one of `both` is set.
pub fn exclude(at: usize, both: [(&str, bool); 2]) -> Result<(), Wrong> {
    let [(one, is), (other, too)] = both;
    match is && too {
        true => Err((at, format!("`{one}` and `{other}` exclude each other"))),
        false => Ok(()),
    }
}

/// The entries of a table.
pub fn entries<'a>(table: &'a DeTable<'a>) -> impl Iterator<Item = Entry<'a>> {
    table.iter().map(|(name, value)| Entry { name, value })
}

/// A key and its value.
pub struct Entry<'a> {
    name: &'a Spanned<std::borrow::Cow<'a, str>>,
    value: &'a Spanned<DeValue<'a>>,
}

impl Entry<'_> {
    pub fn name(&self) -> &str {
        self.name.get_ref()
    }

    pub fn text(&self) -> Result<String, Wrong> {
        match self.value.get_ref() {
            DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
            _ => Err(self.wrong(|name| format!("`{name}` is a text, such as `{name} = \"...\"`"))),
        }
    }

    pub fn flag(&self) -> Result<bool, Wrong> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.wrong(|name| format!("`{name}` is `true` or `false`, without quotes"))),
        }
    }

    /// A path that means the same wherever dcfs is started.
    pub fn path(&self) -> Result<String, Wrong> {
        let text = self.text()?;
        if text.starts_with('/') || text.starts_with("~/") {
            return Ok(text);
        }
        Err(self.wrong(|name| format!("`{name}` is a path that begins with `/` or `~/`")))
    }

    /// Sets `secret`, described as `what`, to a file or a variable, depending on the suffix of the key.
    pub fn secret(&self, at: usize, what: &str, secret: &mut Option<Secret>) -> Result<(), Wrong> {
        let said = match self.name().ends_with("_file") {
            true => Secret::File(self.path()?),
            false => Secret::Variable(self.variable()?),
        };
        if secret.replace(said).is_some() {
            return Err((at, format!("`{what}_file` and `{what}_env` exclude each other")));
        }
        Ok(())
    }

    /// An invalid variable name may be the secret itself: it is not repeated.
    fn variable(&self) -> Result<String, Wrong> {
        let text = self.text()?;
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if text.bytes().all(plain) {
            return Ok(text);
        }
        let cause = "is the name of a variable, of capitals, digits and `_`";
        Err(self.wrong(|name| format!("`{name}` {cause}")))
    }

    fn wrong(&self, cause: impl FnOnce(&str) -> String) -> Wrong {
        (self.value.span().start, cause(self.name()))
    }

    pub fn unknown(&self, vocabulary: &Vocabulary) -> Wrong {
        const SECRETS: [&str; 7] =
            ["key", "secret", "token", "password", "sas", "connection_string", "authorization"];
        let (at, name) = (self.name.span().start, self.name());
        let shown = show(name);
        let lower = name.to_ascii_lowercase();
        if SECRETS.iter().any(|word| lower.contains(word)) {
            let text = format!("keys do not belong here: {}", vocabulary.secrets);
            return (at, format!("there is no setting `{shown}`; {text}"));
        }
        let near = nearest::to(name, vocabulary.names.iter().copied());
        let all = format!("there are {}", vocabulary.names.join(", "));
        (at, format!("there is no setting `{shown}`{}", nearest::hint(&near, &all)))
    }
}
