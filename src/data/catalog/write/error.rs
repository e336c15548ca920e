//! Refused writes, each with what to do instead.

use dcfs_core::error::Kind;
use dcfs_core::name::DatasetName;
use dcfs_core::version::Version;

/// Why a write was refused. Nothing was changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("`{0}` cannot be the name of a dataset: {1}")]
    Name(String, &'static str),
    #[error(
        "datasets are saved in `local.local`, and `{0}` is in another project, for a dot ends the name of one; \
         write a name without dots"
    )]
    Elsewhere(DatasetName),
    #[error(
        "there is `{there}` already, and DataChain keeps the rows of `{wanted}` in the same place; choose another name, or spell it like that"
    )]
    OtherCase { wanted: String, there: String },
    #[error(
        "the catalog holds the listing `{there}`, and DataChain keeps the rows of `{wanted}` in the same place; index the \
         folder around both, with a pattern for what is wanted"
    )]
    OtherListing { wanted: String, there: String },
    #[error("there is a dataset `{0}` already; choose another name")]
    Taken(DatasetName),
    #[error(
        "every version of the dataset `{0}` was removed, and its name and numbers stay taken; choose another name"
    )]
    TakenByRemoved(DatasetName),
    #[error(
        "`{name}@{wanted}` is not above {latest}, the highest version there ever was; versions only go up"
    )]
    NotAbove { name: DatasetName, wanted: Version, latest: Version },
    #[error(
        "the number of `{name}@{wanted}` is taken in the catalog that gets it, by another version or one that was removed there; \
         rename the dataset there, or copy into another catalog"
    )]
    NumberTaken { name: DatasetName, wanted: Version },
    #[error("`{0}` has no version above {1}: its numbers are used up; save under another name")]
    NumbersUsedUp(DatasetName, Version),
    #[error(
        "the catalog holds a table `{0}` that belongs to no version; run `datachain gc`, or choose another name"
    )]
    TableInTheWay(String),
    #[error("another version of `{0}` was saved, or removed, meanwhile; try again")]
    Overtaken(DatasetName),
    #[error(
        "the catalog `{0}` is Studio's, and is only read; copy what you need with `dcfs catalog copy {0} DIR`, and work there \
         (`--catalog DIR`)"
    )]
    Studio(String),
    #[error("`{0}` is not in the catalog")]
    NoDataset(DatasetName),
    #[error("a column called `{0}` cannot be saved")]
    Column(String),
    #[error(
        "the column `{column}` is `{kind}` in ClickHouse, and `{cell}` is none; nothing was saved"
    )]
    Cell { column: String, kind: String, cell: String },
    #[error(
        "a row has the id {0}, and ids in ClickHouse are not negative; save its version again, which numbers its rows from 1; \
         nothing was saved"
    )]
    Id(i64),
    #[error(
        "the connection to the metastore was lost for so long that another writer took this one for dead; nothing was saved: \
         try again"
    )]
    StageLost,
    #[error(
        "no file can be made beside the catalog `{catalog}`: {cause}; ask the folder's owner for permission, or \
         make room"
    )]
    NoLock { catalog: String, cause: String },
}

impl Refused {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::NoDataset(_) => Kind::Missing,
            Self::TableInTheWay(_) => Kind::Broken,
            Self::NoLock { .. } => Kind::Denied,
            Self::Overtaken(_) | Self::StageLost => Kind::Busy,
            _ => Kind::Invalid,
        }
    }
}
