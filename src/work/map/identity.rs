//! The identity of a computation: the same command over the same rows resumes where it stopped, any
//! other starts over and says why.

use dcfs_core::hex::hex;
use dcfs_core::provenance::Provenance;
use dcfs_data::runs::{About, Program as Made};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Changes with the format of run files or identities.
const FORMAT: &str = "dcfs run 1";

/// The digits shown of a digest or an id.
const SHOWN: usize = 8;

/// The beginning of an id, long enough for people.
pub fn short(id: &str) -> &str {
    id.get(..SHOWN).unwrap_or(id)
}

/// The parts that identify a computation, each with a name for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity(pub Vec<(String, String)>);

impl Identity {
    pub fn add(&mut self, name: &str, text: impl Into<String>) {
        self.0.push((name.to_owned(), text.into()));
    }

    /// 64 hex digits.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(FORMAT);
        for (name, text) in &self.0 {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hex(&hash.finalize())
    }

    /// The names of the parts that differ.
    pub fn differs(&self, other: &[(String, String)]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let parts = self.0.iter().chain(other);
        for (name, _) in parts {
            let text = |parts: &[(String, String)]| {
                parts.iter().find(|(part, _)| part == name).map(|(_, text)| text.clone())
            };
            if text(&self.0) != text(other) && !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// How a program made a version: stored with it, for the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// `map` or `gen`.
    pub kind: String,
    pub identity: String,
    pub parts: Vec<(String, String)>,
    /// The dataset that was read, without its version.
    pub input: String,
    pub input_version: String,
    pub input_uuid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    pub out: String,
    /// The name of the function or program: `get_info`, `ffprobe`.
    pub program: String,
    /// The programs that made the rows, in order of first use.
    pub programs: Vec<Made>,
    /// The number of rows that failed and were kept.
    pub errors: u64,
    /// The number of rows computed, and the time it took.
    pub computed: u64,
    pub seconds: f64,
    /// The words of the command, to run it again.
    pub words: Vec<String>,
    /// The folder in which it ran.
    pub folder: Option<String>,
    /// For programs that give many rows: the input rows that gave none ([`super::silent`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
}

impl Recipe {
    /// The recipe of a version, if a program made it.
    pub fn of(provenance: Option<&Provenance>) -> Option<Self> {
        serde_json::from_value(provenance?.recipe.clone()?).ok()
    }

    /// The program that made rows last: using rows of earlier ones was accepted at that time.
    pub fn latest(&self) -> Option<&str> {
        self.programs.last().map(|program| program.digest.as_str())
    }
}

/// The programs of a version with `kept` rows of the last one: the latest comes last, and there is
/// always one.
pub fn programs(before: Option<&Recipe>, kept: u64, run: Vec<Made>, digest: &str) -> Vec<Made> {
    let mut all: Vec<Made> = Vec::new();
    let mut left = kept;
    // It is unknown which program made the rows that are gone: the latest ones are assumed to be
    // kept.
    for made in before.iter().flat_map(|made| made.programs.iter().rev()) {
        let rows = made.rows.min(left);
        left -= rows;
        if rows > 0 {
            all.insert(0, Made { digest: made.digest.clone(), rows });
        }
    }
    for made in run {
        let before = all.iter().position(|other| other.digest == made.digest);
        let rows = made.rows + before.map_or(0, |at| all.remove(at).rows);
        all.push(Made { digest: made.digest, rows });
    }
    if all.is_empty() {
        all.push(Made { digest: digest.to_owned(), rows: 0 });
    }
    all
}

/// Why a run does not resume an earlier one of its name.
pub fn why_anew(now: &Identity, before: &About) -> String {
    let differs = now.differs(&before.parts);
    let id = short(&before.id);
    let verb = if differs.len() == 1 { "is another" } else { "are others" };
    format!(
        "starting over: {} {verb} than in run {id}, which is kept (`dcfs runs rm {id}` removes it)",
        listed(&differs)
    )
}

/// Joins names: `a`, `a and b`, `a, b and c`.
pub fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [more @ .., last] => format!("{} and {last}", more.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let identity = |filter: &str| {
            let mut identity = Identity::default();
            identity.add("the input version", "u1");
            identity.add("the filter", filter);
            identity
        };
        let (one, other) = (identity("a > 1"), identity("a > 2"));
        assert_eq!(one.hash(), identity("a > 1").hash());
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.differs(&other.0), ["the filter"]);
        let names =
            |names: &[&str]| listed(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!((names(&["a"]), names(&["a", "b", "c"])), ("a".into(), "a, b and c".into()));
    }
}
