//! Errors in a filter, with their position.

use std::fmt;
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use crate::error::Kind;

/// The width, in columns, of the line that shows the text of a filter.
const WIDTH: usize = 100;

/// A range in the text of a filter, in bytes.
pub type Span = Range<usize>;

/// Why a text is not a filter, or not one over these columns.
///
/// Prints with the line it concerns, and carets below the span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub message: String,
    pub span: Span,
    /// The name that is not a column of the version, if that is the error.
    pub unknown: Option<String>,
    /// The whole filter; empty until [`Error::in_text`].
    text: String,
}

/// The result type of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, unknown: None, text: String::new() }
    }

    /// Marks `name` as an unknown column.
    #[must_use]
    pub fn of_unknown(self, name: &str) -> Self {
        Self { unknown: Some(name.to_owned()), ..self }
    }

    /// Appends `hint` to the message.
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        Self { message: self.message + hint, ..self }
    }

    /// Attaches the text that the span refers to.
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

/// The message; if the text is known, followed by two lines: an excerpt, and carets.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names come from strangers, and a line break in one could forge a line of ours.
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        f.write_str(&self.message.chars().map(shown).collect::<String>())?;
        if self.text.is_empty() {
            return Ok(());
        }
        let (line, before, marked) = excerpt(&self.text, &self.span);
        write!(f, "\n  {line}\n  {}{}", " ".repeat(before), "^".repeat(marked))
    }
}

/// An excerpt that fits one line, the columns before the span, and the columns of the span.
fn excerpt(text: &str, span: &Span) -> (String, usize, usize) {
    let start = boundary(text, span.start);
    let end = boundary(text, span.end).max(start);
    let widths = |part: &str| part.chars().map(width).sum::<usize>();
    // If the text does not fit, the span begins a third into the line.
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
        // A zero-width character could reverse the direction of the line.
        line.push(if c.is_control() { ' ' } else { c });
    }
    let before = widths(&text[from..start]);
    let marked = widths(&text[start..end]).max(1).min((WIDTH + 1).saturating_sub(before).max(1));
    (line, before, marked)
}

/// The last character boundary at or before `at`.
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
