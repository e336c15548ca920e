//! Builds a tree from tokens: a Pratt parser with SQLite's precedence.
//!
//! Loosest first: `or`, `and`, `not`, then `= != in like between is`, `< <= > >=`, `+ -`, `* / %`,
//! `||`, unary minus, `[0]` and `.x`. `and` and `or` are flat lists, so that a chain of thousands
//! of terms is as deep as one of two; everything else is at most [`DEEPEST`] deep.

use super::error::{Error, Result, Span};
use super::lex::{self, Lexeme, Token};
use super::syntax::{Arithmetic, Comparison, Kind, Literal, Match, Node, Query};

/// The deepest nesting of a filter.
pub const DEEPEST: usize = 64;

/// Words that name a column only in backquotes.
const RESERVED: [&str; 17] = [
    "and", "between", "false", "glob", "ilike", "in", "is", "like", "limit", "not", "null",
    "offset", "or", "order", "regexp", "true", "by",
];

/// The binding power of each kind of operator.
mod binds {
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const NOT: u8 = 3;
    pub const EQUALITY: u8 = 4;
    pub const ORDER: u8 = 5;
    pub const SUM: u8 = 6;
    pub const PRODUCT: u8 = 7;
    pub const CONCAT: u8 = 8;
    pub const SIGN: u8 = 9;
}

/// Whether a bare word is a keyword instead of a column.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

/// Parses a filter and its `order by`, `limit` and `offset`.
///
/// # Errors
/// Anything that is not a filter, with the position; the error holds the text.
pub fn parse(text: &str) -> Result<Query> {
    let read = || {
        let lexemes = lex::tokens(text)?;
        let hint = if begins_with_where(&lexemes) { "; leave out `where`" } else { "" };
        let parser = Parser { text, lexemes, at: 0, depth: 0 };
        parser.query().map_err(|error| error.with_hint(hint))
    };
    read().map_err(|error: Error| error.in_text(text))
}

struct Parser<'t> {
    text: &'t str,
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
}

/// An operator between two operands.
#[derive(Clone, Copy)]
enum Infix {
    Or,
    And,
    Compare(Comparison),
    Arithmetic(Arithmetic),
    /// `in`, `between`, `like` and its variants; whether `not` precedes it.
    In(bool),
    Between(bool),
    Match(Match, bool),
    Is,
}

impl Infix {
    const fn binds(self) -> u8 {
        match self {
            Self::Or => binds::OR,
            Self::And => binds::AND,
            Self::Compare(Comparison::Equal | Comparison::NotEqual) => binds::EQUALITY,
            Self::Compare(_) => binds::ORDER,
            Self::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => binds::SUM,
            Self::Arithmetic(Arithmetic::Concat) => binds::CONCAT,
            Self::Arithmetic(_) => binds::PRODUCT,
            Self::In(_) | Self::Between(_) | Self::Match(..) | Self::Is => binds::EQUALITY,
        }
    }
}

