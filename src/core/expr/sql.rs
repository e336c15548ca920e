//! Translates the part of a filter that ClickHouse evaluates identically into its SQL, and returns
//! the rest.
//!
//! A filter is split at its `and`. A term is sent if each construct in it means exactly the same in
//! ClickHouse, for every value that a column of its type there can hold; otherwise it stays. So the
//! rows of a filter never depend on who evaluates it. Differences that decide what is sent, and
//! how:
//!
//! - NaN is NULL here and a value there: columns of floats are wrapped;
//! - `in` with NULL in its list is NULL here and false there: each item is compared;
//! - `like` has no escapes here and sees the bytes of a text up to its first NUL; `ilike` folds
//!   only A to Z;
//! - datetimes are compared as microseconds, because their text form depends on the server's
//!   version;
//! - a computed text longer than 1 MiB is NULL here: so it is there;
//! - sums wrap there at 64 bits, `round` rounds half to even, `%` raises: these stay.
//!
//! Values of the filter are sent as parameters; the SQL text holds none of them.

use super::function::{Function, LONGEST};
use super::syntax::{Arithmetic, Comparison, Match};
use super::typed::{Column, Expr, Value};
use crate::schema::ValueType;

/// The longest SQL of a computed text, in bytes: it is written twice, so nested ones would grow
/// exponentially.
const LONGEST_SQL: usize = 1024;

/// SQL of a computed text that is NULL if the text is too long; `None` if the SQL itself would be.
fn made(sql: &str) -> Option<String> {
    (sql.len() <= LONGEST_SQL).then(|| format!("if(length({sql}) > {LONGEST}, NULL, {sql})"))
}

/// The type in which a server stores a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// An integer that fits a signed 64-bit one.
    Int,
    /// 64 bits.
    Float,
    /// 32 bits.
    Single,
    Bool,
    Text,
    /// A point in time, to the microsecond or coarser.
    Ticks,
    /// A point in time, to the second.
    Seconds,
}

/// A column of a server's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The quoted name.
    pub name: String,
    pub stored: Stored,
}

/// A condition in ClickHouse's SQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sql {
    /// The text, with `{p0:Type}`, `{p1:Type}` for values.
    pub text: String,
    /// The values, in order.
    pub parameters: Vec<String>,
}

/// A filter, split.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The terms that are sent, as an expression.
    pub sent: Expr,
    /// The terms that are sent, as SQL.
    pub sql: Sql,
    /// The rest, to be evaluated here; `None` if there is none.
    pub rest: Option<Expr>,
}

/// Splits `filter`; `None` if no term can be sent. `columns` knows how the server stores a column;
/// `stays` says which terms are better evaluated here.
pub fn split(
    filter: &Expr,
    columns: &dyn Fn(&Column) -> Option<Remote>,
    stays: &dyn Fn(&Expr) -> bool,
) -> Option<Split> {
    let terms = match filter {
        Expr::And(terms) => &terms[..],
        one => std::slice::from_ref(one),
    };
    let mut writer = Writer { columns, parameters: Vec::new() };
    let (mut sent, mut texts, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for term in terms {
        let before = writer.parameters.len();
        match writer.condition(term).filter(|_| !stays(term)) {
            Some(text) => {
                texts.push(text);
                sent.push(term.clone());
            }
            None => {
                writer.parameters.truncate(before);
                rest.push(term.clone());
            }
        }
    }
    let sql = Sql { text: texts.join(" AND "), parameters: writer.parameters };
    Some(Split { sent: joined(sent)?, sql, rest: joined(rest) })
}

/// The conjunction of terms; `None` for none.
fn joined(mut terms: Vec<Expr>) -> Option<Expr> {
    if terms.len() > 1 { Some(Expr::And(terms)) } else { terms.pop() }
}

/// The class of a value in comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Int,
    Float,
    Bool,
    Text,
    Time,
}

impl Class {
    const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    /// Whether comparing values of the two classes means the same here and there.
    fn compares_with(self, other: Self) -> bool {
        self == other || (self.is_number() && other.is_number())
    }
}

struct Writer<'c> {
    columns: &'c dyn Fn(&Column) -> Option<Remote>,
    parameters: Vec<String>,
}

