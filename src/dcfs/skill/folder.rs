//! One installed skill: its state, installation and removal.
//!
//! A note beside the files (`.dcfs.json`) contains the digest of each as it was written. A file that differs
//! from it was edited by hand, and stays unless the caller insists; everything else follows the program's
//! version.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::text::{self, MAIN, NAME, REFERENCES, VERSION};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::hex::hex;
use dcfs_disk::{owner, regular, whole_file};

/// The file of the note.
const NOTE: &str = ".dcfs.json";

/// Limit of a skill's file in bytes: ten times the largest one.
const LARGEST: u64 = 1 << 20;

/// The files that were written, and the version that wrote them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    version: String,
    /// Digests of the files, by path.
    files: BTreeMap<String, String>,
}

/// The state of a skill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not installed.
    Absent,
    /// A link to a skill elsewhere.
    Link(PathBuf),
    /// Something that dcfs did not write.
    Foreign,
    /// Written by a version of dcfs.
    Installed {
        version: String,
        /// Whether the unedited files are those of this program.
        is_current: bool,
        /// Files edited since.
        edited: Vec<String>,
    },
}

/// The result of an installation or removal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub written: Vec<String>,
    pub removed: Vec<String>,
    /// Files edited by hand, which stay.
    pub kept: Vec<String>,
}

/// The state of the skill in `folder`.
///
/// # Errors
/// It cannot be read.
pub fn state(folder: &Path) -> Result<State> {
    match folder.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Absent),
        Err(error) => return Err(unread(folder, &error)),
        Ok(found) if found.is_symlink() => {
            let to = fs::read_link(folder).map_err(|error| unread(folder, &error))?;
            return Ok(State::Link(to));
        }
        Ok(found) if !found.is_dir() => return Ok(State::Foreign),
        Ok(_) => {}
    }
    let Some(note) = note(folder)? else { return Ok(State::Foreign) };
    if folder.join(REFERENCES).is_symlink() {
        return Ok(State::Foreign);
    }
    let mut edited = Vec::new();
    for (file, digest) in &note.files {
        if !is_ours(file) {
            return Ok(State::Foreign);
        }
        if self::digest(&folder.join(file))?.is_some_and(|now| now != *digest) {
            edited.push(file.clone());
        }
    }
    let is_current = wanted().iter().all(|(file, _, digest)| note.files.get(file) == Some(digest));
    Ok(State::Installed { version: note.version, is_current, edited })
}

/// Installs the skill into `folder`. Edited files stay, unless `force`.
///
/// # Errors
/// The folder is a link or somebody else's, unless `force`; the system refuses.
pub fn install(folder: &Path, force: bool) -> Result<Outcome> {
    no_strangers_link(folder)?;
    match state(folder)? {
        State::Link(to) if !force => {
            return Err(refused(format!(
                "`{}` is a link to `{}`; replace it with files: --force",
                folder.display(),
                to.display()
            )));
        }
        State::Foreign if !force => {
            return Err(refused(format!(
                "`{}` is there and was not written by dcfs; write into it all the same: --force",
                folder.display()
            )));
        }
        State::Link(_) => fs::remove_file(folder).map_err(|error| unwritten(folder, &error))?,
        _ => {}
    }
    let before = note(folder)?.unwrap_or_default();
    let mut outcome = Outcome::default();
    let mut files = BTreeMap::new();
    let references = folder.join(REFERENCES);
    let made = regular::check(&references).and_then(|()| fs::create_dir_all(&references));
    made.map_err(|error| unwritten(&references, &error))?;
    for (file, text, digest) in wanted() {
        let path = folder.join(&file);
        let now = self::digest(&path)?;
        let is_edited =
            now.as_ref().is_some_and(|now| before.files.get(&file) != Some(now) && *now != digest);
        if is_edited && !force {
            // The original digest stays in the note, so that the file counts as edited the next time too.
            files.insert(file.clone(), before.files.get(&file).cloned().unwrap_or_default());
            outcome.kept.push(file);
            continue;
        }
        if now.as_ref() != Some(&digest) {
            whole_file::write(&path, text.as_bytes())?;
            outcome.written.push(file.clone());
        }
        files.insert(file, digest);
    }
    for (file, digest) in &before.files {
        if is_ours(file) && !files.contains_key(file) {
            drop_unless_edited(folder, file, digest, force, &mut outcome)?;
        }
    }
    let note = Note { version: VERSION.to_owned(), files };
    let json = serde_json::to_vec_pretty(&note).map_err(|error| Error::new(Kind::Broken, error))?;
    whole_file::write(&folder.join(NOTE), &json)?;
    Ok(outcome)
}

