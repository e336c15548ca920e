//! Which stretch of which object a row means.

use super::error::{self, Error};
use super::pin::Recorded;
use dcfs_core::object::Object;

/// The stretch of an object that a row means: all of it, or a member of a tar.
pub struct Wanted {
    /// What is in the store: for a member its archive.
    pub object: Object,
    pub place: String,
    pub recorded: Recorded,
    /// Where it begins, and how long it is.
    pub base: u64,
    pub size: u64,
}

impl Wanted {
    pub fn of(object: &Object) -> Result<Self, Error> {
        let place = error::place(object);
        let member = object.member().map_err(|cause| Error::Location { place, cause })?;
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
        Ok(Self { object, place, recorded, base, size })
    }
}
