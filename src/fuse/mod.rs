//! The door to the kernel.
