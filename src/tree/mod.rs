//! How row paths become names and directories. Pure: no catalog, no disk, no clock.
pub mod datasets;
