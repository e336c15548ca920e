//! Resources: pages by address, `dcfs://dataset/{name}/{page}`.

use rmcp::model::{
    ArgumentInfo, CompleteResult, CompletionInfo, ListResourcesResult, ReadResourceResult,
    Resource, ResourceContents, ResourceTemplate,
};

use super::server::{Server, blocking};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetRef;
use dcfs_core::render::stranger::{on_terminal, visible};
use dcfs_data::pages::{self, Page};

/// Resources of one page of a list.
const PER_PAGE: usize = 100;

/// Bytes of a resource; who wants all of a wide schema asks `query` for catalog.columns.
const LONGEST: usize = 256 << 10;

const SCHEME: &str = "dcfs://dataset/";

/// Pages of a dataset: the last part of the address, the page, its type, what it is.
const PAGES: [(&str, Page, &str, &str); 3] = [
    (
        "readme",
        Page::Readme,
        "text/markdown",
        "what it is, its columns with examples, how to filter it",
    ),
    (
        "lineage",
        Page::Lineage,
        "text/markdown",
        "parents, code, who made it and when, what changed",
    ),
    ("schema", Page::Schema, "application/json", "columns and their types, as a tree"),
];

/// The page of each dataset; the others are there by their templates.
pub async fn list(server: &Server, cursor: Option<String>) -> Result<ListResourcesResult> {
    let setup = server.setup();
    let begin = match cursor {
        None => 0,
        Some(cursor) => cursor.parse::<usize>().map_err(|_| {
            Error::new(Kind::Invalid, "the cursor is none that this server gave".to_owned())
        })?,
    };
    blocking(move || {
        let versions = setup.catalog.versions()?;
        let datasets = versions.chunk_by(|a, b| a.dataset == b.dataset);
        let last = datasets.filter_map(<[_]>::last);
        let mut page: Vec<_> = last.skip(begin).take(PER_PAGE + 1).collect();
        let next = (page.len() > PER_PAGE).then(|| (begin + PER_PAGE).to_string());
        page.truncate(PER_PAGE);
        let resource = |of: &&dcfs_data::catalog::VersionInfo| {
            let name = of.dataset.to_string();
            Resource::new(format!("{SCHEME}{}/readme", encoded(&name)), on_terminal(&name))
                .with_mime_type("text/markdown")
        };
        let mut result = ListResourcesResult::with_all_items(page.iter().map(resource).collect());
        result.next_cursor = next;
        Ok(result)
    })
    .await
}

/// The addresses that there are.
pub fn templates() -> Vec<ResourceTemplate> {
    let template = |(page, _, mime, what): &(&str, Page, &str, &str)| {
        ResourceTemplate::new(format!("{SCHEME}{{name}}/{page}"), *page)
            .with_description(format!("Of a dataset or a version: {what}"))
            .with_mime_type(*mime)
    };
    PAGES.iter().map(template).collect()
}

/// What is at an address.
pub async fn read(server: &Server, uri: String) -> Result<ReadResourceResult> {
    let setup = server.setup();
    blocking(move || {
        let none = || {
            let message = format!("no resource `{}`", visible(&uri, 200));
            Error::new(Kind::Missing, message)
        };
        let (name, page) =
            uri.strip_prefix(SCHEME).and_then(|rest| rest.rsplit_once('/')).ok_or_else(none)?;
        let (_, page, mime, _) = PAGES.iter().find(|(name, ..)| *name == page).ok_or_else(none)?;
        let wanted: DatasetRef = decoded(name).ok_or_else(none)?.parse()?;
        let of = setup.catalog.find(&wanted)?;
        let text = pages::text(&setup.catalog, *page, &of, None)?;
        let text = cut(&on_terminal(&text));
        let contents = ResourceContents::text(text, uri.clone()).with_mime_type(*mime);
        Ok(ReadResourceResult::new(vec![contents]))
    })
    .await
}

/// Names of datasets that begin as typed, for every argument that is one.
pub async fn complete(server: &Server, argument: ArgumentInfo) -> Result<CompleteResult> {
    let setup = server.setup();
    if !matches!(argument.name.as_str(), "name" | "dataset") {
        return Ok(CompleteResult::default());
    }
    blocking(move || {
        let typed = argument.value;
        let versions = setup.catalog.versions()?;
        let mut names: Vec<String> = match typed.contains('@') {
            true => versions.iter().map(ToString::to_string).collect(),
            false => versions.iter().map(|of| of.dataset.to_string()).collect(),
        };
        names.dedup();
        names.retain(|name| name.starts_with(&typed));
        let total = u32::try_from(names.len()).ok();
        let has_more = names.len() > CompletionInfo::MAX_VALUES;
        names.truncate(CompletionInfo::MAX_VALUES);
        let info = CompletionInfo::with_pagination(names, total, has_more);
        Ok(CompleteResult::new(info.map_err(|error| Error::new(Kind::Broken, error))?))
    })
    .await
}

fn cut(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at > LONGEST) {
        Some((at, _)) => format!("{}\n... (cut)\n", &text[..at]),
        None => text.to_owned(),
    }
}

/// A name as a segment of an address.
fn encoded(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            true => out.push(byte.into()),
            false => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// The name that a segment is; `None` where it is none.
fn decoded(segment: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_addresses() {
        for name in ["pets", "a/b", "50%", "caf\u{e9}", "x@1.0.0", "..", "a b|`"] {
            assert_eq!(decoded(&encoded(name)).as_deref(), Some(name));
            assert!(!encoded(name).contains('/'), "{name}");
        }
        for wrong in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
