//! Errors of a catalog on servers, each with its remedy.

use dcfs_core::error::Kind;

/// Why a catalog on servers could not be read. `server` is its address without a password.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(
        "`{given}` is not the address of a catalog: {why}; write `clickhouse://HOST[:PORT]/DATABASE?metastore=postgresql://HOST[:PORT]/DATABASE`"
    )]
    Address { given: String, why: String },
    #[error(
        "a password in the address of a catalog is visible to every process of this machine; leave it out of {0}, and put it \
         into `CLICKHOUSE_PASSWORD` or `PGPASSWORD`, or into a file that `CLICKHOUSE_PASSWORD_FILE` or `PGPASSFILE` names"
    )]
    Password(&'static str),
    #[error("the file of a password, `{file}`: {cause}")]
    PasswordFile { file: String, cause: std::io::Error },
    #[error(
        "{server} cannot be reached: {cause}; check that it runs and that the address is right"
    )]
    Unreachable { server: String, cause: String },
    #[error(
        "{server} does not let `{user}` in: a wrong name or password; the name is in the address (`USER@HOST`), the \
         password in {where_to}"
    )]
    Refused { server: String, user: String, where_to: &'static str },
    #[error("{server} does not allow this to `{user}`: {said}; ask who runs it for the right")]
    Forbidden { server: String, user: String, said: String },
    #[error("{server} is of version {version}, and dcfs needs {needed} or later; update it")]
    TooOld { server: String, version: String, needed: &'static str },
    #[error("{server} has no database `{database}`, or `{user}` may not see it")]
    NoDatabase { server: String, database: String, user: String },
    #[error("{server} holds no catalog of DataChain: it has no table `{lacks}`")]
    NoCatalog { server: String, lacks: &'static str },
    #[error("{server} stopped in the middle of an answer: {cause}; try again when it works")]
    Cut { server: String, cause: String },
    #[error(
        "{server} stopped at the end of a change: {cause}; it is not known whether it was made: look at the catalog when it works, \
         and repeat the command if it was not"
    )]
    Unknown { server: String, cause: String },
    #[error("{server} is busy: {said}; try again")]
    Busy { server: String, said: String },
    #[error("{server} has no room: {said}; nothing was saved: make room there and try again")]
    Full { server: String, said: String },
    #[error("a query to {server} was cancelled")]
    Cancelled { server: String },
    #[error("{server} cannot answer: {said}")]
    Said { server: String, said: String },
    #[error("{server} sent an answer that dcfs does not understand: {why}")]
    Odd { server: String, why: String },
    #[error(
        "the catalog `{0}` is on servers, and has no folder for what people remember; say it of the dataset or a column: \
         `dcfs describe`"
    )]
    NoFolder(String),
}

/// The cause of a change that nobody waited for to its end.
const CANCELLED: &str = "it was cancelled";

impl ServerError {
    /// The same for a change that may have been made although its answer was lost.
    pub fn at_commit(self) -> Self {
        match self {
            Self::Unreachable { server, cause } | Self::Cut { server, cause } => {
                Self::Unknown { server, cause }
            }
            // The server was asked to commit before anybody stopped waiting.
            Self::Cancelled { server } => Self::Unknown { server, cause: CANCELLED.into() },
            other => other,
        }
    }

    /// The same once it is known that the change was not made.
    pub fn undone(self) -> Self {
        match self {
            Self::Unknown { server, cause } if cause == CANCELLED => Self::Cancelled { server },
            Self::Unknown { server, cause } => Self::Cut { server, cause },
            other => other,
        }
    }

    /// What the caller can do next.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Address { .. } | Self::Password(_) | Self::NoFolder(_) => Kind::Invalid,
            Self::PasswordFile { .. } | Self::Refused { .. } | Self::Forbidden { .. } => {
                Kind::Denied
            }
            Self::NoDatabase { .. } | Self::NoCatalog { .. } => Kind::Missing,
            Self::Full { .. } => Kind::NoSpace,
            Self::Busy { .. } | Self::Cancelled { .. } => Kind::Busy,
            Self::Unreachable { .. }
            | Self::TooOld { .. }
            | Self::Cut { .. }
            | Self::Unknown { .. }
            | Self::Said { .. }
            | Self::Odd { .. } => Kind::Broken,
        }
    }
}

/// An error and its causes, without repetition.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&said);
        }
        next = cause.source();
    }
    line(&text)
}

/// The causes of an error of HTTP, without the address, which may contain values or be signed.
pub fn cause(error: &reqwest::Error) -> String {
    let text = std::error::Error::source(error).map(causes).unwrap_or_default();
    match text.is_empty() {
        false => text,
        true if error.is_timeout() => "it took too long".into(),
        true => "it closed the connection".into(),
    }
}

/// A server's message on one line: without control characters, and limited in length.
pub fn line(said: &str) -> String {
    const MOST: usize = 300;
    let plain: String = said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &plain[..end]),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_lost_its_answer_may_have_been_made() {
        let server = || "PostgreSQL at h".to_owned();
        let cut = ServerError::Cut { server: server(), cause: "gone".into() };
        let cancelled = ServerError::Cancelled { server: server() };
        for error in [cut, cancelled] {
            let before = error.to_string();
            let lost = error.at_commit();
            assert!(lost.to_string().contains("not known whether"), "{lost}");
            assert_eq!(lost.undone().to_string(), before);
        }
        let busy = ServerError::Busy { server: server(), said: "a lock".into() };
        assert!(matches!(busy.at_commit(), ServerError::Busy { .. }));
    }
}
