//! Splits text into tokens with their positions.
//!
//! U+2215, the division slash, means `/` everywhere, because a directory name cannot hold `/`. In a
//! string, a doubled quote is one quote, and `\u` with four hexadecimal digits is that character:
//! `\u2215` is U+2215 itself. No other backslash is special, because regular expressions are full
//! of them.

use super::error::{Error, Result, Span};

/// The longest text, in bytes.
pub const LONGEST: usize = 64 << 10;

/// The most tokens.
pub const MOST_TOKENS: usize = 4096;

/// The character that replaces `/` in a name.
pub const SLASH: char = '\u{2215}';

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A bare dotted name, or a keyword.
    Word(String),
    /// A name in backquotes.
    Quoted(String),
    Text(String),
    /// Digits alone.
    Int(u64),
    Real(f64),
    /// Punctuation.
    Sign(&'static str),
    /// Letters, digits and points that are valid only as part of a bare word: `3abc`, `a.`.
    Scrap,
    /// Follows the last token.
    End,
}

/// A token and its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Lexeme {
    pub token: Token,
    pub span: Span,
}

/// Operators and punctuation, longer ones first.
const SIGNS: [&str; 20] = [
    "==", "!=", "<>", "<=", ">=", "||", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]",
    ",", ".",
];

/// The tokens of `text`, with [`Token::End`] at the end.
pub fn tokens(text: &str) -> Result<Vec<Lexeme>> {
    if text.len() > LONGEST {
        let message = format!("a filter has at most {LONGEST} bytes; this one has {}", text.len());
        return Err(Error::new(0..0, message));
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.space();
        let start = lexer.at;
        let token = lexer.token()?;
        let span = start..lexer.at;
        if found.len() == MOST_TOKENS {
            let message = format!("a filter has at most {MOST_TOKENS} words and signs");
            return Err(Error::new(span, message));
        }
        let is_end = token == Token::End;
        found.push(Lexeme { token, span });
        if is_end {
            return Ok(found);
        }
    }
}

/// Whether a name may begin with the character.
pub fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// Whether a name may continue with the character.
pub fn continues_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Lexer<'t> {
    text: &'t str,
    /// The offset of the next byte.
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn skip(&mut self, is_in: impl Fn(char) -> bool) {
        self.at = self.text.len() - self.rest().trim_start_matches(is_in).len();
    }

    fn token(&mut self) -> Result<Token> {
        let Some(c) = self.peek() else { return Ok(Token::End) };
        let starts_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        match c {
            '"' | '\'' => self.string(c).map(Token::Text),
            '`' => self.quoted(),
            SLASH => {
                self.at += SLASH.len_utf8();
                Ok(Token::Sign("/"))
            }
            '.' if starts_number(&self.rest()[1..]) => Ok(self.number()),
            _ if c.is_ascii_digit() => Ok(self.number()),
            _ if begins_word(c) => Ok(self.word()),
            _ if continues_word(c) => {
                self.skip(continues_word);
                Ok(Token::Scrap)
            }
            _ => self.sign(c),
        }
    }

    fn sign(&mut self, c: char) -> Result<Token> {
        let Some(sign) = SIGNS.into_iter().find(|sign| self.rest().starts_with(sign)) else {
            let span = self.at..self.at + c.len_utf8();
            return Err(Error::new(span, format!("`{c}` means nothing here{}", instead(c))));
        };
        self.at += sign.len();
        Ok(Token::Sign(sign))
    }

    /// Names joined by points.
    fn word(&mut self) -> Token {
        let start = self.at;
        loop {
            self.skip(continues_word);
            let after = self.rest().strip_prefix('.');
            if !after.is_some_and(|after| after.starts_with(begins_word)) {
                return Token::Word(self.text[start..self.at].to_owned());
            }
            self.at += 1;
        }
    }

    fn number(&mut self) -> Token {
        let start = self.at;
        let digit = |c: char| c.is_ascii_digit();
        self.skip(digit);
        let whole = self.at;
        if self.rest().starts_with('.') {
            self.at += 1;
            self.skip(digit);
        }
        let exponent = self.rest().strip_prefix(['e', 'E']);
        let exponent = exponent.map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        if let Some(digits) = exponent.filter(|rest| rest.starts_with(digit)) {
            self.at = self.text.len() - digits.len();
            self.skip(digit);
        }
        let text = &self.text[start..self.at];
        if self.rest().starts_with(continues_word) {
            self.skip(continues_word);
            return Token::Scrap;
        }
        if self.at == whole
            && let Ok(number) = text.parse()
        {
            return Token::Int(number);
        }
        text.parse().map_or(Token::Scrap, Token::Real)
    }

    /// The text between two of `quote`; a doubled quote inside is one quote.
    fn between(&mut self, quote: char) -> Result<&'t str> {
        let start = self.at;
        self.at += 1;
        loop {
            let Some(end) = self.rest().find(quote) else {
                let message = format!("this {quote} is never closed");
                return Err(Error::new(start..self.text.len(), message));
            };
            self.at += end + 1;
            if !self.rest().starts_with(quote) {
                return Ok(&self.text[start + 1..self.at - 1]);
            }
            self.at += 1;
        }
    }

    fn quoted(&mut self) -> Result<Token> {
        let start = self.at;
        let name = self.between('`')?.replace("``", "`").replace(SLASH, "/");
        if name.is_empty() {
            return Err(Error::new(start..self.at, "a column's name cannot be empty"));
        }
        Ok(Token::Quoted(name))
    }

    fn string(&mut self, quote: char) -> Result<String> {
        let raw = self.between(quote)?;
        let doubled: String = [quote, quote].iter().collect();
        let plain = raw.replace(&doubled, quote.encode_utf8(&mut [0; 4])).replace(SLASH, "/");
        Ok(unescape(&plain))
    }
}

