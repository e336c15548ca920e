//! Writes pieces to the files of a column.
//!
//! The storage depends on the values: texts are dictionary-encoded as long as few are distinct,
//! integers have 32 bits and vectors single precision as long as that loses nothing. If it turns
//! out otherwise, the data written so far is read back once and rewritten.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::piece::Piece;
use super::stored::Kind;
use crate::pack::error::PackError;
use crate::pack::output::{Output, Sums};
use dcfs_core::expr::Form;

/// The most distinct texts in a dictionary: indices have 16 bits.
const MOST_WORDS: usize = 1 << 16;

/// The most bytes of distinct texts held in a dictionary.
const MOST_BYTES: usize = 8 << 20;

/// The most numbers in a vector: rows without one take as much space.
const MOST_WIDTH: usize = 1 << 16;

/// The names of a column's files.
pub mod part {
    pub const VALID: &str = "valid";
    pub const VALUES: &str = "values";
    pub const OFFSETS: &str = "offsets";
    pub const CODES: &str = "codes";
}

/// A column being written.
pub struct Sink {
    folder: PathBuf,
    valid: BitWriter,
    values: Values,
    rows: u64,
    pub odd: u64,
}

/// A written column.
pub struct Written {
    pub kind: Kind,
    /// The length of each vector; 0 for all other kinds.
    pub width: u64,
    pub files: Sums,
}

/// The values, by how they are stored.
enum Values {
    None,
    Floats(Output),
    Ints(IntWriter),
    Bools(BitWriter),
    Words(Words),
    Texts(TextWriter),
    Vectors(VectorWriter),
}

impl Sink {
    /// Writes into `folder`, which exists and is empty.
    pub fn new(form: Form, folder: &Path) -> Result<Self, PackError> {
        let values = match form {
            Form::Presence => Values::None,
            Form::Int | Form::Time => Values::Ints(IntWriter::new(folder)?),
            Form::Float => Values::Floats(create(folder, part::VALUES)?),
            Form::Bool => Values::Bools(BitWriter::new(create(folder, part::VALUES)?)),
            Form::Text => Values::Words(Words::new(folder)?),
            Form::Vector => Values::Vectors(VectorWriter::new(folder)?),
        };
        let valid = BitWriter::new(create(folder, part::VALID)?);
        Ok(Self { folder: folder.to_path_buf(), valid, values, rows: 0, odd: 0 })
    }

    /// Adds rows.
    pub fn take(&mut self, mut piece: Piece) -> Result<(), PackError> {
        self.rows += piece.valid.len() as u64;
        self.odd += piece.odd;
        match &mut self.values {
            Values::None => {}
            Values::Ints(ints) => ints.take(&piece)?,
            Values::Floats(out) => {
                piece.numbers.iter().try_for_each(|number| out.put(&number.to_le_bytes()))?;
            }
            Values::Bools(bits) => bits.put(&piece.bools)?,
            Values::Words(words) => {
                if !words.take(&piece)? {
                    let words = std::mem::replace(&mut self.values, Values::None);
                    let mut texts = words.into_texts(&self.folder)?;
                    texts.take(&piece)?;
                    self.values = Values::Texts(texts);
                }
            }
            Values::Texts(texts) => texts.take(&piece)?,
            Values::Vectors(vectors) => vectors.take(&mut piece)?,
        }
        self.valid.put(&piece.valid)
    }

    pub fn finish(self) -> Result<Written, PackError> {
        let mut files = Sums::new();
        let mut width = 0;
        let kind = match self.values {
            Values::None => Kind::Presence,
            Values::Floats(out) => {
                keep(&mut files, part::VALUES, out)?;
                Kind::Floats
            }
            Values::Ints(ints) => ints.finish(&mut files)?,
            Values::Bools(bits) => {
                keep(&mut files, part::VALUES, bits.finish()?.0)?;
                Kind::Bools
            }
            Values::Words(words) => {
                words.finish(&self.folder, &mut files)?;
                Kind::Words
            }
            Values::Texts(texts) => {
                texts.finish(&mut files)?;
                Kind::Texts
            }
            Values::Vectors(vectors) => {
                width = vectors.width.unwrap_or_default() as u64;
                vectors.finish(&mut files)?
            }
        };
        let (valid, ones) = self.valid.finish()?;
        if ones == self.rows {
            remove(&self.folder, part::VALID)?;
        } else {
            keep(&mut files, part::VALID, valid)?;
        }
        Ok(Written { kind, width, files })
    }
}

fn create(folder: &Path, name: &str) -> Result<Output, PackError> {
    Output::create(folder.join(name))
}

fn keep(files: &mut Sums, name: &str, out: Output) -> Result<(), PackError> {
    let (_, sum) = out.finish()?;
    files.insert(name.to_owned(), sum);
    Ok(())
}

