//! The rows that statistics cover, and their packed values.

use roaring::RoaringBitmap;

use super::numbers::{Kind, key_of_int, key_of_real};
use dcfs_core::expr::packed::Packed;

/// Some rows of a version.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'r> {
    /// The number of rows of the version.
    pub count: usize,
    /// The rows covered; `None` for all.
    pub within: Option<&'r RoaringBitmap>,
}

/// A packed column is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage;

impl<'r> Rows<'r> {
    /// The number of rows covered.
    pub fn len(self) -> u64 {
        self.within.map_or(self.count as u64, RoaringBitmap::len)
    }

    /// The rows covered, ascending.
    pub fn iter(self) -> Box<dyn Iterator<Item = usize> + 'r> {
        match self.within {
            None => Box::new(0..self.count),
            Some(within) => Box::new(within.iter().map(|row| row as usize)),
        }
    }

    /// Calls `each` with the rows that have a value in a column.
    ///
    /// # Errors
    /// Errors of `each`.
    pub fn each_valid(
        self,
        packed: &Packed<'_>,
        mut each: impl FnMut(usize) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let mut look = |row| if packed.is_valid(row) { each(row) } else { Ok(()) };
        match self.within {
            None => (0..self.count).try_for_each(look),
            Some(within) => within.iter().try_for_each(|row| look(row as usize)),
        }
    }

    /// The number of rows that have a value in a column.
    pub fn valid(self, packed: &Packed<'_>) -> u64 {
        let mut count = 0;
        let counted = self.each_valid(packed, |_| {
            count += 1;
            Ok(())
        });
        counted.map_or(0, |()| count)
    }

    /// The keys of a column of numbers.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn keys(
        self,
        packed: &Packed<'_>,
        kind: Kind,
        give: &mut dyn FnMut(u64),
    ) -> Result<(), Damage> {
        match kind {
            Kind::Float => self.each_valid(packed, |row| {
                give(key_of_real(packed.real(row).ok_or(Damage)?));
                Ok(())
            }),
            Kind::Int | Kind::Time => self.each_valid(packed, |row| {
                give(key_of_int(packed.int(row).ok_or(Damage)?));
                Ok(())
            }),
        }
    }
}
