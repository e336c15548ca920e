//! The frontmatter of a page: `key: value` lines between two `---`, which DataChain reads line by
//! line and Obsidian as YAML.
//!
//! Values are written so that both read them alike: plain if possible, otherwise as a JSON string,
//! which is YAML too.

use std::fmt::Write as _;

use dcfs_core::render::stranger::visible;

/// The most characters of a value.
const LONGEST: usize = 200;

/// A frontmatter being built.
#[derive(Debug, Default)]
pub struct Frontmatter(String);

impl Frontmatter {
    /// Adds a text from anybody.
    #[must_use]
    pub fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, &quoted(value))
    }

    /// Adds a number, a flag or a time.
    #[must_use]
    pub fn raw(mut self, key: &str, value: &str) -> Self {
        let _ = writeln!(self.0, "{}", format!("{key}: {value}").trim_end());
        self
    }

    /// Adds a list of versions or of other words that need no quotes.
    #[must_use]
    pub fn words(self, key: &str, words: &[String]) -> Self {
        let value = format!("[{}]", words.join(", "));
        self.raw(key, &value)
    }

    /// Adds a list of texts from anybody; nothing if it is empty.
    #[must_use]
    pub fn texts(self, key: &str, texts: &[String]) -> Self {
        if texts.is_empty() {
            return self;
        }
        let quoted: Vec<String> = texts.iter().map(|text| always_quoted(text)).collect();
        self.words(key, &quoted)
    }

    /// The lines with their delimiters.
    pub fn finish(self) -> String {
        format!("---\n{}---\n", self.0)
    }
}

/// Plain if YAML reads it as a text, otherwise as a JSON string.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if is_plain && text.len() <= LONGEST { text.to_owned() } else { always_quoted(text) }
}

fn always_quoted(text: &str) -> String {
    serde_json::Value::String(visible(text, LONGEST)).to_string()
}

/// The value of `key` in the frontmatter of a page, as DataChain reads it.
pub fn value(page: &str, key: &str) -> Option<String> {
    let head = page.strip_prefix("---\n")?;
    let head = &head[..head.find("\n---")?];
    let line = head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_value_is_one_line() {
        let head = Frontmatter::default()
            .text("name", "pets")
            .text("odd", "a\n---\nevil: 1\u{202e}\"")
            .text("bool", "Yes")
            .words("known_versions", &["1.0.0".into(), "1.0.1".into()])
            .texts("aliases", &["a, b".into()])
            .texts("none", &[])
            .finish();
        let want = "---\nname: pets\nodd: \"a\\\\n---\\\\nevil: 1\\\\u{202e}\\\"\"\nbool: \"Yes\"\n\
                    known_versions: [1.0.0, 1.0.1]\naliases: [\"a, b\"]\n---\n";
        assert_eq!(head, want);
        assert_eq!(value(&head, "name").as_deref(), Some("pets"));
        assert_eq!(value(&head, "evil"), None);
        assert_eq!(value("# no head\nname: x", "name"), None);
    }
}
