//! Converts pages of `docs/` to manual pages: the subset of Markdown that those use, as roff.
//!
//! Headings, paragraphs, lists, code and tables; inline code, bold text and links. A table becomes a list by
//! its first cells, because a terminal is too narrow for columns of sentences. Pure.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// Prefix of each line of code.
const INDENT: &str = "    ";

/// Appends `text` to a page, without its title, the line that begins with `# `.
pub fn append(page: &mut Roff, text: &str) {
    let mut lines = text.lines().peekable();
    // A paragraph begins automatically after a heading, and `mandoc` complains about an explicit one.
    let mut is_below_heading = true;
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            page.control("SH", [quoted(&heading.to_uppercase()).as_str()]);
        } else if let Some(heading) = line.strip_prefix("### ") {
            page.control("SS", [quoted(heading).as_str()]);
        } else if line.starts_with("# ") || line.is_empty() {
            continue;
        } else if line.starts_with("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|l| !l.starts_with("```")).collect();
            code(page, &inside, is_below_heading);
        } else if let Some(first) = line.strip_prefix(INDENT) {
            let mut inside = vec![first];
            while let Some(next) = lines.peek().and_then(|line| line.strip_prefix(INDENT)) {
                inside.push(next);
                lines.next();
            }
            code(page, &inside, is_below_heading);
        } else if line.starts_with('|') {
            let mut rows = vec![line];
            while let Some(next) = lines.next_if(|l| l.starts_with('|')) {
                rows.push(next);
            }
            table(page, &rows);
        } else {
            let (start, mut whole) = match line.strip_prefix("- ") {
                Some(item) => (("IP", vec![r"\(bu", "2"]), item.to_owned()),
                None => (("PP", vec![]), line.to_owned()),
            };
            while let Some(next) = lines.next_if(|l| goes_on(l)) {
                whole.push(' ');
                whole.push_str(next.trim_start());
            }
            if start.0 != "PP" || !is_below_heading {
                page.control(start.0, start.1);
            }
            page.text(inlines(&whole));
        }
        is_below_heading = line.starts_with('#');
    }
}

/// Whether a line continues the paragraph or the item before it.
fn goes_on(line: &str) -> bool {
    const STARTS: [&str; 7] = ["# ", "## ", "### ", "- ", "|", INDENT, "```"];
    !line.is_empty() && !STARTS.iter().any(|start| line.starts_with(start))
}

/// An argument of a macro; the crate quotes those with spaces, but cannot escape quotes.
fn quoted(heading: &str) -> String {
    heading.replace('`', "").replace('"', "\\(dq")
}

fn code(page: &mut Roff, lines: &[&str], is_below_heading: bool) {
    if !is_below_heading {
        page.control("PP", []);
    }
    page.control("RS", ["4"]).control("EX", []);
    for line in lines {
        page.text([roman(*line)]);
    }
    page.control("EE", []).control("RE", []);
}

/// Each row becomes a tagged paragraph. If the table has more than two columns, their titles precede the cells.
fn table(page: &mut Roff, rows: &[&str]) {
    let mut rows = rows.iter().map(|row| cells(row));
    let titles = rows.next().unwrap_or_default();
    let is_wide = titles.len() > 2;
    for row in rows.filter(|row| !row.iter().all(|cell| cell.trim_matches(['-', ':']).is_empty())) {
        let Some((tag, rest)) = row.split_first() else { continue };
        page.control("TP", []);
        page.text([bold(plain(tag))]);
        let titled = rest.iter().zip(titles.iter().skip(1)).filter(|(cell, _)| !cell.is_empty());
        let cells = titled.map(|(cell, title)| match is_wide && !title.is_empty() {
            true => format!("{title}: {cell}"),
            false => cell.clone(),
        });
        let whole = cells.collect::<Vec<_>>().join("; ");
        // A tag alone would absorb the next paragraph.
        page.text(if whole.is_empty() { vec![roman("\u{a0}")] } else { inlines(&whole) });
    }
}

