//! Catalogs and the answers over them: SQLite, memory maps, filters, differences, tables and pages. No network.
//!
//! | floor | modules | contents |
//! |---|---|---|
//! | adapters | [`catalog`] [`pack`] | SQLite; one immutable version laid out for looking |
//! | answers | [`query`] [`diff`] [`lost`] [`pages`] [`tables`] [`stats`] [`sql`] [`knowledge`] [`trace`] | the rows of a filter; the rows in which two versions differ; columns that another version has; the one source of each page and each table; statistics of columns; SQL over packed columns; pages about the catalog; where a row came from |
//! | what people say and do | [`memory`] [`usage`] | lines left for those who come after; what was opened, filtered and joined |
//! | work that lasts | [`runs`] | what programs have answered so far |

pub mod catalog;
pub mod pack;

pub mod query;
pub mod diff;
pub mod lost;
pub mod memory;
pub mod usage;
pub mod pages;
pub mod runs;
pub mod tables;
pub mod trace;
pub mod stats;
pub mod sql;
pub mod knowledge;
