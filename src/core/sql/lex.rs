//! Splits SQL into tokens with their positions; gives them no meaning.

use std::ops::Range;

use crate::expr::Error;

/// The longest statement, in bytes: people write a few thousand, and the work grows with the
/// length.
pub const LONGEST: usize = 64 << 10;

/// The most tokens of a statement.
const MOST: usize = 16_384;

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare word: a keyword, or a name.
    Word,
    /// A name in double quotes or backquotes.
    Name,
    /// A string in single quotes, or a blob: `x'00'`.
    Text,
    Number,
    /// `@1.0.0` after the name of a dataset.
    Version,
    Sign,
}

/// A word or a sign, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub span: Range<usize>,
    /// A word as typed, a name or a string without its quotes, a sign.
    pub text: String,
}

impl Token {
    /// Whether it is this keyword, in any case.
    pub fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    /// Whether it may be a name.
    pub fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Name)
    }
}

/// The tokens of a statement, without comments and white space.
///
/// # Errors
/// An unterminated string, a parameter, or a statement that is too long.
pub fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    if text.len() > LONGEST {
        return Err(Error::new(0..0, format!("the statement is longer than {LONGEST} bytes")));
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let skipped = blank(rest, at)?;
        if skipped > 0 {
            at += skipped;
            continue;
        }
        if found.len() == MOST {
            let message = format!("the statement has more than {MOST} words and signs");
            return Err(Error::new(at..at, message));
        }
        let (kind, length, text) = token(rest, first, at)?;
        found.push(Token { kind, span: at..at + length, text });
        at += length;
    }
    Ok(found)
}

/// The length in bytes of white space, or of one comment, at the start.
fn blank(rest: &str, at: usize) -> Result<usize, Error> {
    if rest.starts_with("--") {
        return Ok(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        let open = || Error::new(at..at + 2, "the comment does not end; close it with `*/`");
        return rest.find("*/").map(|end| end + 2).ok_or_else(open);
    }
    Ok(rest.len() - rest.trim_start().len())
}

fn token(rest: &str, first: char, at: usize) -> Result<(Kind, usize, String), Error> {
    match first {
        '\'' => quoted(rest, at).map(|(length, text)| (Kind::Text, length, text)),
        '"' | '`' => quoted(rest, at).map(|(length, text)| (Kind::Name, length, text)),
        'x' | 'X' if rest[1..].starts_with('\'') => {
            let (length, text) = quoted(&rest[1..], at + 1)?;
            Ok((Kind::Text, length + 1, text))
        }
        '0'..='9' => Ok(taken(Kind::Number, rest, number(rest))),
        '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            Ok(taken(Kind::Number, rest, number(rest)))
        }
        '@' => version(rest, at),
        '?' | ':' | '$' | '#' => Err(Error::new(
            at..at + 1,
            format!("`{first}` has no meaning here; write the value itself"),
        )),
        c if is_word(c) => {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            Ok(taken(Kind::Word, rest, length))
        }
        _ => {
            let two = ["||", "<=", ">=", "<>", "!=", "==", "<<", ">>", "->"];
            let length = match rest.starts_with("->>") {
                true => 3,
                false if two.iter().any(|sign| rest.starts_with(sign)) => 2,
                false => first.len_utf8(),
            };
            Ok(taken(Kind::Sign, rest, length))
        }
    }
}

fn taken(kind: Kind, rest: &str, length: usize) -> (Kind, usize, String) {
    (kind, length, rest[..length].to_owned())
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The length in bytes of a number: digits, a point, an exponent with its sign, hexadecimal digits.
fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let is_sign = matches!(byte, b'+' | b'-')
            && matches!(bytes.get(end.wrapping_sub(1)), Some(b'e' | b'E'))
            && !rest.starts_with("0x");
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || is_sign) {
            break;
        }
        end += 1;
    }
    end
}

/// A quoted text, whose quotes are doubled inside: its length in bytes with them, and the text.
fn quoted(rest: &str, at: usize) -> Result<(usize, String), Error> {
    let quote = &rest[..1];
    let mut from = 1;
    while let Some(found) = rest[from..].find(quote) {
        let end = from + found + 1;
        if !rest[end..].starts_with(quote) {
            let text = rest[1..end - 1].replace(&quote.repeat(2), quote);
            return Ok((end, text));
        }
        from = end + 1;
    }
    Err(Error::new(at..at + 1, format!("the quote does not end; close it with {quote}")))
}

/// `@1.0.0`, `@latest`.
fn version(rest: &str, at: usize) -> Result<(Kind, usize, String), Error> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let length = 1 + rest[1..].find(|c| !is_part(c)).unwrap_or(rest.len() - 1);
    if length == 1 {
        return Err(Error::new(at..at + 1, "expected a version after `@`, e.g. `pets@1.0.0`"));
    }
    Ok((Kind::Version, length, rest[1..length].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_statement_apart() {
        let found =
            tokens("select a.\"b\"\"c\", 'it''s' -- no\nfrom pets@1.0.0 /* x */ p where x>=1.5e-3");
        let found: Vec<String> =
            found.expect("sound").iter().map(|t| format!("{:?}:{}", t.kind, t.text)).collect();
        let want = "Word:select Word:a Sign:. Name:b\"c Sign:, Text:it's Word:from Word:pets Version:1.0.0 Word:p \
                    Word:where Word:x Sign:>= Number:1.5e-3";
        assert_eq!(found.join(" "), want);
    }

    #[test]
    fn says_what_does_not_end() {
        for (text, message) in [
            ("select 'a", "the quote does not end"),
            ("select /* a", "the comment does not end"),
            ("select ?", "has no meaning"),
            ("select * from pets@", "expected a version"),
        ] {
            let error = tokens(text).expect_err(text);
            assert!(error.to_string().contains(message), "{error}");
        }
        assert!(tokens(&"x".repeat(LONGEST + 1)).is_err());
    }
}
