//! Stamps: the version and the etag of an entry's object, so that an open needs no row of the catalog.
//!
//! Packs of versions whose rows are on a server have them, because each row would cost a query. With a
//! stamp and the entry's size, time and path an object can be put together again; it is believed if its
//! identity is the one that was packed.
//!
//! | file | one per | holds |
//! |---|---|---|
//! | `c<N>.stamps` | entry | a stamp, one after the other |
//! | `c<N>.stampat` | 64 entries | u64 where their stamps begin, and the length of each in a byte |

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Pack;
use super::column::file_name;
use super::error::{PackError, Result};
use super::output::{Output, Sum, mapped};
use dcfs_core::error::Error;
use dcfs_core::id::EntryId;
use dcfs_core::object::Object;
use dcfs_core::tree::place::below_source;
use dcfs_disk::map::Map;

/// The parts of the names of the two files.
pub const STAMPS: &str = "stamps";
pub const PLACES: &str = "stampat";

/// The longest stamp in bytes; an object with a longer one has none.
const LONGEST: usize = 255;

/// First byte of a stamp of an etag in hex digits, without a version. Otherwise it is the length of the
/// version, which is followed by the etag.
const HEX: u8 = u8::MAX;

/// Entries whose places are stored together.
const GROUP: usize = 64;

/// The bytes of a group.
const PLACE: usize = 8 + GROUP;

/// The most sources of a column that are remembered; opens of others read rows of the catalog.
const MOST_SOURCES: usize = 1024;

/// Writes the stamp of an object over `out`; empty if it has none, as members of archives do.
pub fn write(object: &Object, out: &mut Vec<u8>) {
    out.clear();
    if object.location.as_deref().is_some_and(|location| !location.is_empty()) {
        return;
    }
    let (version, etag) = (object.version.as_bytes(), object.etag.as_bytes());
    if version.is_empty() && !etag.is_empty() && etag.len().is_multiple_of(2) && pack_hex(etag, out)
    {
        return;
    }
    out.clear();
    if 1 + version.len() + etag.len() <= LONGEST {
        out.push(version.len() as u8);
        out.extend_from_slice(version);
        out.extend_from_slice(etag);
    }
}

/// Writes lower-case hex digits two to a byte; `false` if they are not, or too many.
fn pack_hex(digits: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(HEX);
    for pair in digits.as_chunks::<2>().0 {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return false };
        out.push(high << 4 | low);
    }
    out.len() <= LONGEST
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The version and the etag of a stamp; `None` if it is empty, or no stamp.
fn read(stamp: &[u8]) -> Option<(String, String)> {
    match stamp.split_first()? {
        (&HEX, bytes) => Some((String::new(), dcfs_core::hex::hex(bytes))),
        (&length, texts) => {
            let (version, etag) = texts.split_at_checked(length.into())?;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            Some((text(version)?, text(etag)?))
        }
    }
}

/// Writes the stamps of a column.
pub struct StampWriter {
    stamps: Output,
    places: Output,
    /// Where the stamps of the group begin, and their lengths so far.
    start: u64,
    lengths: Vec<u8>,
}

impl StampWriter {
    pub fn create(folder: &Path, column: usize) -> Result<Self, PackError> {
        let file = |part| Output::create(folder.join(file_name(column, part)));
        let (stamps, places) = (file(STAMPS)?, file(PLACES)?);
        Ok(Self { stamps, places, start: 0, lengths: Vec::with_capacity(GROUP) })
    }

    /// Adds the stamp of the next entry.
    pub fn push(&mut self, stamp: &[u8]) -> Result<(), PackError> {
        let stamp = if stamp.len() <= LONGEST { stamp } else { &[] };
        self.stamps.put(stamp)?;
        self.lengths.push(stamp.len() as u8);
        if self.lengths.len() == GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), PackError> {
        self.lengths.resize(GROUP, 0);
        self.places.put(&self.start.to_le_bytes())?;
        self.places.put(&self.lengths)?;
        self.lengths.clear();
        self.start = self.stamps.length();
        Ok(())
    }

