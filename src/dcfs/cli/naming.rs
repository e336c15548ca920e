//! Names, version numbers and descriptions of saved datasets, as typed.

use clap::{Args, ValueEnum};

use dcfs_core::name::DatasetName;
use dcfs_core::version::{self, Version};
use dcfs_data::catalog::Number;

/// The number of a new version.
#[derive(Clone, Debug, Default, Args)]
pub struct Numbering {
    /// Part of the version number to increase [default: patch]
    #[arg(long, value_enum, value_name = "PLACE")]
    bump: Option<Bump>,
    /// The version number, e.g. `2.0.0`; it must be higher than any so far
    #[arg(long, value_name = "V", conflicts_with = "bump")]
    version: Option<Version>,
}

/// A part of a version number.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bump {
    Patch,
    Minor,
    Major,
}

impl Numbering {
    /// Whether any flag was given.
    pub fn is_said(&self) -> bool {
        self.version.is_some() || self.bump.is_some()
    }

    /// The requested number.
    pub fn number(&self) -> Number {
        match (self.version, self.bump) {
            (Some(version), _) => Number::Exactly(version),
            (None, None | Some(Bump::Patch)) => Number::Next(version::Bump::Patch),
            (None, Some(Bump::Minor)) => Number::Next(version::Bump::Minor),
            (None, Some(Bump::Major)) => Number::Next(version::Bump::Major),
        }
    }
}

/// The description of a dataset.
#[derive(Clone, Debug, Default, Args)]
pub struct DescriptionArgs {
    /// Description of the dataset, replacing the current one; empty to remove it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A label of the dataset, e.g. `NLP` or `location=US`; together they replace the current ones
    #[arg(long = "attr", value_name = "LABEL", value_parser = label)]
    attrs: Vec<String>,
}

impl DescriptionArgs {
    /// The labels, if any were given.
    pub fn attrs(&self) -> Option<&[String]> {
        Some(&*self.attrs).filter(|attrs| !attrs.is_empty())
    }
}

/// Parses the name of a dataset: `pets`, `team.prod.eeg`.
///
/// # Errors
/// A name with a version, or no valid name.
pub fn dataset(text: &str) -> Result<DatasetName, String> {
    match text.rsplit_once('@') {
        Some((name, _)) if !name.is_empty() => {
            Err(format!("name the dataset without a version: `{name}`"))
        }
        _ => text.parse().map_err(|error: dcfs_core::name::Error| error.to_string()),
    }
}

/// Parses a label of a dataset: `NLP`, `location=US`.
///
/// # Errors
/// An empty label, which nobody could see or search for.
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
        for (text, why) in
            [("pets@1.0.0", "without a version: `pets`"), ("a..b", "is not a dataset"), ("", "")]
        {
            let error = dataset(text).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
