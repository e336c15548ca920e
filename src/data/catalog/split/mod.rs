//! A catalog on servers: names in PostgreSQL (or a SQLite file), rows in ClickHouse. Read only.
//!
//! | file | what it does |
//! |---|---|
//! | `address`, `secret` | where they are, and who asks |
//! | `tasks` | conversations on threads of their own |
//! | `postgres`, `tls` | the metastore |
//! | `http` | statements to ClickHouse, and their answers |
//! | `types` | types and values of ClickHouse as cells |
//! | `table`, `bitmap` | tables as the server tells of them; sets of rows |
//! | `rows` | the warehouse |
//! | `error` | what servers say instead of an answer |

pub(super) mod address;
mod bitmap;
mod error;
mod http;
pub(super) mod postgres;
mod rows;
mod secret;
mod table;
mod tasks;
mod tls;
mod types;

use std::path::Path;
use std::sync::Arc;

pub(super) use error::ServerError;

use super::error::Error;
use super::metastore::Metastore;
use super::sqlite::connect::Pool;
use super::warehouse::Warehouse;
use address::{Address, Names};

/// Refuses to write a catalog on servers.
pub(super) fn check_writable(catalog: &Path) -> Result<(), ServerError> {
    match address::is_address(catalog) {
        true => {
            // A password that somebody wrote into it is not repeated.
            let address = Address::parse(&catalog.to_string_lossy())?;
            Err(ServerError::ReadOnly(address.shown()))
        }
        false => Ok(()),
    }
}

/// Opens a catalog by its address.
///
/// # Errors
/// The address is wrong; a server does not answer as one of a catalog does.
pub(super) fn open(given: &Path) -> Result<(Metastore, Box<dyn Warehouse>), Error> {
    let address = Address::parse(&given.to_string_lossy())?;
    let tasks = Arc::new(tasks::Tasks::new()?);
    let metastore = match &address.metastore {
        Names::Postgres(server) => {
            Metastore::Postgres(Arc::new(postgres::Postgres::open(tasks.clone(), server)?))
        }
        Names::Sqlite(folder) => {
            let file = super::locate::in_given(folder)?;
            let file = file.canonicalize().unwrap_or(file);
            Metastore::Sqlite(Arc::new(Pool::open(file)?))
        }
    };
    let server = http::ClickHouse::open(tasks, &address.warehouse)?;
    Ok((metastore.clone(), Box::new(rows::Rows::new(server, metastore))))
}
