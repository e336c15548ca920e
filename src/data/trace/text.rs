//! The chain of a row for people: a paragraph per version, its parents below it.

use serde_json::Value;

use super::{Computed, From, Passed, Step, Stored};
use dcfs_core::render::markdown::{block, code};
use dcfs_core::render::numbers::{bytes, counted};
use dcfs_core::render::stranger::visible;

/// The most characters of a value, and of a command.
const LONGEST: usize = 200;

/// Digits of a digest shown, enough to tell programs apart.
const DIGITS: usize = 12;

impl Step {
    /// The chain for people, the row first and the storage last.
    pub fn text(&self) -> String {
        let mut out = String::new();
        tell(self, 0, &mut out);
        out
    }

    /// The chain as a Markdown page. Texts of strangers are in a code block that cannot be closed
    /// from inside.
    pub fn page(&self) -> String {
        let dataset = code(&visible(&self.dataset, LONGEST));
        format!("# Row {} of {dataset}\n\n{}", self.row, block("", &self.text()))
    }
}

fn tell(step: &Step, depth: usize, out: &mut String) {
    let mut line = |text: String| {
        *out += &format!("{:indent$}{text}\n", "", indent = depth * 2);
    };
    let from = if depth == 0 { "" } else { "from " };
    let uri = step.uri.as_ref().map_or(String::new(), |uri| format!("  {}", visible(uri, LONGEST)));
    line(format!("{from}{} row {}{uri}", visible(&step.dataset, LONGEST), step.row));
    if step.rows > 1 {
        line(format!("  the first of {} that it may be", counted(step.rows, "row")));
    }
    let saved = [("saved", &step.saved_at), ("by", &step.by), ("on", &step.at)];
    let saved: Vec<String> = saved
        .iter()
        .filter_map(|(word, said)| Some(format!("{word} {}", visible(said.as_ref()?, LONGEST))))
        .collect();
    line(format!("  {}", saved.join(" ")));
    if let Some(commit) = &step.commit {
        line(format!("  at commit {}", visible(commit, LONGEST)));
    }
    if let Some(command) = &step.command {
        line(format!("  made by {}", visible(command, LONGEST)));
    }
    if let Some(passed) = &step.passed {
        line(format!("  {}", of_filter(passed)));
    }
    if let Some(computed) = &step.computed {
        line(format!("  {}", of_program(computed)));
    }
    for from in &step.from {
        match from {
            From::Row(step) => tell(step, depth + 1, out),
            From::Storage(stored) => {
                *out += &format!("{:indent$}{}\n", "", of_storage(stored), indent = depth * 2 + 2);
            }
            From::Lost { dataset, why } => {
                let indent = depth * 2 + 2;
                let (dataset, why) = (visible(dataset, LONGEST), visible(why, LONGEST));
                *out += &format!("{:indent$}from {dataset}: {why}\n", "");
            }
        }
    }
}

fn of_filter(passed: &Passed) -> String {
    let verb = if passed.passes { "passed" } else { "does NOT pass now" };
    let rank = passed.rank.map_or(String::new(), |rank| format!(", number {rank} in its order"));
    let values = values(passed.values.iter());
    format!("{verb} {}{rank}, with {values}", visible(&passed.filter, LONGEST))
}

fn of_program(computed: &Computed) -> String {
    let by = computed.program.as_ref();
    let by = by.map_or(String::new(), |program| format!(" by {}", visible(program, LONGEST)));
    let digests = computed.digests.iter().map(|made| {
        let digest: String = made.digest.chars().take(DIGITS).collect();
        let digest = visible(&digest, LONGEST);
        format!(", digest {digest} made {}", counted(made.rows, "row"))
    });
    let digests: String = digests.collect();
    format!("new here{by}{digests}: {}", values(computed.values.iter()))
}

fn of_storage(stored: &Stored) -> String {
    let size = stored.size.map_or(String::new(), |size| format!(", {}", bytes(size)));
    let changed = stored.last_modified.as_ref();
    let changed =
        changed.map_or(String::new(), |time| format!(", changed {}", visible(time, LONGEST)));
    let listed = stored.listed_at.as_ref();
    let listed =
        listed.map_or(String::new(), |time| format!("; listed {}", visible(time, LONGEST)));
    format!(
        "from storage {}: {}{size}{changed}{listed}",
        visible(&stored.storage, LONGEST),
        visible(&stored.uri, LONGEST)
    )
}

fn values<'v>(values: impl Iterator<Item = (&'v String, &'v Value)>) -> String {
    let one = |(name, value): (&String, &Value)| {
        format!("{} = {}", visible(name, LONGEST), visible(&value.to_string(), LONGEST))
    };
    values.map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_stay_on_their_lines() {
        let lost = From::Lost { dataset: "c\nd".into(), why: "e\nf".into() };
        let step = Step {
            dataset: "a\n\u{1b}[2Jb@1.0.0".into(),
            row: 1,
            rows: 1,
            uri: None,
            saved_at: None,
            by: None,
            at: None,
            commit: None,
            command: None,
            passed: None,
            computed: None,
            from: vec![lost],
        };
        let text = step.text();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("a\\n\\u{1b}[2Jb@1.0.0 row 1\n"), "{text}");
        assert!(text.ends_with("  from c\\nd: e\\nf\n"), "{text}");
    }
}
