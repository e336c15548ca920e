//! Numbers for the links in `datasets/`: a link is its name, its target is resolved each time.
//!
//! A number starts at a hash of the name and is probed on collision, so that it is the same on every mount, for
//! programs that keep it.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use sha2::{Digest, Sha256};

use super::Error;

/// More links than any person names; each costs about a hundred bytes.
const MOST: usize = 1 << 20;

/// Every link that was looked up, by number and by name. Only names that resolve are added.
#[derive(Debug, Default)]
pub struct Links {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<u32, Arc<[u8]>>,
    numbers: HashMap<Arc<[u8]>, u32>,
}

impl Links {
    /// The number of a link, always the same.
    ///
    /// # Errors
    /// [`Error::Full`] after a million names.
    pub fn number(&self, name: &[u8]) -> Result<u32, Error> {
        if let Some(number) = self.table.read().unwrap_or_else(|e| e.into_inner()).numbers.get(name)
        {
            return Ok(*number);
        }
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        if let Some(number) = table.numbers.get(name) {
            return Ok(*number);
        }
        if table.names.len() >= MOST {
            return Err(Error::Full("links"));
        }
        let mut number = start(name);
        while table.names.contains_key(&number) {
            number = number.wrapping_add(1);
        }
        let name: Arc<[u8]> = name.into();
        table.names.insert(number, name.clone());
        table.numbers.insert(name, number);
        Ok(number)
    }

    /// The name of a link; `None` for a number that was never handed out.
    pub fn name(&self, number: u32) -> Option<Arc<[u8]>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        table.names.get(&number).cloned()
    }
}

/// The first number that is tried for a name.
fn start(name: &[u8]) -> u32 {
    let hash = Sha256::digest(name);
    hash.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_its_number_on_every_mount() {
        let (one, other) = (Links::default(), Links::default());
        let number = one.number(b"pets").expect("room");
        other.number(b"dogs").expect("room");
        assert_eq!(other.number(b"pets").expect("room"), number);
        assert_eq!(other.name(number).as_deref(), Some(&b"pets"[..]));
        assert_eq!(one.name(number.wrapping_add(1)), None);
    }
}
