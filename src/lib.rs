//! dcfs: versioned, typed datasets over object storage, as plain directories.
//!
//! The map of the house, bottom floor first. A module imports only modules above it in this list;
//! `tests/it/floors.rs` holds that.
//!
//! | floor | modules | what lives there |
//! |---|---|---|
//! | words | [`error`] [`id`] [`time`] [`version`] [`name`] [`schema`] [`object`] [`cell`] [`json`] [`kept`] [`provenance`] | the terms of the field, as types; what is kept while there is room |
//! | pure cores | [`expr`] [`glob`] [`image`] [`tree`] [`render`] | filters; patterns; headers of pictures; names and directories from row paths; pages from facts |
//! | adapters | [`catalog`] [`pack`] [`store`] | SQLite, memory maps, disks and buckets |
//! | text | [`query`] [`diff`] [`pages`] [`tables`] | the rows of a filter; what differs between two versions; the one source of each page and each table, for the mount and the command line |
//! | use | [`vfs`] [`ops`] | the file system, without a kernel; what is done with a whole dataset |
//! | doors | [`fuse`] [`cli`] | the kernel and the person typing |

pub mod error;
pub mod id;
pub mod time;
pub mod version;
pub mod name;
pub mod schema;
pub mod object;
pub mod cell;
pub mod json;
pub mod kept;
pub mod provenance;

pub mod expr;
pub mod glob;
pub mod image;
pub mod tree;
pub mod render;

pub mod catalog;
pub mod pack;
pub mod store;

pub mod query;
pub mod diff;
pub mod pages;
pub mod tables;

pub mod vfs;
pub mod ops;

pub mod fuse;
pub mod cli;
