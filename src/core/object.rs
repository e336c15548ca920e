//! One object of a store as recorded in a row of a dataset, and what identifies it.

use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::time::Timestamp;

/// DataChain's `File`: where the bytes are, and which bytes they were when the version was saved.
///
/// Nothing in it is percent-encoded: `%20` in a path is three characters of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// `s3://bucket`, `file:///abs/dir`, ...: what `path` is relative to. Empty in hand-made rows.
    pub source: String,
    /// The key, or the path below `source`. Bytes: a foreign catalog may hold any.
    pub path: Vec<u8>,
    /// Length in bytes; `None` if not recorded.
    pub size: Option<u64>,
    /// The store's own version id, or empty.
    pub version: String,
    /// Without quotes. For `file://` it is Python's `float(mtime).hex()`. May be empty.
    pub etag: String,
    /// When the store last saw it change; `None` if not recorded.
    pub last_modified: Option<Timestamp>,
    /// The `location` of a virtual file as the row's JSON text; `None` for an ordinary object.
    pub location: Option<String>,
}

/// The first 128 bits of a SHA-256 over everything that distinguishes objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub [u8; 16]);

impl Identity {
    /// The first half, which a pack stores with each entry to check that it belongs to its row.
    pub fn short(self) -> u64 {
        let mut half = [0; 8];
        half.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(half)
    }
}

/// A byte range of another object: a member of a tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The archive.
    pub container: Object,
    /// The offset of the member's bytes in it.
    pub offset: u64,
    /// The number of bytes.
    pub size: u64,
}

/// Why a `location` is unusable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON that DataChain writes.
    #[error("the row's `location` is not what DataChain writes: {0}")]
    Location(#[from] serde_json::Error),
    /// A container of another kind, or one inside another.
    #[error("the row's `location` is a {0}; only members of a plain tar can be read")]
    Unsupported(String),
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(crate::error::Kind::Broken, error)
    }
}

impl Object {
    /// The identity that two rows share if they name the same object: over source, path, version,
    /// etag, size and location, and the modification time if there is neither version nor etag.
    pub fn identity(&self) -> Identity {
        let size = self.size.unwrap_or(u64::MAX).to_le_bytes();
        let changed = self.last_modified.map_or(i64::MIN, Timestamp::micros).to_le_bytes();
        let is_bare = self.version.is_empty() && self.etag.is_empty();
        let fields: [&[u8]; 7] = [
            self.source.as_bytes(),
            &self.path,
            self.version.as_bytes(),
            self.etag.as_bytes(),
            &size,
            self.location.as_deref().unwrap_or_default().as_bytes(),
            &changed,
        ];
        let fields = &fields[..if is_bare { 7 } else { 6 }];
        let mut half = [0; 16];
        half.copy_from_slice(&hashed(fields)[..16]);
        Identity(half)
    }

    /// Whether a row names an object: an absent `Optional[File]` has neither source nor path.
    pub fn is_named(&self) -> bool {
        !(self.source.is_empty() && self.path.is_empty())
    }

    /// The range of its container that a virtual file consists of; `None` for an ordinary object.
    pub fn member(&self) -> Result<Option<Member>, Error> {
        let Some(text) = &self.location else { return Ok(None) };
        let mut layers: Vec<Layer> = match serde_json::from_str(text)? {
            Location::None(()) => return Ok(None),
            Location::One(layer) if layer.vtype.is_none() && layer.parent.is_none() => {
                return Ok(None);
            }
            Location::One(layer) => vec![*layer],
            Location::Text(text) if text.is_empty() => return Ok(None),
            Location::Text(text) => return Err(Error::Unsupported(text)),
            Location::Many(layers) => layers,
        };
        match (layers.pop(), layers.len()) {
            (None, _) => Ok(None),
            (Some(layer), 0) => layer.member().map(Some),
            (Some(_), deeper) => {
                Err(Error::Unsupported(format!("nest of {} containers", deeper + 1)))
            }
        }
    }
}

