//! `[shared]`: the folder of objects that hosts share.

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::Wrong;
use crate::error::show;
use dcfs_core::name::nearest;

/// The contents of `[shared]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// `s3://bucket/prefix`, `file:///folder`.
    pub prefix: String,
    /// Whether mounts share what they build.
    pub write: bool,
    /// Whether small objects are looked for there, and shared.
    pub objects: bool,
    /// A builder that is silent for this long is presumed dead.
    pub lease: Duration,
    /// Names of versions of this many rows and more are shared in blocks, too.
    pub split: u64,
    /// For how long the folder may fail before such a version is built here; `None` if it is not said.
    pub patience: Option<Duration>,
}

const NAMES: [&str; 6] = ["prefix", "write", "objects", "lease", "split", "patience"];

/// The default: long enough for a builder that waits for a slow bucket, short enough for those who wait for a
/// dead one.
const LEASE: Duration = Duration::from_secs(30);

/// The default: below it, a pack is fetched as a whole within seconds.
const SPLIT: u64 = 4_000_000;

/// Allowed leases in seconds.
const LEASES: std::ops::RangeInclusive<i64> = 1..=3600;

const PATIENCE_IS: &str =
    "`patience` is a number of seconds, such as `patience = 600`; with 0 nobody waits";

const SPLIT_IS: &str = "`split` is a number of rows, such as `split = 4000000`";

impl Shared {
    /// Parses the table, which begins at byte `at`.
    pub fn read(at: usize, entries: &DeTable<'_>) -> Result<Self, Wrong> {
        let (mut prefix, mut write, mut objects) = (None, false, false);
        let (mut lease, mut split, mut patience) = (LEASE, SPLIT, None);
        for (name, value) in entries {
            let wrong = |text: String| (value.span().start, text);
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("prefix", DeValue::String(text)) if !text.is_empty() => {
                    prefix = Some(text.to_string());
                }
                ("prefix", _) => {
                    return Err(wrong(
                        "`prefix` is a text, such as `prefix = \"s3://bucket/dcfs\"`".into(),
                    ));
                }
                ("write", DeValue::Boolean(flag)) => write = *flag,
                ("write", _) => {
                    return Err(wrong("`write` is `true` or `false`, without quotes".into()));
                }
                ("objects", DeValue::Boolean(flag)) => objects = *flag,
                ("objects", _) => {
                    return Err(wrong("`objects` is `true` or `false`, without quotes".into()));
                }
                ("lease", DeValue::Integer(number)) => {
                    let seconds = number.to_string().parse().ok().filter(|n| LEASES.contains(n));
                    let seconds = seconds.ok_or_else(|| {
                        wrong("`lease` is 1 to 3600 seconds, such as `lease = 30`".into())
                    })?;
                    lease = Duration::from_secs(seconds.unsigned_abs());
                }
                ("lease", _) => {
                    return Err(wrong(
                        "`lease` is a number of seconds, such as `lease = 30`".into(),
                    ));
                }
                ("split", DeValue::Integer(number)) => {
                    let rows = number.to_string().parse().ok();
                    split = rows.ok_or_else(|| wrong(SPLIT_IS.into()))?;
                }
                ("split", _) => return Err(wrong(SPLIT_IS.into())),
                ("patience", DeValue::Integer(number)) => {
                    let seconds = number.to_string().parse().ok().map(Duration::from_secs);
                    patience = Some(seconds.ok_or_else(|| wrong(PATIENCE_IS.into()))?);
                }
                ("patience", _) => return Err(wrong(PATIENCE_IS.into())),
                (other, _) => {
                    let near = nearest::to(other, NAMES.into_iter());
                    let hint = nearest::hint(&near, &format!("there are {}", NAMES.join(", ")));
                    let text = format!("`[shared]` has no setting `{}`{hint}", show(other));
                    return Err((name.span().start, text));
                }
            }
        }
        let missing =
            || (at, "`[shared]` names no `prefix`, such as `prefix = \"s3://bucket/dcfs\"`".into());
        let prefix = prefix.ok_or_else(missing)?;
        Ok(Self { prefix, write, objects, lease, split, patience })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn read(text: &str) -> Result<Option<Shared>, String> {
        let settings = Settings::parse(std::path::Path::new("/c"), text);
        settings.map(|settings| settings.shared().cloned()).map_err(|error| error.to_string())
    }

    #[test]
    fn says_where_and_how() {
        assert_eq!(read(""), Ok(None));
        let (write, objects) = (false, false);
        let (prefix, lease, split, patience) = ("s3://b/p".into(), LEASE, SPLIT, None);
        let bare = Shared { prefix, write, objects, lease, split, patience };
        assert_eq!(read("[shared]\nprefix = 's3://b/p'"), Ok(Some(bare.clone())));
        let lease = Duration::from_secs(2);
        let patience = Some(Duration::ZERO);
        let all = Shared { write: true, objects: true, lease, split: 7, patience, ..bare };
        assert_eq!(
            read(
                "[shared]\nprefix = 's3://b/p'\nwrite = true\nobjects = true\nlease = 2\nsplit = 7\npatience = 0"
            ),
            Ok(Some(all))
        );
        let cases = [
            ("[shared]", "names no `prefix`"),
            ("[shared]\nprefix = 1", "is a text"),
            ("[shared]\nprefx = 's3://b'", "did you mean `prefix`"),
            ("[shared]\nprefix = 's3://b'\nwrite = 'yes'", "`true` or `false`"),
            ("[shared]\nprefix = 's3://b'\nsplit = -1", "a number of rows"),
            ("[shared]\nprefix = 's3://b'\nsplit = '4M'", "a number of rows"),
            ("[shared]\nprefix = 's3://b'\npatience = -1", "a number of seconds"),
            ("[shared]\nprefix = 's3://b'\npatience = '1m'", "a number of seconds"),
            ("[shared]\nprefix = 's3://b'\nobjects = 1", "`true` or `false`"),
            ("[shared]\nprefix = 's3://b'\nlease = 0", "1 to 3600 seconds"),
            ("[shared]\nprefix = 's3://b'\nlease = '1m'", "a number of seconds"),
        ];
        for (text, message) in cases {
            let error = read(text).expect_err(text);
            assert!(error.contains(message) && error.contains("line "), "{error}");
        }
    }
}
