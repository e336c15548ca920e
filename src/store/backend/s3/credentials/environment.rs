//! The environment variables that the AWS command line reads. They may be secrets, so none is printed.

use std::path::PathBuf;

use nix::unistd::{User, geteuid};

use crate::net::{self, Variables, is_yes};

/// `AWS_*`, and the user's home.
#[derive(Clone, Default)]
pub struct Environment {
    variables: Variables,
    home: PathBuf,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Environment {
    /// Takes the relevant ones of `variables`. If they name no home, the user's own is used.
    pub fn of(variables: &Variables) -> Self {
        let known = || User::from_uid(geteuid()).ok().flatten().map(|user| user.dir);
        let home = net::find(variables, "HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.or_else(known).unwrap_or_else(|| "/".into());
        Self { variables: net::only(variables, &["AWS_"]), home }
    }

    /// For tests: nothing from the process environment.
    #[cfg(test)]
    pub fn made_of(home: &std::path::Path, variables: &[(&str, &str)]) -> Self {
        Self::of(&Self::variables_of(home, variables))
    }

    /// For tests: the same, as `Variables`.
    #[cfg(test)]
    pub fn variables_of(home: &std::path::Path, variables: &[(&str, &str)]) -> Variables {
        let home = ("HOME", home.to_str().expect("a plain path"));
        let all = variables.iter().chain([&home]);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The value of `name`, if set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        net::find(&self.variables, name)
    }

    /// The first of `names` that is set.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether `name` is set to one of the true values.
    pub fn is_true(&self, name: &str) -> bool {
        is_yes(self.get(name))
    }

    /// The path in the variable `name`, or `default` below the home; `~/` is expanded.
    pub fn path(&self, name: &str, default: &str) -> PathBuf {
        self.expand(self.get(name).unwrap_or(default))
    }

    /// `text` as a path, with `~/` expanded.
    pub fn expand(&self, text: &str) -> PathBuf {
        match text.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => PathBuf::from(text),
        }
    }
}
