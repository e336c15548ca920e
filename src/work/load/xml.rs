//! XML as records: elements of one path, with their attributes and what is in them as JSON. All values are texts, exactly
//! as they are written: [`super::types`] finds their types.
//!
//! A record has besides the fields of the elements around it that stand before it: so the objects of a Pascal VOC file
//! each know `filename` and `size`. These fields are bounded, as each record has a copy of them. No document type is read
//! and no entity but XML's own known, so nothing is fetched and nothing grows.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use serde_json::{Map, Value as Json};

use dcfs_core::error::Result;

/// Limit of nested elements.
const DEEPEST: usize = 64;

/// The most bytes of fields that stand before a record, in one element around it.
const MOST_AROUND: usize = 64 << 10;

/// The most bytes of such fields in all records of a file together.
const MOST_COPIED: usize = 1 << 30;

/// Bytes that a value takes besides its text.
const VALUE: usize = 32;

/// An element that is not complete yet.
struct Open {
    name: String,
    fields: Map<String, Json>,
    text: String,
    is_record: bool,
    /// Bytes of `fields`; counted only around records, not within them.
    weight: usize,
    /// It had more than [`MOST_AROUND`], which were dropped: no record may follow in it.
    is_full: bool,
}

impl Open {
    /// Adds a field, or drops all if they are too many.
    fn take(&mut self, name: String, value: Json) {
        self.weight = self.weight.saturating_add(name.len() + weight(&value));
        if self.is_full || self.weight > MOST_AROUND {
            self.fill();
        } else {
            push(&mut self.fields, name, value);
        }
    }

    fn fill(&mut self) {
        self.is_full = true;
        self.fields = Map::new();
    }
}

/// About how many bytes a value takes.
fn weight(value: &Json) -> usize {
    let inside: usize = match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(weight).sum(),
        Json::Object(fields) => weight_of(fields),
        _ => 0,
    };
    VALUE + inside
}

fn weight_of(fields: &Map<String, Json>) -> usize {
    fields.iter().map(|(name, value)| name.len() + weight(value)).sum()
}

/// Calls `each` with every element that `path` names, in order: `annotation/object`, or the last names of it; without one,
/// every element right below the outermost. Returns how many there were.
///
/// # Errors
/// A description: not XML, incomplete, or too much that stands before records; errors of `each`.
pub fn each(
    xml: &str,
    path: Option<&str>,
    each: &mut dyn FnMut(&Map<String, Json>) -> Result<()>,
) -> Result<u64, Wrong> {
    let wanted: Option<Vec<&str>> =
        path.map(|path| path.split('/').filter(|p| !p.is_empty()).collect());
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<Open> = Vec::new();
    let (mut count, mut is_begun) = (0, false);
    let mut copied = 0;
    loop {
        let event = reader.read_event().map_err(|error| format!("it is not XML: {error}"))?;
        match event {
            Event::Start(_) | Event::Empty(_) if open.is_empty() && is_begun => {
                let what = "it is not XML: something follows its outermost element";
                return Err(what.to_owned().into());
            }
            Event::Start(start) => {
                is_begun = true;
                begin(&start, &wanted, &mut open)?;
            }
            Event::Empty(start) => {
                is_begun = true;
                begin(&start, &wanted, &mut open)?;
                count += end(&mut open, &mut copied, each)?;
            }
            Event::End(_) => count += end(&mut open, &mut copied, each)?,
            Event::Text(part) => add(&mut open, &part.xml10_content().map_err(|e| e.to_string())?),
            Event::CData(part) => add(&mut open, &part.decode().map_err(|e| e.to_string())?),
            Event::GeneralRef(part) => add(&mut open, &reference(&part)?),
            Event::Eof if !open.is_empty() => return Err("it breaks off".to_owned().into()),
            Event::Eof if !is_begun => return Err("it is not XML: it is empty".to_owned().into()),
            Event::Eof => return Ok(count),
            _ => {}
        }
    }
}

/// What is wrong with a file, or why a record was not taken.
pub enum Wrong {
    Xml(String),
    Record(dcfs_core::error::Error),
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self::Xml(what)
    }
}

