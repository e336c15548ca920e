//! Sets of rows as ClickHouse gives them: the state of its function `groupBitmap`.

use roaring::{RoaringBitmap, RoaringTreemap};

use super::types::Reader;

/// A set of 32 bits as `groupBitmapState` writes it: a few values as they are, or the portable form of roaring bitmaps.
pub fn bitmap(state: &[u8]) -> Option<RoaringBitmap> {
    match state.split_first()? {
        (0, rest) => {
            let values = rest.get(1..)?.as_chunks::<4>();
            (values.1.is_empty())
                .then(|| values.0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
        }
        (1, rest) => RoaringBitmap::deserialize_from(Reader(rest).long().ok()?).ok(),
        _ => None,
    }
}

/// The same of 64 bits.
pub fn treemap(state: &[u8]) -> Option<RoaringTreemap> {
    match state.split_first()? {
        (0, rest) => {
            let values = rest.get(1..)?.as_chunks::<8>();
            (values.1.is_empty())
                .then(|| values.0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
        }
        (1, rest) => RoaringTreemap::deserialize_from(Reader(rest).long().ok()?).ok(),
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
        for bad in [&[][..], &[2], &[1, 200], &[0, 1, 7]] {
            assert_eq!((bitmap(bad), treemap(bad)), (None, None), "{bad:?}");
        }
    }
}
