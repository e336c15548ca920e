//! Reads the format, width and height of an image from its first bytes.
//!
//! Pure: the caller brings the bytes. [`look`] answers from the bytes it has, or says where to read
//! on, so a photograph of many megabytes costs a few tens of kilobytes. The results are those of
//! PIL for a file that it can open, in its terms: a rotation that a camera recorded changes
//! nothing, except in a TIFF. The crate `imagesize` reads most formats; its errors and gaps are
//! corrected here.
//!
//! | format | correction |
//! |---|---|
//! | PNG, GIF, PSD, QOI, WEBP | texts that begin like one are rejected |
//! | WEBP | the scaling bits are not part of the size |
//! | AVIF | PIL does not rotate it; its plugin for HEIF does |
//! | ICO | one with a truncated directory is rejected |
//! | PPM, PFM | comments and small images |
//! | JPEG2000 | not supported by the crate |
//! | TIFF | width and height are exchanged if it is rotated by a quarter turn |
//!
//! | file | formats |
//! |---|---|
//! | [`jpeg`] | JPEG and MPO |
//! | [`bitmap`] | BMP, DIB, CUR |
//! | [`rare`] | DDS, TGA, PCX, SGI, XPM, ... |
//!
//! Differences from PIL on Pillow's own test images are listed in `docs/compatibility.md`.

mod bitmap;
mod jpeg;
pub mod pixels;
mod rare;

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use bytes::Bytes;
use imagesize::{Compression, ImageType};

/// Bytes to read first: most headers end within them.
pub const FIRST: u64 = 32 << 10;

/// Bytes to read at the position in [`Answer::Needs`].
pub const MORE: u64 = 64 << 10;

/// Bytes that identify a format, and contain all of a simple header; less than [`FIRST`] and
/// [`MORE`].
const HEAD: usize = 512;

/// The most reads of one look: no header that a program wrote takes more.
const READS: usize = 1 << 14;

/// An image, in the terms of DataChain's `Image`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// PIL's name: `JPEG`.
    pub format: &'static str,
}

/// All values of [`Image::format`]. Checkpoints store indices into this list: append only.
pub const FORMATS: [&str; 33] = [
    "JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "HEIF", "ICO", "PSD", "QOI", "PPM",
    "JPEG2000", "MPO", "DIB", "CUR", "DDS", "BLP", "FTEX", "SGI", "SUN", "MSP", "GBR", "PIXAR",
    "WMF", "FLI", "PCX", "DCX", "XBM", "XPM", "TGA", "ICNS", "PCD",
];

/// The result of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Is(Image),
    /// Not an image, or of an unknown format.
    No,
    /// Bytes from this offset on are needed.
    Needs(u64),
}

/// The known bytes of a file.
#[derive(Clone, Debug)]
pub struct Pieces {
    size: u64,
    known: Vec<(u64, Bytes)>,
}

impl Pieces {
    /// For a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size, known: Vec::new() }
    }

    /// Adds bytes read at the offset `at`.
    pub fn add(&mut self, at: u64, bytes: Bytes) {
        self.known.push((at, bytes));
    }

    /// The number of pieces added.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// `length` bytes at the offset `at`, if known.
    fn get(&self, at: u64, length: usize) -> Option<&[u8]> {
        self.known.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            bytes.get(from..from.checked_add(length)?)
        })
    }
}

/// Examines the known bytes of a file.
pub fn look(pieces: &Pieces) -> Answer {
    let mut file = File { pieces, at: 0, reads: 0, missing: None, hides_turns: false };
    let found = told(&mut file).filter(|image| image.width > 0 && image.height > 0);
    let found = found.filter(|_| file.reads <= READS);
    match (file.missing, found) {
        (Some(at), _) => Answer::Needs(at),
        (None, Some(image)) => Answer::Is(image),
        (None, None) => Answer::No,
    }
}

fn told(file: &mut File) -> Option<Image> {
    let mut head = [0; HEAD];
    let length = file.read(&mut head).ok()?;
    let simple = ppm(&head[..length]).or_else(|| jpeg2000(&head[..length]));
    if simple.is_some() {
        return simple;
    }
    let own = match &head[..length] {
        [0xff, 0xd8, 0xff, ..] => Some(jpeg::told(file)),
        [b'B', b'M', ..] => Some(bitmap::told(file, FILE_HEADER, "BMP")),
        _ => None,
    };
    if let Some(found) = own {
        return found.ok()?;
    }
    by_crate(file, &head).or_else(|| match file.missing {
        None if length >= SHORTEST => rare::told(file, &head[..length]).ok()?,
        _ => None,
    })
}

