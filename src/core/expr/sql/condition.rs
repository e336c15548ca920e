//! Conditions: true for exactly the same rows as here; below `not`, NULL for the same rows too.

use super::value::ZERO;
use super::{Class, Writer};
use crate::expr::syntax::{Comparison, Match};
use crate::expr::typed::{Expr, Value};

/// The longest SQL of a pattern, in bytes: the text that it searches is written many times.
const LONGEST_PATTERN: usize = 16 << 10;

/// Which answers of a condition have to be exact.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Exact {
    /// True: NULL may be false.
    True,
    /// True, false and NULL.
    All,
}

impl Writer<'_> {
    /// The SQL of a condition on rows, for those for which it is true; `None` if SQL cannot express it.
    pub(super) fn rows(&mut self, expr: &Expr) -> Option<String> {
        self.condition(expr, Exact::True)
    }

    fn condition(&mut self, expr: &Expr, exact: Exact) -> Option<String> {
        Some(match expr {
            Expr::And(terms) => format!("({})", self.all(terms, exact)?.join(" AND ")),
            Expr::Or(terms) => format!("({})", self.all(terms, exact)?.join(" OR ")),
            // What is false below becomes true.
            Expr::Not(of) => format!("(NOT {})", self.condition(of, Exact::All)?),
            Expr::Compare(comparison, a, b) => self.compare(*comparison, a, b, exact)?,
            Expr::Between(of, low, high) => {
                let above = self.compare(Comparison::AtLeast, of, low, exact)?;
                format!("({above} AND {})", self.compare(Comparison::AtMost, of, high, exact)?)
            }
            Expr::In(of, items) => self.is_in(of, items, exact)?,
            Expr::Match(kind, of, Some(pattern)) => self.matches(*kind, of, pattern)?,
            Expr::IsNull(of) => match self.wide(of) {
                Some(wide) => format!("isNull({})", wide.exact),
                None => format!("isNull({})", self.value(of)?.1),
            },
            Expr::Column(column) => match self.column(column)? {
                (Class::Bool, text) => format!("({text} = true)"),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn all(&mut self, terms: &[Expr], exact: Exact) -> Option<Vec<String>> {
        terms.iter().map(|term| self.condition(term, exact)).collect()
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        a: &Expr,
        b: &Expr,
        exact: Exact,
    ) -> Option<String> {
        let sign = comparison.sign();
        if exact == Exact::True
            && let Some((a, b)) = self.stored_floats(comparison, a, b)
        {
            return Some(format!("({a} {sign} {b})"));
        }
        if let Some(a) = self.wide(a) {
            let (class, b) = self.value(b)?;
            return class.is_number().then(|| a.either(|a| format!("({a} {sign} {b})")));
        }
        let (a_is, a) = self.value(a)?;
        if let Some(b) = self.wide(b) {
            return a_is.is_number().then(|| b.either(|b| format!("({a} {sign} {b})")));
        }
        let (b_is, b) = self.value(b)?;
        a_is.compares_with(b_is).then(|| format!("({a} {sign} {b})"))
    }

    /// Both sides of a comparison of floats that NaN fails; `None` for any other comparison.
    fn stored_floats(
        &mut self,
        comparison: Comparison,
        a: &Expr,
        b: &Expr,
    ) -> Option<(String, String)> {
        if comparison == Comparison::NotEqual {
            return None;
        }
        let before = self.parameters.len();
        let zero = if comparison == Comparison::Equal { ZERO } else { "" };
        let sides = self.stored_float(a, zero).and_then(|a| Some((a, self.stored_float(b, zero)?)));
        if sides.is_none() {
            self.parameters.truncate(before);
        }
        sides
    }

    fn is_in(&mut self, of: &Expr, items: &[Expr], exact: Exact) -> Option<String> {
        let mut terms = Vec::with_capacity(items.len());
        for item in items {
            terms.push(match *item == Expr::Value(Value::Null) {
                true => "NULL".to_owned(),
                false => self.compare(Comparison::Equal, of, item, exact)?,
            });
        }
        // The value has to be one that can be sent, whatever it is compared with.
        let before = self.parameters.len();
        let is_sent = self.wide(of).is_some() || self.value(of).is_some();
        self.parameters.truncate(before);
        (is_sent && !terms.is_empty()).then(|| format!("({})", terms.join(" OR ")))
    }

    /// `like` and `ilike` with texts and `%`: these compare bytes on both sides. `_` and other patterns match characters there, and
    /// a text that is not UTF-8 matches none of them.
    ///
    /// What follows the first NUL of a text is not seen here. Cutting each text there would cost more than the search, so the place of
    /// that NUL is compared with the places found: no pattern has one.
    fn matches(&mut self, kind: Match, of: &Expr, pattern: &str) -> Option<String> {
        let (Class::Text, of) = self.value(of)? else { return None };
        let pattern = pattern.split('\0').next().unwrap_or_default();
        let (of, pattern) = match kind {
            Match::Like => (of, pattern.to_owned()),
            Match::Ilike => (format!("lower({of})"), pattern.to_ascii_lowercase()),
            Match::Glob | Match::Regexp => return None,
        };
        if pattern.contains('_') {
            return None;
        }
        let Some((start, rest)) = pattern.split_once('%') else {
            let all = self.parameter("String", pattern.clone());
            let until_nul = self.parameter("String", format!("{pattern}\0"));
            return Some(format!("({of} = {all} OR startsWith({of}, {until_nul}))"));
        };
        let (inside, end) = rest.rsplit_once('%').unwrap_or(("", rest));
        let nul = nul_in(&of);
        let mut terms = Vec::new();
        if !start.is_empty() {
            let text = self.parameter("String", start.to_owned());
            terms.push(format!("startsWith({of}, {text})"));
        }
        // Each part is searched from the end of the one before: the first place is the best one.
        let mut from = (start.len() + 1).to_string();
        let mut parts = 0;
        for part in inside.split('%').filter(|part| !part.is_empty()) {
            let text = self.parameter("String", part.to_owned());
            let at = match (parts, start) {
                (0, "") => format!("position({of}, {text})"),
                _ => format!("position({of}, {text}, {from})"),
            };
            terms.push(format!("{at} > 0"));
            from = format!("({at} + {})", part.len());
            parts += 1;
        }
        if !end.is_empty() {
            let text = self.parameter("String", end.to_owned());
            terms.push(before_nul(&of, |of| format!("endsWith({of}, {text})")));
            if parts > 0 || !start.is_empty() {
                let stop = format!("if({nul} = 0, length({of}) + 1, {nul})");
                terms.push(format!("{stop} >= {from} + {}", end.len()));
            }
        } else if parts > 0 {
            terms.push(format!("({nul} = 0 OR {nul} >= {from})"));
        } else if start.is_empty() {
            terms.push(format!("length({of}) >= 0"));
        }
        let sql = format!("({})", terms.join(" AND "));
        (sql.len() <= LONGEST_PATTERN).then_some(sql)
    }
}

/// SQL of the place of the first NUL in a text, counted from 1; 0 for none.
fn nul_in(text: &str) -> String {
    format!("position({text}, '\\0')")
}

/// SQL of a function of a text up to its first NUL, which is where SQLite stops to look. The text is copied only if it has one.
pub(super) fn before_nul(text: &str, function: impl Fn(&str) -> String) -> String {
    let nul = nul_in(text);
    let cut = format!("substring({text}, 1, {nul} - 1)");
    format!("if({nul} = 0, {}, {})", function(text), function(&cut))
}
