//! `mount.dcfs`: the program as mount(8), fstab and systemd call it.
//!
//! mount(8) runs `mount.fuse.dcfs SPEC DIR [-sfnv] [-N NS] [-o OPTS] [-t TYPE]`. If there is no link of that
//! name, libfuse's `mount.fuse3` runs `dcfs SPEC DIR -o OPTS` instead. Both return when the mount is usable,
//! with the exit codes of mount(8).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::mount::Mount;
use super::output::{self, Output};
use super::usage;
use dcfs_core::error::{Kind, Result};

/// mount(8): wrong use, or no permission.
const INCORRECT: u8 = 1;

/// mount(8): the mount failed.
const FAILED: u8 = 32;

/// One call of mount(8).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Helper {
    arguments: Vec<OsString>,
}

/// The arguments, parsed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    spec: PathBuf,
    dir: PathBuf,
    options: Vec<String>,
    fake: bool,
}

impl Helper {
    /// Recognises a call by mount(8): by the program's name, or by the shape of its arguments.
    pub fn recognise(args: &[OsString]) -> Option<Self> {
        let name = Path::new(args.first()?).file_name().unwrap_or_default();
        let by_name = name == "mount.dcfs" || name == "mount.fuse.dcfs";
        let arguments = args[1..].to_vec();
        // No command of ours contains a slash or is followed by a path and `-o`.
        let plain =
            |arg: Option<&OsString>| arg.is_some_and(|a| !a.as_encoded_bytes().starts_with(b"-"));
        let by_shape = plain(arguments.first())
            && Path::new(&arguments[0]).is_absolute()
            && plain(arguments.get(1))
            && arguments.get(2).is_none_or(|arg| arg == "-o");
        (by_name || by_shape && arguments.len() > 1).then_some(Self { arguments })
    }

    /// Mounts, and returns the exit code that mount(8) expects.
    pub fn run(self) -> ExitCode {
        let checked = self.request().and_then(|request| {
            // Errors in fstab have another exit code than a failed mount.
            request.into_mount().map(Mount::parse).transpose()
        });
        let mount = match checked {
            Ok(None) => return ExitCode::SUCCESS,
            Ok(Some(mount)) => mount,
            Err(error) => return told(&error, INCORRECT),
        };
        // mount(8) prints nothing on success.
        let mut quiet = Output::nowhere();
        match mount.run(&mut quiet) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if error.kind() == Kind::Denied => told(&error, INCORRECT),
            Err(error) => told(&error, FAILED),
        }
    }

    fn request(self) -> Result<Request> {
        let mut request = Request::default();
        let mut places = Vec::new();
        let mut args = self.arguments.into_iter();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("-o") => request.options.push(text(args.next(), "-o")?),
                Some("-t" | "-N") => drop(args.next()),
                Some("-f") => request.fake = true,
                Some(flag) if is_flags(flag) => request.fake |= flag.contains('f'),
                Some(list) if list.starts_with("-o") => request.options.push(list[2..].into()),
                Some(flag) if flag.starts_with('-') => {
                    return Err(usage(format!(
                        "unknown flag `{flag}`; use: mount.dcfs CATALOG DIR [-o OPTS]"
                    )));
                }
                _ => places.push(PathBuf::from(arg)),
            }
        }
        let [spec, dir] = <[PathBuf; 2]>::try_from(places)
            .map_err(|_| usage("use: mount.dcfs CATALOG DIR [-o OPTS]"))?;
        Ok(Request { spec: without_prefix(spec), dir, ..request })
    }
}

impl Request {
    /// The equivalent arguments of `dcfs mount`; `None` for `-f`, which means to do everything except mounting.
    fn into_mount(self) -> Option<Vec<OsString>> {
        let options = self.options.iter().flat_map(|list| ["-o".into(), list.into()]);
        let places = ["--catalog".into(), self.spec.into(), "--".into(), self.dir.into()];
        (!self.fake).then(|| options.chain(places).collect())
    }
}

/// Whether it consists of `-s`, `-n`, `-v`, `-f` and the like, alone or combined.
fn is_flags(arg: &str) -> bool {
    arg.len() > 1 && arg.starts_with('-') && arg[1..].chars().all(|c| "sfnv".contains(c))
}

/// Strips the prefix shown in `/proc/mounts`, which may be passed back to mount(8).
fn without_prefix(spec: PathBuf) -> PathBuf {
    match spec.to_str().and_then(|s| s.strip_prefix(crate::fuse::mounts::SOURCE_PREFIX)) {
        Some(path) => path.into(),
        None => spec,
    }
}

fn text(arg: Option<OsString>, flag: &str) -> Result<String> {
    let text = arg.as_deref().and_then(OsStr::to_str);
    text.map(str::to_owned).ok_or_else(|| usage(format!("`{flag}` needs a list of options")))
}

fn told(error: &dcfs_core::error::Error, code: u8) -> ExitCode {
    eprintln!("mount.dcfs: {}", output::sanitized(&error.to_string()));
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> Vec<OsString> {
        words.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn knows_when_mount_calls() {
        let cases = [
            ("/sbin/mount.dcfs /data /mnt", true),
            ("mount.fuse.dcfs /data /mnt -o rw", true),
            ("mount.dcfs", true),
            ("dcfs /data /mnt -o rw,nodev", true),
            ("dcfs /data /mnt", true),
            ("dcfs mount /mnt", false),
            ("dcfs mount /mnt -o rw", false),
            ("dcfs /data", false),
            ("dcfs --help", false),
            ("dcfs", false),
        ];
        for (words, helper) in cases {
            assert_eq!(Helper::recognise(&args(words)).is_some(), helper, "{words}");
        }
    }

    #[test]
    fn reads_the_arguments_of_mount() {
        let request = |words: &str| {
            let helper = Helper::recognise(&args(words)).expect(words);
            helper.request().map(|r| (r.spec, r.dir, r.options.join(","), r.fake))
        };
        let want = |spec: &str, dir: &str, options: &str, fake| {
            Some((PathBuf::from(spec), PathBuf::from(dir), options.to_owned(), fake))
        };
        let cases = [
            ("mount.dcfs /c /m -o ro,_netdev", want("/c", "/m", "ro,_netdev", false)),
            ("mount.dcfs -sn -t fuse.dcfs dcfs:/c/db /m -oro", want("/c/db", "/m", "ro", false)),
            ("mount.dcfs /c /m -fv", want("/c", "/m", "", true)),
            ("mount.dcfs /c", None),
            ("mount.dcfs /c /m /x", None),
            ("mount.dcfs /c /m -o", None),
            ("mount.dcfs /c /m --what", None),
        ];
        for (words, want) in cases {
            assert_eq!(request(words).ok(), want, "{words}");
        }
    }
}
