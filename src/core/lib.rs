//! The basic types of the project, and the pure modules over them: nothing here reads a file, a
//! clock or a network.
//!
//! | floor | modules | contents |
//! |---|---|---|
//! | words | [`hex`] [`sum`] [`error`] [`id`] [`time`] [`version`] [`name`] [`schema`] [`object`] [`cell`] [`json`] [`kept`] [`provenance`] [`annotation`] [`secrets`] | the terms of the field, as types; a bounded cache |
//! | cores | [`expr`] [`glob`] [`loader`] [`tree`] [`render`] | filters; patterns; splits, orders and archives for training; names and directories from row paths; pages from facts |

pub mod hex;
pub mod sum;
pub mod error;
pub mod id;
pub mod time;
pub mod version;
pub mod name;
pub mod schema;
pub mod shared;
pub mod object;
pub mod cancel;
pub mod cell;
pub mod json;
pub mod answer;
pub mod kept;
pub mod provenance;
pub mod annotation;
pub mod secrets;

pub mod expr;
pub mod sql;
pub mod glob;
pub mod loader;
pub mod tree;
pub mod render;
