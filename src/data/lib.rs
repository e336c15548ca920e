//! Catalogs and the answers over them: SQLite, memory maps, filters, differences, tables and pages.
//! No network, except to a catalog on servers.
//!
//! | floor | modules | contents |
//! |---|---|---|
//! | adapters | [`parquet_file`] [`catalog`] [`pack`] | Parquet files of strangers; the database; one immutable version, indexed for look-ups |
//! | answers | [`query`] [`diff`] [`lost`] [`pages`] [`tables`] [`stats`] [`sql`] [`knowledge`] [`trace`] | the rows of a filter; the rows in which two versions differ; columns that another version has; the single source of each page and each table; statistics of columns; SQL over packed columns; pages about the catalog; the origin of a row |
//! | people | [`memory`] [`usage`] | notes left for later readers; counts of what was opened, filtered and joined |
//! | work that lasts | [`runs`] | the answers of programs so far |

pub mod parquet_file;

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
