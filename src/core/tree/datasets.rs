//! The names in `datasets/`: a directory per version, a link per dataset to its latest.
//!
//! 1. `<dataset>@<version>` is a directory; `<dataset>` is a link to the highest version.
//! 2. A catalog of a stranger may hold names with dots, `@` and slashes, so that two want one name
//! 2. A foreign catalog may hold names with dots, `@` and slashes, so that two want the same name
//!    (the dataset `a@1.0.0` and version 1.0.0 of `a`). Directories are named before links, each by
//!    ascending key; a later one gets `~<key of its (first) version>`, then `~<key>~2`, ...
//! 3. Unlisted, but found by name: `<link>@latest`, `<link>@1` and `<link>@1.0` lead to the highest
//!    version that they admit; a listed name spelled like that wins.

use std::collections::BTreeMap;

use crate::id::VersionId;
use crate::name::{DatasetName, escape};
use crate::version::{Requirement, Version};

/// The meaning of a name in `datasets/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The directory of a version.
    Version(VersionId),
    /// A symbolic link to the directory of this name.
    Link(Vec<u8>),
}

/// The listed names of `datasets/`, and the links found by name only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datasets {
    entries: BTreeMap<Vec<u8>, Entry>,
    /// The versions of each dataset and their directories, lowest first, by the name of the
    /// dataset's link.
    versions: BTreeMap<Vec<u8>, Vec<(Version, Vec<u8>)>>,
}

impl Datasets {
    /// Names every version of `found`, in any order.
    pub fn new<'a>(found: impl IntoIterator<Item = (&'a DatasetName, VersionId, Version)>) -> Self {
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(_, id, _)| *id);
        let mut this = Self::default();
        let mut datasets: BTreeMap<&DatasetName, Dataset> = BTreeMap::new();
        for (dataset, id, version) in found {
            let name = this.add(&format!("{dataset}@{version}"), id, Entry::Version(id));
            let of = datasets.entry(dataset).or_insert_with(|| Dataset::new(id));
            of.versions.push((version, name));
        }
        let mut links: Vec<_> = datasets.into_iter().collect();
        links.sort_by_key(|(_, dataset)| dataset.first);
        for (name, mut dataset) in links {
            dataset.versions.sort();
            let Some((_, latest)) = dataset.versions.last() else { continue };
            let link = this.add(&name.to_string(), dataset.first, Entry::Link(latest.clone()));
            this.versions.insert(link, dataset.versions);
        }
        this
    }

    /// Every listed name, in byte order.
    pub fn entries(&self) -> &BTreeMap<Vec<u8>, Entry> {
        &self.entries
    }

    /// Looks up a listed name, or a link with a requirement such as `pets@latest`.
    pub fn lookup(&self, name: &[u8]) -> Option<Entry> {
        let listed = self.entries.get(name).cloned();
        listed.or_else(|| self.resolve(name).map(|target| Entry::Link(target.to_vec())))
    }

    /// The directory that `<link>@<requirement>` leads to.
    fn resolve(&self, name: &[u8]) -> Option<&[u8]> {
        let at = name.iter().rposition(|b| *b == b'@')?;
        let wanted: Requirement = std::str::from_utf8(&name[at + 1..]).ok()?.parse().ok()?;
        let versions = self.versions.get(&name[..at])?;
        let highest = versions.iter().rfind(|(version, _)| wanted.admits(*version))?;
        Some(&highest.1)
    }

    /// Adds an entry as `wanted`, or under the next free name; returns the name.
    fn add(&mut self, wanted: &str, id: VersionId, entry: Entry) -> Vec<u8> {
        let plain = escape::segment(wanted.as_bytes()).into_owned();
        let marks = (1_u64..).map(|again| match again {
            1 => id.key().to_string(),
            _ => format!("{}~{again}", id.key()),
        });
        let marked = marks.map(|mark| with_mark(&plain, &mark));
        let mut names = std::iter::once(plain.clone()).chain(marked);
        let name = names.find(|name| !self.entries.contains_key(name)).unwrap_or(plain.clone());
        self.entries.insert(name.clone(), entry);
        name
    }
}

/// `pets@1.0.0~17`: the mark goes at the end, because the `.0` of a version is not an extension;
/// before it if the name is too long to grow.
fn with_mark(name: &[u8], mark: &str) -> Vec<u8> {
    let joined = [name, b"~", mark.as_bytes()].concat();
    if joined.len() <= escape::LONGEST { joined } else { escape::marked(name, mark) }
}

/// A dataset whose versions are being gathered.
struct Dataset {
    /// The lowest key of its versions.
    first: VersionId,
    versions: Vec<(Version, Vec<u8>)>,
}

