//! A command line split as by Python's `shlex.split`, which is how the AWS command line runs
//! `credential_process`: no shell, no variables, no patterns, and no comments (where crates for this differ).

/// Splits `text` into words; `None` if a quote is not closed, or a backslash is the last character.
pub fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word) = (Vec::new(), None);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => single(&mut rest, word.get_or_insert_default())?,
            '"' => double(&mut rest, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(rest.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// Reads up to the next `'`, verbatim.
fn single(rest: &mut std::str::Chars, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '\'' => return Some(()),
            c => word.push(c),
        }
    }
}

/// Reads up to the next `"`; a backslash is literal except before `"` and `\`.
fn double(rest: &mut std::str::Chars, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '"' => return Some(()),
            '\\' => match rest.next()? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_apart_as_python_does() {
        let cases: [(&str, Option<&[&str]>); 13] = [
            ("", Some(&[])),
            ("  a  b\tc\nd ", Some(&["a", "b", "c", "d"])),
            ("a 'b c' \"d e\"", Some(&["a", "b c", "d e"])),
            ("a'b'\"c\"d", Some(&["abcd"])),
            ("'' \"\"", Some(&["", ""])),
            ("a\\ b \\' \\\\", Some(&["a b", "'", "\\"])),
            ("'a\\b' \"a\\b\\\"\\\\\"", Some(&["a\\b", "a\\b\"\\"])),
            ("a #b", Some(&["a", "#b"])),
            ("$HOME *.x ~ a;b|c", Some(&["$HOME", "*.x", "~", "a;b|c"])),
            ("/opt/\u{e9} --x='1 2'", Some(&["/opt/\u{e9}", "--x=1 2"])),
            ("'a", None),
            ("\"a\\\"", None),
            ("a\\", None),
        ];
        for (text, want) in cases {
            let want = want.map(|words| words.iter().map(ToString::to_string).collect());
            assert_eq!(words(text), want, "{text}");
        }
    }
}
