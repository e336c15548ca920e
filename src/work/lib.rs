//! Work on a whole version, for a command: fetch its objects, verify them, count the cost; make
//! another version of its rows. No terminal and no mount: commands bring a [`Selection`] or
//! [`save::Chosen`] rows and the work to do with them.
//!
//! | file | contents |
//! |---|---|
//! | `objects` | every object that a set of rows names |
//! | [`image`] | the size of an image from its first bytes |
//! | [`index`] | makes a version of objects in storage |
//! | [`load`] | makes a version of the records of a file |
//! | [`map`] | makes a version with a program that sees every row of another |
//! | [`save`] | makes a version of some rows of another |
//! | [`mod@answer`] | makes a version of the result of a statement |
//! | [`author`] | who saves, from where, by which command |

pub mod answer;
pub mod author;
pub mod copy;
mod git;
pub mod image;
pub mod index;
pub mod load;
pub mod map;
mod objects;
pub mod save;

pub use objects::{Found, Selection};