/// SHA-256 over fields, each prefixed with its length. Computed for every row of every version, so
/// short fields are concatenated first: feeding them to the hash one by one takes half as long
/// again.
fn hashed(fields: &[&[u8]]) -> [u8; 32] {
    let mut whole = [0; 512];
    let length: usize = fields.iter().map(|field| size_of::<u64>() + field.len()).sum();
    if length > whole.len() {
        let mut hash = Sha256::new();
        for field in fields {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        return hash.finalize().into();
    }
    let mut at = 0;
    for field in fields {
        let length = (field.len() as u64).to_le_bytes();
        for part in [&length[..], field] {
            whole[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }
    Sha256::digest(&whole[..at]).into()
}

/// `source/path`, for messages and pages. Not for opening: a path may contain anything.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, String::from_utf8_lossy(&self.path))
    }
}

/// The JSON of a `location` column: a list of one; null, `""` and `{}` mean none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Location {
    None(()),
    Text(String),
    Many(Vec<Layer>),
    One(Box<Layer>),
}

#[derive(Deserialize)]
struct Layer {
    vtype: Option<String>,
    parent: Option<Parent>,
    offset: Option<u64>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Parent {
    #[serde(default)]
    source: Option<String>,
    path: String,
    size: Option<u64>,
    version: Option<String>,
    etag: Option<String>,
    last_modified: Option<String>,
    location: Option<serde_json::Value>,
}

impl Layer {
    fn member(self) -> Result<Member, Error> {
        let vtype = self.vtype.unwrap_or_default();
        let (Some(parent), Some(offset), Some(size), "tar") =
            (self.parent, self.offset, self.size, vtype.as_str())
        else {
            return Err(Error::Unsupported(format!("`{vtype}`")));
        };
        if parent.location.is_some_and(|l| !l.is_null()) {
            return Err(Error::Unsupported("tar inside another container".into()));
        }
        let container = Object {
            source: parent.source.unwrap_or_default(),
            path: parent.path.into_bytes(),
            size: parent.size,
            version: parent.version.unwrap_or_default(),
            etag: parent.etag.unwrap_or_default(),
            last_modified: parent.last_modified.as_deref().and_then(Timestamp::parse),
            location: None,
        };
        Ok(Member { container, offset, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Object {
        Object {
            source: "s3://b".into(),
            path: b"a.jpg".to_vec(),
            size: Some(9),
            etag: "e".into(),
            last_modified: Some(Timestamp::from_micros(1)),
            ..Object::default()
        }
    }

    #[test]
    fn every_field_of_the_identity_counts() {
        let same = object().identity();
        assert_eq!(object().identity(), same);
        let others = [
            Object { source: "s3://c".into(), ..object() },
            Object { path: b"b.jpg".to_vec(), ..object() },
            Object { size: Some(8), ..object() },
            Object { size: None, ..object() },
            Object { version: "v".into(), ..object() },
            Object { etag: "f".into(), ..object() },
            Object { location: Some("[]".into()), ..object() },
            Object { source: "s3://ba".into(), path: b".jpg".to_vec(), ..object() },
        ];
        for other in others {
            assert_ne!(other.identity(), same, "{other:?}");
        }
    }

    #[test]
    fn the_time_counts_only_where_nothing_else_tells() {
        let later = Some(Timestamp::from_micros(2));
        assert_eq!(Object { last_modified: later, ..object() }.identity(), object().identity());
        let bare = Object { etag: String::new(), ..object() };
        assert_ne!(Object { last_modified: later, ..bare.clone() }.identity(), bare.identity());
    }

    #[test]
    fn reads_the_locations_that_datachain_writes() {
        let tar = r#"[{"vtype":"tar","parent":{"source":"s3:\/\/b","path":"a.tar","size":10240,
            "version":"","etag":"e","is_latest":true,
            "last_modified":"2026-11-20 10:31:23.287246+00:00","location":null},
            "size":9,"offset":512}]"#;
        let member = Object { location: Some(tar.into()), ..object() }.member();
        let member = member.expect("readable").expect("a member");
        assert_eq!((member.offset, member.size), (512, 9));
        assert_eq!(member.container.to_string(), "s3://b/a.tar");
        assert_eq!(member.container.size, Some(10240));
        for none in ["null", "\"\"", "{}", "[]"] {
            let object = Object { location: Some(none.into()), ..object() };
            assert_eq!(object.member().expect(none), None, "{none}");
        }
        for bad in [
            r#"[{"vtype":"zip"}]"#,
            "[{},{}]",
            "7",
            "{",
            r#""x""#,
            r#"[{"vtype":"tar"}]"#,
            r#"[{"vtype":"tar","parent":{"path":"a"},"offset":-1,"size":1}]"#,
        ] {
            let object = Object { location: Some(bad.into()), ..object() };
            assert!(object.member().is_err(), "{bad}");
        }
    }
}