    /// Closes both files; returns the part of each one's name, and its entry in the manifest.
    pub fn finish(mut self) -> Result<[(&'static str, Sum); 2], PackError> {
        if !self.lengths.is_empty() {
            self.flush()?;
        }
        Ok([(STAMPS, self.stamps.finish()?.1), (PLACES, self.places.finish()?.1)])
    }
}

/// The stamps of a column, mapped.
#[derive(Debug)]
pub struct Stamps {
    stamps: Map,
    places: Map,
}

impl Stamps {
    /// Those of a column with `entries` entries; `None` if its pack has none.
    pub fn open(folder: &Path, column: usize, entries: u32) -> Result<Option<Self>, PackError> {
        let map = |part| mapped(folder, &file_name(column, part));
        let places = match map(PLACES) {
            Err(PackError::Absent(_)) => return Ok(None),
            places => places?,
        };
        if places.as_ref().len() != (entries as usize).div_ceil(GROUP) * PLACE {
            return Err(PackError::damaged("a file of stamps has the wrong length"));
        }
        Ok(Some(Self { stamps: map(STAMPS)?, places }))
    }

    /// The stamp of an entry.
    pub fn get(&self, entry: u32) -> Result<&[u8], PackError> {
        let (group, at) = (entry as usize / GROUP, entry as usize % GROUP);
        let place = self.places.as_ref().get(group * PLACE..(group + 1) * PLACE);
        let place = place.ok_or(PackError::Gone { what: "entry", number: entry.into() })?;
        let (start, lengths) = place.split_first_chunk::<8>().expect("a place is longer");
        let before: usize = lengths[..at].iter().map(|length| usize::from(*length)).sum();
        let start = usize::try_from(u64::from_le_bytes(*start)).ok();
        let start = start.and_then(|start| start.checked_add(before));
        let stamp = start.and_then(|start| {
            self.stamps.as_ref().get(start..start.checked_add(usize::from(lengths[at]))?)
        });
        stamp.ok_or_else(|| PackError::damaged("a stamp is not there"))
    }
}

/// The sources of objects that the catalog has named; packs do not record them. Nearly always there is one.
#[derive(Debug, Default)]
pub struct Sources(Mutex<Vec<Source>>);

#[derive(Debug)]
struct Source {
    column: u16,
    source: String,
    /// What the paths of its objects begin with in a column of several sources.
    below: Vec<u8>,
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, Vec<Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, column: u16, source: &str) {
        let mut known = self.lock();
        let of_column = || known.iter().filter(|known| known.column == column);
        if !of_column().any(|known| known.source == source) && of_column().count() < MOST_SOURCES {
            known.push(Source { column, source: source.to_owned(), below: below_source(source) });
        }
    }

    fn has(&self, column: u16) -> bool {
        self.lock().iter().any(|known| known.column == column)
    }

    /// Each source that the path of an entry may be below, with the rest of the path.
    fn of(&self, column: u16, path: &[u8], begins_with_source: bool) -> Vec<(String, Vec<u8>)> {
        let below = |known: &Source| match begins_with_source {
            true => path.strip_prefix(&*known.below).map(<[u8]>::to_vec),
            false => Some(path.to_vec()),
        };
        let known = self.lock();
        let known = known.iter().filter(|known| known.column == column);
        known.filter_map(|known| Some((known.source.clone(), below(known)?))).collect()
    }
}

impl Pack {
    /// The object of an entry, put together without the catalog; `None` if that takes its row. It is the
    /// one that was packed.
    ///
    /// # Errors
    /// As [`Pack::lookup`].
    pub fn recorded(&self, entry: EntryId) -> Result<Option<Object>, Error> {
        let column = self.column_of(entry)?;
        if !self.sources.has(column) {
            return Ok(None);
        }
        let Some((version, etag)) = read(&self.stamp(entry)?) else { return Ok(None) };
        let (facts, path) = (self.facts(entry)?, self.path(entry)?);
        let begins_with_source = self.columns[usize::from(column)].many_sources;
        let mut object = Object {
            version,
            etag,
            size: facts.size,
            last_modified: facts.mtime,
            ..Object::default()
        };
        for (source, below) in self.sources.of(column, &path, begins_with_source) {
            (object.source, object.path) = (source, below);
            if object.identity().short() == facts.identity {
                return Ok(Some(object));
            }
        }
        Ok(None)
    }

