//! A stage that is begun when there is something to write: what finds nothing new writes nothing.

use crate::catalog::{Stage, Writer};
use crate::error::{Error, Kind, Result};
use crate::schema::Layout;

/// Perhaps a stage.
pub struct Begun<'w> {
    not_yet: Option<(&'w mut Writer, Layout)>,
    stage: Option<Stage<'w>>,
}

impl<'w> Begun<'w> {
    /// None yet.
    pub fn not_yet(writer: &'w mut Writer, layout: Layout) -> Self {
        Self { not_yet: Some((writer, layout)), stage: None }
    }

    /// The stage, begun now if it was not.
    ///
    /// # Errors
    /// As [`Writer::stage`].
    pub fn stage(&mut self) -> Result<&mut Stage<'w>> {
        if let Some((writer, layout)) = self.not_yet.take() {
            self.stage = Some(writer.stage(layout)?);
        }
        self.stage.as_mut().ok_or_else(failed)
    }

    /// The same, for good.
    ///
    /// # Errors
    /// As [`Begun::stage`].
    pub fn into_stage(mut self) -> Result<Stage<'w>> {
        self.stage()?;
        self.stage.ok_or_else(failed)
    }
}

fn failed() -> Error {
    Error::new(Kind::Broken, "a stage that could not be begun")
}
