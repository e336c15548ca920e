//! Opening: helper files in their current state, rows' files after checking that they are the packed ones, and
//! the top directories of views.

use std::sync::Arc;

use bytes::Bytes;

use super::beside::narrowing;
use super::handles::Handle;
use super::inode::Slot;
use super::listing::Listing;
use super::lookup::page_attr;
use super::place::Place;
use super::texts::Text;
use super::views::{Kind, View};
use super::{Answer, Attr, Error, Opened, Vfs};
use dcfs_core::error::{self, Result};
use dcfs_core::id::EntryId;
use dcfs_core::object::Object;
use dcfs_data::pages::Page;
use dcfs_store::{Caller, Reader, is_file};

impl Vfs {
    /// An open file or directory, of which the kernel may cache everything.
    pub(super) fn opened(&self, handle: Handle) -> Opened {
        Opened { handle: self.handles.insert(handle), keep: true, is_live: false, whole: None }
    }

    /// Opens a helper file.
    pub(super) fn open_page(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        page: Page,
    ) -> Answer<Opened> {
        let vfs = self.clone();
        let opened = move |text| Opened { keep: page.is_fixed(), ..vfs.opened(Handle::Text(text)) };
        self.with_page(number, slot, page, |vfs, text| vfs.texts.kept(&vfs.catalog, text))
            .map(opened)
    }

    /// Opens the text that `read` returns. A handle is only created if the caller still waits for it.
    pub(super) fn open_text(
        self: &Arc<Self>,
        keep: bool,
        read: impl FnOnce(&Self) -> Result<Bytes> + Send + 'static,
    ) -> Answer<Opened> {
        let vfs = self.clone();
        Answer::later(async move {
            let reader = vfs.clone();
            let text = vfs.blocking(move || read(&reader)).await?;
            Ok(Opened { keep, ..vfs.opened(Handle::Text(text)) })
        })
    }

    /// Opens a row's file.
    pub(super) fn open_file(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        entry: EntryId,
        caller: Option<Caller>,
    ) -> Answer<Opened> {
        self.with_view(number, slot, |view| {
            if let Some(opened) = self.open_known(number, slot, &view, entry) {
                return Answer::Now(opened);
            }
            let vfs = self.clone();
            Answer::later(async move {
                let place = vfs.place(number, slot, &view).await?;
                let arrival = tokio::time::timeout(vfs.timeout, vfs.files.arrival(number)).await;
                let reader = match arrival.ok().flatten() {
                    Some(reader) => reader,
                    None => vfs.open_object(number, &place, entry, caller).await?,
                };
                reader.arrived().await;
                Ok(vfs.opened_file(number, &place, entry, reader))
            })
        })
    }

    /// Opens a row's file that was opened before, or prefetched.
    fn open_known(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        view: &Arc<View>,
        entry: EntryId,
    ) -> Option<Result<Opened>> {
        let pack = view.pack()?;
        let ready = self.files.take_ready(number);
        let reader = ready.or_else(|| self.stores.open_again(&self.files.known(number)?))?;
        let reader = Some(reader).filter(|reader| !reader.is_arriving())?;
        let place = Place { slot, view: view.clone(), pack, shown: None };
        Some(
            self.believe(number, slot, &place.pack)
                .map(|()| self.opened_file(number, &place, entry, reader)),
        )
    }

    async fn open_object(
        self: &Arc<Self>,
        number: u64,
        place: &Place,
        entry: EntryId,
        caller: Option<Caller>,
    ) -> Result<Reader> {
        let (vfs, asked) = (self.clone(), place.clone());
        // One thread switch for the catalog and the cache.
        let look = move || {
            vfs.note_opened(&asked.view.of);
            let object = vfs.object(&asked, entry)?;
            let opened = match is_file(&object) {
                true => None,
                false => Some(vfs.stores.open_ahead(&object)?),
            };
            Ok((object, opened))
        };
        let found = self.blocking_at_cache(look).await;
        match self.sound(number, place, found)? {
            (_, Some(reader)) => Ok(reader),
            (object, None) => self.stores.open_for(&object, caller).await,
        }
    }

    /// Records an opened file, and prefetches the next ones.
    fn opened_file(
        self: &Arc<Self>,
        number: u64,
        place: &Place,
        entry: EntryId,
        reader: Reader,
    ) -> Opened {
        self.files.keep(number, &reader);
        self.followed(place, entry);
        self.opened_object(reader)
    }

    fn opened_object(&self, reader: Reader) -> Opened {
        let (keep, whole) = (reader.is_lasting(), reader.whole_file());
        Opened { keep, whole, ..self.opened(Handle::Object(Arc::new(reader))) }
    }

    /// The object behind an entry, whose identity is the packed one.
    pub(super) fn object(&self, place: &Place, entry: EntryId) -> Result<Object> {
        let (of, pack) = (&place.view.of, &place.pack);
        if let Some(object) = pack.object(&self.catalog, of, entry)? {
            return Ok(object);
        }
        let row = pack.first_row(entry)?.key();
        let version = format!("{}@{}", of.dataset, of.version);
        let error = error::Error::from(Error::Mismatch { row, version });
        self.packs.distrust(of, &error.to_string());
        self.views.retire(place.slot);
        Err(error)
    }

    /// The top directory of a view: listed helper files, then files or columns.
    pub(super) fn list_top(self: &Arc<Self>, number: u64, slot: Slot) -> Answer<Listing> {
        self.with_view(number, slot, |view| match view.kind() {
            Kind::Version if view.from.is_none() => {
                self.with_place_in_task(number, slot, move |vfs, place| {
                    Listing::top(vfs, place, vfs.page_attrs(place)?)
                })
            }
            // Not listed: a loop over the pictures of a filter must not meet a page.
            Kind::Version | Kind::Class => self.with_place_in_task(number, slot, |vfs, place| {
                Listing::top(vfs, place, Vec::new())
            }),
            Kind::Own => {
                self.with_place_in_task(number, slot, |vfs, place| match place.view.made() {
                    Some(step) => narrowing(step).list(vfs, place),
                    None => Listing::top(vfs, place, Vec::new()),
                })
            }
        })
    }

    /// The helper files of a version, with exact sizes.
    fn page_attrs(&self, place: &Place) -> Result<Vec<(Vec<u8>, Attr)>> {
        let (slot, of) = (place.slot, &place.view.of);
        let attr = |page: Page| -> Result<(Vec<u8>, Attr)> {
            let text = Text { slot, page, of, narrowed: None };
            let text = self.texts.fresh(&self.catalog, &text)?;
            Ok((page.name().as_bytes().to_vec(), page_attr(slot, page, of, &text)))
        };
        Page::ALL.into_iter().map(attr).collect()
    }
}
