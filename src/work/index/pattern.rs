//! Columns from paths: `{breed}_{n:int}`.
//!
//! 1. A pattern is split on `/`, and its segments must match the last segments of a path, each as a
//!    whole.
//! 2. If its last segment has a dot outside of braces, it matches whole file names; otherwise the
//!    extension of the file (from the last dot that is not its first character) is ignored.
//! 3. `{name}` matches one or more characters of one segment; `{name:int}` and `{name:float}` match
//!    a number. Texts match as little as lets the rest match, numbers as much: `cocker_spaniel_12`
//!    by `{breed}_{n:int}` is `cocker_spaniel` and 12.
//! 4. Everything else is literal; `{{` and `}}` are braces. `*` and `?` are refused, because they
//!    would not mean what people expect.
//! 5. A path that does not match gives NULL in every column.
//!
//! Pure. Matching takes time quadratic in the length of a segment, times the number of columns.

use std::ops::Range;

use dcfs_core::error::Kind;
use dcfs_core::expr;
use dcfs_core::schema::{Scalar, Signal, SignalKind};

/// The most columns of one pattern.
const MOST: usize = 64;

/// The longest name of a column.
const LONGEST: usize = 64;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// From the first to the last.
    segments: Vec<Vec<Part>>,
    columns: Vec<(String, Scalar)>,
    /// Whether the extension of a file is matched too.
    is_whole: bool,
}

/// A part of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The column with this index.
    Column(usize),
}

/// The value of a path for one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'p> {
    Text(&'p str),
    Int(i64),
    Float(f64),
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// An invalid pattern, with a caret.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        Reading::default().read(text).map_err(|error| error.in_text(text))
    }

    /// The pattern as typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns, in order.
    pub fn signals(&self) -> impl Iterator<Item = Signal> + '_ {
        self.columns
            .iter()
            .map(|(name, scalar)| Signal::optional(name, SignalKind::Scalar(*scalar)))
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The values of the columns for `path`; `None` if it does not match.
    pub fn matched<'p>(&self, path: &'p str) -> Option<Vec<Value<'p>>> {
        let mut values = vec![None; self.columns.len()];
        let mut rest = Some(path);
        for (number, parts) in self.segments.iter().rev().enumerate() {
            let (before, segment) = match rest?.rsplit_once('/') {
                Some((before, segment)) => (Some(before), segment),
                None => (None, rest?),
            };
            let segment = if number == 0 && !self.is_whole { stem(segment) } else { segment };
            Matching::new(self, parts, segment).all(&mut values)?;
            rest = before;
        }
        values.into_iter().collect()
    }
}

