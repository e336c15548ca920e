//! JPEG, read as PIL reads it: bytes between segments are skipped, and a file with several images
//! (CIPA DC-007, written by cameras with two lenses and by phones) is an MPO.

use std::io::{self, Read, Seek, SeekFrom};

use super::{File, Image};

/// The most bytes skipped between two segments.
const JUNK: usize = 1 << 12;

/// The tag of an MPO's index with the number of images.
const COUNT: u16 = 0xb001;

/// The most entries of such an index that are read.
const ENTRIES: u16 = 64;

/// The most bytes of a segment that are read.
const LOOKED_AT: usize = 4096;

/// Facts from the segments before the size that distinguish JPEG and MPO.
#[derive(Default)]
struct Kind {
    has_many: bool,
    /// An Ultra HDR image: the second image is a gain map of the first.
    has_gain_map: bool,
}

/// Reads the image, with the size in its first frame. `None` if PIL rejects it.
pub fn told(file: &mut File) -> io::Result<Option<Image>> {
    let mut start = [0; 2];
    file.rewind()?;
    file.read_exact(&mut start)?;
    let mut kind = Kind::default();
    loop {
        let marker = match marker(file)? {
            Some(marker) => marker,
            None => return Ok(None),
        };
        match marker {
            // A frame; excepted are a table (C4), an extension (C8), and conditioning (CC).
            0xc0..=0xcf | 0xde if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let mut frame = [0; 8];
                file.read_exact(&mut frame)?;
                let number = |at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
                let is_known = frame[2] == 8 && matches!(frame[7], 1 | 3 | 4);
                let is_mpo = kind.has_many && !kind.has_gain_map;
                let format = if is_mpo { "MPO" } else { "JPEG" };
                return Ok(is_known.then_some(Image {
                    width: number(5),
                    height: number(3),
                    format,
                }));
            }
            0xda => return Ok(None),
            // Markers without a length.
            0xc8 | 0xd0..=0xd9 | 0xf0..=0xfd => {}
            _ => segment(file, marker, &mut kind)?,
        }
    }
}

/// The next marker: skips other bytes, and any number of 0xFF.
fn marker(file: &mut File) -> io::Result<Option<u8>> {
    let mut byte = [0; 1];
    let mut is_begun = false;
    for _ in 0..JUNK {
        file.read_exact(&mut byte)?;
        match (is_begun, byte[0]) {
            (_, 0xff) => is_begun = true,
            (false, _) | (true, 0) => is_begun = false,
            (true, marker @ 0xc0..) => return Ok(Some(marker)),
            (true, _) => return Ok(None),
        }
    }
    Ok(None)
}

fn segment(file: &mut File, marker: u8, kind: &mut Kind) -> io::Result<()> {
    let mut length = [0; 2];
    file.read_exact(&mut length)?;
    let length = usize::from(u16::from_be_bytes(length)).saturating_sub(2);
    let looked_at = match marker {
        0xe1 | 0xe2 => length.min(LOOKED_AT),
        _ => 0,
    };
    let mut bytes = vec![0; looked_at];
    file.read_exact(&mut bytes)?;
    file.seek(SeekFrom::Current((length - looked_at) as i64))?;
    match marker {
        0xe1 => kind.has_gain_map |= memchr::memmem::find(&bytes, b" hdrgm:Version=\"").is_some(),
        _ => {
            if let Some(index) = bytes.strip_prefix(b"MPF\0") {
                kind.has_many = pictures(index).is_some_and(|count| count > 1);
            }
        }
    }
    Ok(())
}

/// The number of images in an index, which is a TIFF directory.
fn pictures(index: &[u8]) -> Option<u32> {
    let is_little = index.starts_with(b"II*\0");
    if !is_little && !index.starts_with(b"MM\0*") {
        return None;
    }
    let short = |at: usize| {
        let bytes = *index.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = *index.get(at..)?.first_chunk()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let start = usize::try_from(long(4)?).ok()?;
    let entries = short(start)?.min(ENTRIES);
    (0..usize::from(entries)).find_map(|number| {
        let entry = start.checked_add(2 + 12 * number)?;
        (short(entry)? == COUNT).then(|| long(entry + 8)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::looked;
    use super::super::{Answer, FIRST, Image, MORE};

    const FRAME: &[u8] =
        b"\xff\xc0\x00\x11\x08\x00\x07\x00\x05\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01";

    fn segment(marker: u8, bytes: &[u8]) -> Vec<u8> {
        let length = (bytes.len() as u16 + 2).to_be_bytes();
        [&[0xff, marker], &length[..], bytes].concat()
    }

    fn index(count: u32) -> Vec<u8> {
        let entry =
            [&0xb001_u16.to_be_bytes()[..], &[0, 4, 0, 0, 0, 1], &count.to_be_bytes()].concat();
        [b"MPF\0MM\0*\0\0\0\x08\0\x01", &entry[..]].concat()
    }

    fn told(parts: &[&[u8]]) -> Answer {
        looked(&[b"\xff\xd8", &parts.concat()[..], &[0; 40]].concat(), FIRST, MORE).0
    }

    #[test]
    fn a_file_of_many_pictures_is_an_mpo() {
        let image = |format| Answer::Is(Image { width: 5, height: 7, format });
        let xmp = segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version=\"1.0\"/>");
        let (one, two) = (segment(0xe2, &index(1)), segment(0xe2, &index(2)));
        assert_eq!(told(&[&two, FRAME]), image("MPO"));
        assert_eq!(told(&[&one, FRAME]), image("JPEG"));
        assert_eq!(told(&[&xmp, &two, FRAME]), image("JPEG"), "a gain map is no picture");
        assert_eq!(
            told(&[&segment(0xe2, b"MPF\0MM\0*"), FRAME]),
            image("JPEG"),
            "an index cut short"
        );
    }

    #[test]
    fn what_stands_between_segments_is_passed_by() {
        let image = Answer::Is(Image { width: 5, height: 7, format: "JPEG" });
        assert_eq!(told(&[b"\xff\xff\xff", &FRAME[1..]]), image, "0xFF may be repeated");
        assert_eq!(told(&[&segment(0xe0, b"JFIF\0"), b"junk\x01\xff\x00", FRAME]), image);
        assert_eq!(told(&[&[7; 9000], FRAME]), Answer::No, "not for ever");
        assert_eq!(told(&[b"\xff\x02", FRAME]), Answer::No, "no marker");
        assert_eq!(
            told(&[&[b"\xff\xc0\x00\x11\x0c", &FRAME[5..]].concat()]),
            Answer::No,
            "12 bits"
        );
    }
}
