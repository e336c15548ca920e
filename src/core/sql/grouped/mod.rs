//! Statements that the kernels of `expr` answer: one table, or two joined on equal columns, with
//! filters, groups and aggregates.
//!
//! The kernels make a small table of the groups. The rest of the statement (expressions over
//! groups, HAVING, ORDER BY, LIMIT) is rewritten over that table and run by SQLite, so its meaning
//! stays SQLite's. A statement that is not recognised here is only slower.

use std::ops::Range;

use super::bind::{Binder, Bound, Meaning, is_aggregate};
use super::known::SqlColumn;
use super::lex::Kind;
use super::quoted;
use super::scan::{Call, Chain, Join, Scan};
use crate::schema::ValueType;

/// The table of the groups: columns `k0`, `k1`, ... are the keys, `a0`, `a1`, ... the aggregates.
pub const GROUPS: &str = "dcfs groups";

/// The aggregate that a fold computes over the rows of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    Rows,
    Count,
    /// The number of different values.
    Distinct,
    Sum,
    Mean,
    Least,
    Greatest,
}

/// The index of a table, and one of its columns.
pub type Of = (usize, SqlColumn);

/// A statement over groups.
#[derive(Clone, Debug)]
pub struct Grouped {
    pub keys: Vec<Of>,
    pub folds: Vec<(FoldKind, Option<Of>)>,
    /// One filter per table, in the language of filters.
    pub filters: Vec<Option<String>>,
    /// Pairs of columns that the join compares for equality; empty for one table.
    pub on: Vec<(SqlColumn, SqlColumn)>,
    pub join: Join,
    /// The rest of the statement, over [`GROUPS`].
    pub bound: Bound,
}

/// Why a statement is left to SQLite.
pub type Reason = &'static str;

/// Keywords allowed in a condition besides names.
const WORDS: [&str; 13] = [
    "and", "or", "not", "in", "between", "like", "ilike", "glob", "regexp", "is", "null", "true",
    "false",
];

/// The statement over groups, or the reason why it is not one.
pub fn grouped(binder: &Binder<'_>, scan: &Scan, bound: &Bound) -> Result<Grouped, Reason> {
    let clauses = Clauses::of(scan)?;
    let mut found = Finder { binder, scan, keys: Vec::new(), folds: Vec::new(), calls: Vec::new() };
    found.aggregates(&clauses)?;
    found.keys(&clauses)?;
    if clauses.is_distinct && clauses.keys.is_none() && found.folds.is_empty() {
        found.distinct(&clauses)?;
    }
    if found.keys.is_empty() && found.folds.is_empty() {
        return Err("nothing is grouped");
    }
    let join = scan.tables.get(1).map_or(Join::Inner, |second| second.join);
    let mut terms = vec![Vec::new(); scan.tables.len()];
    let on = match &clauses.on {
        Some(tokens) => found.on(tokens, join, &mut terms)?,
        None => Vec::new(),
    };
    if let Some(tokens) = &clauses.filter {
        found.filters(tokens, join, &mut terms)?;
    }
    let joined = |terms: Vec<String>| (!terms.is_empty()).then(|| terms.join(" and "));
    let filters = terms.into_iter().map(joined).collect();
    let sql = found.write(&clauses)?;
    let bound =
        Bound { sql, columns: Vec::new(), grouped: Err("it is over groups"), ..bound.clone() };
    Ok(Grouped { keys: found.keys, folds: found.folds, filters, on, join, bound })
}

/// The parts of a plain SELECT, as tokens.
struct Clauses {
    items: Range<usize>,
    /// Whether equal rows of the answer are shown once.
    is_distinct: bool,
    /// The condition of a join.
    on: Option<Range<usize>>,
    filter: Option<Range<usize>>,
    keys: Option<Range<usize>>,
    having: Option<Range<usize>>,
    /// ORDER BY and everything after it.
    rest: Range<usize>,
}

