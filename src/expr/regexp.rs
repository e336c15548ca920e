//! Regular expressions as Python's `re.search` reads them.
//!
//! A pattern is first written as the crate `regex` reads it, which matches in linear time; what that
//! cannot say (looking around, references back) goes to `fancy-regex`, whose steps are counted. The
//! differences that are made good: `$` also stands before a last newline, `\Z` is the very end, `\w`,
//! `\s` and `\b` know Python's characters, braces and brackets that repeat or open nothing are literal.

use regex::bytes::{Regex, RegexBuilder};

/// Steps of a search that has to go back and forth, in one text.
const STEPS: usize = 1_000_000;

/// Bytes of a compiled pattern.
const SIZE: usize = 4 << 20;

/// Python's word characters, for the inside of a class.
const WORD: &str = r"\p{L}\p{N}_";

/// Python's white space, for the inside of a class: four separators more than Unicode's.
const SPACE: &str = r"\s\x1c-\x1f";

/// Where a word begins or ends, by Python's word characters, and where not. `regex` has marks among
/// them: the accent of a letter that is written as two characters.
const EDGE: &str = r"(?:(?<=[\p{L}\p{N}_])(?![\p{L}\p{N}_])|(?<![\p{L}\p{N}_])(?=[\p{L}\p{N}_]))";
const NO_EDGE: &str =
    r"(?:(?<=[\p{L}\p{N}_])(?=[\p{L}\p{N}_])|(?<![\p{L}\p{N}_])(?![\p{L}\p{N}_]))";

/// A pattern, ready.
#[derive(Clone, Debug)]
pub enum Regexp {
    Linear(Regex),
    Counted(Box<fancy_regex::Regex>),
    /// For ASCII, and for other texts: one that asks where words begin or end.
    Either(Regex, Box<fancy_regex::Regex>),
}

/// A search that took [`STEPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySteps;

impl Regexp {
    /// # Errors
    /// What is wrong with the pattern, in words.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let plain = Writer::of(pattern, false).write()?;
        let linear = match plain.is_possessive {
            true => None,
            false => RegexBuilder::new(&plain.pattern).size_limit(SIZE).build().ok(),
        };
        match linear {
            Some(regex) if !plain.has_edges => Ok(Self::Linear(regex)),
            Some(regex) => Ok(Self::Either(regex, counted(pattern)?)),
            None => Ok(Self::Counted(counted(pattern)?)),
        }
    }

    /// Whether it is found anywhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> Result<bool, TooManySteps> {
        match self {
            Self::Linear(regex) => Ok(regex.is_match(text)),
            Self::Either(regex, _) if text.is_ascii() => Ok(regex.is_match(text)),
            Self::Counted(regex) | Self::Either(_, regex) => {
                regex.is_match(&*String::from_utf8_lossy(text)).map_err(|_| TooManySteps)
            }
        }
    }
}

/// The pattern with steps that are counted.
fn counted(pattern: &str) -> Result<Box<fancy_regex::Regex>, String> {
    let written = Writer::of(pattern, true).write()?;
    let built = fancy_regex::RegexBuilder::new(&written.pattern)
        .backtrack_limit(STEPS)
        .delegate_size_limit(SIZE)
        .build();
    built.map(Box::new).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().to_lowercase();
        format!("this regular expression cannot be read: {reason}")
    })
}

/// A pattern, written anew.
struct Written {
    pattern: String,
    /// Whether something repeats without giving back, as in `a*+`, which `regex` takes for `(a*)+`.
    is_possessive: bool,
    /// Whether it asks where words begin or end.
    has_edges: bool,
}

/// Writes a pattern of Python anew.
struct Writer<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    out: String,
    /// Whether `^` and `$` stand at lines, anywhere in the pattern.
    lines: bool,
    /// Whether the last thing written says how often the one before it comes.
    is_repeated: bool,
    is_possessive: bool,
    has_edges: bool,
    /// Whether what `regex` cannot say may be written.
    looks_around: bool,
}

impl<'p> Writer<'p> {
    fn of(pattern: &'p str, looks_around: bool) -> Self {
        Self {
            rest: pattern.chars().peekable(),
            out: String::new(),
            lines: has_lines(pattern),
            is_repeated: false,
            is_possessive: false,
            has_edges: false,
            looks_around,
        }
    }

