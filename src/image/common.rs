//! The formats that nearly all pictures have.

use super::{Found, Image, Pieces, Stop};

/// Segments up to the one that tells the size; fewer lie in any file that a program wrote.
const SEGMENTS: usize = 4096;

/// Of a JPEG the first frame tells the size (ITU T.81, B.2.2).
pub fn jpeg(pieces: &Pieces) -> Found {
    let mut at = 2;
    for _ in 0..SEGMENTS {
        let [mark, kind] = pieces.array(at)?;
        match (mark, kind) {
            // Bytes that fill up.
            (0xff, 0xff) => at += 1,
            (0xff, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                let (height, width) = (pieces.be16(at + 5)?, pieces.be16(at + 7)?);
                return Ok(Image { width: width.into(), height: height.into(), format: "JPEG" });
            }
            // Without a length, or with no picture after it.
            (0xff, 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, 0x02..=0xbf | 0xc4 | 0xc8 | 0xcc | 0xda..=0xfe) if kind != 0xda => {
                at += 2 + u64::from(pieces.be16(at + 2)?.max(2));
            }
            _ => return Err(Stop::No),
        }
    }
    Err(Stop::No)
}

pub fn png(pieces: &Pieces) -> Found {
    if !pieces.has(12, b"IHDR")? {
        return Err(Stop::No);
    }
    Ok(Image { width: pieces.be32(16)?, height: pieces.be32(20)?, format: "PNG" })
}

/// The screen, not the first picture on it.
pub fn gif(pieces: &Pieces) -> Found {
    let (width, height) = (pieces.le16(6)?.into(), pieces.le16(8)?.into());
    Ok(Image { width, height, format: "GIF" })
}

pub fn bmp(pieces: &Pieces) -> Found {
    let (width, height) = match pieces.le32(14)? {
        12 => (pieces.le16(18)?.into(), pieces.le16(20)?.into()),
        // Less than nothing: the top row comes first.
        16 | 40 | 52 | 56 | 64 | 108 | 124 => {
            (pieces.le32(18)?, pieces.le32(22)?.cast_signed().unsigned_abs())
        }
        _ => return Err(Stop::No),
    };
    Ok(Image { width, height, format: "BMP" })
}

pub fn webp(pieces: &Pieces) -> Found {
    let three =
        |at| pieces.array(at).map(|[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0]) + 1);
    let (width, height) = match &pieces.array(12)? {
        b"VP8X" => (three(24)?, three(27)?),
        b"VP8L" if pieces.has(20, b"\x2f")? => {
            let both = pieces.le32(21)?;
            ((both & 0x3fff) + 1, (both >> 14 & 0x3fff) + 1)
        }
        // The two highest bits tell how it is to be scaled.
        b"VP8 " if pieces.has(23, b"\x9d\x01\x2a")? => {
            let side = |at| Ok(u32::from(pieces.le16(at)? & 0x3fff));
            (side(26)?, side(28)?)
        }
        _ => return Err(Stop::No),
    };
    Ok(Image { width, height, format: "WEBP" })
}

pub fn is_tiff(pieces: &Pieces) -> Found<bool> {
    for mark in [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"] {
        if pieces.has(0, mark)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Of a TIFF the first directory, wherever it lies.
pub fn tiff(pieces: &Pieces) -> Found {
    let tiff = Tiff { pieces, is_big_endian: pieces.has(0, b"MM")?, is_big: is_big(pieces)? };
    let (first, count, entry) = if tiff.is_big {
        let at = tiff.number(8, 8)?;
        (at.checked_add(8), tiff.number(at, 8)?, 20)
    } else {
        let at = tiff.number(4, 4)?;
        (at.checked_add(2), tiff.number(at, 2)?, 12)
    };
    let first = first.ok_or(Stop::No)?;
    let (mut width, mut height) = (None, None);
    for number in 0..count.min(SEGMENTS as u64) {
        let at = first.checked_add(number * entry).ok_or(Stop::No)?;
        match tiff.number(at, 2)? {
            256 => width = Some(tiff.value(at)?),
            257 => height = Some(tiff.value(at)?),
            _ => {}
        }
        if let (Some(width), Some(height)) = (width, height) {
            return Ok(Image { width, height, format: "TIFF" });
        }
    }
    Err(Stop::No)
}

fn is_big(pieces: &Pieces) -> Found<bool> {
    Ok(pieces.has(2, b"+\0")? || pieces.has(2, b"\0+")?)
}

struct Tiff<'p> {
    pieces: &'p Pieces,
    is_big_endian: bool,
    /// With addresses of 64 bits.
    is_big: bool,
}

impl Tiff<'_> {
    fn number(&self, at: u64, length: usize) -> Found<u64> {
        let bytes = self.pieces.get(at, length)?.iter();
        let add = |sum, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if self.is_big_endian { bytes.fold(0, add) } else { bytes.rev().fold(0, add) })
    }

    /// The value of an entry, which is in it.
    fn value(&self, entry: u64) -> Found<u32> {
        let length = match self.number(entry + 2, 2)? {
            1 => 1,
            3 => 2,
            4 => 4,
            16 => 8,
            _ => return Err(Stop::No),
        };
        let at = entry + if self.is_big { 12 } else { 8 };
        self.number(at, length)?.try_into().map_err(|_| Stop::No)
    }
}
