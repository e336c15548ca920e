//! Catalogs and the answers over them: SQLite, memory maps, filters, differences, tables and pages. No network.
//!
//! | floor | modules | contents |
//! |---|---|---|
//! | adapters | [`catalog`] [`pack`] | SQLite; one immutable version laid out for looking |
//! | answers | [`query`] [`diff`] [`pages`] [`tables`] [`sql`] | the rows of a filter; the rows in which two versions differ; the one source of each page and each table; SQL over packed columns |

pub mod catalog;
pub mod pack;

pub mod query;
pub mod diff;
pub mod pages;
pub mod tables;
pub mod sql;
