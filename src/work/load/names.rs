//! The names of classes that belong to YOLO's labels: `classes.txt`, or `names:` of a `data.yaml`.
//!
//! Of YAML only the forms are read in which such files are written, and anything else is refused: a name that is taken
//! for that of another class is worse than none.

use std::collections::BTreeMap;

/// Names by the numbers of classes.
pub type Names = BTreeMap<u64, String>;

/// The line that is not understood, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Odd {
    pub line: u64,
    pub what: &'static str,
}

const FORMS: &str =
    "below `names:`, write a line `- dog` or `0: dog` for each class, or a list in brackets";
const TWICE: &str = "a class has two names";

/// `classes.txt`: a line for each class, in order. An empty line is a class without a name.
pub fn of_lines(text: &str) -> Names {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    (0..)
        .zip(lines)
        .filter(|(_, name)| !name.is_empty())
        .map(|(n, name)| (n, name.into()))
        .collect()
}

/// `names:` of a `data.yaml`: a list or a map by number, in lines or in brackets. None if there is no such key.
///
/// # Errors
/// [`Odd`]: another form, a class with two names.
pub fn of_yaml(text: &str) -> Result<Names, Odd> {
    let text = text.trim_start_matches('\u{feff}');
    let mut at = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        at += line.len();
        let Some(value) = line.strip_prefix("names:") else { continue };
        if !value.is_empty() && !value.starts_with([' ', '\t', '\r', '\n']) {
            continue;
        }
        let below = &text[at..];
        let value = value.trim();
        return match value.chars().next() {
            None | Some('#') => of_block(below, number),
            Some('[' | '{') => {
                let all = &text[at - line.len()..];
                let start = all.find(['[', '{']).unwrap_or(all.len());
                of_flow(&all[start..]).map_err(|what| Odd { line: number, what })
            }
            Some(_) => Err(Odd { line: number, what: FORMS }),
        };
    }
    Ok(Names::new())
}

/// The lines below `names:`, which is line `above`.
fn of_block(below: &str, above: u64) -> Result<Names, Odd> {
    let mut names = Names::new();
    // The indent of the lines, and whether they begin with `-`.
    let mut form: Option<(usize, bool)> = None;
    for (line, text) in (above + 1..).zip(below.lines()) {
        let inside = text.trim_start();
        let indent = text.len() - inside.len();
        if inside.is_empty() || inside.starts_with('#') {
            continue;
        }
        let is_item = inside == "-" || inside.starts_with("- ");
        if indent == 0 && !is_item {
            break;
        }
        let odd = |what| Odd { line, what };
        if *form.get_or_insert((indent, is_item)) != (indent, is_item) {
            return Err(odd(FORMS));
        }
        let (class, value) = match is_item {
            true => (names.len() as u64, &inside[1..]),
            false => key(inside).ok_or_else(|| odd(FORMS))?,
        };
        let (name, rest) = scalar(value.trim_start(), false).ok_or_else(|| odd(FORMS))?;
        let after = rest.trim_start();
        let is_comment = after.starts_with('#') && after.len() < rest.len();
        if !after.is_empty() && !is_comment {
            return Err(odd(FORMS));
        }
        if names.insert(class, name).is_some() {
            return Err(odd(TWICE));
        }
    }
    Ok(names)
}

/// A list or a map in brackets, over one or more lines.
fn of_flow(text: &str) -> Result<Names, &'static str> {
    let is_map = text.starts_with('{');
    let end = if is_map { '}' } else { ']' };
    let mut names = Names::new();
    let mut rest = skipped(&text[1..]);
    while !rest.starts_with(end) {
        let (class, value) = match is_map {
            true => key(rest).ok_or(FORMS)?,
            false => (names.len() as u64, rest),
        };
        let (name, after) = scalar(skipped(value), true).ok_or(FORMS)?;
        if names.insert(class, name).is_some() {
            return Err(TWICE);
        }
        let after = skipped(after);
        rest = match after.strip_prefix(',') {
            Some(more) => skipped(more),
            None if after.starts_with(end) => after,
            None => return Err(FORMS),
        };
    }
    let after = rest[1..].lines().next().unwrap_or_default().trim();
    if after.is_empty() || after.starts_with('#') { Ok(names) } else { Err(FORMS) }
}

/// The text behind white space and comments.
fn skipped(text: &str) -> &str {
    let mut rest = text.trim_start();
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, below)| below.trim_start());
    }
    rest
}

/// A number with a colon, and the text behind them.
fn key(text: &str) -> Option<(u64, &str)> {
    let (number, rest, is_quoted) = match text.strip_prefix(['"', '\'']) {
        Some(inside) => {
            let (number, rest) = inside.split_once(['"', '\''])?;
            (number, rest, true)
        }
        None => {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            (&text[..end], &text[end..], false)
        }
    };
    let rest = rest.trim_start().strip_prefix(':')?;
    let is_key = is_quoted || rest.is_empty() || rest.starts_with(char::is_whitespace);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_key && is_number { Some((number.parse().ok()?, rest)) } else { None }
}

