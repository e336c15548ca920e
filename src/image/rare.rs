//! Formats that are met less often.

use super::{Found, Image, Pieces, Stop};

/// Boxes that are looked at in one box.
const BOXES: usize = 1024;

/// The largest of an icon's pictures.
pub fn ico(pieces: &Pieces) -> Found {
    let side = |byte: u8| if byte == 0 { 256 } else { u32::from(byte) };
    let mut largest = None;
    for number in 0..u64::from(pieces.le16(4)?).min(256) {
        let [width, height] = pieces.array(6 + 16 * number)?;
        largest = largest.max(Some((side(width), side(height))));
    }
    let (width, height) = largest.ok_or(Stop::No)?;
    Ok(Image { width, height, format: "ICO" })
}

/// PBM, PGM and PPM, as texts and as bytes: PIL calls all of them PPM.
pub fn ppm(pieces: &Pieces) -> Found {
    let [kind] = pieces.array(1)?;
    if !(b'1'..=b'6').contains(&kind) {
        return Err(Stop::No);
    }
    let (width, end) = number(pieces, 2)?;
    let (height, end) = number(pieces, end)?;
    // A greatest value follows, but for two colours.
    if !matches!(kind, b'1' | b'4') {
        number(pieces, end)?;
    }
    Ok(Image { width, height, format: "PPM" })
}

/// A number after spaces and comments, and where it ends.
fn number(pieces: &Pieces, start: u64) -> Found<(u32, u64)> {
    let (mut at, mut value, mut is_comment) = (start, None, false);
    loop {
        let [byte] = pieces.array(at)?;
        match byte {
            b'\n' | b'\r' if is_comment => is_comment = false,
            _ if is_comment => {}
            b'0'..=b'9' if at > start => {
                let more = |n: u32| n.checked_mul(10)?.checked_add(u32::from(byte - b'0'));
                value = Some(more(value.unwrap_or(0)).ok_or(Stop::No)?);
            }
            b'#' if value.is_none() => is_comment = true,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                if let Some(value) = value {
                    return Ok((value, at));
                }
            }
            _ => return Err(Stop::No),
        }
        at += 1;
        if at - start > 4096 {
            return Err(Stop::No);
        }
    }
}

pub fn psd(pieces: &Pieces) -> Found {
    Ok(Image { width: pieces.be32(18)?, height: pieces.be32(14)?, format: "PSD" })
}

pub fn qoi(pieces: &Pieces) -> Found {
    Ok(Image { width: pieces.be32(4)?, height: pieces.be32(8)?, format: "QOI" })
}

const CODESTREAM: &[u8] = b"\xff\x4f\xff\x51";

pub fn is_jpeg2000(pieces: &Pieces) -> Found<bool> {
    Ok(pieces.has(0, b"\0\0\0\x0cjP  \r\n\x87\n")? || pieces.has(0, CODESTREAM)?)
}

/// With a box that tells the size, or as a bare stream.
pub fn jpeg2000(pieces: &Pieces) -> Found {
    let (width, height) = if pieces.has(0, CODESTREAM)? {
        let side = |at| pieces.be32(at)?.checked_sub(pieces.be32(at + 8)?).ok_or(Stop::No);
        (side(8)?, side(12)?)
    } else {
        let header = inside(pieces, 12..pieces.size, b"jp2h")?;
        let size = inside(pieces, header, b"ihdr")?;
        (pieces.be32(size.start + 4)?, pieces.be32(size.start)?)
    };
    Ok(Image { width, height, format: "JPEG2000" })
}

type Range = std::ops::Range<u64>;

/// One box of ISO 14496-12: its name, what is in it, where the next begins.
fn open(pieces: &Pieces, range: &Range) -> Found<([u8; 4], Range)> {
    let (length, name) = (pieces.be32(range.start)?, pieces.array(range.start + 4)?);
    let (head, length) = match length {
        0 => (8, range.end - range.start),
        1 => (16, pieces.array(range.start + 8).map(u64::from_be_bytes)?),
        length => (8, length.into()),
    };
    let end = range.start.checked_add(length).filter(|end| *end <= range.end);
    match end {
        Some(end) if length >= head => Ok((name, range.start + head..end)),
        _ => Err(Stop::No),
    }
}

