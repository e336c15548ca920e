//! `_views/webdataset/<options>/{000000..N}.tar`: shards for WebDataset, `tar` and Python's `tarfile`,
//! generated while they are read.
//!
//! A row is a sample: its files, then its columns. Members are called `<sys__id>.<field>`, so they have no
//! second dot before the field and are contiguous:
//!
//! | field | content |
//! |---|---|
//! | `jpg` | the file of the first File column, by its extension |
//! | `mask.png` | the file of a further one, by column and extension |
//! | `json` | the row, as in `_rows.jsonl`; not with `json=no` |
//! | `cls`, `txt` | the value of the column that `cls=` or `txt=` names, where there is one |
//!
//! `index.json`, not listed, lists the shards with their samples, as `wids` reads it for random access.
//!
//! Sizes come from the rows, so headers and offsets are computed, and any byte can be read without those before
//! it. If a file is no longer the recorded one, reads of its bytes fail and no others; the header of a file
//! without a recorded size fails as well, because the offsets after it are unknown.

mod content;
mod options;
mod plan;
mod read;

pub use content::ending;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::hex::hex;
use dcfs_core::loader::options as written;
use dcfs_core::loader::tar::{Archive, Member};
use dcfs_core::schema::Schema;
use dcfs_data::pack::home::Home;

use self::content::{Content, Data};
use self::options::Options;
use self::plan::{Plan, Shard};
use self::read::Tar;
use super::{At, Directory, Narrowing, Shape, Stands, entry, inode, text_of};
use crate::handles::Handle;
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::{Each, Item, Listing, position};
use crate::place::Place;
use crate::views::{Kind, ViewStep};
use crate::{Entry, Vfs};

/// Shards of samples.
pub struct WebDataset;

const NUMBER: u8 = 7;

/// Number of shards from which their sizes are cached on disk, because finding them again takes a while.
const WORTH_KEEPING: usize = 16;

/// Kinds of nodes: the top; a shard, by its number; a cache key for the division into shards; the index.
const TOP: u8 = 0;
const SHARD: u8 = 1;
const PLAN: u8 = 2;
const INDEX: u8 = 3;

/// The index's name.
const INDEX_NAME: &[u8] = b"index.json";

