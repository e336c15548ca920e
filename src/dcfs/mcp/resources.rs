//! Resources: pages by address, `dcfs://knowledge/{path}` and `dcfs://dataset/{name}/{page}`.

use std::sync::Arc;

use rmcp::model::{
    ArgumentInfo, CompleteResult, CompletionInfo, ListResourcesResult, ReadResourceResult,
    Resource, ResourceContents, ResourceTemplate,
};

use tokio::runtime::Handle;

use super::Setup;
use super::server::{Server, blocking};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetRef;
use dcfs_core::render::rows::Beside;
use dcfs_core::render::stranger::{on_terminal, visible};
use dcfs_data::catalog::VersionInfo;
use dcfs_data::knowledge::PageInfo;
use dcfs_data::pages::{self, Page};
use dcfs_data::stats;
use dcfs_data::tables::{Rows, Source};

/// Number of resources per page of a list.
const PER_PAGE: usize = 100;

/// Limit of a resource in bytes; for a very wide schema, clients can query catalog.columns.
const LONGEST: usize = 256 << 10;

/// Limit of a title, and of an address in a message, in characters.
const LONGEST_TITLE: usize = 200;

const DATASET: &str = "dcfs://dataset/";
const KNOWLEDGE: &str = "dcfs://knowledge/";

/// The pages of a dataset.
#[derive(Clone, Copy, Debug)]
enum Part {
    Lineage,
    Schema,
    Stats,
}

impl Part {
    const ALL: [Self; 3] = [Self::Lineage, Self::Schema, Self::Stats];

    /// The last segment of the address.
    const fn name(self) -> &'static str {
        match self {
            Self::Lineage => "lineage",
            Self::Schema => "schema",
            Self::Stats => "stats",
        }
    }

    const fn mime(self) -> &'static str {
        match self {
            Self::Lineage => "text/markdown",
            Self::Schema | Self::Stats => "application/json",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Lineage => "Parents, code, who made it and when, what changed",
            Self::Schema => "Columns and their types, as a tree",
            Self::Stats => {
                "Statistics of the columns: minima, maxima, means, quantiles, labels, NULLs"
            }
        }
    }

    fn text(self, setup: &Setup, of: &VersionInfo) -> Result<String> {
        match self {
            Self::Lineage => pages::text(&setup.catalog, Page::Lineage, of, None),
            Self::Schema => pages::text(&setup.catalog, Page::Schema, of, None),
            Self::Stats => {
                let (catalog, of) = (setup.catalog.clone(), of.clone());
                let schema = Arc::new(catalog.schema(&of)?);
                let pack = Handle::current().block_on(setup.packs.get(&of))?;
                let (rows, beside) = (Rows::All, Beside::ALL);
                let source = Source {
                    catalog,
                    of,
                    schema,
                    pack,
                    rows,
                    root: None,
                    is_ranked: false,
                    beside,
                };
                Ok(stats::of(&source, &|_| {})?.json)
            }
        }
    }
}

/// The pages of the knowledge base; those of datasets are described by templates.
pub async fn list(server: &Server, cursor: Option<String>) -> Result<ListResourcesResult> {
    let setup = server.setup();
    let begin = match cursor {
        None => 0,
        Some(cursor) => cursor.parse::<usize>().map_err(|_| {
            Error::new(Kind::Invalid, "the cursor was not issued by this server".to_owned())
        })?,
    };
    blocking(move || {
        let all = setup.knowledge.pages()?;
        let resource = |page: &PageInfo| {
            let uri = format!("{KNOWLEDGE}{}", encoded(&page.path, true));
            Resource::new(uri, visible(&page.path, LONGEST_TITLE))
                .with_title(visible(&page.title, LONGEST_TITLE))
                .with_mime_type("text/markdown")
        };
        let page = all.iter().skip(begin).take(PER_PAGE).map(resource).collect();
        let mut result = ListResourcesResult::with_all_items(page);
        let end = begin.saturating_add(PER_PAGE);
        result.next_cursor = (end < all.len()).then(|| end.to_string());
        Ok(result)
    })
    .await
}

/// The address templates.
pub fn templates() -> Vec<ResourceTemplate> {
    let part = |part: Part| {
        ResourceTemplate::new(format!("{DATASET}{{name}}/{}", part.name()), part.name())
            .with_description(part.description())
            .with_mime_type(part.mime())
    };
    let page = ResourceTemplate::new(format!("{KNOWLEDGE}{{+path}}"), "knowledge")
        .with_description("A page of the knowledge base: index.md, datasets/NAME.md")
        .with_mime_type("text/markdown");
    std::iter::once(page).chain(Part::ALL.map(part)).collect()
}

/// Reads the page at an address.
pub async fn read(server: &Server, uri: String) -> Result<ReadResourceResult> {
    let setup = server.setup();
    blocking(move || {
        let (text, mime) = found(&setup, &uri)?.ok_or_else(|| {
            Error::new(Kind::Missing, format!("no resource `{}`", visible(&uri, LONGEST_TITLE)))
        })?;
        let text = cut(&on_terminal(&text));
        let contents = ResourceContents::text(text, uri.clone()).with_mime_type(mime);
        Ok(ReadResourceResult::new(vec![contents]))
    })
    .await
}

fn found(setup: &Setup, uri: &str) -> Result<Option<(String, &'static str)>> {
    if let Some(path) = uri.strip_prefix(KNOWLEDGE) {
        let Some(path) = decoded(path) else { return Ok(None) };
        return Ok(setup.knowledge.page(&path)?.map(|text| (text, "text/markdown")));
    }
    let parts = uri.strip_prefix(DATASET).and_then(|rest| rest.rsplit_once('/'));
    let Some((name, part)) = parts else { return Ok(None) };
    let part = Part::ALL.into_iter().find(|known| known.name() == part);
    let (Some(part), Some(name)) = (part, decoded(name)) else { return Ok(None) };
    let of = setup.catalog.find(&name.parse::<DatasetRef>()?)?;
    Ok(Some((part.text(setup, &of)?, part.mime())))
}

/// Completes names of datasets and paths of pages from a prefix, for every argument that takes them.
pub async fn complete(server: &Server, argument: ArgumentInfo) -> Result<CompleteResult> {
    let setup = server.setup();
    blocking(move || {
        let typed = argument.value;
        let versions = || setup.catalog.versions();
        let mut names: Vec<String> = match argument.name.as_str() {
            "path" => setup.knowledge.pages()?.into_iter().map(|page| page.path).collect(),
            "name" | "dataset" if typed.contains('@') => {
                versions()?.iter().map(ToString::to_string).collect()
            }
            "name" | "dataset" => versions()?.iter().map(|of| of.dataset.to_string()).collect(),
            _ => Vec::new(),
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

/// Encodes a name as a segment of an address; a path keeps its slashes.
fn encoded(name: &str, is_path: bool) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        let is_kept = byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
        match is_kept || is_path && byte == b'/' {
            true => out.push(byte.into()),
            false => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// Decodes a segment; `None` if it is malformed.
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
            assert_eq!(decoded(&encoded(name, false)).as_deref(), Some(name));
            assert!(!encoded(name, false).contains('/'), "{name}");
        }
        for wrong in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