impl Writer<'_> {
    fn parameter(&mut self, kind: &str, value: String) -> String {
        self.parameters.push(value);
        format!("{{p{}:{kind}}}", self.parameters.len() - 1)
    }

    /// A condition that is true, false or NULL exactly as here; `None` if SQL cannot express it.
    fn condition(&mut self, expr: &Expr) -> Option<String> {
        Some(match expr {
            Expr::And(terms) => format!("({})", self.all(terms)?.join(" AND ")),
            Expr::Or(terms) => format!("({})", self.all(terms)?.join(" OR ")),
            Expr::Not(of) => format!("(NOT {})", self.condition(of)?),
            Expr::Compare(comparison, a, b) => self.compare(*comparison, a, b)?,
            Expr::Between(of, low, high) => {
                let above = self.compare(Comparison::AtLeast, of, low)?;
                format!("({above} AND {})", self.compare(Comparison::AtMost, of, high)?)
            }
            Expr::In(of, items) => self.is_in(of, items)?,
            Expr::Match(kind, of, Some(pattern)) => self.matches(*kind, of, pattern)?,
            Expr::IsNull(of) => format!("isNull({})", self.value(of)?.1),
            Expr::Column(column) => match self.column(column)? {
                (Class::Bool, text) => format!("({text} = true)"),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn all(&mut self, terms: &[Expr]) -> Option<Vec<String>> {
        terms.iter().map(|term| self.condition(term)).collect()
    }

    fn compare(&mut self, comparison: Comparison, a: &Expr, b: &Expr) -> Option<String> {
        let ((a_is, a), (b_is, b)) = (self.value(a)?, self.value(b)?);
        a_is.compares_with(b_is).then(|| format!("({a} {} {b})", comparison.sign()))
    }

    fn is_in(&mut self, of: &Expr, items: &[Expr]) -> Option<String> {
        let (class, of) = self.value(of)?;
        let mut terms = Vec::with_capacity(items.len());
        for item in items {
            if *item == Expr::Value(Value::Null) {
                terms.push("NULL".to_owned());
                continue;
            }
            let (item_is, item) = self.value(item)?;
            if !class.compares_with(item_is) {
                return None;
            }
            terms.push(format!("({of} = {item})"));
        }
        (!terms.is_empty()).then(|| format!("({})", terms.join(" OR ")))
    }

    /// `like` and `ilike` with a prefix, a suffix, both, or a substring: these compare bytes on
    /// both sides. Other patterns match characters there, and a text that is not UTF-8 matches none
    /// of them.
    fn matches(&mut self, kind: Match, of: &Expr, pattern: &str) -> Option<String> {
        let (Class::Text, of) = self.value(of)? else { return None };
        let pattern = pattern.split('\0').next().unwrap_or_default();
        let seen = format!(
            "if(position({of}, '\\0') = 0, {of}, substring({of}, 1, position({of}, '\\0') - 1))"
        );
        let (seen, pattern) = match kind {
            Match::Like => (seen, pattern.to_owned()),
            Match::Ilike => (format!("lower({seen})"), pattern.to_ascii_lowercase()),
            Match::Glob | Match::Regexp => return None,
        };
        if pattern.contains('_') {
            return None;
        }
        let Some((start, rest)) = pattern.split_once('%') else {
            return Some(format!("({seen} = {})", self.parameter("String", pattern.clone())));
        };
        let (inside, end) = rest.rsplit_once('%').unwrap_or(("", rest));
        let mut inside = inside.split('%').filter(|part| !part.is_empty());
        match (inside.next(), inside.next()) {
            (None, _) => {
                let length = start.len() + end.len();
                let start = self.parameter("String", start.to_owned());
                let end = self.parameter("String", end.to_owned());
                Some(format!(
                    "(startsWith({seen}, {start}) AND endsWith({seen}, {end}) AND length({seen}) >= {length})"
                ))
            }
            (Some(part), None) if start.is_empty() && end.is_empty() => Some(format!(
                "(position({seen}, {}) > 0)",
                self.parameter("String", part.to_owned())
            )),
            _ => None,
        }
    }

    fn value(&mut self, expr: &Expr) -> Option<(Class, String)> {
        match expr {
            Expr::Column(column) => self.column(column),
            Expr::Value(value) => self.literal(value),
            Expr::Minus(of) => match &**of {
                Expr::Value(Value::Int(n)) => self.literal(&Value::Int(n.checked_neg()?)),
                Expr::Value(Value::Real(x)) => self.literal(&Value::Real(-x)),
                _ => None,
            },
            Expr::Arithmetic(Arithmetic::Concat, a, b) => match (self.value(a)?, self.value(b)?) {
                ((Class::Text, a), (Class::Text, b)) => {
                    Some((Class::Text, made(&format!("({a} || {b})"))?))
                }
                _ => None,
            },
            Expr::Call(function @ (Function::Lower | Function::Upper), arguments) => {
                let (Class::Text, of) = self.value(arguments.first()?)? else { return None };
                Some((Class::Text, made(&format!("{}({of})", function.word()))?))
            }
            Expr::Call(Function::Coalesce, arguments) => {
                let values: Option<Vec<_>> = arguments.iter().map(|of| self.value(of)).collect();
                let values = values?;
                let class = values.first()?.0;
                let texts: Vec<String> = values.iter().map(|(_, text)| text.clone()).collect();
                let is_one = values.iter().all(|(other, _)| *other == class);
                is_one.then(|| (class, format!("coalesce({})", texts.join(", "))))
            }
            _ => None,
        }
    }

    fn column(&self, column: &Column) -> Option<(Class, String)> {
        let Remote { name, stored } = (self.columns)(column)?;
        Some(match (&column.value, stored) {
            (ValueType::Int, Stored::Int) => (Class::Int, name),
            (ValueType::Float, Stored::Float) => {
                (Class::Float, format!("if(isNaN({name}), NULL, {name})"))
            }
            (ValueType::Float, Stored::Single) => {
                (Class::Float, format!("if(isNaN({name}), NULL, toFloat64({name}))"))
            }
            (ValueType::Bool, Stored::Bool) => (Class::Bool, name),
            (ValueType::Text, Stored::Text) => (Class::Text, name),
            (ValueType::Time, Stored::Ticks) => {
                (Class::Time, format!("toUnixTimestamp64Micro({name})"))
            }
            (ValueType::Time, Stored::Seconds) => {
                (Class::Time, format!("(toInt64(toUnixTimestamp({name})) * 1000000)"))
            }
            _ => return None,
        })
    }

    fn literal(&mut self, value: &Value) -> Option<(Class, String)> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(is) => (Class::Bool, self.parameter("Bool", is.to_string())),
            Value::Int(n) => (Class::Int, self.parameter("Int64", n.to_string())),
            // Sent as its bits: not every reader parses the text of a float alike.
            Value::Real(x) => {
                let bits = self.parameter("UInt64", x.to_bits().to_string());
                (Class::Float, format!("reinterpretAsFloat64({bits})"))
            }
            Value::Text(text) => (Class::Text, self.parameter("String", text.clone())),
            Value::Time(time) => (Class::Time, self.parameter("Int64", time.micros().to_string())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::expr::check;
    use crate::schema::Schema;

    fn schema() -> Schema {
        let features =
            r#"{"n":"int","f":"float","s":"str","b":"bool","t":"datetime","l":"list[int]"}"#;
        let types = r#"{"n":{"type":"Int64"},"f":{"type":"Float"},"s":{"type":"String"},"b":{"type":"Boolean"},"t":{"type":"DateTime"},"l":{"type":"Array","item_type":{"type":"Int64"}}}"#;
        let columns = [("n", "INTEGER"), ("f", "FLOAT"), ("s", "VARCHAR"), ("b", "BOOLEAN")];
        let columns = columns.into_iter().chain([("t", "DATETIME"), ("l", "ARRAY")]);
        let columns: Vec<_> = columns.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        Schema::parse(features, types, &columns).expect("a schema")
    }

    fn taken(text: &str) -> Option<Split> {
        let filter = check(text, &schema()).unwrap_or_else(|e| panic!("{text}: {e}")).filter;
        split(
            &filter.expect("a condition"),
            &|column| {
                let stored = match column.column.as_str() {
                    "n" => Stored::Int,
                    "f" => Stored::Float,
                    "s" => Stored::Text,
                    "b" => Stored::Bool,
                    "t" => Stored::Ticks,
                    _ => return None,
                };
                Some(Remote { name: format!("`{}`", column.column), stored })
            },
            &|_| false,
        )
    }

    #[test]
    fn what_means_the_same_is_sent_with_its_values_apart() {
        let cases: [(&str, &str, &[&str]); 9] = [
            ("n > 4", "(`n` > {p0:Int64})", &["4"]),
            ("n in (1, null)", "((`n` = {p0:Int64}) OR NULL)", &["1"]),
            ("s = \"'; DROP TABLE x\"", "(`s` = {p0:String})", &["'; DROP TABLE x"]),
            (
                "f >= 0.5",
                "(if(isNaN(`f`), NULL, `f`) >= reinterpretAsFloat64({p0:UInt64}))",
                &["4602678819172646912"],
            ),
            ("not (b or n = 1)", "(NOT ((`b` = true) OR (`n` = {p0:Int64})))", &["1"]),
            (
                "lower(s) = a",
                "(if(length(lower(`s`)) > 1048576, NULL, lower(`s`)) = {p0:String})",
                &["a"],
            ),
            ("s is null", "isNull(`s`)", &[]),
            ("n between 1 and 2", "((`n` >= {p0:Int64}) AND (`n` <= {p1:Int64}))", &["1", "2"]),
            (
                "t < \"2024-01-01\"",
                "(toUnixTimestamp64Micro(`t`) < {p0:Int64})",
                &["1704067200000000"],
            ),
        ];
        for (text, sql, parameters) in cases {
            let split = taken(text).unwrap_or_else(|| panic!("{text} is sent"));
            assert_eq!((split.sql.text.as_str(), split.rest), (sql, None), "{text}");
            assert_eq!(split.sql.parameters, parameters, "{text}");
        }
    }

    #[test]
    fn what_differs_stays() {
        let cases = [
            "n + 1 > 4",
            "s regexp a",
            "s glob \"a*\"",
            "s like \"a_\"",
            "s like \"%a%b%\"",
            "round(f) = 1",
            "n / 2 > 1",
            "contains(l, 1)",
            "length(s) > 1",
            "s || s || s || s || s || s || s || s || s || s = a",
        ];
        for text in cases {
            assert_eq!(taken(text), None, "{text}");
        }
        let split = taken("n > 1 and s like \"%a\\b%\" and length(s) > 1").expect("some is sent");
        assert_eq!(split.sql.parameters, ["1", "a\\b"]);
        assert_eq!(split.rest.map(|rest| rest.to_string()).as_deref(), Some("length(s) > 1"));
    }
}
