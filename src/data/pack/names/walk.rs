//! A listing over blocks: the children of one directory, in byte order.
//!
//! Files are read in the blocks of entries. A directory that ends beyond its block is looked up among
//! the directories of its depth, so that what is below it is never read.

use std::sync::Arc;

use super::block::child;
use super::{DirNumber, Names, Page, codec};
use crate::pack::error::PackError;
use crate::pack::paths::Found;

/// The most blocks that are fetched together with the next one of a listing.
const AHEAD: usize = 3;

/// What is known of a child.
enum Known {
    No,
    /// There are no more.
    End,
    /// It is a directory: its name, and the first entry after it.
    Dir(Vec<u8>, u32),
}

/// See the module.
pub struct Walk<'n> {
    names: &'n Names,
    column: u16,
    depth: u16,
    first: u32,
    /// The first entry after the directory, once it is needed.
    end: Option<u32>,
    /// The directory's key, with a separator after it.
    above: Arc<[u8]>,
    /// The next entry.
    next: u32,
    page: Option<(usize, Page)>,
    name: Vec<u8>,
}

impl Names {
    /// The children of a directory, starting with the one that contains the entry `from`.
    pub fn children(&self, dir: DirNumber, from: u32) -> Result<Walk<'_>, PackError> {
        let (column, depth, first) = dir;
        let above = self.key_of_dir(dir)?;
        let next = from.max(first);
        let mut walk = Walk {
            names: self,
            column,
            depth,
            first,
            end: None,
            above,
            next,
            page: None,
            name: Vec::new(),
        };
        if next > first && next < self.column(column)?.entries {
            walk.back_up()?;
        }
        Ok(walk)
    }
}

impl Walk<'_> {
    /// Moves back to the first entry of the child that contains the next one.
    fn back_up(&mut self) -> Result<(), PackError> {
        let around = self.names.around(self.column, self.depth + 1, self.next)?;
        self.next = around.map_or(self.next, |(_, first, _)| first);
        Ok(())
    }

    /// The next child, with the entry that follows all of it; its name is [`Walk::name`].
    pub fn advance(&mut self) -> Result<Option<(Found, u32)>, PackError> {
        let top = self.names.column(self.column)?;
        let Some(block) = top.block_of(self.next) else { return Ok(None) };
        let first = top.range(block).start;
        let here = self.page.as_ref().is_some_and(|(here, _)| *here == block);
        if !here {
            let known = match self.names.has(self.column, block) {
                true => Known::No,
                false => self.without(block, self.next == first)?,
            };
            match known {
                Known::End => return Ok(None),
                Known::Dir(name, end) => {
                    self.name = name;
                    return self.told(Found::Dir(self.next), end).map(Some);
                }
                Known::No => {}
            }
            self.page = Some((block, self.names.page(self.column, block, AHEAD)?));
        }
        let Some((_, page)) = &self.page else { return Ok(None) };
        let (own, at) = (page.block()?, page.at(self.next));
        let key = own.key(at)?;
        let Some((name, is_dir)) = child(&key, &self.above) else { return Ok(None) };
        self.name.clear();
        self.name.extend_from_slice(name);
        if !is_dir {
            return self.told(Found::File(self.next), self.next + 1).map(Some);
        }
        // Everything below it is less than its own key with the byte after a separator.
        let after = [&key[..self.above.len() + self.name.len()], &[1]].concat();
        let end = match own.from(&after)? {
            end if end < own.count() => first + end as u32,
            _ => self.end_of_dir(&after, block)?,
        };
        self.told(Found::Dir(self.next), end).map(Some)
    }

    /// The end of the directory that begins at the next entry and continues to the end of a block.
    fn end_of_dir(&self, after: &[u8], block: usize) -> Result<u32, PackError> {
        let top = self.names.column(self.column)?;
        match top.key(block + 1) {
            Some(key) if key < after => {}
            _ => return Ok(top.range(block).end),
        }
        let found = self.names.around(self.column, self.depth + 1, self.next)?;
        found.map(|(_, _, end)| end).ok_or_else(codec::odd)
    }

    /// What is known of the next child without the block that it is in; `is_first` if it begins there.
    fn without(&mut self, block: usize, is_first: bool) -> Result<Known, PackError> {
        if is_first {
            let key = self.names.column(self.column)?.key(block).ok_or_else(codec::odd)?;
            match child(key, &self.above) {
                None => return Ok(Known::End),
                Some((_, false)) => return Ok(Known::No),
                Some((_, true)) => {}
            }
        }
        match self.names.around(self.column, self.depth + 1, self.next)? {
            // At a key in between, the directory may be another's.
            Some((_, first, _)) if !is_first && first >= self.end()? => Ok(Known::End),
            Some((name, first, end)) if first == self.next => Ok(Known::Dir(name, end)),
            _ => Ok(Known::No),
        }
    }

    /// The first entry after the directory.
    fn end(&mut self) -> Result<u32, PackError> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let around = match self.depth {
            0 => None,
            depth => self.names.around(self.column, depth, self.first)?,
        };
        let end = match around {
            Some((_, _, end)) => end,
            None => self.names.column(self.column)?.entries,
        };
        Ok(*self.end.insert(end))
    }

    fn told(&mut self, found: Found, next: u32) -> Result<(Found, u32), PackError> {
        if next <= self.next || self.name.is_empty() {
            return Err(codec::odd());
        }
        self.next = next;
        Ok((found, next))
    }

    /// The name of the child that [`Walk::advance`] returned.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
}