/// All boxes of a box.
fn boxes(pieces: &Pieces, range: Range) -> Found<Vec<([u8; 4], Range)>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end && found.len() < BOXES {
        let (name, inside) = open(pieces, &(at..range.end))?;
        at = inside.end;
        found.push((name, inside));
    }
    Ok(found)
}

/// What is in the first box of a name.
fn inside(pieces: &Pieces, range: Range, wanted: &[u8; 4]) -> Found<Range> {
    let mut at = range.start;
    for _ in 0..BOXES {
        if at >= range.end {
            break;
        }
        let (name, inside) = open(pieces, &(at..range.end))?;
        if name == *wanted {
            return Ok(inside);
        }
        at = inside.end;
    }
    Err(Stop::No)
}

/// AVIF, which PIL reads, and HEIF, which a plugin of it reads: the size of the primary item (ISO 23008-12).
pub fn heif(pieces: &Pieces) -> Found {
    let all = 0..pieces.size;
    let format = brand(pieces, &inside(pieces, all.clone(), b"ftyp")?)?;
    let meta = inside(pieces, all, b"meta")?;
    let meta = meta.start + 4..meta.end;
    let primary = inside(pieces, meta.clone(), b"pitm")?;
    let [version] = pieces.array(primary.start)?;
    let primary = match version {
        0 => pieces.be16(primary.start + 4)?.into(),
        _ => pieces.be32(primary.start + 4)?,
    };
    let properties = inside(pieces, meta, b"iprp")?;
    let known = boxes(pieces, inside(pieces, properties.clone(), b"ipco")?)?;
    let of_item = inside(pieces, properties, b"ipma")?;
    for index in associated(pieces, &of_item, primary)? {
        if let Some((name, inside)) = known.get(index.wrapping_sub(1))
            && name == b"ispe"
        {
            let (width, height) = (pieces.be32(inside.start + 4)?, pieces.be32(inside.start + 8)?);
            return Ok(Image { width, height, format });
        }
    }
    Err(Stop::No)
}

/// Which of the two it is, by the brands that it says to be of.
fn brand(pieces: &Pieces, ftyp: &Range) -> Found<&'static str> {
    let mut brands = vec![pieces.array::<4>(ftyp.start)?];
    for at in (ftyp.start + 8..ftyp.end).step_by(4).take(64) {
        brands.push(pieces.array(at)?);
    }
    let has = |wanted: &[&[u8; 4]]| brands.iter().any(|brand| wanted.contains(&brand));
    if has(&[b"avif", b"avis"]) {
        Ok("AVIF")
    } else if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"]) {
        Ok("HEIF")
    } else {
        Err(Stop::No)
    }
}

/// The properties of an item, counted from 1.
fn associated(pieces: &Pieces, ipma: &Range, item: u32) -> Found<Vec<usize>> {
    let [version, _, _, flags] = pieces.array(ipma.start)?;
    let is_wide = flags & 1 == 1;
    let mut at = ipma.start + 8;
    for _ in 0..pieces.be32(ipma.start + 4)?.min(1 << 16) {
        let id = if version == 0 { pieces.be16(at)?.into() } else { pieces.be32(at)? };
        at += if version == 0 { 2 } else { 4 };
        let [count] = pieces.array(at)?;
        at += 1;
        let mut found = Vec::new();
        for _ in 0..count {
            found.push(match is_wide {
                true => usize::from(pieces.be16(at)? & 0x7fff),
                false => usize::from(pieces.array(at).map(|[byte]: [u8; 1]| byte & 0x7f)?),
            });
            at += if is_wide { 2 } else { 1 };
        }
        if id == item {
            return Ok(found);
        }
    }
    Err(Stop::No)
}
