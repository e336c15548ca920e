//! The rows of a version, or of a set of them, as tables that programs read.
//!
//! | file | what lives there |
//! |---|---|
//! | [`source`], [`paths`] | the rows a table shows, and where their files are |
//! | [`text`] | JSON and CSV, measured once and rendered again where they are read |
//! | [`parquet`] | Parquet, as a file of the cache |

pub mod parquet;
pub mod paths;
pub mod source;
pub mod text;

pub use source::{Rows, Source};
pub use text::{Blocks, TextTable};
