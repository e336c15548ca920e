//! Errors of a catalog of Studio, each with its remedy.

use std::path::PathBuf;

use dcfs_core::error::Kind;

/// Why a catalog of Studio could not be read. `server` is `Studio at https://HOST`, `of` a version.
#[derive(Debug, thiserror::Error)]
pub enum StudioError {
    #[error("this is not the address of a catalog of Studio: {why}; write `studio://TEAM`")]
    Address { why: &'static str },
    #[error(
        "`DATACHAIN_STUDIO_URL`, or `url` in DataChain's settings, is not the address of a server; write `https://HOST`"
    )]
    Url,
    #[error(
        "`http://` would send the token unencrypted to another machine; write `https://` in `DATACHAIN_STUDIO_URL`, or in `url` \
         in DataChain's settings"
    )]
    Plain,
    #[error("no team is named; write `studio://TEAM`, or name it in `DATACHAIN_STUDIO_TEAM`")]
    NoTeam,
    #[error(
        "there is no token for Studio; use `datachain auth login`, or put it into `DATACHAIN_STUDIO_TOKEN`; the settings of a \
         project (`.datachain/config`, `datachain auth login --local`) are not read"
    )]
    NoToken,
    #[error("the token for Studio has characters that no token has; copy it again")]
    Token,
    #[error("DataChain's settings in `{}`: {what}", file.display())]
    Settings { file: PathBuf, what: String },
    #[error(
        "{server} cannot be reached: {cause}; check that it runs and that its address is right"
    )]
    Unreachable { server: String, cause: String },
    #[error(
        "{server} does not let this token read the team `{team}`{said}; check the name of the team, and the token \
         (`datachain auth login`)"
    )]
    Refused { server: String, team: String, said: String },
    #[error("{server} has no dataset `{name}`, or this token may not read it")]
    NoDataset { server: String, name: String },
    #[error("{server} cannot answer: {said}")]
    Said { server: String, said: String },
    #[error("{server} sent an answer that dcfs does not understand: {why}")]
    Odd { server: String, why: String },
    #[error("the schema of `{of}` in Studio: {what}; pull it with a newer dcfs, or with DataChain")]
    Schema { of: String, what: String },
    #[error("part {number} of {parts} of `{of}`: {what}; nothing of the version was kept")]
    Part { of: String, number: usize, parts: usize, what: String },
    #[error(
        "part {number} of {parts} of `{of}` cannot be fetched: {what}; run the command again to continue, if Studio \
         answers with the same export"
    )]
    Fetch { of: String, number: usize, parts: usize, what: String },
    #[error(
        "`{of}` has {came} rows, but Studio counts {wanted}; nothing of it was kept, try again"
    )]
    Rows { of: String, came: u64, wanted: u64 },
    #[error("the rows of `{of}` cannot be kept in `{}`: {cause}", folder.display())]
    Disk { of: String, folder: PathBuf, cause: std::io::Error },
    #[error("pulling `{0}` was cancelled; run the command again to continue")]
    Cancelled(String),
    #[error("a request to {0} was cancelled")]
    Unasked(String),
    #[error(
        "the catalog `{0}` is on servers, and has no folder for what people remember; copy what you need with \
         `dcfs catalog copy {0} DIR`, and remember it there"
    )]
    NoFolder(String),
}

impl StudioError {
    /// Whether the server may only be away for a while.
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// What the caller can do next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Address { .. }
            | Self::Url
            | Self::Plain
            | Self::NoTeam
            | Self::Token
            | Self::Settings { .. }
            | Self::NoFolder(_) => Kind::Invalid,
            Self::NoToken | Self::Refused { .. } => Kind::Denied,
            Self::NoDataset { .. } => Kind::Missing,
            Self::Cancelled(_) | Self::Unasked(_) => Kind::Busy,
            Self::Disk { cause, .. } if dcfs_disk::space::is_full(cause) => Kind::NoSpace,
            Self::Disk { .. }
            | Self::Unreachable { .. }
            | Self::Said { .. }
            | Self::Odd { .. }
            | Self::Schema { .. }
            | Self::Part { .. }
            | Self::Fetch { .. }
            | Self::Rows { .. } => Kind::Broken,
        }
    }
}
