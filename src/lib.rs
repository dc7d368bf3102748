//! cc-ci tests pull requests of Co-op Cloud recipes by deploying them. `docs/architecture.md` is the map.

pub mod alarms;
pub mod bell;
pub mod clock;
pub mod config;
pub mod dev;
pub mod forge;
pub mod model;
pub mod secrets;
pub mod store;
pub mod web;
pub mod yaml;
