//! What a name in a directory is, and what `stat` tells of it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::datasets::Found;
use super::inode::{Inode, Slot};
use super::texts::Text;
use super::{Answer, Attr, Entry, FOREVER, FileKind, SHORT, Vfs, column_root, only};
use crate::catalog::VersionInfo;
use crate::error::Result;
use crate::pack::{Dir, Node, Pack};
use crate::pages::Page;
use crate::time::Timestamp;

impl Vfs {
    pub(super) fn lookup_root(self: &Arc<Self>, name: &[u8]) -> Answer<Entry> {
        match name {
            b"datasets" => Answer::Now(Ok(Entry::Found(self.directory(Inode::Datasets, None)))),
            b"README.md" => {
                let vfs = self.clone();
                self.in_background(move || vfs.top_attr().map(Entry::Found))
            }
            _ => Answer::Now(Ok(Entry::Absent(FOREVER))),
        }
    }

    pub(super) fn lookup_dataset(&self, name: &[u8]) -> Result<Entry> {
        let current = self.datasets.current()?;
        if let Some(of) = current.version(name) {
            return Ok(Entry::Found(self.dataset_attr(name, Found::Version(of))?));
        }
        Ok(match current.link(name) {
            Some(target) => Entry::Found(self.dataset_attr(name, Found::Link(&target))?),
            None => Entry::Absent(SHORT),
        })
    }

    pub(super) fn lookup_version(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        if let Some(page) = Page::ALL.into_iter().find(|page| page.name().as_bytes() == name) {
            return self.page_attr(parent, slot, page).map(Entry::Found);
        }
        let name = name.to_vec();
        self.with_pack(parent, slot, move |vfs, pack| {
            if only(pack) {
                return vfs.lookup_below(slot, pack, column_root(parent, pack, 0)?, &name);
            }
            let column = pack.columns().iter().position(|column| column.directory == name);
            let Some(column) = column else { return Ok(Entry::Absent(FOREVER)) };
            let view = vfs.view(parent, slot)?;
            let inode = Inode::Column(slot, column as u16);
            Ok(Entry::Found(vfs.directory(inode, Some(&view.of))))
        })
    }

    pub(super) fn lookup_below(
        &self,
        slot: Slot,
        pack: &Pack,
        dir: Dir,
        name: &[u8],
    ) -> Result<Entry> {
        Ok(match pack.lookup(dir, name, None)? {
            Some(node) => Entry::Found(self.node(slot, pack, node)?),
            None => Entry::Absent(FOREVER),
        })
    }

    /// The attributes of an entry of `datasets/`.
    pub(super) fn dataset_attr(&self, name: &[u8], found: Found<'_>) -> Result<Attr> {
        Ok(match found {
            Found::Version(of) => Attr {
                ttl: SHORT,
                ..self.directory(Inode::Version(self.views.slot(of)?), Some(of))
            },
            Found::Link(target) => {
                let inode = Inode::Link(self.links.number(name)?);
                Attr { size: target.len() as u64, ..self.link(inode) }
            }
        })
    }

    pub(super) fn node(&self, slot: Slot, pack: &Pack, node: Node) -> Result<Attr> {
        match node {
            Node::File(entry) => self.file(slot, pack, entry),
            Node::Dir(dir) => {
                let inode = Inode::dir(slot, dir, only(pack));
                let view = self.views.get(slot);
                Ok(self.directory(inode, view.as_deref().map(|view| &view.of)))
            }
        }
    }

    pub(super) fn file(&self, slot: Slot, pack: &Pack, entry: u32) -> Result<Attr> {
        let inode = Inode::File(slot, entry);
        let facts = pack.facts(entry)?;
        Ok(Attr {
            inode,
            kind: FileKind::File,
            size: facts.size.unwrap_or(0),
            mtime: facts.mtime.map_or(SystemTime::UNIX_EPOCH, Timestamp::to_system),
            ttl: FOREVER,
        })
    }

    /// The attributes of a directory: of a version, as old as the version.
    pub(super) fn directory(&self, inode: Inode, of: Option<&VersionInfo>) -> Attr {
        let mtime = of.map_or(self.born, saved_at);
        Attr { inode, kind: FileKind::Directory, size: 0, mtime, ttl: FOREVER }
    }

    pub(super) fn link(&self, inode: Inode) -> Attr {
        Attr { inode, kind: FileKind::Link, size: 0, mtime: self.born, ttl: SHORT }
    }

    pub(super) fn top_attr(&self) -> Result<Attr> {
        let text = self.texts.fresh(&self.catalog, &Text::Top)?;
        Ok(Attr {
            inode: Inode::Top,
            kind: FileKind::File,
            size: text.len() as u64,
            mtime: self.born,
            ttl: SHORT,
        })
    }

    pub(super) fn page_attr(self: &Arc<Self>, number: u64, slot: Slot, page: Page) -> Answer<Attr> {
        self.with_view(number, slot, |view| {
            let vfs = self.clone();
            self.in_background(move || {
                let text = vfs.texts.fresh(&vfs.catalog, &Text::Page(slot, page, &view.of))?;
                Ok(page_attr(slot, page, &view.of, &text))
            })
        })
    }
}

/// When a version was saved.
fn saved_at(of: &VersionInfo) -> SystemTime {
    of.finished_at.or(of.created_at).map_or(SystemTime::UNIX_EPOCH, Timestamp::to_system)
}

pub(super) fn page_attr(slot: Slot, page: Page, of: &VersionInfo, text: &Bytes) -> Attr {
    Attr {
        inode: Inode::Page(slot, page),
        kind: FileKind::File,
        size: text.len() as u64,
        mtime: saved_at(of),
        ttl: if page.is_fixed() { FOREVER } else { SHORT },
    }
}
