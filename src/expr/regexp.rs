//! Regular expressions as Python's `re.search` reads them.
//!
//! A pattern is first written as the crate `regex` reads it, which matches in linear time; what that
//! cannot say (looking around, references back) goes to `fancy-regex`, whose steps are counted. The
//! differences that are made good: `$` also stands before a last newline, `\Z` is the very end, `\w`
//! and `\s` hold Python's characters, braces and brackets that repeat or open nothing are literal.

use regex::bytes::{Regex, RegexBuilder};

/// Steps of a search that has to go back and forth, in one text.
const STEPS: usize = 1_000_000;

/// Bytes of a compiled pattern.
const SIZE: usize = 4 << 20;

/// Python's word characters, for the inside of a class.
const WORD: &str = r"\p{L}\p{N}_";

/// Python's white space, for the inside of a class: four separators more than Unicode's.
const SPACE: &str = r"\s\x1c-\x1f";

/// A pattern, ready.
#[derive(Clone, Debug)]
pub enum Regexp {
    Linear(Regex),
    Counted(Box<fancy_regex::Regex>),
}

/// A search that took [`STEPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySteps;

impl Regexp {
    /// # Errors
    /// What is wrong with the pattern, in words.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let written = Writer::of(pattern).write()?;
        if let Ok(regex) = RegexBuilder::new(&written).size_limit(SIZE).build() {
            return Ok(Self::Linear(regex));
        }
        let built = fancy_regex::RegexBuilder::new(&written)
            .backtrack_limit(STEPS)
            .delegate_size_limit(SIZE)
            .build();
        match built {
            Ok(regex) => Ok(Self::Counted(Box::new(regex))),
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim().to_lowercase();
                Err(format!("this regular expression cannot be read: {reason}"))
            }
        }
    }

    /// Whether it is found anywhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> Result<bool, TooManySteps> {
        match self {
            Self::Linear(regex) => Ok(regex.is_match(text)),
            Self::Counted(regex) => {
                regex.is_match(&*String::from_utf8_lossy(text)).map_err(|_| TooManySteps)
            }
        }
    }
}

/// Writes a pattern of Python anew.
struct Writer<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    out: String,
    /// Whether `^` and `$` stand at lines, anywhere in the pattern.
    lines: bool,
}

impl<'p> Writer<'p> {
    fn of(pattern: &'p str) -> Self {
        Self { rest: pattern.chars().peekable(), out: String::new(), lines: has_lines(pattern) }
    }

    fn write(mut self) -> Result<String, String> {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => self.brace(),
                '}' => self.out.push_str("\\}"),
                '$' if !self.lines => self.end(),
                _ => self.out.push(c),
            }
        }
        Ok(self.out)
    }

    /// `$`: the end, or before a newline that ends the text.
    fn end(&mut self) {
        let is_last = matches!(self.rest.peek(), None | Some('|' | ')'));
        self.out.push_str(if is_last { r"(?:\n?\z)" } else { r"(?=\n?\z)" });
    }

    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let c = self.rest.next().ok_or("a regular expression cannot end with a backslash")?;
        let class = |inside: &str, negated: bool| match (in_class, negated) {
            (true, false) => inside.to_owned(),
            (_, true) => format!("[^{inside}]"),
            (false, false) => format!("[{inside}]"),
        };
        match c {
            'w' => self.out += &class(WORD, false),
            'W' => self.out += &class(WORD, true),
            's' => self.out += &class(SPACE, false),
            'S' => self.out += &class(SPACE, true),
            'Z' if !in_class => self.out.push_str(r"\z"),
            'b' if in_class => self.out.push_str(r"\x08"),
            '0' => self.out.push_str(r"\x00"),
            'd'
            | 'D'
            | 'A'
            | 'b'
            | 'B'
            | 'a'
            | 'f'
            | 'n'
            | 'r'
            | 't'
            | 'v'
            | 'x'
            | 'u'
            | 'U'
            | '1'..='9' => self.out.extend(['\\', c]),
            _ if c.is_alphanumeric() && c.is_ascii() => {
                return Err(format!("`\\{c}` means nothing in a regular expression"));
            }
            _ => self.literal(c),
        }
        Ok(())
    }

    fn literal(&mut self, c: char) {
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// `[...]`, in which Python knows neither classes in classes nor `&&`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            match self.rest.next() {
                None => return Err("a `[` of the regular expression is never closed".into()),
                Some(']') if !is_first => break,
                Some('\\') => self.escape(true)?,
                Some('-') if !is_first && self.rest.peek().is_some_and(|c| *c != ']') => {
                    self.out.push('-');
                }
                Some(c) => self.literal(c),
            }
            is_first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// What begins with `(`: comments go, flags must be known.
    fn group(&mut self) -> Result<(), String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('?') {
            self.out.push('(');
            return Ok(());
        }
        if ahead.peek() == Some(&'#') {
            return match self.rest.by_ref().any(|c| c == ')') {
                true => Ok(()),
                false => Err("a comment of the regular expression is never closed".into()),
            };
        }
        let flags: String = ahead.take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
        if let Some(flag) = flags.chars().find(|c| matches!(c, 'a' | 'L')) {
            let is_flags = flags.chars().all(|c| "aiLmsux-".contains(c));
            if is_flags {
                return Err(format!("the flag `{flag}` of regular expressions is not known here"));
            }
        }
        self.out.push('(');
        Ok(())
    }

    /// `{2,3}` repeats; any other brace is itself.
    fn brace(&mut self) {
        let inside: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let is_closed = self.rest.clone().nth(inside.chars().count()) == Some('}');
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let repeats = match inside.split_once(',') {
            Some((least, most)) => digits(least) && digits(most) && inside.len() > 1,
            None => digits(&inside) && !inside.is_empty(),
        };
        if !is_closed || !repeats {
            return self.out.push_str("\\{");
        }
        let zero = if inside.starts_with(',') { "0" } else { "" };
        self.out += &format!("{{{zero}{inside}}}");
        self.rest.nth(inside.chars().count());
    }
}