/// A text at the beginning, with or without quotes, and what follows it. `is_flow`: within brackets.
fn scalar(text: &str, is_flow: bool) -> Option<(String, &str)> {
    if let Some(inside) = text.strip_prefix('"') {
        return double_quoted(inside);
    }
    if let Some(inside) = text.strip_prefix('\'') {
        return single_quoted(inside);
    }
    let mut end = text.len();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let is_comment = c == '#' && before.is_whitespace();
        if c == '\n' || is_comment || (is_flow && ",[]{}".contains(c)) {
            end = at;
            break;
        }
        before = c;
    }
    let value = text[..end].trim_end();
    // Aliases, tags, blocks of text and maps are more than a name.
    let is_odd = value.is_empty()
        || value.starts_with(['&', '*', '!', '|', '>', '@', '%', '`', '[', ']', '{', '}', ','])
        || ["- ", "? ", ": "].iter().any(|sign| value.starts_with(sign))
        || value.contains(": ")
        || value.ends_with(':');
    // White space stays, as a comment must follow some.
    if is_odd { None } else { Some((value.to_owned(), &text[value.len()..])) }
}

fn double_quoted(inside: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &inside[at + 1..])),
            '\n' => return None,
            '\\' => match chars.next()? {
                (_, c @ ('"' | '\\' | '/')) => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}

fn single_quoted(inside: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = inside;
    loop {
        let (before, after) = rest.split_once('\'')?;
        value.push_str(before);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None if value.contains('\n') => return None,
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[(u64, &str)]) -> Names {
        pairs.iter().map(|(class, name)| (*class, (*name).to_owned())).collect()
    }

    #[test]
    fn names_are_those_of_their_classes() {
        let cases: [(&str, &[(u64, &str)]); 17] = [
            ("names:\n  1: person\n  2: car\n", &[(1, "person"), (2, "car")]),
            (
                "nc: 2\nnames:\n  0: dog # big\n  # none\n\n  5: 'it''s'\nval: x",
                &[(0, "dog"), (5, "it's")],
            ),
            (
                "names:\n- dog  # big\n# a cat\n- \"c\\\"#at\"\nnc: 2\n",
                &[(0, "dog"), (1, "c\"#at")],
            ),
            ("names: # all\n  - a#b\n  - two words\n", &[(0, "a#b"), (1, "two words")]),
            ("names: ['a',\n 'b']\n", &[(0, "a"), (1, "b")]),
            (
                "names: [a, # one\n  \"b, c\", dog's,\n]\nnc: 3",
                &[(0, "a"), (1, "b, c"), (2, "dog's")],
            ),
            ("names: {0: dog, 2: cat} # two\n", &[(0, "dog"), (2, "cat")]),
            ("names: {\"1\":\"dog\",\n  3: 'c'}", &[(1, "dog"), (3, "c")]),
            ("names: []\n", &[]),
            ("names: {}\n", &[]),
            ("names:\nnc: 0\n", &[]),
            ("names:\r\n  0: dog\r\n  1: cat\r\n", &[(0, "dog"), (1, "cat")]),
            ("\u{feff}names: [a]", &[(0, "a")]),
            ("train: x\n", &[]),
            ("# names:\nother_names: [a]\n  names: [b]\n", &[]),
            ("names_of: [a]\nnames: [b]", &[(0, "b")]),
            ("", &[]),
        ];
        for (text, want) in cases {
            assert_eq!(of_yaml(text), Ok(names(want)), "{text}");
        }
        assert_eq!(of_lines("dog\r\n\n cat \n"), names(&[(0, "dog"), (2, "cat")]));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let cases = [
            ("names: dog", 1),
            ("nc: 1\nnames: |\n  dog", 2),
            ("names: [a", 1),
            ("names: [a b\n c]", 1),
            ("names: [[a], b]", 1),
            ("names: [a] b", 1),
            ("names: ['a' 'b']", 1),
            ("names: {dog: 0}", 1),
            ("names: {0: a, 0: b}", 1),
            ("names: {0: a", 1),
            ("names: [\"a\\x41\"]", 1),
            ("names:\n  dog: 0", 2),
            ("names:\n  0: a\n  - b", 3),
            ("names:\n  0: a\n    b", 3),
            ("names:\n  0: a\n  0: b", 3),
            ("names:\n  0:dog", 2),
            ("names:\n  0:\n", 2),
            ("names:\n  - \n", 2),
            ("names:\n  - a: b", 2),
            ("names:\n  - *a", 2),
            ("names:\n  - 'a' b", 2),
            ("names:\n  - 'a'#b", 2),
            ("names:\n  99999999999999999999: a", 2),
        ];
        for (text, line) in cases {
            assert_eq!(of_yaml(text).map_err(|odd| odd.line), Err(line), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(parts in proptest::collection::vec("names:|\n| |- |0: |1:|a|\\[|\\]|\\{|\\}|,|'|\"|#|\\\\|\u{e9}|:", 0..20)) {
            let _ = of_yaml(&parts.concat());
            let _ = of_yaml(&format!("names: {}", parts.concat()));
        }
    }
}
