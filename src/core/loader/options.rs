//! `key=value,key=value`: options in the name of a directory, for programs that have no flag for
//! them.

use crate::error::{self, Kind};

/// Why a name is not a list of options, or an option is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is not an option; write `key=value`, separated by commas")]
    NotPair(String),
    #[error("`{0}` is given twice")]
    Twice(String),
    #[error("`{0}` is not an option here; the options are {1}")]
    Unknown(String, &'static str),
    #[error("`{key}={value}`: {wanted}")]
    Value { key: String, value: String, wanted: &'static str },
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        Self::new(Kind::Invalid, error)
    }
}

/// Parses the options of a name, in order. `-` alone means no options.
///
/// # Errors
/// [`Error::NotPair`]; [`Error::Twice`].
pub fn parse(text: &str) -> Result<Vec<(&str, &str)>, Error> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for pair in text.split(',').filter(|_| text != NONE) {
        let (key, value) = pair.split_once('=').ok_or_else(|| Error::NotPair(pair.to_owned()))?;
        if key.is_empty() || value.is_empty() {
            return Err(Error::NotPair(pair.to_owned()));
        }
        if found.iter().any(|(known, _)| *known == key) {
            return Err(Error::Twice(key.to_owned()));
        }
        found.push((key, value));
    }
    Ok(found)
}

/// The name of a directory without options.
pub const NONE: &str = "-";

/// The error of an option whose value is not the `wanted` kind.
pub fn wrong(key: &str, value: &str, wanted: &'static str) -> Error {
    Error::Value { key: key.to_owned(), value: value.to_owned(), wanted }
}

/// Parses a whole number above zero.
///
/// # Errors
/// [`Error::Value`].
pub fn count(key: &str, value: &str) -> Result<u64, Error> {
    let number = digits(value).filter(|number| *number > 0);
    number.ok_or_else(|| wrong(key, value, "a whole number above 0 is wanted"))
}

/// Parses a number in canonical form: no sign, no leading zeros, so that a directory has only one
/// name.
pub fn digits(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_order() {
        assert_eq!(parse("a=1,b=x=y"), Ok(vec![("a", "1"), ("b", "x=y")]));
        assert_eq!(parse("-"), Ok(vec![]));
        for (text, message) in [
            ("", "`` is not an option; write `key=value`, separated by commas"),
            ("a", "`a` is not an option; write `key=value`, separated by commas"),
            ("a=1,", "`` is not an option; write `key=value`, separated by commas"),
            ("=1", "`=1` is not an option; write `key=value`, separated by commas"),
            ("a=1,a=2", "`a` is given twice"),
        ] {
            assert_eq!(parse(text).expect_err(text).to_string(), message);
        }
        assert_eq!(count("shard", "10"), Ok(10));
        for bad in ["0", "-1", "+1", "01", "x", "99999999999999999999"] {
            assert!(count("shard", bad).is_err(), "{bad}");
        }
    }
}
