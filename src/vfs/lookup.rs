//! Lookups of names in directories, and attributes.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::beside::narrowing;
use super::datasets::Found;
use super::inode::{Inode, Slot};
use super::knowledge::{self, Front};
use super::place::Place;
use super::tables::Table;
use super::texts::Text;
use super::views::{Kind, View};
use super::{Answer, Attr, Entry, FOREVER, FileKind, SHORT, Vfs};
use dcfs_core::error::Result;
use dcfs_core::id::EntryId;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::VersionInfo;
use dcfs_data::pack::{Dir, Node, Pack};
use dcfs_data::pages::Page;
use dcfs_data::query::Ranking;

impl Vfs {
    pub(super) fn lookup_root(self: &Arc<Self>, name: &[u8]) -> Answer<Entry> {
        match name {
            b"datasets" => Answer::Now(Ok(Entry::Found(self.directory(Inode::Datasets, None)))),
            knowledge::NAME => {
                Answer::Now(Ok(Entry::Found(self.directory(Inode::Knowledge, None))))
            }
            b"_status.json" => Answer::Now(Ok(Entry::Found(self.live(Inode::Status)))),
            b"_metrics.prom" => Answer::Now(Ok(Entry::Found(self.live(Inode::Metrics)))),
            name => match Front::ALL.into_iter().find(|front| front.name().as_bytes() == name) {
                Some(front) => {
                    let vfs = self.clone();
                    self.in_background(move || vfs.front_attr(front).map(Entry::Found))
                }
                None => Answer::Now(Ok(self
                    .lookup_by_name(name)
                    .map_or(Entry::Absent(FOREVER), Entry::Found))),
            },
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

    /// Looks up a name in the top directory of a view: a helper file, or one of its files.
    pub(super) fn lookup_top(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        self.with_view(parent, slot, |view| match Helper::named(&view, name) {
            Some(_) if view.root.is_some() => self.lookup_rooted(parent, slot, name),
            helper => self.lookup_named(parent, slot, (&view, helper), name),
        })
    }

    /// The same in a query below a directory of files, where a recorded name may be a helper's.
    fn lookup_rooted(self: &Arc<Self>, parent: u64, slot: Slot, name: &[u8]) -> Answer<Entry> {
        let (vfs, name) = (self.clone(), name.to_vec());
        Answer::later(async move {
            let view = vfs.view(parent, slot)?;
            let place = vfs.place(parent, slot, &view).await?;
            let wanted = name.clone();
            let is_recorded = vfs.blocking(move || place.records(&wanted)).await?;
            let helper = (!is_recorded).then(|| Helper::named(&view, &name)).flatten();
            vfs.lookup_named(parent, slot, (&view, helper), &name).wait().await
        })
    }

    fn lookup_named(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        (view, helper): (&View, Option<Helper>),
        name: &[u8],
    ) -> Answer<Entry> {
        match helper {
            Some(Helper::Page(page)) => self.page_attr(parent, slot, page).map(Entry::Found),
            Some(Helper::Table(table)) => self.table_attr(parent, slot, table).map(Entry::Found),
            Some(Helper::Views) => {
                let attr = self.directory(Inode::Views(slot), Some(&view.of));
                Answer::Now(Ok(Entry::Found(attr)))
            }
            None => {
                let name = name.to_vec();
                if let Some(step) = view.made().filter(|step| narrowing(*step).owns(*step, &name)) {
                    return self.with_place_in_task(parent, slot, move |vfs, place| {
                        narrowing(step).lookup(vfs, place, &name)
                    });
                }
                self.with_place(parent, slot, move |vfs, place| vfs.lookup_files(place, &name))
            }
        }
    }

    /// Looks up a name among the files of a view's top directory, or its columns.
    pub(super) fn lookup_files(&self, place: &Place, name: &[u8]) -> Result<Entry> {
        if let Some(dir) = place.top() {
            return self.lookup_below(place, dir, name);
        }
        let columns = place.columns()?;
        let Some((column, _)) = columns.into_iter().find(|(_, directory)| *directory == name)
        else {
            return self.lookup_query(place, None, name);
        };
        let inode = Inode::Column(place.slot, column);
        Ok(Entry::Found(self.directory(inode, Some(&place.view.of))))
    }

    /// Looks up a name in a directory of files: a recorded one, else a filter.
    pub(super) fn lookup_below(&self, place: &Place, dir: Dir, name: &[u8]) -> Result<Entry> {
        let node = match place.ranking() {
            Some(ranking) => self.ranked(place, ranking, dir.column, name)?,
            None => place.lookup(dir, name)?,
        };
        match node {
            Some(node) => Ok(Entry::Found(self.node(place, node)?)),
            None => self.lookup_query(place, (place.top() != Some(dir)).then_some(dir), name),
        }
    }

    /// Looks up a name with a rank.
    fn ranked(
        &self,
        place: &Place,
        ranking: &Ranking,
        column: u16,
        name: &[u8],
    ) -> Result<Option<Node>> {
        let Some(rank) = ranking.place(name) else { return Ok(None) };
        let found = place.ranked(ranking, column, rank)?;
        Ok(found.filter(|(_, known)| known == name).map(|(entry, _)| Node::File(entry)))
    }

    /// The attributes of an entry of `datasets/`.
    pub(super) fn dataset_attr(&self, name: &[u8], found: Found<'_>) -> Result<Attr> {
        Ok(match found {
            Found::Version(of) => {
                Attr { ttl: SHORT, ..self.directory(Inode::View(self.views.slot(of)?), Some(of)) }
            }
            Found::Link(target) => {
                let inode = Inode::Link(self.links.number(name)?);
                Attr { size: target.len() as u64, ..self.link(inode) }
            }
        })
    }

    pub(super) fn node(&self, place: &Place, node: Node) -> Result<Attr> {
        match node {
            Node::File(entry) => self.file(place.view.base, &place.pack, entry),
            Node::Dir(dir) => Ok(self.directory(place.inode(dir), Some(&place.view.of))),
        }
    }

    pub(super) fn file(&self, base: Slot, pack: &Pack, entry: EntryId) -> Result<Attr> {
        let facts = pack.facts(entry)?;
        Ok(Attr {
            inode: Inode::File(base, entry),
            kind: FileKind::File,
            size: facts.size.unwrap_or(0),
            mtime: facts.mtime.map_or(SystemTime::UNIX_EPOCH, Timestamp::to_system),
            ttl: FOREVER,
        })
    }

    /// The attributes of a directory: in a version, with the version's time.
    pub(super) fn directory(&self, inode: Inode, of: Option<&VersionInfo>) -> Attr {
        let mtime = of.map_or(self.born, saved_at);
        Attr { inode, kind: FileKind::Directory, size: 0, mtime, ttl: FOREVER }
    }

    /// The attributes of a file of known size that describes a version and never changes.
    pub(super) fn fixed(&self, inode: Inode, of: &VersionInfo, size: u64) -> Attr {
        Attr { inode, kind: FileKind::File, size, mtime: saved_at(of), ttl: FOREVER }
    }

    pub(super) fn link(&self, inode: Inode) -> Attr {
        Attr { inode, kind: FileKind::Link, size: 0, mtime: self.born, ttl: SHORT }
    }

    pub(super) fn page_attr(self: &Arc<Self>, number: u64, slot: Slot, page: Page) -> Answer<Attr> {
        self.with_view(number, slot, |view| {
            self.with_page(number, slot, page, |vfs, text| vfs.texts.fresh(&vfs.catalog, text))
                .map(move |text| page_attr(slot, page, &view.of, &text))
        })
    }

    /// Runs `ask` on the text of a helper file, in a task. Those of a version need no pack.
    pub(super) fn with_page(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        page: Page,
        ask: impl FnOnce(&Self, &Text<'_>) -> Result<Bytes> + Send + 'static,
    ) -> Answer<Bytes> {
        self.with_view(number, slot, |view| {
            if view.from.is_some() {
                return self.with_place_in_task(number, slot, move |vfs, place| {
                    let mut narrowed = vfs.narrowed(place);
                    if let (Some(narrowed), Page::Readme) = (&mut narrowed, page) {
                        narrowed.first = vfs.examples(place)?;
                    }
                    let (of, narrowed) = (&place.view.of, narrowed.as_ref());
                    ask(vfs, &Text { slot, page, of, narrowed })
                });
            }
            let vfs = self.clone();
            self.in_background(move || {
                ask(&vfs, &Text { slot, page, of: &view.of, narrowed: None })
            })
        })
    }

    /// A page of a view: its attributes and its text, which never change.
    pub(super) fn note(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        inode: Inode,
    ) -> Answer<(Attr, Bytes)> {
        self.with_place_in_task(number, slot, move |vfs, place| vfs.note_of(place, inode))
    }

    pub(super) fn note_of(&self, place: &Place, inode: Inode) -> Result<(Attr, Bytes)> {
        let text = match inode {
            Inode::ErrorNote(_, number) => self.error_note(place, number)?,
            _ => self.views_page(place)?,
        };
        Ok((self.fixed(inode, &place.view.of, text.len() as u64), text.into()))
    }
}

/// Entries beside the files in the top directory of a view.
enum Helper {
    Page(Page),
    Table(Table),
    Views,
}

impl Helper {
    /// The helper called `name` in the top directory of `view`, listed or not.
    fn named(view: &View, name: &[u8]) -> Option<Self> {
        let page = || Page::ALL.into_iter().find(|page| page.name().as_bytes() == name);
        let table = || Table::BY_NAME.into_iter().find(|table| table.name().as_bytes() == name);
        let views = || (name == b"_views").then_some(Self::Views);
        match view.kind() {
            Kind::Version => {
                page().map(Self::Page).or_else(|| table().map(Self::Table)).or_else(views)
            }
            Kind::Class => table().map(Self::Table).or_else(views),
            Kind::Own => None,
        }
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
