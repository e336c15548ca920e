//! Parses sets of rows from ClickHouse: the state of its function `groupBitmap`.

use roaring::{RoaringBitmap, RoaringTreemap};

use super::types::Reader;

/// A set of 32-bit values as `groupBitmapState` writes it: a few plain values, or the portable
/// format of roaring bitmaps.
pub fn bitmap(state: &[u8]) -> Option<RoaringBitmap> {
    match state.split_first()? {
        (0, rest) => {
            let (count, rest) = rest.split_first()?;
            let values = rest.as_chunks::<4>();
            (values.1.is_empty() && values.0.len() == usize::from(*count))
                .then(|| values.0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
        }
        (1, rest) => {
            let mut left = large(rest)?;
            let set = RoaringBitmap::deserialize_from(&mut left).ok()?;
            left.is_empty().then_some(set)
        }
        _ => None,
    }
}

/// The bytes of a large set after its length prefix; `None` if more bytes follow.
fn large(state: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(state);
    let bytes = reader.long().ok()?;
    reader.0.is_empty().then_some(bytes)
}

/// A set of 64-bit values.
pub fn treemap(state: &[u8]) -> Option<RoaringTreemap> {
    match state.split_first()? {
        (0, rest) => {
            let (count, rest) = rest.split_first()?;
            let values = rest.as_chunks::<8>();
            (values.1.is_empty() && values.0.len() == usize::from(*count))
                .then(|| values.0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
        }
        (1, rest) => {
            let mut left = large(rest)?;
            let set = RoaringTreemap::deserialize_from(&mut left).ok()?;
            left.is_empty().then_some(set)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_are_read_in_both_forms() {
        let few: Vec<u8> = [&[0, 2][..], &7u32.to_le_bytes(), &9u32.to_le_bytes()].concat();
        assert_eq!(bitmap(&few), Some([7, 9].into_iter().collect()));
        let many: RoaringBitmap = (0..1000).collect();
        let mut state = vec![1];
        let size = many.serialized_size();
        state.extend([(size & 0x7f) as u8 | 0x80, (size >> 7) as u8]);
        many.serialize_into(&mut state).expect("a vector takes any bytes");
        assert_eq!(bitmap(&state), Some(many));
        state.push(0);
        assert_eq!(bitmap(&state), None, "a byte behind it");
        for bad in [&[][..], &[2], &[1, 200], &[0, 1, 7], &[0, 3, 7, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!((bitmap(bad), treemap(bad)), (None, None), "{bad:?}");
        }
    }
}