/// The bytes before the header of a BMP.
const FILE_HEADER: u64 = 14;

/// The shortest file in one of the [`rare`] formats, in bytes.
const SHORTEST: usize = 18;

/// The result of `imagesize`, corrected.
fn by_crate(file: &mut File, head: &[u8; HEAD]) -> Option<Image> {
    file.rewind().ok()?;
    let kind = imagesize::reader_type(&mut *file).ok()?;
    let format = format(kind, head, file.size())?;
    file.hides_turns = format == "AVIF";
    let size = kind.reader_size(&mut *file).ok()?;
    let (width, height) =
        mended(format, head, size.width.try_into().ok()?, size.height.try_into().ok()?);
    let is_turned = format == "TIFF" && is_turned_tiff(file).unwrap_or(false);
    let (width, height) = if is_turned { (height, width) } else { (width, height) };
    Some(Image { width, height, format })
}

/// The tag of a TIFF for its orientation, and the values that exchange width and height.
const ORIENTATION: u64 = 274;
const TURNED: std::ops::RangeInclusive<u64> = 5..=8;

/// The most entries of a TIFF's first directory that are read.
const MOST_ENTRIES: u64 = 4096;

/// Whether PIL rotates a TIFF by a quarter turn: it does so since release 12, only for TIFFs.
fn is_turned_tiff(file: &mut File) -> io::Result<bool> {
    let mut head = [0; 16];
    file.rewind()?;
    file.read_exact(&mut head)?;
    let is_little = head[0] == b'I';
    let number = |bytes: &[u8]| {
        let digit = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if is_little { bytes.iter().rev().fold(0, digit) } else { bytes.iter().fold(0, digit) }
    };
    // BigTIFF has wider numbers.
    let is_big = number(&head[2..4]) == 43;
    let (start, counted, entry, value) = match is_big {
        true => (number(&head[8..16]), 8, 20, 12),
        false => (number(&head[4..8]), 2, 12, 8),
    };
    let mut bytes = [0; 20];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes[..counted])?;
    for _ in 0..number(&bytes[..counted]).min(MOST_ENTRIES) {
        file.read_exact(&mut bytes[..entry])?;
        let tag = number(&bytes[..2]);
        if tag >= ORIENTATION {
            let value = number(&bytes[value..][..2]);
            return Ok(tag == ORIENTATION && TURNED.contains(&value));
        }
    }
    Ok(false)
}

/// PIL's name, unless the file only begins like one.
fn format(kind: ImageType, head: &[u8; HEAD], size: u64) -> Option<&'static str> {
    Some(match kind {
        ImageType::Gif if matches!(&head[..6], b"GIF87a" | b"GIF89a") => "GIF",
        ImageType::Heif(Compression::Av1) => "AVIF",
        ImageType::Heif(Compression::Hevc) => "HEIF",
        ImageType::Ico if 6 + 16 * u64::from(u16::from_le_bytes([head[4], head[5]])) <= size => {
            "ICO"
        }
        ImageType::Png if head[4..16] == *b"\r\n\x1a\n\0\0\0\x0dIHDR" => "PNG",
        ImageType::Psd if head[4..6] == [0, 1] => "PSD",
        ImageType::Qoi if matches!(head[12..14], [3 | 4, 0 | 1]) => "QOI",
        ImageType::Tiff => "TIFF",
        ImageType::Webp if is_webp(head) => "WEBP",
        _ => return None,
    })
}

fn is_webp(head: &[u8; HEAD]) -> bool {
    match &head[12..16] {
        b"VP8 " => head[23..26] == *b"\x9d\x01\x2a",
        b"VP8L" => head[20] == 0x2f,
        kind => kind == b"VP8X",
    }
}

/// Width and height, corrected where `imagesize` is wrong.
fn mended(format: &str, head: &[u8; HEAD], width: u32, height: u32) -> (u32, u32) {
    match format {
        "WEBP" if head[15] == b' ' => (width & 0x3fff, height & 0x3fff),
        _ => (width, height),
    }
}

