//! Reserved words, and those that may be names nevertheless.

use crate::sql::lex::{Kind, Token};

/// Words that end the name of a table or a column, or have a meaning of their own.
const RESERVED: [&str; 75] = [
    "all",
    "and",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "cast",
    "collate",
    "cross",
    "current_date",
    "current_time",
    "current_timestamp",
    "desc",
    "distinct",
    "else",
    "end",
    "escape",
    "except",
    "exclude",
    "exists",
    "false",
    "filter",
    "following",
    "from",
    "full",
    "glob",
    "group",
    "groups",
    "having",
    "ilike",
    "in",
    "indexed",
    "inner",
    "intersect",
    "is",
    "isnull",
    "join",
    "left",
    "like",
    "limit",
    "match",
    "materialized",
    "natural",
    "not",
    "notnull",
    "null",
    "nulls",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "partition",
    "preceding",
    "range",
    "recursive",
    "regexp",
    "right",
    "rows",
    "select",
    "then",
    "true",
    "unbounded",
    "union",
    "using",
    "values",
    "when",
    "where",
    "window",
    "with",
    "without",
    "current",
    "row",
];

/// Reserved words that are also common names of columns.
const SOFT: [&str; 12] = [
    "current",
    "exclude",
    "filter",
    "following",
    "groups",
    "match",
    "materialized",
    "partition",
    "preceding",
    "range",
    "row",
    "rows",
];

/// Whether a bare word cannot be a name.
pub fn is_reserved(token: &Token) -> bool {
    token.kind == Kind::Word && RESERVED.iter().any(|word| token.text.eq_ignore_ascii_case(word))
}

/// Whether a reserved word is also a common name of columns.
pub fn is_soft(token: &Token) -> bool {
    SOFT.iter().any(|word| token.text.eq_ignore_ascii_case(word))
}
