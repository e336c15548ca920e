//! SQL over versions: SQLite without a database file, whose tables are packed columns.
//!
//! A statement has no access to a catalog: its connection is in memory, its virtual tables are
//! read-only ([`mod@table`]), and an authorizer allows only SELECT. Time and memory are limited
//! ([`engine`]).
//!
//! | file | what lives there |
//! |---|---|
//! | [`question`] | a statement, and the version behind each of its tables |
//! | [`about`] | the tables about the catalog itself: `catalog.datasets` and the like |
//! | [`engine`] | the connection, its limits, running a statement |
//! | [`mod@table`] | a version as a virtual table: full scans, rows by a bitmap from `expr`, rows by a hash |
//! | [`index`] | a hash index of rows by value, for joins |
//! | [`join`] | pairs of rows of two versions |
//! | [`kernel`] | groups of the rows of a version, by the kernels of `expr` |
//! | `served` | the same by the catalog's database engine, if it has one |
//! | [`counts`] | the number of rows per value |
//! | [`functions`], [`aggregates`] | functions of filters that SQLite lacks, and more |
//! | [`shape`] | the schema of a result, for saving it as a version |
//! | [`lines`], [`columnar`] | an answer as text, and as Parquet or Arrow |
//! | [`nearest`] | nearest rows of another version, for joins |
//! | [`spool`] | rows on the disk until their types are known |

mod about;
mod aggregates;
pub mod columnar;
pub mod counts;
mod engine;
mod functions;
mod index;
mod join;
pub mod kernel;
pub mod lines;
mod nearest;
pub mod question;
mod served;
mod shape;
mod spool;
mod table;

pub use engine::{Answer, AnswerColumn, Engine, Error, Limits};
pub use shape::{Origin, Seen, Shape};
pub use spool::Spool;
pub use table::{BytesOf, TableColumns};
