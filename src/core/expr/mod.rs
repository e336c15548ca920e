//! The language of filters: one for query directories and `--where` alike.
//!
//! A text becomes tokens, a syntax tree with positions, a typed tree over the columns of one
//! version, and a set of rows. Everything is bounded before it is processed: 64 KiB of text, 4,096
//! tokens, 64 levels. `docs/filters.md` defines each operator: they mean what they mean in SQLite,
//! because DataChain's filters are SQL.
//!
//! | file | what lives there |
//! |---|---|
//! | [`lex`], [`parse`], [`syntax`] | from text to a syntax tree |
//! | [`names`], [`mod@check`], [`function`], [`typed`] | from a syntax tree to a typed one |
//! | [`mod@print`] | the canonical form of a filter |
//! | [`packed`], [`eval`] | columns as buffers; the rows that a filter selects |
//! | [`wild`], [`regexp`] | LIKE and GLOB; Python's regular expressions |
//! | [`sql`] | the part of a filter that a server can evaluate, as SQL |
//! | [`mod@directory`] | which directory names are filters |
//! | [`error`] | messages with a caret |
//!
//! Pure: no catalog, no disk, no clock.

mod check;
mod directory;
mod error;
mod eval;
mod function;
mod lex;
mod names;
pub mod packed;
mod parse;
mod print;
mod regexp;
pub mod sql;
mod syntax;
mod typed;
mod wild;

pub use check::check;
pub use directory::directory;
pub use error::Error;
pub use eval::{
    Columns, Fault, Fold, Group, Near, Operand, Ranked, Ungrouped, Val, group, nearest, rank, rows,
};
pub use function::Function;
pub use lex::{LONGEST, SLASH};
pub use regexp::Regexp;
pub use syntax::{Comparison, Match};
pub use typed::{Column, Expr, Form, Key, Metric, Part, Query, Target, Type, Value};
pub use wild::Wild;
