//! `remember`: adds a note for later readers, like `dcfs remember`.

use std::time::SystemTime;

use serde::Deserialize;

use super::answer::Answer;
use super::server::{Server, blocking};
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;
use dcfs_core::time::Timestamp;
use dcfs_data::memory;
use dcfs_work::author;

/// The arguments of `remember`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    text: String,
    dataset: Option<String>,
}

/// Appends the line.
pub async fn answer(server: &Server, arguments: Arguments) -> Result<Answer> {
    let (setup, agent) = (server.setup(), server.client());
    blocking(move || {
        setup.catalog.check_folder()?;
        let wanted = arguments.dataset.as_deref().map(str::parse::<DatasetRef>).transpose()?;
        if let Some(wanted) = &wanted {
            setup.catalog.find(wanted)?;
        }
        let by = match agent {
            Some(agent) => format!("{} with {agent}", author::name()),
            None => author::name(),
        };
        let folder = memory::knowledge(setup.catalog.path());
        let now = Timestamp::of_system(SystemTime::now());
        let dataset = wanted.map(|wanted| wanted.name);
        let path = memory::remember(&folder, dataset.as_ref(), &arguments.text, &by, now)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = format!("remembered in dc-knowledge/memory/{name}");
        Ok(Answer::text(text).with("file", format!("memory/{name}")))
    })
    .await
}
