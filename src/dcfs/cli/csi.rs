//! `dcfs csi`: Kubernetes volumes on one node.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::mount::Mount;
use super::output::Output;
use super::{log, usage};
use crate::csi::node::{Node, Settings};
use crate::csi::serve;
use crate::session;
use dcfs_core::error::{Error, Kind, Result};

/// Serve as the node plugin `csi.dcfs` of the Kubernetes Container Storage Interface
///
/// Volumes are catalogs below one folder or on servers, or a dataset or a filter of one, mounted read-only where
/// the kubelet asks for them. Attributes of a volume: catalog, dataset, filter, region, endpointUrl, anon,
/// prefetch; its secret holds credentials under the names of their environment variables.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Csi {
    /// Socket to listen on, as unix:///csi/csi.sock
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// Name of this node in Kubernetes
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Folder below which volumes name their catalogs
    #[arg(long, value_name = "DIR")]
    catalogs: PathBuf,
    /// Folder for the plugin's own mounts
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dcfs/csi")]
    folder: PathBuf,
    /// Flags of `dcfs mount` for every volume, after `--`
    #[arg(last = true, value_name = "FLAGS")]
    options: Vec<OsString>,
}

const HELP: &str = "Example:
  dcfs csi --endpoint unix:///csi/csi.sock --node node-1 --catalogs /catalogs -- --allow-uri=s3:// --cache-size=200G";

impl Csi {
    /// Serves until the process ends.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let path = self.endpoint.strip_prefix("unix://").unwrap_or(&self.endpoint);
        let socket = Path::new(path);
        if !socket.is_absolute() {
            return Err(usage(format!(
                "`--endpoint {}` is not of the form unix:///PATH",
                self.endpoint
            )));
        }
        if self.node.is_empty() || self.node.len() > 253 {
            return Err(usage("`--node` is a name of at most 253 bytes"));
        }
        // Errors in them are reported now, and not to every pod.
        Mount::parse(self.options.iter().cloned().chain(["/mnt".into()]).collect())?;
        log::to_stderr();
        let failed = |what: &Path, error: std::io::Error| {
            Error::new(Kind::Broken, format!("`{}`: {error}", what.display()))
        };
        let catalogs =
            std::fs::canonicalize(&self.catalogs).map_err(|error| failed(&self.catalogs, error))?;
        let program = std::env::current_exe().map_err(|error| failed(Path::new("dcfs"), error))?;
        let (id, folder, options) = (self.node, self.folder, self.options);
        let node = Node::new(Settings { id, catalogs, folder, program, options })?;
        out.line(format_args!("serving volumes at {}", self.endpoint))?;
        out.flush()?;
        let runtime = session::runtime()?;
        runtime.block_on(serve(socket, node)).map_err(|error| failed(socket, error))
    }
}
