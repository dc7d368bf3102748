//! For developing: recipes with a history, and the set-up that needs no file.

pub mod recipe;
pub mod seed;
pub mod setup;
