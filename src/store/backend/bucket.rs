//! Addresses in buckets: the part that all clouds share.

use std::sync::Arc;

use crate::cloud::{Bucket, CloudObject};
use crate::error::{Error, show};
use crate::key;
use crate::remote::Requests;
use dcfs_core::object::Object;

/// An object's bucket and its key in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Only letters, digits, `.`, `-` and `_`, and `$` in containers, because it becomes part of a URL.
    pub bucket: String,
    /// The key, including the prefix from the source.
    pub key: Vec<u8>,
}

/// The naming rules of one cloud's buckets.
pub struct Naming {
    /// Without `://`.
    pub scheme: &'static str,
    pub is_bucket: fn(&str) -> bool,
    /// The reason why a source without a valid bucket name is refused.
    pub no_bucket: &'static str,
}

impl Naming {
    /// Parses the address of `object`: a source of the form `bucket` or `bucket/prefix`, and a key below it.
    ///
    /// # Errors
    /// `Unaskable`.
    pub fn key(&self, object: &Object) -> Result<Key, Error> {
        let unaskable = |reason| Error::unaskable(object, reason);
        let (bucket, prefix) = split(&object.source);
        if !(self.is_bucket)(bucket) {
            return Err(unaskable(self.no_bucket));
        }
        if object.path.is_empty() {
            return Err(unaskable("its path is empty"));
        }
        let mut key = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes().to_vec();
        if !key.is_empty() {
            key.push(b'/');
        }
        key.extend_from_slice(&object.path);
        Ok(Key { bucket: bucket.to_owned(), key })
    }

    /// The address of `object` as a URL, to compare with the allowed prefixes.
    ///
    /// # Errors
    /// `Unaskable`.
    pub fn url(&self, object: &Object) -> Result<String, Error> {
        let Key { bucket, key } = self.key(object)?;
        Ok(format!("{}://{bucket}/{}", self.scheme, String::from_utf8_lossy(&key)))
    }
}

/// Splits a source into bucket and prefix; both may be empty.
pub fn split(source: &str) -> (&str, &str) {
    let rest = source.split_once("://").map_or(source, |(_, rest)| rest);
    rest.split_once('/').unwrap_or((rest, ""))
}

/// Whether `name` is a valid bucket name in a URL.
pub fn is_bucket(name: &str) -> bool {
    is_named(name, b"")
}

/// Whether `name` is a valid container name in a URL.
pub fn is_container(name: &str) -> bool {
    is_named(name, b"$")
}

fn is_named(name: &str, more: &[u8]) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b) || more.contains(&b);
    name.len() <= 255 && name.bytes().all(plain) && !["", ".", ".."].contains(&name)
}

/// Why a table of settings has no valid bucket name, if it has none.
pub fn wrong_bucket(scheme: &str, bucket: &str, _prefix: &str) -> Option<String> {
    let text =
        format!("is not a valid bucket name; write `{scheme}bucket/prefix`, without patterns");
    (!is_bucket(bucket)).then(|| format!("`{}` {text}", show(bucket)))
}

/// The object of a cloud with exactly this key.
///
/// # Errors
/// `Unaskable` if `object_store` would normalise the key to another one.
pub fn object(
    bucket: Arc<impl Bucket>,
    key: &Key,
    place: String,
) -> Result<Arc<dyn Requests>, Error> {
    match key::exact(&key.key) {
        Ok(key) => Ok(Arc::new(CloudObject::new(bucket, key, place))),
        Err(reason) => Err(Error::Unaskable { place, reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_path_below_the_sources_prefix() {
        let naming = Naming { scheme: "az", is_bucket: is_container, no_bucket: "none" };
        let of = |source: &str, path: &[u8]| {
            let object = Object { source: source.into(), path: path.to_vec(), ..Object::default() };
            naming.key(&object).map(|key| (key.bucket, key.key)).map_err(|error| error.to_string())
        };
        let key = |bucket: &str, key: &[u8]| Ok((bucket.to_owned(), key.to_vec()));
        let cases: [(&str, &[u8], _); 6] = [
            ("az://my.b-1", b"a//b/../c\xff\n", key("my.b-1", b"a//b/../c\xff\n")),
            ("az://my.b-1", b"/a", key("my.b-1", b"/a")),
            ("az://my.b-1/", b"a", key("my.b-1", b"a")),
            ("az://my.b-1/in/side", b"a", key("my.b-1", b"in/side/a")),
            ("az://b_1", b"a#b", key("b_1", b"a#b")),
            ("az://$web", b"a?b", key("$web", b"a?b")),
        ];
        for (source, path, want) in cases {
            assert_eq!(of(source, path), want, "{source} {}", path.escape_ascii());
        }
        assert!(of("az://b c", b"a").is_err() && !is_bucket("$web"));
    }
}
