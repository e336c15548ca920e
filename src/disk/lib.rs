//! Files and folders of this machine that somebody else may have tampered with.
//!
//! A name in a folder that others write to may be a link to anywhere, a pipe that blocks whoever opens it, or a folder
//! that belongs to a stranger. Everything that opens such a name goes through here.
//!
//! | file | contents |
//! |---|---|
//! | [`bus`] | surviving the truncation of a mapped file |
//! | [`regular`] | opening a name only if it is a regular file, without following a link or blocking |
//! | [`inside`] | reading below a stranger's folder without following links |
//! | [`kind`] | whether a file system is on a disk of this machine |
//! | [`private`] | folders that only this user may write to: created so, and checked before they are trusted |
//! | [`mod@owner`] | the owner of a file, by name if there is one |
//! | [`space`] | free space on a disk |
//! | [`map`] | whole files as memory |
//! | [`scratch`] | files without a name, gone when they are closed |
//! | [`sort`] | external sorting: more records than memory should hold, in order |
//! | [`whole_file`] | writing a file completely or not at all |

pub mod bus;
pub mod inside;
pub mod kind;
pub mod map;
pub mod owner;
pub mod private;
pub mod regular;
pub mod scratch;
pub mod sort;
pub mod space;
pub mod whole_file;
