//! One pass over the rows for all wanted columns: threads read chunks of rows and pack them, and
//! the calling thread writes them in order.

use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::piece::Piece;
use super::sink::Sink;
use super::{stem, stored};
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::Pack;
use crate::pack::folder::Staging;
use dcfs_core::cell::Cells;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::Column;
use dcfs_core::id::RowId;

/// Rows that a thread takes at a time.
const CHUNK: u32 = 1 << 16;

/// The most rows, and bytes, of a piece.
const PIECE: usize = 1 << 14;
const HEAVY: usize = 4 << 20;

/// The most reading threads.
const MOST_THREADS: u32 = 4;

/// Packing that takes longer is logged, repeatedly.
const LONG: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(10);

/// A message of a reading thread: a piece of every column, or the end of its chunk.
enum Message {
    Pieces(Vec<Piece>),
    End(Result<()>),
}

/// Packs `columns` into their folders in `home`. Calls `each` with the number of rows done.
pub fn pack(
    pack: &Pack,
    catalog: &Catalog,
    of: &VersionInfo,
    columns: &[&Arc<Column>],
    home: &Path,
    each: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let started = Instant::now();
    let key = |column: &Column| (column.column.clone(), column.form);
    let mut targets = Vec::with_capacity(columns.len());
    for column in columns {
        let folder = home.join(stem(&key(column)));
        let staging = Staging::create(&folder)?;
        let sink = Sink::new(column.form, staging.path())?;
        targets.push((*column, folder, staging, sink));
    }
    let mut told = Told { of, rows: pack.row_count().into(), started, last: started };
    let mut done = 0;
    read(pack, catalog, of, columns, &mut |pieces| {
        done += pieces.first().map_or(0, |piece| piece.valid.len() as u64);
        for ((.., sink), piece) in targets.iter_mut().zip(pieces) {
            sink.take(piece)?;
        }
        each(done);
        told.progress(done, columns);
        Ok(())
    })?;
    if done != u64::from(pack.row_count()) {
        let found = done;
        return Err(
            crate::pack::PackError::Changed { expected: pack.row_count().into(), found }.into()
        );
    }
    for (column, folder, staging, sink) in targets {
        let odd = sink.odd;
        if odd > 0 {
            let (version, column) = (of, &column.name);
            tracing::warn!(%version, column, cells = odd, "cells of another type than their column's are NULL to filters");
        }
        stored::describe(staging.path(), &key(column), pack.row_count(), sink.finish()?)?;
        staging.publish(&folder)?;
    }
    told.end(columns);
    Ok(())
}

/// Log lines about long work.
struct Told<'a> {
    of: &'a VersionInfo,
    rows: u64,
    started: Instant,
    last: Instant,
}

impl Told<'_> {
    fn progress(&mut self, done: u64, columns: &[&Arc<Column>]) {
        let is_first = self.last == self.started;
        if self.last.elapsed() < if is_first { LONG } else { AGAIN } {
            return;
        }
        self.last = Instant::now();
        let percent = done * 100 / self.rows.max(1);
        let (version, columns) = (self.of, names(columns));
        tracing::info!(%version, columns, percent, "packing columns for filters");
    }

    fn end(&self, columns: &[&Arc<Column>]) {
        if self.started.elapsed() > LONG {
            let (version, columns) = (self.of, names(columns));
            let seconds = self.started.elapsed().as_secs_f32();
            tracing::info!(%version, columns, rows = self.rows, seconds, "packed columns for filters");
        }
    }
}

fn names(columns: &[&Arc<Column>]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.join(", ")
}

/// Passes on the pieces of all rows in order.
fn read(
    pack: &Pack,
    catalog: &Catalog,
    of: &VersionInfo,
    columns: &[&Arc<Column>],
    give: &mut dyn FnMut(Vec<Piece>) -> Result<()>,
) -> Result<()> {
    let chunks = pack.row_count().div_ceil(CHUNK);
    let cores = thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let threads = cores.min(MOST_THREADS).min(chunks).max(1);
    thread::scope(|scope| {
        let start = |first: u32| {
            let (send, receive) = sync_channel(1);
            let work =
                move || chunks_from(pack, catalog, of, columns, (first, threads, chunks), &send);
            (receive, scope.spawn(work))
        };
        let (receivers, workers): (Vec<Receiver<Message>>, Vec<_>) =
            (0..threads).map(start).unzip();
        let taken = take(chunks, &receivers, give);
        // Threads still sending end when nobody listens. A panic has been reported.
        drop(receivers);
        workers.into_iter().for_each(|worker| drop(worker.join()));
        taken
    })
}

/// Passes on what the threads send, chunk by chunk in turn.
fn take(
    chunks: u32,
    receivers: &[Receiver<Message>],
    give: &mut dyn FnMut(Vec<Piece>) -> Result<()>,
) -> Result<()> {
    for chunk in 0..chunks {
        let receiver = &receivers[(chunk as usize) % receivers.len()];
        loop {
            match receiver.recv() {
                Ok(Message::Pieces(pieces)) => give(pieces)?,
                Ok(Message::End(result)) => break result?,
                Err(_) => {
                    return Err(Error::new(
                        Kind::Broken,
                        "a thread that packs columns died; its panic is in the log",
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Reads every `step`th chunk.
fn chunks_from(
    pack: &Pack,
    catalog: &Catalog,
    of: &VersionInfo,
    columns: &[&Arc<Column>],
    (first, step, end): (u32, u32, u32),
    send: &SyncSender<Message>,
) {
    for chunk in (first..end).step_by(step as usize) {
        let from = chunk * CHUNK;
        let to = from.saturating_add(CHUNK).min(pack.row_count()) - 1;
        let result = rows(pack, catalog, of, columns, from..=to, send);
        if send.send(Message::End(result)).is_err() {
            return;
        }
    }
}

fn rows(
    pack: &Pack,
    catalog: &Catalog,
    of: &VersionInfo,
    columns: &[&Arc<Column>],
    within: RangeInclusive<u32>,
    send: &SyncSender<Message>,
) -> Result<()> {
    let names: Vec<String> = columns.iter().map(|column| column.column.clone()).collect();
    let fresh = || -> Vec<Piece> { columns.iter().map(|column| Piece::new(column.form)).collect() };
    let ids = pack.ids()?;
    let id = |ordinal| ids.get(ordinal).ok_or_else(|| changed(of));
    let mut ranges = std::iter::once(id(*within.start())?..=id(*within.end())?);
    let mut pieces = fresh();
    let mut ordinal = *within.start();
    let mut each = |id: RowId, cells: &dyn Cells| {
        if ids.get(ordinal) != Some(id) {
            return Err(changed(of));
        }
        ordinal += 1;
        for (number, piece) in pieces.iter_mut().enumerate() {
            piece.push(cells.cell(number));
        }
        let is_full = pieces[0].valid.len() == PIECE
            || pieces.iter().map(Piece::weight).sum::<usize>() > HEAVY;
        if is_full && send.send(Message::Pieces(std::mem::replace(&mut pieces, fresh()))).is_err() {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    };
    catalog.cells(of, &names, &mut ranges, &mut each)?;
    if !pieces[0].valid.is_empty() {
        // Without a listener nobody waits for it.
        let _ = send.send(Message::Pieces(pieces));
    }
    Ok(())
}

fn changed(of: &VersionInfo) -> Error {
    Error::new(Kind::Stale, format!("the rows of `{of}` are not those that were packed"))
}
