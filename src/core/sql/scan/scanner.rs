//! One pass over the tokens: counts brackets, recognises clauses by their first words, and collects
//! names and tables.

use std::ops::Range;

use super::words::{is_reserved, is_soft};
use super::{Call, Chain, Clause, Entry, Item, Join, Scan, Scope, Star, Table};
use crate::expr::Error;
use crate::sql::lex::{Kind, Token};

/// The deepest nesting of brackets.
const DEEPEST: usize = 64;

/// The kind of thing that a bracket opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    /// The statement, or a select in brackets.
    Select,
    /// A select in brackets, used as a table.
    Table,
    /// Tables in brackets.
    Join,
    /// Anything else.
    Inside,
}

#[derive(Clone, Debug)]
struct Frame {
    opens: Opens,
    parent: Option<usize>,
    scope: Option<usize>,
    clause: Clause,
    expects_table: bool,
    /// Whether the next table may be NULL in a row.
    outer: bool,
    join: Join,
    /// The call whose arguments it holds.
    call: Option<usize>,
    item: Option<usize>,
}

impl Frame {
    fn new(opens: Opens, parent: Option<usize>) -> Self {
        Self {
            opens,
            parent,
            scope: None,
            clause: Clause::None,
            expects_table: false,
            outer: false,
            join: Join::Inner,
            call: None,
            item: None,
        }
    }
}

/// Scans the tokens of a statement in one pass.
pub struct Scanner {
    ctes: Vec<String>,
    found: Scan,
    frames: Vec<Frame>,
}

impl Scanner {
    fn token(&self, at: usize) -> Option<&Token> {
        self.found.tokens.get(at)
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.token(at).is_some_and(|token| token.is(word))
    }

    fn is_sign(&self, at: usize, sign: &str) -> bool {
        self.token(at).is_some_and(|token| token.is_sign(sign))
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the statement's own frame is never taken away")
    }

    pub fn new(tokens: Vec<Token>, ctes: Vec<String>) -> Self {
        let found = Scan { tokens, ..Scan::default() };
        Self { ctes, found, frames: vec![Frame::new(Opens::Select, None)] }
    }

    /// Scans the statement.
    ///
    /// # Errors
    /// As [`super::scan`].
    pub fn run(mut self) -> Result<Scan, Error> {
        let mut at = 0;
        while at < self.found.tokens.len() {
            at = self.step(at)?;
        }
        self.end_item(self.found.tokens.len());
        if self.found.scopes.is_empty() {
            // `values (1)`: its names are looked for in a select without tables.
            self.found.scopes.push(Scope::default());
        }
        match self.frames.len() {
            1 => Ok(self.found),
            _ => Err(Error::new(self.end(), "a bracket is not closed; expected `)`")),
        }
    }

    fn end(&self) -> Range<usize> {
        self.found.tokens.last().map_or(0..0, |token| token.span.end..token.span.end)
    }

    /// Handles the token `at`; returns the index of the next one to handle.
    fn step(&mut self, at: usize) -> Result<usize, Error> {
        let token = self.found.tokens[at].clone();
        match token.kind {
            Kind::Sign => self.sign(at, &token),
            Kind::Word | Kind::Name => self.word(at, &token),
            Kind::Version => Err(Error::new(
                token.span,
                "a version follows the name of a dataset, e.g. `from pets@1.0.0`",
            )),
            Kind::Text if self.frame().expects_table => {
                let message = "the name of a table needs double quotes: \"my pets@1.0.0\"";
                Err(Error::new(token.span, message))
            }
            Kind::Text | Kind::Number => Ok(at + 1),
        }
    }

    fn sign(&mut self, at: usize, token: &Token) -> Result<usize, Error> {
        match token.text.as_str() {
            "(" => self.open(at),
            ")" => self.close(at, token),
            "," => {
                let frame = self.frame();
                if frame.clause == Clause::From {
                    frame.expects_table = frame.opens != Opens::Inside;
                    (frame.outer, frame.join) = (false, Join::Inner);
                } else if frame.clause == Clause::Select && frame.opens != Opens::Inside {
                    self.end_item(at);
                    self.frame().item = Some(at + 1);
                }
                Ok(at + 1)
            }
            "*" if self.begins_item(at) => Ok(self.star(at)),
            _ => Ok(at + 1),
        }
    }

