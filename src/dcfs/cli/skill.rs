//! `dcfs skill`: installs instructions for coding agents about dcfs, in each tool's folder.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::output::Output;
use super::{places, usage};
use crate::skill::folder::{self, Outcome, State};
use crate::skill::target::{Scope, Target};
use crate::skill::{agents_md, text};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::table::TextTable;
use dcfs_disk::{regular, whole_file};

/// Limit of an `AGENTS.md` in bytes: agents read no more either.
const LARGEST: u64 = 4 << 20;

/// Install instructions for coding agents: a skill for Claude Code, Codex, Cursor, Copilot and others
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Skill {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  dcfs skill install                           for the tools that this user has
  dcfs skill install --target claude,codex --project --agents-md
  dcfs skill list
  dcfs skill show sql                          one of its pages";

#[derive(Debug, Subcommand)]
enum Command {
    /// Write it, or update it; files edited by hand stay
    Install(Install),
    /// Remove it; files edited by hand stay
    Uninstall(Uninstall),
    /// Print where it is installed, and whether it belongs to this version
    List(List),
    /// Print it, or one of its pages
    Show(Show),
}

#[derive(Debug, Args)]
struct Where {
    /// Tools, e.g. `claude,codex` [default: those that have the skill, or have a folder here or in the home
    /// folder; else agents]
    #[arg(long = "target", value_enum, value_delimiter = ',', value_name = "TOOL")]
    targets: Vec<Target>,
    /// Install for everyone who works in this project: in the repository around this folder, or in this folder
    #[arg(long)]
    project: bool,
    /// Also overwrite or remove files edited by hand
    #[arg(long)]
    force: bool,
    /// Also add five lines about dcfs to the project's AGENTS.md, between markers
    #[arg(long)]
    agents_md: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Install {
    #[command(flatten)]
    at: Where,
    /// Write one copy, in the folder that several tools share, and link to it for the others
    #[arg(long)]
    link: bool,
}

#[derive(Debug, Args)]
struct Uninstall {
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// A page: filters, knowledge, map, sql, tables, training
    page: Option<String>,
}

/// The result in one folder.
#[derive(Debug, Serialize)]
struct Done {
    target: &'static str,
    path: String,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Skill {
    /// Runs the subcommand.
    pub fn run(self, out: &mut Output) -> Result<()> {
        match self.command {
            Command::Install(install) => install.run(out),
            Command::Uninstall(uninstall) => uninstall.run(out),
            Command::List(list) => list.run(out),
            Command::Show(show) => show.run(out),
        }
    }
}

impl Install {
    fn run(&self, out: &mut Output) -> Result<()> {
        let shared = self.at.folder(Target::Agents)?;
        let mut done = Vec::new();
        if self.link {
            let outcome = folder::install(&shared, self.at.force)?;
            done.push(Done::new(Target::Agents, &shared, outcome));
        }
        for (target, path) in self.at.folders()? {
            if !self.link {
                done.push(Done::new(target, &path, folder::install(&path, self.at.force)?));
            } else if path != shared {
                folder::link(&path, &relative(&path, &shared), self.at.force)?;
                done.push(Done::new(target, &path, Outcome::default()));
            }
        }
        if self.at.agents_md {
            let path = project()?.join("AGENTS.md");
            change(&path, |page| Some(agents_md::with(page)))?;
            out_of_json(self.at.json, out, format_args!("{}: lines about dcfs", path.display()))?;
        }
        tell(&done, "is up to date", self.at.json, out)
    }
}

impl Uninstall {
    fn run(&self, out: &mut Output) -> Result<()> {
        let mut done = Vec::new();
        for (target, path) in self.at.folders()? {
            done.push(Done::new(target, &path, folder::uninstall(&path, self.at.force)?));
        }
        if self.at.agents_md {
            change(&project()?.join("AGENTS.md"), agents_md::without)?;
        }
        tell(&done, "was not there", self.at.json, out)
    }
}

impl List {
    fn run(&self, out: &mut Output) -> Result<()> {
        let mut table = TextTable::new(["TOOL", "FOR", "STATE", "PATH"]);
        let (mut lines, mut is_anywhere) = (Vec::new(), false);
        for (scope, base) in bases()? {
            for target in Target::value_variants() {
                let path = target.folder(scope, &base);
                let state = folder::state(&path)?;
                lines.push(json!({
                    "target": target.name(),
                    "scope": scope.word(),
                    "path": path.to_string_lossy(),
                    "state": told(&state),
                    "installed": state != State::Absent,
                }));
                if state != State::Absent {
                    is_anywhere = true;
                    let [tool, whose] = [target.name(), scope.word()].map(str::to_owned);
                    table.row([tool, whose, told(&state), path.display().to_string()]);
                }
            }
        }
        match (self.json, is_anywhere) {
            (true, _) => out.json(&lines),
            (false, false) => out.line("not installed; run `dcfs skill install`"),
            (false, true) => out.text(&table.to_string()),
        }
    }
}

impl Show {
    fn run(&self, out: &mut Output) -> Result<()> {
        let page = text::page(self.page.as_deref()).ok_or_else(|| {
            Error::new(
                Kind::Missing,
                format!("no such page; there are {}", text::names().join(", ")),
            )
        })?;
        out.text(&page)
    }
}

impl Where {
    fn scope(&self) -> Scope {
        if self.project { Scope::Project } else { Scope::User }
    }

    fn base(&self) -> Result<PathBuf> {
        if self.project { project() } else { Ok(places::home()) }
    }

    fn folder(&self, target: Target) -> Result<PathBuf> {
        Ok(target.folder(self.scope(), &self.base()?))
    }

    /// The target folders, each once, with a tool that uses it.
    fn folders(&self) -> Result<Vec<(Target, PathBuf)>> {
        let mut folders: BTreeMap<PathBuf, Target> = BTreeMap::new();
        for target in self.targets()? {
            folders.entry(self.folder(target)?).or_insert(target);
        }
        Ok(folders.into_iter().map(|(path, target)| (target, path)).collect())
    }

    fn targets(&self) -> Result<Vec<Target>> {
        if !self.targets.is_empty() {
            return Ok(self.targets.clone());
        }
        let (base, home) = (self.base()?, places::home());
        let all = Target::value_variants().iter().copied();
        let scope = self.scope();
        let has = |target: &Target| target.folder(scope, &base).symlink_metadata().is_ok();
        let used = all.filter(|target| has(target) || target.is_used(&base, &home));
        let used: Vec<Target> = used.collect();
        Ok(if used.is_empty() { vec![Target::Agents] } else { used })
    }
}

impl Done {
    fn new(target: Target, path: &Path, outcome: Outcome) -> Self {
        Self { target: target.name(), path: path.to_string_lossy().into_owned(), outcome }
    }
}

/// All installed skills of older versions, for `dcfs doctor`: path and version.
pub fn older() -> Vec<(PathBuf, String)> {
    let bases = bases().map(Vec::from).unwrap_or_default();
    let all = bases.iter().flat_map(|(scope, base)| {
        Target::value_variants().iter().map(|target| target.folder(*scope, base))
    });
    let folders: std::collections::BTreeSet<PathBuf> = all.collect();
    let old = folders.into_iter().filter_map(|path| match folder::state(&path) {
        Ok(State::Installed { version, is_current: false, .. }) => Some((path, version)),
        _ => None,
    });
    old.collect()
}

/// The user's home and the project.
fn bases() -> Result<[(Scope, PathBuf); 2]> {
    Ok([(Scope::User, places::home()), (Scope::Project, project()?)])
}

/// The folder of a project: the repository around this folder, or this folder.
///
/// # Errors
/// This folder is gone.
pub fn project() -> Result<PathBuf> {
    let here = env::current_dir().map_err(|error| {
        usage(format!("the current folder cannot be determined: {error}; go to another"))
    })?;
    let top = here.ancestors().find(|folder| folder.join(".git").exists()).map(Path::to_owned);
    Ok(top.unwrap_or(here))
}

/// The relative path from the folder of `link` to `to`; both are below one base.
fn relative(link: &Path, to: &Path) -> PathBuf {
    let folder = link.parent().unwrap_or(Path::new(""));
    let shared = folder
        .components()
        .zip(to.components())
        .take_while(|(ours, theirs)| ours == theirs)
        .count();
    let up = folder.components().skip(shared).map(|_| Path::new(".."));
    up.chain(to.components().skip(shared).map(|part| Path::new(part.as_os_str()))).collect()
}

/// Rewrites a page of the project if `change` returns a new text. Links out of the project are not followed.
///
/// # Errors
/// The page cannot be read or written; it is a link that leads out of the folder.
pub fn change(path: &Path, mut change: impl FnMut(&str) -> Option<String>) -> Result<()> {
    folder::no_strangers_link(path)?;
    let told = |error: &dyn std::fmt::Display| {
        Error::new(Kind::Denied, format!("cannot change `{}`: {error}", path.display()))
    };
    let whole = match path.canonicalize() {
        Ok(whole) => whole,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            path.to_owned()
        }
        Err(error) => return Err(told(&error)),
    };
    let base = path.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    if path.is_symlink() && !whole.starts_with(&base) {
        return Err(told(&"it is a link that leads out of the project"));
    }
    let page = match regular::read_text(&whole, LARGEST) {
        Ok(page) => page,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(told(&error)),
    };
    match change(&page) {
        Some(new) if new != page => whole_file::write(&whole, new.as_bytes()),
        _ => Ok(()),
    }
}

fn told(state: &State) -> String {
    match state {
        State::Absent => "not installed".into(),
        State::Link(to) => format!("link to {}", to.display()),
        State::Foreign => "not written by dcfs".into(),
        State::Installed { version, is_current, edited } => {
            let age = if *is_current { "" } else { ", older than this program" };
            match edited.is_empty() {
                true => format!("version {version}{age}"),
                false => format!("version {version}{age}, edited: {}", edited.join(", ")),
            }
        }
    }
}

fn tell(done: &[Done], nothing: &str, json: bool, out: &mut Output) -> Result<()> {
    if json {
        return out.json(&done);
    }
    for Done { target, path, outcome } in done {
        let parts = [
            ("written", &outcome.written),
            ("removed", &outcome.removed),
            ("edited by hand, kept (--force)", &outcome.kept),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, files)| !files.is_empty())
            .map(|(word, files)| format!("{word}: {}", files.join(", ")))
            .collect();
        let said = if parts.is_empty() { nothing.to_owned() } else { parts.join("; ") };
        out.line(format_args!("{target}  {path}  {said}"))?;
    }
    Ok(())
}

fn out_of_json(json: bool, out: &mut Output, text: std::fmt::Arguments<'_>) -> Result<()> {
    if json { Ok(()) } else { out.line(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative() {
        let cases = [
            ("/p/.claude/skills/dcfs", "/p/.agents/skills/dcfs", "../../.agents/skills/dcfs"),
            ("/p/a/dcfs", "/p/a/b/dcfs", "b/dcfs"),
        ];
        for (link, to, want) in cases {
            assert_eq!(relative(Path::new(link), Path::new(to)), Path::new(want), "{link}");
        }
    }

    #[test]
    fn agents_md_is_changed_in_place_and_never_outside() {
        let base = tempfile::tempdir().expect("a folder");
        let project = base.path().join("p");
        std::fs::create_dir(&project).expect("made");
        let page = project.join("AGENTS.md");
        change(&page, |page| Some(agents_md::with(page))).expect("made");
        change(&page, agents_md::without).expect("emptied");
        assert_eq!(std::fs::read_to_string(&page).expect("there"), "");
        std::fs::remove_file(&page).expect("removed");
        let outside = base.path().join("outside.md");
        std::fs::write(&outside, "mine").expect("written");
        std::os::unix::fs::symlink(&outside, &page).expect("a link");
        assert!(change(&page, |page| Some(agents_md::with(page))).is_err());
        assert_eq!(std::fs::read_to_string(&outside).expect("there"), "mine");
    }
}
