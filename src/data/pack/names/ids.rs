//! The `sys__id`s of rows, if they have gaps: compressed steps for the shared folder, and the file of a
//! pack that they become on a host.
//!
//! Answers about names do not need them, because blocks have the ids of their rows. They are fetched
//! whole by the first who maps numbers of rows to ids, or the other way round: a filter that reads its
//! columns here, a table of rows.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::codec::{odd, put};
use crate::pack::error::PackError;
use crate::pack::folder::{self, Staging};
use crate::pack::ids::{FILE, RowIds};
use crate::pack::output::{Output, Sum};
use dcfs_core::id::RowId;

/// Ids written between two checks of the compressor.
const CHUNK: usize = 1 << 16;

/// Writes the ids of all rows: each as what it exceeds the one after the row before by.
pub fn write(ids: &RowIds, out: &mut Output) -> Result<(), PackError> {
    let path = out.path().to_path_buf();
    let level = flate2::Compression::new(6);
    let mut squeezed = flate2::write::DeflateEncoder::new(out, level);
    let (mut steps, mut next) = (Vec::with_capacity(CHUNK), 0);
    for ordinal in 0..ids.len() {
        let id = ids.get(ordinal).map_or(next, RowId::key);
        put(&mut steps, id.wrapping_sub(next) as u64);
        next = id.wrapping_add(1);
        if steps.len() >= CHUNK {
            squeezed.write_all(&steps).map_err(PackError::write(&path))?;
            steps.clear();
        }
    }
    squeezed.write_all(&steps).map_err(PackError::write(&path))?;
    squeezed.finish().map(drop).map_err(PackError::write(&path))
}

/// Makes the file of ids in `folder` from the pieces that `bring` hands over one after the other. `sum` is
/// what the manifest says of it.
///
/// # Errors
/// Errors of `bring`; a disk that cannot be written to; bytes that no writer wrote.
pub fn unfold(
    folder: &Path,
    sum: Sum,
    bring: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), PackError>) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let path = folder.join(FILE);
    folder::clean(folder);
    let staging = Staging::create(&path)?;
    let draft = staging.path().join(FILE);
    unfold_into(Output::create(draft.clone())?, sum, bring)?;
    fs::rename(&draft, &path).map_err(PackError::write(&path))
}

fn unfold_into(
    out: Output,
    sum: Sum,
    bring: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), PackError>) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let steps = Steps { out, most: sum.length, number: 0, shift: 0, next: 0, failed: None };
    let mut plain = flate2::write::DeflateDecoder::new(steps);
    let why = |steps: &mut Steps| steps.failed.take().unwrap_or_else(odd);
    bring(&mut |bytes| match plain.write_all(bytes) {
        Ok(()) => Ok(()),
        Err(_) => Err(why(plain.get_mut())),
    })?;
    if plain.try_finish().is_err() {
        return Err(why(plain.get_mut()));
    }
    let steps = plain.finish().map_err(|_| odd())?;
    match steps.shift == 0 && steps.out.finish()?.1 == sum {
        true => Ok(()),
        false => Err(odd()),
    }
}

/// Takes steps, writes ids.
struct Steps {
    out: Output,
    /// The most bytes of ids.
    most: u64,
    /// The step so far, and the place of its next 7 bits.
    number: u64,
    shift: u32,
    next: i64,
    failed: Option<PackError>,
}

impl Steps {
    fn take(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        for byte in bytes {
            if self.shift > 63 || self.out.length() >= self.most {
                return Err(odd());
            }
            self.number |= u64::from(byte & 0x7f) << self.shift;
            self.shift += 7;
            if *byte < 0x80 {
                let id = self.next.wrapping_add(self.number as i64);
                self.out.put(&id.to_le_bytes())?;
                (self.number, self.shift, self.next) = (0, 0, id.wrapping_add(1));
            }
        }
        Ok(())
    }
}

impl Write for Steps {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("not written"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::ids::IdsWriter;
    use crate::pack::output::mapped;

    /// The ids as the writer of a pack leaves them, and what it says of its file.
    fn listed(folder: &Path, ids: &[i64]) -> (RowIds, Sum) {
        let mut writer = IdsWriter::new(folder);
        for id in ids {
            writer.push(RowId::new(*id)).expect("rising");
        }
        let (known, sum) = writer.finish().expect("finished");
        (known, sum.expect("ids with gaps"))
    }

    fn squeezed(folder: &Path, ids: &RowIds) -> Vec<u8> {
        let path = folder.join("steps");
        let _ = fs::remove_file(&path);
        let mut out = Output::create(path.clone()).expect("created");
        write(ids, &mut out).expect("written");
        out.finish().expect("finished");
        fs::read(path).expect("readable")
    }

    fn unfolded(folder: &Path, sum: Sum, bytes: &[u8]) -> Result<(), PackError> {
        unfold(folder, sum, |put| bytes.chunks(3).try_for_each(put))
    }

    #[test]
    fn ids_come_back_and_bytes_that_no_writer_wrote_do_not() {
        let cases: [&[i64]; 4] = [
            &[1, 2, 4],
            &[i64::MIN, -1, i64::MAX],
            &[-7, 300, 301, 302, 100_000],
            &[i64::MAX - 2, i64::MAX],
        ];
        for ids in cases {
            let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
            let [own, into] = folders.each_ref().map(tempfile::TempDir::path);
            let (known, sum) = listed(own, ids);
            let bytes = squeezed(own, &known);
            unfolded(into, sum, &bytes).expect("whole");
            let map = mapped(into, FILE).expect("there");
            let found: Vec<_> = (0..ids.len()).map(|at| map.i64_at(at).expect("a row")).collect();
            assert_eq!(found, ids);
            for end in 0..bytes.len() {
                assert!(unfolded(into, sum, &bytes[..end]).is_err(), "cut at {end}");
            }
            for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                // Bits that fill the last byte mean nothing.
                if unfolded(into, sum, &changed).is_ok() {
                    let same = fs::read(into.join(FILE)).expect("readable");
                    assert_eq!(same, fs::read(own.join(FILE)).expect("readable"));
                }
            }
            let names = fs::read_dir(into).expect("readable").count();
            assert_eq!(names, 1, "no drafts are left");
        }
    }

    #[test]
    fn runs_take_next_to_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let ids: Vec<i64> = (1..=50_000).chain(60_000..110_000).collect();
        let (known, _) = listed(folder.path(), &ids);
        assert!(squeezed(folder.path(), &known).len() < 1000);
    }
}
