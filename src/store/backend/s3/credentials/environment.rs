//! The variables of the environment that the AWS command line reads. They may be secrets, so none is
//! printed.

use std::path::PathBuf;

use nix::unistd::{User, geteuid};

use crate::net::{self, Variables, is_yes};

/// `AWS_*`, and the home of the user.
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
    /// What of `variables` is for us. Where they name no home, it is that of the user.
    pub fn of(variables: &Variables) -> Self {
        let known = || User::from_uid(geteuid()).ok().flatten().map(|user| user.dir);
        let home = net::find(variables, "HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.or_else(known).unwrap_or_else(|| "/".into());
        Self { variables: net::only(variables, &["AWS_"]), home }
    }

    /// For tests: nothing of the process.
    #[cfg(test)]
    pub fn made_of(home: &std::path::Path, variables: &[(&str, &str)]) -> Self {
        Self::of(&Self::variables_of(home, variables))
    }

    /// For tests: the same as variables.
    #[cfg(test)]
    pub fn variables_of(home: &std::path::Path, variables: &[(&str, &str)]) -> Variables {
        let home = ("HOME", home.to_str().expect("a plain path"));
        let all = variables.iter().chain([&home]);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// What `name` is set to, if it is and is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        net::find(&self.variables, name)
    }

    /// The first of `names` that is set.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether `name` says yes, in one of the ways to say it.
    pub fn is_true(&self, name: &str) -> bool {
        is_yes(self.get(name))
    }

    /// The path in the variable `name`, else `default` below the home; `~/` is the home.
    pub fn path(&self, name: &str, default: &str) -> PathBuf {
        self.expand(self.get(name).unwrap_or(default))
    }

    /// `text` as a path; `~/` is the home.
    pub fn expand(&self, text: &str) -> PathBuf {
        match text.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => PathBuf::from(text),
        }
    }
}
