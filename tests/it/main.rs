//! Integration tests: architecture, mount, command line.

mod catalog;
mod diff;
mod docs;
mod filters;
mod floors;
mod items;
mod misbehaving;
mod mount;
mod names;
mod nested;
mod pack;
mod selects;
mod shared;
mod store;
mod stores;
mod support;
mod tables;
mod vfs;
mod views;
mod write;
