//! The path of an inode below the mount, for log lines. Never blocks: unknown parts are shown by number.

use super::beside::narrowing;
use super::inode::{Inode, Slot};
use super::views::{Step, View};
use super::{Vfs, filters, sets};
use dcfs_core::id::EntryId;
use dcfs_core::name::escape;
use dcfs_data::pack::{Pack, names};

impl Vfs {
    /// The path of an inode; its number if it has none.
    pub fn path(&self, number: u64) -> String {
        let path = Inode::decode(number).and_then(|inode| self.known_path(inode));
        path.unwrap_or_else(|| format!("inode {number:#x}"))
    }

    fn known_path(&self, inode: Inode) -> Option<String> {
        let below = |slot: Slot, rest: &str| Some(self.view_path(slot)? + rest);
        match inode {
            Inode::Root => Some("/".into()),
            Inode::Top => Some("README.md".into()),
            Inode::Agents => Some("AGENTS.md".into()),
            Inode::Knowledge => Some("knowledge".into()),
            Inode::Known(number) => self.pages.path(number),
            Inode::ByName(number) => self.by_name.path(number),
            Inode::Status => Some("_status.json".into()),
            Inode::Metrics => Some("_metrics.prom".into()),
            Inode::Datasets => Some("datasets".into()),
            Inode::Link(link) => Some(format!("datasets/{}", shown(&self.links.name(link)?))),
            Inode::View(slot) => below(slot, ""),
            Inode::Column(slot, column) => below(slot, &self.column_path(slot, column)),
            Inode::Dir(slot, depth, first) => {
                below(slot, &self.entry_path(slot, EntryId::new(first), Some(depth)))
            }
            Inode::File(slot, entry) => below(slot, &self.entry_path(slot, entry, None)),
            Inode::Page(slot, page) => below(slot, &format!("/{}", page.name())),
            Inode::Table(slot, table) => below(slot, &format!("/{}", table.name())),
            Inode::Views(slot) => below(slot, "/_views"),
            Inode::ViewsPage(slot) => below(slot, "/_views/_README.md"),
            Inode::Beside(slot, node) => below(slot, &self.node_path(slot, node)?),
            Inode::Errors(slot) => below(slot, "/_error"),
            Inode::ColumnErrors(slot, column) => {
                below(slot, &(self.column_path(slot, column) + "/_error"))
            }
            Inode::DirErrors(slot, depth, first) => {
                below(slot, &(self.entry_path(slot, EntryId::new(first), Some(depth)) + "/_error"))
            }
            Inode::ErrorNote(slot, filter) => {
                below(slot, &format!("/_error/{}", filters::as_name(&self.notes.text(filter)?)))
            }
            Inode::Value(slot, leaf, first) => below(slot, &self.value_path(slot, leaf, first)),
        }
    }

    pub(super) fn view_path(&self, slot: Slot) -> Option<String> {
        let view = self.views.named(slot)?;
        let Some((parent, step)) = view.from else {
            let name = escape::segment(view.of.to_string().as_bytes()).into_owned();
            return Some(format!("datasets/{}", shown(&name)));
        };
        let rest = match step {
            Step::Value(leaf, first) => self.value_path(parent, leaf, first),
            Step::Query(number, dir) => {
                let filter = filters::as_name(&self.filters.text(number)?);
                match dir {
                    Some(dir) if dir.depth == 0 => {
                        format!("{}/{filter}", self.column_path(parent, dir.column))
                    }
                    Some(dir) => {
                        format!(
                            "{}/{filter}",
                            self.entry_path(parent, EntryId::new(dir.first), Some(dir.depth))
                        )
                    }
                    None => format!("/{filter}"),
                }
            }
            Step::Beside(step) => return narrowing(step).path(self, parent, step),
        };
        Some(self.view_path(parent)? + &rest)
    }

    pub(super) fn row_path(&self, slot: Slot, ordinal: u32, ending: &str) -> String {
        let pack = self.views.named(slot).and_then(|view| view.pack());
        // Ids that are not here are not waited for: a path is for people.
        let id = pack.and_then(|pack| names::hurried(|| pack.row_id(ordinal))?.ok()?);
        match id {
            Some(id) => format!("/_views/rows/{id}{ending}"),
            None => format!("/_views/rows/(row number {ordinal})"),
        }
    }

    pub(super) fn leaf_path(&self, slot: Slot, leaf: u16) -> String {
        let schema = self.views.named(slot).and_then(|view| view.known_schema());
        let name = schema.and_then(|schema| Some(sets::scalar(&schema, leaf)?.name));
        match name {
            Some(name) => format!("/_views/by/{}", shown(&escape::segment(name.as_bytes()))),
            None => format!("/_views/by/(column {leaf})"),
        }
    }

    fn value_path(&self, slot: Slot, leaf: u16, first: u32) -> String {
        let Some(view) = self.views.named(slot) else { return String::new() };
        format!("{}/{}", self.leaf_path(slot, leaf), self.value_name(&view, leaf, first))
    }

    pub(super) fn value_name(&self, view: &View, leaf: u16, first: u32) -> String {
        let values = self.sets.values(view.base, leaf);
        let value = values.as_ref().and_then(|values| values.as_ref().as_ref()?.numbered(first));
        value.map_or_else(|| format!("(the value of row {first})"), |value| shown(&value.name))
    }

    fn column_path(&self, slot: Slot, column: u16) -> String {
        let pack = self.views.named(slot).and_then(|view| view.pack());
        let columns = pack.as_ref().map(|pack| pack.columns()).unwrap_or_default();
        match columns.get(usize::from(column)).filter(|_| columns.len() > 1) {
            Some(column) => format!("/{}", shown(&column.directory)),
            None => String::new(),
        }
    }

    fn entry_path(&self, slot: Slot, entry: EntryId, depth: Option<u16>) -> String {
        let pack = self.views.named(slot).and_then(|view| view.pack());
        // For the log, which waits for nothing.
        let path = |pack: &Pack| Some((pack.column_of(entry).ok()?, pack.path(entry).ok()?));
        let found = pack.and_then(|pack| names::hurried(|| path(&pack))?);
        let Some((column, path)) = found else { return format!("/(entry {})", entry.number()) };
        let root = self.views.named(slot).and_then(|view| view.root);
        let above = root.map_or(0, |root| usize::from(root.depth));
        let segments = path.split(|b| *b == b'/').take(depth.map_or(usize::MAX, usize::from));
        let names = segments.skip(above).map(|segment| format!("/{}", shown(segment)));
        let column = if root.is_some() { String::new() } else { self.column_path(slot, column) };
        column + &names.collect::<String>()
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
