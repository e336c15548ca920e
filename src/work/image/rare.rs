//! Formats of games, workstations and old programs, recognised by their first bytes as PIL does.
//!
//! TGA has no magic number: a file is one if its header is plausible, and is tested last.

use std::io::{self, Read, Seek, SeekFrom};

use super::{File, Image, bitmap};

/// The most blocks of an ICNS that are read.
const BLOCKS: usize = 256;

/// The icons of an ICNS: the names of their blocks, and their sides in pixels, largest first.
const ICONS: [(&[&[u8; 4]], u32); 13] = [
    (&[b"ic10"], 1024),
    (&[b"ic09"], 512),
    (&[b"ic14"], 512),
    (&[b"ic08"], 256),
    (&[b"ic13"], 256),
    (&[b"ic07", b"it32", b"t8mk"], 128),
    (&[b"icp6"], 64),
    (&[b"ih32", b"h8mk"], 48),
    (&[b"ic12"], 64),
    (&[b"icp5", b"il32", b"l8mk"], 32),
    (&[b"ic11"], 32),
    (&[b"icp4", b"is32", b"s8mk"], 16),
    (&[], 0),
];

/// The offsets of the magic number of a Photo CD, and of its orientation after it.
const PHOTO_CD: u64 = 2048;
const LIES: u64 = 1538;

/// Recognises a file by its first bytes, `head`; reads on if these are not enough.
pub fn told(file: &mut File, head: &[u8]) -> io::Result<Option<Image>> {
    let found = by_mark(head);
    if found.is_some() {
        return Ok(found);
    }
    if head.starts_with(b"\0\0\x02\0")
        && let Some(found) = bitmap::cursor(file)?
    {
        return Ok(Some(found));
    }
    if le32(head, 0).is_some_and(bitmap::is_header)
        && let Some(found) = bitmap::told(file, 0, "DIB")?
    {
        return Ok(Some(found));
    }
    if head.starts_with(b"icns") {
        return icons(file);
    }
    // The magic number of a DCX: pages of PCX, at the listed offsets.
    if let (Some(0x3ade_68b1), Some(at)) = (le32(head, 0), le32(head, 4)) {
        let mut page = [0; 68];
        file.seek(SeekFrom::Start(at.into()))?;
        file.read_exact(&mut page)?;
        return Ok(pcx(&page).map(|image| Image { format: "DCX", ..image }));
    }
    if file.size() > PHOTO_CD + LIES && tga(head).is_none() {
        return photo_cd(file);
    }
    Ok(tga(head))
}

type Format = fn(&[u8]) -> Option<Image>;

