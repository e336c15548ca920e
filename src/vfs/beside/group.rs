//! `_views/group/<column>[,<column>][,avg=<column>].csv`: the number of rows of a view for each value.
//!
//! Found by name and not listed, since any columns can be named. `group/_error/<name>` has the message for a wrong name.

use std::sync::Arc;

use bytes::Bytes;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::stranger::on_terminal;
use dcfs_core::schema::Schema;
use dcfs_core::sql::{Known, SqlColumn};
use dcfs_data::sql::counts::{self, Sum};

use super::{At, Directory, Shape, inode};
use crate::handles::Handle;
use crate::inode::{Inode, Slot, ViewNode};
use crate::turns::Turn;
use crate::{Entry, FOREVER, Vfs, wrong};

/// Rows counted by value.
pub struct Group;

const NUMBER: u8 = 11;

/// The most bytes of a table, which is held in memory.
const MOST: usize = 16 << 20;

/// The nodes: the top; a table; `_error`, and the messages in it. Tables and messages have the number of their name
/// ([`wrong::Notes`]).
const TABLE: u8 = 1;
const ERRORS: u8 = 2;
const ERROR: u8 = 3;

impl Directory for Group {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "group"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## group/\n\n\
         The number of rows for each value of one or more columns, most first, with their share; and aggregates of other\n\
         columns: `count=`, `sum=`, `avg=`, `min=`, `max=`. Any columns can be named, none is listed:\n\n    \
         cat group/file.parent.csv\n    \
         cat group/file.ext,file.parent,avg=file.size.csv\n"
            .into()
    }

    fn shape(&self, kind: u8) -> Shape {
        if matches!(kind, TABLE | ERROR) { Shape::File } else { Shape::Directory }
    }

    fn turn(&self) -> Turn {
        Turn::Long
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        if at.node.kind == 0 && name == wrong::NAME {
            return Ok(Entry::Found(at.directory(ERRORS, 0)));
        }
        let columns = std::str::from_utf8(name).ok().and_then(|name| name.strip_suffix(".csv"));
        let Some(columns) = columns.filter(|columns| !columns.is_empty()) else {
            return Ok(Entry::Absent(FOREVER));
        };
        let node = ViewNode { number: at.vfs.notes.number(columns), ..at.node };
        let table = At { node: ViewNode { kind: TABLE, ..node }, ..at };
        match (at.node.kind, &*found(table)?) {
            (0, Ok(_)) => Ok(Entry::Found(at.file(TABLE, node.number)?)),
            (0, Err(why)) => Err(Error::new(Kind::Invalid, why.clone())),
            (_, Err(_)) => Ok(Entry::Found(at.file(ERROR, node.number)?)),
            (_, Ok(_)) => Ok(Entry::Absent(FOREVER)),
        }
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        let table = At { node: ViewNode { kind: TABLE, ..at.node }, ..at };
        let text = match (at.node.kind, &*found(table)?) {
            (TABLE, Ok(text)) => text.clone(),
            (TABLE, Err(why)) => return Err(Error::new(Kind::Invalid, why.clone())),
            (_, Err(why)) => Bytes::from(on_terminal(why) + "\n"),
            (_, Ok(_)) => return Err(at.unknown()),
        };
        Ok(Handle::Text(text))
    }

    fn up(&self, slot: Slot, node: ViewNode) -> Inode {
        match node.kind {
            ERRORS => inode(NUMBER, slot, 0, 0),
            _ => Inode::Views(slot),
        }
    }

    fn path(&self, vfs: &Vfs, _slot: Slot, node: ViewNode) -> String {
        let name = |above: &str| match vfs.notes.text(node.number) {
            Some(columns) => format!("/_views/group{above}/{columns}.csv"),
            None => format!("/_views/group{above}/(name {})", node.number),
        };
        match node.kind {
            TABLE => name(""),
            ERROR => name("/_error"),
            ERRORS => "/_views/group/_error".into(),
            _ => "/_views/group".into(),
        }
    }
}

/// A table, or why its name is wrong: both stay as they are, because the rows of a view never change.
type Answer = Result<Bytes, String>;

/// The table of a node, from the cache if it is there.
fn found(at: At<'_>) -> Result<Arc<Answer>> {
    let weigh = |table: &Answer| table.as_ref().map_or_else(String::len, Bytes::len);
    at.kept(at.node, weigh, || match made(at) {
        Ok(table) => Ok(Ok(table)),
        Err(error) if error.kind() == Kind::Invalid => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    })
}

fn made(at: At<'_>) -> Result<Bytes> {
    let columns = at.vfs.notes.text(at.node.number).ok_or_else(|| at.unknown())?;
    let known = Known::of(&*at.place.view.schema(&at.vfs.catalog)?);
    let (mut keys, mut sums): (Vec<SqlColumn>, Vec<Sum>) = Default::default();
    for part in columns.split(',') {
        let is_new = match part.split_once('=') {
            Some((kind, column)) => {
                let sum = Sum::read(&known, kind.trim(), column.trim())?;
                let is_new = !sums.iter().any(|own| own.kind == sum.kind && own.of == sum.of);
                sums.push(sum);
                is_new
            }
            None => {
                let key = counts::key(&known, part.trim())?;
                let is_new = !keys.contains(&key);
                keys.push(key);
                is_new
            }
        };
        if !is_new {
            return Err(Error::new(Kind::Invalid, format!("`{}` is named twice", part.trim())));
        }
    }
    let version = (&*at.vfs.catalog, &at.place.view.of);
    let within = at.place.set().map(|set| set.rows());
    let counted = counts::count(version, &at.place.pack, within.map(|rows| &**rows), keys, sums)?;
    Ok(counted.csv(MOST)?.into())
}
