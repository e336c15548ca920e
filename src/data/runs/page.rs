//! A page of runs: programs that compute now, and runs waiting to be resumed.

use super::folder::Found;
use dcfs_core::render::markdown::{code, text};
use dcfs_core::render::numbers::{count, counted};
use dcfs_core::render::stranger::visible;

/// The most runs on a page, and characters of a command and of a reason.
const MOST: usize = 100;
const LONGEST: usize = 200;

/// One line per run, the latest first.
pub fn page(found: &[Found]) -> String {
    let mut page = "# Runs\n\nPrograms over files whose answers are not a version yet. `catalog.runs` has the same in SQL, `dcfs runs` more.\n\n".to_owned();
    if found.is_empty() {
        page += "No runs: all have become versions.\n";
    }
    for run in found.iter().rev().take(MOST) {
        let about = &run.about;
        let shown = |raw: &str| code(&visible(raw, LONGEST));
        let errors = match run.errors {
            0 => String::new(),
            errors => format!(", {}", counted(errors, "error")),
        };
        page += &format!(
            "- {} of {}, {}: {} of {}{errors}; began {} on {}; {}",
            shown(&about.name),
            shown(&about.input),
            run.state.text(),
            count(run.rows),
            counted(about.rows, "row"),
            text(&visible(&about.started, 40)),
            text(&visible(&about.host, 60)),
            shown(&about.command),
        );
        if let Some(why) = &run.ended {
            page += &format!("; it ended: {}", text(&visible(why, LONGEST)));
        }
        page.push('\n');
    }
    let more = found.len().saturating_sub(MOST) as u64;
    if more > 0 {
        page += &format!("- {} more\n", counted(more, "run"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::{About, State};

    #[test]
    fn names_of_strangers_stay_on_their_lines() {
        let about = About { name: "a`\n# b".into(), rows: 7, ..About::default() };
        let run = Found {
            about,
            path: "x".into(),
            state: State::Stopped,
            rows: 3,
            errors: 1,
            ended: Some("[x](y)\n- z".into()),
        };
        let page = page(&[run]);
        assert!(!page.contains("\n# b") && !page.contains("\n- z"), "{page}");
        assert!(page.contains("stopped: 3 of 7 rows, 1 error; began"), "{page}");
        assert!(super::page(&[]).contains("No runs"));
    }
}
