//! `dcfs sql` without a statement: an interactive shell with history, completion and statements that end with `;`.

use std::sync::Arc;

use clap::ValueEnum;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::answering::{Answering, Format};
use super::output::Output;
use super::{places, usage, warn};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::Function;
use dcfs_core::name::DatasetRef;
use dcfs_core::render::stranger::is_obeyed;
use dcfs_core::sql::{AGGREGATES, Known};
use dcfs_data::catalog::Catalog;

const PROMPT: &str = "dcfs> ";

/// The most statements in the history.
const REMEMBERED: usize = 5000;

/// The most candidates for completion.
const MOST: usize = 1000;

const WORDS: [&str; 33] = [
    "select",
    "from",
    "where",
    "group by",
    "order by",
    "having",
    "limit",
    "offset",
    "join",
    "left join",
    "on",
    "using",
    "as",
    "and",
    "or",
    "not",
    "in",
    "between",
    "like",
    "ilike",
    "glob",
    "regexp",
    "is null",
    "case",
    "when",
    "then",
    "else",
    "end",
    "distinct",
    "union",
    "with",
    "exclude",
    "desc",
];

const HELP: &str = "A statement ends with `;` and may have several lines. Tab completes tables, columns and functions.
  \\d           datasets            \\d NAME     columns of one
  \\f FORMAT    table, csv, json, jsonl
  \\e SELECT    the plan
  \\q           quit (or Ctrl-D)";

/// Reads and runs statements until the input ends.
///
/// # Errors
/// No catalog; a terminal that cannot be read.
pub fn run(mut answering: Answering, out: &mut Output) -> Result<()> {
    let catalog = answering.catalog()?;
    let failed = |error: ReadlineError| Error::new(Kind::Broken, error);
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(REMEMBERED)
        .map_err(failed)?
        .build();
    let mut editor: Editor<Assistant, DefaultHistory> =
        Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(Assistant { catalog: catalog.clone() }));
    let history = places::state().join("sql_history");
    match places::private(&places::state()) {
        // There is none the first time.
        Ok(()) => drop(editor.load_history(&history)),
        Err(error) => warn(format!("the history is not kept: {error}")),
    }
    out.line(format_args!("{}; \\h for help", catalog.path().display()))?;
    loop {
        out.flush()?;
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            // The typed text is discarded.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        editor.add_history_entry(line).ok();
        editor.append_history(&history).ok();
        match one(line, &mut answering, &catalog, out) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                out.flush()?;
                warn(error);
            }
        }
    }
    Ok(())
}

/// Runs a line; false if it was the last.
fn one(line: &str, answering: &mut Answering, catalog: &Catalog, out: &mut Output) -> Result<bool> {
    let Some(command) = line.strip_prefix('\\') else {
        answering.answer(line.trim_end_matches([';', ' ', '\n']), out)?;
        return Ok(true);
    };
    let (command, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim().trim_end_matches(';');
    match (command, rest) {
        ("q", _) => return Ok(false),
        ("d", "") => answering
            .answer("select name, latest, versions, rows, size from catalog.datasets", out)?,
        ("d", name) => {
            let wanted: DatasetRef = name
                .parse()
                .map_err(|error: dcfs_core::name::Error| Error::new(Kind::Invalid, error))?;
            let of = catalog.find(&wanted)?;
            let text = |text: String| format!("'{}'", text.replace('\'', "''"));
            answering.answer(
                &format!(
                    "select name, type, description from catalog.columns where dataset = {} and version = {}",
                    text(of.dataset.to_string()),
                    text(of.version.to_string())
                ),
                out,
            )?;
        }
        ("f", name) => match Format::from_str(name, true) {
            Ok(format) => answering.print_as(format),
            Err(_) => return Err(usage("the formats are table, csv, json and jsonl")),
        },
        ("e", text) if !text.is_empty() => {
            answering.explain(text)?.iter().try_for_each(|line| out.line(line))?;
        }
        ("h" | "?", _) => out.line(HELP)?,
        _ => return Err(usage(format!("no command `\\{command}`; \\h lists them"))),
    }
    Ok(true)
}

/// Whether a text is complete: a command, or a statement with its `;` outside of quotes.
fn is_whole(text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() || text.starts_with('\\') {
        return true;
    }
    let mut quote = None;
    let mut ends = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '-') if chars.peek() == Some(&'-') => {
                chars.by_ref().find(|c| *c == '\n');
                continue;
            }
            (None, '/') if chars.peek() == Some(&'*') => {
                chars.next();
                let mut before = ' ';
                let is_closed = chars.by_ref().any(|c| {
                    let is_end = before == '*' && c == '/';
                    before = c;
                    is_end
                });
                if !is_closed {
                    return false;
                }
                continue;
            }
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, _) => {}
        }
        if !c.is_whitespace() {
            ends = quote.is_none() && c == ';';
        }
    }
    ends
}

