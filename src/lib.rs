//! cc-ci tests pull requests of Co-op Cloud recipes by deploying them. `docs/architecture.md` is the map.

pub mod abra;
pub mod alarms;
pub mod bell;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod config;
pub mod dev;
pub mod engine;
pub mod forge;
pub mod git;
pub mod intake;
pub mod logs;
pub mod model;
pub mod probe;
pub mod recipe;
pub mod reconcile;
pub mod report;
pub mod sandbox;
pub mod script;
pub mod secrets;
pub mod stages;
pub mod store;
pub mod swarm;
pub mod web;
pub mod yaml;
