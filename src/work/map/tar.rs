//! The members of a tar as files of their own: rows of DataChain's `File` with the position of
//! their bytes in the archive.
//!
//! Only headers are read (POSIX ustar, `pax` records, GNU's long names); the bytes of members are
//! skipped. Sparse members, and everything that is not a file, are left out, as DataChain's
//! `process_tar` does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use dcfs_core::hex::hex;
use dcfs_core::object::Object;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The size of a header, and the unit of padding, in bytes.
const BLOCK: u64 = 512;

/// The most bytes of a long name or of pax records.
const LONGEST: u64 = 1 << 20;

/// The most members of one archive.
const MOST: usize = 1_000_000;

/// Facts from the extension headers before a member.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

/// The members of the tar `parent`.
///
/// # Errors
/// Not a tar, a compressed one, or a damaged one.
pub fn members(file: &File, parent: &Object) -> Result<Vec<Value>, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    if (1..BLOCK).contains(&size) {
        return Err("it is no tar".into());
    }
    let (mut at, mut found, mut said) = (0, Vec::new(), Said::default());
    while at + BLOCK <= size {
        let mut header = [0; BLOCK as usize];
        file.read_exact_at(&mut header, at).map_err(|error| error.to_string())?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        if !is_header(&header) {
            return Err(wrong(at, &header));
        }
        let own = number(&header[124..136]).ok_or_else(|| wrong(at, &header))?;
        let kind = header[156];
        let length = said.size.filter(|_| matches!(kind, 0 | b'0' | b'7')).unwrap_or(own);
        let data = at + BLOCK;
        let end = data.checked_add(length).filter(|end| *end <= size);
        let end = end.ok_or_else(|| format!("the archive ends within the member at byte {at}"))?;
        match kind {
            b'L' => {
                said.path = Some(trimmed(&read(file, data, length).map_err(|e| e.to_string())?))
            }
            b'x' => records(&read(file, data, length).map_err(|e| e.to_string())?, &mut said),
            // Global records, and long link names: nothing that is used here.
            b'g' | b'K' => {}
            kind => {
                let said = std::mem::take(&mut said);
                if matches!(kind, 0 | b'0' | b'7') && !said.is_sparse {
                    let path = said.path.unwrap_or_else(|| path(&header));
                    if !path.is_empty() && !path.ends_with(b"/") {
                        let time = number(&header[136..148]).unwrap_or(0);
                        found.push(row(parent, &path, (length, data), time));
                    }
                    if found.len() > MOST {
                        return Err(format!("more than {MOST} members"));
                    }
                }
            }
        }
        at = end.div_ceil(BLOCK) * BLOCK;
    }
    Ok(found)
}

/// A member as a row of `File`.
fn row(parent: &Object, path: &[u8], (size, offset): (u64, u64), time: u64) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (name, archive) = (text(path), text(&parent.path));
    let pin = Sha256::digest(format!("{}-{name}-{time}", parent.etag));
    let modified = parent.last_modified.map(|time| time.catalog() + "+00:00");
    json!({
        "source": parent.source,
        "path": format!("{archive}/{name}"),
        "size": size,
        "version": parent.version,
        "etag": hex(&pin[..16]),
        "is_latest": true,
        "last_modified": "1970-01-01T00:00:00Z",
        "location": [{
            "vtype": "tar",
            "parent": {
                "source": parent.source, "path": archive, "size": parent.size, "version": parent.version,
                "etag": parent.etag, "is_latest": true, "last_modified": modified, "location": null
            },
            "size": size,
            "offset": offset,
        }],
    })
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > LONGEST {
        return Err(io::Error::other("a header of more than 1 MiB"));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Whether the checksum of the bytes matches the header's; its own field counts as spaces. Old
/// programs summed signed bytes.
fn is_header(header: &[u8]) -> bool {
    let wanted = number(&header[148..156]);
    let byte = |at: usize| if (148..156).contains(&at) { b' ' } else { header[at] };
    let sum: u64 = (0..header.len()).map(|at| u64::from(byte(at))).sum();
    let signed: i64 = (0..header.len()).map(|at| i64::from(byte(at).cast_signed())).sum();
    wanted == Some(sum) || wanted.and_then(|n| i64::try_from(n).ok()) == Some(signed)
}

/// Octal digits, or GNU's base 256 for numbers too large for them.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let first = u64::from(field[0] & 0x7f);
        return field[1..]
            .iter()
            .try_fold(first, |n, byte| n.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ');
    digits.take_while(|byte| !matches!(**byte, 0 | b' ')).try_fold(0_u64, |n, byte| match byte {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

fn trimmed(field: &[u8]) -> Vec<u8> {
    field.iter().copied().take_while(|byte| *byte != 0).collect()
}

/// The path of a header: its prefix (ustar), `/`, its name.
fn path(header: &[u8]) -> Vec<u8> {
    let name = trimmed(&header[..100]);
    let prefix =
        if &header[257..263] == b"ustar\0" { trimmed(&header[345..500]) } else { Vec::new() };
    if prefix.is_empty() { name } else { [&prefix[..], b"/", &name].concat() }
}

/// Pax records: `<length> <key>=<value>\n`.
fn records(mut text: &[u8], said: &mut Said) {
    while let Some(space) = text.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&text[..space]).ok().and_then(|n| n.parse::<usize>().ok());
        let Some(record) = length.and_then(|length| text.get(space + 1..length)) else { return };
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        if let Some(at) = record.iter().position(|byte| *byte == b'=') {
            let (key, value) = (&record[..at], &record[at + 1..]);
            match key {
                b"path" => said.path = Some(value.to_vec()),
                b"size" => said.size = std::str::from_utf8(value).ok().and_then(|n| n.parse().ok()),
                key => said.is_sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        text = &text[length.unwrap_or(text.len()).clamp(1, text.len())..];
    }
}

fn wrong(at: u64, header: &[u8]) -> String {
    match header {
        [0x1f, 0x8b, ..] | [b'B', b'Z', b'h', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', ..] if at == 0 => {
            "the archive is compressed, and members of compressed archives are not read; unpack it, or keep it as a plain tar".into()
        }
        _ if at == 0 => "it is no tar".into(),
        _ => format!("the archive is damaged: there is no header at byte {at}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_no_tar_is_told() {
        let told = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytes).expect("written");
            members(&file, &Object::default()).map(|rows| rows.len())
        };
        assert_eq!(told(b""), Ok(0));
        assert_eq!(told(&[0; 1024]), Ok(0));
        assert!(told(&[7; 1024]).is_err_and(|why| why.contains("no tar")));
        assert!(
            told(&[&[0x1f, 0x8b][..], &[0; 600]].concat())
                .is_err_and(|why| why.contains("compressed"))
        );
    }

    #[test]
    fn numbers_of_any_size() {
        let cases: [(&[u8], Option<u64>); 5] = [
            (b"0000644\0", Some(0o644)),
            (b"   17 \0\0", Some(0o17)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"0000009\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (field, want) in cases {
            assert_eq!(number(field), want, "{field:?}");
        }
    }

    #[test]
    fn broken_records_end_the_reading() {
        let mut said = Said::default();
        records(b"12 path=a/b\n13 size=1234\n99 path=x\n", &mut said);
        assert_eq!((said.path.as_deref(), said.size), (Some(&b"a/b"[..]), Some(1234)));
        for text in [&b"0 a=b\n"[..], b"1 ", b"x y=z", b" ", b"5 a"] {
            records(text, &mut Said::default());
        }
    }
}
