//! The part of an object that a row refers to.

use super::error::{self, Error};
use super::pin::Recorded;
use dcfs_core::object::Object;

/// The byte range of an object that a row refers to: all of it, or a member of a tar.
pub struct Wanted {
    /// The object in the store: for a member its archive.
    pub object: Object,
    pub place: String,
    pub recorded: Recorded,
    /// Start and length of the range.
    pub base: u64,
    pub size: u64,
}

/// Extensions of archives that are compressed as a whole.
const COMPRESSED: [&str; 13] = [
    ".gz", ".tgz", ".taz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".tzst", ".lz4",
    ".lzma", ".br",
];

/// Whether the name is that of a compressed archive.
fn is_named_compressed(path: &[u8]) -> bool {
    let end = path.len().saturating_sub(5);
    let end = String::from_utf8_lossy(&path[end..]).to_ascii_lowercase();
    COMPRESSED.iter().any(|ending| end.ends_with(ending))
}

impl Wanted {
    /// Whether it is a part of an archive.
    pub fn is_member(&self) -> bool {
        (self.base, self.size) != (0, self.recorded.size)
    }

    /// The cache key of the object on `server`.
    pub fn identity(&self, server: &str) -> String {
        let Recorded { size, version, etag, last_modified, .. } = &self.recorded;
        format!("{server}\0{}\0{size}\0{version}\0{etag}\0{last_modified:?}", self.place)
    }

    pub fn of(object: &Object) -> Result<Self, Error> {
        let member = object
            .member()
            .map_err(|cause| Error::Location { place: error::place(object), cause })?;
        let (object, part) = match member {
            Some(member) => {
                let place = || error::place(object);
                let row = object.size.ok_or_else(|| Error::NoSize { place: place() })?;
                if row != member.size {
                    return Err(Error::MemberSize { place: place(), row, location: member.size });
                }
                (member.container, Some((member.offset, member.size)))
            }
            None => (object.clone(), None),
        };
        let place = error::place(&object);
        let Some(recorded) = Recorded::of(&object) else { return Err(Error::NoSize { place }) };
        let (base, size) = part.unwrap_or((0, recorded.size));
        if base.checked_add(size).is_none_or(|end| end > recorded.size) {
            let (offset, length, size) = (base, size, recorded.size);
            return Err(Error::Outside { place, size, offset, length });
        }
        let wanted = Self { object, place, recorded, base, size };
        match wanted.is_member() && is_named_compressed(&wanted.object.path) {
            true => Err(Error::Compressed { place: wanted.place }),
            false => Ok(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_archives_are_known_by_name() {
        for (name, want) in [
            ("a.tar", false),
            ("a.tar.gz", true),
            ("A.TGZ", true),
            ("a.tar.zst", true),
            ("gz", false),
        ] {
            assert_eq!(is_named_compressed(name.as_bytes()), want, "{name}");
        }
    }
}
