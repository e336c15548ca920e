//! A hash index of rows by value, for joins.

use dcfs_core::expr::packed::Packed;

/// Marks the end of a chain.
const END: u32 = u32::MAX;

/// The rows of one column by the hash of their value; rows without a value are left out.
#[derive(Debug)]
pub struct Index {
    /// The first row of each chain.
    heads: Vec<u32>,
    /// The next row in the chain, for each row.
    next: Vec<u32>,
    mask: u64,
}

impl Index {
    /// Builds the index; `hash` returns the hash of a row's value, `None` if it has none.
    pub fn new(rows: usize, hash: impl Fn(usize) -> Option<u64>) -> Self {
        let size = (rows.max(8) * 2).next_power_of_two();
        let (mut heads, mut next) = (vec![END; size], vec![END; rows]);
        let mask = size as u64 - 1;
        // From last to first, so that a chain returns its rows in order.
        for row in (0..rows).rev() {
            if let Some(hash) = hash(row) {
                let head = &mut heads[(hash & mask) as usize];
                next[row] = *head;
                *head = row as u32;
            }
        }
        Self { heads, next, mask }
    }

    /// The first row that may have a value of this hash.
    pub fn first(&self, hash: u64) -> Option<u32> {
        Some(self.heads[(hash & self.mask) as usize]).filter(|row| *row != END)
    }

    /// The next row of the chain.
    pub fn after(&self, row: u32) -> Option<u32> {
        self.next.get(row as usize).copied().filter(|row| *row != END)
    }
}

/// The hash of a text: eight bytes at a time, folded by multiplication.
pub fn hash_text(text: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = text.len() as u64 ^ K;
    let (eights, rest) = text.as_chunks::<8>();
    for eight in eights {
        hash = mix(hash ^ u64::from_le_bytes(*eight));
    }
    let mut last = [0_u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash ^ u64::from_le_bytes(last))
}

/// The hash of a number; equal numbers have equal hashes whatever their type.
pub fn hash_number(number: f64) -> u64 {
    // -0.0 equals 0.0.
    mix((number + 0.0).to_bits())
}

pub fn mix(value: u64) -> u64 {
    const K: u64 = 0xd6e8_feb8_6659_fd93;
    let folded = u128::from(value ^ 0x9e37_79b9_7f4a_7c15) * u128::from(K);
    (folded as u64) ^ ((folded >> 64) as u64)
}

/// The hash of a row's value; `None` if it has none.
pub fn hash_of(packed: &Packed<'_>, row: usize) -> Option<u64> {
    match packed {
        Packed::Null | Packed::Vectors(..) | Packed::Presence(_) => None,
        Packed::Sequence(first) => Some(hash_number((row as i64 + first) as f64)),
        Packed::Ints(values, valid) => valid
            .get(row)
            .then(|| hash_number(i64::from_le_bytes(*values.get(row).unwrap_or(&[0; 8])) as f64)),
        Packed::Narrow(values, valid) => valid
            .get(row)
            .then(|| hash_number(i32::from_le_bytes(*values.get(row).unwrap_or(&[0; 4])).into())),
        Packed::Floats(values, valid) => valid
            .get(row)
            .then(|| hash_number(f64::from_le_bytes(*values.get(row).unwrap_or(&[0; 8])))),
        Packed::Bools(words, valid) => valid.get(row).then(|| {
            let word = words.get(row / 64).map_or(0, |word| u64::from_le_bytes(*word));
            hash_number((word >> (row % 64) & 1) as f64)
        }),
        Packed::Texts(texts, valid) => {
            valid.get(row).then(|| hash_text(texts.get(row).unwrap_or_default()))
        }
        Packed::Words(codes, texts, valid) => valid.get(row).then(|| {
            let code = codes.get(row).map_or(0, |code| usize::from(u16::from_le_bytes(*code)));
            hash_text(texts.get(code).unwrap_or_default())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_rows_in_order() {
        let values = [3_u64, 1, 3, 9, 3];
        let index = Index::new(5, |row| (row != 3).then(|| mix(values[row])));
        let mut found = Vec::new();
        let mut row = index.first(mix(3));
        while let Some(at) = row {
            found.push(at);
            row = index.after(at);
        }
        found.retain(|row| values[*row as usize] == 3);
        assert_eq!(found, [0, 2, 4]);
    }

    #[test]
    fn equal_numbers_have_equal_hashes() {
        assert_eq!(hash_number(0.0), hash_number(-0.0));
        assert_ne!(hash_text(b"a"), hash_text(b"a\0"));
    }
}
