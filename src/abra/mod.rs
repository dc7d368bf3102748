//! abra, driven and built in.
pub mod answers;
pub mod driver;
pub mod embedded;
