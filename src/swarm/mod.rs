//! The Swarm as it is, never as somebody says it is: every word about a deployment comes from the Docker API through here.

pub mod claims;
pub mod client;
pub mod converge;
pub mod events;
pub mod exec;
pub mod files;
pub mod host;
pub mod images;
pub mod leftovers;
pub mod login;
pub mod logs;
pub mod pull;
mod reach;
pub mod sweep;
pub mod views;

pub use client::{Swarm, SwarmFault};
