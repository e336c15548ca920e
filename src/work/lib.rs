//! What is done with a version as a whole, for a command: fetch its objects, compare them, count what that
//! takes; make another version of its rows. No terminal and no mount: commands bring a [`Selection`] or
//! [`save::Chosen`] rows and say what to do with them.
//!
//! | file | what it does |
//! |---|---|
//! | `objects` | every object that some rows name |
//! | [`image`] | the size of a picture by its first bytes |
//! | [`index`] | a version made of what is in storage |
//! | [`load`] | a version made of the records of a file |
//! | [`map`] | a version made by a program that sees every row of another |
//! | [`save`] | a version made of some rows of another |
//! | [`answer`] | a version made of the answer to a statement |
//! | [`author`] | who saves, from where, by which command |

pub mod answer;
pub mod author;
mod git;
pub mod image;
pub mod index;
pub mod load;
pub mod map;
mod objects;
pub mod save;

pub use objects::{Found, Selection};