    /// Whether the token begins an item of a SELECT list.
    fn begins_item(&self, at: usize) -> bool {
        self.frames.last().is_some_and(|frame| {
            frame.item == Some(at) && frame.clause == Clause::Select && frame.opens != Opens::Inside
        })
    }

    fn star(&mut self, at: usize) -> usize {
        let mut end = at + 1;
        let mut exclude = Vec::new();
        if self.is(end, "exclude") {
            end += 1;
            let in_brackets = self.is_sign(end, "(");
            end += usize::from(in_brackets);
            while let Some(token) = self.token(end).filter(|token| token.is_name()) {
                let mut name = token.text.clone();
                end += 1;
                while let (true, Some(part)) = (self.is_sign(end, "."), self.token(end + 1)) {
                    name = format!("{name}.{}", part.text);
                    end += 2;
                }
                exclude.push(name);
                if !(in_brackets && self.is_sign(end, ",")) {
                    break;
                }
                end += 1;
            }
            end += usize::from(in_brackets && self.is_sign(end, ")"));
        }
        self.found.stars.push(Star { tokens: at..end, exclude });
        end
    }

    fn scope(&self) -> usize {
        self.scope_around().unwrap_or(0)
    }

    fn scope_around(&self) -> Option<usize> {
        self.frames.iter().rev().find_map(|frame| frame.scope.or(frame.parent))
    }

    fn open(&mut self, at: usize) -> Result<usize, Error> {
        if self.frames.len() > DEEPEST {
            let span = self.found.tokens[at].span.clone();
            return Err(Error::new(span, format!("brackets nest deeper than {DEEPEST}")));
        }
        let begins = ["select", "with", "values"].iter().any(|word| self.is(at + 1, word));
        let parent = self.scope_around();
        let above = self.frame().clone();
        let is_call = at > 0
            && self.found.tokens[at - 1].is_name()
            && !is_reserved(&self.found.tokens[at - 1]);
        let mut frame = match (above.expects_table, begins) {
            (true, true) => Frame::new(Opens::Table, above.parent),
            (true, false) => Frame {
                clause: Clause::From,
                expects_table: true,
                scope: above.scope,
                outer: above.outer,
                ..Frame::new(Opens::Join, above.parent)
            },
            (false, true) => Frame::new(Opens::Select, parent),
            (false, false) => Frame {
                clause: if above.clause == Clause::From { Clause::Where } else { above.clause },
                scope: above.scope,
                ..Frame::new(Opens::Inside, above.parent)
            },
        };
        if above.expects_table {
            self.frame().expects_table = false;
        }
        if is_call && frame.opens == Opens::Inside {
            self.found.calls.push(Call { token: at - 1, inside: at + 1..at + 1 });
            frame.call = Some(self.found.calls.len() - 1);
        }
        self.frames.push(frame);
        Ok(at + 1)
    }

    fn close(&mut self, at: usize, token: &Token) -> Result<usize, Error> {
        self.end_item(at);
        if self.frames.len() == 1 {
            return Err(Error::new(token.span.clone(), "a `)` without its `(`"));
        }
        let Some(frame) = self.frames.pop() else { return Ok(at + 1) };
        if let Some(call) = frame.call {
            self.found.calls[call].inside.end = at;
        }
        if frame.opens != Opens::Table {
            return Ok(at + 1);
        }
        let (alias, next) = self.alias(at + 1);
        self.enter(Entry { alias: alias.unwrap_or_default(), table: None, is_tested: false });
        Ok(next)
    }

    /// Adds a table to the enclosing select.
    fn enter(&mut self, entry: Entry) {
        let scope = self.scope();
        if let Some(scope) = self.found.scopes.get_mut(scope) {
            scope.tables.push(entry);
        }
    }

