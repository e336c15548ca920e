//! Who saves a version.

use std::path::Path;

use crate::catalog::Provenance;

/// What is known of this process.
pub fn provenance(folder: &Path) -> Provenance {
    let command = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let command = ["dcfs".to_owned()].into_iter().chain(command.skip(1)).collect();
    Provenance { folder: Some(folder.display().to_string()), command, ..Provenance::default() }
}
