//! A catalog on servers: names in PostgreSQL (or a SQLite file), rows in ClickHouse.
//!
//! | file | contents |
//! |---|---|
//! | `address`, `secret` | the servers, and the credentials |
//! | `tasks` | network requests on threads of their own |
//! | `postgres`, `values`, `tls` | the metastore |
//! | `http`, `profile` | statements to ClickHouse, and their results; settings that would change them |
//! | `types` | types and values of ClickHouse, converted to cells |
//! | `table`, `bitmap` | descriptions of tables; sets of rows |
//! | `select` | rows as they arrive |
//! | `rows`, `groups` | the warehouse: rows, and groups of rows for statements |
//! | `writing` | new versions, and changes to existing ones |
//! | `error` | errors of servers |

pub(super) mod address;
mod bitmap;
pub(super) mod error;
mod groups;
mod http;
pub(super) mod postgres;
mod profile;
mod rows;
mod secret;
mod select;
mod table;
pub(super) mod tasks;
mod tls;
mod types;
mod values;
mod writing;

use std::path::Path;
use std::sync::Arc;

pub(super) use error::ServerError;
pub(super) use writing::{Column, ServerStage, Servers};

use super::error::Error;
use super::metastore::Metastore;
use super::sqlite::connect::Pool;
use super::warehouse::Warehouse;
use address::{Address, Names};

/// Fails for a catalog on servers, which has no folder around it.
pub(super) fn check_folder(catalog: &Path) -> Result<(), ServerError> {
    match address::is_address(catalog) {
        true => {
            // A password that somebody wrote into it is not repeated.
            let address = Address::parse(&catalog.to_string_lossy())?;
            Err(ServerError::NoFolder(address.shown()))
        }
        false => Ok(()),
    }
}

/// Opens a catalog by its address.
///
/// # Errors
/// An invalid address; a server that does not answer like one of a catalog.
pub(super) fn open(given: &Path) -> Result<(Metastore, Box<dyn Warehouse>), Error> {
    let address = Address::parse(&given.to_string_lossy())?;
    let tasks = Arc::new(tasks::Tasks::new()?);
    let metastore = match &address.metastore {
        Names::Postgres(server) => Metastore::Postgres(Arc::new(postgres::Postgres::open(
            tasks.clone(),
            server,
            postgres::Access::Read,
        )?)),
        Names::Sqlite(folder) => {
            let file = super::locate::in_given(folder)?;
            let file = file.canonicalize().unwrap_or(file);
            Metastore::Sqlite(Arc::new(Pool::open(file)?))
        }
    };
    let server = http::ClickHouse::open(tasks, &address.warehouse)?;
    Ok((metastore.clone(), Box::new(rows::Rows::new(server, metastore))))
}
