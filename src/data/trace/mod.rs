//! The origin of a row: the chain of versions from it back to the storage, with the conditions that
//! it passed, the programs that computed its columns, and who ran what and when.
//!
//! No record says which row of a parent a row came from, so it is searched for: the rows of the
//! parent that name the same object and, among these, the ones with equal values in shared columns;
//! if no object is named, the rows with equal values. There may be several; then the first is
//! followed, and their number is reported.
//!
//! | file | what lives there |
//! |---|---|
//! | [`step`], [`text`] | the facts about a row, and their text for people |
//! | [`tracer`] | the walk through the versions |
//! | [`conditions`] | the conditions that find the row of a parent |

mod conditions;
mod step;
mod text;
mod tracer;

pub use step::{Computed, Digest, From, Passed, Step, Stored};
pub use tracer::{PackOf, Tracer};
