//! Markdown and Mermaid around text of strangers: their text cannot break out of its place.

pub use super::stranger::visible;
use super::stranger::{on_page, shown};

/// The longest name, path or URI that a page shows whole.
const LONGEST: usize = 500;

/// The longest description that a page shows whole.
const LONGEST_PARAGRAPH: usize = 10_000;

/// Escapes text for use inside other text, in a heading or in a table cell.
pub fn text(raw: &str) -> String {
    on_page(&visible(raw, LONGEST))
}

/// A person's text as paragraphs of its own, with its line breaks.
pub fn paragraph(raw: &str) -> String {
    let cut: String = raw.chars().take(LONGEST_PARAGRAPH).collect();
    let lines: Vec<String> =
        cut.lines().map(|line| on_page(&visible(line, LONGEST_PARAGRAPH))).collect();
    lines.join("\n")
}

/// Inline code, also in a table cell: its fence is longer than any run of backticks inside.
pub fn code(raw: &str) -> String {
    let shown = visible(raw, LONGEST).replace('|', "\\|");
    let fence = "`".repeat(longest_run(&shown) + 1);
    let edge = |c: Option<char>| c.is_none_or(|c| c == '`' || c == ' ');
    let pad = if edge(shown.chars().next()) || edge(shown.chars().last()) { " " } else { "" };
    format!("{fence}{pad}{shown}{pad}{fence}")
}

/// A code block whose fence cannot be closed from inside. Control characters are shown as escapes,
/// except line breaks and tabs.
pub fn block(language: &str, raw: &str) -> String {
    let keep = |c: char| if matches!(c, '\n' | '\t') { c.into() } else { shown(c) };
    let raw: String = raw.replace("\r\n", "\n").chars().map(keep).collect();
    let fence = "`".repeat(longest_run(&raw).max(2) + 1);
    let end = if raw.ends_with('\n') || raw.is_empty() { "" } else { "\n" };
    format!("{fence}{language}\n{raw}{end}{fence}\n")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A link to a file beside or above the page, each segment of `path` encoded.
pub fn link(label: &str, path: &[&[u8]]) -> String {
    let encoded: Vec<String> = path.iter().map(|segment| percent(segment)).collect();
    format!("[{}]({})", text(label), encoded.join("/"))
}

/// Percent-encodes everything except unreserved characters (RFC 3986) and `@`, which is allowed in
/// a path.
pub fn percent(segment: &[u8]) -> String {
    let mut out = String::new();
    for &byte in segment {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                out.push(char::from(byte));
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// A label of a Mermaid node, without its quotes. `#35;` is Mermaid's escape for `#`.
pub fn mermaid(raw: &str) -> String {
    let mut out = String::new();
    for c in visible(raw, 80).chars() {
        match c {
            '"' | '#' | '<' | '>' | '`' | '&' | ';' | '\\' | '%' => {
                out += &format!("#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strangers_stay_where_they_are_put() {
        let cases = [
            (text("plain name-1.0"), "plain name-1.0"),
            (text("a|b"), "a\\|b"),
            (text("# x\n](y) <script>"), "\\# x\\\\n\\](y) \\<script\\>"),
            (text("\u{202e}gpj"), "\\\\u{202e}gpj"),
            (code("list[int]"), "`list[int]`"),
            (code("a`b"), "``a`b``"),
            (code("`"), "`` ` ``"),
            (code("a|b"), "`a\\|b`"),
            (code(""), "`  `"),
            (block("python", "x = 1"), "```python\nx = 1\n```\n"),
            (block("", "````\n"), "`````\n````\n`````\n"),
            (block("", "a\r\n\tb\x1b[2J"), "```\na\n\tb\\u{1b}[2J\n```\n"),
            (paragraph("a *b*\nc"), "a \\*b\\*\nc"),
            (
                link("p", &[b"..", b"a b)#?@1.0.0", b"_lineage.md"]),
                "[p](../a%20b%29%23%3F@1.0.0/_lineage.md)",
            ),
            (mermaid("a\"]; click"), "a#34;]#59; click"),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let cases = [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abc..."), ("", 6, "")];
        for (raw, most, want) in cases {
            assert_eq!(visible(raw, most), want, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn a_cell_is_one_line_and_one_cell(raw in ".*") {
            for cell in [text(&raw), code(&raw)] {
                prop_assert!(!cell.contains('\n') && !cell.contains('\r'));
                let bars = cell.match_indices('|');
                for (at, _) in bars {
                    prop_assert!(cell[..at].ends_with('\\'), "{}", cell);
                }
            }
        }

        #[test]
        fn a_block_closes_once(raw in "[`a\n]{0,40}") {
            let block = block("", &raw);
            let fence: String = block.chars().take_while(|c| *c == '`').collect();
            let closing = block.lines().filter(|l| l.starts_with(&fence)).count();
            prop_assert_eq!(closing, 2);
        }
    }
}
