//! The state of git in a folder: the commit, and the person git would name as its author.
//!
//! Nothing is run. Git itself runs programs that a repository's `config` names (filters, hooks, a
//! monitor, a transport for missing objects), and the folder may come from an archive that somebody
//! sent. So the few relevant files are read here; whether files differ from the commit cannot be
//! determined this way, and is left out. A repository of another user is skipped, as git itself
//! does.

use std::fs;
use std::path::{Path, PathBuf};

use dcfs_core::provenance::Git;
use dcfs_disk::{owner, regular};

/// The most bytes read of a file. Packed references of a large repository are megabytes.
const LARGEST: u64 = 64 << 20;

/// How many symbolic references may be followed.
const STEPS: usize = 5;

/// Git's facts about `folder`; `None` outside a work tree. `home` contains the user's own settings.
pub fn of(folder: &Path, home: Option<&Path>) -> Option<Git> {
    let folders = Folders::above(folder)?;
    let mut who = Identity::default();
    if let Some(home) = home {
        who.read(&home.join(".config/git/config"));
        who.read(&home.join(".gitconfig"));
    }
    who.read(&folders.common.join("config"));
    Some(Git { name: who.name, email: who.email, commit: folders.commit(), is_dirty: None })
}

/// The folders of a repository. A linked work tree has two different ones.
struct Folders {
    own: PathBuf,
    common: PathBuf,
}

impl Folders {
    /// The folders of the nearest work tree that contains `folder`.
    fn above(folder: &Path) -> Option<Self> {
        let own = folder.ancestors().find_map(|folder| git_folder(&folder.join(".git")))?;
        let is_ours = fs::symlink_metadata(&own).is_ok_and(|found| owner::is_trusted(&found));
        let common = match text(&own.join("commondir")) {
            Some(common) => own.join(common.trim_end_matches('\n')),
            None => own.clone(),
        };
        (is_ours && own.join("HEAD").is_file()).then_some(Self { own, common })
    }

    /// The commit of HEAD; `None` before the first commit, and if references are stored in another
    /// format.
    fn commit(&self) -> Option<String> {
        let mut value = text(&self.own.join("HEAD"))?;
        for _ in 0..STEPS {
            let Some(name) = value.strip_prefix("ref:") else { break };
            value = self.reference(name.trim())?;
        }
        let commit = value.trim();
        let is_hash =
            matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then(|| commit.to_owned())
    }

    fn reference(&self, name: &str) -> Option<String> {
        let is_plain = name.starts_with("refs/")
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !is_plain {
            return None;
        }
        let loose = [&self.own, &self.common].into_iter().find_map(|base| text(&base.join(name)));
        loose.or_else(|| {
            let packed = text(&self.common.join("packed-refs"))?;
            let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(_, of)| *of == name).map(|(commit, _)| commit.to_owned())
        })
    }
}

/// The folder `.git`, or the one that the file `.git` names.
fn git_folder(at: &Path) -> Option<PathBuf> {
    let found = fs::symlink_metadata(at).ok()?;
    if found.is_dir() {
        return Some(at.to_owned());
    }
    let named = text(at)?;
    let named = Path::new(named.strip_prefix("gitdir:")?.trim());
    Some(at.parent()?.join(named))
}

/// Reads a file of the repository, which may contain anything.
fn text(path: &Path) -> Option<String> {
    regular::read_text(path, LARGEST).ok()
}

/// `user.name` and `user.email`; the last setting wins.
#[derive(Default)]
struct Identity {
    name: Option<String>,
    email: Option<String>,
}

impl Identity {
    fn read(&mut self, path: &Path) {
        let text = text(path).unwrap_or_default();
        let mut is_user = false;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                is_user = section.trim_end_matches(']').trim().eq_ignore_ascii_case("user");
            } else if let Some((key, value)) = line.split_once('=').filter(|_| is_user) {
                let value = Some(plain(value)).filter(|value| !value.is_empty());
                match key.trim().to_ascii_lowercase().as_str() {
                    "name" => self.name = value,
                    "email" => self.email = value,
                    _ => {}
                }
            }
        }
    }
}

/// A value without its quotes and trailing comment.
fn plain(value: &str) -> String {
    let (mut out, mut is_quoted, mut chars) = (String::new(), false, value.trim().chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => is_quoted = !is_quoted,
            '\\' => out.extend(chars.next()),
            '#' | ';' if !is_quoted => break,
            _ => out.push(c),
        }
    }
    if is_quoted { out } else { out.trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// Names and contents of files.
    type Files<'a> = &'a [(&'a str, &'a str)];

    /// A repository with these files below `.git`.
    fn repository(files: Files<'_>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(".git").join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        folder
    }

    #[test]
    fn the_commit_is_found_wherever_it_is_kept() {
        let main = ("HEAD", "ref: refs/heads/main\n");
        let packed = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^{COMMIT}\n");
        let loose = format!("{COMMIT}\n");
        let cases: [(Files<'_>, Option<&str>); 6] = [
            (&[main, ("refs/heads/main", &loose)], Some(COMMIT)),
            (&[main, ("packed-refs", &packed)], Some(COMMIT)),
            (&[("HEAD", &loose)], Some(COMMIT)),
            (&[main], None),
            (&[("HEAD", "ref: refs/../../secret\n"), ("../secret", &loose)], None),
            (&[("HEAD", "ref: refs/a\n"), ("refs/a", "ref: refs/a\n")], None),
        ];
        for (files, want) in cases {
            let folder = repository(files);
            let below = folder.path().join("a/b");
            fs::create_dir_all(&below).expect("a folder");
            let found = of(&below, None).expect("a repository");
            assert_eq!(found.commit.as_deref(), want, "{files:?}");
        }
    }

    #[test]
    fn a_linked_work_tree_has_its_own_head() {
        let folder = repository(&[("HEAD", "ref: refs/heads/main"), ("packed-refs", "")]);
        let own = folder.path().join(".git/worktrees/w");
        fs::create_dir_all(&own).expect("a folder");
        fs::write(own.join("HEAD"), "ref: refs/heads/side").expect("a file");
        fs::write(own.join("commondir"), "../..\n").expect("a file");
        fs::create_dir_all(folder.path().join(".git/refs/heads")).expect("a folder");
        fs::write(folder.path().join(".git/refs/heads/side"), COMMIT).expect("a file");
        let work = tempfile::tempdir().expect("a folder");
        fs::write(work.path().join(".git"), format!("gitdir: {}\n", own.display()))
            .expect("a file");
        assert_eq!(of(work.path(), None).expect("a work tree").commit.as_deref(), Some(COMMIT));
    }

    #[test]
    fn the_author_is_as_the_nearest_settings_say() {
        let config =
            "[core]\n\tname = x\n[user]\n\tname = \"Ann | Lee\" ; who\n\temail = ann@example.org\n";
        let folder = repository(&[("HEAD", COMMIT), ("config", config)]);
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join(".gitconfig"), "[user]\nname=Other\n").expect("a file");
        let found = of(folder.path(), Some(home.path())).expect("a repository");
        assert_eq!(found.name.as_deref(), Some("Ann | Lee"));
        assert_eq!(found.email.as_deref(), Some("ann@example.org"));
        assert_eq!(found.is_dirty, None);
    }

    #[test]
    fn what_is_no_repository_says_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(of(folder.path(), None), None);
        nix::unistd::mkfifo(&folder.path().join(".git"), nix::sys::stat::Mode::S_IRWXU)
            .expect("a pipe");
        assert_eq!(of(folder.path(), None), None);
    }
}