    fn write(mut self) -> Result<Written, String> {
        while let Some(c) = self.rest.next() {
            let was_repeated = std::mem::take(&mut self.is_repeated);
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' if self.is_comment() => {
                    self.comment()?;
                    self.is_repeated = was_repeated;
                }
                '(' => self.group()?,
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.repeated(was_repeated)?;
                }
                '{' => match self.times() {
                    Some(times) => {
                        self.out += &times;
                        self.repeated(was_repeated)?;
                    }
                    None => self.out.push_str("\\{"),
                },
                '}' => self.out.push_str("\\}"),
                '$' if !self.lines => self.end(),
                _ => self.out.push(c),
            }
        }
        let Self { out: pattern, is_possessive, has_edges, .. } = self;
        Ok(Written { pattern, is_possessive, has_edges })
    }

    /// After what says how often: whether it gives back, and how.
    fn repeated(&mut self, was_repeated: bool) -> Result<(), String> {
        if was_repeated {
            return Err(
                "a regular expression cannot repeat what is repeated; put `(?:...)` around it"
                    .into(),
            );
        }
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        } else if self.rest.next_if_eq(&'+').is_some() {
            self.out.push('+');
            self.is_possessive = true;
        }
        self.is_repeated = true;
        Ok(())
    }

    fn is_comment(&self) -> bool {
        let mut ahead = self.rest.clone();
        ahead.next() == Some('?') && ahead.next() == Some('#')
    }

    fn comment(&mut self) -> Result<(), String> {
        match self.rest.by_ref().any(|c| c == ')') {
            true => Ok(()),
            false => Err("a comment of the regular expression is never closed".into()),
        }
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
            'b' | 'B' if !in_class => self.edge(c),
            '0' => self.out.push_str(r"\x00"),
            'd'
            | 'D'
            | 'A'
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

    /// `\b` and `\B`.
    fn edge(&mut self, c: char) {
        self.has_edges = true;
        match (self.looks_around, c) {
            (false, _) => self.out.extend(['\\', c]),
            (true, 'b') => self.out += EDGE,
            (true, _) => self.out += NO_EDGE,
        }
    }

    fn literal(&mut self, c: char) {
        if c.is_whitespace() {
            // Under the flag `x` only a code is no mere layout, in a class too.
            self.out += &format!(r"\x{{{:x}}}", u32::from(c));
            return;
        }
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

    /// What begins with `(`: flags must be known.
    fn group(&mut self) -> Result<(), String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('?') {
            self.out.push('(');
            return Ok(());
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

    /// `{2,3}` after its brace, if it is that; any other brace is itself.
    fn times(&mut self) -> Option<String> {
        let inside: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let is_closed = self.rest.clone().nth(inside.chars().count()) == Some('}');
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let repeats = match inside.split_once(',') {
            Some((least, most)) => digits(least) && digits(most) && inside.len() > 1,
            None => digits(&inside) && !inside.is_empty(),
        };
        if !is_closed || !repeats {
            return None;
        }
        let zero = if inside.starts_with(',') { "0" } else { "" };
        self.rest.nth(inside.chars().count());
        Some(format!("{{{zero}{inside}}}"))
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
            ("a*+ab", "aab", false),
            ("a++b", "aab", true),
            ("a{2}+a", "aa", false),
            ("a??b", "b", true),
            (r"(?x)a\ b # c", "a b", true),
            (r"(?x)^[ ]$", " ", true),
            (r"e\b.t", "e\u{301}t", true),
            (r"\bb\b", "a b-c", true),
            (r"e\B", "e\u{301}", false),
            (r"a\Bb", "\u{e9}ab", true),
            (r"(?x) ^ a  b $", "ab", true),
            ("a(?#no)+b", "aab", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(found(pattern, text), want, "{pattern:?} in {text:?}");
        }
    }

    #[test]
    fn says_what_it_cannot_read() {
        for pattern in ["(", "[a", "*", "a\\", r"\q", "(?a)x", "(?#", "a**", "a+(?#no)+", "a{2}{3}"]
        {
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
