//! The folders in which each tool looks for skills, in a project and for a user.
//!
//! They are taken from the tools' manuals in 2026-11; when tools move them, this table is the one place to
//! update.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::text::NAME;

/// A tool that reads skills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Target {
    /// The folder that several tools share
    Agents,
    /// Claude Code
    Claude,
    /// Codex, which reads the shared folder
    Codex,
    /// GitHub Copilot
    Copilot,
    /// Cursor
    Cursor,
    /// Gemini CLI
    Gemini,
    /// OpenCode
    Opencode,
    /// Pi
    Pi,
}

/// The scope of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everyone who works in a project.
    Project,
    /// One user's, in every project.
    User,
}

impl Scope {
    /// The name of the scope.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::User => "user",
        }
    }
}

/// The skill folder in a project, that for a user, and the folder that shows that the tool is used.
struct Places {
    project: &'static str,
    user: &'static str,
    sign: &'static str,
}

impl Target {
    /// The tool's name, as typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Copilot => "copilot",
            Self::Cursor => "cursor",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
            Self::Pi => "pi",
        }
    }

    const fn places(self) -> Places {
        let (project, user, sign) = match self {
            Self::Agents => (".agents/skills", ".agents/skills", ".agents"),
            Self::Claude => (".claude/skills", ".claude/skills", ".claude"),
            // `.codex/skills` is only read for compatibility with older installations.
            Self::Codex => (".agents/skills", ".agents/skills", ".codex"),
            Self::Copilot => (".github/skills", ".copilot/skills", ".copilot"),
            Self::Cursor => (".cursor/skills", ".cursor/skills", ".cursor"),
            Self::Gemini => (".gemini/skills", ".gemini/skills", ".gemini"),
            Self::Opencode => (".opencode/skills", ".config/opencode/skills", ".config/opencode"),
            Self::Pi => (".pi/skills", ".pi/agent/skills", ".pi"),
        };
        Places { project, user, sign }
    }

    /// The folder of the skill below `base`: a project, or the user's home.
    pub fn folder(self, scope: Scope, base: &Path) -> PathBuf {
        let places = self.places();
        let skills = match scope {
            Scope::Project => places.project,
            Scope::User => places.user,
        };
        base.join(skills).join(NAME)
    }

    /// Whether the tool has a folder in `base` or in `home`.
    pub fn is_used(self, base: &Path, home: &Path) -> bool {
        let places = self.places();
        base.join(places.sign).is_dir() || home.join(places.sign).is_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_below_its_base_and_called_as_the_skill() {
        let base = Path::new("/base");
        for target in Target::value_variants() {
            for scope in [Scope::Project, Scope::User] {
                let folder = target.folder(scope, base);
                assert!(folder.starts_with(base) && folder.ends_with(NAME), "{folder:?}");
            }
            let name = target.to_possible_value().expect("typed");
            assert_eq!(name.get_name(), target.name());
        }
    }
}
