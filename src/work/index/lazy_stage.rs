//! A stage that is created when there is something to write: without changes nothing is written.

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::schema::Layout;
use dcfs_data::catalog::{Stage, Writer};

/// A stage that may not exist yet.
pub struct LazyStage<'w> {
    not_yet: Option<(&'w mut Writer, Layout)>,
    stage: Option<Stage<'w>>,
}

impl<'w> LazyStage<'w> {
    /// Not created yet.
    pub fn new(writer: &'w mut Writer, layout: Layout) -> Self {
        Self { not_yet: Some((writer, layout)), stage: None }
    }

    /// The stage, created now if necessary.
    ///
    /// # Errors
    /// As [`Writer::stage`].
    pub fn get(&mut self) -> Result<&mut Stage<'w>> {
        if let Some((writer, layout)) = self.not_yet.take() {
            self.stage = Some(writer.stage(layout)?);
        }
        self.stage.as_mut().ok_or_else(failed)
    }

    /// Returns the stage for publishing.
    ///
    /// # Errors
    /// As [`LazyStage::get`].
    pub fn begun(mut self) -> Result<Stage<'w>> {
        self.get()?;
        self.stage.ok_or_else(failed)
    }
}

fn failed() -> Error {
    Error::new(Kind::Broken, "a stage that could not be begun")
}
