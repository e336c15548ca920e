//! Prompts: texts with which a person begins a conversation.

use rmcp::model::{GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage, Role};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::stranger::visible;

/// Limit of an argument in characters.
const LONGEST: usize = 500;

/// A prompt: its name, its purpose, its arguments, and the text template.
struct Text {
    name: &'static str,
    description: &'static str,
    arguments: &'static [(&'static str, &'static str)],
    text: &'static str,
}

const ALL: [Text; 3] = [
    Text {
        name: "explore-bucket",
        description: "The contents of a bucket or a folder, listed at most once",
        arguments: &[("uri", "e.g. s3://bucket/prefix/ or a folder")],
        text: "Explore {uri} with dcfs. First call `context`: if there is already a dataset of it, use it. If not, and `run` is allowed, \
               run [\"index\", \"{uri}\", \"--save\", NAME] once. Then use `query` (extensions, sizes, folders, dates: group by file.ext, file.parent) and \
               `files` with `read` for three samples. Report: what one file is, how many and how large, the meaning of the names, what is unusual, which \
               columns would be worth computing. Leave one line with `remember`.",
    },
    Text {
        name: "build-dataset",
        description: "A new dataset made from existing ones",
        arguments: &[("goal", "what the dataset should contain")],
        text: "Build a dataset: {goal}. First call `context` and `search`: reuse existing datasets, and say so if one already meets the goal. Prefer a filter \
               (`save`) or a statement (`sql --as`) over a program; if a program has to read files (`map`), run it with `try` 5 first, report the \
               estimate, and wait for a yes. Name the result, then check it with `query` (rows, NULLs, a few values), and leave a line with `remember` \
               that says what a row is and what to beware of.",
    },
    Text {
        name: "why-these-rows",
        description: "The origin of rows of a dataset, and why they are in it",
        arguments: &[
            ("dataset", "name or name@version"),
            ("row", "a path, a row number, or a filter"),
        ],
        text: "Explain why {row} is in the dataset {dataset}. Call `context` with the name and `row`: it follows a row back to the storage, with the condition that \
               it passed, its values, the program of each new column, who and when. If `row` is a filter, list its rows with `query` and explain three of \
               them. Read the page (`context` with only the name) for notes and caveats. Say what you could not find out.",
    },
];

/// All prompts.
pub fn list() -> Vec<Prompt> {
    let prompt = |text: &Text| {
        let argument = |(name, what): &(&str, &str)| {
            PromptArgument::new(*name).with_description(*what).with_required(true)
        };
        let arguments = text.arguments.iter().map(argument).collect();
        Prompt::new(text.name, Some(text.description), Some(arguments))
    };
    ALL.iter().map(prompt).collect()
}

/// A prompt with its arguments inserted.
pub fn get(name: &str, arguments: &JsonObject) -> Result<GetPromptResult> {
    let wrong = |message: String| Error::new(Kind::Invalid, message);
    let Some(text) = ALL.iter().find(|text| text.name == name) else {
        return Err(wrong(format!("no prompt `{}`", visible(name, 40))));
    };
    let mut filled = text.text.to_owned();
    for (argument, _) in text.arguments {
        let given = arguments.get(*argument).and_then(|value| value.as_str());
        let given = given.ok_or_else(|| wrong(format!("`{name}` needs `{argument}`")))?;
        filled = filled.replace(&format!("{{{argument}}}"), &visible(given, LONGEST));
    }
    let message = PromptMessage::new_text(Role::User, filled);
    Ok(GetPromptResult::new(vec![message]).with_description(text.description))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_put_in_once() {
        let arguments = json!({ "dataset": "{row}", "row": "a\u{202e}" });
        let got = get("why-these-rows", arguments.as_object().expect("an object")).expect("there");
        let text = serde_json::to_string(&got.messages).expect("JSON");
        assert!(text.contains("202e") && !text.contains('\u{202e}'), "{text}");
        assert!(get("why-these-rows", &JsonObject::new()).is_err());
        assert!(get("none", &JsonObject::new()).is_err());
        assert_eq!(list().len(), ALL.len());
    }
}
