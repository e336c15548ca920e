//! Who saved a version, and how: facts that DataChain's database has no place for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who saved a version with dcfs, and how. Unknown facts are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Provenance {
    pub user: Option<String>,
    pub host: Option<String>,
    /// The folder in which the command ran.
    pub folder: Option<String>,
    pub git: Option<Git>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The filter, in canonical form.
    pub filter: Option<String>,
    /// How to make the next version, for the command that made this one: an object with a `kind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Value>,
    /// How each source was accessed (`s3://bucket`), if not by default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Reached>,
}

impl Provenance {
    /// The command that made it (`index`, `map`, `save`): the kind of its recipe or, for a version
    /// without a recipe, the first argument of the recorded command.
    pub fn operation(&self) -> Option<&str> {
        let told = self.recipe.as_ref().and_then(|recipe| recipe["kind"].as_str());
        told.or_else(|| self.command.get(1).map(String::as_str))
    }
}

/// How a source is accessed, as far as it differs from the default. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reached {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether it was accessed without credentials on request.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anon: bool,
}

impl Reached {
    /// The flags that add to `now` the settings of `self` that it lacks; empty if it lacks none.
    pub fn flags_missing_in(&self, now: &Self) -> Vec<String> {
        let unset = |flag: &str, was: &Option<String>, now: &Option<String>| {
            let value = was.as_ref().filter(|_| now.is_none())?;
            Some(format!("{flag} {}", quoted(value)))
        };
        let anon = (self.anon && !now.anon).then(|| "--anon".to_owned());
        let endpoint = unset("--endpoint-url", &self.endpoint_url, &now.endpoint_url);
        let region = unset("--region", &self.region, &now.region);
        endpoint.into_iter().chain(region).chain(anon).collect()
    }
}

/// The state of git in the folder in which a version was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Git {
    pub name: Option<String>,
    pub email: Option<String>,
    pub commit: Option<String>,
    /// Whether files differed from that commit; `None` if unknown.
    #[serde(rename = "dirty")]
    pub is_dirty: Option<bool>,
}

impl Provenance {
    /// The author: `Ann Lee <ann@example.org>` as git knows them, else the user.
    pub fn author(&self) -> Option<String> {
        let git = self.git.as_ref();
        let (name, email) =
            (git.and_then(|git| git.name.as_ref()), git.and_then(|g| g.email.as_ref()));
        match (name.or(self.user.as_ref()), email) {
            (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
            (name, email) => name.or(email).cloned(),
        }
    }

    /// The place: `ann@laptop:/work/pets`, as far as it is known.
    pub fn place(&self) -> Option<String> {
        let who = match (&self.user, &self.host) {
            (Some(user), Some(host)) => Some(format!("{user}@{host}")),
            (user, host) => user.as_ref().or(host.as_ref()).cloned(),
        };
        match (who, &self.folder) {
            (Some(who), Some(folder)) => Some(format!("{who}:{folder}")),
            (who, folder) => who.or(folder.clone()),
        }
    }

    /// The command quoted for a shell; empty if unknown.
    pub fn script(&self) -> String {
        let words: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    }
}

/// A word quoted for a shell if it needs to be.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unset_is_missing() {
        let own = |text: &str| Some(text.to_owned());
        let reached = |endpoint_url, region, anon| Reached { endpoint_url, region, anon };
        let was = reached(own("http://h:1"), own("r 1"), true);
        let flags = ["--endpoint-url http://h:1", "--region 'r 1'", "--anon"];
        assert_eq!(was.flags_missing_in(&Reached::default()), flags);
        assert_eq!(was.flags_missing_in(&reached(own("http://other"), None, true)), flags[1..2]);
        assert!(was.flags_missing_in(&was).is_empty());
        assert!(Reached::default().flags_missing_in(&was).is_empty());
    }

    #[test]
    fn a_recipe_tells_the_operation_and_an_older_version_its_command() {
        let command = ["dcfs", "index", "a"].map(str::to_owned).to_vec();
        let by = Provenance { command, ..Provenance::default() };
        assert_eq!(by.operation(), Some("index"));
        let recipe = Some(serde_json::json!({ "kind": "map" }));
        assert_eq!(Provenance { recipe, ..by }.operation(), Some("map"));
        assert_eq!(Provenance::default().operation(), None);
    }

    fn text(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    #[test]
    fn what_is_known_is_told() {
        let cases = [
            (["ann", "Ann Lee", "a@x"], Some("Ann Lee <a@x>")),
            (["ann", "", "a@x"], Some("ann <a@x>")),
            (["ann", "Ann Lee", ""], Some("Ann Lee")),
            (["", "", "a@x"], Some("a@x")),
            (["ann", "", ""], Some("ann")),
            (["", "", ""], None),
        ];
        for ([user, name, email], want) in cases {
            let git = Some(Git { name: text(name), email: text(email), ..Git::default() });
            let by = Provenance { user: text(user), git, ..Provenance::default() };
            assert_eq!(by.author().as_deref(), want);
        }
        let cases = [
            (["ann", "box", "/w"], Some("ann@box:/w")),
            (["ann", "box", ""], Some("ann@box")),
            (["", "box", "/w"], Some("box:/w")),
            (["", "", "/w"], Some("/w")),
            (["", "", ""], None),
        ];
        for ([user, host, folder], want) in cases {
            let (user, host, folder) = (text(user), text(host), text(folder));
            let by = Provenance { user, host, folder, ..Provenance::default() };
            assert_eq!(by.place().as_deref(), want);
        }
    }

    #[test]
    fn a_script_is_what_a_shell_takes() {
        let command =
            ["dcfs", "save", "pets@1.0.0", "", "it's", "a > 1", "$HOME", "a\nb", "\u{e9}"];
        let command = command.map(str::to_owned).to_vec();
        let script = Provenance { command, ..Provenance::default() }.script();
        assert_eq!(script, "dcfs save pets@1.0.0 '' 'it'\\''s' 'a > 1' '$HOME' 'a\nb' '\u{e9}'");
    }
}
