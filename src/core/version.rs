//! Version numbers as DataChain counts them, and the version requirements that a person may type.

use std::fmt;
use std::str::FromStr;

/// The largest number DataChain allows in each place.
const LARGEST: u32 = 999_999;

/// `major.minor.patch`; ordered as DataChain orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// Raised by `update_version="major"`.
    pub major: u32,
    /// Raised by `update_version="minor"`.
    pub minor: u32,
    /// Raised by an ordinary save.
    pub patch: u32,
}

/// Why a text is not a version or a requirement.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not three numbers.
    #[error("`{0}` is not a version; write MAJOR.MINOR.PATCH, e.g. `1.0.0`")]
    Malformed(String),
    /// Neither a version nor the beginning of one.
    #[error("`{0}` is not a version; write `latest`, `1`, `1.0` or `1.0.0`")]
    MalformedRequirement(String),
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(crate::error::Kind::Invalid, error)
    }
}

/// One part of a version: ASCII digits, no leading zero, at most [`LARGEST`].
fn number(text: &str) -> Option<u32> {
    let plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|n| plain && *n <= LARGEST)
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse() {
            Ok(Requirement::Exact(version)) => Ok(version),
            _ => Err(Error::Malformed(text.to_owned())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The part of a version that a new save increments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bump {
    #[default]
    Patch,
    Minor,
    Major,
}

impl Version {
    /// The version of the first save.
    pub const FIRST: Self = Self { major: 1, minor: 0, patch: 0 };

    /// The next version, as DataChain counts: the parts after the incremented one become 0. `None`
    /// if that part is at its largest.
    pub fn next(self, bump: Bump) -> Option<Self> {
        let Self { major, minor, patch } = self;
        let next = match bump {
            Bump::Patch => Self { major, minor, patch: patch + 1 },
            Bump::Minor => Self { major, minor: minor + 1, patch: 0 },
            Bump::Major => Self { major: major + 1, minor: 0, patch: 0 },
        };
        (next.major.max(next.minor).max(next.patch) <= LARGEST).then_some(next)
    }
}

/// A requirement after `@` in a name. It selects the highest version that it admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// `latest`, or nothing at all.
    Latest,
    /// `1`: any `1.x.y`.
    Major(u32),
    /// `1.0`: any `1.0.x`.
    Minor(u32, u32),
    /// `1.0.0`.
    Exact(Version),
}

impl Requirement {
    /// Whether `version` satisfies it.
    pub fn admits(self, version: Version) -> bool {
        match self {
            Self::Latest => true,
            Self::Major(major) => version.major == major,
            Self::Minor(major, minor) => (version.major, version.minor) == (major, minor),
            Self::Exact(exact) => version == exact,
        }
    }
}

impl FromStr for Requirement {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let numbers: Option<Vec<u32>> = text.split('.').map(number).collect();
        match numbers.as_deref() {
            Some(&[major]) => Ok(Self::Major(major)),
            Some(&[major, minor]) => Ok(Self::Minor(major, minor)),
            Some(&[major, minor, patch]) => Ok(Self::Exact(Version { major, minor, patch })),
            _ => Err(Error::MalformedRequirement(text.to_owned())),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Major(major) => write!(f, "{major}"),
            Self::Minor(major, minor) => write!(f, "{major}.{minor}"),
            Self::Exact(version) => version.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_is_datachains() {
        let last = Version { major: 1, minor: 2, patch: LARGEST };
        let cases = [
            ("1.2.3", Bump::Patch, Some("1.2.4")),
            ("1.2.3", Bump::Minor, Some("1.3.0")),
            ("1.2.3", Bump::Major, Some("2.0.0")),
            (&*last.to_string(), Bump::Patch, None),
            (&*last.to_string(), Bump::Minor, Some("1.3.0")),
        ];
        for (text, bump, next) in cases {
            let version: Version = text.parse().expect(text);
            assert_eq!(
                version.next(bump).map(|v| v.to_string()).as_deref(),
                next,
                "{text} {bump:?}"
            );
        }
    }

    #[test]
    fn reads_and_prints_requirements() {
        let good = ["latest", "0", "1", "1.0", "1.20.300", "999999.999999.999999"];
        for text in good {
            assert_eq!(text.parse::<Requirement>().map(|r| r.to_string()), Ok(text.to_owned()));
        }
        let bad =
            ["", ".", "1.", "01", "1.0.0.0", "v1", "1000000", "-1", "+1", "1 ", "Latest", "1.x"];
        for text in bad {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_is_three_numbers() {
        for text in ["1", "1.0", "latest", "1.0.0-rc1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let parse = |text: &str| text.parse::<Version>().expect(text);
        assert!(parse("1.0.10") > parse("1.0.9"));
        assert!(parse("1.10.0") > parse("1.9.99"));
        assert!(parse("2.0.0") > parse("1.999999.999999"));
    }
}
