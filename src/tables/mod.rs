//! The rows of a version, or of a set of them, as tables that programs read.
//!
//! | file | what lives there |
//! |---|---|
//! | [`source`] | the rows a table shows, and the files they name |

pub mod source;

pub use source::Source;
