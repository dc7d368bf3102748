//! Docker as it is, by its own program and not by our database.

use std::process::{Command, Output, Stdio};

/// Why nothing can be deployed here, if nothing can.
pub(crate) fn missing() -> Option<String> {
    let answer = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    match answer {
        Ok(answer) if answer.status.success() => None,
        Ok(answer) => Some(format!("no Docker engine answers: {}", String::from_utf8_lossy(&answer.stderr).trim())),
        Err(error) => Some(format!("there is no docker program: {error}")),
    }
}

pub(crate) fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).stdin(Stdio::null()).output().expect("docker was there a moment ago")
}

fn lines(arguments: &[&str]) -> Vec<String> {
    String::from_utf8_lossy(&docker(arguments).stdout).lines().map(str::to_owned).collect()
}

/// Whether an image is on this machine.
pub(crate) fn has_image(name: &str) -> bool {
    docker(&["image", "inspect", "--format", "-", name]).status.success()
}

/// Everything on this Swarm whose name has `mark` in it: `volume x_h3_ci_test_data`, ….
pub(crate) fn objects(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, list) in [
        ("service", &["service", "ls", "--format", "{{.Name}}"][..]),
        ("container", &["ps", "-a", "--format", "{{.Names}}"]),
        ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
        ("secret", &["secret", "ls", "--format", "{{.Name}}"]),
        ("config", &["config", "ls", "--format", "{{.Name}}"]),
        ("network", &["network", "ls", "--format", "{{.Name}}"]),
    ] {
        found.extend(lines(list).into_iter().filter(|name| name.contains(mark)).map(|name| format!("{kind} {name}")));
    }
    found
}

/// Makes a volume, a network, a secret or a config, as somebody else would.
pub(crate) fn make(kind: &str, name: &str, marks: &[&str]) {
    let labels: Vec<&str> = marks.iter().flat_map(|mark| ["--label", *mark]).collect();
    let end: &[&str] = match kind {
        "network" => &["--driver", "overlay", name],
        "volume" => &[name],
        "secret" | "config" => &[name, "-"],
        _ => panic!("{kind} is not made here"),
    };
    let mut command = Command::new("docker");
    command.args([kind, "create"]).args(labels).args(end).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("docker was there a moment ago");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"what is in it").unwrap();
    assert!(child.wait().unwrap().success(), "{kind} {name} could not be made");
}

/// Containers that run now.
pub(crate) fn running(mark: &str) -> Vec<String> {
    lines(&["ps", "--format", "{{.Names}}"]).into_iter().filter(|name| name.contains(mark)).collect()
}

/// What is left of a story that failed: removed as far as it goes, services first.
pub(crate) fn remove(mark: &str) {
    for _ in 0..20 {
        let left = objects(mark);
        if left.is_empty() {
            return;
        }
        for object in &left {
            let Some((kind, name)) = object.split_once(' ') else { continue };
            let force: &[&str] = match kind {
                "container" | "volume" => &["-f"],
                _ => &[],
            };
            docker(&[&[kind, "rm"][..], force, &[name]].concat());
        }
        // A removal that Swarm has yet to carry out ends with its containers.
        for container in running(mark) {
            docker(&["wait", &container]);
        }
    }
}
