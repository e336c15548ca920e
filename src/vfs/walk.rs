//! The file system by path and without a kernel: path resolution, trees entry by entry, a file's bytes in
//! order. It does what Linux does for programs on a mount (segments, links, offsets).

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::handles::HandleId;
use super::inode::{Inode, ROOT};
use super::listing::Listing;
use super::{Answer, Attr, Entry, FileKind, Vfs};
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::name::DatasetRef;

/// Size of one read. A shorter answer is the end of a file.
const CHUNK: u32 = 1 << 20;

/// Number of directory names held at a time.
const PAGE: usize = 1024;

/// Limit of links on one path, the same as in Linux.
const MOST_LINKS: usize = 40;

/// Why a path cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no `{name}` in `{place}`")]
    Missing { name: String, place: String },
    #[error("`{0}` is not a directory")]
    NotDirectory(String),
    #[error("`{0}` leads through too many links")]
    Links(String),
    /// A name that would lead out of its directory: none is ever handed out.
    #[error("a directory lists `{0}`, which is not a valid name; this is a bug")]
    BadName(String),
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Missing { .. } => Kind::Missing,
            Error::NotDirectory(_) => Kind::Invalid,
            Error::Links(_) | Error::BadName(_) => Kind::Broken,
        };
        Self::new(kind, error)
    }
}

impl<T> Answer<T> {
    /// Waits for the answer, however long it takes.
    pub async fn wait(self) -> Result<T> {
        match self {
            Self::Now(answer) => answer,
            Self::Later(work) => work.await,
        }
    }
}

/// An open file or directory, closed when dropped.
struct Open {
    vfs: Arc<Vfs>,
    handle: HandleId,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.vfs.release(self.handle);
    }
}

impl Vfs {
    /// Resolves a path, following links. It is relative to the top of the mount, or (usually) to `datasets/`:
    /// `pets/a.jpg` as well as `datasets/pets/a.jpg`. Empty and `.` segments are ignored.
    ///
    /// # Errors
    /// [`Kind::Missing`] with the missing segment; for a dataset, with the nearest names.
    pub async fn find(self: &Arc<Self>, path: &[u8]) -> Result<Attr> {
        let names: Vec<&[u8]> = segments(path).collect();
        let Some(first) = names.first() else { return self.getattr(ROOT).wait().await };
        let top = self.lookup(ROOT, first).wait().await?;
        let from = match top {
            // A dataset of that name takes precedence over what is there beside datasets.
            Entry::Found(found) if !matches!(found.inode, Inode::Knowledge | Inode::ByName(_)) => {
                ROOT
            }
            Entry::Found(_) if !self.is_dataset(first).await? => ROOT,
            _ => self.datasets_directory().await?,
        };
        let mut at = self.getattr(from).wait().await?;
        for (depth, name) in names.iter().enumerate() {
            let place = || shown(&names[..depth].join(&b'/'));
            if at.kind != FileKind::Directory {
                return Err(Error::NotDirectory(place()).into());
            }
            at = match self.child(&at, name).await? {
                Some(child) => child,
                None if at.inode == Inode::Datasets => return Err(self.no_dataset(name).await),
                None => return Err(Error::Missing { name: shown(name), place: place() }.into()),
            };
        }
        Ok(at)
    }

    async fn is_dataset(self: &Arc<Self>, name: &[u8]) -> Result<bool> {
        let (vfs, name) = (self.clone(), name.to_vec());
        let asked = self.in_background(move || Ok(vfs.datasets.current()?.link(&name).is_some()));
        asked.wait().await
    }

    async fn datasets_directory(self: &Arc<Self>) -> Result<u64> {
        match self.lookup(ROOT, b"datasets").wait().await? {
            Entry::Found(attr) => Ok(attr.inode.number()),
            Entry::Absent(_) => Ok(ROOT),
        }
    }

    /// The child of a directory, following links.
    async fn child(self: &Arc<Self>, parent: &Attr, name: &[u8]) -> Result<Option<Attr>> {
        let mut name = name.to_vec();
        for _ in 0..MOST_LINKS {
            let found = match self.lookup(parent.inode.number(), &name).wait().await? {
                Entry::Found(found) => found,
                Entry::Absent(_) => return Ok(None),
            };
            if found.kind != FileKind::Link {
                return Ok(Some(found));
            }
            // Links lead to names beside them.
            name = self.readlink(found.inode.number()).wait().await?;
        }
        Err(Error::Links(shown(&name)).into())
    }

    /// The error for the name of a dataset, in the words of `dcfs ls`.
    async fn no_dataset(self: &Arc<Self>, name: &[u8]) -> error::Error {
        let missing = Error::Missing { name: shown(name), place: "datasets".into() };
        let Ok(wanted) = shown(name).parse::<DatasetRef>() else { return missing.into() };
        let vfs = self.clone();
        let asked = self.in_background(move || vfs.catalog.find(&wanted));
        asked.wait().await.err().unwrap_or_else(|| missing.into())
    }

