//! Rewrites Python patterns for the crates `regex` and `fancy-regex`.

/// Python's word characters, for use inside a class.
const WORD: &str = r"\p{L}\p{N}_";

/// Python's white space, for use inside a class: four separators more than Unicode's.
const SPACE: &str = r"\s\x1c-\x1f";

/// A rewritten pattern.
pub struct Written {
    pub pattern: String,
    /// Whether it has a possessive quantifier such as `a*+`, which `regex` reads as `(a*)+`.
    pub is_possessive: bool,
    /// Whether it has word boundaries.
    pub has_edges: bool,
}

/// Rewrites a Python pattern.
pub struct Writer<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    out: String,
    /// Whether `^` and `$` match at lines anywhere in the pattern.
    lines: bool,
    /// Whether the last thing written is a quantifier.
    is_repeated: bool,
    is_possessive: bool,
    has_edges: bool,
    /// Capturing groups so far, the highest one that a condition refers to, and their names.
    groups: u32,
    asked: u32,
    names: Vec<String>,
    /// Whether constructs that `regex` lacks may be written.
    looks_around: bool,
}

impl<'p> Writer<'p> {
    /// `looks_around`: writes for `fancy-regex`, which has more constructs than `regex`.
    pub fn of(pattern: &'p str, looks_around: bool) -> Self {
        Self {
            rest: pattern.chars().peekable(),
            out: String::new(),
            lines: has_lines(pattern),
            is_repeated: false,
            is_possessive: false,
            has_edges: false,
            groups: 0,
            asked: 0,
            names: Vec::new(),
            looks_around,
        }
    }

    /// # Errors
    /// A message that says why the pattern is invalid; the crates report the errors that only they
    /// detect.
    pub fn write(mut self) -> Result<Written, String> {
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
        if self.asked > self.groups {
            return Err(format!("the regular expression has no group {}", self.asked));
        }
        let Self { out: pattern, is_possessive, has_edges, .. } = self;
        Ok(Written { pattern, is_possessive, has_edges })
    }

    /// The suffix of a quantifier: lazy or possessive.
    fn repeated(&mut self, was_repeated: bool) -> Result<(), String> {
        if was_repeated {
            return Err(
                "a regular expression cannot repeat a repetition; put `(?:...)` around it".into()
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

    /// `$`: the end, or before a final newline.
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
            (true, c) => self.out += &edge(c == 'b'),
        }
    }

    fn literal(&mut self, c: char) {
        if c.is_whitespace() {
            // Under the flag `x` only an escape is not ignored as layout, even in a class.
            self.out += &format!(r"\x{{{:x}}}", u32::from(c));
            return;
        }
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// `[...]`, in which Python has neither nested classes nor `&&`.
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

    /// A construct that begins with `(`: its flags must be known.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            self.groups += 1;
            return Ok(());
        }
        self.out.push('?');
        let mut ahead = self.rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('('), _) => self.condition(),
            (Some('P'), Some('<')) => {
                self.groups += 1;
                self.names.push(ahead.take_while(|c| *c != '>').collect());
                Ok(())
            }
            (Some('P'), Some('=')) => {
                self.known(&ahead.take_while(|c| *c != ')').collect::<String>())
            }
            (Some(':' | '=' | '!' | '>'), _) | (Some('<'), Some('=' | '!')) => Ok(()),
            (Some('a'..='z' | 'L' | '-'), _) => self.flags(),
            _ => Err("a regular expression has an unknown group after `(?`".into()),
        }
    }

    /// `(1)` and `(name)` of `(?(1)then|else)`.
    fn condition(&mut self) -> Result<(), String> {
        self.rest.next();
        let group: String = self.rest.by_ref().take_while(|c| *c != ')').collect();
        match group.parse() {
            Ok(number) if number > 0 => self.asked = self.asked.max(number),
            _ => self.known(&group)?,
        }
        self.out.extend(["(", &group, ")"]);
        Ok(())
    }

    /// Whether a group has this name.
    fn known(&self, name: &str) -> Result<(), String> {
        match self.names.iter().any(|known| known == name) {
            true => Ok(()),
            false => Err(format!("the regular expression has no group `{name}` before this")),
        }
    }

    /// Checks that the flags are supported.
    fn flags(&self) -> Result<(), String> {
        let is_flag = |c: &char| c.is_ascii_alphabetic() || *c == '-';
        let flags: String = self.rest.clone().take_while(is_flag).collect();
        let unknown = flags.chars().find(|c| matches!(c, 'a' | 'L'));
        match unknown {
            Some(flag) if flags.chars().all(|c| "aiLmsux-".contains(c)) => {
                Err(format!("the flag `{flag}` of regular expressions is not supported"))
            }
            _ => Ok(()),
        }
    }

    /// `{2,3}` after its brace; any other brace is literal.
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

/// Whether a group of flags turns on multi-line mode.
fn has_lines(pattern: &str) -> bool {
    pattern.match_indices("(?").any(|(at, _)| {
        let flags = pattern[at + 2..].chars().take_while(char::is_ascii_alphabetic);
        flags.collect::<String>().contains('m')
    })
}

/// A word boundary by Python's word characters, or its negation. `regex` counts marks as word
/// characters: the accent of a letter written as two characters.
fn edge(is_one: bool) -> String {
    let (one, other) = if is_one { ("?!", "?=") } else { ("?=", "?!") };
    format!("(?:(?<=[{WORD}])({one}[{WORD}])|(?<![{WORD}])({other}[{WORD}]))")
}
