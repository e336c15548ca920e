//! The Model Context Protocol: serves a catalog over standard input and output, or over HTTP on this machine.
//!
//! `rmcp` implements the protocol, for clients that begin with `initialize` and for those of the revision
//! without; the answers are made here. Every answer is bounded ([`answer`]) and says how to narrow what was
//! cut. Errors of tools are returned as answers, with the caret text of the command line, because a model reads
//! those and no protocol errors.
//!
//! | file | contents |
//! |---|---|
//! | [`server`] | dispatch of protocol requests |
//! | [`http`] | several clients, by HTTP |
//! | [`tools`] | the six tools: names and arguments |
//! | [`context`], [`query`], [`files`], [`remember`], [`run`] | the implementation of each |
//! | [`resources`], [`prompts`] | pages by address; texts to begin a conversation with |
//! | [`answer`] | text and data of bounded length |
//! | [`clients`] | registration with each client |

mod answer;
pub mod clients;
mod context;
mod files;
pub mod http;
mod prompts;
mod query;
mod remember;
mod resources;
mod run;
mod server;
mod tools;

use std::path::PathBuf;
use std::sync::Arc;

use rmcp::ServiceExt;
use rmcp::transport::stdio;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_data::catalog::Catalog;
use dcfs_data::knowledge::Knowledge;
use dcfs_data::pack::Packs;
use dcfs_data::usage::Usage;
use dcfs_vfs::Vfs;

/// Everything the server needs for its answers.
pub struct Setup {
    pub catalog: Arc<Catalog>,
    pub packs: Arc<Packs>,
    /// The pages about the catalog.
    pub knowledge: Knowledge,
    /// The tree of the mount, without a mount.
    pub vfs: Arc<Vfs>,
    /// The usage records of the catalog.
    pub usage: Usage,
    /// The mountpoint for the client, if any.
    pub mount: Option<PathBuf>,
    /// Whether `run` is allowed.
    pub may_write: bool,
    /// Folder for the output of runs.
    pub state: PathBuf,
    /// Flags for commands of `run`, so that they reach what this server reaches, and no more.
    pub flags: Flags,
}

/// Flags for commands, by the group of commands that accept them.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// For every command.
    pub catalog: Vec<String>,
    /// For commands with a cache.
    pub cache: Vec<String>,
    /// For commands that access stores: settings and restrictions. One word per flag.
    pub limits: Vec<String>,
    /// For the same: resource limits, unless the command sets them. One word per flag.
    pub sizes: Vec<String>,
}

/// Serves one client on standard input and output, until it disconnects.
///
/// # Errors
/// The client does not speak the protocol.
pub async fn serve(setup: Setup) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::new(Kind::Broken, format!("the client does not speak the protocol: {error}"))
    };
    let server = server::Server::new(setup);
    let service = match server.serve(stdio()).await {
        Ok(service) => service,
        // A client that disconnects before its first request is no error.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(broken(&error)),
    };
    service.waiting().await.map(drop).map_err(|error| broken(&error))
}
