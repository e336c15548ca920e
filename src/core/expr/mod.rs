//! The language of filters: one for query directories and `--where` alike.
//!
//! A text becomes tokens, a tree with places, a meaning over the columns of one version, and a set of
//! rows. Everything is bounded before it is looked at: 64 KiB of text, 4,096 words and signs, 64 levels.
//! What each operator means is in `docs/filters.md`: what SQLite means by it, for DataChain's filters
//! are SQL.
//!
//! | file | what lives there |
//! |---|---|
//! | [`lex`], [`parse`], [`syntax`] | from text to a tree |
//! | [`names`], [`mod@check`], [`function`], [`typed`] | from a tree to a meaning |
//! | [`mod@print`] | the one printed form of a meaning |
//! | [`packed`], [`eval`] | columns as buffers; the rows that a meaning holds for |
//! | [`wild`], [`regexp`] | LIKE and GLOB; Python's regular expressions |
//! | [`sql`] | a filter as SQL of a server, and what is left of it |
//! | [`mod@directory`] | which names of a directory are filters |
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
pub use eval::{Columns, Fault, Fold, Group, Operand, Ranked, Ungrouped, Val, group, rank, rows};
pub use function::Function;
pub use lex::{LONGEST, SLASH};
pub use regexp::Regexp;
pub use syntax::{Comparison, Match};
pub use typed::{Column, Expr, Form, Key, Part, Query, Target, Type, Value};
pub use wild::Wild;
