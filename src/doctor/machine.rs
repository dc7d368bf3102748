//! What runs are deployed on: Docker, its Swarm, the proxy with its certificate, the names that lead there, abra.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Row;
use crate::abra::driver::Abra;
use crate::backup::service::{BackupService, ServiceFault};
use crate::clock::{Clock, Time};
use crate::config::Config;
use crate::engine::{OWN_PROGRAM, causes, expiry};
use crate::model::AppDomain;
use crate::probe::{Prober, Seen};
use crate::reconcile::{self, certificate};
use crate::swarm::Swarm;
use crate::swarm::host::{Ipvs, ipvs};

/// For a name to be looked up, or a connection to come about.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn examine(config: &Config, clock: &Clock) -> Vec<Row> {
    let (docker, proxy, dns) = tokio::join!(docker(config), proxy(config, clock.now()), dns(config));
    docker.into_iter().chain(proxy).chain([dns]).collect()
}

async fn docker(config: &Config) -> Vec<Row> {
    let socket = &config.runner.docker;
    let swarm = match Swarm::connect(socket).await {
        Ok(swarm) => swarm,
        Err(fault) => return vec![Row::of("docker", &fault)],
    };
    let info = match swarm.info().await {
        Ok(info) => info,
        Err(fault) => return vec![Row::of("docker", &fault)],
    };
    let saw = format!("version {} on {}", info.version, socket.display());
    let mut rows = vec![if info.live_restore {
        let cure = "set live-restore to false in Docker's configuration and restart Docker";
        Row::failed("docker", format!("{saw}, with live-restore, which a Swarm does not allow"), cure)
    } else {
        Row::ok("docker", format!("{saw}, live-restore off"))
    }];
    rows.push(match reconcile::look_at_swarm(&swarm, &config.proxy.network).await {
        Ok(said) => Row::ok("swarm", said.join(", ").replace("swarm: ", "").replace("network: ", "network ")),
        Err(error) => Row::of("swarm", &error),
    });
    rows.push(match BackupService::find(&swarm).await {
        Ok(service) => Row::ok("backup service", format!("{} runs", service.name)),
        Err(fault @ ServiceFault::None) => {
            let cure = "`cc-ci reconcile backupbot` makes one; on the appliance `systemctl restart cc-ci-backupbot`";
            let saw = causes(&fault).split("; ").next().unwrap_or_default().to_owned();
            Row::warn("backup service", format!("{saw}: no recipe's backup can be tried"), cure)
        }
        Err(fault) => Row::of("backup service", &fault),
    });
    if ipvs() == Ipvs::Missing {
        let cure = "use a kernel with the module ip_vs; NixOS's has it";
        rows.push(Row::warn(
            "ipvs",
            "the kernel cannot forward the addresses of services, by which apps reach their databases",
            cure,
        ));
    }
    rows
}

async fn proxy(config: &Config, now: Time) -> Vec<Row> {
    let (Ok(prober), Ok(nobody)) = (Prober::new(&config.proxy), nobody(config)) else {
        return vec![Row::failed(
            "proxy",
            "`proxy.ca_file` or `domain` cannot be used",
            "`cc-ci check-config FILE` says more",
        )];
    };
    let cure = "`cc-ci reconcile proxy` says what stands in the way; on the appliance `systemctl restart cc-ci-proxy`";
    let at = config.proxy.address;
    let shown = match prober.certificate(&nobody).await {
        Ok(shown) => shown,
        Err(Seen::Certificate(why)) => {
            let cure = "put the right pair in with `cc-ci secrets set` and switch";
            return vec![
                Row::ok("proxy", format!("answers on {at}")),
                Row::failed("certificate", format!("that of *.{} is not trusted ({why})", config.domain), cure),
            ];
        }
        Err(seen) => return vec![Row::failed("proxy", format!("nothing answers on {at} ({seen})"), cure)],
    };
    let answers = match prober.get(&nobody, "/").await {
        Seen::NoRoute => Row::ok("proxy", format!("answers on {at}, and knows no app that is not there")),
        seen => Row::warn("proxy", format!("on {at} an app that is not there is answered: {seen}"), cure),
    };
    let until = format!("covers *.{} until {}", config.domain, shown.not_after.format("%Y-%m-%d"));
    let days = shown.not_after.since(now).as_secs() / 86_400;
    let holds = match expiry::warning(&config.domain, shown.not_after, now) {
        Some(words) => {
            let (saw, cure) = words.split_once("; ").unwrap_or((&words, "put a new pair in"));
            if shown.not_after <= now {
                Row::failed("certificate", saw, cure)
            } else {
                Row::warn("certificate", saw, cure)
            }
        }
        None => Row::ok("certificate", format!("{until}, {days} days")),
    };
    [Some(answers), Some(holds), pair(config, shown.not_after, now).await].into_iter().flatten().collect()
}

