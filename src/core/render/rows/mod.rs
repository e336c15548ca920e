//! Rows as text: `_rows.jsonl`, `_rows.csv`, the `metadata.jsonl` of Hugging Face and one row as a
//! file. The formats, type by type, are in `docs/tables.md`.
//!
//! A schema is made into a [`Layout`] once: a list of small steps (this literal, that cell), so that a
//! row costs no look at the schema and no memory of its own.
//!
//! | file | what lives there |
//! |---|---|
//! | `layout` | from a schema to the steps of each format |
//! | [`json`], [`csv`] | one cell as each writes it |

mod csv;
pub mod json;
mod layout;

pub use layout::{Beside, Format, Layout, Ours, caption, is_metadata, metadata_columns};

/// The relative path of a row's file in each listed File column; `None` where it names none.
pub type Paths = [Option<Vec<u8>>];
