//! The half of a catalog that holds names: versions, lineage, annotations.

use std::sync::Arc;

use super::Revision;
use super::ask::Ask;
use super::error::Error;
use super::split::postgres::Postgres;
use super::sqlite::connect::Pool;
use super::studio::Studio;

/// The database of names.
#[derive(Clone, Debug)]
pub(super) enum Metastore {
    Sqlite(Arc<Pool>),
    Postgres(Arc<Postgres>),
    Studio(Arc<Studio>),
}

impl Metastore {
    /// Runs `work`, for SQLite in one read transaction; may run it more than once.
    pub fn read<T>(&self, mut work: impl FnMut(&dyn Ask) -> Result<T, Error>) -> Result<T, Error> {
        match self {
            Self::Sqlite(pool) => pool.read(|connection| work(connection)),
            Self::Postgres(server) => work(&**server),
            Self::Studio(studio) => studio.names().read(|connection| work(connection)),
        }
    }

    /// See [`Revision`].
    pub fn revision(&self) -> Result<Revision, Error> {
        match self {
            Self::Sqlite(pool) => pool.revision(),
            Self::Postgres(server) => server.revision(),
            Self::Studio(studio) => studio.revision(),
        }
    }
}
