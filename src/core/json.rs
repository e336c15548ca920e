//! JSON as DataChain stores it in cells: validated and split without building a tree.
//!
//! Bare `NaN`, `Infinity` and `-Infinity` are accepted as values. Everything is one pass over the
//! bytes.

/// The deepest nesting of lists and objects; deeper JSON is rejected.
const DEEPEST: usize = 128;

/// Whether `text` is one JSON value; `NaN` and infinities are allowed.
pub fn is_valid(text: &[u8]) -> bool {
    let mut scan = Scan { text, at: 0 };
    scan.space();
    scan.value(DEEPEST).is_some() && {
        scan.space();
        scan.at == text.len()
    }
}

/// The items of a JSON list, each as JSON text; `None` if it is not a list.
pub fn items(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    whole(text, b'[', b']', |scan| {
        let start = scan.at;
        scan.value(DEEPEST - 1)?;
        items.push(&text[start..scan.at]);
        Some(())
    })?;
    Some(items)
}

/// Whether `text` is a JSON list whose items, each as JSON text, all satisfy `is_good`. One pass, without a list
/// of the items.
pub fn all_items(text: &[u8], mut is_good: impl FnMut(&[u8]) -> bool) -> bool {
    let each = |scan: &mut Scan<'_>| {
        let start = scan.at;
        scan.value(DEEPEST - 1)?;
        is_good(&scan.text[start..scan.at]).then_some(())
    };
    whole(text, b'[', b']', each).is_some()
}

/// The fields of a JSON object in order, each value as JSON text; `None` if it is not an object.
pub fn fields(text: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let mut fields = Vec::new();
    whole(text, b'{', b'}', |scan| {
        let start = scan.at;
        scan.string()?;
        let name = self::text(&text[start..scan.at])?;
        scan.space();
        scan.byte(b':')?;
        scan.space();
        let start = scan.at;
        scan.value(DEEPEST - 1)?;
        fields.push((name, &text[start..scan.at]));
        Some(())
    })?;
    Some(fields)
}

/// The contents of a JSON string; `None` if it is not one.
pub fn text(string: &[u8]) -> Option<String> {
    match string {
        // Most strings hold no escape.
        [b'"', inner @ .., b'"'] if inner.iter().all(|b| !matches!(b, b'"' | b'\\' | 0..0x20)) => {
            std::str::from_utf8(inner).ok().map(str::to_owned)
        }
        _ => serde_json::from_slice(string).ok(),
    }
}

/// Scans one list or object with nothing after it.
fn whole<'t>(
    text: &'t [u8],
    begin: u8,
    end: u8,
    mut each: impl FnMut(&mut Scan<'t>) -> Option<()>,
) -> Option<()> {
    let mut scan = Scan { text, at: 0 };
    scan.space();
    if scan.peek()? != begin {
        return None;
    }
    scan.many(DEEPEST, end, |scan, _| each(scan))?;
    scan.space();
    (scan.at == text.len()).then_some(())
}

