//! What all houses share: the Swarm, one proxy in front of it, one backup service, and numbers, so that no two stand at the same address.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::sync::OnceCell;

pub(crate) const CC_CI: &str = env!("CARGO_BIN_EXE_cc-ci");

/// Where the stories' proxy listens: not where a real one would.
pub(crate) const HTTPS_PORT: u16 = 27443;
pub(crate) const HTTP_PORT: u16 = 27080;

/// As many houses as stories may run side by side on one machine.
const HOUSES: usize = 32;

static PROXY: OnceCell<Rig> = OnceCell::const_new();

/// The proxy's certificate, for all houses.
#[derive(Clone, Debug)]
pub(crate) struct Rig {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
}

/// A number nobody else on this machine has now.
#[derive(Debug)]
pub(crate) struct Number {
    pub(crate) number: usize,
    _lock: File,
}

impl Number {
    pub(crate) fn take() -> Number {
        let dir = shared();
        for number in 0..HOUSES {
            let lock = File::create(dir.join(format!("house-{number}.lock"))).unwrap();
            if lock.try_lock().is_ok() {
                return Number { number, _lock: lock };
            }
        }
        panic!("{HOUSES} houses stand on this machine already");
    }

    /// Apps of this house live under it.
    pub(crate) fn domain(&self) -> String {
        format!("h{}.ci.test", self.number)
    }

    /// What every object of this house has in its name.
    pub(crate) fn mark(&self) -> String {
        format!("_h{}_ci_test", self.number)
    }
}

/// One directory for all suites of this user, wherever they were built.
fn shared() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    let dir = std::env::temp_dir().join(format!("cc-ci-stories-{user}"));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The Swarm and the proxy as `cc-ci reconcile` makes them; whoever comes first makes them for all.
pub(crate) async fn up() -> Rig {
    PROXY.get_or_init(|| async { tokio::task::spawn_blocking(make).await.unwrap() }).await.clone()
}

fn make() -> Rig {
    let dir = shared();
    let lock = File::create(dir.join("proxy.lock")).unwrap();
    lock.lock().unwrap();
    let rig = Rig {
        certificate: dir.join("certificate.pem"),
        key: dir.join("key.pem"),
        authority: dir.join("authority.pem"),
    };
    let names: Vec<String> = (0..HOUSES).map(|number| format!("h{number}.ci.test")).collect();
    if !rig.authority.exists() {
        cc_ci(
            &[
                &["dev", "certificate", text(&dir), "ci.test"][..],
                &names.iter().map(String::as_str).collect::<Vec<_>>(),
            ]
            .concat(),
        );
    }
    let config = dir.join("proxy.yaml");
    let token = dir.join("token");
    write_secret(&token, "not-used");
    std::fs::write(
        &config,
        format!(
            "domain: ci.test\nstate_dir: {state}\nforge: {{url: 'http://127.0.0.1:1', organisation: recipes, token_file: {token}}}\n\
             proxy: {{address: '127.0.0.1:{HTTPS_PORT}', http_port: {HTTP_PORT}, domain: stories-proxy.ci.test, \
             certificate_file: {certificate}, key_file: {key}, ca_file: {authority}}}\n\
             backup: {{image: 'cc-ci-test/backup:1', domain: stories-backup.ci.test}}\n",
            state = dir.join("proxy").display(),
            token = token.display(),
            certificate = rig.certificate.display(),
            key = rig.key.display(),
            authority = rig.authority.display(),
        ),
    )
    .unwrap();
    cc_ci(&["reconcile", "swarm", "--config", text(&config)]);
    cc_ci(&["reconcile", "proxy", "--config", text(&config)]);
    cc_ci(&["reconcile", "backupbot", "--config", text(&config)]);
    rig
}

/// A command of ours that has to go well.
pub(crate) fn cc_ci(arguments: &[&str]) -> String {
    let output = Command::new(CC_CI).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "cc-ci {} ended with {}:\n{}{}",
        arguments.join(" "),
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file only its owner reads.
pub(crate) fn write_secret(path: &Path, value: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, value).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
