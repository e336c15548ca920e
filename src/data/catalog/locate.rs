//! Finds the catalog: where the user says, else where DataChain finds its own, else in a parent
//! folder.
//!
//! 1. `--catalog`: the folder that holds `.datachain`, a `.datachain` folder, or the file itself.
//! 2. `DATACHAIN_DIR`, then `DATACHAIN_ROOT_DIR`. One that is set but leads nowhere is an error:
//!    falling back would silently use another catalog.
//! 3. `.datachain/db` in the current folder, then in each parent. (DataChain itself does not search
//!    parents and creates an empty catalog instead.)
//!
//! A catalog that was found rather than named must belong to this user or root: anybody may create
//! `/tmp/.datachain`, and an `index` below `/tmp` would write into it (git's CVE-2022-24765).
//!
//! Only searches: nothing is opened and nothing is created.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dcfs_disk::owner;

use super::error::Error;
use super::is_address;

/// The variables that lead DataChain to its catalog, in order, and the path from their value to it.
const VARIABLES: [(&str, &str); 2] =
    [("DATACHAIN_DIR", "db"), ("DATACHAIN_ROOT_DIR", ".datachain/db")];

/// [`super::locate()`], with the environment as arguments.
pub(super) fn find(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    current: impl FnOnce() -> std::io::Result<PathBuf>,
) -> Result<PathBuf, Error> {
    let found = match given {
        // An address is used as it is.
        Some(given) if is_address(given) => return Ok(given.to_owned()),
        Some(given) => in_given(given)?,
        None => match in_environment(variable)? {
            Some(found) => found,
            None => above(current().map_err(Error::NoCurrentFolder)?)?,
        },
    };
    found.canonicalize().map_err(|cause| Error::NotReachable { path: found, cause })
}

/// [`super::locate_or_new`], with the environment as arguments.
pub(super) fn find_or_new(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    current: impl Fn() -> std::io::Result<PathBuf>,
) -> Result<(PathBuf, bool), Error> {
    let new = match find(given, variable, &current) {
        Ok(found) => return Ok((found, true)),
        Err(Error::NotThere { given, looked }) => new_in(given, looked),
        Err(Error::NotWhereTold { db, .. }) => db,
        Err(Error::NowhereAbove(current, None)) => current.join(".datachain/db"),
        Err(error) => return Err(error),
    };
    let new = match new.is_absolute() {
        true => new,
        false => current().map_err(Error::NoCurrentFolder)?.join(new),
    };
    Ok((new, false))
}

/// The first place searched; not a folder that was misnamed by its file.
fn new_in(given: PathBuf, looked: Vec<PathBuf>) -> PathBuf {
    looked.into_iter().next().unwrap_or_else(|| given.join(".datachain/db"))
}

pub(super) fn in_given(given: &Path) -> Result<PathBuf, Error> {
    if is_file(given)? {
        return Ok(given.to_owned());
    }
    let mut looked = vec![given.join(".datachain/db"), given.join("db")];
    if given.file_name().is_some_and(|name| name == ".datachain") {
        looked.reverse();
    }
    for path in &looked {
        if is_file(path)? {
            return Ok(path.clone());
        }
    }
    Err(Error::NotThere { given: given.to_owned(), looked })
}

/// An empty variable counts as unset, in DataChain too.
fn in_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, Error> {
    for (name, way) in VARIABLES {
        let Some(folder) = variable(name).filter(|value| !value.is_empty()) else { continue };
        let db = Path::new(&folder).join(way);
        return match is_file(&db)? {
            true => Ok(Some(db)),
            false => Err(Error::NotWhereTold { variable: name, db }),
        };
    }
    Ok(None)
}

/// A folder that may not be searched is skipped, and reported if nothing is found further up.
fn above(current: PathBuf) -> Result<PathBuf, Error> {
    let mut denied = None;
    for folder in current.ancestors() {
        let db = folder.join(".datachain/db");
        match is_file(&db) {
            Ok(true) => return own(db),
            Ok(false) => {}
            Err(error @ Error::InTheWay(_)) => return Err(error),
            Err(_) => {
                denied.get_or_insert_with(|| folder.join(".datachain"));
            }
        }
    }
    Err(Error::NowhereAbove(current, denied))
}

