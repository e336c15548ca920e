//! A node plugin of the Container Storage Interface: volumes of pods are mounts of catalogs.
//!
//! Kubernetes calls over gRPC on a socket ([`grpc`], with the [`messages`] of the specification's version 1);
//! the services Identity and Node are implemented. There is no controller: a volume does not have to be
//! created, it is defined by its attributes ([`volume`]). A volume is one process `dcfs mount` on a folder of
//! the plugin, and a bind mount of that, or of a dataset in it, at the path that the kubelet names ([`node`]).
//! The plugin is stateless: its state is the mount table.
//!
//! Whoever may write a pod may write attributes. So they choose among the catalogs of one folder, or name one on
//! servers with passwords of their own, while buckets, local files and flags are the administrator's choice.

mod grpc;
mod messages;
pub mod node;
mod volume;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use tokio::net::UnixListener;

use self::grpc::{Code, Status};
use self::messages as csi;
use self::node::Node;

/// The plugin's name in a CSIDriver object and in volumes.
pub const NAME: &str = "csi.dcfs";

/// Serves at `socket` until the process ends. A stale socket there is replaced.
///
/// # Errors
/// The path belongs to something else, or is not writable.
pub async fn serve(socket: &Path, node: Node) -> io::Result<()> {
    match fs::symlink_metadata(socket) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(socket)?,
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    tracing::info!("{NAME} answers at `{}`", socket.display());
    let plugin = Arc::new(Plugin { node });
    grpc::serve(listener, move |method: &str, message: &[u8]| plugin.call(method, message)).await
}

struct Plugin {
    node: Node,
}

impl Plugin {
    /// Handles one call. Blocking.
    fn call(&self, method: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
        let answer = match method {
            "/csi.v1.Identity/GetPluginInfo" => csi::GetPluginInfoResponse {
                name: NAME.to_owned(),
                vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            }
            .encode_to_vec(),
            // No controller, and volumes may be used on every node.
            "/csi.v1.Identity/GetPluginCapabilities" => Vec::new(),
            "/csi.v1.Identity/Probe" => csi::ProbeResponse { ready: Some(true) }.encode_to_vec(),
            // Staging, statistics and expansion are not supported.
            "/csi.v1.Node/NodeGetCapabilities" => Vec::new(),
            "/csi.v1.Node/NodeGetInfo" => {
                csi::NodeGetInfoResponse { node_id: self.node.id().to_owned() }.encode_to_vec()
            }
            "/csi.v1.Node/NodePublishVolume" => {
                self.node.publish(decoded(message)?)?;
                Vec::new()
            }
            "/csi.v1.Node/NodeUnpublishVolume" => {
                self.node.unpublish(&decoded(message)?)?;
                Vec::new()
            }
            other => {
                return Err(Status::new(
                    Code::Unimplemented,
                    format!("`{other}` is not supported"),
                ));
            }
        };
        Ok(answer)
    }
}

fn decoded<M: Message + Default>(message: &[u8]) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))
}