fn remove(folder: &Path, name: &str) -> Result<(), PackError> {
    let path = folder.join(name);
    fs::remove_file(&path).map_err(PackError::write(&path))
}

/// Packs bits into words of 64, across pieces.
struct BitWriter {
    out: Output,
    word: u64,
    count: u64,
    ones: u64,
}

impl BitWriter {
    fn new(out: Output) -> Self {
        Self { out, word: 0, count: 0, ones: 0 }
    }

    fn put(&mut self, bits: &[bool]) -> Result<(), PackError> {
        for bit in bits {
            self.word |= u64::from(*bit) << (self.count % 64);
            self.ones += u64::from(*bit);
            self.count += 1;
            if self.count.is_multiple_of(64) {
                self.out.put(&std::mem::take(&mut self.word).to_le_bytes())?;
            }
        }
        Ok(())
    }

    /// The file, and the number of bits set.
    fn finish(mut self) -> Result<(Output, u64), PackError> {
        if !self.count.is_multiple_of(64) {
            self.out.put(&self.word.to_le_bytes())?;
        }
        Ok((self.out, self.ones))
    }
}

/// Dictionary-encoded texts.
struct Words {
    codes: Output,
    numbers: HashMap<Box<[u8]>, u16>,
    /// The texts in the order of their indices.
    texts: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Words {
    fn new(folder: &Path) -> Result<Self, PackError> {
        let codes = create(folder, part::CODES)?;
        Ok(Self { codes, numbers: HashMap::new(), texts: Vec::new(), bytes: 0 })
    }

    /// Adds rows; `false`, and adds none, if they have too many new texts.
    fn take(&mut self, piece: &Piece) -> Result<bool, PackError> {
        let mut codes = Vec::with_capacity(piece.ends.len());
        for text in texts(piece) {
            let Some(code) = self.number(text) else { return Ok(false) };
            codes.push(code);
        }
        codes.iter().try_for_each(|code| self.codes.put(&code.to_le_bytes()))?;
        Ok(true)
    }

    fn number(&mut self, text: &[u8]) -> Option<u16> {
        if let Some(code) = self.numbers.get(text) {
            return Some(*code);
        }
        if self.texts.len() == MOST_WORDS || self.bytes + text.len() > MOST_BYTES {
            return None;
        }
        let code = self.texts.len() as u16;
        self.bytes += text.len();
        self.numbers.insert(text.into(), code);
        self.texts.push(text.into());
        Some(code)
    }

    fn finish(self, folder: &Path, files: &mut Sums) -> Result<(), PackError> {
        let mut out = TextWriter::new(folder)?;
        self.texts.iter().try_for_each(|text| out.put(text))?;
        out.finish(files)?;
        keep(files, part::CODES, self.codes)
    }
}

impl Values {
    /// The same rows with plain texts.
    fn into_texts(self, folder: &Path) -> Result<TextWriter, PackError> {
        let mut out = TextWriter::new(folder)?;
        let Self::Words(words) = self else { return Ok(out) };
        let (map, _) = words.codes.map()?;
        for code in map.as_ref().as_chunks::<2>().0 {
            let text = words.texts.get(usize::from(u16::from_le_bytes(*code)));
            out.put(text.map_or(&[][..], |text| text))?;
        }
        remove(folder, part::CODES)?;
        Ok(out)
    }
}

/// The texts of a piece.
fn texts(piece: &Piece) -> impl Iterator<Item = &[u8]> {
    let starts = std::iter::once(&0).chain(&piece.ends);
    starts.zip(&piece.ends).map(|(start, end)| &piece.bytes[*start..*end])
}

/// Texts concatenated, and the start of each.
struct TextWriter {
    offsets: Output,
    bytes: Output,
}

impl TextWriter {
    fn new(folder: &Path) -> Result<Self, PackError> {
        let (mut offsets, bytes) = (create(folder, part::OFFSETS)?, create(folder, part::VALUES)?);
        offsets.put(&0_u64.to_le_bytes())?;
        Ok(Self { offsets, bytes })
    }

    fn put(&mut self, text: &[u8]) -> Result<(), PackError> {
        self.bytes.put(text)?;
        self.offsets.put(&self.bytes.length().to_le_bytes())
    }

    fn take(&mut self, piece: &Piece) -> Result<(), PackError> {
        let base = self.bytes.length();
        self.bytes.put(&piece.bytes)?;
        piece.ends.iter().try_for_each(|end| self.offsets.put(&(base + *end as u64).to_le_bytes()))
    }

