//! The files of the skill, compiled in: `SKILL.md`, and pages of `docs/` as its references.

use std::borrow::Cow;

/// The name of the skill, and of its folder: the specification requires them to be equal.
pub const NAME: &str = "dcfs";

/// The version named in the files.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The page that tools read first.
pub const MAIN: &str = "SKILL.md";

/// The folder of the other pages.
pub const REFERENCES: &str = "references";

const BODY: &str = include_str!("SKILL.md");

/// Pages of `docs/` that a skill without the repository needs.
const PAGES: [(&str, &str); 6] = [
    ("filters.md", include_str!("../../../docs/filters.md")),
    ("knowledge.md", include_str!("../../../docs/knowledge.md")),
    ("map.md", include_str!("../../../docs/map.md")),
    ("sql.md", include_str!("../../../docs/sql.md")),
    ("tables.md", include_str!("../../../docs/tables.md")),
    ("training.md", include_str!("../../../docs/training.md")),
];

/// Every file, by its path in the folder, in the order of paths.
pub fn files() -> Vec<(String, String)> {
    let main = (MAIN.to_owned(), BODY.replace("{version}", VERSION));
    let pages = PAGES.iter().map(|(name, text)| (format!("{REFERENCES}/{name}"), relinked(text)));
    std::iter::once(main).chain(pages).collect()
}

/// Finds a page by its name: `filters`, `filters.md`, or nothing for the main one.
pub fn page(name: Option<&str>) -> Option<String> {
    let path = match name {
        None => MAIN.to_owned(),
        Some(name) => format!("{REFERENCES}/{}.md", name.strip_suffix(".md").unwrap_or(name)),
    };
    files().into_iter().find_map(|(file, text)| (file == path).then_some(text))
}

/// The names of the references.
pub fn names() -> Vec<&'static str> {
    PAGES.iter().map(|(name, _)| name.trim_end_matches(".md")).collect()
}

/// Replaces links to pages that are not installed by their text.
fn relinked(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, link)) = rest.split_once('[') {
        out += before;
        match parted(link) {
            Some((words, to, after)) => {
                out +=
                    &if leads(to) { Cow::from(format!("[{words}]({to})")) } else { words.into() };
                rest = after;
            }
            None => {
                out.push('[');
                rest = link;
            }
        }
    }
    out + rest
}

/// Splits `words](to)after`; `None` if it is not a link.
fn parted(link: &str) -> Option<(&str, &str, &str)> {
    let (words, behind) = link.split_once("](")?;
    let (to, after) = behind.split_once(')')?;
    let is_link = !words.contains(['[', '\n', '`']) && !to.contains(char::is_whitespace);
    is_link.then_some((words, to, after))
}

/// Whether a link works from the folder of the references.
fn leads(to: &str) -> bool {
    let page = to.split('#').next().unwrap_or_default();
    page.is_empty() || page.contains("://") || PAGES.iter().any(|(name, _)| *name == page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_valid_by_the_specification() {
        let text = page(None).expect("the main page");
        let (head, body) =
            text.strip_prefix("---\n").and_then(|t| t.split_once("\n---\n")).expect("frontmatter");
        let field = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).expect(name)
        };
        assert_eq!(field("name"), NAME);
        assert!(field("description").len() <= 1024, "{}", field("description").len());
        // A colon and a space would make it a mapping in YAML.
        assert!(!field("description").contains(": "));
        assert!(field("compatibility").len() <= 500);
        assert!(head.contains(&format!("version: \"{VERSION}\"")), "{head}");
        assert!(text.lines().count() < 200, "{}", text.lines().count());
        // About four characters per token; the specification allows 5,000.
        assert!(body.len() < 4 * 5000, "{}", body.len());
    }

    #[test]
    fn every_link_leads_to_a_file_of_the_skill() {
        let all = files();
        for (file, text) in &all {
            let folder = file.rsplit_once('/').map_or(String::new(), |(f, _)| format!("{f}/"));
            for (at, _) in text.match_indices('[') {
                let Some((_, to, _)) = parted(&text[at + 1..]) else { continue };
                let page = to.split('#').next().unwrap_or_default();
                let is_there = all.iter().any(|(name, _)| *name == format!("{folder}{page}"));
                assert!(page.is_empty() || page.contains("://") || is_there, "{file}: {to}");
            }
        }
    }

    #[test]
    fn links_to_what_is_not_there_are_words() {
        let cases = [
            ("see [SQL](sql.md#tables).", "see [SQL](sql.md#tables)."),
            ("see [it](../README.md#x), [here](#y)", "see it, [here](#y)"),
            ("`boxes[0].x` and [x](no.md)", "`boxes[0].x` and x"),
            ("a [b", "a [b"),
        ];
        for (text, want) in cases {
            assert_eq!(relinked(text), want, "{text}");
        }
    }
}
