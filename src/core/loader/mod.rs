//! What training loaders read: splits, orders and archives, as arithmetic over rows. Nothing here knows a file.
//!
//! | module | contents |
//! |---|---|
//! | [`boxes`] | objects in a picture, as columns say them |
//! | [`options`] | `key=value,key=value`, as directories below `_views/` are called |
//! | [`split`] | which part of a split a row is in |
//! | [`permutation`] | the order of an epoch |
//! | [`tar`] | an archive whose every byte is known by its offset |

pub mod boxes;
pub mod options;
pub mod permutation;
pub mod split;
pub mod tar;
