//! Recipe scripts, hostile ones and good ones, in the real sandbox; and the browser, on a real server.
//!
//! What a machine lacks (bubblewrap, Fennel's compiler, Chromium) is said and skipped.

#[path = "script/bench.rs"]
mod bench;
#[path = "script/browser.rs"]
mod browser;
#[path = "script/databases.rs"]
mod databases;
#[path = "script/documentation.rs"]
mod documentation;
#[path = "script/hostile.rs"]
mod hostile;
#[path = "script/jobs.rs"]
mod jobs;
#[path = "script/stage.rs"]
mod stage;
