//! A command that made something, run again as it was recorded.

use std::path::Path;
use std::process::{Command, ExitStatus};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::provenance::Provenance;

/// How secrets are written that are not kept.
const MASKED: &str = "***";

/// Runs a recorded command of dcfs where it was run, after `change`; its output is this one's.
///
/// # Errors
/// It is none that can be run again; it failed.
pub fn run(
    words: &[String],
    folder: Option<&str>,
    change: &dyn Fn(&mut Vec<String>),
) -> Result<()> {
    let mut words = words.to_vec();
    change(&mut words);
    let shown = Provenance { command: words.clone(), ..Provenance::default() }.script();
    let broken = |message: String| Error::new(Kind::Stopped, message);
    if words.len() < 2 || words.iter().any(|word| word.contains(MASKED)) {
        return Err(broken(format!(
            "`{shown}` is not whole: secrets are not recorded; run the command yourself"
        )));
    }
    let program = std::env::current_exe().map_err(|error| broken(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(&words[1..]);
    if let Some(folder) = folder {
        if !Path::new(folder).is_dir() {
            return Err(broken(format!("the folder `{folder}`, where `{shown}` was run, is gone")));
        }
        command.current_dir(folder);
    }
    let status = command.status().map_err(|error| broken(error.to_string()))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::new(kind(status), format!("`{shown}` failed"))),
    }
}

fn kind(status: ExitStatus) -> Kind {
    match status.code() {
        Some(130) | None => Kind::Interrupted,
        Some(3) => Kind::Incomplete,
        Some(2) => Kind::Invalid,
        _ => Kind::Stopped,
    }
}
