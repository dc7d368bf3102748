//! A Chromium that looks at our own pages, driven over WebDriver: what it complains about and what it asks for are kept.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Browser {
    driver: Child,
    client: reqwest::Client,
    session: String,
    axe: Option<String>,
    _profile: tempfile::TempDir,
}

/// What a look at one page brought.
#[derive(Debug)]
pub(crate) struct Complaints {
    pub console: Vec<String>,
    /// Addresses that were asked for.
    pub requests: Vec<String>,
}

impl Browser {
    /// `None`, and the reason said, where there is none.
    #[expect(clippy::disallowed_methods, reason = "a tool of the tests, ended with them")]
    pub(crate) async fn start(test: &str) -> Option<Browser> {
        let profile = tempfile::tempdir().unwrap();
        let started = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = started else {
            println!("SKIPPED {test}: there is no chromedriver");
            return None;
        };
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            line.split_once("started successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
        });
        let port = port.expect("chromedriver says its port");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", &data];
        let wish = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "unhandledPromptBehavior": "ignore",
        }}});
        let base = format!("http://127.0.0.1:{port}/session");
        let answer: Value = client.post(&base).json(&wish).send().await.unwrap().json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
        let axe = std::env::var_os("CC_CI_AXE").map(|path| std::fs::read_to_string(PathBuf::from(path)).unwrap());
        Some(Browser { driver, client, session: format!("{base}/{id}"), axe, _profile: profile })
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(format!("{}{path}", self.session)).json(body).send().await.unwrap();
        let good = answer.status().is_success();
        let answer: Value = answer.json().await.unwrap();
        assert!(good, "{path}: {}", answer["value"]["message"]);
        answer["value"].clone()
    }

    async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters})).await
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url})).await;
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Until the script says true.
    pub(crate) async fn until(&self, script: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.run(script).await != Value::Bool(true) {
            let shown = self.run("return document.body.innerText").await;
            assert!(tokio::time::Instant::now() < deadline, "it never came true: {script}\n{shown}");
            tokio::task::yield_now().await;
        }
    }

    /// Keys one after the other, as somebody types them.
    pub(crate) async fn type_keys(&self, keys: &str) {
        let strokes = keys
            .chars()
            .flat_map(|key| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]);
        let strokes: Vec<Value> = strokes.collect();
        self.post("/actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]})).await;
    }

    pub(crate) async fn look_as(&self, theme: &str, width: u32) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.cdp("Emulation.setEmulatedMedia", features).await;
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Each rule that is broken, and where. `None` without axe-core.
    pub(crate) async fn axe(&self) -> Option<Vec<String>> {
        let axe = self.axe.as_ref()?;
        self.run(axe).await;
        let script = "const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ['violations'] }).then((result) => done(result.violations.map((one) =>
                `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join(' | ')}`)));";
        let found = self.post("/execute/async", &json!({"script": script, "args": []})).await;
        Some(found.as_array().unwrap().iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect())
    }

    /// What was said and asked for since the last time.
    pub(crate) async fn complaints(&self) -> Complaints {
        let log = async |kind: &str| self.post("/se/log", &json!({"type": kind})).await.as_array().cloned().unwrap();
        let console = log("browser").await.iter().map(|entry| entry["message"].to_string()).collect();
        let mut requests = Vec::new();
        for entry in log("performance").await {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            if message["message"]["method"] == "Network.requestWillBeSent" {
                requests.push(message["message"]["params"]["request"]["url"].as_str().unwrap().to_owned());
            }
        }
        Complaints { console, requests }
    }

    /// The whole page as a PNG, where somebody wants to look: into the directory `CC_CI_SHOTS`.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(dir) = std::env::var_os("CC_CI_SHOTS").map(PathBuf::from) else { return };
        let shot = self.cdp("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true})).await;
        std::fs::create_dir_all(&dir).unwrap();
        let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), png).unwrap();
    }

    pub(crate) async fn stop(mut self) {
        let _ = self.client.delete(&self.session).send().await;
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
