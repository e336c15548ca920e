//! A streaming parser for the XML of listings. Pure.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};

/// Limit of nested elements.
const DEEPEST: usize = 64;

/// A complete element.
#[derive(Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The names of the elements around it below the outermost, and its own: `Version/Key`.
    pub path: &'a str,
    /// Its own text.
    pub text: &'a str,
    /// Azure's mark of a name that is percent-encoded.
    pub is_encoded: bool,
}

/// Calls `each` for every element inside the outermost one as it ends, and returns the name of the outermost.
///
/// # Errors
/// A description: not XML, or incomplete.
pub fn read(
    xml: &[u8],
    mut each: impl FnMut(Element<'_>) -> Result<(), String>,
) -> Result<String, String> {
    let mut reader = Reader::from_reader(xml);
    let (mut root, mut path, mut text) = (None, String::new(), String::new());
    let (mut depth, mut encoded) = (0_usize, false);
    loop {
        match reader.read_event().map_err(|error| format!("no XML: {error}"))? {
            Event::Start(start) => {
                text.clear();
                encoded = matches!(start.try_get_attribute("Encoded"), Ok(Some(mark)) if &*mark.value == b"true");
                let name = start.local_name();
                let name = std::str::from_utf8(name.as_ref()).map_err(|error| error.to_string())?;
                depth += 1;
                match depth {
                    1 if root.is_some() => return Err("more than one page".into()),
                    1 => root = Some(name.to_owned()),
                    DEEPEST.. => return Err("elements nested too deeply".into()),
                    2 => path.push_str(name),
                    _ => {
                        path.push('/');
                        path.push_str(name);
                    }
                }
            }
            Event::Empty(empty) if depth > 0 => {
                let name = empty.local_name();
                let name = std::str::from_utf8(name.as_ref()).map_err(|error| error.to_string())?;
                let before = path.len();
                if depth > 1 {
                    path.push('/');
                }
                path.push_str(name);
                each(Element { path: &path, text: "", is_encoded: false })?;
                path.truncate(before);
            }
            Event::Text(part) => {
                text.push_str(&part.xml10_content().map_err(|error| error.to_string())?)
            }
            Event::CData(part) => text.push_str(&part.decode().map_err(|error| error.to_string())?),
            Event::GeneralRef(part) => reference(&part, &mut text)?,
            Event::End(_) if depth == 1 => depth = 0,
            Event::End(_) => {
                each(Element { path: &path, text: &text, is_encoded: encoded })?;
                (depth, encoded) = (depth - 1, false);
                path.truncate(path.rfind('/').unwrap_or(0));
                text.clear();
            }
            Event::Eof if depth == 0 => return root.ok_or_else(|| "not XML: it is empty".into()),
            Event::Eof => return Err("it breaks off".into()),
            _ => {}
        }
    }
}

fn reference(part: &BytesRef<'_>, text: &mut String) -> Result<(), String> {
    if let Some(c) = part.resolve_char_ref().map_err(|error| error.to_string())? {
        text.push(c);
        return Ok(());
    }
    let name = part.decode().map_err(|error| error.to_string())?;
    let meaning = resolve_xml_entity(&name).ok_or_else(|| format!("no XML: `&{name};`"))?;
    text.push_str(meaning);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(xml: &[u8]) -> Result<(String, Vec<String>), String> {
        let mut found = Vec::new();
        let root = read(xml, |element| {
            let mark = if element.is_encoded { "!" } else { "" };
            found.push(format!("{}{mark}={}", element.path, element.text));
            Ok(())
        })?;
        Ok((root, found))
    }

    #[test]
    fn every_element_is_told_as_it_ends() {
        let xml = b"<?xml version=\"1.0\"?>\n<L xmlns=\"u\">\n <A>1</A><V><K>a&amp;&#98;<![CDATA[<c>]]></K><O><I>x</I></O>\n </V>\
            <E/><x:N Encoded=\"true\">%20</x:N></L>\n";
        let want = ["A=1", "V/K=a&b<c>", "V/O/I=x", "V/O=", "V=", "E=", "N!=%20"];
        let (root, found) = all(xml).unwrap();
        let found: Vec<_> = found.iter().map(|text| text.trim_end()).collect();
        assert_eq!((root.as_str(), found), ("L", want.to_vec()));
    }

    #[test]
    fn what_is_not_whole_is_an_error() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "not XML: it is empty"),
            (b"{}", "not XML: it is empty"),
            (b"<L><A>1</A>", "it breaks off"),
            (b"<L></L><L></L>", "more than one page"),
            (b"<L><A>&none;</A></L>", "no XML: `&none;`"),
            (b"<L><A></L>", "no XML: "),
        ];
        for (xml, message) in cases {
            let error = all(xml).unwrap_err();
            assert!(error.starts_with(message), "{}: {error}", xml.escape_ascii());
        }
        assert!(all("<a>".repeat(100).as_bytes()).unwrap_err().contains("nested too deeply"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(xml in "(<[abc/!?]|>|</a>|<a>|&|;|[ -~\u{e9}]){0,40}") {
            let _ = all(xml.as_bytes());
        }
    }
}
