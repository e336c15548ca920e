//! Regular expressions with the meaning of Python's `re.search`.
//!
//! A pattern is rewritten for the crate `regex`, which matches in linear time; look-around and
//! back-references go to `fancy-regex`, whose steps are counted. Differences that are bridged: `$`
//! also matches before a final newline, `\Z` is the very end, `\w`, `\s` and `\b` know Python's
//! characters, braces that repeat nothing and brackets that open nothing are literal.

mod python;

use regex::bytes::{Regex, RegexBuilder};

use self::python::Writer;

/// The most steps of a backtracking search, per text.
const STEPS: usize = 1_000_000;

/// The most bytes of a compiled pattern.
const SIZE: usize = 4 << 20;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub enum Regexp {
    Linear(Regex),
    Counted(Box<fancy_regex::Regex>),
    /// One for ASCII and one for other texts: a pattern with word boundaries.
    Either(Regex, Box<fancy_regex::Regex>),
}

/// Why a search failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// It took [`STEPS`].
    TooManySteps,
    /// The library gave up on the pattern.
    Broken,
}

impl Regexp {
    /// # Errors
    /// A message that says why the pattern is invalid.
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

    /// Whether a search backtracks, with a limit on its steps.
    pub const fn is_counted(&self) -> bool {
        !matches!(self, Self::Linear(_))
    }

    /// Whether `text` contains a match.
    pub fn is_match(&self, text: &[u8]) -> Result<bool, Stuck> {
        match self {
            Self::Linear(regex) => Ok(regex.is_match(text)),
            Self::Either(regex, _) if text.is_ascii() => Ok(regex.is_match(text)),
            Self::Counted(regex) | Self::Either(_, regex) => {
                let text = String::from_utf8_lossy(text);
                // Patterns come from strangers, and the library has panicked on some.
                match std::panic::catch_unwind(|| regex.is_match(&*text)) {
                    Ok(Ok(found)) => Ok(found),
                    Ok(Err(_)) => Err(Stuck::TooManySteps),
                    Err(_) => Err(Stuck::Broken),
                }
            }
        }
    }
}

/// Compiles for the backtracking engine, whose steps are counted.
fn counted(pattern: &str) -> Result<Box<fancy_regex::Regex>, String> {
    let written = Writer::of(pattern, true).write()?;
    let built = fancy_regex::RegexBuilder::new(&written.pattern)
        .backtrack_limit(STEPS)
        .delegate_size_limit(SIZE)
        .build();
    built.map(Box::new).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().to_lowercase();
        if reason.contains("nfa") || reason.contains("size limit") {
            return "this regular expression needs too much memory; repeat less in it".into();
        }
        format!("this regular expression cannot be read: {reason}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> bool {
        let regexp = Regexp::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        regexp.is_match(text.as_bytes()).expect("few steps")
    }

    /// Python 3.13's answers to `re.search(pattern, text) is not None`.
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
            ("(a)?(?(1)b|c)", "ab", true),
            ("(?P<n>a)?(?(1)b|c)", "c", true),
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
        let patterns = [
            "( [a * a\\ \\q a** a+(?#no)+ a{2}{3} (a)\\2",
            "(?a)x (?# (?(2)a|b) (?(1)a|b)(?:c) (?(n)a) (?(0)a)",
            "(?P>1) (?<n>a) (?R) (? (?P=n)(?P<n>a) (?P=1)",
        ];
        for pattern in patterns.iter().flat_map(|some| some.split(' ')) {
            assert!(Regexp::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_search_without_end_ends() {
        let text = "a".repeat(5000);
        let linear = Regexp::new("(a+)+b").expect("a pattern");
        assert!(linear.is_match(text.as_bytes()).is_ok_and(|found| !found));
        let counted = Regexp::new(r"(a+)+\1b(?=c)").expect("a pattern");
        assert_eq!(counted.is_match(text.as_bytes()), Err(Stuck::TooManySteps));
    }
}
