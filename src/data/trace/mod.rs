//! Where a row came from: the chain of versions from it back to the storage, with the condition that it passed, the program
//! that computed its columns, who ran what and when.
//!
//! Nothing notes which row of a parent a row came from, so it is found: the rows of the parent that name the same object, and of
//! these the ones with equal values in the columns that both have; where no object is named, the rows with equal values.
//! Several may be; then the first is followed, and how many there are is told.
//!
//! | file | what lives there |
//! |---|---|
//! | [`step`], [`text`] | what is told of a row, and how people read it |
//! | [`tracer`] | the walk through the versions |
//! | [`conditions`] | how the row of a parent is found |

mod conditions;
mod step;
mod text;
mod tracer;

pub use step::{Computed, Digest, From, Passed, Step, Stored};
pub use tracer::{PackOf, Tracer};
