//! A page of images as plain HTML: no script, no request to any other host, only relative links.
//!
//! Names and values come from strangers: they are escaped where they are put, and a content
//! security policy in the page forbids scripts and everything from elsewhere if something slips
//! through.

use std::fmt::Write;

use super::markdown::percent;
use super::numbers::{count, counted};
use super::stranger::visible;

/// The most characters of a value that are shown.
const LONGEST: usize = 120;

/// A row on a page.
#[derive(Debug)]
pub struct Card {
    /// The path of its file, relative to the directory that the page is about.
    pub path: Vec<u8>,
    /// Its `sys__id`.
    pub id: i64,
    /// Columns and their values.
    pub facts: Vec<(String, String)>,
}

/// One of the pages.
#[derive(Debug)]
pub struct Gallery<'g> {
    pub name: &'g str,
    pub rows: u64,
    /// Counted from 1.
    pub page: u64,
    pub pages: u64,
    pub cards: Vec<Card>,
}

/// How a file is shown.
enum Show {
    Picture,
    Sound,
    Film,
    Link,
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:14px/1.4 system-ui,sans-serif;margin:1rem}\
    nav{margin:1rem 0;display:flex;gap:1rem}main{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(160px,1fr))}\
    figure{margin:0;overflow-wrap:anywhere}img,video{width:100%;height:160px;object-fit:contain;background:#8882}audio{width:100%}\
    figcaption{font-size:12px}dl{display:grid;grid-template-columns:auto 1fr;gap:0 .5em;margin:.25em 0}dd{margin:0}dt{opacity:.7}";

impl Gallery<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file:; \
             media-src 'self' file:; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{name}, page {page}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n\
             <p>{rows}, page {page} of {pages}.</p>\n",
            name = escaped(self.name),
            rows = counted(self.rows, "row"),
            page = count(self.page),
            pages = count(self.pages),
        );
        let around = self.around();
        let _ = writeln!(out, "{around}<main>");
        self.cards.iter().for_each(|card| card.html(&mut out));
        let _ = write!(out, "</main>\n{around}</body>\n</html>\n");
        out
    }

    fn around(&self) -> String {
        let link = |page: u64, text: &str, rel: &str| {
            format!("<a{rel} href=\"{}\">{text}</a>", page_name(page))
        };
        let mut out = String::from("<nav>");
        if self.page > 1 {
            out += &link(1, "first", "");
            out += &link(self.page - 1, "previous", " rel=\"prev\"");
        }
        if self.page < self.pages {
            out += &link(self.page + 1, "next", " rel=\"next\"");
            out += &link(self.pages, "last", "");
        }
        out + "</nav>\n"
    }
}

/// The file name of a page.
pub fn page_name(page: u64) -> String {
    format!("page-{page:04}.html")
}

impl Card {
    fn html(&self, out: &mut String) {
        let segments: Vec<String> = self.path.split(|byte| *byte == b'/').map(percent).collect();
        // Relative to `_views/gallery/`.
        let link = format!("../../{}", segments.join("/"));
        let name = escaped(&String::from_utf8_lossy(&self.path));
        let body = match shown(&self.path) {
            Show::Picture => {
                format!("<a href=\"{link}\"><img loading=\"lazy\" src=\"{link}\" alt=\"\"></a>")
            }
            Show::Sound => format!("<audio controls preload=\"none\" src=\"{link}\"></audio>"),
            Show::Film => format!("<video controls preload=\"none\" src=\"{link}\"></video>"),
            Show::Link => String::new(),
        };
        let _ = write!(
            out,
            "<figure>{body}<figcaption><a href=\"{link}\">{name}</a> (<a href=\"../rows/{id}.json\">row {id}</a>)<dl>",
            id = self.id
        );
        for (column, value) in &self.facts {
            let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escaped(column), escaped(value));
        }
        out.push_str("</dl></figcaption></figure>\n");
    }
}

fn shown(path: &[u8]) -> Show {
    let ending = path.rsplit(|byte| *byte == b'.').next().unwrap_or_default().to_ascii_lowercase();
    match &ending[..] {
        b"jpg" | b"jpeg" | b"png" | b"gif" | b"webp" | b"avif" | b"bmp" | b"svg" => Show::Picture,
        b"wav" | b"mp3" | b"flac" | b"ogg" | b"m4a" | b"opus" => Show::Sound,
        b"mp4" | b"webm" | b"mov" | b"mkv" => Show::Film,
        _ => Show::Link,
    }
}

/// Escapes a stranger's text for an element or an attribute in quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text, LONGEST).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, value: &str, page: u64) -> String {
        let facts = vec![("label".to_owned(), value.to_owned())];
        let cards = vec![Card { path: path.into(), id: 7, facts }];
        Gallery { name: "pets@1.0.0", rows: 401, page, pages: 3, cards }.html()
    }

    #[test]
    fn pages_lead_to_their_neighbours() {
        assert!(!page("a.png", "", 1).contains("rel=\"prev\""));
        let middle = page("a.png", "", 2);
        assert!(middle.contains("<a rel=\"next\" href=\"page-0003.html\">next</a>"), "{middle}");
        assert!(middle.contains("<a rel=\"prev\" href=\"page-0001.html\">previous</a>"));
        assert!(!page("a.png", "", 3).contains("rel=\"next\""));
    }

    #[test]
    fn a_strangers_text_ends_nothing() {
        let text = page("a/\"><script>x</script>.png", "</dd><script>alert(1)</script>\u{202e}", 1);
        assert!(!text.contains("<script") && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("src=\"../../a/%22%3E%3Cscript%3Ex%3C/script%3E.png\""), "{text}");
        assert!(!page("javascript:alert(1).png", "", 1).contains("\"javascript:"));
    }
}