    /// Notes the source of an object that the catalog has named in a column.
    pub fn learn(&self, column: u16, source: &str) {
        self.sources.add(column, source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, etag: &str) -> Object {
        Object { version: version.into(), etag: etag.into(), ..Object::default() }
    }

    #[test]
    fn stamps_come_back() {
        let long = "e".repeat(300);
        let md5 = "0123456789abcdef0123456789abcdef";
        let cases = [
            ("", "", 1),
            ("", md5, 17),
            ("", "0123456789ABCDEF", 17),
            ("", "d41d8cd98f00b204e9800998ecf8427e-12", 36),
            ("", "abc", 4),
            ("3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", md5, 1 + 33 + 32),
            ("v", "", 2),
            ("", &long[..254], 128),
        ];
        let mut stamp = b"left over".to_vec();
        for (version, etag, length) in cases {
            write(&object(version, etag), &mut stamp);
            assert_eq!(stamp.len(), length, "{version:?}, {etag:?}");
            assert_eq!(read(&stamp), Some((version.to_owned(), etag.to_owned())));
        }
        for none in [
            object("", &long.replace('e', "x")),
            object(&long, "e"),
            Object { location: Some("[]".into()), ..object("", md5) },
        ] {
            write(&none, &mut stamp);
            assert_eq!((stamp.len(), read(&stamp)), (0, None), "{none:?}");
        }
    }

    #[test]
    fn sources_are_those_that_a_path_is_below() {
        let sources = Sources::default();
        for number in 0..MOST_SOURCES + 5 {
            sources.add(0, &format!("s3://b{number}"));
            sources.add(0, "s3://b0");
        }
        assert!(sources.has(0) && !sources.has(1));
        let of = |path: &str| sources.of(0, path.as_bytes(), true);
        let last = MOST_SOURCES - 1;
        let below = vec![(format!("s3://b{last}"), b"a/x.jpg".to_vec())];
        assert_eq!(of(&format!("s3/b{last}/a/x.jpg")), below);
        assert_eq!(of(&format!("s3/b{}/a/x.jpg", MOST_SOURCES)), [], "one too many");
        assert_eq!(of("s3/other/a/x.jpg"), []);
        sources.add(1, "s3://one");
        let whole = vec![("s3://one".to_owned(), b"a/x.jpg".to_vec())];
        assert_eq!(sources.of(1, b"a/x.jpg", false), whole, "another column has room of its own");
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\x03ab"), None, "a version that is cut");
        assert_eq!(read(b"\x01\xff"), None, "no UTF-8");
        assert_eq!(read(b"\x00\xff"), None, "no UTF-8");
    }

    #[test]
    fn every_entry_has_its_own() {
        for count in [0_usize, 1, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut writer = StampWriter::create(folder.path(), 2).expect("created");
            let stamp = |at: usize| vec![at as u8; at * 7 % 256];
            (0..count).for_each(|at| writer.push(&stamp(at)).expect("written"));
            writer.finish().expect("closed");
            let entries = count as u32;
            let stamps = Stamps::open(folder.path(), 2, entries).expect("whole").expect("there");
            for at in 0..count {
                assert_eq!(stamps.get(at as u32).expect("there"), stamp(at), "{at} of {count}");
            }
            assert!(stamps.get((count.div_ceil(GROUP) * GROUP) as u32).is_err());
            let other = Stamps::open(folder.path(), 2, entries + GROUP as u32);
            assert!(other.is_err(), "of another number of entries");
            assert!(Stamps::open(folder.path(), 0, entries).expect("none").is_none());
        }
    }

    #[test]
    fn bytes_that_no_writer_wrote_are_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = StampWriter::create(folder.path(), 0).expect("created");
        writer.push(b"\x00abc").expect("written");
        writer.finish().expect("closed");
        let places = folder.path().join("c0.stampat");
        let whole = std::fs::read(&places).expect("readable");
        for (at, byte) in [(0, 9), (7, 0xff), (8, 5)] {
            let mut changed = whole.clone();
            changed[at] = byte;
            std::fs::write(&places, &changed).expect("written");
            let stamps = Stamps::open(folder.path(), 0, 1).expect("of that length").expect("there");
            assert!(stamps.get(0).is_err(), "byte {at}");
        }
    }
}
