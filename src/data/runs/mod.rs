//! Runs: the answers of a program so far, kept until they become a version.
//!
//! A run has a file of its own beside the catalog, in `dcfs-runs`, so that the catalog's lock is
//! not held for hours, and DataChain's clean-up does not touch it. Every commit is a transaction; a
//! process at work holds a lock beside the file.
//!
//! | file | what lives there |
//! |---|---|
//! | `file` | the rows that are done |
//! | `folder` | the runs that exist, who works on them, and their removal |
//! | `page` | a page of all runs, for people |
//! | `status` | the status, log and errors of one run, for people and programs |

mod file;
mod folder;
mod page;
mod status;

pub use file::{About, Answer, Answers, PART_DONE, Program, RunFile, Shard, key, row};
pub use folder::{Found, Life, State, bring, find, folder, list, made, remove, turn};
pub use page::page;
pub use status::named;
