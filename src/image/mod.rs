//! What a picture says of itself in its first bytes: its format, its width and height.
//!
//! Pure: whoever asks brings the bytes. [`look`] answers from what is there, or says where it has to read on, so a
//! photograph of many megabytes costs a few tens of kilobytes. What is told is what PIL tells of a file that it can open,
//! in its words; a rotation that a camera noted changes nothing. A file that is cut or damaged within what is looked at
//! is no picture, and neither is a text that begins like one: `BM`, `GIF8` or `P1` alone prove nothing, which is why this is
//! not the crate `imagesize`.
//!
//! | file | formats |
//! |---|---|
//! | `common` | JPEG, PNG, GIF, BMP, WEBP, TIFF |
//! | `rare` | ICO, PPM, PSD, QOI, JPEG2000, AVIF and HEIF |

mod common;
mod rare;

use bytes::Bytes;

/// Bytes that are worth reading at first: most headers end in them.
pub const FIRST: u64 = 32 << 10;

/// Bytes that are worth reading where [`Answer::Needs`] says.
pub const MORE: u64 = 64 << 10;

/// What one look needs in one piece, at most.
const LONGEST: usize = 4096;

/// A picture, as DataChain's `Image` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// As PIL calls it: `JPEG`.
    pub format: &'static str,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Is(Image),
    /// No picture, or none that is known.
    No,
    /// Bytes from here on are needed.
    Needs(u64),
}

/// Why a look ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    Needs(u64),
}

/// What every reader of a format returns.
type Found<T = Image> = Result<T, Stop>;

/// The bytes of a file that are known.
#[derive(Clone, Debug)]
pub struct Pieces {
    size: u64,
    known: Vec<(u64, Bytes)>,
}

impl Pieces {
    /// Of a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size, known: Vec::new() }
    }

    /// Adds what was read from `at` on.
    pub fn add(&mut self, at: u64, bytes: Bytes) {
        self.known.push((at, bytes));
    }

    /// How many were added.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// `length` bytes from `at` on.
    fn get(&self, at: u64, length: usize) -> Found<&[u8]> {
        let end = at.checked_add(length as u64).filter(|end| *end <= self.size);
        if end.is_none() || length > LONGEST {
            return Err(Stop::No);
        }
        let inside = |(start, bytes): &(u64, Bytes)| -> Option<std::ops::Range<usize>> {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            let range = from..from.checked_add(length)?;
            (range.end <= bytes.len()).then_some(range)
        };
        let found = self.known.iter().find_map(|piece| Some(&piece.1[inside(piece)?]));
        found.ok_or(Stop::Needs(at))
    }

    fn array<const N: usize>(&self, at: u64) -> Found<[u8; N]> {
        self.get(at, N)?.try_into().map_err(|_| Stop::No)
    }

    /// A whole number of the big end first.
    fn be16(&self, at: u64) -> Found<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn be32(&self, at: u64) -> Found<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    /// A whole number of the little end first.
    fn le16(&self, at: u64) -> Found<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn le32(&self, at: u64) -> Found<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Whether `mark` stands at `at`; a file that is too short has none.
    fn has(&self, at: u64, mark: &[u8]) -> Found<bool> {
        match self.get(at, mark.len()) {
            Err(Stop::No) => Ok(false),
            found => Ok(found? == mark),
        }
    }
}

/// Looks at what is known of a file.
pub fn look(pieces: &Pieces) -> Answer {
    match readers(pieces) {
        Ok(image) if image.width > 0 && image.height > 0 => Answer::Is(image),
        Ok(_) | Err(Stop::No) => Answer::No,
        Err(Stop::Needs(at)) => Answer::Needs(at),
    }
}

/// A format: how it begins, and how it is read.
type Reader = (fn(&Pieces) -> Found<bool>, fn(&Pieces) -> Found);

