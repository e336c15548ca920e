//! Type-checks a syntax tree: resolves every name and checks every type.
//!
//! Numbers compare with numbers, strings with strings, booleans with booleans and datetimes with
//! quoted dates, nothing else; the type of a JSON value is known only when it is read, and it
//! compares as in SQLite. A bare word beside a string that is not a column is a string.
//!
//! | file | what lives there |
//! |---|---|
//! | [`any`] | conditions on the items of a list |
//! | [`calls`] | functions and distances |
//! | [`inside`] | items of lists, fields of models, keys of JSON |

mod any;
mod calls;
mod inside;

use std::cell::{Cell, RefCell};

use crate::expr::error::{Error, Result, Span};
use crate::expr::names::{Meaning, Names};
use crate::expr::parse;
use crate::expr::syntax::{self, Arithmetic, Comparison, Kind, Literal, Match, Node};
use crate::expr::typed::{Column, Expr, Form, Key, Query, Type, Value};
use crate::schema::{Schema, ValueType};
use crate::time::Timestamp;

/// The longest pattern, in bytes: matching takes up to that many steps per byte of text.
const LONGEST_PATTERN: usize = 4096;

/// The most regular expressions in a filter: each may take megabytes.
const MOST_PATTERNS: usize = 32;

/// The most characters of an expression shown in a message.
const SHOWN: usize = 60;

/// Parses a filter and checks it against the columns of `schema`.
///
/// # Errors
/// A text that is not a filter, or does not fit the columns; with the text and the position.
pub fn check(text: &str, schema: &Schema) -> Result<Query> {
    checked(&parse::parse(text)?, text, schema)
}

/// Checks a filter that was parsed from `text`.
///
/// # Errors
/// As [`check`].
pub fn checked(parsed: &syntax::Query, text: &str, schema: &Schema) -> Result<Query> {
    let checker = Checker {
        text,
        names: Names::of(schema),
        patterns: Cell::new(0),
        items: RefCell::default(),
    };
    checker.query(parsed).map_err(|error| error.in_text(text))
}

struct Checker<'s> {
    text: &'s str,
    names: Names<'s>,
    /// The regular expressions so far.
    patterns: Cell<usize>,
    /// The types of the items that conditions around are about, outermost first.
    items: RefCell<Vec<ValueType>>,
}

