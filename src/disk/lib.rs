//! Files and folders of this machine that somebody else may have had their hands on.
//!
//! A name in a folder that others write to may be a link to anywhere, a pipe that blocks whoever opens it, or a folder
//! that belongs to a stranger. Everything that opens such a name goes through here.
//!
//! | file | contents |
//! |---|---|
//! | [`bus`] | surviving a mapped file that is cut short |
//! | [`regular`] | opening a name only if it is a regular file, without following a link or blocking |
//! | [`inside`] | reading below a folder of strangers, no link followed |
//! | [`private`] | folders that only this user may write to: made so, and checked before they are believed |
//! | [`owner`] | who owns a file, as a name where there is one |
//! | [`space`] | how much room a disk has |
//! | [`whole_file`] | writing a file that is there as a whole or not at all |

pub mod bus;
pub mod inside;
pub mod owner;
pub mod private;
pub mod regular;
pub mod space;
pub mod whole_file;
