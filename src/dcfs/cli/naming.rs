//! Names and numbers of what is saved, and what is said of it, as they are typed.

use clap::{Args, ValueEnum};

use dcfs_core::name::DatasetName;
use dcfs_core::version::{self, Version};
use dcfs_data::catalog::Number;

/// Which number a new version gets.
#[derive(Clone, Debug, Default, Args)]
pub struct Numbering {
    /// Which place of the version is raised [default: patch]
    #[arg(long, value_enum, value_name = "PLACE")]
    bump: Option<Bump>,
    /// The version, e.g. `2.0.0`: above all there ever were
    #[arg(long, value_name = "V", conflicts_with = "bump")]
    version: Option<Version>,
}

/// A place of a version.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bump {
    Patch,
    Minor,
    Major,
}

impl Numbering {
    /// Whether anything was asked for.
    pub fn is_said(&self) -> bool {
        self.version.is_some() || self.bump.is_some()
    }

    /// What was asked for.
    pub fn number(&self) -> Number {
        match (self.version, self.bump) {
            (Some(version), _) => Number::Exactly(version),
            (None, None | Some(Bump::Patch)) => Number::Next(version::Bump::Patch),
            (None, Some(Bump::Minor)) => Number::Next(version::Bump::Minor),
            (None, Some(Bump::Major)) => Number::Next(version::Bump::Major),
        }
    }
}

/// What is said of a dataset.
#[derive(Clone, Debug, Default, Args)]
pub struct DescriptionArgs {
    /// What the dataset is, in place of what is said of it; empty to say nothing
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A label of the dataset, e.g. `NLP` or `location=US`; all of them take the place of those it has
    #[arg(long = "attr", value_name = "LABEL", value_parser = label)]
    attrs: Vec<String>,
}

impl DescriptionArgs {
    /// The labels, if any were said.
    pub fn attrs(&self) -> Option<&[String]> {
        Some(&*self.attrs).filter(|attrs| !attrs.is_empty())
    }
}

/// The name of a dataset as a whole: `pets`, `team.prod.eeg`.
///
/// # Errors
/// One with a version, or no name at all.
pub fn dataset(text: &str) -> Result<DatasetName, String> {
    match text.rsplit_once('@') {
        Some((name, _)) if !name.is_empty() => {
            Err(format!("all of a dataset is meant; write `{name}`, without a version"))
        }
        _ => text.parse().map_err(|error: dcfs_core::name::Error| error.to_string()),
    }
}

/// A label of a dataset: `NLP`, `location=US`.
///
/// # Errors
/// An empty one, which nobody could see or ask for.
fn label(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a label cannot be empty; write `NLP` or `location=US`".into()),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_something() {
        assert_eq!(label("location=US"), Ok("location=US".into()));
        for empty in ["", " ", "\t"] {
            assert!(label(empty).is_err(), "{empty:?}");
        }
    }

    #[test]
    fn a_version_is_no_part_of_a_name() {
        assert_eq!(dataset("pets"), Ok(DatasetName::local("pets")));
        for (text, why) in [("pets@1.0.0", "write `pets`"), ("a..b", "is not a dataset"), ("", "")]
        {
            let error = dataset(text).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
