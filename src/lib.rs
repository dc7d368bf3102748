//! cc-ci tests pull requests of Co-op Cloud recipes by deploying them. `docs/architecture.md` is the map.

pub mod bell;
pub mod clock;
pub mod config;
pub mod forge;
pub mod git;
pub mod logs;
pub mod model;
pub mod probe;
pub mod sandbox;
pub mod script;
pub mod secrets;
pub mod store;
pub mod yaml;