/// Makes `folder` a link to the skill in `to`.
///
/// # Errors
/// Something else is there, unless it is dcfs's own and unedited, or `force`; the system refuses.
pub fn link(folder: &Path, to: &Path, force: bool) -> Result<()> {
    match state(folder)? {
        State::Link(now) if now == to => return Ok(()),
        State::Absent => {}
        State::Link(now) if force || leads_to_a_skill(folder, &now) => {
            fs::remove_file(folder).map_err(|error| unwritten(folder, &error))?;
        }
        State::Link(now) => {
            return Err(refused(format!(
                "`{}` is a link to `{}`, which dcfs did not make; replace it: --force",
                folder.display(),
                now.display()
            )));
        }
        State::Installed { edited, .. } if force || edited.is_empty() => {
            uninstall(folder, force)?;
        }
        _ => {
            return Err(refused(format!(
                "`{}` is there and holds what dcfs did not write; move it away first",
                folder.display()
            )));
        }
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    let made = fs::create_dir_all(parent).and_then(|()| std::os::unix::fs::symlink(to, folder));
    made.map_err(|error| unwritten(folder, &error))
}

/// Removes the skill: a link to one, or the files that dcfs wrote. Edited files and links to something else
/// stay, unless `force`; other files that dcfs did not write stay in any case.
///
/// # Errors
/// The system refuses.
pub fn uninstall(folder: &Path, force: bool) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    match state(folder)? {
        State::Absent => return Ok(outcome),
        State::Foreign => {
            outcome.kept.push(MAIN.to_owned());
            return Ok(outcome);
        }
        State::Link(to) if !force && !leads_to_a_skill(folder, &to) => {
            outcome.kept.push(MAIN.to_owned());
            return Ok(outcome);
        }
        State::Link(_) => {
            fs::remove_file(folder).map_err(|error| unwritten(folder, &error))?;
            outcome.removed.push(MAIN.to_owned());
            return Ok(outcome);
        }
        State::Installed { .. } => {}
    }
    for (file, digest) in &note(folder)?.unwrap_or_default().files {
        drop_unless_edited(folder, file, digest, force, &mut outcome)?;
    }
    if outcome.kept.is_empty() {
        fs::remove_file(folder.join(NOTE)).map_err(|error| unwritten(folder, &error))?;
    }
    // They stay if they contain anything else.
    fs::remove_dir(folder.join(REFERENCES)).ok();
    fs::remove_dir(folder).ok();
    Ok(outcome)
}

/// Whether a link in place of `folder` is ours: it leads to a skill that dcfs wrote, or to a place where one
/// was.
fn leads_to_a_skill(folder: &Path, to: &Path) -> bool {
    let skill = folder.parent().unwrap_or(Path::new("")).join(to);
    match state(&skill) {
        Ok(State::Installed { .. }) => true,
        Ok(State::Absent) => to.is_relative() && to.ends_with(NAME),
        _ => false,
    }
}

fn drop_unless_edited(
    folder: &Path,
    file: &str,
    digest: &str,
    force: bool,
    outcome: &mut Outcome,
) -> Result<()> {
    let path = folder.join(file);
    match self::digest(&path)? {
        None => {}
        Some(now) if now != digest && !force => outcome.kept.push(file.to_owned()),
        Some(_) => {
            fs::remove_file(&path).map_err(|error| unwritten(&path, &error))?;
            outcome.removed.push(file.to_owned());
        }
    }
    Ok(())
}

/// Every file of the skill, with its digest.
fn wanted() -> Vec<(String, String, String)> {
    let digested = |(file, text): (String, String)| {
        let digest = sum(text.as_bytes());
        (file, text, digest)
    };
    text::files().into_iter().map(digested).collect()
}

/// Whether a path in a note is valid for a skill, so that whoever wrote the note cannot lead out of the folder.
fn is_ours(file: &str) -> bool {
    let name = file.strip_prefix(REFERENCES).and_then(|rest| rest.strip_prefix('/'));
    let name = name.unwrap_or(file);
    name.ends_with(".md") && !name.contains('/') && !name.starts_with('.')
}

fn note(folder: &Path) -> Result<Option<Note>> {
    let path = folder.join(NOTE);
    match regular::read(&path, LARGEST) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(&path, &error)),
    }
}

