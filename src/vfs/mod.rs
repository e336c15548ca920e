//! The file system, without a kernel.
