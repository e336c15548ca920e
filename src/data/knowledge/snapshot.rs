//! A snapshot of a catalog for pages: datasets with their versions, parents and children, and
//! listings.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::place;
use crate::catalog::{Catalog, Details, Parent, VersionInfo};
use dcfs_core::annotation::Annotations;
use dcfs_core::error::Result;
use dcfs_core::hex::hex;
use dcfs_core::id::VersionId;
use dcfs_core::name::DatasetName;
use dcfs_core::secrets::masked;

/// Prefixes of calibration runs, which DataChain's knowledge base leaves out, and the attributes
/// that mark others.
const CALIBRATIONS: [&str; 2] = ["calib_", "pilot_"];
const CALIBRATION_LABELS: [&str; 2] = ["scope:calibration", "scope:pilot"];

/// A catalog at one point in time.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By name.
    pub datasets: Vec<Dataset>,
    /// By the storage they list.
    pub listings: Vec<Listing>,
}

/// A dataset, and the path of its page.
#[derive(Debug)]
pub struct Dataset {
    pub page: String,
    /// Oldest first; never empty.
    pub versions: Vec<VersionInfo>,
    /// Without the script, which may be long.
    pub details: Details,
    /// Of the script; empty if there is none.
    pub script_sha256: String,
    /// People's annotations of it and its columns.
    pub said: Annotations,
    /// The sources of its latest version.
    pub parents: Vec<Source>,
    /// Datasets with a version made from one of this dataset, by name.
    pub children: Vec<DatasetName>,
}

/// The latest version of a listing, and the path of its page.
#[derive(Debug)]
pub struct Listing {
    pub page: String,
    pub uri: String,
    pub of: VersionInfo,
}

/// A source of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Dataset {
        name: DatasetName,
        /// `raw@1.0.0`.
        version: String,
        /// Whether that version still exists.
        is_there: bool,
    },
    /// Address with secrets masked.
    Storage(String),
    Deleted,
}

impl Dataset {
    /// The version that pages describe in most detail.
    pub fn latest(&self) -> &VersionInfo {
        &self.versions[self.versions.len() - 1]
    }

    /// Its name.
    pub fn name(&self) -> &DatasetName {
        &self.latest().dataset
    }

    /// A fingerprint of the facts its page is made from: it changes with the page.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for of in &self.versions {
            hash.update(format!(
                "{of} {} {:?} {:?} {:?}\n",
                of.uuid, of.rows, of.size, of.finished_at
            ));
        }
        hash.update(format!("{:?} {:?} {:?}", self.details, self.parents, self.children));
        hash.update(format!("{} {:?}", self.script_sha256, self.said));
        hex(&hash.finalize())
    }
}

impl Listing {
    /// As [`Dataset::fingerprint`].
    pub fn fingerprint(&self) -> String {
        let of = &self.of;
        let text = format!("{} {of} {} {:?} {:?}", self.uri, of.uuid, of.rows, of.finished_at);
        hex(&Sha256::digest(text))
    }
}

impl Snapshot {
    /// Queries the catalog.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub fn take(catalog: &Catalog) -> Result<Self> {
        let versions = catalog.versions()?;
        let owners: HashMap<VersionId, &DatasetName> =
            versions.iter().map(|of| (of.id, &of.dataset)).collect();
        let mut children: HashMap<VersionId, Vec<&DatasetName>> = HashMap::new();
        for (child, parent) in catalog.edges()? {
            if let Some(child) = owners.get(&child) {
                children.entry(parent).or_default().push(child);
            }
        }
        let mut groups: Vec<&[VersionInfo]> =
            versions.chunk_by(|a, b| a.dataset == b.dataset).collect();
        groups.sort_by(|a, b| a[0].dataset.cmp(&b[0].dataset));
        let mut taken = place::Taken::by_letters();
        let mut datasets = Vec::new();
        for group in groups {
            let latest = &group[group.len() - 1];
            // Removed since it was listed: the next snapshot omits it.
            let Ok(mut details) = catalog.details(latest) else { continue };
            let script = std::mem::take(&mut details.script);
            if is_calibration(&latest.dataset, &details) {
                continue;
            }
            let parents = catalog.parents(latest.id)?.into_iter().map(source);
            let mut parents: Vec<Source> = parents.collect();
            parents.sort_by_key(Source::text);
            let of_all = group.iter().filter_map(|of| children.get(&of.id)).flatten();
            let others: BTreeSet<&DatasetName> =
                of_all.copied().filter(|name| **name != latest.dataset).collect();
            datasets.push(Dataset {
                page: place::free(place::of_dataset(&latest.dataset), &mut taken),
                versions: group.to_vec(),
                details,
                script_sha256: match script.is_empty() {
                    true => String::new(),
                    false => hex(&Sha256::digest(&script)),
                },
                said: catalog.annotations(&latest.dataset)?,
                parents,
                children: others.into_iter().cloned().collect(),
            });
        }
        let mut listings = Vec::new();
        for of in catalog.listings()? {
            let Some(uri) = of.dataset.listed_uri() else { continue };
            let page = place::free(place::of_listing(&uri), &mut taken);
            listings.push(Listing { page, uri: masked(&uri), of });
        }
        Ok(Self { datasets, listings })
    }

    /// The dataset of this name.
    pub fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.name() == name)
    }

    /// The page of a source, if it has one.
    pub fn page_of(&self, source: &Source) -> Option<&str> {
        match source {
            Source::Dataset { name, .. } => Some(&self.dataset(name)?.page),
            Source::Storage(uri) => {
                let plain = |uri: &str| uri.trim_end_matches('/').to_owned();
                let mut listings = self.listings.iter();
                Some(&listings.find(|listing| plain(&listing.uri) == plain(uri))?.page)
            }
            Source::Deleted => None,
        }
    }
}

impl Source {
    /// The text shown to people.
    pub fn text(&self) -> String {
        match self {
            Self::Dataset { version, is_there: true, .. } => version.clone(),
            Self::Dataset { version, .. } => format!("{version} (removed)"),
            Self::Storage(uri) => uri.clone(),
            Self::Deleted => "a dataset that was deleted".to_owned(),
        }
    }
}

fn source(parent: Parent) -> Source {
    let Some((dataset, version)) = parent.dataset else { return Source::Deleted };
    match dataset.listed_uri() {
        Some(uri) => Source::Storage(masked(&uri)),
        None => Source::Dataset {
            version: format!("{dataset}@{version}"),
            name: dataset,
            is_there: parent.alive,
        },
    }
}

fn is_calibration(name: &DatasetName, details: &Details) -> bool {
    let whole = name.to_string();
    let is_named = |word: &str| whole.starts_with(word) || whole.contains(&format!(".{word}"));
    CALIBRATIONS.iter().any(|word| is_named(word))
        || details.attrs.iter().any(|label| CALIBRATION_LABELS.contains(&label.as_str()))
}