fn by_mark(head: &[u8]) -> Option<Image> {
    let formats: [Format; 13] =
        [dds, blp, ftex, sgi, sun, msp, gimp_brush, pixar, metafile, fli, pcx, xbm, xpm];
    formats.iter().find_map(|format| format(head))
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Turns a condition into an `Option`, for `?`.
fn only(wanted: bool) -> Option<()> {
    wanted.then_some(())
}

/// DirectX textures.
fn dds(head: &[u8]) -> Option<Image> {
    only(head.starts_with(b"DDS ") && le32(head, 4)? == 124 && head.len() >= 128)?;
    Some(Image { width: le32(head, 16)?, height: le32(head, 12)?, format: "DDS" })
}

/// Textures of Blizzard's games.
fn blp(head: &[u8]) -> Option<Image> {
    only(head.starts_with(b"BLP1") || head.starts_with(b"BLP2"))?;
    Some(Image { width: le32(head, 12)?, height: le32(head, 16)?, format: "BLP" })
}

/// Textures of Independence War 2, in the only format that PIL supports.
fn ftex(head: &[u8]) -> Option<Image> {
    only(head.starts_with(b"FTEX") && le32(head, 20)? == 1 && le32(head, 24)? < 2)?;
    Some(Image { width: le32(head, 8)?, height: le32(head, 12)?, format: "FTEX" })
}

/// Silicon Graphics: valid combinations of bytes per value, dimensions and channels.
fn sgi(head: &[u8]) -> Option<Image> {
    only(head.starts_with(&[0x01, 0xda]))?;
    let (bytes, dimensions, channels) = (*head.get(3)?, be16(head, 4)?, be16(head, 10)?);
    only(matches!((bytes, dimensions, channels), (1 | 2, 1 | 2, 1) | (1 | 2, 3, 3 | 4)))?;
    Some(Image { width: be16(head, 6)?, height: be16(head, 8)?, format: "SGI" })
}

/// Sun raster files.
fn sun(head: &[u8]) -> Option<Image> {
    only(head.starts_with(b"\x59\xa6\x6a\x95"))?;
    only(matches!(be32(head, 12)?, 1 | 4 | 8 | 24 | 32))?;
    let (kind, length) = (be32(head, 24)?, be32(head, 28)?);
    only(length == 0 || length <= 1024 && kind == 1)?;
    Some(Image { width: be32(head, 4)?, height: be32(head, 8)?, format: "SUN" })
}

/// Microsoft Paint of Windows 1 and 2; the XOR of the header's words is zero.
fn msp(head: &[u8]) -> Option<Image> {
    only(head.starts_with(b"DanM") || head.starts_with(b"LinS"))?;
    let sum = (0..32).step_by(2).try_fold(0, |sum, at| Some(sum ^ le16(head, at)?))?;
    only(sum == 0)?;
    Some(Image { width: le16(head, 4)?, height: le16(head, 6)?, format: "MSP" })
}

fn gimp_brush(head: &[u8]) -> Option<Image> {
    let (length, version) = (be32(head, 0)?, be32(head, 4)?);
    only(length >= 20 && matches!(version, 1 | 2) && matches!(be32(head, 16)?, 1 | 4))?;
    only(version == 1 || head.get(20..24)? == b"GIMP")?;
    Some(Image { width: be32(head, 8)?, height: be32(head, 12)?, format: "GBR" })
}

fn pixar(head: &[u8]) -> Option<Image> {
    only(head.starts_with(b"\x80\xe8\0\0"))?;
    Some(Image { width: le16(head, 418)?, height: le16(head, 416)?, format: "PIXAR" })
}

/// Windows metafiles: placeable ones, at 72 dots per inch, and enhanced ones.
fn metafile(head: &[u8]) -> Option<Image> {
    let size = |from: i64, to: i64| u32::try_from(to - from).ok();
    if head.starts_with(b"\xd7\xcd\xc6\x9a\0\0") {
        let short = |at| Some(i64::from(le16(head, at)? as u16 as i16));
        let inch = i64::from(le16(head, 14)?);
        only(inch > 0 && head.get(22..26)? == b"\x01\0\t\0")?;
        let scaled = |from: i64, to: i64| size(0, ((to - from) * 72).div_euclid(inch));
        let (width, height) = (scaled(short(6)?, short(10)?)?, scaled(short(8)?, short(12)?)?);
        return Some(Image { width, height, format: "WMF" });
    }
    only(head.starts_with(b"\x01\0\0\0") && head.get(40..44)? == b" EMF")?;
    let long = |at| Some(i64::from(le32(head, at)?.cast_signed()));
    let (width, height) = (size(long(8)?, long(16)?)?, size(long(12)?, long(20)?)?);
    Some(Image { width, height, format: "WMF" })
}

/// Autodesk animations; unused fields of the header are zero.
fn fli(head: &[u8]) -> Option<Image> {
    only(matches!(le16(head, 4)?, 0xaf11 | 0xaf12) && matches!(le16(head, 14)?, 0 | 3))?;
    let is_free =
        |from: usize, to: usize| head.get(from..to).is_some_and(|b| b.iter().all(|b| *b == 0));
    only(is_free(20, 22) && is_free(42, 80) && is_free(88, 128))?;
    Some(Image { width: le16(head, 8)?, height: le16(head, 10)?, format: "FLI" })
}

/// PC Paintbrush: valid combinations of version, bits and planes.
fn pcx(head: &[u8]) -> Option<Image> {
    only(*head.first()? == 10 && matches!(head.get(1)?, 0 | 2 | 3 | 5))?;
    let (version, bits, planes) = (*head.get(1)?, *head.get(3)?, *head.get(65)?);
    only(matches!((version, bits, planes), (_, 1, 1 | 2 | 4) | (5, 8, 1 | 3)))?;
    let width = (le16(head, 8)? + 1).checked_sub(le16(head, 4)?)?;
    let height = (le16(head, 10)? + 1).checked_sub(le16(head, 6)?)?;
    Some(Image { width, height, format: "PCX" })
}

/// Bitmaps as C source: `#define hopper_width 128`.
fn xbm(head: &[u8]) -> Option<Image> {
    let text = String::from_utf8_lossy(head);
    only(["#define", "\n#define", "/*"].iter().any(|start| text.starts_with(start)))?;
    let (mut width, mut height, mut has_bits) = (None, None, false);
    let mut is_comment = false;
    for line in text.lines().map(str::trim_end) {
        if is_comment || line.starts_with("/*") {
            is_comment = !line.ends_with("*/");
            continue;
        }
        let Some(defined) = line.strip_prefix("#define ") else {
            has_bits |= line.ends_with("_bits[] = {");
            if line.is_empty() { continue } else { break }
        };
        let value = || defined.split_whitespace().last()?.parse::<u32>().ok();
        match () {
            () if defined.contains("width ") => width = value(),
            () if defined.contains("height ") => height = value(),
            () => {}
        }
    }
    only(has_bits)?;
    Some(Image { width: width?, height: height?, format: "XBM" })
}

/// Pixmaps as C source: the first string consists of four numbers.
fn xpm(head: &[u8]) -> Option<Image> {
    only(head.starts_with(b"/* XPM */"))?;
    let text = String::from_utf8_lossy(head);
    text.lines().find_map(|line| {
        let numbers = line.strip_prefix('"')?.split(['"', ' ']);
        let numbers: Vec<u32> = numbers.map_while(|number| number.parse().ok()).collect();
        let [width, height, _, _] = numbers[..] else { return None };
        Some(Image { width, height, format: "XPM" })
    })
}

/// Truevision: no magic number, but few valid values.
fn tga(head: &[u8]) -> Option<Image> {
    let (has_map, kind, depth, flags) = (head[1], head[2], *head.get(16)?, *head.get(17)?);
    only(has_map <= 1 && matches!((kind & 7, kind & !8), (_, 1..=3)))?;
    only(matches!((kind & 7, depth), (1, 8) | (2, 16 | 24 | 32) | (3, 1 | 8 | 16)))?;
    only(has_map == 0 || matches!(head[7], 16 | 24 | 32))?;
    // The bits above describe interleaving, which nobody uses.
    only(flags & 0xc0 == 0)?;
    let (width, height) = (le16(head, 12)?, le16(head, 14)?);
    Some(Image { width, height, format: "TGA" })
}

/// Apple icons: the largest one.
fn icons(file: &mut File) -> io::Result<Option<Image>> {
    let mut header = [0; 8];
    let length = |header: &[u8; 8]| u64::from(be32(header, 4).unwrap_or(0));
    file.rewind()?;
    file.read_exact(&mut header)?;
    let end = length(&header);
    let mut at = 8;
    let mut names: Vec<[u8; 4]> = Vec::new();
    while at < end && names.len() < BLOCKS {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        if length(&header) == 0 {
            return Ok(None);
        }
        names.push([header[0], header[1], header[2], header[3]]);
        at += length(&header).max(8);
    }
    let is_there = |block: &&[u8; 4]| names.contains(block);
    let largest = ICONS.iter().find(|(blocks, _)| blocks.iter().any(is_there));
    Ok(largest.map(|(_, side)| Image { width: *side, height: *side, format: "ICNS" }))
}

/// Photo CD: one size, perhaps rotated by a quarter turn.
fn photo_cd(file: &mut File) -> io::Result<Option<Image>> {
    let (mut mark, mut lies) = ([0; 4], [0; 1]);
    file.seek(SeekFrom::Start(PHOTO_CD))?;
    file.read_exact(&mut mark)?;
    if mark != *b"PCD_" {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(PHOTO_CD + LIES))?;
    file.read_exact(&mut lies)?;
    let (width, height) = if lies[0] & 1 == 1 { (512, 768) } else { (768, 512) };
    Ok(Some(Image { width, height, format: "PCD" }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::looked;
    use super::super::{Answer, FIRST, Image, MORE};

    /// A file of `size` zeros with `bytes` at the given offsets.
    fn file(size: usize, bytes: &[(usize, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; size];
        for (at, bytes) in bytes {
            file[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        file
    }

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let xbm: &[u8] =
            b"#define a_width 5\n#define a_height 6\nstatic char a_bits[] = {\n0x00};\n";
        let bitmap: &[u8] = &[40, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 1, 0, 24];
        let cases: Vec<(Vec<u8>, &'static str)> = vec![
            (file(200, &[(0, b"DDS "), (4, &[124]), (12, &[6]), (16, &[5])]), "DDS"),
            (file(40, &[(0, b"BLP2"), (12, &[5]), (16, &[6])]), "BLP"),
            (file(40, &[(0, b"FTEX"), (8, &[5]), (12, &[6]), (20, &[1])]), "FTEX"),
            (file(600, &[(0, &[1, 0xda, 0, 1, 0, 3, 0, 5, 0, 6, 0, 3])]), "SGI"),
            (file(40, &[(0, b"\x59\xa6\x6a\x95\0\0\0\x05\0\0\0\x06\0\0\0\x18")]), "SUN"),
            (file(40, &[(0, b"DanM\x05\0\x06\0"), (8, &[0x29, 0x2c])]), "MSP"),
            (
                file(40, &[(0, &[0, 0, 0, 21, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 1])]),
                "GBR",
            ),
            (file(600, &[(0, b"\x80\xe8\0\0"), (416, &[6, 0, 5])]), "PIXAR"),
            (file(60, &[(0, b"\x01\0\0\0"), (16, &[5]), (20, &[6]), (40, b" EMF")]), "WMF"),
            (file(140, &[(4, &[0x11, 0xaf]), (8, &[5, 0, 6])]), "FLI"),
            (file(140, &[(0, &[10, 5, 1, 8]), (8, &[4, 0, 5]), (65, &[3])]), "PCX"),
            (
                file(
                    300,
                    &[
                        (0, &[0xb1, 0x68, 0xde, 0x3a, 100]),
                        (100, &[10, 5, 1, 8]),
                        (108, &[4, 0, 5]),
                        (165, &[1]),
                    ],
                ),
                "DCX",
            ),
            (xbm.to_vec(), "XBM"),
            (b"/* XPM */\nstatic char *a[] = {\n\"5 6 2 1\",\n".to_vec(), "XPM"),
            (file(60, &[(2, &[2]), (12, &[5, 0, 6, 0, 24])]), "TGA"),
            (file(60, &[(0, bitmap)]), "DIB"),
            (
                file(
                    90,
                    &[
                        (2, &[2, 0, 1]),
                        (6, &[5, 12]),
                        (18, &[22]),
                        (22, &[40, 0, 0, 0, 5, 0, 0, 0, 12, 0, 0, 0, 1, 0, 24]),
                    ],
                ),
                "CUR",
            ),
        ];
        for (bytes, format) in cases {
            let want = Answer::Is(Image { width: 5, height: 6, format });
            assert_eq!(looked(&bytes, FIRST, MORE).0, want, "{format}");
        }
    }

    #[test]
    fn icons_and_discs_have_their_sizes() {
        let icons = file(40, &[(0, b"icns\0\0\0\x28ic07\0\0\0\x08ic08\0\0\0\x18")]);
        let image = |width, height, format| Answer::Is(Image { width, height, format });
        assert_eq!(looked(&icons, FIRST, MORE).0, image(256, 256, "ICNS"));
        let disc = |lies: u8| file(4000, &[(2048, b"PCD_"), (2048 + 1538, &[lies])]);
        assert_eq!(looked(&disc(0), FIRST, MORE).0, image(768, 512, "PCD"));
        assert_eq!(looked(&disc(1), FIRST, MORE).0, image(512, 768, "PCD"));
    }
}
