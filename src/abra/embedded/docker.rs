//! Docker, by its command line: what stacks need, in forms that the client of 20.10 has.

use std::collections::BTreeMap;

use super::{Done, Fatal, programs};

/// A service of a stack, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// With the stack's name before it.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub image: String,
    pub created: String,
    pub update_state: Option<String>,
    /// Tasks it wants; nothing for a global one.
    pub replicas: Option<u64>,
    pub max_attempts: Option<u64>,
}

pub(super) fn docker(args: &[&str], stdin: Option<&[u8]>) -> Result<programs::Output, Fatal> {
    programs::run("docker", args, None, stdin)
}

fn namespace(stack: &str) -> String {
    format!("label=com.docker.stack.namespace={stack}")
}

/// The services of a stack; none means that it is not deployed.
pub(super) fn services(stack: &str) -> Result<Vec<Service>, Fatal> {
    let ids = docker(&["service", "ls", "--quiet", "--filter", &namespace(stack)], None)?.done("docker service ls")?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let args: Vec<&str> = ["service", "inspect"].into_iter().chain(ids).collect();
    let output = docker(&args, None)?;
    // One that went away in between is told on standard error; the others are in the answer all the same.
    let all: Vec<serde_json::Value> = serde_json::from_str(&output.stdout)
        .map_err(|_| Fatal(format!("docker service inspect: {}", output.complaint())))?;
    Ok(all.iter().map(service).collect())
}

fn service(value: &serde_json::Value) -> Service {
    let text = |path: &str| value.pointer(path).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let labels = value.pointer("/Spec/Labels").and_then(|labels| labels.as_object()).into_iter().flatten();
    let replicated = value.pointer("/Spec/Mode/Replicated/Replicas").and_then(serde_json::Value::as_u64);
    Service {
        name: text("/Spec/Name"),
        labels: labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
        image: text("/Spec/TaskTemplate/ContainerSpec/Image"),
        created: text("/CreatedAt"),
        update_state: value.pointer("/UpdateStatus/State").and_then(|state| state.as_str()).map(str::to_owned),
        replicas: replicated,
        max_attempts: value.pointer("/Spec/TaskTemplate/RestartPolicy/MaxAttempts").and_then(serde_json::Value::as_u64),
    }
}

/// Deploys a rendered file, unused services left as they are, digests asked for.
pub(super) fn stack_deploy(stack: &str, rendered: &str) -> Done {
    let mut args = vec!["stack", "deploy", "--compose-file", "-", "--resolve-image", "always"];
    // Nodes pull in the name of whoever deploys; where nobody is logged in there is nothing to hand on.
    if std::env::var_os("DOCKER_CONFIG").is_some() {
        args.push("--with-registry-auth");
    }
    args.push(stack);
    let output = docker(&args, Some(rendered.as_bytes()))?;
    output.done("failed to deploy the stack")?;
    Ok(())
}

pub(super) fn stack_rm(stack: &str) -> Done {
    docker(&["stack", "rm", stack], None)?.done("failed to remove the stack")?;
    Ok(())
}

pub(super) fn secret_names() -> Result<Vec<String>, Fatal> {
    let text = docker(&["secret", "ls", "--format", "{{.Name}}"], None)?.done("docker secret ls")?;
    Ok(text.lines().map(str::to_owned).collect())
}

pub(super) fn secret_create(name: &str, value: &[u8]) -> Done {
    docker(&["secret", "create", name, "-"], Some(value))?.done(&format!("failed to store secret {name}"))?;
    Ok(())
}

pub(super) fn secret_rm(name: &str) -> Done {
    docker(&["secret", "rm", name], None)?.done(&format!("failed to remove secret {name}"))?;
    Ok(())
}

pub(super) fn volumes(stack: &str) -> Result<Vec<String>, Fatal> {
    let args = ["volume", "ls", "--quiet", "--filter", &namespace(stack)];
    let text = docker(&args, None)?.done("docker volume ls")?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Removes a volume; what Docker says if it will not.
pub(super) fn volume_rm(name: &str) -> Result<Result<(), String>, Fatal> {
    let output = docker(&["volume", "rm", name], None)?;
    Ok(if output.ok { Ok(()) } else { Err(output.complaint()) })
}

/// A task: its service, what it should be and what it is.
#[derive(Debug)]
pub(super) struct Task {
    pub service: String,
    pub wanted: String,
    pub state: String,
    pub error: String,
}

/// The tasks of a stack, those that ended included.
pub(super) fn tasks(stack: &str) -> Result<Vec<Task>, Fatal> {
    let format = "{{.Name}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}";
    let output = docker(&["stack", "ps", "--no-trunc", "--format", format, stack], None)?;
    if !output.ok && output.stderr.contains("othing found in stack") {
        return Ok(Vec::new());
    }
    let text = output.done("docker stack ps")?;
    Ok(text.lines().filter_map(task).collect())
}

fn task(line: &str) -> Option<Task> {
    let mut fields = line.split('\t');
    let (name, wanted, state) = (fields.next()?, fields.next()?, fields.next()?);
    let service = name.trim_start_matches([' ', '\\', '_']).rsplit_once('.').map_or(name, |(service, _)| service);
    Some(Task {
        service: service.to_owned(),
        wanted: wanted.to_lowercase(),
        state: state.split(' ').next().unwrap_or_default().to_lowercase(),
        error: fields.next().unwrap_or_default().to_owned(),
    })
}

/// What a container of a service shows, by the service's name.
pub(super) fn containers(stack: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, Fatal> {
    let format =
        "{{.Label \"com.docker.swarm.service.name\"}}\t{{.CreatedAt}}\t{{.Image}}\t{{.Ports}}\t{{.State}}\t{{.Status}}";
    let args = ["ps", "--no-trunc", "--filter", &namespace(stack), "--format", format];
    let text = docker(&args, None)?.done("docker ps")?;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let Some(service) = fields.next() else { continue };
        let names = ["created", "image", "ports", "state", "status"];
        let shown = names.into_iter().map(|name| (name.to_owned(), fields.next().unwrap_or_default().to_owned()));
        // Newest first: the first one is the one that counts.
        found.entry(service.to_owned()).or_insert_with(|| shown.collect());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read_from_dockers_table() {
        let line = r"st_app.1	Running	Running 5 seconds ago	";
        let now = task(line).unwrap();
        assert_eq!((now.service.as_str(), now.wanted.as_str(), now.state.as_str()), ("st_app", "running", "running"));
        let old = task(r" \_ st_app.1	Shutdown	Failed 6 seconds ago	task: non-zero exit (1)").unwrap();
        assert_eq!((old.service.as_str(), old.state.as_str()), ("st_app", "failed"));
        assert_eq!(old.error, "task: non-zero exit (1)");
        let global = task("st_agent.n1u4	Running	Preparing 1 second ago	");
        assert_eq!(global.unwrap().service, "st_agent");
    }
}
