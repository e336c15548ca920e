//! Patterns in storage addresses, as DataChain 0.62 interprets them (`lib/dc/storage_pattern.py`).
//!
//! Braces are expanded first, over the whole text: `{a,b}` is a list whose items are trimmed of
//! spaces, `{1..9}` and `{a..f}` are ranges, `{01..10}` keeps its zeros. Each result is split
//! before the first segment that holds `*`, `?`, `[` or `{`: the first part is the folder to list,
//! the rest is the pattern, which is matched against the path below that folder:
//!
//! - A pattern of one segment without `**` matches files in the folder itself, any other matches
//!   files at any depth.
//! - `**` becomes `*` by the rules of [`without_globstars`], and the rest is SQLite's GLOB: `*`
//!   matches slashes too. So `a/*.jpg` finds `a/b/c.jpg`, and `**/x.jpg` does not find `x.jpg`.
//!
//! Unlike DataChain, nested braces are refused (it splits them at the wrong comma), and so are more
//! than [`MOST`] alternatives.

use crate::error::Kind;
use crate::expr::Wild;

/// The most alternatives of one text.
pub const MOST: usize = 1000;

/// The longest text, in bytes.
const LONGEST: usize = 8192;

/// Why a pattern is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the braces of `{0}` expand to more than {MOST} texts; use `*` or `[0-9]` instead")]
    TooMany(String),
    #[error(
        "`{0}` has nested braces, which DataChain does not support; write the alternatives out"
    )]
    Nested(String),
    #[error("the address is longer than {LONGEST} bytes")]
    TooLong,
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(Kind::Invalid, error)
    }
}

/// A pattern without braces, compiled to match paths below its folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Glob {
    text: String,
    wild: Wild,
    /// Whether it also matches files in subfolders.
    is_deep: bool,
}

