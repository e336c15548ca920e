//! Tests that look at the whole: the house, the mount, the command line.

mod docs;
mod floors;
