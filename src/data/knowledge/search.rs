//! Full-text search over pages, notes and scripts with SQLite's FTS5, in memory, built for each
//! query.

use rusqlite::Connection;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::stranger::visible;
use serde::Serialize;

/// The most words of a query.
const MOST_WORDS: usize = 16;

/// The words of context around a hit.
const AROUND: u32 = 16;

/// The most characters of context: a stranger's word may be as long as its text.
const LONGEST: usize = 300;

/// A text to be searched.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Relative to the folder of pages.
    pub path: String,
    pub title: String,
    pub text: String,
}

/// A text that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    pub path: String,
    pub title: String,
    /// The context of the words, marked with `**`: one visible line of a stranger's text, not
    /// escaped for a page.
    pub snippet: String,
}

/// The documents with all words, best first; if there are none, those with any of them. A word
/// matches as a prefix.
///
/// # Errors
/// SQLite's errors, never caused by the words: they are quoted.
pub fn search(documents: &[Document], words: &str, most: usize) -> Result<Vec<Hit>> {
    let terms: Vec<String> = words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(MOST_WORDS)
        .map(|word| format!("\"{word}\"*"))
        .collect();
    if terms.is_empty() {
        return Err(Error::new(Kind::Invalid, "give a word to search for"));
    }
    let found = find(documents, &terms.join(" "), most).map_err(broken)?;
    match found.is_empty() && terms.len() > 1 {
        true => find(documents, &terms.join(" OR "), most).map_err(broken),
        false => Ok(found),
    }
}

fn broken(error: rusqlite::Error) -> Error {
    Error::new(Kind::Broken, error)
}

fn find(documents: &[Document], query: &str, most: usize) -> rusqlite::Result<Vec<Hit>> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(
        "CREATE VIRTUAL TABLE pages USING fts5(path UNINDEXED, title, body, tokenize = 'unicode61')",
    )?;
    let mut insert = connection.prepare("INSERT INTO pages VALUES (?1, ?2, ?3)")?;
    for document in documents {
        insert.execute([&document.path, &document.title, &document.text])?;
    }
    // A match in the name weighs more than one in the text.
    let mut select = connection.prepare(
        "SELECT path, title, snippet(pages, 2, '**', '**', '...', ?3) FROM pages WHERE pages MATCH ?1 \
         ORDER BY bm25(pages, 0.0, 8.0, 1.0), path LIMIT ?2",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let found = select.query_map((query, most, AROUND), |row| {
        let snippet: String = row.get(2)?;
        let snippet = snippet.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Hit { path: row.get(0)?, title: row.get(1)?, snippet: visible(&snippet, LONGEST) })
    })?;
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_words() {
        let document = |path: &str, title: &str, text: &str| Document {
            path: path.into(),
            title: title.into(),
            text: text.into(),
        };
        let documents = [
            document("a.md", "cars", "made from pets_images, no dogs"),
            document("b.md", "pets_images", "cats and dogs"),
            document("c.md", "x", "\u{202e}\" OR NEAR( * :"),
        ];
        let paths = |words: &str| -> Vec<String> {
            let found = search(&documents, words, 10).expect("searched");
            found.into_iter().map(|hit| hit.path).collect()
        };
        assert_eq!(paths("pets"), ["b.md", "a.md"]);
        assert_eq!(paths("cat dogs"), ["b.md"]);
        assert_eq!(paths("cats cars").len(), 2, "any, where none has all");
        assert_eq!(paths("near\" OR title:*"), ["c.md"]);
        assert!(paths("zebra").is_empty());
        assert!(search(&documents, " *\" ", 1).is_err());
    }

    #[test]
    fn a_snippet_is_a_short_visible_line() {
        let text = format!("pets\n\u{1b}[2J {}", "x".repeat(5000));
        let documents = [Document { path: "a.md".into(), title: "a".into(), text }];
        let found = search(&documents, "pets", 1).expect("searched");
        let snippet = &found[0].snippet;
        assert!(snippet.contains("**pets**") && snippet.chars().count() <= LONGEST, "{snippet}");
        assert!(!snippet.chars().any(char::is_control), "{snippet}");
    }
}
