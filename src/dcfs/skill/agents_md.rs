//! The lines about dcfs in a project's `AGENTS.md`, between two markers: written once, updated in place,
//! removed without touching the text around them.

/// The marker before the lines.
const BEGIN: &str = "<!-- dcfs: begin -->";

/// The marker after the lines.
const END: &str = "<!-- dcfs: end -->";

const LINES: &str = "\
## Datasets (dcfs)

- Datasets are in the catalog `.datachain`: `dcfs ls`, `dcfs schema NAME`, `dcfs sql 'SELECT ...'`. Read `dc-knowledge/index.md` first if it exists.
- Reuse a dataset before computing one. Results are datasets (`--as NAME`), not loose files. Use `--try 5` before running a program over all files.
- The skill `dcfs` says more: `dcfs skill show`.
";

/// A page with the lines: at their current place, or at its end.
pub fn with(page: &str) -> String {
    let block = format!("{BEGIN}\n{LINES}{END}\n");
    match parted(page) {
        Some((before, after)) => format!("{before}{block}{after}"),
        None if page.is_empty() => block,
        None => format!("{}\n\n{block}", page.trim_end_matches('\n')),
    }
}

/// The page without them; `None` if it has none.
pub fn without(page: &str) -> Option<String> {
    let (before, after) = parted(page)?;
    let before = before.trim_end_matches('\n');
    Some(match (before.is_empty(), after.is_empty()) {
        (true, _) => after.trim_start_matches('\n').to_owned(),
        (false, true) => format!("{before}\n"),
        (false, false) => format!("{before}\n{after}"),
    })
}

/// The text before the first block and after it. Markers must be lines of their own: in a sentence they are the
/// user's text, and of several begin markers the last counts, so that nothing between them is removed.
fn parted(page: &str) -> Option<(&str, &str)> {
    let (mut at, mut begin) = (0, None);
    for line in page.split_inclusive('\n') {
        let end = at + line.len();
        match (line.trim_end(), begin) {
            (BEGIN, _) => begin = Some(at),
            (END, Some(begin)) => return Some((&page[..begin], &page[end..])),
            _ => {}
        }
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_put_once_and_taken_away() {
        let block = with("");
        for page in ["", "# Rules\n", "# Rules\n\nBe kind.\n\n\n", "no line break"] {
            let once = with(page);
            assert!(once.ends_with(&block), "{once}");
            assert_eq!(with(&once), once, "{page}");
            let again = without(&once).expect("they are there");
            assert_eq!(again.trim_end(), page.trim_end(), "{page}");
        }
        assert_eq!(without("# Rules\n"), None);
    }

    #[test]
    fn what_stands_around_them_stays() {
        let page = format!("# A\n{BEGIN}\nold\n{END}\n# B\n");
        assert_eq!(with(&page), format!("# A\n{}# B\n", with("")));
        assert_eq!(without(&page).as_deref(), Some("# A\n# B\n"));
        let twice = format!("{BEGIN}\nmine\n{BEGIN}\nold\n{END}\n");
        assert_eq!(with(&twice), format!("{BEGIN}\nmine\n{}", with("")));
        let said = format!("Write {BEGIN} and {END} around it.\n");
        assert_eq!(without(&said), None);
        // A begin marker without an end marker is the user's text.
        assert!(with(&format!("{BEGIN} x")).starts_with(&format!("{BEGIN} x\n\n")));
    }
}