impl Dataset {
    fn new(first: VersionId) -> Self {
        Self { first, versions: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Name, key and version; the name may be `namespace|project|name`.
    type Found<'a> = &'a [(&'a str, i64, &'a str)];

    fn named(found: Found<'_>) -> Datasets {
        let found: Vec<_> = found
            .iter()
            .map(|(name, id, version)| {
                let mut parts = name.splitn(3, '|').collect::<Vec<_>>();
                let name = match parts.len() {
                    3 => DatasetName {
                        name: parts.pop().expect("three").into(),
                        project: parts.pop().expect("two").into(),
                        namespace: parts.pop().expect("one").into(),
                    },
                    _ => DatasetName::local(*name),
                };
                (name, VersionId::from_catalog(*id), version.parse().expect(version))
            })
            .collect();
        Datasets::new(found.iter().map(|(name, id, version)| (name, *id, *version)))
    }

    fn listing(datasets: &Datasets) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = |(name, entry): (&Vec<u8>, &Entry)| match entry {
            Entry::Version(id) => format!("{} = {}", text(name), id.key()),
            Entry::Link(target) => format!("{} -> {}", text(name), text(target)),
        };
        datasets.entries().iter().map(line).collect()
    }

    #[test]
    fn versions_are_directories_and_names_are_links() {
        let datasets = named(&[
            ("pets", 4, "1.0.10"),
            ("pets", 3, "1.0.9"),
            ("team|brain|eeg", 5, "2.0.0"),
            ("a/b", 6, "1.0.0"),
        ]);
        let want = [
            "a%2Fb -> a%2Fb@1.0.0",
            "a%2Fb@1.0.0 = 6",
            "pets -> pets@1.0.10",
            "pets@1.0.10 = 4",
            "pets@1.0.9 = 3",
            "team.brain.eeg -> team.brain.eeg@2.0.0",
            "team.brain.eeg@2.0.0 = 5",
        ];
        assert_eq!(listing(&datasets), want);
    }

    #[test]
    fn names_that_clash_are_marked() {
        let cases: [(Found<'_>, &[&str]); 4] = [
            (
                &[("a@1.0.0", 1, "1.0.0"), ("a", 2, "1.0.0")],
                &["a -> a@1.0.0", "a@1.0.0 = 2", "a@1.0.0@1.0.0 = 1", "a@1.0.0~1 -> a@1.0.0@1.0.0"],
            ),
            (
                &[("b|c|d", 8, "1.0.0"), ("b.c.d", 7, "1.0.0")],
                &[
                    "b.c.d -> b.c.d@1.0.0",
                    "b.c.d@1.0.0 = 7",
                    "b.c.d@1.0.0~8 = 8",
                    "b.c.d~8 -> b.c.d@1.0.0~8",
                ],
            ),
            (
                &[("x", 1, "1.0.0"), ("x", 2, "1.0.0")],
                &["x -> x@1.0.0~2", "x@1.0.0 = 1", "x@1.0.0~2 = 2"],
            ),
            (
                &[("", 1, "1.0.0"), ("%", 2, "1.0.0"), ("..", 3, "1.0.0")],
                &[
                    "% -> @1.0.0",
                    "%2E. -> ..@1.0.0",
                    "%@1.0.0 = 2",
                    "%~2 -> %@1.0.0",
                    "..@1.0.0 = 3",
                    "@1.0.0 = 1",
                ],
            ),
        ];
        for (found, want) in cases {
            assert_eq!(listing(&named(found)), want, "{found:?}");
        }
    }

    #[test]
    fn requirements_lead_to_the_highest_version() {
        let datasets = named(&[
            ("pets", 1, "1.0.9"),
            ("pets", 2, "1.0.10"),
            ("pets", 3, "1.1.0"),
            ("pets", 4, "2.0.0"),
            ("pets@1", 5, "7.0.0"),
        ]);
        let cases = [
            ("pets@latest", Some("pets@2.0.0")),
            ("pets@1.0", Some("pets@1.0.10")),
            ("pets@2", Some("pets@2.0.0")),
            // A dataset of exactly that name wins.
            ("pets@1", Some("pets@1@7.0.0")),
            ("pets@1@latest", Some("pets@1@7.0.0")),
            ("pets@3", None),
            ("pets@", None),
            ("pets@01", None),
            ("dogs@latest", None),
            ("@latest", None),
            ("latest", None),
        ];
        for (name, target) in cases {
            let want = target.map(|t| Entry::Link(t.into()));
            assert_eq!(datasets.lookup(name.as_bytes()), want, "{name}");
        }
        let id = VersionId::from_catalog(1);
        assert_eq!(datasets.lookup(b"pets@1.0.9"), Some(Entry::Version(id)));
    }

    proptest! {
        #[test]
        fn every_version_has_one_legal_name(
            found in prop::collection::vec(("[a@.~/%1]{0,6}|[a]{250,300}", 0..3_u32), 0..20),
        ) {
            let found: Vec<_> = found.into_iter().enumerate().map(|(id, (name, major))| {
                let version = Version { major, minor: 0, patch: 0 };
                (DatasetName::local(name), VersionId::from_catalog(id as i64), version)
            }).collect();
            let datasets = Datasets::new(found.iter().map(|(n, i, v)| (n, *i, *v)));
            let directories = datasets.entries().values().filter(|e| matches!(e, Entry::Version(_)));
            prop_assert_eq!(directories.count(), found.len());
            for (name, entry) in datasets.entries() {
                prop_assert!(*escape::segment(name) == name[..], "not legal: {:?}", name);
                if let Entry::Link(target) = entry {
                    prop_assert!(matches!(datasets.entries().get(target), Some(Entry::Version(_))));
                }
            }
        }
    }
}
