//! Tests that look at the whole: the house, the mount, the command line.

mod catalog;
mod diff;
mod docs;
mod filters;
mod floors;
mod mount;
mod pack;
mod shared;
mod store;
mod stores;
mod support;
mod tables;
mod vfs;
mod views;
mod write;
