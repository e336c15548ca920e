//! SEMI and ANTI JOIN, which SQLite does not know, as EXISTS and NOT EXISTS among the conditions.

use super::Binder;
use crate::expr::Error;
use crate::sql::scan::{Chain, Entry, Join, Table};

/// Words that end FROM.
const CLAUSES: [&str; 9] =
    ["where", "group", "having", "window", "order", "limit", "union", "intersect", "except"];

/// Words that begin the next join.
const JOINS: [&str; 9] =
    ["join", "left", "right", "full", "inner", "cross", "natural", "semi", "anti"];

impl Binder<'_> {
    /// Whether a name may speak of a table: of one that is only tested, in the ON of its join.
    pub(super) fn is_seen(&self, entry: &Entry, chain: &Chain) -> bool {
        let Some(table) = entry.table.filter(|_| entry.is_tested) else { return true };
        let on = self.scan.tables[table].tokens.end;
        (on..self.end_of_on(on)).contains(&chain.tokens.start)
    }

    /// The end of the condition behind the ON at a token: the next join, comma or clause.
    pub(super) fn end_of_on(&self, on: usize) -> usize {
        let end = self.end_of(on + 1, |word| CLAUSES.contains(&word) || JOINS.contains(&word));
        let mut depth = 0_usize;
        let comma = (on + 1..end).find(|at| {
            let token = &self.scan.tokens[*at];
            depth += usize::from(token.is_sign("("));
            depth -= usize::from(token.is_sign(")")).min(depth);
            depth == 0 && token.is_sign(",")
        });
        comma.unwrap_or(end)
    }

    /// The first word of the join of a table that is only tested: SEMI, ANTI, or LEFT before them.
    fn begin_of_test(&self, table: &Table) -> Result<usize, Error> {
        let test = table.tokens.start.saturating_sub(2);
        let Some(before) = test.checked_sub(1) else { return Ok(test) };
        let token = &self.scan.tokens[before];
        if token.is("left") {
            return Ok(before);
        }
        let others = ["right", "full", "natural", "outer", "inner", "cross"];
        match others.iter().any(|word| token.is(word)) {
            false => Ok(test),
            true => Err(Error::new(
                self.span(&(before..table.tokens.start)),
                "a semi or an anti join only tests the rows before it; write `semi join` or `anti join`",
            )),
        }
    }

    /// Writes every SEMI and ANTI JOIN as a condition.
    pub(super) fn tests_of_rows(&mut self) -> Result<(), Error> {
        let scan = self.scan;
        for table in scan.tables.iter().filter(|table| table.join.is_test()) {
            let on = table.tokens.end;
            if !scan.tokens.get(on).is_some_and(|token| token.is("on")) {
                let message =
                    "expected ON and a condition after the table of a semi or an anti join";
                return Err(Error::new(table.span.clone(), message));
            }
            let (begin, end) = (self.begin_of_test(table)?, self.end_of_on(on));
            let words = self.out[on + 1..end].iter().map(|word| word.trim());
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            let condition = words.join(" ");
            let not = if table.join == Join::Anti { "NOT " } else { "" };
            let of = self.out[table.tokens.start].clone();
            let test = format!("{not}EXISTS (SELECT 1 FROM {of} WHERE {condition})");
            self.out[begin..end].iter_mut().for_each(String::clear);
            self.add_condition(end, &test);
        }
        Ok(())
    }

    /// Adds a condition to the WHERE of a select whose FROM goes on at the token `from`, or gives it one.
    fn add_condition(&mut self, from: usize, condition: &str) {
        const BEGINS: &str = "WHERE ";
        let at = self.end_of(from, |word| CLAUSES.contains(&word));
        if self.scan.tokens.get(at).is_some_and(|token| token.is("where"))
            && !self.out[at].starts_with(BEGINS)
        {
            self.out[at] = format!("{BEGINS}{condition} AND (");
            let last = self.end_of(at + 1, |word| CLAUSES.contains(&word)) - 1;
            self.out[last].push_str(" )");
            return;
        }
        let place = self.out.get_mut(at).unwrap_or(&mut self.tail);
        *place = match place.strip_prefix(BEGINS) {
            Some(rest) => format!("{BEGINS}{condition} AND {rest}"),
            None => format!("{BEGINS}{condition} {place}"),
        };
    }

    /// The next token that is such a word, or closes the bracket around; else the end.
    fn end_of(&self, from: usize, is_end: impl Fn(&str) -> bool) -> usize {
        let mut depth = 0_usize;
        let tokens = self.scan.tokens.iter().enumerate().skip(from);
        for (at, token) in tokens {
            if token.is_sign(")") {
                let Some(less) = depth.checked_sub(1) else { return at };
                depth = less;
            }
            depth += usize::from(token.is_sign("("));
            // A column may be called `left`.
            let is_part = at > 0 && self.scan.tokens[at - 1].is_sign(".");
            let word = token.text.to_ascii_lowercase();
            if depth == 0 && !is_part && token.is(&word) && is_end(&word) {
                return at;
            }
        }
        self.scan.tokens.len()
    }
}
