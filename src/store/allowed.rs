//! Restrictions on the places that rows may name: local files below given folders, addresses with given
//! prefixes.
//!
//! A catalog is data, and may be written by somebody with fewer rights than the process that reads it. So the
//! user who mounts can restrict where its rows may lead; by default, to anything that the process itself may
//! read.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use super::error::{Error, show};

/// The restrictions of one mount.
#[derive(Debug, Default)]
pub struct Allowed {
    /// `None`: any local file.
    roots: Option<Vec<Root>>,
    /// `None`: any address that is not a local file.
    addresses: Option<Vec<String>>,
}

/// A folder whose files may be read. Opened once, because its name may point elsewhere later.
#[derive(Debug)]
struct Root {
    /// The folder as given, and with symbolic links resolved: rows may record either.
    names: Vec<PathBuf>,
    folder: Result<OwnedFd, Errno>,
}

const NO_ROOT: &str = "this mount serves local files only below folders that it was given; name one: `--local-root DIR`";
const LEAVES: &str = "a link on its way leads out of the folder that `--local-root` names";
const NO_ADDRESS: &str = "it begins with none of the addresses that `--allow-uri` names";
const NONE_NAMED: &str = "others could have written this catalog, so its rows use the network and the credentials of this process only for addresses that were named: `--allow-uri s3://BUCKET`, or `--allow-uri s3://` for all of a kind";

impl Allowed {
    /// Restricts files to `roots` and addresses to `addresses`; `None` means no restriction.
    pub fn new(roots: Option<&[PathBuf]>, addresses: Option<&[String]>) -> Self {
        let roots = roots.map(|roots| roots.iter().map(|root| Root::new(root)).collect());
        let addresses = addresses.map(|all| {
            all.iter().map(|address| address.trim_end_matches('/').to_owned()).collect()
        });
        Self { roots, addresses }
    }

    /// Whether every file that the process may read is allowed.
    pub fn is_any_file(&self) -> bool {
        self.roots.is_none()
    }

    /// Refuses an address outside the allowed ones, whether from a row or from a redirect. Files are checked
    /// when they are opened.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_url(&self, address: &str, place: &str) -> Result<(), Error> {
        let begins = |allowed: &String| {
            let rest = address.strip_prefix(allowed.as_str());
            // `s3:` is left of `s3://` after trailing slashes are trimmed.
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match &self.addresses {
            Some(addresses) if addresses.is_empty() => {
                Err(denied(place, "no address is allowed", NONE_NAMED))
            }
            Some(addresses) if !addresses.iter().any(begins) => {
                Err(denied(place, "the address is not allowed", NO_ADDRESS))
            }
            _ => Ok(()),
        }
    }

    /// Returns an `O_PATH`-style descriptor of the file at `path`, resolved below a root without leaving it, and
    /// whether `path` is known to hold no symbolic link: it is then the file's real path.
    ///
    /// # Errors
    /// `Denied` if no root contains it or a link leads out of it; otherwise the system's error.
    pub fn find(&self, path: &Path, place: &str) -> Result<(File, bool), Error> {
        let failed = |errno: Errno| super::local::io_error(place, &errno.into());
        let Some(roots) = &self.roots else {
            if let Some(found) = without_links(path) {
                return Ok((found, true));
            }
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let found = nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty());
            return found.map(|found| (File::from(found), false)).map_err(failed);
        };
        let Some((root, rest)) = roots.iter().find_map(|root| root.rest(path)) else {
            return Err(denied(place, "it is in none of the allowed folders", NO_ROOT));
        };
        let folder = root.folder.as_ref().map_err(|errno| failed(*errno))?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(folder, rest, how) {
            Ok(found) => Ok((File::from(found), false)),
            Err(Errno::EXDEV) => Err(denied(place, "it is outside the folder", LEAVES)),
            Err(errno) => Err(failed(errno)),
        }
    }
}

/// The file at an absolute path without symbolic links; `None` if there may be one, if there is no such file, or
/// if the kernel cannot say (Linux before 5.6).
fn without_links(path: &Path) -> Option<File> {
    if path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how).ok().map(File::from)
}

impl Root {
    fn new(root: &Path) -> Self {
        let named = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let real = root.canonicalize().unwrap_or_else(|_| named.clone());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = nix::fcntl::open(&real, flags, nix::sys::stat::Mode::empty());
        Self { names: vec![named, real], folder }
    }

    /// The root that contains `path`, and the path relative to it.
    fn rest<'p>(&self, path: &'p Path) -> Option<(&Self, &'p Path)> {
        self.names.iter().find_map(|name| path.strip_prefix(name).ok()).map(|rest| (self, rest))
    }
}

fn denied(place: &str, answer: &str, hint: &'static str) -> Error {
    Error::Denied { place: show(place), answer: answer.into(), hint }
}

/// The `/proc` path that names an open file.
pub fn link(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out_of_a_root() {
        let base = tempfile::tempdir().expect("a folder");
        let at = |name: &str| base.path().join(name);
        fs::create_dir_all(at("root/in")).expect("a folder");
        fs::write(at("secret"), "secret").expect("a file");
        fs::write(at("root/in/a"), "a").expect("a file");
        symlink("in/a", at("root/inside")).expect("a link");
        symlink("../secret", at("root/outside")).expect("a link");
        symlink(at("secret"), at("root/absolute")).expect("a link");
        symlink("..", at("root/up")).expect("a link");
        let allowed = Allowed::new(Some(&[at("root")]), None);
        for name in ["root/in/a", "root/inside", "root/in/../in/a"] {
            allowed.find(&at(name), name).expect(name);
        }
        for name in [
            "secret",
            "root/../secret",
            "root/outside",
            "root/absolute",
            "root/up/secret",
            "rooted",
        ] {
            let error = allowed.find(&at(name), name).expect_err(name);
            assert!(matches!(error, Error::Denied { .. }), "{name}: {error}");
        }
        assert!(Allowed::default().find(&at("root/outside"), "x").is_ok());
        assert!(Allowed::new(Some(&[]), None).find(&at("secret"), "x").is_err());
    }

    #[test]
    fn addresses_begin_as_allowed() {
        let names = ["s3://pets/cats/", "https://data.example", "gs://"].map(str::to_owned);
        let allowed = Allowed::new(None, Some(&names));
        let cases = [
            ("s3://pets/cats/1.jpg", true),
            ("s3://pets/cats", true),
            ("s3://pets/catsanddogs/1.jpg", false),
            ("s3://other/cats/1.jpg", false),
            ("https://data.example/x", true),
            ("https://data.example.evil/x", false),
            ("https://data.example@evil/x", false),
            ("http://data.example/x", false),
            ("gs://any/x", true),
        ];
        for (address, want) in cases {
            assert_eq!(allowed.check_url(address, "x").is_ok(), want, "{address}");
        }
        assert!(Allowed::new(None, Some(&[])).check_url("s3://b/x", "x").is_err());
        assert!(Allowed::default().check_url("s3://b/x", "x").is_ok());
    }
}