fn readers(pieces: &Pieces) -> Found {
    let all: [Reader; 12] = [
        (|p| p.has(0, b"\xff\xd8\xff"), common::jpeg),
        (|p| p.has(0, b"\x89PNG\r\n\x1a\n"), common::png),
        (|p| Ok(p.has(0, b"GIF87a")? || p.has(0, b"GIF89a")?), common::gif),
        (|p| p.has(0, b"BM"), common::bmp),
        (|p| Ok(p.has(0, b"RIFF")? && p.has(8, b"WEBP")?), common::webp),
        (common::is_tiff, common::tiff),
        (|p| p.has(0, &[0, 0, 1, 0]), rare::ico),
        (|p| p.has(0, b"P"), rare::ppm),
        (|p| p.has(0, b"8BPS\0\x01"), rare::psd),
        (|p| p.has(0, b"qoif"), rare::qoi),
        (rare::is_jpeg2000, rare::jpeg2000),
        (|p| p.has(4, b"ftyp"), rare::heif),
    ];
    for (is_one, read) in all {
        if is_one(pieces)? {
            return read(pieces);
        }
    }
    Err(Stop::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// A look at `file`, `first` bytes of which are known, with the requests it took.
    pub fn looked(file: &[u8], first: u64, more: u64) -> (Answer, usize) {
        let size = file.len() as u64;
        let mut pieces = Pieces::new(size);
        let part = |at: u64, length: u64| {
            let end = (at + length).min(size);
            Bytes::copy_from_slice(&file[at as usize..end as usize])
        };
        pieces.add(0, part(0, first));
        loop {
            match look(&pieces) {
                Answer::Needs(at) => {
                    assert!(at < size, "past the end");
                    pieces.add(at, part(at, more));
                }
                answer => return (answer, pieces.count()),
            }
        }
    }

    fn image(width: u32, height: u32, format: &'static str) -> Answer {
        Answer::Is(Image { width, height, format })
    }

    fn jpeg(segment: usize) -> Vec<u8> {
        let mut file = b"\xff\xd8".to_vec();
        for _ in 0..3 {
            file.extend([0xff, 0xe1]);
            file.extend((segment as u16 + 2).to_be_bytes());
            file.extend(vec![7; segment]);
        }
        file.extend(b"\xff\xff\xc2\x00\x11\x08\x01\x02\x03\x04\x03");
        file.extend([0; 40]);
        file
    }

    #[test]
    fn headers_are_read() {
        let bmp = |size: u32, rest: &[u8]| {
            [b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0", &size.to_le_bytes()[..], rest, &[0; 60]].concat()
        };
        let cases: &[(&str, Vec<u8>, Answer)] = &[
            ("png", [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\0\0\0\0\x07", &[0; 9][..]].concat(), image(256, 7, "PNG")),
            ("gif", b"GIF89a\x05\0\x06\0\0\0\0".to_vec(), image(5, 6, "GIF")),
            ("bmp", bmp(40, &[4, 0, 0, 0, 5, 0, 0, 0]), image(4, 5, "BMP")),
            ("bmp, top first", bmp(40, &[4, 0, 0, 0, 0xfb, 0xff, 0xff, 0xff]), image(4, 5, "BMP")),
            ("bmp of OS/2", bmp(12, &[4, 0, 5, 0]), image(4, 5, "BMP")),
            ("a car", b"BMW is a car, and this text goes on for a while. It is no image.".to_vec(), Answer::No),
            ("jpeg", jpeg(10), image(0x304, 0x102, "JPEG")),
            ("webp", b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x05\x40\x06\x80".to_vec(), image(5, 6, "WEBP")),
            ("webp, extended", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x04\0\0\x05\0\0".to_vec(), image(5, 6, "WEBP")),
            ("webp, lossless", b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x04\x40\x01\0".to_vec(), image(5, 6, "WEBP")),
            ("sound", b"RIFF\0\0\0\0WAVEfmt xxxxxxxxxxx".to_vec(), Answer::No),
            ("tiff", b"II*\0\x08\0\0\0\x02\0\0\x01\x03\0\x01\0\0\0\x05\0\0\0\x01\x01\x04\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec(), image(5, 6, "TIFF")),
            ("tiff, big end", b"MM\0*\0\0\0\x08\0\x02\x01\0\0\x03\0\0\0\x01\0\x05\0\0\x01\x01\0\x04\0\0\0\x01\0\0\0\x06\0\0\0\0".to_vec(), image(5, 6, "TIFF")),
            ("ico", b"\0\0\x01\0\x02\0\x10\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(), image(256, 256, "ICO")),
            ("ppm", b"P6\n# a word\n5 6\n255\n".to_vec(), image(5, 6, "PPM")),
            ("a paper size", b"P4 or P5, whichever".to_vec(), Answer::No),
            ("qoi", b"qoif\0\0\0\x05\0\0\0\x06\x04\0".to_vec(), image(5, 6, "QOI")),
            ("psd", b"8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x06\0\0\0\x05\0\x08\0\x03".to_vec(), image(5, 6, "PSD")),
            ("nothing", Vec::new(), Answer::No),
            ("no pixels", b"GIF89a\0\0\x06\0\0\0\0".to_vec(), Answer::No),
        ];
        for (name, file, want) in cases {
            assert_eq!(looked(file, FIRST, MORE).0, *want, "{name}");
            assert_eq!(looked(file, 1, 64).0, *want, "{name}, in small pieces");
        }
    }

    #[test]
    fn what_lies_before_the_size_is_passed_by() {
        let file = jpeg(60_000);
        assert_eq!(looked(&file, FIRST, MORE), (image(0x304, 0x102, "JPEG"), 3));
    }

    #[test]
    fn a_file_that_is_cut_is_no_picture() {
        let file = jpeg(100);
        for end in 0..324 {
            assert_eq!(looked(&file[..end], FIRST, MORE).0, Answer::No, "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(start in 0..14_usize, rest in prop::collection::vec(any::<u8>(), 0..600)) {
            let starts: [&[u8]; 14] = [
                b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFFxxxxWEBPVP8X", b"II*\0", b"MM\0+\0\x08\0\0",
                b"\0\0\x01\0", b"P6 ", b"8BPS\0\x01", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51",
                b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", b"\0\0\0\x10ftypheic\0\0\0\0\0\0\x01\0meta\0\0\0\0",
            ];
            let file = [starts[start], &rest[..]].concat();
            let (answer, _) = looked(&file, 16, 64);
            prop_assert_eq!(answer, looked(&file, FIRST, MORE).0);
        }
    }
}
