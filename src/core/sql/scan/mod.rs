//! The shape of a statement: its selects, the tables each reads, the names it refers to.
//!
//! This is not a grammar of SQL: SQLite has one, and parses the statement after the names are
//! resolved. Counting brackets and knowing the words that begin a clause is enough to tell tables
//! from columns and aliases.

mod scanner;
mod words;

use std::ops::Range;

use self::scanner::Scanner;
use super::lex::{self, Token};
use crate::expr::Error;
pub use crate::expr::sql::groups::Join;

/// One SELECT: the select around it, and the tables of its FROM.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub parent: Option<usize>,
    pub tables: Vec<Entry>,
    pub items: Vec<Item>,
    /// Names of the columns of its answer, with or without AS.
    pub aliases: Vec<String>,
    /// Whether its answer is the statement's answer.
    pub is_top: bool,
}

/// One table of a FROM clause.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name it has in the statement.
    pub alias: String,
    /// Its index in [`Scan::tables`]; `None` for a subquery, a WITH or a function.
    pub table: Option<usize>,
    /// Whether it is only asked for rows that match: nothing but the ON of its join can refer to it.
    pub is_tested: bool,
}

/// A table that the statement names.
#[derive(Clone, Debug)]
pub struct Table {
    /// `pets`, `pets@1.0.0`, `catalog.versions`.
    pub name: String,
    pub span: Range<usize>,
    /// The tokens of the name, and of the alias if there is one.
    pub tokens: Range<usize>,
    pub alias: String,
    /// Whether an outer join may leave its columns NULL.
    pub is_outer: bool,
    pub join: Join,
    /// Whether the name is the address in `listing('s3://b/')`.
    pub is_listing: bool,
}

impl Join {
    /// As it is written, without JOIN; empty for an inner one.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inner => "",
            Self::Left => "left",
            Self::Right => "right",
            Self::Full => "full",
            Self::Semi => "semi",
            Self::Anti => "anti",
        }
    }
}

/// One item of a SELECT list.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its tokens, without the alias.
    pub tokens: Range<usize>,
    pub alias: Option<String>,
}

/// The clause that a name is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clause {
    None,
    Select,
    From,
    Using,
    Where,
    Group,
    Order,
}

/// A dotted name of a column, or of a model.
#[derive(Clone, Debug)]
pub struct Chain {
    pub tokens: Range<usize>,
    pub parts: Vec<String>,
    pub scope: usize,
    pub clause: Clause,
    /// Whether all of it is one quoted name.
    pub is_quoted: bool,
    /// `p.*`
    pub has_star: bool,
    /// Whether the word has another meaning if no column is called so.
    pub is_soft: bool,
}

/// `*`, and the names in its EXCLUDE.
#[derive(Clone, Debug)]
pub struct Star {
    pub tokens: Range<usize>,
    pub exclude: Vec<String>,
}

/// A call of a function.
#[derive(Clone, Debug)]
pub struct Call {
    pub token: usize,
    /// The tokens between its brackets.
    pub inside: Range<usize>,
}

/// The result of scanning a statement.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    pub tokens: Vec<Token>,
    pub scopes: Vec<Scope>,
    pub tables: Vec<Table>,
    pub chains: Vec<Chain>,
    pub stars: Vec<Star>,
    pub calls: Vec<Call>,
    /// `group by all`: the index of the scope, and of the token ALL.
    pub group_all: Vec<(usize, usize)>,
    /// Whether it combines several SELECTs (UNION and the like).
    pub is_compound: bool,
    pub has_with: bool,
    pub has_natural: bool,
}

impl Scan {
    /// The terms of a condition joined by AND.
    pub fn conjuncts(&self, tokens: &Range<usize>) -> Vec<Range<usize>> {
        let (mut found, mut start, mut depth, mut is_between) =
            (Vec::new(), tokens.start, 0_usize, false);
        for at in tokens.clone() {
            let token = &self.tokens[at];
            // The conditions of CASE are not terms.
            depth += usize::from(token.is_sign("(") || token.is("case"));
            depth -= usize::from(token.is_sign(")") || token.is("end")).min(depth);
            if depth > 0 {
                continue;
            }
            if token.is("or") {
                return vec![tokens.clone()];
            }
            if token.is("and") && !is_between {
                found.push(start..at);
                start = at + 1;
            }
            is_between = token.is("between") || (is_between && !token.is("and"));
        }
        found.push(start..tokens.end);
        found
    }
}

