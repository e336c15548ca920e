//! `dcfs man`: the manual pages, for packagers.
//!
//! A page for each command, generated from the definitions of its help; `dcfs-filters(7)` and `dcfs-config(5)`
//! from pages of `docs/` that are compiled in. Their date is `SOURCE_DATE_EPOCH`, so that builds are
//! reproducible.

mod markdown;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::output::Output;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::time::Timestamp;

/// Write the manual pages into a directory
#[derive(Debug, clap::Args)]
pub struct Manual {
    /// Directory to write `dcfs.1`, `dcfs-mount.1` and so on into; created if missing
    dir: PathBuf,
}

/// A page that is not about a command: name, section, subject, and its text in Markdown.
const TOPICS: [(&str, &str, &str, &str); 2] = [
    (
        "dcfs-filters",
        "7",
        "the language of query directories and of --where",
        include_str!("../../../../docs/filters.md"),
    ),
    (
        "dcfs-config",
        "5",
        "settings of dcfs, for the machine and for a user",
        include_str!("../../../../docs/configuration.md"),
    ),
];

/// The sections of `dcfs(1)` after its commands.
const REST: &str = include_str!("dcfs.md");

/// The title of the manual on every page.
const MANUAL: &str = "dcfs manual";

impl Manual {
    /// Writes all pages.
    pub fn run(self, root: clap::Command, out: &mut Output) -> Result<()> {
        let date = date();
        let mut root = root.disable_help_subcommand(true);
        root.build();
        fs::create_dir_all(&self.dir).map_err(|error| cannot(&self.dir, &error))?;
        let mut written = 0;
        let mut write = |name: String, page: String| {
            written += 1;
            let path = self.dir.join(name);
            fs::write(&path, page).map_err(|error| cannot(&path, &error))
        };
        for command in all(&root) {
            let name = command.get_display_name().unwrap_or_else(|| command.get_name());
            let page = of_command(command, &date).map_err(|error| cannot(&self.dir, &error))?;
            write(format!("{name}.1"), page)?;
        }
        for (name, section, about, text) in TOPICS {
            write(format!("{name}.{section}"), of_topic((name, section, about, text), &date))?;
        }
        out.line(format_args!("{written} pages are in {}", self.dir.display()))
    }
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Broken, format!("cannot write the manual to `{}`: {error}", path.display()))
}

/// A command, and its visible subcommands.
fn all(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    std::iter::once(command).chain(below.flat_map(all)).collect()
}

/// The date on the pages.
fn date() -> String {
    let said = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let time = said.map_or_else(SystemTime::now, |seconds| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    });
    Timestamp::of_system(time).rfc3339().chars().take("2024-01-02".len()).collect()
}

fn source() -> String {
    format!("dcfs {}", env!("CARGO_PKG_VERSION"))
}

fn of_command(command: &clap::Command, date: &str) -> io::Result<String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let is_root = !name.contains('-');
    let man = Man::new(command.clone());
    let man = man.title(name.to_uppercase()).date(date).source(source()).manual(MANUAL);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let mut page = String::from_utf8(page).map_err(io::Error::other)?;
    // The crate writes its preamble before each part; it is needed once.
    let preamble = Roff::new().render();
    // A single gap: `mandoc` complains about empty lines between breaks.
    page = preamble.clone() + &page.replace(&preamble, "").replace(".br\n\n.br\n", ".sp\n");
    let mut rest = Roff::new();
    if let Some(help) = command.get_after_help() {
        after_help(&mut rest, &help.to_string());
    }
    if is_root {
        markdown::append(&mut rest, REST);
    }
    see_also(&mut rest, if is_root { &["dcfs-mount(1)"] } else { &["dcfs(1)"] });
    page += rest.render().trim_start_matches(&preamble);
    Ok(finished(&page))
}

/// Formats examples as code, and the rest of the text below the help verbatim.
fn after_help(page: &mut Roff, text: &str) {
    let (title, lines) = match text.strip_prefix("Examples:\n") {
        Some(lines) => ("EXAMPLES", lines),
        None => ("NOTES", text),
    };
    page.control("SH", [title]).control("EX", []);
    for line in lines.lines() {
        page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    page.control("EE", []);
}

fn of_topic((name, section, about, text): (&str, &str, &str, &str), date: &str) -> String {
    let mut page = Roff::new();
    page.control("TH", [&name.to_uppercase(), section, date, &source(), MANUAL]);
    page.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    page.control("SH", ["DESCRIPTION"]);
    markdown::append(&mut page, text);
    see_also(&mut page, &["dcfs(1)", "dcfs-mount(1)"]);
    finished(&page.render())
}

fn see_also(page: &mut Roff, first: &[&str]) {
    let topics = TOPICS.map(|(name, section, ..)| format!("{name}({section})"));
    let all = first.iter().copied().chain(topics.iter().map(String::as_str));
    let all: Vec<&str> = all.chain(["fusermount3(1)", "mount(8)"]).collect();
    page.control("SH", ["SEE ALSO"]);
    let mut words = Vec::new();
    for (at, name) in all.iter().enumerate() {
        let (name, section) = name.split_at(name.find('(').unwrap_or(name.len()));
        let end = if at + 1 == all.len() { "" } else { ", " };
        words.extend([bold(name), roman(format!("{section}{end}"))]);
    }
    page.text(words);
}

/// Post-processes a page for formatters: backslashes by name, and text in backquotes, which a terminal would
/// show as curly quotes, in bold.
fn finished(page: &str) -> String {
    let line = |line: &str| match line.matches('`').count() % 2 {
        0 if !line.starts_with('.') => {
            let mut parts = line.split('`');
            let mut text = parts.next().unwrap_or_default().to_owned();
            for (at, part) in parts.enumerate() {
                text += if at % 2 == 0 { "\\fB" } else { "\\fR" };
                text += part;
            }
            text
        }
        _ => line.replace('`', "\\(ga"),
    };
    page.lines().map(|text| line(&text.replace("\\\\", "\\(rs")) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_that_help_shows_has_a_page_with_its_parts() {
        let mut root = super::super::Dcfs::command().disable_help_subcommand(true);
        root.build();
        let commands = all(&root);
        assert!(commands.len() > 30, "the walk finds them");
        for command in commands {
            let page = of_command(command, "2026-01-02").expect("written to memory");
            for part in
                [".TH DCFS", " 2026-01-02 ", ".SH NAME\ndcfs", ".SH SYNOPSIS", ".SH \"SEE ALSO\""]
            {
                assert!(page.contains(part), "{part}: {page}");
            }
            assert!(!page.contains('`'), "{page}");
            assert_eq!(page.matches(".ds Aq").count(), 2, "{page}");
        }
    }

    #[test]
    fn code_is_bold_and_a_backslash_has_a_name() {
        let cases = [
            ("a `b` c\n", "a \\fBb\\fR c\n"),
            ("a ` c\n", "a \\(ga c\n"),
            (".B `\n", ".B \\(ga\n"),
            ("\\\\\\-x\n", "\\(rs\\-x\n"),
        ];
        for (text, want) in cases {
            assert_eq!(finished(text), want, "{text}");
        }
    }
}
