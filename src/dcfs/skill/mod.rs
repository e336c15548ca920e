//! The skill `dcfs`: what a coding agent reads before it works with datasets, as the open specification of skills has it
//! (a folder with `SKILL.md` and `references/`).
//!
//! | file | what lives there |
//! |---|---|
//! | [`text`] | the files of the skill, compiled in |
//! | [`target`] | where each tool looks for skills |
//! | [`folder`] | one installed skill: its state, writing it, taking it away |
//! | [`agents_md`] | the lines in `AGENTS.md` |
//!
//! No terminal here: `cli::skill` brings the folders and tells what came of it.

pub mod agents_md;
pub mod folder;
pub mod target;
pub mod text;