/// Accepts a catalog that nobody else could have planted: its file and its folder are ours or
/// root's, and only writable by the owner.
fn own(db: PathBuf) -> Result<PathBuf, Error> {
    let folder = db.parent().unwrap_or(&db).to_owned();
    for path in [&folder, &db] {
        let cause = |cause| Error::NotReachable { path: path.clone(), cause };
        let found = path.symlink_metadata().map_err(cause)?;
        if !owner::is_trusted(&found) && !is_of_sudo(&found) {
            return Err(Error::Foreign { owner: owner::name(found.uid()), db: db.clone() });
        }
        if let Some(who) = owner::open_to(&found).filter(|_| !found.is_symlink()) {
            return Err(Error::OpenToOthers { path: path.clone(), who, db: db.clone() });
        }
    }
    Ok(db)
}

/// See [`super::foreign`].
pub(super) fn foreign(path: &Path) -> Option<String> {
    if is_address(path) {
        return Some("others may write to its server".into());
    }
    path.ancestors().enumerate().find_map(|(up, part)| {
        let found = part.metadata().ok()?;
        let is_sticky = found.mode() & 0o1000 != 0;
        // In a user namespace `/` may belong to an unknown user; the database, its folder and the
        // parent of that may not.
        let is_root_maybe = up > 2 && owner::is_unknown(&found);
        if !owner::is_trusted(&found) && !is_root_maybe {
            Some(format!("`{}` belongs to {}", part.display(), owner::name(found.uid())))
        } else {
            let who = owner::open_to(&found).filter(|_| !is_sticky)?;
            Some(format!("{who} may write to `{}`", part.display()))
        }
    })
}

/// Whether it belongs to the user who runs this through `sudo`.
fn is_of_sudo(found: &Metadata) -> bool {
    let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    nix::unistd::geteuid().is_root() && caller == Some(found.uid())
}

fn is_file(path: &Path) -> Result<bool, Error> {
    match path.metadata() {
        Ok(found) if is_in_the_way(&found) => Err(Error::InTheWay(path.to_owned())),
        Ok(found) => Ok(found.is_file()),
        Err(cause) => match cause.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(false),
            _ => Err(Error::NotReachable { path: path.to_owned(), cause }),
        },
    }
}