/// The pair that the proxy is to show, where it differs from what it shows.
async fn pair(config: &Config, shown: Time, now: Time) -> Option<Row> {
    let (certificate, key) = (config.proxy.certificate_file.clone()?, config.proxy.key_file.clone()?);
    let domain = config.domain.clone();
    let read = tokio::task::spawn_blocking(move || certificate::read(&certificate, &key, &domain, now)).await.ok()?;
    match read {
        Err(error) => Some(Row::of("pair", &error)),
        Ok(pair) if pair.not_after != shown => {
            let saw = "the proxy does not show the certificate that the configuration names";
            Some(Row::warn("pair", saw, "`systemctl start cc-ci-proxy-heal`, and see what it says"))
        }
        Ok(_) => None,
    }
}

fn nobody(config: &Config) -> Result<AppDomain, crate::model::NotA> {
    format!("cc-ci-nobody.{}", config.domain).parse()
}

/// Whether a name below the domain leads here. Runs do without; people, and apps that call themselves, do not.
async fn dns(config: &Config) -> Row {
    let (domain, port) = (&config.domain, config.proxy.address.port());
    let point = format!("point *.{domain} at this machine");
    let found = timeout(PATIENCE, lookup_host((format!("cc-ci-nobody.{domain}"), port))).await;
    let addresses: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(error)) => return Row::warn("dns", format!("*.{domain} is no name here: {error}"), point),
        Err(_) => {
            return Row::warn("dns", format!("no answer about *.{domain} within {} s", PATIENCE.as_secs()), point);
        }
    };
    let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let Some(here) = addresses.iter().copied().find(|ip| is_ours(*ip)) else {
        let cure = format!("right where a router forwards to this machine; otherwise {point}");
        return Row::warn("dns", format!("*.{domain} leads to {shown}, no address of this machine"), cure);
    };
    match timeout(PATIENCE, TcpStream::connect(SocketAddr::new(here, port))).await {
        Ok(Ok(_)) => Row::ok("dns", format!("*.{domain} leads to {here}, this machine, where port {port} answers")),
        _ => Row::warn(
            "dns",
            format!("*.{domain} leads here, and port {port} of {here} does not answer"),
            "see the proxy's row",
        ),
    }
}

/// Only an address of one's own can be bound.
fn is_ours(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

pub(super) async fn abra(config: &Config) -> Row {
    let runner = &config.runner;
    let cancel = CancellationToken::new();
    match Abra::find(runner.abra.as_deref(), Path::new(OWN_PROGRAM), &runner.docker, &cancel).await {
        Ok(abra) if abra.is_built_in() => Row::warn(
            "abra",
            format!("{}, built in", abra.version),
            "set `runner.abra` to the real one, as the appliance does",
        ),
        Ok(abra) => Row::ok("abra", format!("{}, {}", abra.version, abra.place())),
        Err(unfit) => Row::failed("abra", unfit.to_string(), "set `runner.abra` to an abra that cc-ci knows"),
    }
}