impl Parser<'_> {
    fn query(mut self) -> Result<Query> {
        let filter = if self.is_tail() { None } else { Some(self.expression(0)?) };
        let mut order = Vec::new();
        if self.take_word("order") {
            if !self.take_word("by") {
                return Err(self.expected("`by` after `order`"));
            }
            order.push(self.key()?);
            while self.take(",") {
                order.push(self.key()?);
            }
        }
        let limit = if self.take_word("limit") { Some(self.count("limit")?) } else { None };
        let offset = if self.take_word("offset") { self.count("offset")? } else { 0 };
        match self.peek() {
            Token::End => Ok(Query { filter, order, limit, offset }),
            _ if self.is_word(self.at, "order") && limit.is_some() => {
                Err(Error::new(self.span(), "`order by` stands before `limit`"))
            }
            _ if self.is_word(self.at, "limit") => {
                Err(Error::new(self.span(), "`limit` stands before `offset`"))
            }
            _ => Err(self.expected("an operator or the end")),
        }
    }

    fn is_tail(&self) -> bool {
        ["order", "limit", "offset"].iter().any(|word| self.is_word(self.at, word))
    }

    /// One key of `order by`.
    fn key(&mut self) -> Result<(Node, bool)> {
        let node = self.expression(0)?;
        let down = self.take_word("desc");
        if !down {
            self.take_word("asc");
        }
        Ok((node, down))
    }

    fn count(&mut self, what: &str) -> Result<u64> {
        match self.peek() {
            Token::Int(count) if i64::try_from(*count).is_ok() => {
                let count = *count;
                self.at += 1;
                Ok(count)
            }
            _ => Err(self.expected(&format!("a whole number after `{what}`"))),
        }
    }

    /// Parses an expression whose operators all bind tighter than `above`.
    fn expression(&mut self, above: u8) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(too_deep(self.span()));
        }
        let mut left = self.prefix()?;
        while let Some((infix, length)) = self.infix() {
            if infix.binds() <= above {
                break;
            }
            self.at += length;
            left = self.follow(left, infix)?;
            if left.height > DEEPEST {
                return Err(too_deep(left.span));
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    /// The next infix operator, and the number of its tokens.
    fn infix(&self) -> Option<(Infix, usize)> {
        if let Token::Sign(sign) = self.peek() {
            let compare = Comparison::of_sign(sign).map(Infix::Compare);
            let found = compare.or_else(|| Arithmetic::of_sign(sign).map(Infix::Arithmetic));
            return Some((found?, 1));
        }
        let negated = self.is_word(self.at, "not");
        let at = self.at + usize::from(negated);
        let word = |word: &str| self.is_word(at, word);
        let matched = Match::ALL.into_iter().find(|kind| word(kind.word()));
        let found = match matched {
            Some(kind) => Infix::Match(kind, negated),
            None if word("in") => Infix::In(negated),
            None if word("between") => Infix::Between(negated),
            None if negated => return None,
            None if word("is") => Infix::Is,
            None if word("and") => Infix::And,
            None if word("or") => Infix::Or,
            None => return None,
        };
        Some((found, 1 + usize::from(negated)))
    }

    /// Parses the right side of an operator and joins it with the left side.
    fn follow(&mut self, left: Node, infix: Infix) -> Result<Node> {
        let start = left.span.start;
        let (kind, negated) = match infix {
            Infix::Or => (self.chain(left, infix.binds(), "or")?, false),
            Infix::And => (self.chain(left, infix.binds(), "and")?, false),
            Infix::Compare(comparison) => {
                let right = self.operand(infix.binds())?;
                (Kind::Compare(comparison, left.into(), right.into()), false)
            }
            Infix::Arithmetic(operation) => {
                let right = self.expression(infix.binds())?;
                (Kind::Arithmetic(operation, left.into(), right.into()), false)
            }
            Infix::In(negated) => (Kind::In(left.into(), self.list("(", ")")?), negated),
            Infix::Between(negated) => (self.between(left)?, negated),
            Infix::Match(kind, negated) => {
                let pattern = self.operand(infix.binds())?;
                (Kind::Match(kind, left.into(), pattern.into()), negated)
            }
            Infix::Is => {
                let negated = self.take_word("not");
                if !self.take_word("null") {
                    return Err(self.expected("`null` or `not null` after `is`"));
                }
                (Kind::IsNull(left.into()), negated)
            }
        };
        let span = start..self.end();
        let node = Node::new(kind, span.clone());
        Ok(if negated { Node::new(Kind::Not(node.into()), span) } else { node })
    }

    /// The rest of `a and b and c`, as one list.
    fn chain(&mut self, first: Node, binds: u8, word: &str) -> Result<Kind> {
        let mut terms = vec![first, self.expression(binds)?];
        while self.take_word(word) {
            terms.push(self.expression(binds)?);
        }
        Ok(if binds == binds::OR { Kind::Or(terms) } else { Kind::And(terms) })
    }

    fn between(&mut self, left: Node) -> Result<Kind> {
        let low = self.operand(binds::EQUALITY)?;
        if !self.take_word("and") {
            return Err(self.expected("`and` between the two ends"));
        }
        let high = self.operand(binds::EQUALITY)?;
        Ok(Kind::Between(left.into(), low.into(), high.into()))
    }

    /// A comma-separated list between two signs; may be empty.
    fn list(&mut self, open: &'static str, close: &'static str) -> Result<Vec<Node>> {
        if !self.take(open) {
            return Err(self.expected(&format!("`{open}`")));
        }
        let mut items = Vec::new();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(self.operand(0)?);
            if self.take(close) {
                return Ok(items);
            }
            if !self.take(",") {
                return Err(self.expected(&format!("`,` or `{close}`")));
            }
        }
    }

    /// An operand that may be a bare word: `golden-retriever`.
    fn operand(&mut self, above: u8) -> Result<Node> {
        let (start, end) = (self.at, self.bare_end());
        if end < start + 2 && !matches!(self.peek(), Token::Scrap) {
            return self.expression(above);
        }
        let depth = self.depth;
        let read = self.expression(above);
        if read.is_ok() && self.at > end {
            return read;
        }
        let meant = read.ok().filter(|_| self.at == end);
        (self.at, self.depth) = (end, depth);
        let span = self.lexemes[start].span.start..self.lexemes[end - 1].span.end;
        let word = self.text[span.clone()].to_owned();
        Ok(Node::new(Kind::Bare(word, meant.map(Box::new)), span))
    }

    /// The end of the run of adjacent tokens that begins here and consists of letters, digits, `_`,
    /// `.` and `-`.
    fn bare_end(&self) -> usize {
        let is_bare = |text: &str| text.chars().all(|c| lex::continues_word(c) || ".-".contains(c));
        let mut end = self.at;
        while let Some(lexeme) = self.lexemes.get(end)
            && lexeme.token != Token::End
            && (end == self.at || self.lexemes[end - 1].span.end == lexeme.span.start)
            && is_bare(&self.text[lexeme.span.clone()])
        {
            end += 1;
        }
        end
    }

    fn prefix(&mut self) -> Result<Node> {
        let start = self.span().start;
        let kind = if self.take_word("not") {
            Kind::Not(self.expression(binds::NOT - 1)?.into())
        } else if self.take("-") {
            match self.peek() {
                // `i64::MIN` has no positive counterpart.
                Token::Int(number) if *number == 1 << 63 => {
                    self.at += 1;
                    Kind::Literal(Literal::Int(i64::MIN))
                }
                _ => Kind::Minus(self.expression(binds::SIGN)?.into()),
            }
        } else if self.take("+") {
            return self.expression(binds::SIGN);
        } else {
            return self.postfix();
        };
        Ok(Node::new(kind, start..self.end()))
    }

    /// `x`, `x[0]`, `x[0].y.z`, `x["key"]`.
    fn postfix(&mut self) -> Result<Node> {
        let mut node = self.atom()?;
        loop {
            if node.height > DEEPEST {
                return Err(too_deep(node.span));
            }
            if self.take("[") {
                node = self.index(node)?;
            } else if self.take(".") {
                node = self.member(node)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn index(&mut self, of: Node) -> Result<Node> {
        let index = self.expression(0)?;
        if !self.take("]") {
            return Err(self.expected("`]`"));
        }
        let span = of.span.start..self.end();
        Ok(Node::new(Kind::Index(of.into(), index.into()), span))
    }

    /// The names after a point: `.y.z` is one token.
    fn member(&mut self, of: Node) -> Result<Node> {
        let names: Vec<String> = match self.peek() {
            Token::Word(word) => word.split('.').map(str::to_owned).collect(),
            Token::Quoted(name) => vec![name.clone()],
            _ => return Err(self.expected("a name after `.`")),
        };
        self.at += 1;
        let span = of.span.start..self.end();
        let join = |node: Node, name| Node::new(Kind::Member(node.into(), name), span.clone());
        Ok(names.into_iter().fold(of, join))
    }

    fn atom(&mut self) -> Result<Node> {
        let start = self.span().start;
        let kind = match self.peek().clone() {
            Token::Int(number) => self.literal(match i64::try_from(number) {
                Ok(number) => Literal::Int(number),
                Err(_) => Literal::Real(number as f64),
            }),
            Token::Real(number) => self.literal(Literal::Real(number)),
            Token::Text(text) => self.literal(Literal::Text(text)),
            Token::Quoted(name) => {
                self.at += 1;
                Kind::Quoted(name)
            }
            Token::Word(word) => self.word(&word)?,
            Token::Sign("[") => Kind::List(self.list("[", "]")?),
            Token::Sign("(") => {
                self.at += 1;
                let inside = self.expression(0)?;
                if !self.take(")") {
                    return Err(self.expected("`)`"));
                }
                return Ok(Node { span: start..self.end(), ..inside });
            }
            _ => return Err(self.expected("a value")),
        };
        Ok(Node::new(kind, start..self.end()))
    }

    fn literal(&mut self, literal: Literal) -> Kind {
        self.at += 1;
        Kind::Literal(literal)
    }

    fn word(&mut self, word: &str) -> Result<Kind> {
        let constants = [
            ("true", Literal::Bool(true)),
            ("false", Literal::Bool(false)),
            ("null", Literal::Null),
        ];
        if let Some((_, literal)) =
            constants.into_iter().find(|(w, _)| w.eq_ignore_ascii_case(word))
        {
            return Ok(self.literal(literal));
        }
        if is_reserved(word) {
            return Err(self.expected(&format!(
                "a value (a column of this name is written `{word}` in backquotes)"
            )));
        }
        self.at += 1;
        if matches!(self.peek(), Token::Sign("(")) {
            return Ok(Kind::Call(word.to_owned(), self.list("(", ")")?));
        }
        Ok(Kind::Name(word.to_owned()))
    }

    fn peek(&self) -> &Token {
        &self.lexemes[self.at].token
    }

    fn span(&self) -> Span {
        self.lexemes[self.at].span.clone()
    }

    /// The end of the previous token.
    fn end(&self) -> usize {
        self.lexemes[self.at - 1].span.end
    }

    fn is_word(&self, at: usize, wanted: &str) -> bool {
        matches!(self.lexemes.get(at), Some(Lexeme { token: Token::Word(word), .. }) if word.eq_ignore_ascii_case(wanted))
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let found = self.is_word(self.at, wanted);
        self.at += usize::from(found);
        found
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(sign) if *sign == wanted);
        self.at += usize::from(found);
        found
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.peek() {
            Token::End => "the filter ends".to_owned(),
            _ => format!("found `{}`", &self.text[self.span()]),
        };
        Error::new(self.span(), format!("expected {what}; {found}"))
    }
}

/// Whether the filter begins with SQL's `where`; a column of that name would be followed by an
/// operator.
fn begins_with_where(lexemes: &[Lexeme]) -> bool {
    matches!(lexemes, [Lexeme { token: Token::Word(word), .. }, Lexeme { token: next, .. }, ..]
        if word.eq_ignore_ascii_case("where") && matches!(next, Token::Word(_) | Token::Quoted(_)))
}

fn too_deep(span: Span) -> Error {
    Error::new(span, format!("a filter nests at most {DEEPEST} deep"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_elsewhere_is_told_how_it_is_written_here() {
        let cases = [
            ("where a > 1", "expected an operator or the end; found `a`; leave out `where`"),
            ("WHERE `a` > 1", "expected an operator or the end; found ``a``; leave out `where`"),
            ("a > 1 limit 2 order by a", "`order by` stands before `limit`"),
            ("a > 1 offset 2 limit 1", "`limit` stands before `offset`"),
            ("a > 1 b", "expected an operator or the end; found `b`"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).expect_err(text).message, message, "{text}");
        }
        for text in ["where > 1", "where = a", "where", "where is null", "where in (1)"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }
}
