//! Who saves, from where and by which command: shown with a version's lineage.
//!
//! Nothing here may prevent a save: unknown facts are left out, and no program is run. Catalogs are
//! shared, so secrets in URLs are not kept.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::Path;

use nix::unistd::{User, geteuid, gethostname};

use super::git;
use dcfs_core::provenance::Provenance;
use dcfs_core::secrets::masked;

/// All facts that can be found out, for a save by `command` with `filter`.
pub fn ask(command: &[OsString], filter: Option<String>) -> Provenance {
    let folder = env::current_dir().ok();
    let home = env::var_os("HOME");
    let text = |text: &OsString| masked(&text.to_string_lossy());
    Provenance {
        user: Some(name()),
        host: gethostname().ok().map(|host| host.to_string_lossy().into_owned()),
        git: folder.as_deref().and_then(|folder| git::of(folder, home.as_deref().map(Path::new))),
        folder: folder.map(|folder| folder.to_string_lossy().into_owned()),
        command: command.iter().map(text).collect(),
        filter: filter.map(|filter| masked(&filter)),
        recipe: None,
        settings: BTreeMap::new(),
    }
}

/// The user's name from the password file, or the number if it is not listed.
pub fn name() -> String {
    let known = User::from_uid(geteuid()).ok().flatten();
    known.map_or_else(|| geteuid().to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_git_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(git::of(folder.path(), None), None);
        assert_eq!(git::of(&folder.path().join("gone"), None), None);
        let by = ask(&["dcfs".into(), "a b".into()], None);
        assert!(by.user.is_some() && by.folder.is_some());
        assert_eq!(by.script(), "dcfs 'a b'");
    }
}
