//! The `dcfs` program. Everything is in the library; see `dcfs::cli`.

fn main() {}
