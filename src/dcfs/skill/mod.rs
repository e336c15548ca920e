//! The skill `dcfs`: instructions for coding agents that work with datasets, in the format of the open skills
//! specification (a folder with `SKILL.md` and `references/`).
//!
//! | file | contents |
//! |---|---|
//! | [`text`] | the files of the skill, compiled in |
//! | [`target`] | the skill folders of each tool |
//! | [`folder`] | one installed skill: its state, installation and removal |
//! | [`agents_md`] | the lines in `AGENTS.md` |
//!
//! No terminal here: `cli::skill` chooses the folders and prints the results.

pub mod agents_md;
pub mod folder;
pub mod target;
pub mod text;