/// A name without its extension.
fn stem(name: &str) -> &str {
    match name.rfind('.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    }
}

/// Matches one segment of a path with one of the pattern.
struct Matching<'m, 'p> {
    columns: &'m [(String, Scalar)],
    parts: &'m [Part],
    segment: &'p str,
    /// Pairs of a part and a position from which nothing matches.
    dead: Vec<bool>,
}

impl<'m, 'p> Matching<'m, 'p> {
    fn new(pattern: &'m Pattern, parts: &'m [Part], segment: &'p str) -> Self {
        let dead = vec![false; (parts.len() + 1) * (segment.len() + 1)];
        Self { columns: &pattern.columns, parts, segment, dead }
    }

    fn all(mut self, values: &mut [Option<Value<'p>>]) -> Option<()> {
        self.from(0, 0, values).then_some(())
    }

    /// Whether the parts from `part` on match all of the text from `at` on.
    fn from(&mut self, part: usize, at: usize, values: &mut [Option<Value<'p>>]) -> bool {
        let known = part * (self.segment.len() + 1) + at;
        if self.dead[known] {
            return false;
        }
        let found = match self.parts.get(part) {
            None => at == self.segment.len(),
            Some(Part::Text(text)) => {
                self.segment[at..].starts_with(text.as_str())
                    && self.from(part + 1, at + text.len(), values)
            }
            Some(Part::Column(column)) => self.column(*column, part, at, values),
        };
        self.dead[known] = !found;
        found
    }

    fn column(
        &mut self,
        column: usize,
        part: usize,
        at: usize,
        values: &mut [Option<Value<'p>>],
    ) -> bool {
        let scalar = self.columns[column].1;
        for end in ends(self.segment, at, scalar) {
            let Some(value) = value(&self.segment[at..end], scalar) else { continue };
            if self.from(part + 1, end, values) {
                values[column] = Some(value);
                return true;
            }
        }
        false
    }
}

/// Where a value that begins at `at` may end, the preferred end first.
fn ends(segment: &str, at: usize, scalar: Scalar) -> Vec<usize> {
    let rest = &segment[at..];
    let after = |(start, c): (usize, char)| at + start + c.len_utf8();
    match scalar {
        Scalar::Text => rest.char_indices().map(after).collect(),
        _ => {
            let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
            let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            (at + 1..=at + length).rev().collect()
        }
    }
}

/// Parses a text as a value; `None` if it is not of the type.
fn value(text: &str, scalar: Scalar) -> Option<Value<'_>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    match scalar {
        Scalar::Int if is_number => text.parse().ok().map(Value::Int),
        Scalar::Int => None,
        Scalar::Float
            if digits.starts_with(|c: char| c.is_ascii_digit()) && !text.ends_with('.') =>
        {
            text.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Float)
        }
        Scalar::Float => None,
        _ => Some(Value::Text(text)),
    }
}

/// A pattern being parsed.
#[derive(Default)]
struct Reading {
    segments: Vec<Vec<Part>>,
    columns: Vec<(String, Scalar)>,
    has_dot: bool,
}

impl Reading {
    fn read(mut self, text: &str) -> Result<Pattern, expr::Error> {
        self.segments.push(Vec::new());
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            at = if rest.starts_with("{{") || rest.starts_with("}}") {
                self.literal(c);
                at + 2
            } else if c == '{' {
                self.braces(text, at)?
            } else if c == '}' {
                return Err(expr::Error::new(
                    at..at + 1,
                    "a `}` without its `{`; write `}}` for a brace",
                ));
            } else {
                self.plain(c, at)?;
                at + c.len_utf8()
            };
        }
        self.end(text)
    }

    fn end(self, text: &str) -> Result<Pattern, expr::Error> {
        let all = 0..text.len();
        if self.columns.is_empty() {
            return Err(expr::Error::new(all, "no column; write one as `{name}` or `{name:int}`"));
        }
        if self.segments.iter().any(Vec::is_empty) {
            return Err(expr::Error::new(
                all,
                "an empty segment; a pattern has no `/` at its ends, nor `//`",
            ));
        }
        let Self { segments, columns, has_dot } = self;
        Ok(Pattern { text: text.to_owned(), segments, columns, is_whole: has_dot })
    }

    fn plain(&mut self, c: char, at: usize) -> Result<(), expr::Error> {
        match c {
            '/' => {
                self.segments.push(Vec::new());
                self.has_dot = false;
            }
            '*' | '?' => {
                let why = format!(
                    "`{c}` is not a wildcard here; a column matches any text of one segment: write `{{name}}`"
                );
                return Err(expr::Error::new(at..at + 1, why));
            }
            c if c.is_control() => {
                return Err(expr::Error::new(at..at + c.len_utf8(), "a control character"));
            }
            c => self.literal(c),
        }
        Ok(())
    }

    fn literal(&mut self, c: char) {
        self.has_dot |= c == '.';
        let Some(parts) = self.segments.last_mut() else { return };
        match parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => parts.push(Part::Text(c.to_string())),
        }
    }

    /// Parses a column in braces at `at`; returns its end.
    fn braces(&mut self, text: &str, at: usize) -> Result<usize, expr::Error> {
        let Some(length) = text[at..].find('}') else {
            return Err(expr::Error::new(
                at..text.len(),
                "a `{` without its `}`; write `{{` for a brace",
            ));
        };
        let inside = at + 1..at + length;
        let (name, kind) = match text[inside.clone()].split_once(':') {
            Some((name, kind)) => (name, Some(kind)),
            None => (&text[inside.clone()], None),
        };
        let named = inside.start..inside.start + name.len();
        if let Some(why) = self.fault(name) {
            let why = match self.offer(name) {
                Some(other) => format!("{why}; write `{{{other}}}`, say"),
                None => why,
            };
            return Err(expr::Error::new(widened(&named, at..at + length + 1), why));
        }
        let scalar = match kind {
            None | Some("str") => Scalar::Text,
            Some("int") => Scalar::Int,
            Some("float") => Scalar::Float,
            Some(kind) => {
                let place = inside.end - kind.len()..inside.end;
                let why = format!("`{kind}` is not a type here; write `int`, `float` or `str`");
                return Err(expr::Error::new(widened(&place, at..at + length + 1), why));
            }
        };
        if let Some(parts) = self.segments.last_mut() {
            parts.push(Part::Column(self.columns.len()));
        }
        self.columns.push((name.to_owned(), scalar));
        Ok(inside.end + 1)
    }

    /// An acceptable name similar to a refused one.
    fn offer(&self, name: &str) -> Option<String> {
        let mut words = String::new();
        for c in name.chars().take(LONGEST - 4) {
            match c {
                c if c.is_ascii_alphanumeric() => words.push(c),
                _ if words.is_empty() || words.ends_with('_') => {}
                _ => words.push('_'),
            }
        }
        let words = words.trim_end_matches('_');
        let words = match words.chars().next() {
            None => "column".to_owned(),
            Some(c) if c.is_ascii_digit() => format!("n{words}"),
            Some(_) => words.to_owned(),
        };
        let numbered = (2..=MOST + 2).map(|n| format!("{words}{n}"));
        std::iter::once(words.clone()).chain(numbered).find(|name| self.fault(name).is_none())
    }

    /// The fault of a column's name.
    fn fault(&self, name: &str) -> Option<String> {
        let same = |(other, _): &(String, Scalar)| other.eq_ignore_ascii_case(name);
        if self.columns.iter().any(same) {
            Some(format!("`{name}` is there twice; the names of columns ignore case"))
        } else if self.columns.len() == MOST {
            Some(format!("more than {MOST} columns"))
        } else {
            fault(name)
        }
    }
}

