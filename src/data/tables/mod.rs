//! The rows of a version, or of a set of them, as tables that programs read.
//!
//! | file | what lives there |
//! |---|---|
//! | [`source`], [`paths`] | the rows a table shows, and the paths of their files |
//! | [`text`] | JSON and CSV, measured once and rendered again when read |
//! | [`parquet`] | Parquet, as a file in the cache |

pub mod parquet;
pub mod paths;
pub mod source;
pub mod text;

pub use source::{Rows, Source};
pub use text::{Blocks, TextTable};
