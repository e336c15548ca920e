//! The paths of pages, named as DataChain's knowledge skill does, and links between them.
//!
//! A dataset is `datasets/<name>.md`, in lower case with `_` for dots; one in a namespace
//! `datasets/<namespace>/<project>/<name>.md`. A listing is `buckets/<scheme>/<bucket>.md`, one of
//! a prefix `buckets/<scheme>/<bucket>/<a__b>.md`. If several want the same page, the first by name
//! gets it; the others get `~2`, `~3` before their extension.

use std::collections::{HashMap, HashSet};

use dcfs_core::name::{DatasetName, LOCAL, escape};
use dcfs_core::render::markdown::link;

/// The path of a dataset's page, before conflicts are resolved.
pub fn of_dataset(name: &DatasetName) -> String {
    let slug = segment(&name.name.to_lowercase().replace('.', "_"));
    if name.namespace == LOCAL && name.project == LOCAL {
        return format!("datasets/{slug}.md");
    }
    format!("datasets/{}/{}/{slug}.md", segment(&name.namespace), segment(&name.project))
}

/// Any name as one segment of a path, with room for an extension.
fn segment(name: &str) -> String {
    let short: String = name.chars().take(60).collect();
    let name = if short.len() < name.len() {
        escape::segment(name.as_bytes())
    } else {
        escape::segment(short.as_bytes())
    };
    let mut text = String::from_utf8_lossy(&name).into_owned();
    while text.len() > 240 {
        text.pop();
    }
    if text.is_empty() { "%".to_owned() } else { text }
}

/// The path of a listing's page, before conflicts are resolved.
pub fn of_listing(uri: &str) -> String {
    let (scheme, bucket, prefix) = parts(uri);
    let (scheme, bucket) = (slug(scheme), slug(bucket));
    let segments: Vec<String> =
        prefix.split('/').filter(|segment| !segment.is_empty()).map(slug).collect();
    let mut file = segments.join("__");
    file.truncate(200);
    match (bucket.is_empty(), file.is_empty()) {
        (true, true) => format!("buckets/{scheme}.md"),
        (true, false) => format!("buckets/{scheme}/{file}.md"),
        (false, true) => format!("buckets/{scheme}/{bucket}.md"),
        (false, false) => format!("buckets/{scheme}/{bucket}/{file}.md"),
    }
}

/// The scheme, bucket and prefix of a storage URI.
pub fn parts(uri: &str) -> (&str, &str, &str) {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    (scheme, bucket, prefix.trim_start_matches('/'))
}

/// Lower case, with `_` for every run of characters that are not ASCII letters or digits.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.to_lowercase().chars() {
        match c.is_ascii_alphanumeric() {
            true => out.push(c),
            false if !out.ends_with('_') => out.push('_'),
            false => {}
        }
    }
    let slug = out.trim_matches('_');
    slug.chars().take(80).collect()
}

/// The page by letter of datasets whose names begin with `first`, a lower case letter, a digit or `_`.
pub fn of_letter(first: char) -> String {
    format!("datasets/index-{first}.md")
}

/// The paths taken so far. On a case-insensitive disk, two names may be the same file: all are in
/// lower case.
#[derive(Debug)]
pub struct Taken {
    paths: HashSet<String>,
    /// The next number to try, by the name without its extension.
    next: HashMap<String, u64>,
}

impl Taken {
    /// Pages by letter get their paths before any dataset, even while a catalog is too small to
    /// have them.
    pub fn by_letters() -> Self {
        let letters = ('a'..='z').chain('0'..='9').chain(['_']);
        Self { paths: letters.map(of_letter).collect(), next: HashMap::new() }
    }
}

/// `path`, or a similar path that is free.
pub fn free(path: String, taken: &mut Taken) -> String {
    if taken.paths.insert(path.to_lowercase()) {
        return path;
    }
    let stem = path.strip_suffix(".md").unwrap_or(&path);
    let next = taken.next.entry(stem.to_lowercase()).or_insert(2);
    loop {
        let beside = format!("{stem}~{next}.md");
        *next += 1;
        if taken.paths.insert(beside.to_lowercase()) {
            return beside;
        }
    }
}

/// A link from the page at `from` to the file at `to`, both relative to the folder of pages.
pub fn linked(label: &str, from: &str, to: &str) -> String {
    let above: Vec<&str> = from.split('/').rev().skip(1).collect::<Vec<_>>();
    let above: Vec<&str> = above.into_iter().rev().collect();
    let target: Vec<&str> = to.split('/').collect();
    let common = above.iter().zip(&target).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", above.len() - common);
    let path: Vec<&[u8]> = up.chain(target[common..].iter().copied()).map(str::as_bytes).collect();
    link(label, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_where_datachain_looks() {
        let named = |ns: &str, project: &str, name: &str| DatasetName {
            namespace: ns.into(),
            project: project.into(),
            name: name.into(),
        };
        assert_eq!(of_dataset(&DatasetName::local("Pets.v2")), "datasets/pets_v2.md");
        assert_eq!(of_dataset(&named("team", "brain", "EEG")), "datasets/team/brain/eeg.md");
        assert_eq!(of_dataset(&named("..", ".", "a/b")), "datasets/%2E./%2E/a%2Fb.md");
        let cases = [
            ("s3://my-bucket/", "buckets/s3/my_bucket.md"),
            ("gs://demo/dogs-cats/annotations/", "buckets/gs/demo/dogs_cats__annotations.md"),
            ("file:///home/x/Data", "buckets/file/home__x__data.md"),
            ("odd", "buckets//odd.md"),
        ];
        for (uri, path) in cases {
            assert_eq!(of_listing(uri), path, "{uri}");
        }
    }

    #[test]
    fn no_page_has_two_owners() {
        let mut taken = Taken::by_letters();
        let paths = ["datasets/a~2.md", "datasets/a.md", "datasets/A.md", "datasets/a.md"];
        let named = paths.map(|path| free(path.into(), &mut taken));
        let want = ["datasets/a~2.md", "datasets/a.md", "datasets/A~3.md", "datasets/a~4.md"];
        assert_eq!(named, want);
        let letter = free(of_dataset(&DatasetName::local("index-P")), &mut taken);
        assert_eq!(letter, "datasets/index-p~2.md");
    }

    #[test]
    fn links_are_relative() {
        let cases = [
            ("index.md", "datasets/a.md", "[x](datasets/a.md)"),
            ("datasets/a.md", "datasets/b c.md", "[x](b%20c.md)"),
            ("datasets/n/p/a.md", "buckets/s3/b.md", "[x](../../../buckets/s3/b.md)"),
            ("datasets/n/p/a.md", "datasets/b.md", "[x](../../b.md)"),
        ];
        for (from, to, want) in cases {
            assert_eq!(linked("x", from, to), want);
        }
    }
}
