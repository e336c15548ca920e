//! A pattern of Python as the crates `regex` and `fancy-regex` read it.

/// Python's word characters, for the inside of a class.
const WORD: &str = r"\p{L}\p{N}_";

/// Python's white space, for the inside of a class: four separators more than Unicode's.
const SPACE: &str = r"\s\x1c-\x1f";

/// A pattern, written anew.
pub struct Written {
    pub pattern: String,
    /// Whether something repeats without giving back, as in `a*+`, which `regex` takes for `(a*)+`.
    pub is_possessive: bool,
    /// Whether it asks where words begin or end.
    pub has_edges: bool,
}

/// Writes a pattern of Python anew.
pub struct Writer<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    out: String,
    /// Whether `^` and `$` stand at lines, anywhere in the pattern.
    lines: bool,
    /// Whether the last thing written says how often the one before it comes.
    is_repeated: bool,
    is_possessive: bool,
    has_edges: bool,
    /// Groups that capture so far, the largest that a condition asks for, and their names.
    groups: u32,
    asked: u32,
    names: Vec<String>,
    /// Whether what `regex` cannot say may be written.
    looks_around: bool,
}

impl<'p> Writer<'p> {
    /// `looks_around`: for `fancy-regex`, which reads more than `regex`.
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
    /// What is wrong with the pattern, in words; what only the crates see is told by them.
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
            (true, c) => self.out += &edge(c == 'b'),
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
            _ => Err("a regular expression has `(?`, and then what means nothing".into()),
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

    /// Those that are known here.
    fn flags(&self) -> Result<(), String> {
        let is_flag = |c: &char| c.is_ascii_alphabetic() || *c == '-';
        let flags: String = self.rest.clone().take_while(is_flag).collect();
        let unknown = flags.chars().find(|c| matches!(c, 'a' | 'L'));
        match unknown {
            Some(flag) if flags.chars().all(|c| "aiLmsux-".contains(c)) => {
                Err(format!("the flag `{flag}` of regular expressions is not known here"))
            }
            _ => Ok(()),
        }
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

/// Where a word begins or ends, by Python's word characters, or where not. `regex` has marks among them:
/// the accent of a letter that is written as two characters.
fn edge(is_one: bool) -> String {
    let (one, other) = if is_one { ("?!", "?=") } else { ("?=", "?!") };
    format!("(?:(?<=[{WORD}])({one}[{WORD}])|(?<![{WORD}])({other}[{WORD}]))")
}
