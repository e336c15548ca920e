//! The pages of `_views/`: what is there besides the files, and how to use it.

use super::markdown::{code, text};
use crate::schema::Schema;
use crate::tree::classes::classes;

/// How many columns the page names.
const MOST_COLUMNS: usize = 40;

/// The text shown instead of a listing of a column with too many values.
const TOO_MANY: &str = "This column has more than 10,000 values (or texts too long to list), so they are not listed. Each has a directory here all the\n\
    same, by name: the value as it reads, `/` in it written `%2F`, an empty one `%`; rows without a value are in `.null`.\n";

/// `_views/_README.md` of the version called `name`: a section for each directory.
pub fn views(name: &str, sections: &[String]) -> String {
    format!(
        "# Views of {}\n\n\
         The same rows in the forms that other programs expect. Like the rest of the version, they never change.\n\n\
         {}",
        text(name),
        sections.join("\n"),
    )
}

/// The section of `by/`.
pub fn by(schema: &Schema) -> String {
    format!(
        "## by/\n\n\
         One directory per column, with one per value, with the files of its rows: the layout that class-folder\n\
         loaders read. An expression of the filter language is a column by name: `by/lower(label)/`.\n\n\
         {}\n\
         A value is named by its text: `pug`, `7`, `0.5`, `true`, `2024-01-02 03:04:05`. An empty text is `%`, and\n\
         `/` in a text `%2F`. Rows without a value are in no class: they are in `.null`, by name only. If two values want the same name, the second gets `~<sys__id of its first row>`.\n\
         Every such directory has its own `_views/`, so conditions combine, and `_rows.jsonl`, `_rows.csv`, `_rows.parquet`, `_rows.arrow`\n\
         and `_count` by name:\n\n    \
         ls by/<column>/<value>/_views/by/<column>/<value>/\n    \
         python -c 'from torchvision.datasets import ImageFolder; print(ImageFolder(\"by/<column>\"))'\n",
        columns(schema),
    )
}

/// `_too_many_values.md` of a column.
pub fn too_many_values(column: &str) -> String {
    format!("# Too many values of {}\n\n{TOO_MANY}", text(column))
}

fn columns(schema: &Schema) -> String {
    let all = classes(schema, usize::MAX);
    let listed = all.iter().filter(|class| !class.is_hidden);
    let shown: Vec<String> = listed.map(|class| format!("- {}\n", code(&class.name))).collect();
    match shown.len().checked_sub(MOST_COLUMNS) {
        Some(more @ 1..) => format!("{}- and {more} more\n", shown[..MOST_COLUMNS].concat()),
        _ => shown.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::readme::tests::pets;

    #[test]
    fn the_columns_of_one_value_are_named() {
        let (of, schema) = pets();
        let page = views(&of.name(), &[by(&schema)]);
        assert!(page.starts_with("# Views of pets@1.0.1\n\n"), "{page}");
        for column in ["file.path", "info.width", "info.note"] {
            assert!(page.contains(&format!("- `{column}`\n")), "{column}: {page}");
        }
        for column in ["emb", "file.etag"] {
            assert!(!page.contains(&format!("- `{column}`")), "{column}: {page}");
        }
    }

    #[test]
    fn a_strangers_name_ends_nothing() {
        let page = too_many_values("a`\n# b");
        assert_eq!(page.lines().filter(|line| line.starts_with('#')).count(), 1, "{page}");
    }
}