/// The digest of an existing file. A link or a FIFO in its place is an error, and never followed.
fn digest(path: &Path) -> Result<Option<String>> {
    match regular::read(path, LARGEST) {
        Ok(bytes) => Ok(Some(sum(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(path, &error)),
    }
}

fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Refuses a place in a project, such as `.claude/skills/dcfs`, that is or lies behind another user's link: it
/// may have come with the project.
///
/// # Errors
/// `Denied`, with the owner.
pub fn no_strangers_link(path: &Path) -> Result<()> {
    let found = path.ancestors().take(3).find_map(|part| {
        owner::of_strangers_link(part).map(|owner| (part.display().to_string(), owner))
    });
    match found {
        None => Ok(()),
        Some((part, owner)) => {
            let message = format!(
                "`{part}` is a link that {owner} made, and nothing is written there; put a folder in its place"
            );
            Err(Error::new(Kind::Denied, message))
        }
    }
}

fn refused(message: String) -> Error {
    Error::new(Kind::Invalid, message)
}

fn unread(path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Denied, format!("cannot read `{}`: {error}", path.display()))
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Denied, format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::symlink;

    fn installed(edited: &[&str]) -> State {
        let edited = edited.iter().map(ToString::to_string).collect();
        State::Installed { version: VERSION.into(), is_current: true, edited }
    }

    #[test]
    fn is_written_once_and_taken_away() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = base.path().join("a/dcfs");
        assert_eq!(state(&folder).expect("read"), State::Absent);
        let all = text::files().len();
        assert_eq!(install(&folder, false).expect("written").written.len(), all);
        assert_eq!(state(&folder).expect("read"), installed(&[]));
        assert_eq!(install(&folder, false).expect("nothing to do"), Outcome::default());
        assert_eq!(uninstall(&folder, false).expect("gone").removed.len(), all);
        assert!(!folder.exists());
    }

    #[test]
    fn what_was_edited_by_hand_stays() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = base.path().join("dcfs");
        install(&folder, false).expect("written");
        fs::write(folder.join(MAIN), "mine").expect("edited");
        fs::write(folder.join("notes.md"), "mine too").expect("added");
        for _ in 0..2 {
            assert_eq!(install(&folder, false).expect("kept").kept, [MAIN]);
            assert_eq!(state(&folder).expect("read"), installed(&[MAIN]));
        }
        assert_eq!(uninstall(&folder, false).expect("kept").kept, [MAIN]);
        assert_eq!(fs::read_to_string(folder.join(MAIN)).expect("there"), "mine");
        assert_eq!(install(&folder, true).expect("insisted").kept, [""; 0]);
        assert_eq!(state(&folder).expect("read"), installed(&[]));
        uninstall(&folder, false).expect("gone");
        assert!(folder.join("notes.md").exists(), "dcfs did not write it");
    }

    #[test]
    fn an_older_one_is_told_and_renewed() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = base.path().join("dcfs");
        install(&folder, false).expect("written");
        fs::write(folder.join(MAIN), "old").expect("as an older version wrote it");
        fs::write(folder.join("references/gone.md"), "old").expect("written");
        let mut note = note(&folder).expect("read").expect("there");
        note.version = "0.0.1".into();
        note.files.insert(MAIN.into(), sum(b"old"));
        note.files.insert("references/gone.md".into(), sum(b"old"));
        fs::write(folder.join(NOTE), serde_json::to_vec(&note).expect("JSON")).expect("written");
        let old = State::Installed { version: "0.0.1".into(), is_current: false, edited: vec![] };
        assert_eq!(state(&folder).expect("read"), old);
        let outcome = install(&folder, false).expect("renewed");
        assert_eq!(outcome.written, [MAIN]);
        assert_eq!(outcome.removed, ["references/gone.md"]);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_touched() {
        let base = tempfile::tempdir().expect("a folder");
        let (folder, precious) = (base.path().join("dcfs"), base.path().join("precious.md"));
        fs::write(&precious, "mine").expect("written");
        fs::create_dir(&folder).expect("made");
        assert!(install(&folder, false).is_err(), "somebody made it");
        for path in ["../precious.md", "references/../../precious.md", "/etc/x.md", ".hidden.md"] {
            let note = Note { version: "1".into(), files: [(path.into(), sum(b"mine"))].into() };
            fs::write(folder.join(NOTE), serde_json::to_vec(&note).expect("JSON")).expect("w");
            assert_eq!(state(&folder).expect("read"), State::Foreign, "{path}");
            uninstall(&folder, true).expect("nothing to do");
        }
        fs::remove_file(folder.join(NOTE)).expect("removed");
        symlink(base.path(), folder.join(REFERENCES)).expect("a link");
        assert!(install(&folder, true).is_err(), "a link is never written through");
        fs::remove_file(folder.join(REFERENCES)).expect("removed");
        symlink(&precious, folder.join(MAIN)).expect("a link");
        assert!(install(&folder, true).is_err(), "a link is never written through");
        assert_eq!(fs::read_to_string(&precious).expect("there"), "mine");
    }

    #[test]
    fn a_link_leads_to_another_and_is_not_written_through() {
        let base = tempfile::tempdir().expect("a folder");
        let (folder, other) = (base.path().join("x/dcfs"), base.path().join("dcfs"));
        install(&other, false).expect("written");
        for _ in 0..2 {
            link(&folder, Path::new("../dcfs"), false).expect("linked");
        }
        assert_eq!(state(&folder).expect("read"), State::Link("../dcfs".into()));
        assert!(install(&folder, false).is_err());
        assert_eq!(uninstall(&folder, false).expect("gone").removed, [MAIN]);
        assert_eq!(state(&other).expect("read"), installed(&[]));
        install(&folder, false).expect("written");
        fs::write(folder.join(MAIN), "mine").expect("edited");
        assert!(link(&folder, Path::new("../dcfs"), false).is_err(), "it was edited");
        let foreign = base.path().join("x/mine");
        symlink(base.path(), &foreign).expect("a link");
        assert!(link(&foreign, Path::new("../dcfs"), false).is_err(), "it is somebody's");
        assert_eq!(uninstall(&foreign, false).expect("kept").kept, [MAIN]);
        assert!(foreign.is_symlink());
        link(&foreign, Path::new("../dcfs"), true).expect("insisted");
        symlink(base.path(), base.path().join("y")).expect("a link");
        assert_eq!(uninstall(&base.path().join("y"), true).expect("gone").removed, [MAIN]);
    }
}