    /// Reads `as p`, or `p` alone; returns the alias and the index of the token after it.
    fn alias(&self, at: usize) -> (Option<String>, usize) {
        let named = |at: usize| {
            let token = self.token(at).filter(|token| token.is_name() && !is_reserved(token));
            token.filter(|_| !self.is_test(at))
        };
        match self.is(at, "as") {
            // AS without a name: SQLite reports it.
            true => match self.token(at + 1) {
                Some(token) => (Some(token.text.clone()), at + 2),
                None => (None, at + 1),
            },
            false => match named(at) {
                Some(token) => (Some(token.text.clone()), at + 1),
                None => (None, at),
            },
        }
    }

    /// Whether the token is the first of SEMI JOIN or ANTI JOIN.
    fn is_test(&self, at: usize) -> bool {
        (self.is(at, "semi") || self.is(at, "anti")) && self.is(at + 1, "join")
    }

    fn word(&mut self, at: usize, token: &Token) -> Result<usize, Error> {
        if self.frame().clause == Clause::From && !self.frame().expects_table && self.is_test(at) {
            return Ok(at + 1);
        }
        if let Some(next) = self.keyword(at, token) {
            return Ok(next);
        }
        if self.frame().expects_table {
            return self.table(at);
        }
        // A word after a value is its alias.
        let is_alias = at > 0 && self.names_item(at);
        if is_alias {
            return Ok(at + 1);
        }
        // Except for the type in `cast(x as int)`, a collation, a window.
        let is_other =
            ["as", "collate", "over", "nulls"].iter().any(|word| at > 0 && self.is(at - 1, word));
        let is_window = self.frame().clause == Clause::Where && self.is(at + 1, "as");
        if is_other
            || is_window
            || self.frame().clause == Clause::None
            || (is_reserved(token) && !is_soft(token))
        {
            return Ok(at + 1);
        }
        Ok(self.chain(at))
    }

    /// Handles words that begin a clause; `None` for any other word.
    fn keyword(&mut self, at: usize, token: &Token) -> Option<usize> {
        if token.kind != Kind::Word {
            return None;
        }
        let is_select = self.frame().opens != Opens::Inside;
        let word = token.text.to_ascii_lowercase();
        let clause = match word.as_str() {
            "select" => {
                self.select(at);
                let mut next = at + 1;
                while self.is(next, "distinct") || self.is(next, "all") {
                    next += 1;
                }
                self.frame().item = Some(next);
                return Some(next);
            }
            "with" => {
                self.found.has_with = true;
                Clause::None
            }
            "from"
                if at > 1
                    && self.is(at - 1, "distinct")
                    && (self.is(at - 2, "is") || self.is(at - 2, "not")) =>
            {
                return Some(at + 1);
            }
            "from" if is_select => {
                self.end_item(at);
                let frame = self.frame();
                (frame.expects_table, frame.outer, frame.join) = (true, false, Join::Inner);
                Clause::From
            }
            "join" if is_select => {
                self.join(at);
                Clause::From
            }
            "on" if is_select && self.frame().clause == Clause::From => Clause::From,
            "using" if is_select => Clause::Using,
            "where" | "having" | "window" | "limit" if is_select => Clause::Where,
            "group" if is_select => {
                if self.is(at + 1, "by") && self.is(at + 2, "all") {
                    let scope = self.scope();
                    self.found.group_all.push((scope, at + 2));
                }
                Clause::Group
            }
            "order" if is_select => Clause::Order,
            "union" | "intersect" | "except" if is_select => {
                self.end_item(at);
                self.found.is_compound = true;
                Clause::None
            }
            "values" if is_select => Clause::Where,
            _ => return None,
        };
        self.end_item(at);
        self.frame().clause = clause;
        Some(at + 1)
    }

