//! SQL over versions: SQLite without a database file, whose tables are packed columns.
//!
//! A statement never meets a catalog: its connection is to memory alone, its tables are read-only by nature ([`mod@table`]),
//! and an authorizer lets nothing pass but SELECT. Time and memory have bounds ([`engine`]).
//!
//! | file | what lives there |
//! |---|---|
//! | [`question`] | a statement, and which version each of its tables is |
//! | [`engine`] | the connection, its bounds, running a statement |
//! | [`table`] | a version as a virtual table: whole scans, rows by a bitmap of `expr`, rows by a hash |
//! | [`index`] | rows by the hash of their value, for joins |
//! | [`join`] | rows of two versions that belong together |
//! | [`kernel`] | groups of the rows of a version, by the loops of `expr` |
//! | [`functions`], [`aggregates`] | what SQLite lacks of the functions of filters, and more |
//! | [`shape`] | what the rows of an answer look like as a version |
//! | [`spool`] | rows on the disk until their types are known |

mod aggregates;
mod engine;
mod functions;
mod index;
mod join;
pub mod kernel;
pub mod question;
mod shape;
mod spool;
mod table;

pub use engine::{Answer, AnswerColumn, Engine, Error, Limits};
pub use shape::{Origin, Seen, Shape};
pub use spool::{Owned, Spool};
pub use table::{BytesOf, TableColumns};
