//! The dialect of `~/.aws/config` and `~/.aws/credentials`: Python's `configparser`, as the AWS
//! command line uses it, with its one level of nesting. Pure.
//!
//! 1. `[section]` begins a section; `name = value` or `name: value` sets a name, which is lowercased.
//! 2. A line whose first character is `#` or `;` is a comment, at any indentation; there are no comments after
//!    a value.
//! 3. A line indented deeper than the name above it continues that name's value.
//! 4. If a value is empty and continued, its lines are names and values of their own (`s3 =`), separated by `=`
//!    only.
//!
//! One difference: a duplicate section or name is an error in Python; here, as in AWS's other tools, sections
//! are merged and the last value wins. `tests/python/test_aws.py` checks the rest against `botocore` itself.

use std::collections::BTreeMap;

/// Sections in the order of the file, each once.
pub type Sections = Vec<(String, Section)>;

/// The names of a section.
pub type Section = BTreeMap<String, Value>;

/// The value of a name.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Trimmed; continuation lines are joined by `\n`.
    Text(String),
    Nested(BTreeMap<String, String>),
}

/// Values may be secrets.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("...")
    }
}

/// A syntax error, and its line, counted from 1. Never repeats a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub line: usize,
    pub cause: &'static str,
}

/// Parses a file.
///
/// # Errors
/// Anything that Python's parser refuses too: text before the first section, a line that is neither a name nor
/// a section, bytes that are not UTF-8.
pub fn parse(bytes: &[u8]) -> Result<Sections, Wrong> {
    let text = std::str::from_utf8(bytes).map_err(|error| Wrong {
        line: bytes[..error.valid_up_to()].split(|b| *b == b'\n').count(),
        cause: "it is not UTF-8",
    })?;
    // A byte order mark, as written on Windows.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader::default();
    for (number, line) in text.split(['\n', '\r']).enumerate() {
        reader.line(number + 1, line)?;
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    sections: Sections,
    open: Option<Open>,
}

/// The name that following lines may continue.
struct Open {
    name: String,
    /// Its indentation, in characters.
    depth: usize,
    lines: Vec<String>,
    /// Its line number.
    number: usize,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), Wrong> {
        let text = line.trim();
        if text.starts_with(['#', ';']) {
            return Ok(());
        }
        let depth = line.chars().take_while(|c| c.is_whitespace()).count();
        match &mut self.open {
            Some(open) if text.is_empty() || depth > open.depth => open.lines.push(text.into()),
            _ if text.is_empty() => {}
            _ => self.begin(number, depth, text)?,
        }
        Ok(())
    }

    /// Handles a line that is not a continuation.
    fn begin(&mut self, number: usize, depth: usize, text: &str) -> Result<(), Wrong> {
        let wrong = |cause| Wrong { line: number, cause };
        self.close()?;
        if let Some(name) = header(text) {
            self.section(name);
            return Ok(());
        }
        let (name, value) = text
            .split_once(['=', ':'])
            .ok_or(wrong("it is neither `[section]` nor `name = value`"))?;
        if name.trim().is_empty() {
            return Err(wrong("there is no name before `=`"));
        }
        if self.sections.is_empty() {
            return Err(wrong("it stands before the first `[section]`"));
        }
        let (name, lines) = (name.trim().to_lowercase(), vec![value.trim().to_owned()]);
        self.open = Some(Open { name, depth, lines, number });
        Ok(())
    }

    /// Makes `name` the current section.
    fn section(&mut self, name: &str) {
        let known = self.sections.iter().position(|(other, _)| other == name);
        let section = match known {
            Some(at) => self.sections.remove(at),
            None => (name.to_owned(), Section::new()),
        };
        self.sections.push(section);
    }

    /// Stores the value of the open name.
    fn close(&mut self) -> Result<(), Wrong> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let text = open.lines.join("\n");
        let text = text.trim_end();
        let value = match text.starts_with('\n') {
            true => Value::Nested(nested(open.number, text)?),
            false => Value::Text(text.to_owned()),
        };
        if let Some((_, section)) = self.sections.last_mut() {
            section.insert(open.name, value);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Sections, Wrong> {
        self.close()?;
        Ok(self.sections)
    }
}

/// `name` of `[name]`; text after the last bracket is ignored, as in Python.
fn header(text: &str) -> Option<&str> {
    let name = text.strip_prefix('[')?.rsplit_once(']')?.0;
    (!name.is_empty()).then_some(name)
}

/// The nested lines below the name in line `number`.
fn nested(number: usize, text: &str) -> Result<BTreeMap<String, String>, Wrong> {
    let pair = |line: &str| {
        let (name, value) = line
            .split_once('=')
            .ok_or(Wrong { line: number, cause: "a line below it is not `name = value`" })?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.lines().filter(|line| !line.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `section.name=value|...`, nested names after a slash.
    fn read(text: &str) -> String {
        let sections = match parse(text.as_bytes()) {
            Ok(sections) => sections,
            Err(wrong) => return format!("{}: {}", wrong.line, wrong.cause),
        };
        let mut shown = Vec::new();
        for (section, names) in sections {
            shown.push(format!("[{section}]"));
            for (name, value) in names {
                match value {
                    Value::Text(text) => shown.push(format!("{name}={text:?}")),
                    Value::Nested(inner) => {
                        shown.extend(inner.iter().map(|(n, v)| format!("{name}/{n}={v:?}")));
                    }
                }
            }
        }
        shown.join(" ")
    }

    #[test]
    fn reads_the_dialect() {
        let cases = [
            ("", ""),
            ("[a]", "[a]"),
            ("[a]\nk = v\nK2=v2", "[a] k=\"v\" k2=\"v2\""),
            ("  [a]\n  k=v\n  l=w", "[a] k=\"v\" l=\"w\""),
            ("[a]\nk: v", "[a] k=\"v\""),
            ("[a]\nk = v = w : x", "[a] k=\"v = w : x\""),
            ("[a]\nk = v # no comment", "[a] k=\"v # no comment\""),
            ("# c\n; c\n[a] # c\n  # c\nk=v\n#k=w", "[a] k=\"v\""),
            ("[a]\nk =", "[a] k=\"\""),
            ("[a]\nk = v\n  w\n\n  x\nl=1", "[a] k=\"v\\nw\\n\\nx\" l=\"1\""),
            (
                "[a]\ns3 =\n  endpoint_url = http://h:1/?a=b\n  # c\n\n  X=y\nk=v",
                "[a] k=\"v\" s3/X=\"y\" s3/endpoint_url=\"http://h:1/?a=b\"",
            ),
            ("[a]\ns3 =\n\tk = v\n[b]", "[a] s3/k=\"v\" [b]"),
            ("[profile \"my own\"]\r\nk=v\r\n", "[profile \"my own\"] k=\"v\""),
            ("[a]\rk=v", "[a] k=\"v\""),
            ("\u{feff}[a]\nk=v", "[a] k=\"v\""),
            ("[a]\nk=1\n[b]\nk=2\n[a]\nk=3\nl=4", "[b] k=\"2\" [a] k=\"3\" l=\"4\""),
            ("[a]\nk=1\nk=2", "[a] k=\"2\""),
            ("[a]b]\nk=1", "[a]b] k=\"1\""),
            ("[a]\nk=v\n [b]\n", "[a] k=\"v\\n[b]\""),
            ("[a]\nk=\u{e9}\u{1b}\0", "[a] k=\"\u{e9}\\u{1b}\\0\""),
        ];
        for (text, want) in cases {
            assert_eq!(read(text), want, "{text:?}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let cases = [
            ("k = v", "1: it stands before the first `[section]`"),
            ("[a]\n\nhush", "3: it is neither `[section]` nor `name = value`"),
            ("[]", "1: it is neither `[section]` nor `name = value`"),
            ("[a]\n= hush", "2: there is no name before `=`"),
            ("[a]\ns3 =\n  hush", "2: a line below it is not `name = value`"),
        ];
        for (text, want) in cases {
            assert_eq!(read(text), want, "{text:?}");
        }
        let wrong = parse(b"[a]\nk=\xff").unwrap_err();
        assert_eq!((wrong.line, wrong.cause), (2, "it is not UTF-8"));
    }

    #[test]
    fn values_are_not_printed() {
        let sections = parse(b"[a]\nk=hush").unwrap();
        assert!(!format!("{sections:?}").contains("hush"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_lines_are_read_or_refused(text in "(\\[[ab]?\\]|[ \t]{0,3}[a-c#;=:]{0,4}|\r?\n){0,30}") {
            let _ = parse(text.as_bytes());
        }
    }
}