/// The cells of a row; `\|` is not a border.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|').replace("\\|", "\u{0}");
    let row = row.strip_suffix('|').unwrap_or(&row);
    row.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// A text without its markup.
fn plain(text: &str) -> String {
    let parts = inlines(text).into_iter().map(|part| match part {
        Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text,
        Inline::LineBreak => String::new(),
    });
    parts.collect()
}

/// Splits a line into parts: code and text between `**` in bold; links as their text, with the address of
/// external ones.
fn inlines(mut text: &str) -> Vec<Inline> {
    let mut parts = Vec::new();
    while let Some(at) = text.find(['`', '[', '*']) {
        let (before, rest) = text.split_at(at);
        let found = match rest.as_bytes()[0] {
            b'`' => code_span(rest),
            b'[' => link(rest),
            _ => strong(rest),
        };
        let (part, rest) = found.unwrap_or_else(|| (roman(&rest[..1]), &rest[1..]));
        parts.extend((!before.is_empty()).then(|| roman(before)));
        parts.push(part);
        text = rest;
    }
    parts.extend((!text.is_empty()).then(|| roman(text)));
    parts
}

/// A code span ends at as many backticks as it began with.
fn code_span(text: &str) -> Option<(Inline, &str)> {
    let fence = &text[..text.len() - text.trim_start_matches('`').len()];
    let (inside, rest) = text[fence.len()..].split_once(fence)?;
    let inside = if fence.len() > 1 { inside.trim() } else { inside };
    Some((bold(inside), rest))
}

fn strong(text: &str) -> Option<(Inline, &str)> {
    let (inside, rest) = text.strip_prefix("**")?.split_once("**")?;
    Some((bold(plain(inside)), rest))
}

fn link(text: &str) -> Option<(Inline, &str)> {
    let (words, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (address, rest) = rest.split_once(')').filter(|_| !words.contains([']', '[']))?;
    let words = plain(words);
    let shown = if address.starts_with("http") { format!("{words} ({address})") } else { words };
    Some((roman(shown), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> String {
        let mut page = Roff::new();
        append(&mut page, text);
        page.to_roff()
    }

    #[test]
    fn each_kind_of_block() {
        let cases = [
            ("# Title\n\nOne\ntwo.\n\nThree\n", "One two.\n.PP\nThree\n"),
            ("a\n## Which `names`\nb\n", "a\n.SH \"WHICH NAMES\"\nb\n"),
            ("- a\n  b\n- c\n", ".IP \\(bu 2\na b\n.IP \\(bu 2\nc\n"),
            ("    .x\n    'y\n", ".RS 4\n.EX\n\\&.x\n\\&'y\n.EE\n.RE\n"),
            ("```sh\nls\n```\n", ".RS 4\n.EX\nls\n.EE\n.RE\n"),
            ("| | |\n|---|---|\n| `a \\|\\| b` | joins |\n", ".TP\n\\fBa || b\\fR\njoins\n"),
            ("| | x | y |\n|---|---|---|\n| a | 1 | 2 |\n", ".TP\n\\fBa\\fR\nx: 1; y: 2\n"),
            ("| `a` | |\n|---|---|\n| `b` | |\n", ".TP\n\\fBb\\fR\n\u{a0}\n"),
        ];
        for (text, roff) in cases {
            assert_eq!(page(text), roff, "{text}");
        }
    }

    #[test]
    fn parts_of_a_line() {
        let cases = [
            ("a `b` c", "a \\fBb\\fR c"),
            ("`` `x`.y `` is", "\\fB`x`.y\\fR is"),
            ("**a `b`** c", "\\fBa b\\fR c"),
            ("see [this](a.md#b) and [that](https://x.y)", "see this and that (https://x.y)"),
            ("[1] * 2 ` [x](", "[1] * 2 ` [x]("),
            ("`*` and `[a-z]`", "\\fB*\\fR and \\fB[a\\-z]\\fR"),
        ];
        for (text, roff) in cases {
            assert_eq!(page(text), format!("{roff}\n"), "{text}");
        }
    }
}
