//! dcfs: versioned, typed datasets over object storage, as plain directories.
//!
//! The crates of the workspace, lowest first; each is a folder of `src/` and imports only those above it in
//! this table (`tests/it/floors.rs` checks the order, inside the crates too).
//!
//! | crate | contents |
//! |---|---|
//! | [`dcfs_core`] | the terms of the field, filters, names and pages: pure |
//! | [`dcfs_disk`] | local files and folders that others may have tampered with |
//! | [`dcfs_data`] | catalogs, packs, and queries over them |
//! | [`dcfs_store`] | objects: local files, buckets and web servers, cached and checked |
//! | [`dcfs_vfs`] | the file system, without a kernel |
//! | [`dcfs_work`] | operations on whole datasets: index, save, warm, verify |
//! | `dcfs` | [`session`]: a catalog, its packs and stores, opened; and the interfaces: [`fuse`] for the kernel, [`cli`] for the command line, [`skill`] and [`mcp`] for coding agents, [`view`] for browsers, [`csi`] for Kubernetes; [`picture`] scales pictures down, [`sample`] tells how files begin |

pub mod picture;
pub mod sample;
pub mod session;
pub mod fuse;
pub mod skill;
pub mod mcp;
pub mod view;
pub mod csi;
pub mod cli;
