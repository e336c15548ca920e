//! Rows as text: `_rows.jsonl`, `_rows.csv`, the `metadata.jsonl` of Hugging Face, and one row as a
//! file. `docs/tables.md` specifies the formats, type by type.
//!
//! A schema is compiled into a [`Layout`] once: a list of small steps (a literal, a cell), so that
//! a row needs no look-up in the schema and no allocation of its own.
//!
//! | file | what lives there |
//! |---|---|
//! | `layout` | compiles a schema into the steps of each format |
//! | [`json`], [`csv`] | one cell in each format |

pub mod csv;
pub mod json;
mod layout;

pub use layout::{Beside, Format, Layout, Ours, caption, is_metadata, metadata_columns};

/// The relative path of a row's file in each listed File column; `None` if it names none.
pub type Paths = [Option<Vec<u8>>];
