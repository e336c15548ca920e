//! A group of rows as the buffers of a record batch.
//!
//! The group tells of every leaf how deep something is there (`defined`) and where lists go on (`repeated`); from these
//! come the validity and the offsets of the nodes above.

use std::io::{self, Write};

use parquet::schema::types::Type;

use super::list_item;
use crate::tables::parquet::{Group, LeafValues};

/// Buffers begin at multiples of this.
pub const UNIT: usize = 64;

/// The body of a record batch.
pub struct Batch {
    /// Of every node: its length, and how many of it are NULL.
    pub nodes: Vec<Vec<i64>>,
    parts: Vec<Vec<u8>>,
    next_leaf: usize,
}

/// Where in the tree a node is: what is there above it, and in how many lists it lies.
#[derive(Clone, Copy)]
struct At {
    /// The level of what is right above it.
    level: i16,
    /// The level at which an item of the innermost list around is there; 0 outside of lists.
    item: i16,
    repeated: i16,
}

impl Batch {
    pub fn of(root: &Type, group: &Group) -> Self {
        let mut batch = Self { nodes: Vec::new(), parts: Vec::new(), next_leaf: 0 };
        for field in root.get_fields() {
            batch.node(field, group, At { level: 0, item: 0, repeated: 0 });
        }
        batch
    }

    fn node(&mut self, of: &Type, group: &Group, at: At) {
        let level = at.level + i16::from(of.is_optional());
        let (defined, repeated) = group.columns[self.next_leaf].levels();
        // The entries of the leaf at which this node begins a value of its own.
        let begins = |entry: &usize| {
            defined[*entry] >= at.item
                && repeated.get(*entry).is_none_or(|repeated| *repeated <= at.repeated)
        };
        let starts: Vec<usize> = (0..defined.len()).filter(begins).collect();
        let valid: Vec<bool> = starts.iter().map(|entry| defined[*entry] >= level).collect();
        let nulls = valid.iter().filter(|valid| !**valid).count();
        self.nodes.push(vec![starts.len() as i64, nulls as i64]);
        self.parts.push(if nulls == 0 { Vec::new() } else { bits(valid.iter().copied()) });
        if let Some(item) = list_item(of) {
            // Below a list that is there, an item is one level down.
            let (item_level, item_repeated) = (level + 1, at.repeated + 1);
            let is_item = |entry: usize| {
                defined[entry] >= item_level
                    && repeated.get(entry).is_none_or(|repeated| *repeated <= item_repeated)
            };
            let (mut offsets, mut count) = (0_i32.to_le_bytes().to_vec(), 0_i32);
            for (number, start) in starts.iter().enumerate() {
                let end = starts.get(number + 1).copied().unwrap_or(defined.len());
                count += (*start..end).filter(|entry| is_item(*entry)).count() as i32;
                offsets.extend_from_slice(&count.to_le_bytes());
            }
            self.parts.push(offsets);
            let below = At { level: item_level, item: item_level, repeated: item_repeated };
            return self.node(item, group, below);
        }
        if of.is_group() {
            let fields = of.get_fields();
            return fields.iter().for_each(|field| self.node(field, group, At { level, ..at }));
        }
        let leaf = &group.columns[self.next_leaf];
        self.next_leaf += 1;
        match leaf.values() {
            LeafValues::Bool(values) => {
                let mut values = values.iter();
                let next = |valid: &bool| *valid && values.next().copied().unwrap_or_default();
                self.parts.push(bits(valid.iter().map(next)));
            }
            LeafValues::Int(values) => self.words(&valid, values.iter().map(|v| v.to_le_bytes())),
            LeafValues::Float(values) => self.words(&valid, values.iter().map(|v| v.to_le_bytes())),
            LeafValues::Bytes(bytes, ends) => {
                let (mut offsets, mut ends) = (0_i32.to_le_bytes().to_vec(), ends.iter());
                let mut last = 0_usize;
                for valid in &valid {
                    if *valid {
                        last = ends.next().copied().unwrap_or(last);
                    }
                    offsets.extend_from_slice(&(last as i32).to_le_bytes());
                }
                self.parts.push(offsets);
                self.parts.push(bytes.to_vec());
            }
        }
    }

    fn words(&mut self, valid: &[bool], mut values: impl Iterator<Item = [u8; 8]>) {
        let next = |valid: &bool| if *valid { values.next().unwrap_or_default() } else { [0; 8] };
        self.parts.push(valid.iter().flat_map(next).collect());
    }

    /// Where each buffer is, and its length.
    pub fn buffers(&self) -> Vec<Vec<i64>> {
        let mut at = 0;
        let place = |part: &Vec<u8>| {
            let place = vec![at as i64, part.len() as i64];
            at += part.len().next_multiple_of(UNIT);
            place
        };
        self.parts.iter().map(place).collect()
    }

    /// Bytes of the body.
    pub fn length(&self) -> usize {
        self.parts.iter().map(|part| part.len().next_multiple_of(UNIT)).sum()
    }

    /// Writes the body.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for part in &self.parts {
            out.write_all(part)?;
            out.write_all(&[0; UNIT][..part.len().next_multiple_of(UNIT) - part.len()])?;
        }
        Ok(())
    }
}

/// A bit each, the first in the lowest.
fn bits(values: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, value) in values.enumerate() {
        if at % 8 == 0 {
            out.push(0);
        }
        if let Some(last) = out.last_mut() {
            *last |= u8::from(value) << (at % 8);
        }
    }
    out
}
