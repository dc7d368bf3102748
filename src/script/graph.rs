//! The jobs of all scripts as a graph: everything that is wrong with it is found together, before anything is deployed.

use std::collections::{BTreeMap, BTreeSet};

use super::Moment;
use super::wire::{Problem, Registered};

/// The most jobs of all scripts of one side.
pub(super) const MOST_JOBS: usize = 1000;
/// What to do when there are more.
pub(super) const FEWER: &str = "put several checks into one job";
const LONGEST_NAME: usize = 40;

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Moment(Moment),
    /// The number of another job in the graph.
    Job(usize),
}

/// A job that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which script.
    pub script: usize,
    /// Which of the script's jobs.
    pub index: usize,
    pub name: String,
    pub needs: Vec<Need>,
    pub file: String,
    pub line: usize,
}

/// Jobs, each after everything it needs, otherwise as the scripts have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    pub jobs: Vec<Job>,
}

/// Makes the graph of what the scripts registered, or says all that is wrong with it. A name is known in its own script only.
pub(super) fn plan(registered: &[Vec<Registered>]) -> Result<Graph, Vec<Problem>> {
    let count: usize = registered.iter().map(Vec::len).sum();
    if let (true, Some(first)) = (count > MOST_JOBS, registered.iter().flatten().next()) {
        let message = format!("{count} jobs are too many (at most {MOST_JOBS})");
        return Err(vec![problem(first, message, FEWER)]);
    }
    let mut problems = Vec::new();
    let mut graph = Graph::default();
    for (script, jobs) in registered.iter().enumerate() {
        let before = problems.len();
        check(jobs, &mut problems);
        if problems.len() == before {
            append(&mut graph, script, jobs);
        }
    }
    problems.sort();
    if problems.is_empty() { Ok(graph) } else { Err(problems) }
}

fn problem(job: &Registered, message: String, cure: impl Into<String>) -> Problem {
    Problem { file: job.file.clone(), line: job.line, message, cure: cure.into() }
}

/// A name as it is shown, whoever gave it.
fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(2 * LONGEST_NAME).flat_map(char::escape_debug).collect();
    if name.chars().nth(2 * LONGEST_NAME).is_some() {
        shown.push('…');
    }
    shown
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

fn check(jobs: &[Registered], problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<&str, &Registered> = BTreeMap::new();
    for job in jobs {
        let name = &job.name;
        if !is_name(name) {
            let message = format!("`{}` is not a job's name", shown(name));
            let cure =
                format!("use a letter, then letters, digits, `-` and `_`, all lower-case, at most {LONGEST_NAME}");
            problems.push(problem(job, message, cure));
        } else if name.parse::<Moment>().is_ok() {
            let message = format!("`{name}` is a moment of the run and cannot name a job");
            problems.push(problem(job, message, format!("call it `after-{name}`, for example")));
        }
        match first.get(name.as_str()) {
            Some(other) => {
                let message =
                    format!("there are two jobs called `{}`; the first is in line {}", shown(name), other.line);
                problems.push(problem(job, message, "give one of them another name"));
            }
            None => drop(first.insert(name, job)),
        }
    }
    for job in jobs {
        check_needs(job, &first, problems);
    }
    cycles(jobs, &first, problems);
}

fn check_needs(job: &Registered, known: &BTreeMap<&str, &Registered>, problems: &mut Vec<Problem>) {
    let name = shown(&job.name);
    if job.needs.is_empty() {
        let message = format!("job `{name}` needs nothing, so nothing would ever start it");
        problems.push(problem(job, message, "name the moment it runs at, such as `install`, or a job it comes after"));
    }
    let mut seen = BTreeSet::new();
    for need in &job.needs {
        if !seen.insert(need) {
            let message = format!("job `{name}` names its input `{}` twice", shown(need));
            problems.push(problem(job, message, "leave one of them out"));
        } else if need.parse::<Moment>().is_err() && !known.contains_key(need.as_str()) {
            let message =
                format!("job `{name}` needs `{}`, which is neither a job of this script nor a moment", shown(need));
            problems.push(problem(job, message, suggestion(need, known)));
        }
    }
}

fn suggestion(need: &str, known: &BTreeMap<&str, &Registered>) -> String {
    let moments = Moment::ALL.map(Moment::as_str);
    let close = known.keys().copied().chain(moments).map(|name| (strsim::damerau_levenshtein(need, name), name)).min();
    match close {
        Some((distance, name)) if distance <= 2 => format!("did you mean `{name}`?"),
        _ => format!("moments are {}", moments.join(", ")),
    }
}

/// Every cycle once, at its first job.
fn cycles(jobs: &[Registered], known: &BTreeMap<&str, &Registered>, problems: &mut Vec<Problem>) {
    let mut done = BTreeSet::new();
    for job in jobs {
        let mut path: Vec<&str> = Vec::new();
        walk(&job.name, known, &mut path, &mut done, problems);
    }
}

/// Depth first; what is `done` has been walked to its end. Depth is bounded by the number of jobs.
fn walk<'a>(
    name: &'a str,
    known: &BTreeMap<&'a str, &'a Registered>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    problems: &mut Vec<Problem>,
) {
    let Some(job) = known.get(name) else { return };
    if let Some(start) = path.iter().position(|&on_path| on_path == name) {
        let mut round = path[start..].to_vec();
        round.push(name);
        let round: Vec<String> = round.into_iter().map(shown).collect();
        let message = format!("jobs wait for each other: {}", round.join(" → "));
        problems.push(problem(job, message, "let one of them need a moment instead"));
        return;
    }
    if done.contains(name) {
        return;
    }
    path.push(name);
    for need in &job.needs {
        walk(need, known, path, done, problems);
    }
    path.pop();
    done.insert(name);
}

