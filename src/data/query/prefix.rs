//! Conditions that the index of names can answer: paths with a common prefix are a range of
//! entries.
//!
//! They need no column of paths, which is the largest of most versions, and the rest of the filter
//! reads only their rows.

use super::Version;
use crate::pack::{Ordinals, Pack};
use dcfs_core::error::Result;
use dcfs_core::expr::{Expr, Match};

/// A filter split into the index's part and the rest.
pub struct Split {
    /// The rows that pass all conditions the index can answer.
    pub rows: Ordinals,
    /// The rest; `None` if there is none.
    pub rest: Option<Expr>,
}

/// Splits a filter; `None` if the index can answer none of it.
pub fn split(version: Version<'_>, filter: &Expr) -> Result<Option<Split>> {
    let terms = match filter {
        Expr::And(terms) => &terms[..],
        one => std::slice::from_ref(one),
    };
    let mut rows: Option<Ordinals> = None;
    let mut rest = Vec::new();
    for term in terms {
        match told(version.pack, term)? {
            Some(found) => rows = Some(rows.map_or(found.clone(), |rows| rows & found)),
            None => rest.push(term.clone()),
        }
    }
    let rest = if rest.len() > 1 { Some(Expr::And(rest)) } else { rest.pop() };
    Ok(rows.map(|rows| Split { rows, rest }))
}

/// The rows of a condition, if the index can answer it.
fn told(pack: &Pack, term: &Expr) -> Result<Option<Ordinals>> {
    let Some((column, prefix)) = begins_with(term) else { return Ok(None) };
    for (number, known) in (0..).zip(pack.columns()) {
        if known.file.path.as_deref() == Some(column) {
            return pack.rows_with_prefix(number, prefix);
        }
    }
    Ok(None)
}

/// The database column and the prefix in `column like "text%"` and `column glob "text*"`.
fn begins_with(term: &Expr) -> Option<(&str, &[u8])> {
    let Expr::Match(kind, of, Some(pattern)) = term else { return None };
    let Expr::Column(column) = &**of else { return None };
    let (prefix, special) = match kind {
        Match::Like => (pattern.strip_suffix('%')?, &['%', '_'][..]),
        Match::Glob => (pattern.strip_suffix('*')?, &['*', '?', '['][..]),
        Match::Ilike | Match::Regexp => return None,
    };
    let is_plain = !prefix.is_empty() && !prefix.contains(special) && !prefix.contains('\0');
    is_plain.then_some((column.column.as_str(), prefix.as_bytes()))
}