impl Glob {
    pub fn new(pattern: &str) -> Self {
        let is_deep = pattern.contains('/') || pattern.contains("**");
        let wild = Wild::glob(&without_globstars(pattern));
        Self { text: pattern.to_owned(), wild, is_deep }
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches a file, by its path below the folder.
    pub fn is_match(&self, path: &str) -> bool {
        (self.is_deep || !path.contains('/')) && self.wild.is_match(path.as_bytes())
    }
}

/// Whether `text` may name several things.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// Splits `text` before the first segment with a wildcard: the folder, without its slash, and the
/// pattern.
pub fn split(text: &str) -> (&str, Option<&str>) {
    let mut start = 0;
    for segment in text.split('/') {
        if is_pattern(segment) {
            return (
                text[..start].strip_suffix('/').unwrap_or(&text[..start]),
                Some(&text[start..]),
            );
        }
        start += segment.len() + 1;
    }
    (text, None)
}

/// All texts that the braces of `text` expand to, in order, with duplicates.
///
/// # Errors
/// Nested braces; more than [`MOST`] texts.
pub fn expand(text: &str) -> Result<Vec<String>, Error> {
    if text.len() > LONGEST {
        return Err(Error::TooLong);
    }
    let mut done = vec![String::new()];
    let mut rest = text;
    while let Some((before, inside, after)) = braces(rest) {
        if inside.contains('{') {
            return Err(Error::Nested(text.to_owned()));
        }
        let options = options(inside).ok_or_else(|| Error::TooMany(text.to_owned()))?;
        if done.len() * options.len() > MOST {
            return Err(Error::TooMany(text.to_owned()));
        }
        let with = |start: &String| -> Vec<String> {
            options.iter().map(|option| format!("{start}{before}{option}")).collect()
        };
        done = done.iter().flat_map(with).collect();
        rest = after;
    }
    done.iter_mut().for_each(|start| start.push_str(rest));
    Ok(done)
}

/// The text before, in and after the first braces; a brace that is never closed is literal.
fn braces(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find('{')?;
    let mut depth = 0_u32;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => {
                return Some((&text[..start], &text[start + 1..at], &text[at + 1..]));
            }
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The alternatives in braces; `None` if there are too many.
fn options(inside: &str) -> Option<Vec<String>> {
    if inside.contains("..") {
        return match range(inside) {
            None => Some(vec![inside.to_owned()]),
            Some(options) => options,
        };
    }
    Some(inside.split(',').map(|option| option.trim().to_owned()).collect())
}

/// `1..9`, `01..10`, `a..f`, ascending or descending; `None` if it is not a range, `Some(None)` if
/// the range is too long.
#[expect(clippy::option_option, reason = "no range, and one that is too long")]
fn range(inside: &str) -> Option<Option<Vec<String>>> {
    let (first, last) = inside.split_once("..").filter(|(_, last)| !last.contains(".."))?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number(first) && is_number(last) {
        let is_padded = first.starts_with('0') || last.starts_with('0');
        let width = if is_padded { first.len().max(last.len()) } else { 0 };
        let ends = first.parse::<u64>().ok().zip(last.parse().ok());
        let Some(numbers) = ends.and_then(|(first, last)| steps(first, last)) else {
            return Some(None);
        };
        return Some(Some(numbers.map(|n| format!("{n:0width$}")).collect()));
    }
    let letter = |text: &str| {
        let mut all = text.chars();
        all.next().filter(|c| c.is_alphabetic() && all.next().is_none())
    };
    let (first, last) = (letter(first)?, letter(last)?);
    let letters = steps(u64::from(u32::from(first)), u64::from(u32::from(last)));
    let letter = |n: u64| u32::try_from(n).ok().and_then(char::from_u32).map(String::from);
    Some(letters.map(|letters| letters.filter_map(letter).collect()))
}

/// The numbers from `first` to `last`; `None` if there are too many.
fn steps(first: u64, last: u64) -> Option<Box<dyn Iterator<Item = u64>>> {
    if first.abs_diff(last) >= MOST as u64 {
        return None;
    }
    Some(if first <= last { Box::new(first..=last) } else { Box::new((last..=first).rev()) })
}

/// DataChain's `convert_globstar_to_glob`, line by line.
fn without_globstars(pattern: &str) -> String {
    if !pattern.contains("**") {
        return pattern.to_owned();
    }
    let parts: Vec<&str> = pattern.split('/').collect();
    let stars: Vec<usize> = (0..parts.len()).filter(|n| parts[*n] == "**").collect();
    let plain = || pattern.replace("**", "*");
    let [first, .., last] = stars[..] else {
        return match pattern.strip_prefix("**/") {
            Some("*") => "*".to_owned(),
            Some(rest) if !rest.contains('/') && rest.starts_with("*.") => rest.to_owned(),
            Some(rest) if !rest.contains('/') => format!("*/{rest}"),
            _ => plain(),
        };
    };
    let middle: Vec<&str> =
        parts[first + 1..last].iter().copied().filter(|part| *part != "**").collect();
    let tail = parts.last().copied().filter(|part| !["*", "**"].contains(part)).unwrap_or_default();
    match middle.is_empty() {
        true => plain(),
        false => format!("*{}*{tail}", middle.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answers of DataChain 0.62's `convert_globstar_to_glob` and `should_use_recursion`.
    #[test]
    fn globstars_become_stars_as_in_datachain() {
        let cases = [
            ("*", "*", false),
            ("**", "*", true),
            ("**/*", "*", true),
            ("**/*.jpg", "*.jpg", true),
            ("**/x.jpg", "*/x.jpg", true),
            ("**/a?.jpg", "*/a?.jpg", true),
            ("a/**", "a/*", true),
            ("a/**/b", "a/*/b", true),
            ("**/a/**", "*a*", true),
            ("**/a/**/b.jpg", "*a*b.jpg", true),
            ("**/a/b/**/*.jpg", "*a/b**.jpg", true),
            ("**/**/x", "*/*/x", true),
            ("a**b", "a*b", true),
            ("*/*.jpg", "*/*.jpg", true),
            ("**/**", "*/*", true),
            ("a/**/b/**/c", "*b*c", true),
            ("**.jpg", "*.jpg", true),
            ("***", "**", true),
            ("**/*/x", "*/*/x", true),
            ("**/*.", "*.", true),
            ("x/**/**/y", "x/*/*/y", true),
        ];
        for (pattern, glob, is_deep) in cases {
            assert_eq!(without_globstars(pattern), glob, "{pattern}");
            assert_eq!(Glob::new(pattern).is_deep, is_deep, "{pattern}");
        }
    }

    /// The answers of DataChain 0.62's `expand_brace_pattern`.
    #[test]
    fn braces_are_expanded_as_in_datachain() {
        let cases: [(&str, &[&str]); 20] = [
            ("a", &["a"]),
            ("*.{jpg,png}", &["*.jpg", "*.png"]),
            ("a{1..3}", &["a1", "a2", "a3"]),
            ("a{01..3}/*", &["a01/*", "a02/*", "a03/*"]),
            ("{8..011}", &["008", "009", "010", "011"]),
            ("a{3..1}", &["a3", "a2", "a1"]),
            ("a{c..a}", &["ac", "ab", "aa"]),
            ("a{\u{e9}..\u{eb}}", &["a\u{e9}", "a\u{ea}", "a\u{eb}"]),
            ("{ a , b }", &["a", "b"]),
            ("{a..bb}", &["a..bb"]),
            ("{1..2..3}", &["1..2..3"]),
            ("{1..a}", &["1..a"]),
            ("{..}", &[".."]),
            ("{}", &[""]),
            ("{a}", &["a"]),
            ("{a,}", &["a", ""]),
            ("}{", &["}{"]),
            ("a{b", &["a{b"]),
            ("a}b", &["a}b"]),
            ("{a,b}/{c,d}", &["a/c", "a/d", "b/c", "b/d"]),
        ];
        for (text, want) in cases {
            assert_eq!(expand(text).as_deref(), Ok(&want.map_to_owned()[..]), "{text}");
        }
    }

    trait MapToOwned {
        fn map_to_owned(&self) -> Vec<String>;
    }

    impl MapToOwned for &[&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn what_stands_for_too_much_is_refused() {
        for text in [
            "{0..1000}",
            "{0..99999999999999999999999999}",
            "{\u{100}..\u{9000}}",
            "{1..40}{1..40}",
        ] {
            assert_eq!(expand(text), Err(Error::TooMany(text.to_owned())), "{text}");
        }
        assert_eq!(expand("{1..1000}").map(|all| all.len()), Ok(1000));
        for text in ["{{a,b},c}", "{a,b{1,2}}", "{a,{1..2}}"] {
            assert_eq!(expand(text), Err(Error::Nested(text.to_owned())), "{text}");
        }
        assert_eq!(expand(&"a".repeat(8193)), Err(Error::TooLong));
    }

    #[test]
    fn the_folder_ends_where_the_pattern_begins() {
        let cases = [
            ("a/b", "a/b", None),
            ("a/b/", "a/b/", None),
            ("*.jpg", "", Some("*.jpg")),
            ("a/*/x.jpg", "a", Some("*/x.jpg")),
            ("a/b?/c", "a", Some("b?/c")),
            ("a/[0-9]", "a", Some("[0-9]")),
            ("a/x{b", "a", Some("x{b")),
            ("a]}", "a]}", None),
            ("/*", "", Some("*")),
        ];
        for (text, folder, pattern) in cases {
            assert_eq!(split(text), (folder, pattern), "{text}");
        }
    }

    #[test]
    fn a_star_alone_stays_in_its_folder() {
        let cases = [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", "b/a.jpg", false),
            ("**/*.jpg", "a.jpg", true),
            ("**/*.jpg", "b/c/a.jpg", true),
            ("**/x.jpg", "x.jpg", false),
            ("**/x.jpg", "b/x.jpg", true),
            ("a/*.jpg", "a/b/c.jpg", true),
            ("a?c/d", "abc/d", true),
            ("a?c/d", "a/c/d", true),
            ("[ab].x", "b.x", true),
            ("[^ab].x", "b.x", false),
            ("x[", "x[", false),
            ("*.JPG", "a.jpg", false),
            ("?", "\u{1f600}", true),
        ];
        for (pattern, path, found) in cases {
            assert_eq!(Glob::new(pattern).is_match(path), found, "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_expanded_or_refused(text in "[{},.0-9a-c*?\\[\\]/ \u{e9}]{0,40}") {
            if let Ok(all) = expand(&text) {
                prop_assert!(all.len() <= MOST);
                for one in all {
                    let (folder, pattern) = split(&one);
                    prop_assert!(one.starts_with(folder));
                    Glob::new(pattern.unwrap_or_default()).is_match("a/b.c");
                }
            }
        }
    }
}