impl Clauses {
    fn of(scan: &Scan) -> Result<Self, Reason> {
        let is_plain =
            scan.scopes.len() == 1 && !scan.is_compound && !scan.has_with && !scan.has_natural;
        let tables = scan.tables.len();
        if !is_plain || !matches!(tables, 1 | 2) || scan.scopes[0].tables.len() != tables {
            return Err("it is more than one SELECT over one dataset, or two that are joined");
        }
        if !scan.stars.is_empty() {
            return Err("it lists columns by `*`");
        }
        let tokens = &scan.tokens;
        // A word behind a dot is the name of a column.
        let is = |at: usize, word: &str| {
            let is_part = at > 0 && tokens[at - 1].is_sign(".");
            !is_part && tokens.get(at).is_some_and(|token| token.is(word))
        };
        if (0..tokens.len()).any(|at| is(at, "over") || is(at, "window") || is(at, "filter")) {
            return Err("it has a window or FILTER");
        }
        let is_distinct = is(1, "distinct");
        let is_odd = |at: usize| {
            let is_counted = at > 2 && tokens[at - 1].is_sign("(") && is(at - 2, "count");
            is(at, "distinct") && at != 1 && !is_counted
        };
        if (0..tokens.len()).any(is_odd) {
            return Err("it has a DISTINCT that is neither of its rows nor in COUNT");
        }
        let mut depth = 0_usize;
        let mut marks: Vec<(&str, usize)> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            depth += usize::from(token.is_sign("("));
            depth -= usize::from(token.is_sign(")"));
            let word = ["from", "where", "group", "having", "order", "limit"]
                .into_iter()
                .find(|word| is(at, word));
            if let Some(word) = word.filter(|_| depth == 0) {
                marks.push((word, at));
            }
        }
        let from = marks
            .iter()
            .find(|(word, _)| *word == "from")
            .map(|(_, at)| *at)
            .ok_or("it has no table")?;
        let end = |at: usize| {
            marks.iter().map(|(_, mark)| *mark).find(|mark| *mark > at).unwrap_or(tokens.len())
        };
        let clause = |word: &str, skip: usize| {
            let at =
                marks.iter().find(|(known, at)| *known == word && *at > from).map(|(_, at)| *at);
            at.map(|at| at + skip..end(at))
        };
        let on = joined(scan, from + 1..end(from))?;
        let rest = clause("order", 0)
            .or_else(|| clause("limit", 0))
            .map_or(tokens.len(), |order| order.start);
        let first = usize::from(is_distinct || is(1, "all")) + 1;
        Ok(Self {
            items: first..from,
            is_distinct,
            on,
            filter: clause("where", 1),
            keys: clause("group", 2),
            having: clause("having", 1),
            rest: rest..tokens.len(),
        })
    }

    /// Whether a token is in a clause that refers to groups.
    fn speaks_of_groups(&self, at: usize) -> bool {
        self.items.contains(&at)
            || self.rest.contains(&at)
            || self.having.as_ref().is_some_and(|having| having.contains(&at))
    }
}

/// The condition of the join in `tables`; `None` for one table.
fn joined(scan: &Scan, tables: Range<usize>) -> Result<Option<Range<usize>>, Reason> {
    const ODD: Reason = "its tables are not datasets joined on equal columns";
    let is = |at: usize, word: &str| scan.tokens.get(at).is_some_and(|token| token.is(word));
    let [first, rest @ ..] = scan.tables.as_slice() else { return Err(ODD) };
    let [second] = rest else {
        return if first.tokens == tables { Ok(None) } else { Err(ODD) };
    };
    let words = first.tokens.end..second.tokens.start;
    let known = ["inner", "left", "right", "full", "outer", "semi", "anti", "join"];
    let is_join = first.tokens.start == tables.start
        && words.end > words.start
        && is(words.end - 1, "join")
        && words.clone().all(|at| known.iter().any(|word| is(at, word)));
    match is_join && is(second.tokens.end, "on") {
        true => Ok(Some(second.tokens.end + 1..tables.end)),
        false => Err(ODD),
    }
}

