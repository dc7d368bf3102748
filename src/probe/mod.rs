//! What an app looks like from outside.

pub mod browser;
