//! What several tests stand on.

// Each test takes what it needs.
#![allow(dead_code)]

pub mod catalog;
#[cfg(feature = "s3")]
pub mod http;
pub mod model;
pub mod mounted;
