//! What several tests stand on.

// Each test takes what it needs.
#![allow(dead_code)]

pub mod catalog;
pub mod http;
pub mod model;
pub mod mounted;
pub mod unmounted;