/// Scans `text`.
///
/// # Errors
/// Anything but one SELECT; unbalanced brackets.
pub fn scan(text: &str) -> Result<Scan, Error> {
    let mut tokens = lex::tokens(text)?;
    while tokens.last().is_some_and(|token| token.is_sign(";")) {
        tokens.pop();
    }
    let Some(first) = tokens.first() else {
        return Err(Error::new(0..0, "expected a statement, e.g. `select * from pets limit 10`"));
    };
    if !["select", "with", "values"].iter().any(|word| first.is(word)) {
        let message =
            "only SELECT is run here, which changes nothing; `dcfs sql --help` has examples";
        return Err(Error::new(first.span.clone(), message));
    }
    if let Some(second) = tokens.iter().find(|token| token.is_sign(";")) {
        return Err(Error::new(
            second.span.clone(),
            "one statement at a time; leave out what follows",
        ));
    }
    let ctes = common_tables(&tokens);
    Scanner::new(tokens, ctes).run()
}

/// The names that WITH defines.
fn common_tables(tokens: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    for at in 0..tokens.len() {
        if !tokens[at].is_name() {
            continue;
        }
        let mut next = at + 1;
        if tokens.get(next).is_some_and(|token| token.is_sign("(")) {
            while tokens.get(next).is_some_and(|token| !token.is_sign(")")) {
                next += 1;
            }
            next += 1;
        }
        if !tokens.get(next).is_some_and(|token| token.is("as")) {
            continue;
        }
        next += 1;
        while tokens.get(next).is_some_and(|t| t.is("not") || t.is("materialized")) {
            next += 1;
        }
        let begins = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
        let is_select = ["select", "with", "values"].iter().any(|word| begins(next + 1, word));
        if tokens.get(next).is_some_and(|token| token.is_sign("(")) && is_select {
            names.push(tokens[at].text.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> Vec<String> {
        let scan = scan(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        scan.tables
            .iter()
            .map(|t| format!("{} {}{}", t.name, t.alias, if t.is_outer { "?" } else { "" }))
            .collect()
    }

    #[test]
    fn finds_tables() {
        let cases: [(&str, &[&str]); 9] = [
            ("select * from pets", &["pets pets"]),
            (
                "select * from pets@1.0.0 p, ns.project.dogs as d",
                &["pets@1.0.0 p", "ns.project.dogs d"],
            ),
            (
                "select * from \"my pets@2\" left join masks m on a = b",
                &["my pets@2 my pets", "masks m?"],
            ),
            ("select * from a full join b using (x)", &["a a?", "b b?"]),
            ("with x as (select * from a) select * from x join b", &["a a", "b b"]),
            ("select * from (select x from a) s where y in (select y from b)", &["a a", "b b"]),
            ("select a is distinct from b from c", &["c c"]),
            ("select extract from json_each('[]'), a", &["a a"]),
            ("select 1 union select x from (a join b)", &["a a", "b b"]),
        ];
        for (text, want) in cases {
            assert_eq!(tables(text), want, "{text}");
        }
    }

    #[test]
    fn finds_names_and_what_they_are_called() {
        let scan = scan(
            "select p.info.width w, count(*) as n, label from pets p where size > 5 order by n",
        )
        .expect("sound");
        let names: Vec<String> = scan.chains.iter().map(|chain| chain.parts.join(".")).collect();
        assert_eq!(names, ["p.info.width", "label", "size", "n"]);
        assert_eq!(scan.scopes[0].aliases, ["w", "n"]);
        assert_eq!(scan.scopes[0].items.len(), 3);
    }

    #[test]
    fn refuses_what_is_no_select() {
        for (text, message) in [
            ("", "expected a statement"),
            ("drop table pets", "only SELECT"),
            ("select 1; drop table pets", "one statement"),
            ("select (1", "not closed"),
            ("select 1)", "without its"),
            ("select * from 'pets'", "double quotes"),
        ] {
            assert!(scan(text).expect_err(text).to_string().contains(message), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(words in proptest::collection::vec("select|from|\\(|\\)|,|a|b|\\.|\\*|as|join|left|with|group by all|exclude|@1|'x'|union|where|\\[|;", 0..30)) {
            let _ = scan(&format!("select {}", words.join(" ")));
        }
    }
}