struct Finder<'f, 'k> {
    binder: &'f Binder<'k>,
    scan: &'f Scan,
    keys: Vec<Of>,
    folds: Vec<(FoldKind, Option<Of>)>,
    /// Calls of aggregates: their tokens, and the index of the fold.
    calls: Vec<(Range<usize>, usize)>,
}

impl Finder<'_, '_> {
    fn chain_at(&self, tokens: &Range<usize>) -> Option<&Chain> {
        self.scan.chains.iter().find(|chain| chain.tokens == *tokens)
    }

    /// The single column that a name resolves to.
    fn scalar(&self, chain: &Chain) -> Option<Of> {
        if self.scan.tokens.get(chain.tokens.end).is_some_and(|token| token.is_sign("[")) {
            return None;
        }
        match self.binder.meaning(chain) {
            Ok(Meaning::Column { table, column, .. }) if column.value.is_scalar() => {
                Some((table, column.clone()))
            }
            _ => None,
        }
    }

    fn aggregates(&mut self, clauses: &Clauses) -> Result<(), Reason> {
        for call in &self.scan.calls {
            let name = self.scan.tokens[call.token].text.to_ascii_lowercase();
            if !is_aggregate(&name)
                || (matches!(name.as_str(), "min" | "max") && self.binder.has_comma(&call.inside))
            {
                continue;
            }
            if !clauses.speaks_of_groups(call.token) {
                return Err("it has an aggregate outside SELECT, HAVING and ORDER BY");
            }
            let fold = self.fold(&name, call)?;
            let number = self.folds.iter().position(|known| *known == fold).unwrap_or_else(|| {
                self.folds.push(fold);
                self.folds.len() - 1
            });
            self.calls.push((call.token..call.inside.end + 1, number));
        }
        Ok(())
    }

    fn fold(&self, name: &str, call: &Call) -> Result<(FoldKind, Option<Of>), Reason> {
        let inside = &self.scan.tokens[call.inside.clone()];
        if name == "count" && matches!(inside, [star] if star.is_sign("*")) {
            return Ok((FoldKind::Rows, None));
        }
        let is_distinct = inside.first().is_some_and(|first| first.is("distinct"));
        let of = call.inside.start + usize::from(is_distinct)..call.inside.end;
        let column = self.chain_at(&of).and_then(|chain| self.scalar(chain));
        let column = column.ok_or("it aggregates more than plain columns")?;
        let is_number =
            matches!(column.1.value, ValueType::Int | ValueType::Float | ValueType::Bool);
        let kind = match name {
            "count" if is_distinct => FoldKind::Distinct,
            "count" => FoldKind::Count,
            "count_distinct" => FoldKind::Distinct,
            "sum" if is_number => FoldKind::Sum,
            "avg" if is_number => FoldKind::Mean,
            "min" => FoldKind::Least,
            "max" => FoldKind::Greatest,
            _ => return Err("it has an aggregate that only SQLite knows"),
        };
        Ok((kind, Some(column)))
    }

    fn keys(&mut self, clauses: &Clauses) -> Result<(), Reason> {
        const PLAIN: Reason = "it groups by more than plain columns";
        let Some(keys) = &clauses.keys else { return Ok(()) };
        let tokens = &self.scan.tokens;
        let items = &self.scan.scopes[0].items;
        let mut wanted: Vec<Range<usize>> = Vec::new();
        let mut start = keys.start;
        for at in keys.start..=keys.end {
            if at < keys.end && !tokens[at].is_sign(",") {
                continue;
            }
            let key = start..at;
            start = at + 1;
            match &tokens[key.clone()] {
                [all] if all.is("all") => {
                    let plain =
                        items.iter().filter(|item| !self.binder.has_aggregate(&item.tokens));
                    wanted.extend(plain.map(|item| item.tokens.clone()));
                }
                [number] if number.kind == Kind::Number => {
                    let place =
                        number.text.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
                    let item = place.and_then(|place| items.get(place)).ok_or(PLAIN)?;
                    wanted.push(item.tokens.clone());
                }
                [name] if self.chain_at(&key).is_some_and(|chain| self.scalar(chain).is_none()) => {
                    let is_named = |alias: &String| alias.eq_ignore_ascii_case(&name.text);
                    let item = items
                        .iter()
                        .find(|item| item.alias.as_ref().is_some_and(is_named))
                        .ok_or(PLAIN)?;
                    wanted.push(item.tokens.clone());
                }
                _ => wanted.push(key),
            }
        }
        for key in wanted {
            let column = self.chain_at(&key).and_then(|chain| self.scalar(chain)).ok_or(PLAIN)?;
            if !self.keys.contains(&column) {
                self.keys.push(column);
            }
        }
        Ok(())
    }