    /// Calls `each` with the bytes of a file in order, and returns their number.
    ///
    /// # Errors
    /// The file cannot be opened or read; those of `each`.
    pub async fn pour(
        self: &Arc<Self>,
        file: &Attr,
        mut each: impl FnMut(Bytes) -> Result<()>,
    ) -> Result<u64> {
        let handle = self.open(file.inode.number(), None).wait().await?.handle;
        let open = Open { vfs: self.clone(), handle };
        let mut done = 0;
        loop {
            let bytes = self.read(open.handle, done, CHUNK).wait().await?;
            let length = bytes.len();
            done += length as u64;
            each(bytes)?;
            if length < CHUNK as usize {
                return Ok(done);
            }
        }
    }

    /// The tree below a directory.
    ///
    /// # Errors
    /// It cannot be listed.
    pub async fn tree(self: &Arc<Self>, top: &Attr) -> Result<Tree> {
        let mut tree = Tree { vfs: self.clone(), levels: Vec::new() };
        tree.enter(Vec::new(), top).await?;
        Ok(tree)
    }
}

/// The segments of a path, without empty ones and `.`.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".")
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// An entry of a tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// Relative to the top, segments joined by `/`. No segment is empty, `.` or `..`.
    pub path: Vec<u8>,
    pub attr: Attr,
}

/// A walk over a tree, parents first. A directory is only descended into if [`Tree::enter`] is called.
///
/// Holds one page of names for each level.
pub struct Tree {
    vfs: Arc<Vfs>,
    levels: Vec<Level>,
}

/// A directory on the way down.
struct Level {
    path: Vec<u8>,
    open: Open,
    /// The position of its next page; `None` after the last.
    next: Option<u64>,
    names: VecDeque<(Vec<u8>, Attr)>,
}

impl Tree {
    /// The next entry: of the directory entered last, then of those above.
    ///
    /// # Errors
    /// If a listing fails, that directory is left; the walk continues above.
    pub async fn next(&mut self) -> Option<Result<Node>> {
        loop {
            let level = self.levels.last_mut()?;
            if let Some((name, attr)) = level.names.pop_front() {
                return Some(node(&level.path, &name, attr));
            }
            let Some(position) = level.next else {
                self.levels.pop();
                continue;
            };
            match page(&self.vfs, level.open.handle, position).await {
                Ok((names, next)) => (level.names, level.next) = (names, next),
                Err(error) => {
                    self.levels.pop();
                    return Some(Err(error));
                }
            }
        }
    }

    /// Descends into a directory of the tree: the next entries are its own.
    ///
    /// # Errors
    /// It cannot be listed.
    pub async fn enter(&mut self, path: Vec<u8>, directory: &Attr) -> Result<()> {
        let handle = self.vfs.opendir(directory.inode.number()).wait().await?.handle;
        let open = Open { vfs: self.vfs.clone(), handle };
        self.levels.push(Level { path, open, next: Some(0), names: VecDeque::new() });
        Ok(())
    }
}

/// An entry, if its name is valid: names come from strangers, and must not lead elsewhere.
fn node(above: &[u8], name: &[u8], attr: Attr) -> Result<Node> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
        return Err(Error::BadName(shown(name)).into());
    }
    let path = if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() };
    Ok(Node { path, attr })
}

/// Names of an open directory from a position on, and the position of the next ones.
type Page = (VecDeque<(Vec<u8>, Attr)>, Option<u64>);

async fn page(vfs: &Arc<Vfs>, handle: HandleId, position: u64) -> Result<Page> {
    let listing = vfs.listing(handle)?;
    // Sizes of rows' files are found during the listing, which blocks on the catalog.
    if listing.may_wait() {
        let work = vfs.in_background(move || names(&listing, position));
        return work.wait().await;
    }
    names(&listing, position)
}

fn names(listing: &Listing, position: u64) -> Result<Page> {
    let mut found = VecDeque::new();
    let mut next = None;
    listing.each(position, &mut |item| {
        if !item.dots {
            found.push_back((item.name.to_vec(), item.attr));
        }
        if found.len() < PAGE {
            return ControlFlow::Continue(());
        }
        next = Some(item.next);
        ControlFlow::Break(())
    })?;
    Ok((found, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FOREVER;

    #[test]
    fn a_path_is_its_names() {
        let cases: [(&str, &[&str]); 6] = [
            ("pets@1.0.0/a b.jpg", &["pets@1.0.0", "a b.jpg"]),
            ("/datasets//pets/", &["datasets", "pets"]),
            ("./pets/.", &["pets"]),
            ("pets/../x", &["pets", "..", "x"]),
            ("", &[]),
            ("/", &[]),
        ];
        for (path, want) in cases {
            let got: Vec<String> = segments(path.as_bytes()).map(shown).collect();
            assert_eq!(got, want, "{path}");
        }
    }

    #[test]
    fn no_name_leads_out_of_its_directory() {
        let attr = Attr {
            inode: Inode::Root,
            kind: FileKind::File,
            size: 0,
            mtime: std::time::SystemTime::UNIX_EPOCH,
            ttl: FOREVER,
        };
        for name in ["", ".", "..", "a/b", "/etc", "../x", "a\0"] {
            assert!(node(b"dir", name.as_bytes(), attr).is_err(), "{name:?}");
        }
        for (above, name, path) in [("", "...", "..."), ("a/b", "c", "a/b/c"), ("", "-rf", "-rf")] {
            let node = node(above.as_bytes(), name.as_bytes(), attr).expect(name);
            assert_eq!(node.path, path.as_bytes());
        }
    }
}
