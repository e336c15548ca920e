//! Sources and paths of rows as URLs. Nothing is decoded or normalised, and a path that could leave its source
//! is refused.

use std::fmt::Write as _;

/// The URL that DataChain requests (`HTTPClient.get_uri`): existing percent-encoding stays, `?` begins a query,
/// and a `#` fragment is not sent.
///
/// # Errors
/// Why it has no exact meaning.
pub fn url(source: &str, path: &[u8]) -> Result<String, &'static str> {
    let rest = source.split_once("://").map_or(source, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("its source holds a login, which a catalog should not");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if authority.is_empty() || !authority.bytes().all(plain) || source.contains(['?', '#']) {
        return Err("its source names no server; write `https://host`");
    }
    let path = std::str::from_utf8(path).map_err(|_| "its path is not UTF-8")?;
    if path.is_empty() {
        return Err("its path is empty");
    }
    if path.chars().any(char::is_control) || source.chars().any(char::is_control) {
        return Err("its path holds a control character");
    }
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
    let below = rest.split_once('/').map_or("", |(_, below)| below);
    if below.split('/').chain(path.split('/')).any(is_dots) {
        return Err("its path holds a `.` or `..` segment");
    }
    let slash = if source.ends_with('/') || path.starts_with('/') { "" } else { "/" };
    let mut url = source.to_owned() + slash;
    url += &url_path(path, b"");
    if let Some(query) = query {
        url.push('?');
        query.bytes().for_each(|b| encode(&mut url, b, b"-._~/%:?@!$&'()*+,;=[]"));
    }
    Ok(url)
}

/// Percent-encodes a path; bytes in `more` are kept as well.
pub fn url_path(path: &str, more: &[u8]) -> String {
    let kept = [b"-._~/%", more].concat();
    let mut url = String::with_capacity(path.len());
    path.bytes().for_each(|b| encode(&mut url, b, &kept));
    url
}

/// Appends `byte` verbatim if it is a letter, a digit or one of `kept`, else percent-encoded.
fn encode(url: &mut String, byte: u8, kept: &[u8]) {
    if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
        url.push(char::from(byte));
    } else {
        // Writing to a `String` cannot fail.
        let _ = write!(url, "%{byte:02X}");
    }
}

/// Whether a client would treat a segment as `.` or `..`, percent-encoded or not.
pub fn is_dots(segment: &str) -> bool {
    let text = segment.to_ascii_lowercase().replace("%2e", ".");
    text == "." || text == ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_that_datachain_asks_for() {
        let cases: [(&str, &[u8], &str); 9] = [
            ("http://h:8080", b"a b/%20/c", "http://h:8080/a%20b/%20/c"),
            (
                "https://h",
                "\u{e9}\"<>\\^`{|}".as_bytes(),
                "https://h/%C3%A9%22%3C%3E%5C%5E%60%7B%7C%7D",
            ),
            ("https://h", b"a?b=c d&e=%20#f", "https://h/a?b=c%20d&e=%20"),
            ("https://h", b"a#f?b", "https://h/a"),
            ("https://h/", b"a", "https://h/a"),
            ("https://h", b"/a//b/", "https://h/a//b/"),
            ("https://h/in/side", b"a", "https://h/in/side/a"),
            ("http://[::1]:80", b"a", "http://[::1]:80/a"),
            ("https://h", b"a+b:c@d,e;f=g", "https://h/a%2Bb%3Ac%40d%2Ce%3Bf%3Dg"),
        ];
        for (source, path, want) in cases {
            assert_eq!(url(source, path).as_deref(), Ok(want), "{}", path.escape_ascii());
        }
    }
}
