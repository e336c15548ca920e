//! dcfs: versioned, typed datasets over object storage, as plain directories.
//!
//! The crates of the house, bottom floor first; each is a folder of `src/` and imports only those above it in this table
//! (`tests/it/floors.rs` holds the order, inside the crates too).
//!
//! | crate | contents |
//! |---|---|
//! | [`dcfs_core`] | the terms of the field, filters, names and pages: pure |
//! | [`dcfs_disk`] | files and folders of this machine that others may have had their hands on |
//! | [`dcfs_data`] | catalogs, packs, and the answers over them |
//! | [`dcfs_store`] | objects: local files, buckets and web servers, cached and checked |
//! | [`dcfs_vfs`] | the file system, without a kernel |
//! | [`dcfs_work`] | operations on whole datasets: index, save, warm, verify |
//! | `dcfs` | the doors: [`fuse`] for the kernel, [`cli`] for the person typing, [`skill`] and [`mcp`] for coding agents, [`view`] for browsers, [`csi`] for Kubernetes; [`picture`] makes pictures small |

pub mod picture;
pub mod fuse;
pub mod skill;
pub mod mcp;
pub mod view;
pub mod csi;
pub mod cli;