    fn select(&mut self, at: usize) {
        self.end_item(at);
        let parent = self.frame().parent;
        let is_top = self.frames.len() == 1;
        self.found.scopes.push(Scope { parent, is_top, ..Scope::default() });
        let scope = self.found.scopes.len() - 1;
        let frame = self.frame();
        (frame.scope, frame.clause, frame.expects_table) = (Some(scope), Clause::Select, false);
    }

    /// LEFT makes the tables after it outer, RIGHT the ones before it, FULL both. SEMI and ANTI
    /// stand right before JOIN; elsewhere they are names.
    fn join(&mut self, at: usize) {
        let mut before = at;
        let (mut left, mut right, mut test) = (false, false, None);
        let table = self.found.tables.last().map_or(0, |table| table.tokens.end);
        while before > table {
            before -= 1;
            let token = &self.found.tokens[before];
            match token.text.to_ascii_lowercase().as_str() {
                "left" => left = true,
                "right" => right = true,
                "full" => (left, right) = (true, true),
                "semi" if before + 1 == at => test = Some(Join::Semi),
                "anti" if before + 1 == at => test = Some(Join::Anti),
                "natural" => self.found.has_natural = true,
                "outer" | "inner" | "cross" => {}
                _ => break,
            }
        }
        if right {
            let scope = self.scope();
            // None where JOIN stands before any SELECT.
            let known = self.found.scopes.get(scope).into_iter().flat_map(|scope| &scope.tables);
            let tables: Vec<usize> = known.filter_map(|entry| entry.table).collect();
            tables.into_iter().for_each(|table| self.found.tables[table].is_outer = true);
        }
        let frame = self.frame();
        // LEFT SEMI JOIN is a SEMI JOIN, which shows nothing of the tables after it.
        (frame.expects_table, frame.outer) = (true, left && test.is_none());
        frame.join = test.unwrap_or(match (left, right) {
            (true, true) => Join::Full,
            (true, false) => Join::Left,
            (false, true) => Join::Right,
            (false, false) => Join::Inner,
        });
    }

