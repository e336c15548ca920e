//! The six tools: names, arguments, handlers. Their texts are part of every conversation of a model, so they
//! are short: all together stay under 1,500 tokens.

use rmcp::model::{CallToolResult, JsonObject, Tool, ToolAnnotations};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::{Answer, failed};
use super::server::Server;
use super::{context, files, query, remember, run};
use dcfs_core::error::{Error, Kind, Result};

/// A tool of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kit {
    Context,
    Search,
    Query,
    Files,
    Remember,
    Run,
}

impl Kit {
    pub const ALL: [Self; 6] =
        [Self::Context, Self::Search, Self::Query, Self::Files, Self::Remember, Self::Run];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Search => "search",
            Self::Query => "query",
            Self::Files => "files",
            Self::Remember => "remember",
            Self::Run => "run",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Context => {
                "Start here. Without a name: every dataset of the catalog, a line each. With one (`pets`, `pets@1.0.0`): its page: \
                 columns, statistics, parents, notes, how to use it. With `row` too (a file's path or a sys__id): why that row is there."
            }
            Self::Search => {
                "Find datasets by words: names, descriptions, columns, notes, scripts. Returns where the words are."
            }
            Self::Query => {
                "One read-only SELECT over datasets as tables (SQLite, dotted columns): select label, count(*) n from pets where \
                 info.width > 400 group by label. Also catalog.datasets, .versions, .columns, .dependencies, .usage, .runs. Aggregate rather than list; \
                 at most 100 rows come back."
            }
            Self::Files => {
                "Files of a dataset's rows, or of a filter's (what follows WHERE; may end in: order by cosine_distance(emb, \"a.jpg\") \
                 limit 5): path, size, address. `read` returns the content of one path: text, or a picture."
            }
            Self::Remember => {
                "Leave a dated line for whoever works here next: a caveat, a decision, what a column means. Not for secrets."
            }
            Self::Run => {
                "Make datasets (index, load, save, map, gen, sql --as, group, merge, union, subtract, refresh): \
                 [\"save\",\"pets\",\"--where\",\"info.width > 400\",\"--as\",\"wide\"]. Returns a run id; ask with `id` for its state. \
                 For map and gen first set `try` to 5: five rows, nothing saved, and an estimate."
            }
        }
    }

    fn schema(self) -> Value {
        let dataset = json!({ "type": "string", "description": "name or name@version" });
        match self {
            Self::Context => object(json!({ "name": dataset, "row": { "type": "string" } }), &[]),
            Self::Search => object(json!({ "words": { "type": "string" } }), &["words"]),
            Self::Query => object(
                json!({ "sql": { "type": "string" }, "limit": { "type": "integer", "minimum": 1, "maximum": 100 } }),
                &["sql"],
            ),
            Self::Files => object(
                json!({
                    "dataset": dataset,
                    "filter": { "type": "string" },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 100 },
                    "read": { "type": "string", "description": "a path as listed" },
                }),
                &["dataset"],
            ),
            Self::Remember => {
                object(json!({ "text": { "type": "string" }, "dataset": dataset }), &["text"])
            }
            Self::Run => object(
                json!({
                    "command": { "type": "array", "items": { "type": "string" } },
                    "try": { "type": "integer", "minimum": 1, "maximum": 100 },
                    "id": { "type": "string" },
                }),
                &[],
            ),
        }
    }

    fn annotations(self) -> ToolAnnotations {
        let hints = ToolAnnotations::new();
        match self {
            Self::Context | Self::Search | Self::Query => hints.read_only(true).open_world(false),
            Self::Files => hints.read_only(true).open_world(true),
            Self::Remember => hints.read_only(false).destructive(false).open_world(false),
            Self::Run => hints.read_only(false).destructive(false).open_world(true),
        }
    }

    /// The tool in the protocol's list.
    pub fn tool(self) -> Tool {
        let schema = match self.schema() {
            Value::Object(schema) => schema,
            _ => JsonObject::new(),
        };
        Tool::new(self.name(), self.description(), schema).with_annotations(self.annotations())
    }

    /// Finds a tool by name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kit| kit.name() == name)
    }

    /// Calls the tool. Errors are answers too.
    pub async fn call(self, server: &Server, arguments: JsonObject) -> CallToolResult {
        let answer = match self {
            Self::Context => match read::<context::Arguments>(arguments) {
                Ok(arguments) => context::answer(server, arguments).await,
                Err(error) => Err(error),
            },
            Self::Search => match read::<context::Search>(arguments) {
                Ok(arguments) => context::search(server, arguments).await,
                Err(error) => Err(error),
            },
            Self::Query => match read::<query::Arguments>(arguments) {
                Ok(arguments) => query::answer(server, arguments).await,
                Err(error) => Err(error),
            },
            Self::Files => match read::<files::Arguments>(arguments) {
                Ok(arguments) => files::answer(server, arguments).await,
                Err(error) => Err(error),
            },
            Self::Remember => match read::<remember::Arguments>(arguments) {
                Ok(arguments) => remember::answer(server, arguments).await,
                Err(error) => Err(error),
            },
            Self::Run => match read::<run::Arguments>(arguments) {
                Ok(arguments) => run::answer(server, arguments).await,
                Err(error) => Err(error),
            },
        };
        answer.map_or_else(|error| failed(&error), Answer::result)
    }
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T> {
    // A null argument counts as absent; some clients send all arguments.
    let given = arguments.into_iter().filter(|(_, value)| !value.is_null()).collect();
    T::deserialize(Value::Object(given))
        .map_err(|error| Error::new(Kind::Invalid, format!("wrong arguments: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limit of tokens for all tools in a model's context; about four characters per token.
    const MOST_TOKENS: usize = 1500;

    #[test]
    fn the_tools_cost_a_model_little() {
        let tools: Vec<Tool> = Kit::ALL.into_iter().map(Kit::tool).collect();
        let text = serde_json::to_string(&tools).expect("JSON");
        assert!(text.len() / 4 < MOST_TOKENS, "{} characters", text.len());
        for kit in Kit::ALL {
            assert_eq!(Kit::named(kit.name()), Some(kit));
        }
    }
}