impl Checker<'_> {
    fn query(&self, parsed: &syntax::Query) -> Result<Query> {
        let filter = parsed.filter.as_ref().map(|node| self.condition(node)).transpose()?;
        let key = |(node, down): &(Node, bool)| {
            let by = self.value(node)?;
            match by.kind() {
                Type::List(_) | Type::Model(_) | Type::Bytes | Type::Null => Err(Error::new(
                    node.span.clone(),
                    format!("cannot order by {}", by.kind().words()),
                )),
                _ => Ok(Key { by, down: *down }),
            }
        };
        let order = parsed.order.iter().map(key).collect::<Result<_>>()?;
        Ok(Query { filter, order, limit: parsed.limit, offset: parsed.offset })
    }

    /// A node that must be a boolean.
    fn condition(&self, node: &Node) -> Result<Expr> {
        let expr = self.value(node)?;
        match expr.kind() {
            Type::Bool | Type::Null => Ok(expr),
            kind => {
                let (shown, kind) = (shown(&expr), kind.words());
                let message =
                    format!("`{shown}` is {kind}, not a condition; compare it with something");
                Err(Error::new(node.span.clone(), message))
            }
        }
    }

    fn conditions(&self, nodes: &[Node]) -> Result<Vec<Expr>> {
        nodes.iter().map(|node| self.condition(node)).collect()
    }

    fn value(&self, node: &Node) -> Result<Expr> {
        let span = || node.span.clone();
        Ok(match &node.kind {
            Kind::Name(name) | Kind::Quoted(name) => self.name(name, span())?,
            Kind::Literal(literal) => Expr::Value(value(literal)),
            Kind::Bare(_, Some(meant)) => self.value(meant)?,
            Kind::Bare(word, None) => return Err(self.not_a_value(word, span())),
            Kind::Not(of) => Expr::Not(self.condition(of)?.into()),
            Kind::Minus(of) => self.minus(of)?,
            Kind::And(terms) => Expr::And(flat(self.conditions(terms)?, |expr| match expr {
                Expr::And(inner) => Ok(inner),
                other => Err(other),
            })),
            Kind::Or(terms) => Expr::Or(flat(self.conditions(terms)?, |expr| match expr {
                Expr::Or(inner) => Ok(inner),
                other => Err(other),
            })),
            Kind::Compare(comparison, left, right) => {
                self.compare(*comparison, left, right, span())?
            }
            Kind::Arithmetic(operation, left, right) => self.arithmetic(*operation, left, right)?,
            Kind::In(of, list) => {
                let of = self.value(of)?;
                let items =
                    list.iter().map(|item| self.beside(&of, item)).collect::<Result<_>>()?;
                Expr::In(of.into(), items)
            }
            Kind::Between(of, low, high) => {
                let of = self.value(of)?;
                let (low, high) = (self.beside(&of, low)?, self.beside(&of, high)?);
                Expr::Between(of.into(), low.into(), high.into())
            }
            Kind::Match(kind, of, pattern) => self.matched(*kind, of, pattern)?,
            Kind::IsNull(of) => self.is_null(of)?,
            Kind::Call(name, arguments) => self.call(name, arguments, span())?,
            Kind::List(_) => {
                let message =
                    "a list is only allowed in `in (...)` and as the vector of a distance";
                return Err(Error::new(span(), message));
            }
            Kind::Index(of, index) => self.index(of, index)?,
            Kind::Member(of, key) => self.member(of, key, span())?,
        })
    }

    fn name(&self, name: &str, span: Span) -> Result<Expr> {
        let message = match self.find(name) {
            Meaning::Value(expr) => return Ok(expr),
            Meaning::Optional(_) => {
                format!(
                    "`{name}` is a model; `{name} is null` tests whether it is absent, and its fields are columns"
                )
            }
            Meaning::Model(Some(field)) => {
                format!("`{name}` is a model; name a field of it, as `{field}`")
            }
            Meaning::Model(None) => format!("`{name}` is a model without fields"),
            Meaning::Unknown => {
                let message = format!("no column `{name}`{}", self.hint(name));
                return Err(Error::new(span, message).of_unknown(name));
            }
        };
        Err(Error::new(span, message))
    }

    fn not_a_value(&self, word: &str, span: Span) -> Error {
        Error::new(span, format!("`{word}` is not a value; put a string in quotes"))
    }

    fn minus(&self, of: &Node) -> Result<Expr> {
        let expr = self.number(of)?;
        Ok(match expr {
            // As in SQLite, `-x` is `0 - x`: there is no -0.0.
            Expr::Value(Value::Real(x)) => Expr::Value(Value::Real(0.0 - x)),
            Expr::Value(Value::Int(n)) if n != i64::MIN => Expr::Value(Value::Int(-n)),
            other => Expr::Minus(other.into()),
        })
    }

    fn number(&self, node: &Node) -> Result<Expr> {
        let expr = self.value(node)?;
        match expr.kind() {
            Type::Int | Type::Float | Type::Json | Type::Null => Ok(expr),
            kind => {
                let message = format!("expected a number; `{}` is {}", shown(&expr), kind.words());
                Err(Error::new(node.span.clone(), message))
            }
        }
    }

    fn string(&self, node: &Node) -> Result<Expr> {
        let expr = self.value(node)?;
        match expr.kind() {
            Type::Text | Type::Json | Type::Null => Ok(expr),
            kind => {
                let message = format!("expected a string; `{}` is {}", shown(&expr), kind.words());
                Err(Error::new(node.span.clone(), message))
            }
        }
    }

    fn compare(
        &self,
        comparison: Comparison,
        left: &Node,
        right: &Node,
        span: Span,
    ) -> Result<Expr> {
        let a = match &left.kind {
            // `"2024-01-01" < t`: the right side determines the type of the text.
            Kind::Literal(Literal::Text(_)) => match self.value(right) {
                Ok(b) => self.beside(&b, left)?,
                Err(_) => self.value(left)?,
            },
            _ => self.value(left)?,
        };
        let b = self.beside(&a, right)?;
        if !is_ordered(a.kind()) && a.kind() != Type::Null {
            let message = format!(
                "`{}` is {} and has no order; ask for an item (`[0]`), its `length(...)` or `is null`",
                shown(&a),
                a.kind().words()
            );
            return Err(Error::new(span, message));
        }
        Ok(Expr::Compare(comparison, a.into(), b.into()))
    }

    /// A node compared with `other`: a bare word or a number beside a string is a string, a string
    /// beside a datetime is a datetime.
    fn beside(&self, other: &Expr, node: &Node) -> Result<Expr> {
        let expr = match (other.kind(), &node.kind) {
            (Type::Text, Kind::Name(word)) => match self.find(word) {
                Meaning::Unknown => Expr::Value(Value::Text(word.clone())),
                _ => self.value(node)?,
            },
            (Type::Text, Kind::Bare(word, _)) => match self.find(word) {
                Meaning::Value(column) => column,
                _ => Expr::Value(Value::Text(word.clone())),
            },
            (Type::Text, Kind::Literal(Literal::Int(_) | Literal::Real(_))) => {
                // The span may include parentheses around it.
                let is_around = |c: char| c == '(' || c == ')' || c.is_whitespace();
                let text = self.text[node.span.clone()].trim_matches(is_around);
                Expr::Value(Value::Text(text.to_owned()))
            }
            (Type::Int | Type::Float, Kind::Bare(word, None)) if size(word).is_some() => {
                Expr::Value(Value::Int(size(word).unwrap_or(0)))
            }
            (Type::Time, Kind::Literal(Literal::Text(text))) => match Timestamp::parse(text) {
                Some(time) => Expr::Value(Value::Time(time)),
                None => {
                    let message = format!(
                        "`{text}` is not a datetime; write it as \"2024-01-31\" or \"2024-01-31 23:59:59\""
                    );
                    return Err(Error::new(node.span.clone(), message));
                }
            },
            _ => self.value(node)?,
        };
        if fits(other.kind(), expr.kind()) {
            return Ok(expr);
        }
        Err(Error::new(node.span.clone(), misfit(other, &expr)))
    }

    fn arithmetic(&self, operation: Arithmetic, left: &Node, right: &Node) -> Result<Expr> {
        let (a, b) = if operation == Arithmetic::Concat {
            let hint =
                |error: Error| error.with_hint("; `||` joins strings, `or` joins conditions");
            (self.string(left).map_err(hint)?, self.string(right).map_err(hint)?)
        } else {
            let hint = |error: Error| match operation {
                Arithmetic::Add if error.message.ends_with("is a string") => {
                    error.with_hint("; `||` joins strings")
                }
                _ => error,
            };
            (self.number(left).map_err(hint)?, self.number(right).map_err(hint)?)
        };
        Ok(Expr::Arithmetic(operation, a.into(), b.into()))
    }

    fn matched(&self, kind: Match, of: &Node, pattern: &Node) -> Result<Expr> {
        let of = self.string(of)?;
        let text = match &pattern.kind {
            Kind::Literal(Literal::Null) => None,
            Kind::Literal(Literal::Text(text)) => Some(text.clone()),
            Kind::Bare(word, _) => Some(word.clone()),
            Kind::Name(word) if matches!(self.find(word), Meaning::Unknown) => Some(word.clone()),
            _ => {
                let message =
                    format!("the pattern of `{}` must be a string in quotes", kind.word());
                return Err(Error::new(pattern.span.clone(), message));
            }
        };
        let text = text.unwrap_or_default();
        if text.len() > LONGEST_PATTERN {
            let message = format!("a pattern has at most {LONGEST_PATTERN} bytes");
            return Err(Error::new(pattern.span.clone(), message));
        }
        if kind == Match::Regexp {
            self.patterns.set(self.patterns.get() + 1);
            if self.patterns.get() > MOST_PATTERNS {
                let message = format!("a filter has at most {MOST_PATTERNS} regular expressions");
                return Err(Error::new(pattern.span.clone(), message));
            }
            crate::expr::regexp::Regexp::new(&text)
                .map_err(|why| Error::new(pattern.span.clone(), why))?;
        }
        let pattern = (pattern.kind != Kind::Literal(Literal::Null)).then_some(text);
        Ok(Expr::Match(kind, of.into(), pattern))
    }

    fn is_null(&self, of: &Node) -> Result<Expr> {
        if let Kind::Name(name) | Kind::Quoted(name) = &of.kind {
            match self.find(name) {
                Meaning::Optional(tag) => return Ok(Expr::IsAbsent(tag)),
                Meaning::Model(_) => {
                    let message = format!(
                        "`{name}` is a model that is always present; test one of its fields"
                    );
                    return Err(Error::new(of.span.clone(), message));
                }
                Meaning::Value(_) | Meaning::Unknown => {}
            }
        }
        Ok(Expr::IsNull(match self.value(of)? {
            Expr::Column(column) => {
                let column = Column { form: Form::Presence, ..(*column).clone() };
                Expr::Column(column.into()).into()
            }
            value => value.into(),
        }))
    }
}

