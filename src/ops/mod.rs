//! What is done with a version as a whole, for a command: fetch its objects, compare them, count what that
//! takes. No terminal and no mount: commands bring a [`Selection`] and say what to do with each object.

pub mod index;
mod objects;

pub use objects::{Found, Selection};
