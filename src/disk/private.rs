//! Folders that only this user may write to: created so, and checked before their contents are
//! trusted.
//!
//! Cached bytes, packs and notes are served, mapped and acted upon as they are found; checksums
//! protect against decay, not against somebody who writes files with matching checksums. So the
//! folder must be ours: a real folder, not a link that somebody planted, owned by this user, and
//! writable by nobody else.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::owner;
use dcfs_core::error::Kind;

/// Why a folder is rejected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the folder `{}`: {cause}", path.display())]
    CannotMake { path: PathBuf, cause: io::Error },
    #[error("`{}` is a link; name the folder that it leads to", .0.display())]
    Link(PathBuf),
    #[error("`{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error(
        "the folder `{}` belongs to {owner}, who could change what is in it; use one of your own",
        path.display()
    )]
    Foreign { path: PathBuf, owner: String },
    #[error(
        "other users may write to the folder `{shown}`; forbid it with `chmod go-w {shown}`, or use another",
        shown = path.display()
    )]
    OpenToOthers { path: PathBuf },
}

impl From<Error> for dcfs_core::error::Error {
    fn from(error: Error) -> Self {
        Self::new(Kind::Denied, error)
    }
}

/// Creates a folder that only the user may enter, with its parents; an existing one is checked.
///
/// # Errors
/// Errors of the system; the folder is somebody else's, or others may write to it.
pub fn folder(path: &Path) -> Result<(), Error> {
    make(path)?;
    check(path)
}

/// The same for a folder beside a possibly foreign one, such as runs beside a catalog: its parents
/// are not checked.
///
/// # Errors
/// As [`folder`], without the parents.
pub fn folder_beside(path: &Path) -> Result<(), Error> {
    make(path)?;
    check_beside(path)
}

fn make(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        // Something else exists there; the check reports it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(Error::CannotMake { path: path.to_owned(), cause }),
        Ok(()) => Ok(()),
    }
}

/// The same for a cache, which may be the top of a disk of its own: others may then create names
/// there (a sticky folder), but not change ours. The contents go to the folders `inside`, which are
/// created now, so that nobody else creates them.
///
/// # Errors
/// As [`folder`], for it and for each folder inside. A name inside that is not a folder is left to
/// its user.
pub fn cache(path: &Path, inside: &[&str]) -> Result<(), Error> {
    match folder(path) {
        Err(Error::OpenToOthers { .. }) if is_sticky(path) => {}
        checked => checked?,
    }
    for name in inside {
        let made = folder(&path.join(name));
        if let Err(Error::Foreign { .. } | Error::Link(_) | Error::OpenToOthers { .. }) = made {
            return made;
        }
    }
    Ok(())
}

fn is_sticky(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.mode() & 0o1000 != 0)
}

/// Checks whether an existing folder may be trusted.
///
/// # Errors
/// As [`folder`].
pub fn check(path: &Path) -> Result<(), Error> {
    check_beside(path)?;
    above(path)
}

/// Checks whether an existing folder beside a possibly foreign one may be trusted.
///
/// # Errors
/// As [`folder_beside`].
pub fn check_beside(path: &Path) -> Result<(), Error> {
    let cannot = |cause| Error::CannotMake { path: path.to_owned(), cause };
    let found = fs::symlink_metadata(path).map_err(cannot)?;
    // A user's own link may put the cache on another disk; the target is what counts.
    let found = match found.is_symlink() {
        true if found.uid() != geteuid().as_raw() => return Err(Error::Link(path.to_owned())),
        true => fs::metadata(path).map_err(cannot)?,
        false => found,
    };
    if !found.is_dir() {
        return Err(Error::NotAFolder(path.to_owned()));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(Error::Foreign { path: path.to_owned(), owner: owner::name(found.uid()) });
    }
    match owner::is_open_to_others(&found) {
        true => Err(Error::OpenToOthers { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// Checks that nobody else could replace this folder: whoever may write to a parent could, unless
/// the parent is sticky.
fn above(path: &Path) -> Result<(), Error> {
    let Ok(real) = fs::canonicalize(path) else { return Ok(()) };
    for folder in real.ancestors().skip(1) {
        let cannot = |cause| Error::CannotMake { path: folder.to_owned(), cause };
        let found = fs::metadata(folder).map_err(cannot)?;
        if !owner::is_trusted(&found) && !owner::is_unknown(&found) {
            let owner = owner::name(found.uid());
            return Err(Error::Foreign { path: folder.to_owned(), owner });
        }
        if found.mode() & 0o1000 == 0 && owner::open_to(&found).is_some() {
            return Err(Error::OpenToOthers { path: folder.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    #[test]
    fn a_folder_of_ours_is_made_and_believed() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("a/b");
        folder(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o700);
        folder(&path).expect("there already");
        let link = base.path().join("link");
        symlink(&path, &link).expect("a link");
        folder(&link).expect("a link of one's own");
    }

    #[test]
    fn a_cache_may_be_the_top_of_a_disk() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("disk");
        folder(&path).expect("made");
        let set =
            |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        set(0o777);
        assert!(matches!(cache(&path, &["a"]), Err(Error::OpenToOthers { .. })));
        set(0o1777);
        cache(&path, &["a"]).expect("sticky");
        assert_eq!(fs::metadata(path.join("a")).expect("made").mode() & 0o777, 0o700);
        fs::write(path.join("file"), "").expect("a file");
        cache(&path, &["file"]).expect("no folder, but nobody else's");
        if geteuid().is_root() {
            chown(path.join("a"), Some(65534), None).expect("given away");
            assert!(matches!(cache(&path, &["a"]), Err(Error::Foreign { .. })));
        }
    }

    #[test]
    fn what_others_could_replace_is_refused() {
        let base = tempfile::tempdir().expect("a folder");
        let shared = base.path().join("shared");
        fs::create_dir(&shared).expect("a folder");
        let set =
            |mode| fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).expect("a mode");
        let path = shared.join("a/b");
        set(0o777);
        assert!(
            matches!(folder(&path), Err(Error::OpenToOthers { path }) if path.ends_with("shared"))
        );
        set(0o1777);
        folder(&path).expect("sticky");
        if geteuid().is_root() {
            set(0o755);
            chown(&shared, Some(65534), None).expect("given away");
            assert!(
                matches!(folder(&path), Err(Error::Foreign { path, .. }) if path.ends_with("shared"))
            );
            folder_beside(&path).expect("beside what is somebody else's");
            let runs = shared.join("runs");
            folder_beside(&runs).expect("made there");
            chown(&runs, Some(65534), None).expect("given away");
            assert!(matches!(folder_beside(&runs), Err(Error::Foreign { .. })));
        }
    }

    #[test]
    fn what_others_could_change_is_refused() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("open");
        folder(&path).expect("made");
        for mode in [0o777, 0o720, 0o1777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            assert!(matches!(folder(&path), Err(Error::OpenToOthers { .. })), "{mode:o}");
        }
        let file = base.path().join("file");
        fs::write(&file, "").expect("a file");
        assert!(matches!(folder(&file), Err(Error::NotAFolder(_))));
        if geteuid().is_root() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
            chown(&path, Some(65534), None).expect("given away");
            assert!(matches!(folder(&path), Err(Error::Foreign { .. })));
            let link = base.path().join("link");
            symlink(base.path(), &link).expect("a link");
            std::os::unix::fs::lchown(&link, Some(65534), None).expect("given away");
            assert!(matches!(folder(&link), Err(Error::Link(_))));
        }
    }
}
