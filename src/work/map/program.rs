//! The program to run: how it is called, and the digest that identifies its state.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::hex::hex;
use sha2::{Digest, Sha256};

use super::step::Step;

/// Larger files are identified by size and time: models are passed as arguments, too.
const HASHED: u64 = 64 << 20;

/// The most bytes of a program's text kept for lineage.
const KEPT: u64 = 1 << 20;

/// The program that runs Python functions, written to the run's folder.
pub const SHIM: &str = include_str!("shim.py");

/// How a program is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Once per row.
    Each {
        /// Whether the file's bytes are passed on standard input.
        stdin: bool,
    },
    /// A worker that answers lines of JSON.
    Stays,
    /// No program: a built-in step.
    Step(Step),
    /// A function in a Python file, called by the shim.
    Function { file: PathBuf, function: String },
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The words as typed.
    pub words: Vec<OsString>,
    pub call: Call,
    /// Files whose contents are part of its identity.
    depends: Vec<PathBuf>,
}

impl Program {
    /// A built-in step instead of a program.
    ///
    /// # Errors
    /// A program was typed, too.
    pub fn step(step: Step, words: &[OsString]) -> Result<Self> {
        match words.is_empty() {
            true => Ok(Self { words: Vec::new(), call: Call::Step(step), depends: Vec::new() }),
            false => Err(invalid("`--step` runs no program; leave out what is after `--`")),
        }
    }

    /// The program as typed: `python FILE.py:FUNCTION` is a function, any other is called once per
    /// row, or is a worker.
    ///
    /// # Errors
    /// Nothing was typed; it does not exist, or is not a program; a file it depends on does not
    /// exist.
    pub fn new(
        words: Vec<OsString>,
        (stays, stdin): (bool, bool),
        depends: &[PathBuf],
    ) -> Result<Self> {
        let Some(first) = words.first().cloned() else {
            return Err(invalid(
                "no program; write it after `--`, e.g. `-- python info.py:get_info`",
            ));
        };
        let function = is_python(&first).then(|| words.get(1).and_then(|word| function(word)));
        let call = match function.flatten() {
            Some((file, function)) => {
                if stdin {
                    return Err(invalid(
                        "a Python function reads its file with `file.open()`; leave `--stdin` out",
                    ));
                }
                if words.len() > 2 {
                    return Err(invalid("a Python function takes no arguments after its name"));
                }
                if !file.is_file() {
                    return Err(missing(format!("there is no file `{}`", file.display())));
                }
                Call::Function { file, function }
            }
            None if stays => Call::Stays,
            None => Call::Each { stdin },
        };
        let mut program = Self { words, call, depends: Vec::new() };
        if matches!(program.call, Call::Function { .. }) {
            program.words[0] = python(&first)?;
        } else {
            found(&first)?;
        }
        for path in depends {
            if !path.is_file() {
                return Err(missing(format!(
                    "`--depends {}`: there is no such file",
                    path.display()
                )));
            }
        }
        program.depends = program.scripts();
        program.depends.extend(depends.iter().cloned());
        Ok(program)
    }

    /// Its name in events and lists: the function's, or the program's own.
    pub fn name(&self) -> String {
        match &self.call {
            Call::Function { function, .. } => function.clone(),
            Call::Step(step) => step.name().to_owned(),
            _ => {
                let path = Path::new(self.words.first().map_or(OsStr::new(""), |word| word));
                path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
            }
        }
    }

    /// The files named in the command: these are edited when a program is.
    fn scripts(&self) -> Vec<PathBuf> {
        let mut scripts = Vec::new();
        if let Call::Function { file, .. } = &self.call {
            scripts.push(file.clone());
        }
        for (at, word) in self.words.iter().enumerate() {
            let path = Path::new(word);
            // A bare first word is searched for in PATH.
            let is_path = at > 0 || word.as_bytes().contains(&b'/');
            if is_path && path.is_file() {
                scripts.push(path.to_owned());
            }
        }
        scripts
    }