impl Directory for WebDataset {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "webdataset"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## webdataset/\n\n\
         Tar files that WebDataset reads, made while they are read: `shard=` samples or `size=` bytes in each, a row's files with\n\
         its columns as `.json`, those that `cls=` and `txt=` name as `.cls` and `.txt`. `-` stands for no options:\n\n    \
         ls 'webdataset/shard=1000,cls=label/'\n    \
         tar tf webdataset/-/000000.tar\n    \
         cat webdataset/-/index.json   # for wids, by name\n    \
         python -c 'import webdataset; print(next(iter(webdataset.WebDataset(\"webdataset/-/000000.tar\"))))'\n"
            .into()
    }

    fn stands(&self) -> Stands {
        Stands::WithFiles
    }

    fn shape(&self, kind: u8) -> Shape {
        if matches!(kind, SHARD | INDEX) { Shape::File } else { Shape::Directory }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        let is_options = |text: &&str| *text == written::NONE || text.contains('=');
        let Some(text) = std::str::from_utf8(name).ok().filter(is_options) else {
            return Ok(entry(None));
        };
        Content::new(at.vfs, at.place, &Options::parse(text)?)?;
        let text = Some(at.vfs.filters.number(text)?);
        let step = ViewStep { directory: NUMBER, kind: 0, number: 0, text };
        Ok(Entry::Found(at.view(step)?))
    }

    fn list_from(&self, at: At<'_>, from: u32, each: &mut Each<'_>) -> Result<()> {
        for (number, shard) in (0..).zip(&plan(at)?.shards).skip(from as usize) {
            let attr = at.vfs.fixed(at.inode(SHARD, number), &at.place.view.of, shard.size);
            let name = format!("{number:06}.tar");
            let next = position(number) + 1;
            if each(Item { name: name.as_bytes(), attr, next, dots: false }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn size(&self, at: At<'_>) -> Result<u64> {
        if at.node.kind == INDEX {
            return Ok(index(at)?.len() as u64);
        }
        Ok(shard(at)?.size)
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        if at.node.kind == INDEX {
            return Ok(Handle::Text(index(at)?));
        }
        let shard = shard(at)?;
        let archive = at.kept(at.node, weight, || archive(at, &shard))?;
        Ok(Handle::Stream(Arc::new(Tar::new(at.vfs, at.place, archive, at.caller))))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::Views(slot)
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, node: ViewNode) -> String {
        match node.kind {
            SHARD => format!("/{:06}.tar", node.number),
            INDEX => "/index.json".into(),
            _ => "/_views/webdataset".into(),
        }
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for WebDataset {
    fn kind(&self, _step: ViewStep) -> Kind {
        Kind::Own
    }

    fn narrows(&self, _step: ViewStep) -> bool {
        false
    }

    fn above(&self, parent: Slot, _step: ViewStep) -> Inode {
        inode(NUMBER, parent, TOP, 0)
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        let text = vfs.filters.text(step.text?)?;
        Some(format!("{}/_views/webdataset/{text}", vfs.view_path(parent)?))
    }

    fn lookup(&self, vfs: &Arc<Vfs>, place: &Place, name: &[u8]) -> Result<Entry> {
        if name == INDEX_NAME {
            return Ok(Entry::Found(At::new(vfs, place, own(INDEX, 0)).file(INDEX, 0)?));
        }
        let number = std::str::from_utf8(name).ok().and_then(|name| name.strip_suffix(".tar"));
        let number = number.and_then(|number| number.parse().ok());
        let number = number.filter(|number: &u32| format!("{number:06}.tar").as_bytes() == name);
        let at = At::new(vfs, place, own(PLAN, 0));
        let shards = plan(at)?.shards.len();
        let there = number.filter(|number| (*number as usize) < shards);
        Ok(entry(there.map(|number| at.file(SHARD, number)).transpose()?))
    }

    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        // Here and not during the listing, because it may take a pass over the rows.
        let at = At::new(vfs, place, own(PLAN, 0));
        plan(at)?;
        Ok(Listing::numbered(at, (place.view.own, place.view.up)))
    }
}

fn own(kind: u8, number: u32) -> ViewNode {
    ViewNode { directory: NUMBER, kind, number }
}

/// The index for `wids`: the names of the shards, and the number of samples of each.
fn index(at: At<'_>) -> Result<Bytes> {
    let plan = plan(at)?;
    let shards = (0..).zip(&plan.shards).map(|(number, shard): (u32, _)| {
        json!({
            "url": format!("{number:06}.tar"),
            "nsamples": shard.samples,
            "filesize": shard.size,
        })
    });
    let shards: Vec<Value> = shards.collect();
    let index = json!({
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": at.place.view.of.to_string(),
        "shardlist": shards,
    });
    Ok(format!("{index:#}\n").into())
}

fn plan(at: At<'_>) -> Result<Arc<Plan>> {
    let weight = |plan: &Plan| plan.shards.len() * 32 + 64;
    at.kept(own(PLAN, 0), weight, || {
        let text = text_of(at.vfs, at.place)?;
        let wanted = Options::parse(&text)?;
        let content = Content::new(at.vfs, at.place, &wanted)?;
        let home = Home::of(&at.place.pack, "tables");
        let stem = content.source.stem(&format!("webdataset2-{}", digest(&text)));
        if let Some(plan) = home.find(&stem).and_then(Plan::read) {
            return Ok(plan);
        }
        let plan = Plan::new(&content, &wanted)?;
        if plan.shards.len() >= WORTH_KEEPING {
            plan.keep(&home, &stem);
        }
        Ok(plan)
    })
}

/// A digest of the options of a layout, for the name of a file.
pub fn digest(options: &str) -> String {
    hex(&Sha256::digest(options)[..8])
}

fn shard(at: At<'_>) -> Result<Shard> {
    let shard = plan(at)?.shards.get(at.node.number as usize).cloned();
    shard.ok_or_else(|| at.unknown())
}

fn archive(at: At<'_>, shard: &Shard) -> Result<Archive<Data>> {
    let text = text_of(at.vfs, at.place)?;
    let content = Content::new(at.vfs, at.place, &Options::parse(&text)?)?;
    let archive = Archive::new(content.members(shard.rows.clone())?);
    if archive.size() == shard.size {
        return Ok(archive);
    }
    let text = "the rows of a shard have changed since they were measured; mount again";
    Err(error::Error::new(ErrorKind::Broken, text))
}

fn weight(archive: &Archive<Data>) -> usize {
    archive.members().iter().map(|member| text(member) as usize + 128).sum()
}

/// Number of bytes of a member that are held in memory.
fn text(member: &Member<Data>) -> u64 {
    match &member.data {
        Data::Text(text) => text.len() as u64,
        Data::File(..) => 0,
    }
}