/// Whether a group of flags asks for lines.
fn has_lines(pattern: &str) -> bool {
    pattern.match_indices("(?").any(|(at, _)| {
        let flags = pattern[at + 2..].chars().take_while(char::is_ascii_alphabetic);
        flags.collect::<String>().contains('m')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> bool {
        let regexp = Regexp::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        regexp.is_match(text.as_bytes()).expect("few steps")
    }

    /// What Python 3.13 answers to `re.search(pattern, text) is not None`.
    #[test]
    fn finds_what_python_finds() {
        let cases = [
            ("b+", "abbc", true),
            ("^b", "ab", false),
            ("b$", "ab\n", true),
            ("b$", "ab\n\n", false),
            (r"b\Z", "ab\n", false),
            ("(b$|x)", "b\n", true),
            ("b$\n", "b\n", true),
            ("(?m)^b$", "a\nb\nc", true),
            ("(?i)\u{c9}t", "\u{e9}T", true),
            (r"\w", "\u{b2}", true),
            (r"^\w$", "\u{301}", false),
            (r"\s", "\x1c", true),
            ("[[]", "[", true),
            ("[]a]", "]", true),
            ("[^]a]", "]", false),
            ("[a&&b]", "&", true),
            ("[+--]", ",", true),
            ("[a-]", "-", true),
            (r"[\w-]", "-", true),
            (r"[\S]", "\x1c", false),
            ("a{,2}b", "aab", true),
            ("^a{,1}b", "aab", false),
            ("a{x", "a{x", true),
            ("a{}", "a{}", true),
            ("}", "}", true),
            (r"(a)\1", "aa", true),
            (r"(a)\1", "ab", false),
            ("a(?=b)", "ab", true),
            ("(?<!a)b", "ab", false),
            ("a(?#no)b", "ab", true),
            ("(?P<n>a)(?P=n)", "aa", true),
            ("a.c", "a\nc", false),
            ("(?s)a.c", "a\nc", true),
            ("", "", true),
            (r"\.jpg", "ajpg", false),
            (r"\/", "/", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(found(pattern, text), want, "{pattern:?} in {text:?}");
        }
    }

    #[test]
    fn says_what_it_cannot_read() {
        for pattern in ["(", "[a", "*", "a\\", r"\q", "(?a)x", "(?#"] {
            assert!(Regexp::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_search_without_end_ends() {
        let text = "a".repeat(5000);
        let linear = Regexp::new("(a+)+b").expect("a pattern");
        assert!(linear.is_match(text.as_bytes()).is_ok_and(|found| !found));
        let counted = Regexp::new(r"(a+)+\1b(?=c)").expect("a pattern");
        assert_eq!(counted.is_match(text.as_bytes()), Err(TooManySteps));
    }
}
