//! The door to the person typing.