fn begin(
    start: &BytesStart<'_>,
    wanted: &Option<Vec<&str>>,
    open: &mut Vec<Open>,
) -> Result<(), String> {
    if open.len() == DEEPEST {
        return Err(format!("its elements nest deeper than {DEEPEST}"));
    }
    let name = text_of(start.local_name().as_ref())?;
    let mut fields = Map::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("it is not XML: {error}"))?;
        let key = text_of(attribute.key.local_name().as_ref())?;
        let raw = text_of(&attribute.value)?;
        let value =
            quick_xml::escape::unescape(&raw).map_err(|error| format!("it is not XML: {error}"))?;
        if !key.starts_with("xmlns") {
            push(&mut fields, key, plain(&value));
        }
    }
    let names = || open.iter().map(|open| open.name.as_str()).chain([name.as_str()]);
    let is_within = open.iter().any(|open| open.is_record);
    let is_record = !is_within
        && match wanted {
            Some(wanted) => {
                let names: Vec<&str> = names().collect();
                names.ends_with(wanted)
            }
            None => open.len() == 1,
        };
    let weight = weight_of(&fields);
    let mut begun = Open { name, fields, text: String::new(), is_record, weight, is_full: false };
    if weight > MOST_AROUND && !is_record && !is_within {
        begun.fill();
    }
    open.push(begun);
    Ok(())
}

/// A text as a value; NULL for an empty one.
fn plain(text: &str) -> Json {
    if text.is_empty() { Json::Null } else { Json::from(text) }
}

fn text_of(bytes: &[u8]) -> Result<String, String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| error.to_string())
}

fn add(open: &mut [Open], text: &str) {
    if let Some(last) = open.last_mut() {
        last.text.push_str(text);
    }
}