    /// Reads the name of a table and its alias.
    fn table(&mut self, at: usize) -> Result<usize, Error> {
        let mut name = self.found.tokens[at].text.clone();
        let mut end = at + 1;
        while self.is_sign(end, ".") && self.token(end + 1).is_some_and(Token::is_name) {
            name = format!("{name}.{}", self.found.tokens[end + 1].text);
            end += 2;
        }
        let last = self.found.tokens[end - 1].text.clone();
        self.frame().expects_table = false;
        if self.is_sign(end, "(") && last.eq_ignore_ascii_case("listing") && end == at + 1 {
            return self.listing(at);
        }
        if self.is_sign(end, "(") {
            // A function used as a table: left to SQLite.
            let close = self.closing(end);
            let (alias, next) = self.alias(close + 1);
            self.enter(Entry { alias: alias.unwrap_or(last), table: None, is_tested: false });
            self.inside_of_function(end, close)?;
            return Ok(next);
        }
        if self.token(end).is_some_and(|token| token.kind == Kind::Version) {
            name = format!("{name}@{}", self.found.tokens[end].text);
            end += 1;
        }
        let span = self.found.tokens[at].span.start..self.found.tokens[end - 1].span.end;
        let (alias, next) = self.alias(end);
        if end == at + 1 && self.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(&name)) {
            self.enter(Entry { alias: alias.unwrap_or(name), table: None, is_tested: false });
            return Ok(next);
        }
        let plain =
            last.split('@').next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
        let alias = alias.unwrap_or_else(|| plain.to_owned());
        self.push_table(name, span, at..next, alias);
        Ok(next)
    }

    fn push_table(
        &mut self,
        name: String,
        span: Range<usize>,
        tokens: Range<usize>,
        alias: String,
    ) {
        let (is_outer, join) = (self.frame().outer, self.frame().join);
        let is_listing = self.is_sign(tokens.start + 1, "(");
        let table = Some(self.found.tables.len());
        let entry = Entry { alias: alias.clone(), table, is_tested: join.is_test() };
        self.found.tables.push(Table { name, span, tokens, alias, is_outer, join, is_listing });
        self.enter(entry);
    }

    /// Reads `listing('s3://b/')` and its alias.
    fn listing(&mut self, at: usize) -> Result<usize, Error> {
        let tokens = &self.found.tokens;
        let address = tokens.get(at + 2).filter(|token| token.kind == Kind::Text);
        let Some(address) = address.filter(|_| self.is_sign(at + 3, ")")) else {
            let message = "write the address in single quotes, e.g. `listing('s3://bucket/')`";
            return Err(Error::new(tokens[at].span.clone(), message));
        };
        let (name, span) = (address.text.clone(), tokens[at].span.start..tokens[at + 3].span.end);
        let (alias, next) = self.alias(at + 4);
        self.push_table(name, span, at..next, alias.unwrap_or_else(|| "listing".to_owned()));
        Ok(next)
    }

    /// Reads the arguments of a table function.
    fn inside_of_function(&mut self, open: usize, close: usize) -> Result<(), Error> {
        let clause = std::mem::replace(&mut self.frame().clause, Clause::Where);
        let mut at = open + 1;
        while at < close {
            at = self.step(at)?;
        }
        self.frame().clause = clause;
        Ok(())
    }

    /// The bracket that closes the one at `open`, or the end of the statement.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for at in open..self.found.tokens.len() {
            depth += usize::from(self.is_sign(at, "("));
            if self.is_sign(at, ")") {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
        }
        self.found.tokens.len()
    }

    /// Whether the token is the alias of a SELECT item; records it if so.
    fn names_item(&mut self, at: usize) -> bool {
        let frame = self.frame();
        let (clause, opens, item) = (frame.clause, frame.opens, frame.item);
        if clause != Clause::Select || opens == Opens::Inside || item.is_none_or(|item| item >= at)
        {
            return false;
        }
        let token = &self.found.tokens[at];
        let before = &self.found.tokens[at - 1];
        let is_value = match before.kind {
            Kind::Name | Kind::Text | Kind::Number => true,
            Kind::Word => {
                !is_reserved(before)
                    || ["end", "null", "true", "false"].iter().any(|w| before.is(w))
            }
            Kind::Sign => matches!(before.text.as_str(), ")" | "]"),
            Kind::Version => false,
        };
        if !(before.is("as") || (is_value && !is_reserved(token))) {
            return false;
        }
        let alias = token.text.clone();
        let scope = self.scope();
        let tokens = item.unwrap_or(at)..at - usize::from(before.is("as"));
        let scope = &mut self.found.scopes[scope];
        scope.aliases.push(alias.clone());
        scope.items.push(Item { tokens, alias: Some(alias) });
        self.frame().item = None;
        true
    }

    /// Closes the open item before the token `at`.
    fn end_item(&mut self, at: usize) {
        let Some(start) = self.frame().item.take() else { return };
        let scope = self.scope();
        if start < at
            && let Some(scope) = self.found.scopes.get_mut(scope)
        {
            scope.items.push(Item { tokens: start..at, alias: None });
        }
    }

    /// A dotted name.
    fn chain(&mut self, at: usize) -> usize {
        let mut end = at + 1;
        let mut parts = vec![self.found.tokens[at].text.clone()];
        let mut has_star = false;
        while self.is_sign(end, ".") {
            let Some(next) = self.token(end + 1) else { break };
            if next.is_sign("*") {
                has_star = true;
                end += 2;
                break;
            }
            if !next.is_name() {
                break;
            }
            parts.push(next.text.clone());
            end += 2;
        }
        if self.is_sign(end, "(") && parts.len() == 1 {
            return end; // A function call.
        }
        let is_quoted = self.found.tokens[at].kind == Kind::Name && parts.len() == 1;
        let (scope, clause) = (self.scope(), self.frame().clause);
        let is_soft = parts.len() == 1 && is_reserved(&self.found.tokens[at]);
        self.found.chains.push(Chain {
            tokens: at..end,
            parts,
            scope,
            clause,
            is_quoted,
            has_star,
            is_soft,
        });
        end
    }
}
