//! What is wrong with a filter, and where.

use std::fmt;
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use crate::error::Kind;

/// Columns of a line that shows the text of a filter.
const WIDTH: usize = 100;

/// A place in the text of a filter, in bytes.
pub type Span = Range<usize>;

/// Why a text is no filter, or none for these columns.
///
/// Printed with the line it is about, and a caret below the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub message: String,
    pub span: Span,
    /// The name that is no column of the version, where that is what is wrong.
    pub unknown: Option<String>,
    /// The whole filter; empty until [`Error::in_text`].
    text: String,
}

/// Most of what this module returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, unknown: None, text: String::new() }
    }

    /// That `name` is no column.
    #[must_use]
    pub fn of_unknown(self, name: &str) -> Self {
        Self { unknown: Some(name.to_owned()), ..self }
    }

    /// The same, with more at the end of its message.
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        Self { message: self.message + hint, ..self }
    }

    /// The same, with the text that its span is of.
    #[must_use]
    pub fn in_text(self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self }
    }
}

impl std::error::Error for Error {}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(Kind::Invalid, error)
    }
}

/// The message; where the text is known, two more lines: some of it, and carets.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names in it are a stranger's, and a line of its own would look like ours.
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        f.write_str(&self.message.chars().map(shown).collect::<String>())?;
        if self.text.is_empty() {
            return Ok(());
        }
        let (line, before, marked) = excerpt(&self.text, &self.span);
        write!(f, "\n  {line}\n  {}{}", " ".repeat(before), "^".repeat(marked))
    }
}

/// As much of the text as a line takes, the columns before the place, and those of the place.
fn excerpt(text: &str, span: &Span) -> (String, usize, usize) {
    let start = boundary(text, span.start);
    let end = boundary(text, span.end).max(start);
    let widths = |part: &str| part.chars().map(width).sum::<usize>();
    // Where all does not fit, the place begins a third into the line.
    let mut from = 0;
    if widths(text) > WIDTH {
        let mut room = WIDTH / 3;
        from = start;
        for (at, c) in text[..start].char_indices().rev() {
            let Some(less) = room.checked_sub(width(c)) else { break };
            (room, from) = (less, at);
        }
    }
    let mut line = String::new();
    let mut used = 0;
    for c in text[from..].chars() {
        used += width(c);
        if used > WIDTH {
            break;
        }
        // One that takes no column of its own could turn the line round.
        line.push(if c.is_control() { ' ' } else { c });
    }
    let before = widths(&text[from..start]);
    let marked = widths(&text[start..end]).max(1).min((WIDTH + 1).saturating_sub(before).max(1));
    (line, before, marked)
}

/// The last place between two characters that is not past `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn width(c: char) -> usize {
    if c.is_control() { 1 } else { c.width().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Span) -> String {
        Error::new(span, "here").in_text(text).to_string()
    }

    #[test]
    fn carets_stand_below_the_place() {
        assert_eq!(shown("a > bb", 4..6), "here\n  a > bb\n      ^^");
        assert_eq!(shown("a >", 3..3), "here\n  a >\n     ^");
        assert_eq!(shown("\u{65e5} = bb", 6..8), "here\n  \u{65e5} = bb\n       ^^");
        assert_eq!(shown("a\n= b", 4..5), "here\n  a = b\n      ^");
    }

    #[test]
    fn a_long_text_is_cut_around_the_place() {
        let text = format!("{} bad {}", "a".repeat(500), "b".repeat(500));
        let shown = shown(&text, 501..504);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].len(), WIDTH + 2);
        let caret = lines[2].find('^').expect("a caret");
        assert_eq!(&lines[1][caret..caret + 3], "bad");
        assert!(!Error::new(0..5000, "x").in_text(&text).to_string().is_empty());
    }
}