/// Adds a script without fault, each job after what it needs.
fn append(graph: &mut Graph, script: usize, jobs: &[Registered]) {
    let mut placed: BTreeMap<&str, usize> = BTreeMap::new();
    while placed.len() < jobs.len() {
        let before = placed.len();
        for (index, job) in jobs.iter().enumerate() {
            let needs: Option<Vec<Need>> = job
                .needs
                .iter()
                .map(|need| match need.parse() {
                    Ok(moment) => Some(Need::Moment(moment)),
                    Err(_) => placed.get(need.as_str()).map(|&job| Need::Job(job)),
                })
                .collect();
            let Some(needs) = needs.filter(|_| !placed.contains_key(job.name.as_str())) else { continue };
            placed.insert(&job.name, graph.jobs.len());
            let (name, file) = (job.name.clone(), job.file.clone());
            graph.jobs.push(Job { script, index, name, needs, file, line: job.line });
        }
        if placed.len() == before {
            return; // Cannot be: no cycle, nothing unknown.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn script(jobs: &[(&str, &[&str])]) -> Vec<Registered> {
        let job = |(line, (name, needs)): (usize, &(&str, &[&str]))| Registered {
            name: (*name).into(),
            needs: needs.iter().map(|&need| need.into()).collect(),
            file: "a.lua".into(),
            line: line + 1,
        };
        jobs.iter().enumerate().map(job).collect()
    }

    fn said(jobs: &[(&str, &[&str])]) -> Vec<String> {
        plan(&[script(jobs)]).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn jobs_come_after_what_they_need() {
        let jobs = script(&[("alive", &["upgrade", "seed"]), ("seed", &["base"]), ("page", &["install"])]);
        let graph = plan(&[jobs.clone(), jobs]).unwrap();
        let names: Vec<_> = graph.jobs.iter().map(|job| (job.script, job.name.as_str())).collect();
        assert_eq!(names, [(0, "seed"), (0, "page"), (0, "alive"), (1, "seed"), (1, "page"), (1, "alive")]);
        assert_eq!(graph.jobs[2].needs, [Need::Moment(Moment::Upgrade), Need::Job(0)]);
        assert_eq!(graph.jobs[5].needs, [Need::Moment(Moment::Upgrade), Need::Job(3)]);
        assert_eq!(graph.jobs[2].index, 0);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_and_with_the_cure() {
        let wrong = said(&[
            ("a", &["install", "b"]),
            ("b", &["c"]),
            ("c", &["a"]),
            ("Bad Name", &["install"]),
            ("a", &["install"]),
            ("lonely", &[]),
            ("typo", &["instal"]),
            ("stranger", &["nowhere"]),
            ("upgrade", &["install"]),
            ("twice", &["install", "install"]),
            ("own", &["own"]),
        ]);
        assert_eq!(
            wrong,
            [
                "a.lua:1: jobs wait for each other: a → b → c → a; let one of them need a moment instead",
                "a.lua:4: `Bad Name` is not a job's name; use a letter, then letters, digits, `-` and `_`, all lower-case, at most 40",
                "a.lua:5: there are two jobs called `a`; the first is in line 1; give one of them another name",
                "a.lua:6: job `lonely` needs nothing, so nothing would ever start it; name the moment it runs at, such as `install`, or a job it comes after",
                "a.lua:7: job `typo` needs `instal`, which is neither a job of this script nor a moment; did you mean `install`?",
                "a.lua:8: job `stranger` needs `nowhere`, which is neither a job of this script nor a moment; moments are needs, install, base, upgrade, backup, in-place, restore",
                "a.lua:9: `upgrade` is a moment of the run and cannot name a job; call it `after-upgrade`, for example",
                "a.lua:10: job `twice` names its input `install` twice; leave one of them out",
                "a.lua:11: jobs wait for each other: own → own; let one of them need a moment instead",
            ]
        );
        let long = "x".repeat(100_000);
        assert!(said(&[(&long, &[&long, &long])]).iter().all(|line| line.len() < 400));
    }

    proptest! {
        /// Whatever is registered, it is either refused with places, or every job comes once and after its inputs.
        #[test]
        fn a_graph_is_refused_or_in_order(edges in prop::collection::vec((0usize..12, 0usize..12), 0..40)) {
            let names: Vec<String> = (0..12).map(|i| format!("j{i}")).collect();
            let mut jobs: Vec<Registered> = names.iter().enumerate().map(|(line, name)| Registered {
                name: name.clone(), needs: vec!["install".into()], file: "x".into(), line,
            }).collect();
            for (from, to) in edges {
                if !jobs[from].needs.contains(&names[to]) {
                    jobs[from].needs.push(names[to].clone());
                }
            }
            match plan(&[jobs]) {
                Ok(graph) => {
                    prop_assert_eq!(graph.jobs.len(), 12);
                    for (place, job) in graph.jobs.iter().enumerate() {
                        for need in &job.needs {
                            if let Need::Job(other) = need { prop_assert!(*other < place) }
                        }
                    }
                }
                Err(problems) => prop_assert!(problems.iter().all(|one| one.message.contains("wait for each other"))),
            }
        }
    }
}
