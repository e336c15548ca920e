//! LIKE and GLOB, as SQLite matches them: on the text up to its first NUL.

use std::borrow::Cow;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Wild {
    steps: Vec<Step>,
    /// Whether letters A to Z match in either case: the pattern is in lower case then.
    folds: bool,
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Byte(u8),
    /// One character.
    One,
    /// Any number of characters.
    Many,
    /// One character in a set, or outside of it.
    Set {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
    /// An unclosed set matches nothing.
    Never,
}

impl Wild {
    /// Compiles a LIKE pattern: `%` is any text, `_` one character.
    pub fn like(pattern: &str) -> Self {
        Self { steps: like(until_nul(pattern)), folds: false }
    }

    /// Compiles a LIKE pattern that ignores the case of A to Z, as `lower(text) LIKE
    /// lower(pattern)`.
    pub fn ilike(pattern: &str) -> Self {
        Self { steps: like(until_nul(&pattern.to_ascii_lowercase())), folds: true }
    }

    /// Compiles a GLOB pattern: `*` is any text, `?` one character, `[a-z]` one in the set,
    /// `[^a-z]` one outside it.
    pub fn glob(pattern: &str) -> Self {
        Self { steps: glob(until_nul(pattern)), folds: false }
    }

    /// Whether the pattern matches all of `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        let text = memchr::memchr(0, text).map_or(text, |end| &text[..end]);
        let text = match self.folds && text.iter().any(u8::is_ascii_uppercase) {
            true => Cow::Owned(text.to_ascii_lowercase()),
            false => Cow::Borrowed(text),
        };
        walk(&self.steps, &text)
    }

    /// The longest text that every match contains, in lower case if case is ignored; empty if there
    /// is none.
    pub fn literal(&self) -> Vec<u8> {
        let runs = self.steps.split(|step| !matches!(step, Step::Byte(_)));
        let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
        let bytes = longest.iter().filter_map(|step| match step {
            Step::Byte(byte) => Some(*byte),
            _ => None,
        });
        bytes.collect()
    }

    /// Whether case is ignored.
    pub fn folds(&self) -> bool {
        self.folds
    }

    /// Whether the pattern is equivalent to containing [`Wild::literal`] before any NUL.
    pub fn is_contains(&self) -> bool {
        let [Step::Many, inside @ .., Step::Many] = &self.steps[..] else { return false };
        !inside.is_empty() && inside.iter().all(|step| matches!(step, Step::Byte(_)))
    }
}

fn until_nul(pattern: &str) -> &str {
    pattern.split('\0').next().unwrap_or_default()
}

fn like(pattern: &str) -> Vec<Step> {
    let step = |byte| match byte {
        b'%' => Step::Many,
        b'_' => Step::One,
        byte => Step::Byte(byte),
    };
    squeezed(pattern.bytes().map(step))
}

fn glob(pattern: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => steps.push(Step::Many),
            '?' => steps.push(Step::One),
            '[' => steps.push(set(&mut rest)),
            c => steps.extend(c.encode_utf8(&mut [0; 4]).bytes().map(Step::Byte)),
        }
    }
    squeezed(steps.into_iter())
}

/// The set in brackets, parsed as in SQLite's `patternCompare`.
fn set(rest: &mut std::str::Chars<'_>) -> Step {
    let mut ranges = Vec::new();
    let mut next = rest.next();
    let negated = next == Some('^');
    if negated {
        next = rest.next();
    }
    if next == Some(']') {
        ranges.push((']', ']'));
        next = rest.next();
    }
    let mut before = None;
    loop {
        match (next, before) {
            (None, _) => return Step::Never,
            (Some(']'), _) => return Step::Set { ranges, negated },
            (Some('-'), Some(first)) if !matches!(rest.clone().next(), None | Some(']')) => {
                ranges.extend(rest.next().map(|last| (first, last)));
                before = None;
            }
            (Some(c), _) => {
                ranges.push((c, c));
                before = Some(c);
            }
        }
        next = rest.next();
    }
}

/// Merges each run of [`Step::Many`] into one.
fn squeezed(steps: impl Iterator<Item = Step>) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::new();
    for step in steps {
        if step != Step::Many || out.last() != Some(&Step::Many) {
            out.push(step);
        }
    }
    out
}