/// PBM, PGM and PPM, in text and binary form, and PFM with one channel: PIL calls all of them PPM.
fn ppm(head: &[u8]) -> Option<Image> {
    let [b'P', kind @ (b'1'..=b'6' | b'f'), rest @ ..] = head else { return None };
    rest.first().filter(|byte| byte.is_ascii_whitespace())?;
    // A word without a space after it is truncated.
    let rest = &rest[..rest.iter().rposition(u8::is_ascii_whitespace)?];
    let lines = rest.split(|byte| matches!(byte, b'\n' | b'\r'));
    let said = lines.filter_map(|line| line.split(|byte| *byte == b'#').next());
    let words = said.flat_map(|line| line.split(u8::is_ascii_whitespace)).filter(|w| !w.is_empty());
    let mut words = words.filter_map(|word| std::str::from_utf8(word).ok());
    let (width, height) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    match kind {
        b'1' | b'4' => {}
        // The scale of values.
        b'f' => drop(words.next()?.parse::<f64>().ok().filter(|scale| scale.is_normal())?),
        _ => drop(words.next()?.parse::<u32>().ok()?),
    }
    Some(Image { width, height, format: "PPM" })
}

/// A bare codestream, or one in boxes: a signature, the file type, and a header that begins with
/// the size (ISO 15444-1, I.5).
fn jpeg2000(head: &[u8]) -> Option<Image> {
    let number = |at| Some(u32::from_be_bytes(*head.get(at..)?.first_chunk()?));
    let side = |at| number(at)?.checked_sub(number(at + 8)?);
    let (width, height) = if head.starts_with(b"\xff\x4f\xff\x51") {
        (side(8)?, side(12)?)
    } else if head.starts_with(b"\0\0\0\x0cjP  \r\n\x87\n") {
        // Boxes with the features that a reader needs may precede the header.
        let mut at = usize::try_from(number(12)?).ok()?.checked_add(12)?;
        while head.get(at + 4..at + 8)? != b"jp2h" {
            at =
                usize::try_from(number(at)?).ok().filter(|length| *length >= 8)?.checked_add(at)?;
        }
        let header = head.get(at..)?.get(..16)?;
        let is_one = header[4..8] == *b"jp2h" && header[12..16] == *b"ihdr";
        is_one.then_some((number(at + 20)?, number(at + 16)?))?
    } else {
        return None;
    };
    Some(Image { width, height, format: "JPEG2000" })
}

/// A file of which only some bytes are known.
struct File<'p> {
    pieces: &'p Pieces,
    at: u64,
    reads: usize,
    /// The first offset at which unknown bytes were requested.
    missing: Option<u64>,
    /// Whether to hide the rotation of the image from the reader.
    hides_turns: bool,
}

impl File<'_> {
    /// The size of the whole file in bytes.
    fn size(&self) -> u64 {
        self.pieces.size
    }
}

impl Read for File<'_> {
    /// Reads exactly the requested bytes, except at the end of the file: `imagesize` takes fewer
    /// bytes for the end.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads > READS {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let left = usize::try_from(self.pieces.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = into.len().min(left);
        if length == 0 {
            return Ok(0);
        }
        let Some(known) = self.pieces.get(self.at, length) else {
            self.missing.get_or_insert(self.at);
            return Err(io::ErrorKind::WouldBlock.into());
        };
        into[..length].copy_from_slice(if self.hides_turns && known == b"irot" {
            b"free"
        } else {
            known
        });
        self.at += length as u64;
        Ok(length)
    }
}

/// Required by `imagesize` but not used.
impl BufRead for File<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn consume(&mut self, _: usize) {}
}