/// Ends the innermost element; 1 if it is a record. `copied`: bytes that records have of the elements around them.
fn end(
    open: &mut Vec<Open>,
    copied: &mut usize,
    each: &mut dyn FnMut(&Map<String, Json>) -> Result<()>,
) -> Result<u64, Wrong> {
    let Some(done) = open.pop() else { return Ok(0) };
    if done.is_record {
        *copied = open.iter().fold(*copied, |sum, around| sum.saturating_add(around.weight));
        if *copied > MOST_COPIED || open.iter().any(|around| around.is_full) {
            return Err(too_much_around(&done.name).into());
        }
        let mut record = Map::new();
        // The innermost field of a name counts.
        for around in &*open {
            record.extend(around.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        match value(done) {
            (_, Json::Object(fields)) => record.extend(fields),
            (name, other) => {
                record.insert(name, other);
            }
        }
        each(&record).map_err(Wrong::Record)?;
        return Ok(1);
    }
    let is_within = open.iter().any(|open| open.is_record);
    if let Some(above) = open.last_mut() {
        let is_full = done.is_full;
        let (name, value) = value(done);
        if is_within {
            push(&mut above.fields, name, value);
        } else if is_full {
            above.fill();
        } else if !value.is_null() {
            // An element that holds only records has no value besides them.
            above.take(name, value);
        }
    }
    Ok(0)
}

fn too_much_around(name: &str) -> String {
    format!(
        "too much stands before its elements `{name}`, in the elements around them, and each would have a copy of it: \
         at most {} KiB, and {} GiB in all records",
        MOST_AROUND >> 10,
        MOST_COPIED >> 30
    )
}

/// A second field of a name makes a list.
fn push(fields: &mut Map<String, Json>, name: String, value: Json) {
    match fields.get_mut(&name) {
        None => {
            fields.insert(name, value);
        }
        Some(Json::Array(items)) => items.push(value),
        Some(first) => *first = Json::Array(vec![first.take(), value]),
    }
}

fn value(open: Open) -> (String, Json) {
    let Open { name, mut fields, text, .. } = open;
    let text = text.trim();
    let value = match (fields.is_empty(), text.is_empty()) {
        (true, true) => Json::Null,
        (true, false) => plain(text),
        (false, true) => Json::Object(fields),
        (false, false) => {
            push(&mut fields, "text".to_owned(), plain(text));
            Json::Object(fields)
        }
    };
    (name, value)
}

fn reference(part: &BytesRef<'_>) -> Result<String, String> {
    if let Some(c) = part.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(c.to_string());
    }
    let name = part.decode().map_err(|error| error.to_string())?;
    let meaning = resolve_xml_entity(&name);
    meaning.map(str::to_owned).ok_or_else(|| format!("`&{name};` is not one of XML's own entities"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(xml: &str, path: Option<&str>) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let read = each(xml, path, &mut |record| {
            found.push(Json::Object(record.clone()).to_string());
            Ok(())
        });
        match read {
            Ok(count) => {
                assert_eq!(count, found.len() as u64);
                Ok(found)
            }
            Err(Wrong::Xml(what)) => Err(what),
            Err(Wrong::Record(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn records_know_what_stands_before_them() {
        let voc = "<annotation><filename>a.jpg</filename><size><width>5</width></size>\
            <object><name>dog</name><bndbox><xmin>1.5</xmin></bndbox><part><name>head</name></part><part/></object>\
            <object difficult='1'><name>c&amp;t</name></object></annotation>";
        let want = [
            r#"{"filename":"a.jpg","size":{"width":"5"},"name":"dog","bndbox":{"xmin":"1.5"},"part":[{"name":"head"},null]}"#,
            r#"{"filename":"a.jpg","size":{"width":"5"},"difficult":"1","name":"c&t"}"#,
        ];
        let sorted = |text: &str| serde_json::from_str::<Json>(text).expect("JSON");
        for path in ["object", "annotation/object", "/annotation/object"] {
            let found = all(voc, Some(path)).expect("XML");
            assert_eq!(found.len(), 2);
            for (found, want) in found.iter().zip(want) {
                assert_eq!(sorted(found), sorted(want));
            }
        }
        assert_eq!(all(voc, Some("nothing")), Ok(vec![]));
        assert_eq!(all("<l><r>1</r><r a='x'>007</r></l>", None).expect("XML").len(), 2);
    }

    #[test]
    fn values_are_texts_and_none_is_lost() {
        let xml = "<l><r v='1.10' e=''>a<text>b</text>c</r><r>007</r></l>";
        let want = [r#"{"v":"1.10","e":null,"text":["b","ac"]}"#, r#"{"r":"007"}"#];
        assert_eq!(all(xml, None).expect("XML"), want);
    }

    #[test]
    fn much_before_records_is_refused_and_after_them_it_is_not() {
        let many = "<a>x</a>".repeat(MOST_AROUND / VALUE);
        let refused = |xml: &str| all(xml, Some("b")).expect_err("too much");
        assert!(refused(&format!("<l>{many}<b/></l>")).contains("stands before its elements `b`"));
        let nested = format!("<l><s>{many}</s><b/></l>");
        assert!(refused(&nested).contains("stands before its elements `b`"));
        let long = format!("<l c='{}'><b/></l>", "x".repeat(MOST_AROUND));
        assert!(refused(&long).contains("stands before its elements `b`"));
        for xml in [format!("<l><b/>{many}</l>"), format!("<l><b>{many}</b></l>")] {
            assert_eq!(all(&xml, Some("b")).expect("XML").len(), 1);
        }
        // Little for each, but of too many.
        let little = "x".repeat(MOST_AROUND / 2);
        let many = "<b/>".repeat(MOST_COPIED / (MOST_AROUND / 2) + 1);
        let read = each(&format!("<l c='{little}'>{many}</l>"), Some("b"), &mut |_| Ok(()));
        assert!(matches!(read, Err(Wrong::Xml(what)) if what.contains("`b`")));
    }

    #[test]
    fn what_is_no_xml_is_told() {
        for text in ["", "x", "<a>", "<a></b>", "<a>&nosuch;</a>", "<a/><b/>", "<a b=c/>"] {
            assert!(all(text, None).is_err(), "{text}");
        }
        assert!(all(&"<a>".repeat(100), None).is_err());
        let bomb = "<!DOCTYPE a [<!ENTITY b 'xxxxxxxx'>]><a><r>&b;</r></a>";
        assert!(all(bomb, None).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(parts in proptest::collection::vec("<a>|</a>|<b c='1'>|</b>|<b/>|text|&amp;|&#1;|<!--|-->|<![CDATA[|]]>|<|>|\\?", 0..20)) {
            let _ = all(&parts.concat(), Some("a/b"));
        }
    }
}
