//! Bitmaps of Windows and OS/2: with a file header (BMP), without (DIB), and in cursors (CUR).

use std::io::{self, Read, Seek, SeekFrom};

use super::{File, Image};

/// The longest header in bytes.
const LONGEST: usize = 124;

/// Compression methods: none, run lengths of 8 and of 4 bits, colour masks.
const NONE: u32 = 0;
const RUN_LENGTHS: [u32; 2] = [1, 2];
const MASKS: u32 = 3;

/// Masks of red, green, blue and alpha that PIL accepts; images of 24 and 16 bits have no alpha.
const MASKS_OF_32: [[u32; 4]; 8] = [
    [0xff_0000, 0xff00, 0xff, 0],
    [0xff00_0000, 0xff_0000, 0xff00, 0],
    [0xff00_0000, 0xff00, 0xff, 0],
    [0xff00_0000, 0xff_0000, 0xff00, 0xff],
    [0xff, 0xff00, 0xff_0000, 0xff00_0000],
    [0xff_0000, 0xff00, 0xff, 0xff00_0000],
    [0xff00_0000, 0xff00, 0xff, 0xff_0000],
    [0, 0, 0, 0],
];
const MASKS_OF_24: [u32; 3] = [0xff_0000, 0xff00, 0xff];
const MASKS_OF_16: [[u32; 3]; 2] = [[0xf800, 0x7e0, 0x1f], [0x7c00, 0x3e0, 0x1f]];

/// Whether a header may have this size.
pub fn is_header(size: u32) -> bool {
    matches!(size, 12 | 40 | 52 | 56 | 64 | 108 | 124)
}

/// Reads the image whose header begins at `at`. `None` if PIL rejects it.
pub fn told(file: &mut File, at: u64, format: &'static str) -> io::Result<Option<Image>> {
    // Masks may follow the header.
    let mut bytes = [0; LONGEST + 12];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes[..4])?;
    let long = |bytes: &[u8], at: usize| {
        bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let short = |bytes: &[u8], at: usize| {
        bytes[at..].first_chunk().map_or(0, |bytes| u32::from(u16::from_le_bytes(*bytes)))
    };
    let size = long(&bytes, 0);
    if !is_header(size) {
        return Ok(None);
    }
    let end = size as usize;
    file.read_exact(&mut bytes[4..end])?;
    if size == 12 {
        let is_known = matches!(short(&bytes, 10), 1 | 4 | 8 | 16 | 24 | 32);
        let (width, height) = (short(&bytes, 4), short(&bytes, 6));
        return Ok(is_known.then_some(Image { width, height, format }));
    }
    let (bits, compression) = (short(&bytes, 14), long(&bytes, 16));
    let colors = match long(&bytes, 32) {
        0 => 1_u32.checked_shl(bits).unwrap_or(0),
        colors => colors,
    };
    let is_known = match bits {
        1 | 4 | 8 => (1..=65_536).contains(&colors),
        16 | 24 | 32 => true,
        _ => false,
    };
    let is_packed = match compression {
        NONE => true,
        compression if RUN_LENGTHS.contains(&compression) => true,
        MASKS => {
            // A header of 40 bytes is followed by masks without alpha.
            let is_inside = size >= 52;
            if !is_inside {
                file.read_exact(&mut bytes[end..end + 12])?;
            }
            let from = if is_inside { 40 } else { end };
            let [r, g, b] = [0, 4, 8].map(|mask| long(&bytes, from + mask));
            let a = if size >= 56 { long(&bytes, from + 12) } else { 0 };
            match bits {
                32 => MASKS_OF_32.contains(&[r, g, b, a]),
                24 => MASKS_OF_24 == [r, g, b],
                16 => MASKS_OF_16.contains(&[r, g, b]),
                _ => false,
            }
        }
        _ => false,
    };
    let height = long(&bytes, 8);
    // A negative height: the top row comes first.
    let height = if bytes[11] == 0xff { height.wrapping_neg() } else { height };
    let image = Image { width: long(&bytes, 4), height, format };
    Ok((is_known && is_packed).then_some(image))
}

/// Reads the largest of the cursors in a file: its bitmap is followed by a mask of the same height.
pub fn cursor(file: &mut File) -> io::Result<Option<Image>> {
    let mut head = [0; 6];
    file.rewind()?;
    file.read_exact(&mut head)?;
    let mut largest: Option<[u8; 16]> = None;
    for _ in 0..u16::from_le_bytes([head[4], head[5]]) {
        let mut entry = [0; 16];
        file.read_exact(&mut entry)?;
        if largest.is_none_or(|largest| entry[0] > largest[0] && entry[1] > largest[1]) {
            largest = Some(entry);
        }
    }
    let Some(entry) = largest else { return Ok(None) };
    let at = u32::from_le_bytes([entry[12], entry[13], entry[14], entry[15]]);
    let image = told(file, at.into(), "CUR")?;
    Ok(image.map(|image| Image { height: image.height / 2, ..image }))
}