    /// The keys of SELECT DISTINCT: rows of equal columns are one group.
    fn distinct(&mut self, clauses: &Clauses) -> Result<(), Reason> {
        const PLAIN: Reason = "it shows distinct rows of more than plain columns";
        if clauses.having.is_some() {
            return Err("it has HAVING without groups");
        }
        for item in &self.scan.scopes[0].items {
            let column = self.chain_at(&item.tokens).and_then(|chain| self.scalar(chain));
            let column = column.ok_or(PLAIN)?;
            if !self.keys.contains(&column) {
                self.keys.push(column);
            }
        }
        Ok(())
    }

    /// The pairs of columns that a join compares; its other conditions become filters, where that means the same.
    fn on(
        &self,
        tokens: &Range<usize>,
        join: Join,
        terms: &mut [Vec<String>],
    ) -> Result<Vec<(SqlColumn, SqlColumn)>, Reason> {
        const ODD: Reason = "it joins on more than equal columns";
        let mut pairs = Vec::new();
        for tokens in self.scan.conjuncts(tokens) {
            if let Some(pair) = self.pair(&tokens) {
                pairs.push(pair);
                continue;
            }
            let (table, text) = self.filter(&tokens).map_err(|_| ODD)?;
            // Rows of the side that is kept whole are kept without a match.
            let is_filter = match join {
                Join::Inner => true,
                Join::Left | Join::Semi | Join::Anti => table == 1,
                Join::Right => table == 0,
                Join::Full => false,
            };
            if !is_filter {
                return Err(ODD);
            }
            terms[table].push(format!("({text})"));
        }
        if pairs.is_empty() { Err(ODD) } else { Ok(pairs) }
    }

    /// Two columns that are compared, of the first table and of the second.
    fn pair(&self, tokens: &Range<usize>) -> Option<(SqlColumn, SqlColumn)> {
        let middle = tokens
            .clone()
            .find(|at| self.scan.tokens[*at].is_sign("=") || self.scan.tokens[*at].is_sign("=="))?;
        let side = |tokens: Range<usize>| self.scalar(self.chain_at(&tokens)?);
        let (a, b) = (side(tokens.start..middle)?, side(middle + 1..tokens.end)?);
        let kind = |column: &SqlColumn| match column.value {
            ValueType::Int | ValueType::Bool => 0,
            ValueType::Float => 1,
            _ => 2,
        };
        match (a.0, b.0) {
            _ if kind(&a.1) != kind(&b.1) => None,
            (0, 1) => Some((a.1, b.1)),
            (1, 0) => Some((b.1, a.1)),
            _ => None,
        }
    }

    /// The condition, shared out among the tables, in the language of filters.
    fn filters(
        &self,
        tokens: &Range<usize>,
        join: Join,
        terms: &mut [Vec<String>],
    ) -> Result<(), Reason> {
        let tables = self.scan.tables.len();
        let parts = if tables == 1 { vec![tokens.clone()] } else { self.scan.conjuncts(tokens) };
        for part in parts {
            let (table, text) = self.filter(&part)?;
            // Conditions are about the rows after the join, those that it filled with NULL too.
            let may_be_null = match join {
                Join::Left => table == 1,
                Join::Right => table == 0,
                Join::Full => true,
                Join::Inner | Join::Semi | Join::Anti => false,
            };
            if may_be_null {
                return Err("its condition is on a side that the join may leave empty");
            }
            terms[table].push(if tables == 1 { text } else { format!("({text})") });
        }
        Ok(())
    }