/// A position in a JSON text. Every step returns `None` if the text is malformed.
struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn word(&mut self, wanted: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(wanted).then(|| self.at += wanted.len())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(),
            b'[' => self.many(depth, b']', Self::value),
            b'{' => self.many(depth, b'}', Self::pair),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'N' => self.word(b"NaN"),
            b'I' => self.word(b"Infinity"),
            _ => self.number(),
        }
    }

    fn pair(&mut self, depth: usize) -> Option<()> {
        self.string()?;
        self.space();
        self.byte(b':')?;
        self.space();
        self.value(depth)
    }

    /// Scans the comma-separated contents of brackets.
    fn many(
        &mut self,
        depth: usize,
        end: u8,
        mut each: impl FnMut(&mut Self, usize) -> Option<()>,
    ) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.at += 1;
        self.space();
        if self.byte(end).is_some() {
            return Some(());
        }
        loop {
            each(self, depth)?;
            self.space();
            if self.byte(end).is_some() {
                return Some(());
            }
            self.byte(b',')?;
            self.space();
        }
    }

    fn string(&mut self) -> Option<()> {
        self.byte(b'"')?;
        loop {
            let rest = self.text.get(self.at..)?;
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            self.at += plain + 1;
            match rest[plain] {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            _ => None,
        }
    }

    fn digits(&mut self) -> Option<()> {
        let count = digits(self.text.get(self.at..)?);
        self.at += count;
        (count > 0).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.byte(b'-').is_some() && self.peek() == Some(b'I') {
            return self.word(b"Infinity");
        }
        match self.byte(b'0') {
            Some(()) => {}
            None => self.digits()?,
        }
        if self.byte(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }
}

/// The number of ASCII digits that `text` begins with. Eight at a time: vectors are mostly digits.
fn digits(text: &[u8]) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let (words, rest) = text.as_chunks::<8>();
    let mut count = 0;
    for word in words {
        // A digit becomes 0 to 9; adding 118 sets the highest bit of every larger byte.
        let value = u64::from_le_bytes(*word) ^ (EACH * 0x30);
        let others = (((value & (EACH * 0x7f)) + EACH * 118) | value) & (EACH * 0x80);
        if others != 0 {
            return count + others.trailing_zeros() as usize / 8;
        }
        count += 8;
    }
    count + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_json_from_other_text() {
        let good = ["0", "-0.5e+3", "\"\\u00e9\\/\"", "[1,[2],{}]", "{\"a\":{\"b\":null}}", "NaN"];
        let bad = [
            "",
            "01",
            "1.",
            "-",
            "+1",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "[1] 2",
            "nul",
            "-NaN",
            "1e",
            "\"",
        ];
        for text in good {
            assert!(is_valid(text.as_bytes()), "{text}");
        }
        for text in bad {
            assert!(!is_valid(text.as_bytes()), "{text}");
        }
        let nest = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(is_valid(nest(DEEPEST).as_bytes()) && !is_valid(nest(DEEPEST + 1).as_bytes()));
        assert!(!is_valid("[".repeat(1_000_000).as_bytes()));
        for depth in DEEPEST - 1..=DEEPEST + 1 {
            let (list, object) = (nest(depth), format!("{{\"a\":{}}}", nest(depth - 1)));
            let is_read = is_valid(list.as_bytes());
            assert_eq!(items(list.as_bytes()).is_some(), is_read, "{depth}");
            assert_eq!(all_items(list.as_bytes(), |_| true), is_read, "{depth}");
            assert_eq!(fields(object.as_bytes()).is_some(), is_read, "{depth}");
        }
    }

    #[test]
    fn digits_are_counted_to_the_first_other_byte() {
        for length in 0..20 {
            for other in 0..=u8::MAX {
                let text = [&b"0123456789"[..], b"9876543210"].concat();
                let text = [&text[..length], &[other], b"12345678"].concat();
                let want = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
                assert_eq!(digits(&text), want, "{length} digits, then {other}");
            }
        }
    }

    #[test]
    fn items_are_judged_in_one_pass() {
        let is_short = |item: &[u8]| item.len() < 3;
        let cases = [
            ("[]", true),
            (" [1, 22 ,[]] ", true),
            ("[1,333]", false),
            ("[1,]", false),
            ("[1] 2", false),
            ("{}", false),
            ("1", false),
            ("[nul]", false),
        ];
        for (text, want) in cases {
            assert_eq!(all_items(text.as_bytes(), is_short), want, "{text}");
        }
    }

    #[test]
    fn takes_lists_and_objects_apart() {
        let texts = |items: Option<Vec<&[u8]>>| {
            items.map(|i| {
                i.iter().map(|t| String::from_utf8_lossy(t).into_owned()).collect::<Vec<_>>()
            })
        };
        let cases: [(&str, Option<&[&str]>); 7] = [
            ("[]", Some(&[])),
            (" [ 1 , [2, 3],{\"a\":\"]\"} ] ", Some(&["1", "[2, 3]", "{\"a\":\"]\"}"])),
            ("[NaN,-Infinity]", Some(&["NaN", "-Infinity"])),
            ("[1] 2", None),
            ("[1,]", None),
            ("{}", None),
            ("", None),
        ];
        for (text, want) in cases {
            let want = want.map(|w| w.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
            assert_eq!(texts(items(text.as_bytes())), want, "{text}");
        }
        let found = fields(b"{\"a\\u0062\": [1], \"c\":null}").expect("an object");
        assert_eq!(found, [("ab".to_owned(), &b"[1]"[..]), ("c".to_owned(), b"null")]);
        assert_eq!(fields(b"[1]"), None);
        assert_eq!(text(b"\"a\\/b\"").as_deref(), Some("a/b"));
        assert_eq!(text(b"7"), None);
        let cases: [(&[u8], Option<&str>); 5] = [
            (b"\"\"", Some("")),
            (b"\"\xc3\xa9\"", Some("\u{e9}")),
            (b"\"\xff\"", None),
            (b"\"a\"b\"", None),
            (b"\"", None),
        ];
        for (string, want) in cases {
            assert_eq!(text(string).as_deref(), want, "{string:?}");
        }
    }
}
