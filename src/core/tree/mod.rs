//! How row paths become names and directories. Pure: no catalog, no disk, no clock.
//!
//! - [`place`]: where a row's object would be, if it were alone.
//! - [`key`]: such a path as bytes that sort the way directories list.
//! - [`settle`]: who keeps a name that several want, and what the others are called.
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
