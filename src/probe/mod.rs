//! Looks at an app as its users do: from outside, through the proxy.

pub mod browser;
pub mod http;
pub mod tls;

pub use http::{Answer, NoAnswer, Patience, Prober, Raw, Request, Seen};
