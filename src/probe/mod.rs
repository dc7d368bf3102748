//! Looks at an app from outside, the way the world would.

pub mod http;