    /// SHA-256 of the contents of its files, in hex.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn digest(&self) -> Result<String> {
        if let Call::Step(step) = self.call {
            return Ok(step.digest());
        }
        let mut hash = Sha256::new();
        for path in &self.depends {
            let cannot = |error: io::Error| {
                Error::new(Kind::Denied, format!("cannot read `{}`: {error}", path.display()))
            };
            let mut file = File::open(path).map_err(cannot)?;
            let meta = file.metadata().map_err(cannot)?;
            hash.update(meta.len().to_le_bytes());
            if meta.len() > HASHED {
                hash.update(meta.mtime().to_le_bytes());
                hash.update(meta.mtime_nsec().to_le_bytes());
                continue;
            }
            let mut piece = vec![0; 64 << 10];
            loop {
                match file.read(&mut piece).map_err(cannot)? {
                    0 => break,
                    read => hash.update(&piece[..read]),
                }
            }
        }
        Ok(hex(&hash.finalize()))
    }

    /// The text of its first script, if it is one.
    pub fn text(&self) -> Option<String> {
        let path = self.depends.first()?;
        let is_short = fs::metadata(path).is_ok_and(|found| found.len() <= KEPT);
        fs::read_to_string(path).ok().filter(|text| is_short && !text.contains('\0'))
    }

    /// The words and files that are part of a run's identity.
    pub fn command(&self) -> String {
        let words = self.words.iter().map(|word| word.to_string_lossy().into_owned());
        let mut text = words.collect::<Vec<_>>().join("\0");
        match &self.call {
            Call::Each { stdin: true } => text.push_str("\0\0stdin"),
            Call::Stays => text.push_str("\0\0stays"),
            Call::Step(step) => text.push_str(step.name()),
            _ => {}
        }
        text
    }
}

fn is_python(word: &OsStr) -> bool {
    let name = Path::new(word).file_name().unwrap_or(word).to_string_lossy();
    name.strip_prefix("python")
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Splits `FILE.py:FUNCTION`.
fn function(word: &OsStr) -> Option<(PathBuf, String)> {
    let (file, function) = word.to_str()?.rsplit_once(':')?;
    let is_name = !function.is_empty()
        && function
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_'));
    (file.ends_with(".py") && is_name).then(|| (file.into(), function.to_owned()))
}

/// The Python that was named; `python3` if there is no `python`, as on Debian.
fn python(word: &OsStr) -> Result<OsString> {
    match found(word) {
        Err(_) if word == "python" && found(OsStr::new("python3")).is_ok() => Ok("python3".into()),
        found => found.map(|()| word.to_owned()),
    }
}

/// Checks that a program exists and can be run.
fn found(word: &OsStr) -> Result<()> {
    let shown = word.to_string_lossy();
    if word.is_empty() {
        return Err(invalid("the program has no name"));
    }
    if word.as_bytes().contains(&b'/') {
        return match fs::metadata(word) {
            Err(error) => Err(missing(format!("the program `{shown}`: {error}"))),
            Ok(found) if found.is_dir() => {
                Err(invalid(format!("`{shown}` is a folder, not a program")))
            }
            Ok(found) if found.permissions().mode() & 0o111 == 0 => Err(Error::new(
                Kind::Denied,
                format!(
                    "`{shown}` is not executable; `chmod +x {shown}`, or name what runs it first"
                ),
            )),
            Ok(_) => Ok(()),
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = env::split_paths(&path).any(|folder| {
        fs::metadata(folder.join(word))
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    });
    match is_there {
        true => Ok(()),
        false if Path::new(word).is_file() => Err(missing(format!(
            "no program `{shown}` in PATH; the file of that name here is `./{shown}`"
        ))),
        false => Err(missing(format!("no program `{shown}` in PATH"))),
    }
}

pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message.into())
}

fn missing(message: String) -> Error {
    Error::new(Kind::Missing, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str]) -> Result<Program> {
        Program::new(words.iter().map(OsString::from).collect(), (false, false), &[])
    }

    #[test]
    fn a_function_is_told_from_a_script() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("a.py");
        fs::write(&script, "def f(): pass").expect("written");
        let path = script.to_str().expect("UTF-8");
        let made = program(&["python3", &format!("{path}:f")]).expect("a program");
        assert_eq!(made.call, Call::Function { file: script.clone(), function: "f".into() });
        assert_eq!((made.name().as_str(), made.text().as_deref()), ("f", Some("def f(): pass")));
        let plain = program(&["python3", path, "{}"]).expect("a program");
        assert_eq!((plain.name().as_str(), &plain.call), ("python3", &Call::Each { stdin: false }));
        let before = plain.digest().expect("read");
        fs::write(&script, "def f(): return 1").expect("written");
        assert_ne!(plain.digest().expect("read"), before, "an edit shows");
    }

    #[test]
    fn what_cannot_run_is_told_before() {
        let cases: [(&[&str], &str); 6] = [
            (&[], "no program"),
            (&[""], "no name"),
            (&["no-such-program-anywhere"], "in PATH"),
            (&["/etc"], "is a folder"),
            (&["/etc/passwd"], "chmod +x"),
            (&["python3", "nowhere.py:f"], "there is no file `nowhere.py`"),
        ];
        for (words, want) in cases {
            let told = program(words).expect_err("refused").to_string();
            assert!(told.contains(want), "{words:?}: {told}");
        }
    }
}