/// The number that `10k`, `1.5MB` or `64KiB` is: `k`, `M`, `G`, `T`, `P` are powers of 1000, as for a disk; with `i`, of 1024.
fn size(word: &str) -> Option<i64> {
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at(end);
    let unit = unit.strip_suffix(['B', 'b']).unwrap_or(unit);
    let (unit, base) = match unit.strip_suffix(['i', 'I']) {
        Some(unit) => (unit, 1024_i64),
        None => (unit, 1000),
    };
    let powers = ["k", "m", "g", "t", "p"];
    let power = 1 + powers.iter().position(|known| known.eq_ignore_ascii_case(unit))?;
    let of = base.checked_pow(u32::try_from(power).ok()?)?;
    match number.parse::<i64>() {
        Ok(number) => number.checked_mul(of),
        Err(_) => {
            let bytes = number.parse::<f64>().ok()? * of as f64;
            (bytes < 9e18).then(|| bytes.round() as i64)
        }
    }
}

fn value(literal: &Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(is) => Value::Bool(*is),
        Literal::Int(number) => Value::Int(*number),
        Literal::Real(number) => Value::Real(*number),
        Literal::Text(text) => Value::Text(text.clone()),
    }
}

/// Flattens nested lists of the same operator.
fn flat(terms: Vec<Expr>, inner: impl Fn(Expr) -> Result<Vec<Expr>, Expr>) -> Vec<Expr> {
    let mut found = Vec::with_capacity(terms.len());
    for term in terms {
        match inner(term) {
            Ok(terms) => found.extend(terms),
            Err(term) => found.push(term),
        }
    }
    found
}

