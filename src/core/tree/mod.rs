//! Derives names and directories from row paths. Pure: no catalog, no disk, no clock.
//!
//! - [`mod@place`]: where a row's object would be if it were alone.
//! - [`mod@key`]: such a path as bytes that sort the way directories list.
//! - [`mod@settle`]: which object keeps a name that several want, and how the others are named.
//! - [`values`]: the same for the values of a column.
//! - [`classes`]: the columns whose values are folders.
//! - [`datasets`]: the same for the names in `datasets/`.

pub mod classes;
pub mod datasets;
pub mod key;
pub mod place;
pub mod settle;
pub mod values;

pub use place::DEEPEST;
