//! The Model Context Protocol: a catalog for programs that speak it, over standard input and output, or HTTP on this machine.
//!
//! `rmcp` speaks the protocol, with clients that begin by `initialize` and with those of the revision without; what is
//! answered is made here. Every answer is bounded ([`answer`]) and says how to narrow what was cut. Errors of tools are
//! answers too, with the caret text that the command line prints, for a model reads those and no protocol errors.
//!
//! | file | what lives there |
//! |---|---|
//! | [`server`] | requests of the protocol, handed on |
//! | [`http`] | several clients, by HTTP |
//! | [`tools`] | the six tools: what they are called, what they take |
//! | [`context`], [`query`], [`files`], [`remember`], [`run`] | what each does |
//! | [`resources`], [`prompts`] | pages by address; texts to begin with |
//! | [`answer`] | text and data of bounded length |
//! | [`clients`] | how each client learns of this server |

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

/// What the server answers from.
pub struct Setup {
    pub catalog: Arc<Catalog>,
    pub packs: Arc<Packs>,
    /// The pages about it.
    pub knowledge: Knowledge,
    /// The mount's tree, without a mount.
    pub vfs: Arc<Vfs>,
    /// What is noted of how the catalog is used.
    pub usage: Usage,
    /// Where files are for the client, if anywhere.
    pub mount: Option<PathBuf>,
    /// Whether `run` runs anything.
    pub may_write: bool,
    /// For the output of runs.
    pub state: PathBuf,
    /// Flags that commands of `run` get, so that they reach what this server reaches, and no more.
    pub flags: Flags,
}

/// Flags for commands, by which of them take those.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// For every command.
    pub catalog: Vec<String>,
    /// For those that have a cache.
    pub cache: Vec<String>,
    /// For those that reach stores: how, and what they may reach. A word each.
    pub limits: Vec<String>,
    /// For the same: how much they may take, unless the command says it. A word each.
    pub sizes: Vec<String>,
}

/// Serves one client on standard input and output, until it goes.
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
        // A client that goes before it asks anything did nothing wrong.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(broken(&error)),
    };
    service.waiting().await.map(drop).map_err(|error| broken(&error))
}
