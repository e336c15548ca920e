//! Conditions: true, false or NULL exactly as here.

use super::{Class, Writer};
use crate::expr::syntax::{Comparison, Match};
use crate::expr::typed::{Expr, Value};

/// The longest SQL of a pattern, in bytes: the text that it searches is written many times.
const LONGEST_PATTERN: usize = 16 << 10;

impl Writer<'_> {
    /// The SQL of a condition; `None` if SQL cannot express it.
    pub(super) fn condition(&mut self, expr: &Expr) -> Option<String> {
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

    fn all(&mut self, terms: &[Expr]) -> Option<Vec<String>> {
        terms.iter().map(|term| self.condition(term)).collect()
    }

    fn compare(&mut self, comparison: Comparison, a: &Expr, b: &Expr) -> Option<String> {
        let sign = comparison.sign();
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

    fn is_in(&mut self, of: &Expr, items: &[Expr]) -> Option<String> {
        let mut terms = Vec::with_capacity(items.len());
        for item in items {
            terms.push(match *item == Expr::Value(Value::Null) {
                true => "NULL".to_owned(),
                false => self.compare(Comparison::Equal, of, item)?,
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
    fn matches(&mut self, kind: Match, of: &Expr, pattern: &str) -> Option<String> {
        let (Class::Text, of) = self.value(of)? else { return None };
        let pattern = pattern.split('\0').next().unwrap_or_default();
        let seen = until_nul(&of);
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
        let inside: Vec<&str> = inside.split('%').filter(|part| !part.is_empty()).collect();
        if let ([part], true, true) = (&inside[..], start.is_empty(), end.is_empty()) {
            return Some(format!(
                "(position({seen}, {}) > 0)",
                self.parameter("String", (*part).to_owned())
            ));
        }
        let mut terms = Vec::new();
        for (function, text) in [("startsWith", start), ("endsWith", end)] {
            if !text.is_empty() {
                let text = self.parameter("String", text.to_owned());
                terms.push(format!("{function}({seen}, {text})"));
            }
        }
        // Each part is searched from the end of the one before: the first place is the best one.
        let mut from = (start.len() + 1).to_string();
        for part in inside {
            let text = self.parameter("String", part.to_owned());
            let at = format!("position({seen}, {text}, {from})");
            terms.push(format!("{at} > 0"));
            from = format!("({at} + {})", part.len());
        }
        terms.push(format!("length({seen}) + 1 >= {from} + {}", end.len()));
        let sql = format!("({})", terms.join(" AND "));
        (sql.len() <= LONGEST_PATTERN).then_some(sql)
    }
}

/// A text up to its first NUL, which is where SQLite stops to look.
pub(super) fn until_nul(text: &str) -> String {
    format!(
        "if(position({text}, '\\0') = 0, {text}, substring({text}, 1, position({text}, '\\0') - 1))"
    )
}