/// Replaces `\uXXXX`. A code that is not a character stays as it is.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let digits = after.get(2..6).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match code.and_then(char::from_u32) {
            Some(c) => {
                out.push(c);
                rest = &after[6..];
            }
            None => {
                out.push_str("\\u");
                rest = &after[2..];
            }
        }
    }
    out + rest
}

/// The spelling here of an operator of other languages, for a message.
const fn instead(c: char) -> &'static str {
    match c {
        '&' => "; write `and`",
        '|' => "; write `or`",
        '!' => "; write `not`, and `!=` for not equal",
        '~' => "; write `regexp`",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Token> {
        let found = tokens(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        found.into_iter().map(|lexeme| lexeme.token).take_while(|t| *t != Token::End).collect()
    }

    fn word(text: &str) -> Token {
        Token::Word(text.into())
    }

    fn text(text: &str) -> Token {
        Token::Text(text.into())
    }

    #[test]
    fn reads_words_numbers_and_signs() {
        use Token::{Int, Real, Scrap, Sign};
        let cases = [
            ("info.width>400", vec![word("info.width"), Sign(">"), Int(400)]),
            (
                "a<=b<>c||d",
                vec![
                    word("a"),
                    Sign("<="),
                    word("b"),
                    Sign("<>"),
                    word("c"),
                    Sign("||"),
                    word("d"),
                ],
            ),
            (
                "1 1.5 .5 2. 1e3 1.5E-2",
                vec![Int(1), Real(1.5), Real(0.5), Real(2.0), Real(1e3), Real(0.015)],
            ),
            ("18446744073709551615", vec![Int(u64::MAX)]),
            ("18446744073709551616", vec![Real(18_446_744_073_709_551_616.0)]),
            ("1e999", vec![Real(f64::INFINITY)]),
            ("3abc 1ex", vec![Scrap, Scrap]),
            ("a.b.c a. a.1", vec![word("a.b.c"), word("a"), Sign("."), word("a"), Real(0.1)]),
            ("`my col`.x", vec![Token::Quoted("my col".into()), Sign("."), word("x")]),
            ("`a``b`", vec![Token::Quoted("a`b".into())]),
            ("a\u{2215}b", vec![word("a"), Sign("/"), word("b")]),
            ("\u{e9}t\u{e9} _x", vec![word("\u{e9}t\u{e9}"), word("_x")]),
            (" \t\n", vec![]),
        ];
        for (source, want) in cases {
            assert_eq!(kinds(source), want, "{source}");
        }
    }

    #[test]
    fn reads_strings() {
        let cases = [
            (r#""a""b" 'c''d' "e'f""#, vec![text("a\"b"), text("c'd"), text("e'f")]),
            (r#""""#, vec![text("")]),
            (r#""a\d\n""#, vec![text(r"a\d\n")]),
            (r#""\u2215" "\u0000""#, vec![text("\u{2215}"), text("\0")]),
            (r#""\u221" "\ud800" "\\u0041""#, vec![text(r"\u221"), text(r"\ud800"), text(r"\A")]),
            ("\"a\u{2215}b\"", vec![text("a/b")]),
        ];
        for (source, want) in cases {
            assert_eq!(kinds(source), want, "{source}");
        }
    }

    #[test]
    fn says_what_it_cannot_read() {
        let cases = [
            ("a = \"b", 4..6, "this \" is never closed"),
            ("`x", 0..2, "this ` is never closed"),
            ("a = ``", 4..6, "a column's name cannot be empty"),
            ("a ; b", 2..3, "`;` means nothing here"),
            ("a\0", 1..2, "`\0` means nothing here"),
            ("a && b", 2..3, "`&` means nothing here; write `and`"),
            ("a | b", 2..3, "`|` means nothing here; write `or`"),
            ("!a", 0..1, "`!` means nothing here; write `not`, and `!=` for not equal"),
            ("a =~ b", 3..4, "`~` means nothing here; write `regexp`"),
        ];
        for (source, span, message) in cases {
            let error = tokens(source).expect_err(source);
            assert_eq!((error.span, error.message.as_str()), (span, message), "{source}");
        }
        assert!(tokens(&"x".repeat(LONGEST + 1)).is_err());
        assert!(tokens(&"(".repeat(MOST_TOKENS + 1)).is_err());
    }
}
