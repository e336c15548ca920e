//! Flatbuffers, as far as the metadata of Arrow needs them: tables, strings, vectors of tables and of structs.
//!
//! Written from the front to the back: a table first, with what it refers to behind it, so that every offset is positive.

/// A field of a table.
#[derive(Clone, Debug)]
pub enum Flat {
    /// Left at its default.
    None,
    Byte(u8),
    Short(i16),
    Int(i32),
    Long(i64),
    Text(String),
    Table(Vec<Flat>),
    Tables(Vec<Vec<Flat>>),
    /// Structs of so many 64-bit words each.
    Structs(Vec<Vec<i64>>),
}

impl Flat {
    fn size(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Byte(_) => 1,
            Self::Short(_) => 2,
            Self::Long(_) => 8,
            Self::Int(_) | Self::Text(_) | Self::Table(_) | Self::Tables(_) | Self::Structs(_) => 4,
        }
    }
}

/// A buffer whose root is a table with these fields, of a length that is a multiple of eight.
pub fn buffer(root: &[Flat]) -> Vec<u8> {
    let mut out = vec![0; 4];
    let at = table(&mut out, root);
    refer(&mut out, 0, at);
    pad(&mut out, 8, 0);
    out
}

/// Fills up until `ahead` bytes from here are at a multiple of `unit`.
fn pad(out: &mut Vec<u8>, unit: usize, ahead: usize) {
    let length = (out.len() + ahead).next_multiple_of(unit) - ahead;
    out.resize(length, 0);
}

/// Writes the offset at `place` of something at `at`, behind it.
fn refer(out: &mut [u8], place: usize, at: usize) {
    out[place..place + 4].copy_from_slice(&((at - place) as u32).to_le_bytes());
}

/// Writes a table, and returns where it is.
fn table(out: &mut Vec<u8>, fields: &[Flat]) -> usize {
    // The largest fields first, so that none needs a gap; each is at a multiple of its size.
    let mut places = vec![0_usize; fields.len()];
    let mut end = 4;
    for size in [8, 4, 2, 1] {
        for (place, _) in places.iter_mut().zip(fields).filter(|(_, field)| field.size() == size) {
            end = usize::next_multiple_of(end, size);
            *place = end;
            end += size;
        }
    }
    let directory = 4 + 2 * fields.len();
    pad(out, 8, directory);
    let start = out.len();
    let mut short = |value: usize| out.extend_from_slice(&(value as u16).to_le_bytes());
    short(directory);
    short(end);
    places.iter().for_each(|place| short(*place));
    let at = out.len();
    out.extend_from_slice(&((at - start) as i32).to_le_bytes());
    out.resize(at + end, 0);
    for (field, place) in fields.iter().zip(&places) {
        let place = at + place;
        match field {
            Flat::None => {}
            Flat::Byte(value) => out[place] = *value,
            Flat::Short(value) => out[place..place + 2].copy_from_slice(&value.to_le_bytes()),
            Flat::Int(value) => out[place..place + 4].copy_from_slice(&value.to_le_bytes()),
            Flat::Long(value) => out[place..place + 8].copy_from_slice(&value.to_le_bytes()),
            Flat::Text(text) => {
                let at = vector(out, text.len(), 4);
                out.extend_from_slice(text.as_bytes());
                out.push(0);
                refer(out, place, at);
            }
            Flat::Table(fields) => {
                let at = table(out, fields);
                refer(out, place, at);
            }
            Flat::Tables(tables) => {
                let at = vector(out, tables.len(), 4);
                let first = out.len();
                out.resize(first + 4 * tables.len(), 0);
                for (number, fields) in tables.iter().enumerate() {
                    let at = table(out, fields);
                    refer(out, first + 4 * number, at);
                }
                refer(out, place, at);
            }
            Flat::Structs(structs) => {
                let at = vector(out, structs.len(), 8);
                let words = structs.iter().flatten();
                words.for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
                refer(out, place, at);
            }
        }
    }
    at
}

/// Begins a vector whose items are at a multiple of `unit`.
fn vector(out: &mut Vec<u8>, length: usize, unit: usize) -> usize {
    pad(out, unit, 4);
    let at = out.len();
    out.extend_from_slice(&(length as u32).to_le_bytes());
    at
}
