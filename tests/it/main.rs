//! Tests that look at the whole: the house, the mount, the command line.

mod catalog;
mod docs;
mod floors;
mod pack;
mod support;
