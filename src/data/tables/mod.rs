//! The rows of a version, or of a set of them, as tables that programs read.
//!
//! | file | what lives there |
//! |---|---|
//! | [`source`], [`paths`], [`chunks`] | the rows a table shows, the paths of their files, and passes over them on all cores |
//! | [`text`] | JSON and CSV, measured once and rendered again when read |
//! | `arrow` | Arrow IPC, from the groups of rows that Parquet is written from |
//! | [`parquet`] | Parquet, as a file in the cache |

mod arrow;
pub mod chunks;
pub mod parquet;
pub mod paths;
pub mod source;
pub mod text;

pub use source::{Rows, Source};
pub use text::{Blocks, TextTable};
