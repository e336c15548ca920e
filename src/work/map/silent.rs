//! Rows of an input for which a program gave no row: the version has no trace of them, so their
//! digests are stored with its recipe, and a delta does not compute them again.

use std::collections::HashSet;
use std::ops::ControlFlow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_data::catalog::{Catalog, VersionInfo};

use super::delta::digest;

/// A digest of a row's contents, from [`digest`].
pub type Digest = [u8; 16];

/// The most rows remembered: 2 MB with the version. Further ones are computed by each delta.
const MOST: usize = 100_000;

/// Digests in the form that a recipe stores; `None` if there are none.
pub fn written(mut digests: Vec<Digest>) -> Option<String> {
    digests.sort_unstable();
    digests.dedup();
    digests.truncate(MOST);
    (!digests.is_empty()).then(|| STANDARD_NO_PAD.encode(digests.as_flattened()))
}

/// Parses the digests; empty if the text is damaged.
pub fn read(text: Option<&str>) -> HashSet<Digest> {
    let bytes = text.and_then(|text| STANDARD_NO_PAD.decode(text).ok()).unwrap_or_default();
    bytes.as_chunks().0.iter().copied().collect()
}

/// The digests of rows, given in ascending order, over some of their columns.
///
/// # Errors
/// Errors of the catalog.
pub fn of_rows(
    (catalog, of): (&Catalog, &VersionInfo),
    columns: &[String],
    rows: &[RowId],
) -> Result<Vec<Digest>> {
    let mut digests = Vec::with_capacity(rows.len().min(MOST));
    let mut ranges = rows.iter().take(MOST).map(|row| *row..=*row);
    catalog.cells(of, columns, &mut ranges, &mut |_, cells| {
        digests.push(digest(cells, columns.len()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_come_back() {
        let digests = vec![[7; 16], [1; 16], [7; 16]];
        let text = written(digests);
        assert_eq!(read(text.as_deref()), HashSet::from([[1; 16], [7; 16]]));
        assert_eq!(written(Vec::new()), None);
        assert_eq!((read(None).len(), read(Some("no base64!")).len()), (0, 0));
    }
}