/// The word before a position in a text, and where it begins; dots and `@` are part of words.
fn word(text: &str, at: usize) -> (usize, &str) {
    let before = &text[..at];
    let is_in = |c: char| c.is_alphanumeric() || "_.@-".contains(c);
    let start = before
        .rfind(|c: char| !is_in(c))
        .map_or(0, |found| found + before[found..].chars().next().map_or(1, char::len_utf8));
    (start, &before[start..])
}

/// Whether a name may reach the terminal, which would obey some characters.
fn is_shown(name: &str) -> bool {
    !name.contains(|c: char| c.is_control() || is_obeyed(c))
}

/// Completion for the line editor.
struct Assistant {
    catalog: Arc<Catalog>,
}

impl Assistant {
    /// The words that complete `typed`, in the statement `text`.
    fn candidates(&self, text: &str, typed: &str) -> Vec<String> {
        let versions = self.catalog.versions().unwrap_or_default();
        let mut names: Vec<String> = versions.iter().map(|of| of.dataset.to_string()).collect();
        names.dedup();
        if typed.contains('@') {
            names.extend(versions.iter().map(ToString::to_string));
        }
        let is_in = |c: char| c.is_alphanumeric() || "_.@-".contains(c);
        let mut columns = Vec::new();
        // Columns of the tables named in the statement; an alias before a column is kept.
        let mut tables: Vec<&str> =
            text.split(|c| !is_in(c)).filter(|word| !word.is_empty()).collect();
        tables.dedup();
        for table in tables.into_iter().take(200) {
            let is_one = names.iter().any(|name| name == table.split('@').next().unwrap_or(table));
            let found = table.parse::<DatasetRef>().ok().filter(|_| is_one);
            let Some(of) = found.and_then(|wanted| self.catalog.find(&wanted).ok()) else {
                continue;
            };
            let Ok(schema) = self.catalog.schema(&of) else { continue };
            columns.extend(Known::of(&schema).columns.into_iter().map(|column| column.name));
        }
        let catalog = ["datasets", "versions", "columns", "dependencies"];
        let functions = Function::ALL.into_iter().map(Function::word);
        let mut all: Vec<String> = columns;
        all.extend(names);
        all.extend(catalog.map(|name| format!("catalog.{name}")));
        all.extend(functions.chain(AGGREGATES.iter().copied()).map(|name| format!("{name}(")));
        all.extend(WORDS.map(str::to_owned));
        let mut found: Vec<String> = Vec::new();
        for name in &all {
            let is_new = name.starts_with(typed) && !found.contains(name);
            if is_new && found.len() < MOST && is_shown(name) {
                found.push(name.clone());
            }
        }
        if found.is_empty()
            && let Some((alias, rest)) = typed.split_once('.')
        {
            let below = all
                .iter()
                .filter(|name| name.starts_with(rest) && !name.ends_with('(') && is_shown(name));
            found.extend(below.take(MOST).map(|name| format!("{alias}.{name}")));
        }
        found
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let (start, typed) = word(line, at);
        Ok((start, self.candidates(line, typed)))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match is_whole(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_goes_on_until_it_ends() {
        let cases = [
            ("select 1;", true),
            ("select 1", false),
            ("select ';", false),
            ("select ';'", false),
            ("select ';'  ; ", true),
            ("select 1; -- done", true),
            ("select 1 -- no end;", false),
            ("select 'it''s';", true),
            ("select 1 /* it's */;", true),
            ("select 1; /* done; */", true),
            ("select 1 /* no end;", false),
            ("select '/*';", true),
            ("select 6 / 2 /*/;*/;", true),
            ("select 6 /*/;", false),
            ("\\d pets", true),
            ("", true),
        ];
        for (text, want) in cases {
            assert_eq!(is_whole(text), want, "{text}");
        }
    }

    #[test]
    fn a_name_that_the_terminal_would_obey_is_not_completed() {
        let cases = [
            ("info.width", true),
            ("caf\u{e9}", true),
            ("a\u{1b}[2J", false),
            ("a\nb", false),
            ("a\u{202e}b", false),
        ];
        for (name, want) in cases {
            assert_eq!(is_shown(name), want, "{name:?}");
        }
    }

    #[test]
    fn a_word_is_a_dotted_name() {
        let cases = [
            ("select info.wi", (7, "info.wi")),
            ("select avg(p.in", (11, "p.in")),
            ("from pets@1.", (5, "pets@1.")),
            ("select caf\u{e9}(x", (13, "x")),
            ("", (0, "")),
        ];
        for (text, want) in cases {
            assert_eq!(word(text, text.len()), want, "{text}");
        }
    }
}