const fn is_ordered(kind: Type<'_>) -> bool {
    matches!(kind, Type::Bool | Type::Int | Type::Float | Type::Text | Type::Time | Type::Json)
}

/// Whether two types can be compared.
fn fits(a: Type<'_>, b: Type<'_>) -> bool {
    match (a, b) {
        (Type::Null, _) | (_, Type::Null) => true,
        (Type::Int | Type::Float, Type::Int | Type::Float) => true,
        (Type::Json, other) | (other, Type::Json) => is_ordered(other) && other != Type::Time,
        _ => a == b && is_ordered(a),
    }
}

fn misfit(a: &Expr, b: &Expr) -> String {
    let hint = match (a.kind(), b) {
        (Type::Int | Type::Float, Expr::Value(Value::Text(text)))
            if text.parse::<f64>().is_ok() =>
        {
            "; write a number without quotes"
        }
        (Type::Int | Type::Float, b) if b.kind() == Type::Text && matches!(a, Expr::Value(_)) => {
            "; compared with a string, a number needs quotes"
        }
        (Type::Bool, Expr::Value(Value::Int(0 | 1))) => "; write `true` or `false`",
        (Type::Text, _) => "; put a string in quotes",
        (Type::Time, _) => "; put a datetime in quotes",
        _ => "",
    };
    let kinds = (a.kind().words(), b.kind().words());
    format!(
        "`{}` is {} and `{}` is {}: they cannot be compared{hint}",
        shown(a),
        kinds.0,
        shown(b),
        kinds.1
    )
}

/// A node as printed, truncated if long.
fn shown(expr: &Expr) -> String {
    let text = expr.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