    /// A condition on one table: the table's index, and the condition in the language of filters.
    fn filter(&self, tokens: &Range<usize>) -> Result<(usize, String), Reason> {
        const ODD: Reason = "its condition is not a filter";
        let mut words: Vec<String> = Vec::new();
        let mut table = None;
        let mut at = tokens.start;
        while at < tokens.end {
            let token = &self.scan.tokens[at];
            if let Some(chain) = self.scan.chains.iter().find(|chain| chain.tokens.start == at) {
                let (of, column) = self.scalar(chain).ok_or(ODD)?;
                if *table.get_or_insert(of) != of {
                    return Err("its condition compares columns of both tables");
                }
                // SQL compares datetimes as texts, filters compare them as points in time.
                if column.value == ValueType::Time {
                    return Err("its condition is on a datetime");
                }
                words.push(dotted(&column.name));
                at = chain.tokens.end;
                continue;
            }
            let is_plain = match token.kind {
                Kind::Word => WORDS.iter().any(|word| token.is(word)),
                Kind::Number => is_plain_number(&token.text),
                Kind::Text => {
                    !token.text.contains(['\\', '\u{2215}'])
                        && self.binder.slice(at).starts_with('\'')
                }
                Kind::Sign => {
                    let odd = ["[", "]", "->", "->>", "&", "|", "<<", ">>", "~"];
                    !odd.contains(&token.text.as_str())
                }
                Kind::Name | Kind::Version => false,
            };
            if !is_plain {
                return Err(ODD);
            }
            words.push(self.binder.slice(at).to_owned());
            at += 1;
        }
        Ok((table.unwrap_or_default(), words.join(" ")))
    }

    /// Writes the rest of the statement over the table of groups.
    fn write(&self, clauses: &Clauses) -> Result<String, Reason> {
        // Groups alone differ already.
        let is_distinct = clauses.is_distinct && (clauses.keys.is_some() || !self.folds.is_empty());
        let mut sql = String::from(if is_distinct { "select distinct " } else { "select " });
        for (at, item) in self.scan.scopes[0].items.iter().enumerate() {
            if at > 0 {
                sql += ", ";
            }
            sql += &self.part(&item.tokens)?;
            sql += &format!(" AS {}", quoted(&self.binder.item_name(item)));
        }
        sql += &format!(" from {}", quoted(GROUPS));
        if let Some(having) = &clauses.having {
            sql += &format!(" where {}", self.part(having)?);
        }
        sql.push(' ');
        sql += &self.part(&clauses.rest)?;
        Ok(sql)
    }

    fn part(&self, tokens: &Range<usize>) -> Result<String, Reason> {
        let mut words: Vec<String> = Vec::new();
        let mut at = tokens.start;
        while at < tokens.end {
            if let Some((call, number)) = self.calls.iter().find(|(call, _)| call.start == at) {
                words.push(format!("{}.a{number}", quoted(GROUPS)));
                at = call.end;
                continue;
            }
            let Some(chain) = self.scan.chains.iter().find(|chain| chain.tokens.start == at) else {
                words.push(self.binder.written(at));
                at += 1;
                continue;
            };
            at = chain.tokens.end;
            let key = self
                .scalar(chain)
                .and_then(|column| self.keys.iter().position(|key| *key == column));
            words.push(match (key, self.binder.meaning(chain)) {
                (Some(key), _) => format!("{}.k{key}", quoted(GROUPS)),
                (None, Ok(Meaning::Other(text))) => text,
                _ => return Err("it shows a column that it does not group by"),
            });
        }
        Ok(words.join(" "))
    }
}

/// Whether filters write the number the same way.
fn is_plain_number(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
}

/// A dotted name quoted for filters, whatever characters it holds.
fn dotted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests;
