//! Translates the part of a filter that ClickHouse evaluates identically into its SQL, and returns
//! the rest.
//!
//! A filter is split at its `and`. A term is sent if each construct in it means exactly the same in
//! ClickHouse, for every value that a column of its type there can hold; otherwise it stays. So the
//! rows of a filter never depend on who evaluates it. Differences that decide what is sent, and
//! how:
//!
//! - NaN is NULL here and a value there, and -0 differs from 0 in its sets: floats are wrapped, unless
//!   they are compared so that NaN fails, and a NULL would select no row either;
//! - `in` with NULL in its list is NULL here and false there: each item is compared;
//! - `like` has no escapes here and sees the bytes of a text up to its first NUL; `ilike` folds
//!   only A to Z;
//! - datetimes are compared as microseconds, because their text form depends on the server's
//!   version;
//! - a computed text longer than 1 MiB is NULL here: so it is there;
//! - sums of integers wrap there at 64 bits and become floats here: they are made in 128 bits, and
//!   compared as floats where they do not fit;
//! - a division by zero, and a float that is no number, is NULL here: so it is there;
//! - `greatest` and `least` skip NULL there: it is tested before;
//! - `round` rounds half to even there, the quotient of two integers is rounded twice, a remainder
//!   by zero raises: these stay.
//!
//! Values of the filter are sent as parameters; the SQL text holds none of them.
//!
//! | file | contents |
//! |---|---|
//! | `condition` | conditions |
//! | `value` | numbers, texts and times in them |
//! | [`mod@groups`] | groups of rows of a table or of a join, for statements |

mod condition;
pub mod groups;
mod value;

use super::typed::{Column, Expr};

/// The longest condition that is sent, in bytes: a server refuses statements of 256 KiB.
const MOST: usize = 128 << 10;

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
    let mut length = 0;
    for term in terms {
        let before = writer.parameters.len();
        let fits = |text: &String| length + text.len() <= MOST;
        match writer.rows(term).filter(|text| fits(text) && !stays(term)) {
            Some(text) => {
                length += text.len();
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

/// Writes conditions; the values in them become parameters.
struct Writer<'c> {
    columns: &'c dyn Fn(&Column) -> Option<Remote>,
    parameters: Vec<String>,
}

impl Writer<'_> {
    fn parameter(&mut self, kind: &str, value: String) -> String {
        self.parameters.push(value);
        format!("{{p{}:{kind}}}", self.parameters.len() - 1)
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
        let cases: [(&str, &str, &[&str]); 19] = [
            ("n > 4", "(`n` > {p0:Int64})", &["4"]),
            ("n in (1, null)", "((`n` = {p0:Int64}) OR NULL)", &["1"]),
            ("s = \"'; DROP TABLE x\"", "(`s` = {p0:String})", &["'; DROP TABLE x"]),
            ("f >= 0.5", "(`f` >= reinterpretAsFloat64({p0:UInt64}))", &["4602678819172646912"]),
            (
                "b and (1 > f or s is null)",
                "(`b` = true) AND ((reinterpretAsFloat64({p0:UInt64}) > `f`) OR isNull(`s`))",
                &["4607182418800017408"],
            ),
            // Equal numbers may become a set, in which -0 is not 0.
            (
                "f = 0.5",
                "(`f` + toFloat64(0) = reinterpretAsFloat64({p0:UInt64}))",
                &["4602678819172646912"],
            ),
            (
                "0.5 = f",
                "(reinterpretAsFloat64({p0:UInt64}) = `f` + toFloat64(0))",
                &["4602678819172646912"],
            ),
            // NaN is greater than nothing, so a negation would be true.
            (
                "not f >= 0.5",
                "(NOT (if(isNaN(`f`), NULL, `f` + toFloat64(0)) >= reinterpretAsFloat64({p0:UInt64})))",
                &["4602678819172646912"],
            ),
            (
                "f != 0.5",
                "(if(isNaN(`f`), NULL, `f` + toFloat64(0)) != reinterpretAsFloat64({p0:UInt64}))",
                &["4602678819172646912"],
            ),
            // No float is this integer.
            (
                "f > 9007199254740993",
                "(if(isNaN(`f`), NULL, `f` + toFloat64(0)) > {p0:Int64})",
                &["9007199254740993"],
            ),
            (
                "s like \"%a%\"",
                "(position(`s`, {p0:String}) > 0 AND (position(`s`, '\\0') = 0 OR position(`s`, '\\0') >= (position(`s`, {p0:String}) + 1)))",
                &["a"],
            ),
            ("s like \"a%\"", "(startsWith(`s`, {p0:String}))", &["a"]),
            (
                "s like \"%a\"",
                "(if(position(`s`, '\\0') = 0, endsWith(`s`, {p0:String}), endsWith(substring(`s`, 1, position(`s`, '\\0') - 1), {p0:String})))",
                &["a"],
            ),
            ("s like a", "(`s` = {p0:String} OR startsWith(`s`, {p1:String}))", &["a", "a\0"]),
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
            "n + n + 1 > 4",
            "n % 0 = 1",
            "n % n = 1",
            "s regexp a",
            "s glob \"a*\"",
            "s like \"a_\"",
            "round(f) = 1",
            "n / 2 > 1",
            "contains(l, 1)",
            "s || s || s || s || s || s || s || s || s || s = a",
        ];
        for text in cases {
            assert_eq!(taken(text), None, "{text}");
        }
        let split = taken("n > 1 and s like \"%a\\b%\" and round(f) > 1").expect("some is sent");
        assert_eq!(split.sql.parameters, ["1", "a\\b"]);
        assert_eq!(split.rest.map(|rest| rest.to_string()).as_deref(), Some("round(f) > 1"));
    }
}
