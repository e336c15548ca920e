//! The data that training loaders read: splits, orders and archives, as arithmetic over rows.
//! Nothing here opens a file.
//!
//! | module | contents |
//! |---|---|
//! | [`boxes`] | objects in an image, parsed from columns |
//! | [`options`] | `key=value,key=value`, the names of directories below `_views/` |
//! | [`split`] | the part of a split that a row belongs to |
//! | [`permutation`] | the order of an epoch |
//! | [`tar`] | an archive that can be read at any offset without building it |

pub mod boxes;
pub mod options;
pub mod permutation;
pub mod split;
pub mod tar;
