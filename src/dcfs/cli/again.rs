//! Runs a recorded command again.

use std::path::Path;
use std::process::{Command, ExitStatus};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::provenance::Provenance;

/// The placeholder of secrets, which are not recorded.
const MASKED: &str = "***";

/// Runs a recorded command of dcfs in its original folder, after `change`, and returns its output.
///
/// # Errors
/// It cannot be run again; it failed.
pub fn run(
    words: &[String],
    folder: Option<&str>,
    catalog: &Path,
    change: &dyn Fn(&mut Vec<String>),
) -> Result<()> {
    let mut words = words.to_vec();
    change(&mut words);
    adapt(&mut words, catalog);
    let shown = Provenance { command: words.clone(), ..Provenance::default() }.script();
    let broken = |message: String| Error::new(Kind::Stopped, message);
    if words.len() < 2 || words.iter().any(|word| word.contains(MASKED)) {
        return Err(broken(format!(
            "`{shown}` is incomplete: secrets are not recorded; run the command yourself"
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

/// Points it at the requested catalog, and removes options that applied only once.
fn adapt(words: &mut Vec<String>, catalog: &Path) {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let rest = words.split_off(end);
    let mut kept = Vec::new();
    let mut own = words.drain(..);
    while let Some(word) = own.next() {
        match word.split_once('=').map_or(word.as_str(), |(flag, _)| flag) {
            "--fresh" => {}
            "--version" | "--catalog" => {
                if !word.contains('=') {
                    own.next();
                }
            }
            _ => kept.push(word),
        }
    }
    drop(own);
    let at = kept.len().min(2);
    kept.splice(at..at, ["--catalog".to_owned(), catalog.to_string_lossy().into_owned()]);
    kept.extend(rest);
    *words = kept;
}

fn kind(status: ExitStatus) -> Kind {
    match status.code() {
        Some(130) | None => Kind::Interrupted,
        Some(3) => Kind::Incomplete,
        Some(2) => Kind::Invalid,
        _ => Kind::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_once_is_left_out() {
        let cases = [
            (
                "dcfs map a --as b --fresh -- x --fresh",
                "dcfs map --catalog /db a --as b -- x --fresh",
            ),
            ("dcfs save a --version 2.0.0 --catalog=/c --as b", "dcfs save --catalog /db a --as b"),
        ];
        for (before, want) in cases {
            let mut words: Vec<String> = before.split(' ').map(str::to_owned).collect();
            adapt(&mut words, Path::new("/db"));
            assert_eq!(words.join(" "), want);
        }
    }
}
