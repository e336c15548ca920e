//! One text, many doors: the bytes of each page, for the mount and the command line alike.

use crate::catalog::{Catalog, VersionInfo};
use crate::error::Result;

/// A helper file of a version's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Page {
    /// `_README.md`: what this directory is.
    Readme,
    /// `_lineage.md`: where it came from.
    Lineage,
    /// `_schema.json`: its columns.
    Schema,
}

impl Page {
    /// Every page, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Readme, Self::Lineage, Self::Schema];

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Readme => "_README.md",
            Self::Lineage => "_lineage.md",
            Self::Schema => "_schema.json",
        }
    }

    /// Whether the text is the same for ever: it tells of this version alone.
    pub const fn is_fixed(self) -> bool {
        matches!(self, Self::Schema)
    }
}

/// The bytes of `page` for one version.
pub fn text(_catalog: &Catalog, _page: Page, _of: &VersionInfo) -> Result<String> {
    todo!()
}

/// `README.md` at the top of the mount: how to find one's way.
pub fn top(_catalog: &Catalog) -> Result<String> {
    todo!()
}

/// Lineage as JSON, for `dcfs lineage --format json`.
pub fn lineage_json(_catalog: &Catalog, _of: &VersionInfo) -> Result<String> {
    todo!()
}

/// Lineage as Graphviz, for `dcfs lineage --format dot`.
pub fn lineage_dot(_catalog: &Catalog, _of: &VersionInfo) -> Result<String> {
    todo!()
}