    fn finish(self, files: &mut Sums) -> Result<(), PackError> {
        keep(files, part::OFFSETS, self.offsets)?;
        keep(files, part::VALUES, self.bytes)
    }
}

/// Integers, narrow as long as all fit.
struct IntWriter {
    folder: PathBuf,
    out: Output,
    is_wide: bool,
}

impl IntWriter {
    fn new(folder: &Path) -> Result<Self, PackError> {
        let out = create(folder, part::VALUES)?;
        Ok(Self { folder: folder.to_path_buf(), out, is_wide: false })
    }

    fn take(&mut self, piece: &Piece) -> Result<(), PackError> {
        let fits = |number: &u64| i32::try_from(*number as i64).is_ok();
        if !self.is_wide && !piece.numbers.iter().all(fits) {
            self.is_wide = true;
            let wide = |bytes: [u8; 4]| i64::from(i32::from_le_bytes(bytes)).to_le_bytes();
            rewrite(&self.folder, &mut self.out, wide)?;
        }
        match self.is_wide {
            true => piece.numbers.iter().try_for_each(|n| self.out.put(&n.to_le_bytes())),
            false => {
                piece.numbers.iter().try_for_each(|n| self.out.put(&(*n as i32).to_le_bytes()))
            }
        }
    }

    fn finish(self, files: &mut Sums) -> Result<Kind, PackError> {
        keep(files, part::VALUES, self.out)?;
        Ok(if self.is_wide { Kind::Ints } else { Kind::Narrow })
    }
}

/// Rewrites the values so far, each twice as wide.
fn rewrite(
    folder: &Path,
    out: &mut Output,
    wide: impl Fn([u8; 4]) -> [u8; 8],
) -> Result<(), PackError> {
    let (values, aside) = (folder.join(part::VALUES), folder.join("narrow"));
    fs::rename(&values, &aside).map_err(PackError::write(&values))?;
    let narrow = std::mem::replace(out, create(folder, part::VALUES)?);
    let (map, _) = narrow.map()?;
    map.as_ref().as_chunks().0.iter().try_for_each(|bytes| out.put(&wide(*bytes)))?;
    remove(folder, "narrow")
}

/// Vectors of the length of the first; lists of other lengths, or longer than [`MOST_WIDTH`], count
/// as absent.
struct VectorWriter {
    folder: PathBuf,
    out: Output,
    width: Option<usize>,
    /// The number of rows without a value before the first that has one.
    waiting: u64,
    is_double: bool,
}

impl VectorWriter {
    fn new(folder: &Path) -> Result<Self, PackError> {
        let out = create(folder, part::VALUES)?;
        let folder = folder.to_path_buf();
        Ok(Self { folder, out, width: None, waiting: 0, is_double: false })
    }

    fn take(&mut self, piece: &mut Piece) -> Result<(), PackError> {
        let mut start = 0;
        for row in 0..piece.ends.len() {
            let end = piece.ends[row];
            let vector = &piece.vectors[start..end];
            start = end;
            if vector.is_empty() {
                self.absent()?;
                continue;
            }
            let is_wide = vector.len() > MOST_WIDTH;
            if is_wide || *self.width.get_or_insert(vector.len()) != vector.len() {
                piece.valid[row] = false;
                piece.odd += 1;
                self.absent()?;
                continue;
            }
            self.wait_over()?;
            self.put(vector)?;
        }
        Ok(())
    }

    /// Adds a row without a value.
    fn absent(&mut self) -> Result<(), PackError> {
        self.waiting += 1;
        if self.width.is_some() { self.wait_over() } else { Ok(()) }
    }

    /// Writes zeros for the waiting rows, now that the length of vectors is known.
    fn wait_over(&mut self) -> Result<(), PackError> {
        let zeros = vec![0.0; self.width.unwrap_or_default()];
        for _ in 0..std::mem::take(&mut self.waiting) {
            self.put(&zeros)?;
        }
        Ok(())
    }

    fn put(&mut self, vector: &[f64]) -> Result<(), PackError> {
        let is_single = |x: &f64| f64::from(*x as f32) == *x;
        if !self.is_double && !vector.iter().all(is_single) {
            self.is_double = true;
            let wide = |bytes: [u8; 4]| f64::from(f32::from_le_bytes(bytes)).to_le_bytes();
            rewrite(&self.folder, &mut self.out, wide)?;
        }
        match self.is_double {
            true => vector.iter().try_for_each(|x| self.out.put(&x.to_le_bytes())),
            false => vector.iter().try_for_each(|x| self.out.put(&(*x as f32).to_le_bytes())),
        }
    }

    fn finish(self, files: &mut Sums) -> Result<Kind, PackError> {
        keep(files, part::VALUES, self.out)?;
        Ok(if self.is_double { Kind::Doubles } else { Kind::Singles })
    }
}