impl Seek for File<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.pieces.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// Examines `file`, of which `first` bytes are known, and counts the requests.
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
                    assert!(at < size && pieces.count() < 256, "without end");
                    pieces.add(at, part(at, more));
                }
                answer => return (answer, pieces.count()),
            }
        }
    }

    fn image(width: u32, height: u32, format: &'static str) -> Answer {
        Answer::Is(Image { width, height, format })
    }

    /// A TIFF of 30 by 20 pixels, in the classic or the big format.
    fn tiff(is_big: bool, orientation: u16) -> Vec<u8> {
        let mut file = b"II".to_vec();
        match is_big {
            true => {
                file.extend([43, 0, 8, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
            }
            false => file.extend([42, 0, 8, 0, 0, 0, 3, 0]),
        }
        for (tag, value) in [(256_u16, 30_u16), (257, 20), (274, orientation)] {
            file.extend([tag.to_le_bytes(), 3_u16.to_le_bytes()].concat());
            let width = if is_big { 8 } else { 4 };
            file.extend([&[1][..], &vec![0; width - 1]].concat());
            file.extend([&value.to_le_bytes()[..], &vec![0; width - 2]].concat());
        }
        file.extend([0; 32]);
        file
    }

    #[test]
    fn a_tiff_is_turned_as_it_says() {
        for (is_big, orientation, want) in [
            (false, 1, image(30, 20, "TIFF")),
            (false, 3, image(30, 20, "TIFF")),
            (false, 6, image(20, 30, "TIFF")),
            (false, 9, image(30, 20, "TIFF")),
            (true, 1, image(30, 20, "TIFF")),
            (true, 8, image(20, 30, "TIFF")),
        ] {
            let found = looked(&tiff(is_big, orientation), FIRST, MORE).0;
            assert_eq!(found, want, "{is_big} {orientation}");
        }
    }

    #[test]
    fn boxes_may_stand_before_the_header_of_a_jpeg_2000() {
        let header = boxed(b"jp2h", &boxed(b"ihdr", &[0, 0, 0, 20, 0, 0, 0, 30, 0, 3, 7, 7, 0, 0]));
        let mark = b"\0\0\0\x0cjP  \r\n\x87\n".to_vec();
        let kind = boxed(b"ftyp", b"jp2 \0\0\0\0jp2 ");
        let other = boxed(b"rreq", &[1, 128, 128, 0, 0]);
        for file in
            [[&mark[..], &kind, &header].concat(), [&mark[..], &kind, &other, &header].concat()]
        {
            assert_eq!(looked(&file, FIRST, MORE).0, image(30, 20, "JPEG2000"));
        }
        let endless = [&mark[..], &kind, &[0; 600]].concat();
        assert_eq!(looked(&endless, FIRST, MORE).0, Answer::No);
    }

    fn jpeg(segment: usize) -> Vec<u8> {
        let mut file = b"\xff\xd8".to_vec();
        for _ in 0..3 {
            file.extend([0xff, 0xe1]);
            file.extend((segment as u16 + 2).to_be_bytes());
            file.extend(vec![7; segment]);
        }
        file.extend(b"\xff\xc2\x00\x11\x08\x01\x02\x03\x04\x03");
        file.extend([0; 40]);
        file
    }

    fn boxed(name: &[u8], inside: &[u8]) -> Vec<u8> {
        [&(inside.len() as u32 + 8).to_be_bytes(), name, inside].concat()
    }

    /// An image of 5 by 6 pixels to be rotated by a quarter turn.
    fn heif(brand: &[u8]) -> Vec<u8> {
        let ispe = boxed(b"ispe", b"\0\0\0\0\0\0\0\x05\0\0\0\x06");
        let ipco =
            boxed(b"ipco", &[ispe, boxed(b"irot", b"\x01"), boxed(b"free", &[0; 40])].concat());
        let meta = boxed(b"meta", &[vec![0; 4], boxed(b"iprp", &ipco)].concat());
        [boxed(b"ftyp", &[brand, b"\0\0\0\0mif1"].concat()), meta, boxed(b"mdat", &[0; 99])]
            .concat()
    }

    #[test]
    fn headers_are_read() {
        let bmp = |size: u32, rest: &[u8]| {
            [b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0", &size.to_le_bytes()[..], rest, &[0; 60]].concat()
        };
        let cases: &[(&str, Vec<u8>, Answer)] = &[
            ("png", [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\0\0\0\0\x07", &[0; 9][..]].concat(), image(256, 7, "PNG")),
            ("gif", b"GIF89a\x05\0\x06\0\0\0\0".to_vec(), image(5, 6, "GIF")),
            ("bmp", bmp(40, &[4, 0, 0, 0, 5, 0, 0, 0, 1, 0, 24, 0]), image(4, 5, "BMP")),
            ("bmp, top first", bmp(40, &[4, 0, 0, 0, 0xfb, 0xff, 0xff, 0xff, 1, 0, 8, 0]), image(4, 5, "BMP")),
            ("bmp of OS/2", bmp(12, &[4, 0, 5, 0, 1, 0, 24, 0]), image(4, 5, "BMP")),
            ("a car", b"BMW is a car, and this text goes on for a while. It is no image.".to_vec(), Answer::No),
            ("jpeg", jpeg(10), image(0x304, 0x102, "JPEG")),
            ("webp", b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x05\x40\x06\x80".to_vec(), image(5, 6, "WEBP")),
            ("webp, extended", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x04\0\0\x05\0\0".to_vec(), image(5, 6, "WEBP")),
            ("webp, lossless", b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x04\x40\x01\0".to_vec(), image(5, 6, "WEBP")),
            ("sound", b"RIFF\0\0\0\0WAVEfmt xxxxxxxxxxx".to_vec(), Answer::No),
            ("tiff", b"II*\0\x08\0\0\0\x02\0\0\x01\x03\0\x01\0\0\0\x05\0\0\0\x01\x01\x04\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec(), image(5, 6, "TIFF")),
            ("tiff, big end", b"MM\0*\0\0\0\x08\0\x02\x01\0\0\x03\0\0\0\x01\0\x05\0\0\x01\x01\0\x04\0\0\0\x01\0\0\0\x06\0\0\0\0".to_vec(), image(5, 6, "TIFF")),
            ("ico", b"\0\0\x01\0\x02\0\x10\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(), image(256, 256, "ICO")),
            ("ico, cut", b"\0\0\x01\0\x02\0\x10\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(), Answer::No),
            ("ico, high", b"\0\0\x01\0\x02\0\x0a\xc8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x32\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(), image(10, 200, "ICO")),
            ("ppm", b"P6\n# a word\n5 6\n255\n".to_vec(), image(5, 6, "PPM")),
            ("ppm with a word", b"P3\n#word\n5 # width\n6\n255\n1 2 3\n".to_vec(), image(5, 6, "PPM")),
            ("ppm, cut", b"P6 5 64".to_vec(), Answer::No),
            ("ppm of one pixel", b"P4\n1 1\n\0".to_vec(), image(1, 1, "PPM")),
            ("a class of roads", b"P5 3 4 roads of it".to_vec(), Answer::No),
            ("a paper size", b"P4 or P5, whichever".to_vec(), Answer::No),
            ("a mark", b"qoif is a mark".to_vec(), Answer::No),
            ("jpeg 2000", b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \0\0\0\x2djp2h\0\0\0\x16ihdr\0\0\0\x06\0\0\0\x05".to_vec(), image(5, 6, "JPEG2000")),
            ("jpeg 2000, bare", b"\xff\x4f\xff\x51\0\x2f\0\0\0\0\0\x07\0\0\0\x09\0\0\0\x02\0\0\0\x03".to_vec(), image(5, 6, "JPEG2000")),
            ("avif, turned", heif(b"avif"), image(5, 6, "AVIF")),
            ("heif, turned", heif(b"heic"), image(6, 5, "HEIF")),
            ("a film", heif(b"mp42"), Answer::No),
            ("qoi", b"qoif\0\0\0\x05\0\0\0\x06\x04\0".to_vec(), image(5, 6, "QOI")),
            ("psd", b"8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x06\0\0\0\x05\0\x08\0\x03".to_vec(), image(5, 6, "PSD")),
            ("nothing", Vec::new(), Answer::No),
            ("no pixels", b"GIF89a\0\0\x06\0\0\0\0".to_vec(), Answer::No),
        ];
        for (name, file, want) in cases {
            assert_eq!(looked(file, FIRST, MORE).0, *want, "{name}");
            assert_eq!(looked(file, 1, HEAD as u64).0, *want, "{name}, in small pieces");
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
        for end in 0..323 {
            assert_eq!(looked(&file[..end], FIRST, MORE).0, Answer::No, "{end}");
        }
    }

    #[test]
    fn headers_without_end_are_left() {
        let entries = [&b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10"[..], &[0x7f; 8]].concat();
        let cases = [(entries, vec![0, 9, 0, 4]), (b"\xff\xd8".to_vec(), vec![0xff, 0xe0, 0, 2])];
        for (start, rest) in cases {
            let rest = if rest[0] == 0 { [rest, vec![0; 16]].concat() } else { rest };
            let file = [start, rest.repeat(1 << 18)].concat();
            let (answer, pieces) = looked(&file, FIRST, MORE);
            assert!(answer == Answer::No && pieces < 4, "{answer:?} {pieces}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(start in 0..14_usize, rest in prop::collection::vec(any::<u8>(), 0..3000)) {
            let starts: [&[u8]; 14] = [
                b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFFxxxxWEBPVP8X", b"II*\0", b"MM\0+\0\x08\0\0",
                b"\0\0\x01\0", b"P6 ", b"8BPS\0\x01", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51",
                b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", b"\0\0\0\x10ftypheic\0\0\0\0\0\0\x01\0meta\0\0\0\0",
            ];
            let file = [starts[start], &rest[..]].concat();
            let (answer, _) = looked(&file, 16, HEAD as u64);
            prop_assert_eq!(answer, looked(&file, FIRST, MORE).0);
        }
    }
}
