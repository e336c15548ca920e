//! Opening: helper files as they stand, rows' files proven to be those that were packed, and the
//! directory of a version.

use std::sync::Arc;

use bytes::Bytes;

use super::asking::blocking;
use super::handles::Handle;
use super::inode::{Inode, Slot};
use super::listing::Listing;
use super::lookup::page_attr;
use super::texts::Text;
use super::{Answer, Attr, Error, Opened, Vfs, column_root, only};
use crate::catalog::VersionInfo;
use crate::error::{self, Result};
use crate::object::Object;
use crate::pack::Pack;
use crate::pages::Page;

impl Vfs {
    /// Opens `README.md` at the top.
    pub(super) fn open_top(self: &Arc<Self>) -> Answer<Opened> {
        self.open_text(false, |vfs| vfs.texts.kept(&vfs.catalog, &Text::Top))
    }

    /// Opens a helper file.
    pub(super) fn open_page(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        page: Page,
    ) -> Answer<Opened> {
        self.with_view(number, slot, |view| {
            self.open_text(page.is_fixed(), move |vfs| {
                vfs.texts.kept(&vfs.catalog, &Text::Page(slot, page, &view.of))
            })
        })
    }

    /// Opens what `read` gives. A handle is given out only to who still waits for it.
    fn open_text(
        self: &Arc<Self>,
        keep: bool,
        read: impl FnOnce(&Self) -> Result<Bytes> + Send + 'static,
    ) -> Answer<Opened> {
        let vfs = self.clone();
        Answer::later(async move {
            let reader = vfs.clone();
            let text = blocking(vfs.timeout, move || read(&reader)).await?;
            Ok(Opened { handle: vfs.handles.insert(Handle::Text(text)), keep })
        })
    }

    /// Opens a row's file.
    pub(super) fn open_file(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        entry: u32,
    ) -> Answer<Opened> {
        self.with_view(number, slot, |view| {
            let vfs = self.clone();
            Answer::later(async move {
                let pack = vfs.pack(number, slot, &view).await?;
                let (finder, asked) = (vfs.clone(), pack.clone());
                let find = move || finder.object(number, slot, &view.of, &asked, entry);
                let object = blocking(vfs.timeout, find).await;
                let object = vfs.sound(number, slot, &pack, object)?;
                let reader = vfs.stores.open(&object).await?;
                let handle = vfs.handles.insert(Handle::Object(Arc::new(reader)));
                Ok(Opened { handle, keep: true })
            })
        })
    }

    /// The object behind an entry, proven to be the one that was packed.
    fn object(
        &self,
        number: u64,
        slot: Slot,
        of: &VersionInfo,
        pack: &Pack,
        entry: u32,
    ) -> Result<Object> {
        let facts = pack.facts(entry)?;
        let row = pack.first_row(entry)?;
        let column = pack.columns().get(usize::from(pack.column_of(entry)?));
        let column = column.ok_or(Error::Unknown(number))?;
        let object = self.catalog.object(of, &column.file, row)?;
        match object {
            Some(object) if object.identity().short() == facts.identity => Ok(object),
            _ => {
                let version = format!("{}@{}", of.dataset, of.version);
                let error = error::Error::from(Error::Mismatch { row: row.key(), version });
                self.packs.distrust(of, &error.to_string());
                self.views.retire(slot);
                Err(error)
            }
        }
    }

    /// The directory of a version: helper files with exact sizes, then files or columns.
    pub(super) fn list_version(self: &Arc<Self>, number: u64, slot: Slot) -> Answer<Listing> {
        let inode = Inode::Version(slot);
        self.with_view(number, slot, |view| {
            let vfs = self.clone();
            Answer::later(async move {
                let pack = vfs.pack(number, slot, &view).await?;
                let (helper, shown) = (vfs.clone(), view.clone());
                let pages =
                    blocking(vfs.timeout, move || helper.page_attrs(slot, &shown.of)).await?;
                if only(&pack) {
                    let dir = column_root(number, &pack, 0)?;
                    return Ok(Listing::below(
                        inode,
                        Inode::Datasets,
                        &vfs,
                        slot,
                        &pack,
                        dir,
                        pages,
                    ));
                }
                Ok(Listing::columns(&vfs, slot, &pack, &view.of, pages))
            })
        })
    }

    /// The helper files of a version, with exact sizes.
    fn page_attrs(&self, slot: Slot, of: &VersionInfo) -> Result<Vec<(Vec<u8>, Attr)>> {
        let attr = |page: Page| {
            let text = self.texts.fresh(&self.catalog, &Text::Page(slot, page, of))?;
            Ok((page.name().as_bytes().to_vec(), page_attr(slot, page, of, &text)))
        };
        Page::ALL.into_iter().map(attr).collect()
    }
}
