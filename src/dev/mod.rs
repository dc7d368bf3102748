//! For developing this: a history to look at.

pub mod seed;
