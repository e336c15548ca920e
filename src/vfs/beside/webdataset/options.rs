//! The options in the name of a directory of shards.

use dcfs_core::loader::options::{self, count, digits, wrong};

/// Limit of the samples of a shard: while it is read, its names and texts are in memory.
pub const MOST_SAMPLES: u64 = 1 << 16;

/// Default number of samples in a shard, without `shard=` and `size=`.
const SAMPLES: u64 = 1000;

const WANTED: &str = "`shard=`, `size=`, `cls=`, `txt=`, `json=` and `files=`";

/// The options in the name of a directory of shards.
#[derive(Debug)]
pub struct Options<'t> {
    pub samples: u64,
    /// Size in bytes after which a shard ends.
    pub bytes: u64,
    pub cls: Option<&'t str>,
    pub txt: Option<&'t str>,
    pub has_json: bool,
    /// File columns; empty for all.
    pub files: Vec<&'t str>,
}

impl<'t> Options<'t> {
    pub fn parse(text: &'t str) -> Result<Self, options::Error> {
        let mut found = Self {
            samples: SAMPLES,
            bytes: u64::MAX,
            cls: None,
            txt: None,
            has_json: true,
            files: Vec::new(),
        };
        for (key, value) in options::parse(text)? {
            match key {
                "shard" => {
                    found.samples = count(key, value)?;
                    if found.samples > MOST_SAMPLES {
                        return Err(wrong(key, value, "a shard has at most 65536 samples"));
                    }
                }
                "size" => {
                    let bytes = bytes(value);
                    found.bytes =
                        bytes.ok_or_else(|| wrong(key, value, "a size is as 256M or 1G"))?;
                }
                "cls" => found.cls = Some(value),
                "txt" => found.txt = Some(value),
                "json" => {
                    found.has_json = match value {
                        "yes" => true,
                        "no" => false,
                        _ => return Err(wrong(key, value, "write yes or no")),
                    }
                }
                "files" => found.files = value.split('+').collect(),
                _ => return Err(options::Error::Unknown(key.to_owned(), WANTED)),
            }
        }
        let says_samples = options::parse(text)?.iter().any(|(key, _)| *key == "shard");
        if found.bytes < u64::MAX && !says_samples {
            found.samples = MOST_SAMPLES;
        }
        Ok(found)
    }
}

/// Parses `256M` as bytes.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (at, 'K') => (&text[..at], 1 << 10),
        (at, 'M') => (&text[..at], 1 << 20),
        (at, 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    digits(number)?.checked_mul(unit).filter(|bytes| *bytes > 0)
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_how_shards_end() {
        let samples = |text| Options::parse(text).map(|found| (found.samples, found.bytes));
        assert_eq!(samples("-"), Ok((SAMPLES, u64::MAX)));
        assert_eq!(samples("shard=7"), Ok((7, u64::MAX)));
        assert_eq!(samples("size=2M"), Ok((MOST_SAMPLES, 2 << 20)));
        assert_eq!(samples("size=1G,shard=9"), Ok((9, 1 << 30)));
        for bad in
            ["shard=0", "shard=65537", "size=x", "size=0", "json=maybe", "seed=1", "shard", ""]
        {
            assert!(Options::parse(bad).is_err(), "{bad}");
        }
    }
}
