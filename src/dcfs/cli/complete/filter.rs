//! Completion of a half-typed filter: columns, and after a comparison the values of a column. Pure.
//!
//! A shell completes whole words, and a quoted filter is one word: candidates repeat the text typed before.

/// The position in a filter to complete at.
#[derive(Debug, PartialEq, Eq)]
pub struct Place<'t> {
    /// The text to keep.
    pub before: &'t str,
    /// The beginning of the word, as typed.
    pub word: &'t str,
    /// The column whose values are possible here; `None` if a column is expected.
    pub column: Option<&'t str>,
}

/// Operators between a column and a value.
const OPERATORS: [&str; 9] = ["=", "==", "!=", "<>", "in", "like", "ilike", "glob", "between"];

/// Analyses the text typed so far.
pub fn place(typed: &str) -> Place<'_> {
    let start = match open_quote(typed) {
        Some(quote) => quote,
        None => typed
            .rfind(|c| !is_of_word(c))
            .map_or(0, |at| at + typed[at..].chars().next().map_or(1, char::len_utf8)),
    };
    let (before, word) = typed.split_at(start);
    Place { before, word, column: compared(before) }
}

/// The position of a quote that is not closed.
fn open_quote(typed: &str) -> Option<usize> {
    let mut open: Option<(usize, char)> = None;
    for (at, c) in typed.char_indices().filter(|(_, c)| ['"', '\''].contains(c)) {
        open = match open {
            Some((_, quote)) if quote == c => None,
            Some(open) => Some(open),
            None => Some((at, c)),
        };
    }
    open.map(|(at, _)| at)
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || ['_', '.', '-', '[', ']'].contains(&c)
}

/// The column of a comparison at the end of `before`: `label = `, `label in (pug, `.
fn compared(before: &str) -> Option<&str> {
    let before = match before.rfind('(') {
        // For an open list, the text before it.
        Some(open) if !before[open..].contains(')') => {
            Some(&before[..open]).filter(|text| text.trim_end().ends_with(" in"))?
        }
        _ => before,
    };
    let before = before.trim_end();
    let operator = OPERATORS.iter().filter(|operator| {
        before.strip_suffix(**operator).is_some_and(|rest| {
            // `min` does not end with the operator `in`.
            !operator.starts_with(char::is_alphabetic) || rest.ends_with(' ')
        })
    });
    let operator = operator.max_by_key(|operator| operator.len())?;
    let rest = before[..before.len() - operator.len()].trim_end();
    let rest = rest.strip_suffix(" not").map_or(rest, str::trim_end);
    let start = rest
        .rfind(|c| !is_of_word(c))
        .map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
    Some(&rest[start..]).filter(|column| !column.is_empty())
}

/// A text as a filter value: bare if possible, else quoted.
pub fn quoted(text: &str) -> String {
    let is_bare = text.starts_with(char::is_alphabetic)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ['_', '-'].contains(&c));
    match is_bare {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_typed_and_of_what() {
        let cases = [
            ("", "", "", None),
            ("inf", "", "inf", None),
            ("info.width > 400 and la", "info.width > 400 and ", "la", None),
            ("label=pu", "label=", "pu", Some("label")),
            ("label = ", "label = ", "", Some("label")),
            ("a < 1 and label != \"pu", "a < 1 and label != ", "\"pu", Some("label")),
            ("label in (pug, be", "label in (pug, ", "be", Some("label")),
            ("label not in (", "label not in (", "", Some("label")),
            ("not (la", "not (", "la", None),
            ("min ", "min ", "", None),
            ("x in (a) and la", "x in (a) and ", "la", None),
            ("\u{e9}=\u{e9}", "\u{e9}=", "\u{e9}", Some("\u{e9}")),
        ];
        for (typed, before, word, column) in cases {
            assert_eq!(place(typed), Place { before, word, column }, "{typed}");
        }
    }

    #[test]
    fn values_are_written_as_filters_take_them() {
        let cases = [
            ("pug", "pug"),
            ("a-b", "a-b"),
            ("4", "\"4\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("", "\"\""),
        ];
        for (text, want) in cases {
            assert_eq!(quoted(text), want, "{text}");
        }
    }
}