/// Lets every [`Step::Many`] take the shortest text, and extends the last one on failure: earlier
/// ones never have to change.
fn walk(steps: &[Step], text: &[u8]) -> bool {
    let (mut step, mut at) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    loop {
        match steps.get(step) {
            Some(Step::Many) => {
                if step + 1 == steps.len() {
                    return true;
                }
                last = Some((step + 1, at));
                step += 1;
                continue;
            }
            Some(one) => {
                if let Some(length) = matches_one(one, &text[at..]) {
                    (step, at) = (step + 1, at + length);
                    continue;
                }
            }
            None if at == text.len() => return true,
            None => {}
        }
        let Some((again, from)) = &mut last else { return false };
        if *from >= text.len() {
            return false;
        }
        // A literal after it shows where to continue.
        *from += match steps[*again] {
            Step::Byte(byte) => match memchr::memchr(byte, &text[*from + 1..]) {
                Some(found) => found + 1,
                None => return false,
            },
            _ => character(&text[*from..]).1,
        };
        (step, at) = (*again, *from);
    }
}

/// The bytes at the start of `text` that a step takes; `None` if it does not match.
fn matches_one(step: &Step, text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    match step {
        Step::Byte(byte) => (first == *byte).then_some(1),
        Step::One => Some(character(text).1),
        Step::Set { ranges, negated } => {
            let (c, length) = character(text);
            let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
            (is_in != *negated).then_some(length)
        }
        Step::Many | Step::Never => None,
    }
}

/// The first character of a text that is not empty, and its length in bytes.
fn character(text: &[u8]) -> (char, usize) {
    // SQLite reads a byte from 0xC0 up and all continuation bytes after it as one character.
    let more = text[1..].iter().take_while(|byte| **byte & 0xc0 == 0x80);
    let length = if text[0] >= 0xc0 { 1 + more.count() } else { 1 };
    let c = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.chars().next());
    (c.unwrap_or(char::REPLACEMENT_CHARACTER), length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SQLite's answer, with case-sensitive LIKE, which DataChain turns on.
    fn sqlite(operator: &str, text: &str, pattern: &str) -> bool {
        let db = rusqlite::Connection::open_in_memory().expect("a database");
        db.pragma_update(None, "case_sensitive_like", true).expect("a pragma");
        db.query_row(&format!("SELECT ?1 {operator} ?2"), [text, pattern], |row| row.get(0))
            .expect("an answer")
    }

    fn alphabet() -> impl Strategy<Value = String> {
        const LETTERS: [&str; 14] =
            ["a", "b", "A", "\u{e9}", "\u{c9}", "%", "_", "*", "?", "[", "]", "^", "-", "\0"];
        proptest::collection::vec(proptest::sample::select(&LETTERS[..]), 0..10)
            .prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn matches_what_sqlite_matches(text in alphabet(), pattern in alphabet()) {
            let (t, p) = (text.as_str(), pattern.as_str());
            prop_assert_eq!(Wild::like(p).is_match(t.as_bytes()), sqlite("LIKE", t, p));
            prop_assert_eq!(Wild::glob(p).is_match(t.as_bytes()), sqlite("GLOB", t, p));
            let (lower_t, lower_p) = (t.to_ascii_lowercase(), p.to_ascii_lowercase());
            prop_assert_eq!(
                Wild::ilike(p).is_match(t.as_bytes()),
                sqlite("LIKE", &lower_t, &lower_p)
            );
        }

        #[test]
        fn a_match_holds_the_literal(text in alphabet(), pattern in alphabet()) {
            let wild = Wild::ilike(&pattern);
            if wild.is_match(text.as_bytes()) {
                let (text, literal) = (text.to_ascii_lowercase(), wild.literal());
                prop_assert!(memchr::memmem::find(text.as_bytes(), &literal).is_some());
            }
        }
    }

    #[test]
    fn a_long_text_takes_no_longer_than_it_must() {
        let text = "a".repeat(20_000);
        let pattern = format!("%{}b%", "a".repeat(100));
        assert!(!Wild::like(&pattern).is_match(text.as_bytes()));
        assert!(!Wild::like(&"%a".repeat(2000)).is_match(b"b"));
    }
}
