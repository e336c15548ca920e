//! Numbers and texts as bytes: integers in 7 bits a byte, keys without the prefix that they share
//! with the one before. Bytes are read with every bound checked.

use std::io::{self, Read};

use crate::pack::error::PackError;

/// Appends `number` in 7 bits a byte.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends the difference from `before` to `number`, small ones in few bytes.
pub fn put_step(out: &mut Vec<u8>, before: i64, number: i64) {
    let step = number.wrapping_sub(before);
    put(out, (step.wrapping_shl(1) ^ (step >> 63)) as u64);
}

/// The error for bytes that no writer wrote.
pub fn odd() -> PackError {
    PackError::damaged("its names cannot be read")
}

/// Bytes being read: of a slice, or of a decompressor.
pub struct Bytes<R>(pub R);

impl<R: Read> Bytes<R> {
    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], PackError> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).map_err(|_| odd())?;
        Ok(bytes)
    }

    /// The next number.
    pub fn number(&mut self) -> Result<u64, PackError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(odd())
    }

    /// The next number, which fits `T`.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, PackError> {
        T::try_from(self.number()?).map_err(|_| odd())
    }

    /// The number after `before`, as written by [`put_step`].
    pub fn step(&mut self, before: i64) -> Result<i64, PackError> {
        let number = self.number()?;
        let step = (number >> 1) as i64 ^ -((number & 1) as i64);
        Ok(before.wrapping_add(step))
    }

    /// Appends the next `length` bytes to `out`.
    pub fn text(&mut self, length: usize, out: &mut Vec<u8>) -> Result<(), PackError> {
        let read = self.0.by_ref().take(length as u64).read_to_end(out).map_err(|_| odd())?;
        if read == length { Ok(()) } else { Err(odd()) }
    }

    /// # Errors
    /// There are more bytes.
    pub fn end(mut self) -> Result<(), PackError> {
        match self.0.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) | Err(_) => Err(odd()),
        }
    }
}

/// Compresses bytes; the result depends on nothing else.
pub fn squeeze(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut squeezed = Vec::with_capacity(bytes.len() / 2);
    let level = flate2::Compression::new(6);
    flate2::read::DeflateEncoder::new(bytes, level).read_to_end(&mut squeezed)?;
    Ok(squeezed)
}

/// The bytes that were compressed.
pub fn unsqueezed<R: io::BufRead>(bytes: R) -> Bytes<impl Read> {
    Bytes(io::BufReader::new(flate2::bufread::DeflateDecoder::new(bytes)))
}

/// The number of bytes that two texts begin with in common.
pub fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_short_ones_do_not() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        for number in numbers {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(Bytes(&bytes[..]).number().expect("whole"), number);
            assert!(Bytes(&bytes[..bytes.len() - 1]).number().is_err(), "{number} cut short");
        }
        assert!(Bytes(&[0xff; 11][..]).number().is_err(), "endless");
        assert!(Bytes(&[0xff, 0x03][..]).small::<u8>().is_err(), "too large");
        for (before, number) in [(0, 0), (5, 4), (i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
            let mut bytes = Vec::new();
            put_step(&mut bytes, before, number);
            assert_eq!(Bytes(&bytes[..]).step(before).expect("whole"), number);
        }
    }

    #[test]
    fn texts_are_squeezed_and_come_back() {
        let text = b"images/0001.jpg images/0002.jpg images/0003.jpg".repeat(50);
        let squeezed = squeeze(&text).expect("squeezed");
        assert!(squeezed.len() < text.len() / 10);
        let mut bytes = unsqueezed(&squeezed[..]);
        let mut back = Vec::new();
        bytes.text(text.len(), &mut back).expect("whole");
        assert_eq!(back, text);
        bytes.end().expect("nothing more");
    }
}
