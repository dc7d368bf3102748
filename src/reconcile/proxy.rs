//! Traefik, with the wildcard certificate of the configuration, in front of the apps.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ReconcileError;
use super::certificate::{self, Pair};
use super::own::{self, Heard, Own};
use crate::abra::driver::Failed;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::AppDomain;
use crate::probe::{Prober, Seen, http::PROXY_REFRESH};
use crate::swarm::Swarm;

const RECIPE: &str = "cc-ci-proxy";
const NAME: &str = "proxy";
const COMPOSE: &str = include_str!("traefik/compose.yml");
const STATIC: &str = include_str!("traefik/traefik.yml");
const DYNAMIC: &str = include_str!("traefik/dynamic.yml");
const ABRA_SH: &str = include_str!("traefik/abra.sh");
const ENV_SAMPLE: &str = include_str!("traefik/env.sample");
const README: &str = include_str!("traefik/README.md");

/// Certificate and key, in this order.
const SECRETS: [&str; 2] = ["ssl_cert", "ssl_key"];
const ANSWER: Duration = Duration::from_secs(15);

/// What the proxy should be.
#[derive(Debug)]
struct Wanted {
    own: Own,
    /// Full names.
    secrets: [String; 2],
    configs: [String; 2],
    pair: Pair,
}

impl Wanted {
    fn of(config: &Config, pair: Pair) -> Result<Wanted, ReconcileError> {
        let proxy = &config.proxy;
        let domain = own::domain(config, proxy.domain.as_deref(), NAME)?;
        let stack = domain.stack();
        let (http, https) = (proxy.http_port.to_string(), proxy.address.port().to_string());
        let docker = config.runner.docker.display().to_string();
        let refresh = PROXY_REFRESH.as_secs().to_string();
        let version = own::version_of(&proxy.image);
        let mut words: BTreeMap<&str, &str> = BTreeMap::from([
            ("@IMAGE@", &*proxy.image),
            ("@HTTP_PORT@", &http),
            ("@HTTPS_PORT@", &https),
            ("@DOCKER@", &docker),
            ("@NETWORK@", &proxy.network),
            ("@REFRESH@", &refresh),
            ("@VERSION@", &version),
        ]);
        let (fixed, dynamic) = (own::fill(STATIC, &words), own::fill(DYNAMIC, &words));
        let (of_static, of_dynamic) = (own::short_hash(fixed.as_bytes()), own::short_hash(dynamic.as_bytes()));
        words.extend([("@STATIC@", &*of_static), ("@DYNAMIC@", &*of_dynamic), ("@PAIR@", &*pair.version)]);
        let compose = own::fill(COMPOSE, &words);
        let env = env(&domain, &pair.version);
        let hash = own::hash_of([compose.as_str(), &fixed, &dynamic, &env]);
        words.insert("@WANTED@", &hash);
        let files = BTreeMap::from([
            ("compose.yml", own::fill(COMPOSE, &words)),
            ("abra.sh", own::fill(ABRA_SH, &words)),
            (".env.sample", own::fill(ENV_SAMPLE, &words)),
            ("README.md", README.to_owned()),
            ("traefik.yml", fixed),
            ("dynamic.yml", dynamic),
        ]);
        Ok(Wanted {
            secrets: SECRETS.map(|secret| format!("{stack}_{secret}_{}", pair.version)),
            configs: [format!("{stack}_static_v{of_static}"), format!("{stack}_dynamic_v{of_dynamic}")],
            own: Own { name: NAME, recipe: RECIPE, image: proxy.image.clone(), domain, stack, files, env, hash },
            pair,
        })
    }
}

fn env(domain: &AppDomain, pair: &str) -> String {
    let start = format!("TYPE={RECIPE}\nDOMAIN={domain}\nLETS_ENCRYPT_ENV=\nCOMPOSE_FILE=compose.yml\n");
    SECRETS.iter().fold(start, |env, secret| env + &format!("SECRET_{}_VERSION={pair}\n", secret.to_uppercase()))
}

pub(super) async fn reconcile(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let (Some(certificate), Some(key)) = (config.proxy.certificate_file.clone(), config.proxy.key_file.clone()) else {
        return Err(ReconcileError::NoCertificate(config.domain.clone()));
    };
    let (domain, now) = (config.domain.clone(), Clock::system().now());
    let files = [certificate.clone(), key.clone()];
    let pair =
        own::blocking(own::host_dir(config), move || Ok(certificate::read(&certificate, &key, &domain, now))).await??;
    let wanted = Wanted::of(config, pair)?;
    let docker = super::docker(config).await?;
    let network = docker.networks().await?.into_iter().find(|network| network.name == config.proxy.network);
    let network = network.ok_or_else(|| ReconcileError::NoNetwork(config.proxy.network.clone()))?;

    let mut said =
        vec![format!("certificate: for *.{}, good until {}", config.domain, wanted.pair.not_after.format("%Y-%m-%d"))];
    let Some(why) = wanted.own.differs(config, &docker, Some(&network.id)).await? else {
        said.push(format!("proxy: {} runs as it should", config.proxy.image));
        return Ok(said);
    };
    let (domain, version) = (wanted.own.domain.clone(), wanted.pair.version.clone());
    let deployed = wanted.own.deploy(config, &docker, async |session| {
        for (secret, path) in SECRETS.iter().zip(&files) {
            // abra runs in a directory of its own.
            let path =
                std::path::absolute(path).map_err(|source| ReconcileError::File { path: path.clone(), source })?;
            match session.secret_insert(&domain, (secret, &version), &path, &mut Heard).await {
                Ok(()) | Err(Failed::Exists) => {}
                Err(failed) => return Err(ReconcileError::Abra { what: NAME, failed }),
            }
        }
        Ok(())
    });
    deployed.await?;
    said.push(format!("proxy: {} deployed ({why})", config.proxy.image));
    said.push(answers(config).await?);
    said.extend(forget_old(&docker, &wanted).await?);
    Ok(said)
}

