//! Numbers for the links in `datasets/`: a link is its name, its target is asked for each time.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::Error;

/// More links than any person names; each costs about a hundred bytes.
const MOST: usize = 1 << 20;

/// Every link that was looked up, by number and by name. Only names that resolve come here.
#[derive(Debug, Default)]
pub struct Links {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    names: Vec<Arc<[u8]>>,
    numbers: HashMap<Arc<[u8]>, u32>,
}

impl Links {
    /// The number of a link, the same each time.
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
        let number = table.names.len() as u32;
        let name: Arc<[u8]> = name.into();
        table.names.push(name.clone());
        table.numbers.insert(name, number);
        Ok(number)
    }

    /// The name of a link; `None` for a number that was never handed out.
    pub fn name(&self, number: u32) -> Option<Arc<[u8]>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        table.names.get(number as usize).cloned()
    }
}