/// Widens an empty span to its surroundings.
fn widened(place: &Range<usize>, around: Range<usize>) -> Range<usize> {
    if place.is_empty() { around } else { place.clone() }
}

/// The fault of a column's name, regardless of other names.
fn fault(name: &str) -> Option<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_word) {
        Some("a column is called by a letter, then letters, digits and `_`".into())
    } else if name.contains("__") || name.ends_with('_') {
        Some(
            "a column's name has no `__` and no `_` at its end: DataChain separates fields by them"
                .into(),
        )
    } else if ["file", "info", "sys"].iter().any(|own| own.eq_ignore_ascii_case(name)) {
        Some(format!("`{name}` is a column of its own already; choose another name"))
    } else if "right_".contains(name) {
        Some(format!("DataChain cannot compare versions with a column called `{name}`"))
    } else if name.len() > LONGEST {
        Some(format!("a column's name has at most {LONGEST} characters"))
    } else {
        None
    }
}

/// Checks that no two patterns define the same column.
///
/// # Errors
/// The duplicate name.
pub fn distinct(patterns: &[Pattern]) -> dcfs_core::error::Result<()> {
    let mut seen: Vec<String> = Vec::new();
    for (name, _) in patterns.iter().flat_map(|pattern| &pattern.columns) {
        let lower = name.to_ascii_lowercase();
        if seen.contains(&lower) {
            let message =
                format!("two patterns have a column `{name}`; give one of them another name");
            return Err(dcfs_core::error::Error::new(Kind::Invalid, message));
        }
        seen.push(lower);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn shown(pattern: &str, path: &str) -> String {
        let pattern = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let Some(values) = pattern.matched(path) else { return "-".into() };
        let text = |value: &Value<'_>| match value {
            Value::Text(text) => (*text).to_owned(),
            Value::Int(n) => format!("{n}i"),
            Value::Float(x) => format!("{x:?}f"),
        };
        values.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn paths_give_values() {
        let cases = [
            ("{breed}_{n:int}", "images/cocker_spaniel_12.jpg", "cocker_spaniel 12i"),
            ("{breed}_{n:int}", "cocker_spaniel_12", "cocker_spaniel 12i"),
            ("{breed}_{n:int}", "images/cocker_spaniel.jpg", "-"),
            ("{breed}_{n:int}", "_12.jpg", "-"),
            ("{breed}_{n:int}", "a_12.tar.gz", "-"),
            ("{breed}_{n:int}.tar.gz", "a_12.tar.gz", "a 12i"),
            ("{breed}_{n:int}.{ext}", "a_12.tar.gz", "a 12i tar.gz"),
            ("{name}.jpg", "a.jpg", "a"),
            ("{name}.jpg", "a.png", "-"),
            ("{split}/{label}/{name}", "x/train/cat/1.jpg", "train cat 1"),
            ("{split}/{label}/{name}", "cat/1.jpg", "-"),
            ("train/{label}/{name}", "x/train/cat/1.jpg", "cat 1"),
            ("train/{label}/{name}", "x/test/cat/1.jpg", "-"),
            ("v{n:int}/{name}", "v1.2/a", "-"),
            ("v{n:float}/{name}", "v1.2/a", "1.2f a"),
            ("{n:int}{unit}", "12px", "12i px"),
            ("{a}{n:int}", "cat12", "cat 12i"),
            ("{n:int}", "-7.txt", "-7i"),
            ("{n:int}", "+7.txt", "-"),
            ("{n:int}", "007", "7i"),
            ("{n:int}", "99999999999999999999", "-"),
            ("{n:int}{m:int}", "123", "12i 3i"),
            ("{x:float}", "1e3", "1000.0f"),
            ("{x:float}.txt", "2.50.txt", "2.5f"),
            ("{x:float}", "1e999", "-"),
            ("{x:float}", "nan", "-"),
            ("{x:float}", "-0.5.txt", "-0.5f"),
            ("{a}-{b}", "x-y-z", "x y-z"),
            ("{name}", ".hidden", ".hidden"),
            ("{{{name}}}", "{x}", "x"),
            ("\u{e9}{name}", "\u{e9}\u{65e5}\u{672c}.png", "\u{65e5}\u{672c}"),
            ("{a}\u{e9}{b}", "\u{65e5}\u{e9}\u{672c}.png", "\u{65e5} \u{672c}"),
            ("{a}/{b}", "/x", "-"),
            ("{a}", "", "-"),
        ];
        for (pattern, path, want) in cases {
            assert_eq!(shown(pattern, path), want, "{pattern} on {path}");
        }
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let cases = [
            ("", 0..0, "no column"),
            ("images", 0..6, "no column"),
            ("{a", 0..2, "without its `}`"),
            ("{a}}b", 3..4, "without its `{`"),
            ("{}", 0..2, "a letter"),
            ("{a b}", 1..4, "a letter"),
            ("{1a}", 1..3, "a letter"),
            ("{a__b}", 1..5, "no `__`"),
            ("{file}", 1..5, "of its own"),
            ("{Info}", 1..5, "of its own"),
            ("{right}", 1..6, "cannot compare"),
            ("{a}_{A}", 5..6, "twice"),
            ("{a:bool}", 3..7, "not a type"),
            ("{a:}", 0..4, "not a type"),
            ("/{a}", 0..4, "empty segment"),
            ("{a}//{b}", 0..8, "empty segment"),
            ("a\n{b}", 1..2, "control"),
            ("*/{b}", 0..1, "not a wildcard"),
            ("{b}_?", 4..5, "not a wildcard"),
        ];
        for (text, span, message) in cases {
            let error = Pattern::parse(text).expect_err(text);
            assert_eq!(error.span, span, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
        let text = Pattern::parse("{a:bool}").expect_err("no type").to_string();
        assert_eq!(
            text,
            "`bool` is not a type here; write `int`, `float` or `str`\n  {a:bool}\n     ^^^^"
        );
    }

    #[test]
    fn a_name_that_is_refused_has_one_beside_it_that_is_not() {
        let cases = [
            ("{h}", "`{h2}`"),
            ("{right}", "`{right2}`"),
            ("{file}", "`{file2}`"),
            ("{a}_{A}", "`{A2}`"),
            ("{a b}", "`{a_b}`"),
            ("{a__b_}", "`{a_b}`"),
            ("{1a}", "`{n1a}`"),
            ("{}", "`{column}`"),
            ("{\u{65e5}}", "`{column}`"),
            ("{h2}_{h}", "`{h3}`"),
        ];
        for (text, offer) in cases {
            let error = Pattern::parse(text).expect_err(text);
            assert!(error.message.contains(offer), "{text}: {error}");
            let name = offer.trim_matches('`');
            assert!(Pattern::parse(name).is_ok(), "{name}");
        }
        let long = format!("{{{}}}", "x".repeat(LONGEST + 1));
        assert!(Pattern::parse(&long).expect_err("long").message.contains("; write `{xxx"));
    }

    #[test]
    fn columns_of_two_patterns_differ() {
        let parse = |text| Pattern::parse(text).expect(text);
        assert!(distinct(&[parse("{a}_{b}"), parse("{c}/x")]).is_ok());
        assert!(distinct(&[parse("{a}"), parse("{A}/x")]).is_err());
    }

    #[test]
    fn matching_takes_time_by_the_length() {
        let pattern = "{a1}x{a2}x{a3}x{a4}x{a5}x{a6}x{a7}x{a8}y";
        assert_eq!(shown(pattern, &"x".repeat(4000)), "-");
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(breed in "[a-z_]{1,12}", n in 0..100_000_i64, folder in "[a-z]{1,5}") {
            let path = format!("{folder}/{breed}_{n}.jpg");
            prop_assert_eq!(shown("{breed}_{n:int}", &path), format!("{breed} {n}i"));
        }

        #[test]
        fn any_text_is_read_or_refused(pattern in "[a-c{}:/._\u{e9}-]{0,20}", path in "[a-c0-9/._\u{e9}-]{0,30}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let width = pattern.matched(&path).map(|values| values.len());
                prop_assert!(width.is_none_or(|width| width == pattern.width()));
            }
        }
    }
}