/// Asks the proxy for a host that nobody has: its own 404, behind our certificate, is the right answer.
async fn answers(config: &Config) -> Result<String, ReconcileError> {
    let prober = Prober::new(&config.proxy)?;
    let nobody: AppDomain = format!("cc-ci-nobody.{}", config.domain).parse()?;
    let deadline = tokio::time::Instant::now() + ANSWER;
    loop {
        let seen = prober.get(&nobody, "/").await;
        let why = match &seen {
            Seen::NoRoute | Seen::App(_) | Seen::Gateway(_) => {
                return Ok(format!("proxy: answers on {} with the certificate", config.proxy.address));
            }
            Seen::Certificate(why) => format!(
                "its certificate is not trusted on this machine ({why}); set `proxy.ca_file` to the authority it is from"
            ),
            Seen::Slow => format!("{} does not answer in time", config.proxy.address),
            Seen::Nothing(why) => format!("{} cannot be reached ({why})", config.proxy.address),
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(ReconcileError::NotAnswering(why));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Removes the secrets and configs of what was before.
async fn forget_old(docker: &Swarm, wanted: &Wanted) -> Result<Vec<String>, ReconcileError> {
    let begins = [format!("{}_ssl_", wanted.own.stack), format!("{}_", wanted.own.stack)];
    let mut said = Vec::new();
    for secret in docker.secrets().await? {
        let old = secret.name.starts_with(&begins[0]) && !wanted.secrets.contains(&secret.name);
        if old && docker.remove_secret(&secret.id).await.is_ok() {
            said.push(format!("secret: {} is not needed any more", secret.name));
        }
    }
    for config in docker.configs().await? {
        let ours =
            config.labels.get(crate::swarm::client::NAMESPACE).is_some_and(|stack| stack == wanted.own.stack.as_str());
        let old = ours && config.name.starts_with(&begins[1]) && !wanted.configs.contains(&config.name);
        if old && docker.remove_config(&config.id).await.is_ok() {
            said.push(format!("config: {} is not needed any more", config.name));
        }
    }
    Ok(said)
}

pub(super) async fn remove(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let domain = own::domain(config, config.proxy.domain.as_deref(), NAME)?;
    own::remove(config, NAME, &domain).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose;

    fn config() -> Config {
        crate::yaml::from_str(
            "config.yaml",
            "domain: ci.example.org\nforge: {url: 'https://git.example.org', organisation: recipes, token_file: /token}\n",
        )
        .unwrap()
    }

    fn wanted(config: &Config) -> Wanted {
        let dir = tempfile::tempdir().unwrap();
        certificate::throw_away(&[&config.domain], dir.path()).unwrap();
        let (pem, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
        let pair = certificate::read(&pem, &key, &config.domain, Clock::system().now()).unwrap();
        Wanted::of(config, pair).unwrap()
    }

    #[test]
    fn the_recipe_has_no_blank_left_and_compose_takes_it() {
        let wanted = wanted(&config());
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in &wanted.own.files {
            assert!(!text.contains('@'), "{file}: {text}");
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let mut env: BTreeMap<String, String> = wanted
            .own
            .env
            .lines()
            .chain(wanted.own.files["abra.sh"].lines())
            .filter_map(|line| line.trim_start_matches("export ").split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        env.insert("STACK_NAME".into(), wanted.own.stack.to_string());
        let composed = compose::load(dir.path(), &["compose.yml".to_owned()], &env).unwrap();
        let rendered = composed.render();
        for name in wanted.secrets.iter().chain(&wanted.configs) {
            assert!(rendered.contains(name.as_str()), "{name} is not in {rendered}");
            assert!(name.len() <= 64);
        }
        assert!(rendered.contains(&wanted.own.hash));
    }

    #[test]
    fn another_certificate_or_port_is_another_proxy() {
        let config = config();
        let one = wanted(&config);
        let mut other = config.clone();
        other.proxy.http_port = 8081;
        assert_ne!(one.own.hash, wanted(&config).own.hash, "each has its own certificate");
        let again = Wanted::of(&config, one.pair.clone()).unwrap();
        assert_eq!(one.own.hash, again.own.hash);
        assert_ne!(one.own.hash, Wanted::of(&other, one.pair.clone()).unwrap().own.hash);
    }

    #[test]
    fn a_domain_that_swarm_would_not_take_is_refused_before_anything_is_made() {
        let mut config = config();
        config.proxy.domain = Some(format!("{}.example.org", "a".repeat(40)));
        let dir = tempfile::tempdir().unwrap();
        certificate::throw_away(&[&config.domain], dir.path()).unwrap();
        let (pem, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
        let pair = certificate::read(&pem, &key, &config.domain, Clock::system().now()).unwrap();
        assert!(matches!(Wanted::of(&config, pair), Err(ReconcileError::TooLong { .. })));
    }
}