/// Whether it is a pipe, a socket or a device: not a catalog, and none can be created in its place.
fn is_in_the_way(found: &Metadata) -> bool {
    !found.is_file() && !found.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    type Variables<'a> = &'a [(&'a str, &'a str)];

    /// A folder with catalogs at `places`, and the result of a search from `current` below it.
    fn search(
        places: &[&str],
        given: Option<&str>,
        variables: Variables<'_>,
        current: &str,
    ) -> Result<String, String> {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        for place in places {
            let place = root.join(place);
            fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
            fs::write(place, "").expect("a file");
        }
        fs::create_dir_all(root.join(current)).expect("a folder");
        let given = given.map(|given| root.join(given));
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(own, _)| *own == name)?;
            Some(if value.is_empty() { OsString::new() } else { root.join(value).into() })
        };
        let text =
            |path: &Path| path.display().to_string().replace(&root.display().to_string(), "");
        find(given.as_deref(), variable, || Ok(root.join(current)))
            .map(|path| text(&path))
            .map_err(|error| text(Path::new(&error.to_string())))
    }

    #[test]
    fn follows_the_order() {
        let all = ["a/.datachain/db", "a/b/.datachain/db", "dir/db", "root/.datachain/db"];
        let dir = ("DATACHAIN_DIR", "dir");
        let root = ("DATACHAIN_ROOT_DIR", "root");
        let cases: [(Option<&str>, Variables<'_>, &str, &str); 11] = [
            (None, &[], "a/b/c", "/a/b/.datachain/db"),
            (None, &[], "a/b", "/a/b/.datachain/db"),
            (None, &[], "a", "/a/.datachain/db"),
            (None, &[], "a/b/.datachain", "/a/b/.datachain/db"),
            (None, &[dir, root], "a", "/dir/db"),
            (None, &[root], "a", "/root/.datachain/db"),
            (None, &[("DATACHAIN_DIR", ""), root], "a", "/root/.datachain/db"),
            (Some("a"), &[dir], "a/b", "/a/.datachain/db"),
            (Some("a/.datachain"), &[], "a/b", "/a/.datachain/db"),
            (Some("a/.datachain/db"), &[], "a/b", "/a/.datachain/db"),
            (Some("dir"), &[], "a", "/dir/db"),
        ];
        for (given, variables, current, want) in cases {
            let found = search(&all, given, variables, current);
            assert_eq!(found, Ok(want.into()), "{given:?} {variables:?} {current}");
        }
    }

    #[test]
    fn a_place_that_is_named_and_empty_is_an_error() {
        let cases: [(Option<&str>, Variables<'_>, &str); 5] = [
            (
                None,
                &[("DATACHAIN_DIR", "none")],
                "the environment variable `DATACHAIN_DIR` says that the catalog is `/none/db`, and \
                 nothing is there; correct it, unset it, or use `--catalog DIR`",
            ),
            (
                None,
                &[("DATACHAIN_ROOT_DIR", "none")],
                "the environment variable `DATACHAIN_ROOT_DIR` says that the catalog is \
                 `/none/.datachain/db`, and nothing is there; correct it, unset it, or use `--catalog DIR`",
            ),
            (
                Some("none"),
                &[],
                "no catalog at `/none`: looked for `/none/.datachain/db`, `/none/db`; point \
                 `--catalog` to the folder that holds `.datachain`",
            ),
            (
                Some("here/.datachain/db/x"),
                &[],
                "no catalog at `/here/.datachain/db/x`: looked for \
                 `/here/.datachain/db/x/.datachain/db`, `/here/.datachain/db/x/db`; point \
                 `--catalog` to the folder that holds `.datachain`",
            ),
            (
                Some("a\nb"),
                &[],
                "no catalog at `/a\\nb`: looked for `/a\\nb/.datachain/db`, `/a\\nb/db`; point \
                 `--catalog` to the folder that holds `.datachain`",
            ),
        ];
        for (given, variables, want) in cases {
            let found = search(&["here/.datachain/db"], given, variables, "here");
            assert_eq!(found, Err(want.into()), "{given:?} {variables:?}");
        }
    }

    #[test]
    fn nothing_above_is_told() {
        let error = search(&[], None, &[], "a/b").expect_err("nothing there");
        let want = "no catalog: neither `/a/b` nor a folder above it holds `.datachain/db`; use `--catalog DIR`, run this where the DataChain script was run, or make one: \
                    `dcfs index DIR --save NAME`";
        assert_eq!(error, want);
    }

    #[test]
    fn a_catalog_of_somebody_else_must_be_named() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        let (folder, db) = (root.join(".datachain"), root.join(".datachain/db"));
        fs::create_dir_all(root.join("mine")).expect("a folder");
        fs::create_dir(&folder).expect("a folder");
        fs::write(&db, "").expect("a file");
        let search = |given| find(given, |_| None, || Ok(root.join("mine")));
        assert_eq!(search(None).expect("our own"), db);
        let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode));
        set(0o777).expect("a mode");
        assert!(matches!(search(None), Err(Error::OpenToOthers { .. })));
        set(0o775).expect("a mode");
        if nix::unistd::geteuid().is_root() {
            for path in [&db, &folder] {
                std::os::unix::fs::chown(path, Some(65534), None).expect("given away");
                assert!(matches!(search(None), Err(Error::Foreign { .. })));
                std::os::unix::fs::chown(path, Some(0), None).expect("taken back");
            }
        }
        set(0o777).expect("a mode");
        assert_eq!(search(Some(&root)).expect("named"), db);
    }

    #[test]
    fn a_folder_called_db_is_no_catalog() {
        let found = search(&["a/.datachain/db/x", ".datachain/db"], None, &[], "a");
        assert_eq!(found, Ok("/.datachain/db".into()));
    }
}
