//! Settings to reach buckets, servers and hubs: the default ones, and one set for each table of the user's
//! `config.toml`.
//!
//! They are built when the mount begins, without requests. Errors in a table are reported by [`Ways::check`],
//! before a mount; errors in the default ones at first use.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, show};
use crate::net::{self, Variables};
use crate::settings::{self, Name, Secret, Settings};

/// Limit of a file that holds a secret, in bytes.
const LONGEST: u64 = 64 << 10;

/// All settings of one kind of store.
pub struct Ways<W> {
    usual: Arc<W>,
    tables: Vec<(Name, Arc<W>)>,
}

impl<W> Ways<W> {
    /// `new` builds the settings of a table, or the default ones (`None`).
    pub fn new<S: 'static>(settings: &Settings, new: impl Fn(Option<&S>) -> W) -> Self {
        let tables = settings.all::<S>();
        let tables = tables.map(|(name, said)| (name.clone(), Arc::new(new(Some(said)))));
        Self { usual: Arc::new(new(None)), tables: tables.collect() }
    }

    /// The settings that apply to `address`, and the name of their table.
    pub fn of(&self, address: &[u8]) -> (Option<&Name>, &Arc<W>) {
        let tables = self.tables.iter().map(|(name, way)| (name, way));
        settings::longest(tables, address)
            .map_or((None, &self.usual), |(name, way)| (Some(name), way))
    }

    /// Checks the settings of every table.
    ///
    /// # Errors
    /// `Setting`, naming the table.
    pub fn check(&self, check: impl Fn(&W) -> Result<(), Error>) -> Result<(), Error> {
        let wrong = |name: &Name, error| settings::wrong(name, error);
        self.tables
            .iter()
            .try_for_each(|(name, way)| check(way).map_err(|error| wrong(name, error)))
    }

    /// The settings that apply to `address`, as names and values without secrets: the table, and the pairs that
    /// `say` returns.
    pub fn describe<const N: usize>(
        &self,
        address: &[u8],
        say: impl Fn(&W) -> [(&'static str, String); N],
    ) -> Vec<(&'static str, String)> {
        let (table, way) = self.of(address);
        let table = table.map_or("no table".into(), |table| format!("[\"{}\"]", table.text()));
        [("settings", table)].into_iter().chain(say(way)).collect()
    }
}

/// Reads the secret that a table names.
///
/// # Errors
/// The file cannot be read, or the variable is not set. Nothing of it is repeated.
pub fn secret(named: &Secret, variables: &Variables) -> Result<String, String> {
    let text = match named {
        Secret::File(path) => read(&net::expand(variables, path))?,
        Secret::Variable(name) => net::find(variables, name).unwrap_or_default().to_owned(),
    };
    match (text.trim(), named) {
        ("", Secret::Variable(name)) => Err(format!("the variable `{name}` is not set")),
        ("", Secret::File(path)) => Err(format!("`{}` is empty", show(path))),
        (text, _) => Ok(text.to_owned()),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let wrong =
        |cause: &str| format!("`{}` cannot be used: {cause}", show(&path.display().to_string()));
    // A FIFO would block for ever.
    if !path.is_file() {
        return Err(wrong("there is no such file"));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(|error| wrong(&error.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_where_they_are_and_not_repeated() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("t"), " hush\n").unwrap();
        std::fs::write(home.path().join("empty"), "\n").unwrap();
        std::fs::write(home.path().join("bytes"), b"hush\xff").unwrap();
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let variables =
            vec![own("HOME", home.path().to_str().unwrap()), own("T", "hush"), own("E", "")];
        let file = |name: &str| Secret::File(name.to_owned());
        let variable = |name: &str| Secret::Variable(name.to_owned());
        let cases = [
            (file("~/t"), "hush"),
            (variable("T"), "hush"),
            (variable("E"), "the variable `E` is not set"),
            (variable("N"), "the variable `N` is not set"),
            (file("~/empty"), "`~/empty` is empty"),
            (file("/nonexistent/t"), "`/nonexistent/t` cannot be used: there is no such file"),
            (file("/dev/zero"), "`/dev/zero` cannot be used: there is no such file"),
        ];
        for (named, want) in cases {
            let got = secret(&named, &variables).unwrap_or_else(|error| error);
            assert_eq!(got, want, "{named:?}");
        }
        let error = secret(&file("~/bytes"), &variables).unwrap_err();
        assert!(error.contains("cannot be used: ") && !error.contains("hush"), "{error}");
    }
}
