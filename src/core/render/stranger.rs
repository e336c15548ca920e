//! Makes text of strangers safe for its destination: one function for pages, one for terminals.
//!
//! People, programs that render Markdown, and language models read a page. A stranger's text on it
//! stays plain words in its place: it makes no heading, list, rule, code, table, link or HTML, and
//! contains no invisible character. A terminal obeys control characters, and some marks reverse the
//! direction of text; for terminals they are shown as escapes.

/// Whether `c` is invisible: control characters, bidirectional marks, and what Unicode calls
/// default ignorable (zero width, fillers, tags, variation selectors), in which text can be hidden
/// from readers.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Whether `c` misleads a terminal or its reader. Joiners and emoji variation selectors are left
/// alone, and so are line breaks and tabs.
pub fn is_obeyed(c: char) -> bool {
    is_hidden(c)
        && !matches!(c, '\n' | '\t' | '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// `text` for a terminal: characters that it would obey are shown as escapes.
pub fn on_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// `text` as one line of at most `most` characters: invisible characters and line breaks are shown
/// as escapes.
pub fn visible(text: &str, most: usize) -> String {
    // A stranger's text may be megabytes: only the part that can be shown is read.
    cut(text.chars().take(most + 1).map(shown).collect(), most)
}

fn cut(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    kept + "..."
}

/// One character, as an escape if it is invisible.
pub fn shown(c: char) -> String {
    match c {
        '\n' => "\\n".into(),
        '\t' => "\\t".into(),
        '\r' => "\\r".into(),
        _ if is_hidden(c) => c.escape_unicode().to_string(),
        _ => c.into(),
    }
}

/// Escapes `text`, which is one visible line, for a Markdown page.
///
/// Escapes the characters that are special everywhere, and others where they are: `-`, `+`, `=`,
/// and `.` or `)` after a number at the beginning of a line; also those that turn an address into a
/// link without any mark-up.
pub fn on_page(text: &str) -> String {
    let chars: Vec<char> = text.trim().chars().collect();
    let first_word = chars.iter().take_while(|c| c.is_ascii_digit()).count();
    let mut out = String::with_capacity(text.len() + 8);
    for (at, &c) in chars.iter().enumerate() {
        let next = chars.get(at + 1).copied();
        let means_something = match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' | '$' | '!' => {
                true
            }
            '-' | '+' | '=' => at == 0,
            ')' => at == first_word && at > 0,
            '.' => {
                at == first_word && at > 0 && next.is_none_or(char::is_whitespace)
                    || ends_with(&chars[..at], "www")
                    || next.is_some_and(char::is_alphabetic) && is_host(&chars, at)
            }
            ':' => next == Some('/') || ends_with(&chars[..at], "mailto"),
            '@' => next.is_some_and(char::is_alphabetic) || is_mail(&chars, at),
            _ => false,
        };
        // GitHub turns an email address into a link whatever is escaped in it, but not two words.
        if c == '@' && means_something && at > 0 && !chars[at - 1].is_whitespace() {
            out.push(' ');
        }
        if means_something {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn ends_with(chars: &[char], word: &str) -> bool {
    let count = word.len();
    chars.len() >= count
        && chars[chars.len() - count..]
            .iter()
            .zip(word.chars())
            .all(|(c, w)| c.to_ascii_lowercase() == w)
}

/// Whether the `@` at `at` may be that of an email address: the word after it has a dot and ends in
/// a letter. A version, as in `pets@1.0.0`, ends in a digit.
fn is_mail(chars: &[char], at: usize) -> bool {
    let is_part = |c: &&char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let word: Vec<&char> = chars[at + 1..].iter().take_while(is_part).collect();
    let last = word.iter().rev().find(|c| c.is_alphanumeric());
    word.contains(&&'.') && last.is_some_and(|c| c.is_alphabetic())
}

/// Whether the dot at `at` may be that of a host such as `evil.example`: the word ends after it, or
/// a path begins.
fn is_host(chars: &[char], at: usize) -> bool {
    let rest = &chars[at + 1..];
    let letters = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '-').count();
    letters >= 2 && rest.get(letters).is_some_and(|c| matches!(c, '/' | ':' | '?'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_stay_words() {
        let cases = [
            ("plain name-1.0", "plain name-1.0"),
            ("Photos (2024). All: mine", "Photos (2024). All: mine"),
            ("    indented code", "indented code"),
            ("- item", "\\- item"),
            ("+ item", "\\+ item"),
            ("===", "\\==="),
            ("1. item", "1\\. item"),
            ("12) item", "12\\) item"),
            ("# x", "\\# x"),
            ("see https://evil.example/?q=1", "see https\\://evil\\.example/?q=1"),
            ("www.evil.example", "www\\.evil.example"),
            ("mail me@evil.example", "mail me \\@evil.example"),
            ("me@1evil.example", "me \\@1evil.example"),
            ("mailto:me@evil", "mailto\\:me \\@evil"),
            ("pets@1.0.0", "pets@1.0.0"),
            ("<b onclick=x>&amp;", "\\<b onclick=x\\>\\&amp;"),
        ];
        for (raw, want) in cases {
            assert_eq!(on_page(raw), want, "{raw}");
        }
    }

    #[test]
    fn nothing_is_hidden() {
        let hidden = "\u{e0049}\u{e0001}\u{61c}\u{202e}\u{2066}\u{200b}\u{feff}\u{fe01}\u{e0101}\u{3164}\u{115f}\u{7f}\u{85}";
        for c in hidden.chars() {
            assert!(is_hidden(c), "{}", c.escape_unicode());
            assert!(!visible(&c.to_string(), 100).contains(c));
        }
        for c in "a \u{e9}\u{1f436}\u{4e2d}\u{5d0}\u{301}".chars() {
            assert!(!is_hidden(c), "{}", c.escape_unicode());
        }
    }

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        let cases = [
            ("plain \u{e9} \u{1f436}\n\tx", "plain \u{e9} \u{1f436}\n\tx"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("a\rb\u{202e}c\u{85}\u{e0041}", "a\\u{d}b\\u{202e}c\\u{85}\\u{e0041}"),
            (
                "\u{1f468}\u{200d}\u{1f33e} \u{2764}\u{fe0f}",
                "\u{1f468}\u{200d}\u{1f33e} \u{2764}\u{fe0f}",
            ),
        ];
        for (text, safe) in cases {
            assert_eq!(on_terminal(text), safe, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_never_longer_than_asked(raw in ".*", most in 3..200_usize) {
            prop_assert!(visible(&raw, most).chars().count() <= most);
            prop_assert!(!visible(&raw, most).chars().any(is_hidden));
        }
    }
}
