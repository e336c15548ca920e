//! `_schema.json`: the columns of a version for programs. The format is in `docs/schema-format.md`.
//!
//! Everything except people's annotations stays the same while the version exists. The name of the
//! dataset can change (`datachain dataset edit --new-name`), so it is not included.

use serde::Serialize;

use super::{Narrowed, Subject, directories};
use crate::annotation::{Annotation, Annotations};
use crate::schema::{Field, FileColumn, Schema, Shape};
use crate::time::Timestamp;

/// The version of the format; incremented when readers of the old one would be misled.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Page<'a> {
    format: u32,
    version: &'a str,
    uuid: &'a str,
    created_at: Option<String>,
    rows: Option<u64>,
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a Narrowed>,
    columns: Vec<Node<'a>>,
    files: Vec<File<'a>>,
    system_columns: [&'static str; 2],
}

/// One column, or one model with its fields.
#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    r#type: &'a str,
    optional: bool,
    /// People's annotations of it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    said: Option<&'a Annotation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    hidden: bool,
    #[serde(skip_serializing_if = "is_false")]
    file: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<Node<'a>>>,
}

/// One File column and the directory of its rows' files.
#[derive(Serialize)]
struct File<'a> {
    column: &'a str,
    listed: bool,
    /// Relative to the version's directory.
    directory: Option<String>,
    /// The recorded properties that identify the object of a row, strongest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pin: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The page, of a version or of some of its rows.
pub fn schema_json(
    of: &Subject,
    schema: &Schema,
    said: &Annotations,
    narrowed: Option<&Narrowed>,
) -> String {
    let page = Page {
        format: FORMAT,
        version: &of.version,
        uuid: &of.uuid,
        created_at: of.created_at.map(Timestamp::rfc3339),
        rows: of.rows,
        size: of.size,
        query: narrowed,
        columns: schema.signals.iter().map(|signal| node(signal, &signal.name, said)).collect(),
        files: schema.files.iter().map(|file| file_of(file, schema)).collect(),
        system_columns: ["sys__id", "sys__rand"],
    };
    // Only strings and numbers: serialising cannot fail.
    serde_json::to_string_pretty(&page).unwrap_or_default() + "\n"
}

fn node<'a>(field: &'a Field, path: &str, said: &'a Annotations) -> Node<'a> {
    let mut node = Node {
        name: &field.name,
        r#type: &field.type_text,
        optional: field.optional,
        said: said.get(path),
        items: items(&field.type_text),
        hidden: field.hidden,
        file: false,
        model: None,
        column: None,
        fields: None,
    };
    match &field.shape {
        Shape::Column { column, .. } => node.column = Some(column),
        Shape::Model { model, file, fields, .. } => {
            node.model = Some(model);
            node.file = *file;
            let below =
                |field: &'a Field| self::node(field, &format!("{path}.{}", field.name), said);
            node.fields = Some(fields.iter().map(below).collect());
        }
    }
    node
}

/// The item type of a list: `float` of `list[float]` and of `Optional[list[float]]`.
fn items(type_text: &str) -> Option<&str> {
    let inner = |text: &'_ str, outer: &str| -> Option<(usize, usize)> {
        let start = text.strip_prefix(outer)?.strip_prefix('[')?;
        start.strip_suffix(']').map(|item| (outer.len() + 1, outer.len() + 1 + item.len()))
    };
    let plain = inner(type_text, "Optional").map_or(type_text, |(from, to)| &type_text[from..to]);
    inner(plain, "list").map(|(from, to)| &plain[from..to])
}

fn file_of<'a>(file: &'a FileColumn, schema: &Schema) -> File<'a> {
    let mut listed = directories(schema).into_iter();
    let directory = listed.find(|(other, _)| *other == file).map(|(_, directory)| directory);
    let (listed, reason) = (file.is_listed(), unlisted(file));
    File { column: &file.name, listed, directory, pin: pin(file), reason }
}

/// The recorded properties that can pin an object: the possible values of `user.dcfs.pin` on its
/// files.
fn pin(file: &FileColumn) -> Vec<&'static str> {
    if !file.is_listed() {
        return Vec::new();
    }
    let parts =
        [("version", &file.version), ("etag", &file.etag), ("size and time", &file.last_modified)];
    let saved = parts.iter().filter(|(_, part)| part.is_some()).map(|(name, _)| *name);
    let saved: Vec<_> = saved.collect();
    if saved.is_empty() { vec!["size only"] } else { saved }
}

/// Why a File column shows no files.
pub(super) fn unlisted(file: &FileColumn) -> Option<String> {
    let parts = [("source", &file.source), ("path", &file.path), ("size", &file.size)];
    let missing: Vec<String> = parts
        .iter()
        .filter(|(_, part)| part.is_none())
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    (!missing.is_empty()).then(|| format!("the version did not save its {}", missing.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::readme::tests::pets;

    #[test]
    fn lists_say_what_they_hold() {
        let cases = [
            ("list[float]", Some("float")),
            ("Optional[list[BBox@v1]]", Some("BBox@v1")),
            ("list[list[int]]", Some("list[int]")),
            ("int", None),
            ("dict[str, list[int]]", None),
            ("list", None),
            ("Optional[int]", None),
        ];
        for (text, want) in cases {
            assert_eq!(items(text), want, "{text}");
        }
    }

    #[test]
    fn says_by_what_files_are_pinned() {
        let some = |name: &str| Some(name.to_owned());
        let bare = FileColumn {
            source: some("s"),
            path: some("p"),
            size: some("z"),
            ..FileColumn::default()
        };
        assert_eq!(pin(&bare), ["size only"]);
        let timed = FileColumn { last_modified: some("m"), ..bare.clone() };
        assert_eq!(pin(&timed), ["size and time"]);
        let all = FileColumn { version: some("v"), etag: some("e"), ..timed };
        assert_eq!(pin(&all), ["version", "etag", "size and time"]);
        assert!(pin(&FileColumn { size: None, ..bare }).is_empty());
    }

    #[test]
    fn the_page_is_what_the_document_says() {
        let (of, schema) = pets();
        let documented = include_str!("../../../docs/schema-format.md");
        let page = schema_json(&of, &schema, &Annotations::new(), None);
        let example = documented.split("```json\n").nth(1).and_then(|t| t.split("```").next());
        assert_eq!(Some(page.as_str()), example, "docs/schema-format.md shows the page");
    }
}
