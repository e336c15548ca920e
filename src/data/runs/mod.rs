//! Runs: what a program has answered so far, kept until it is a version.
//!
//! A run has a file of its own beside the catalog, in `dcfs-runs`, so that the catalog's lock is not held for hours, and
//! DataChain's clearing finds nothing of it. Every commit is a transaction; who is at work holds a lock beside the file.
//!
//! | file | what lives there |
//! |---|---|
//! | `file` | the rows that are done |
//! | `folder` | which runs there are, who is alive, what is removed |
//! | `page` | all of them, for people |

mod file;
mod folder;
mod page;

pub use file::{About, Answer, Answers, PART_DONE, Program, RunFile, Shard, key, row};
pub use folder::{Found, Life, State, bring, find, folder, list, made, remove, turn};
pub use page::page;
