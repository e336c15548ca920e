//! Shared by several tests.

// Each test uses only a part of it.
#![allow(dead_code)]

pub mod catalog;
pub mod cells;
pub mod http;
pub mod model;
pub mod mounted;
pub mod unmounted;
