//! Real applications, each in two real versions, with what the appliance ships about their recipes: a whole test passes, and one
//! thing that is wrong with each is red where it is wrong, for the reason that it is wrong.
//!
//! `scripts/test --long` makes the images (`scripts/real-images`) and runs them. `cargo test --test stories real_apps -- --ignored`
//! runs them where the images are there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::*;

/// For a whole test of the slowest, on a machine that has two cores and other work.
const WHOLE: Duration = Duration::from_secs(1200);

/// Of a recipe with a dump hook and a shipped script that plants, damages and looks.
const DUMPED: [(&str, &str); 8] = [
    ("upgrade", "-> base-seed"),
    ("upgrade", "-> kept-over-upgrade"),
    ("upgrade", "row in PostgreSQL of db after the upgrade"),
    ("backup", "snapshot holds backup.sql of volume db"),
    ("backup", "backup.sql of volume db holds the row in PostgreSQL of db"),
    ("backup", "-> damage"),
    ("backup", "-> kept-in-place"),
    ("backup", "-> kept-afresh"),
];

/// A house for one real application, as the appliance knows its recipe; `None`, with the reason printed, where its images are not.
async fn house_for(story: &str, recipe: &str) -> Option<House> {
    let images = images_of(recipe);
    assert!(!images.is_empty(), "the recipe of {recipe} names no image");
    if let Some(missing) = images.iter().find(|image| !docker::has_image(image)) {
        println!("SKIPPED {story}: {missing} is not on this machine; scripts/real-images {recipe} makes it");
        return None;
    }
    let house = House::open(story).await?;
    house.ships(recipe);
    Some(house)
}

/// What the compose files of a recipe in `tests/recipes/real` name.
fn images_of(recipe: &str) -> Vec<String> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes/real").join(recipe);
    let steps = std::fs::read_dir(dir).unwrap().map(|step| step.unwrap().path().join("compose.yml"));
    let texts = steps.filter_map(|file| std::fs::read_to_string(file).ok());
    let image = |line: &str| line.trim().strip_prefix("image: ").map(str::to_owned);
    texts.flat_map(|text| text.lines().filter_map(image).collect::<Vec<_>>()).collect()
}

fn real(recipe: &str) -> Fixture {
    Fixture::named(&format!("real/{recipe}")).in_repository(recipe)
}

/// A run as data, with claims about it; on its way out it says how long each stage took.
struct Run(Value);

impl Run {
    async fn of(house: &House, recipe: &str, change: Fixture, ask: &str) -> Run {
        house.pull_request(change).await.says(MEMBER, ask).await;
        let run = Run(house.result_within(recipe, WHOLE).await);
        run.tell(recipe);
        run
    }

    fn tell(&self, recipe: &str) {
        let outcome = self.0["outcome"].as_str().unwrap_or_default();
        println!("{recipe}: {outcome} {}", self.0["reason"].as_str().unwrap_or_default());
        for stage in self.0["stages"].as_array().unwrap() {
            let at = |key: &str| stage[key].as_str().and_then(cc_ci::clock::Time::parse);
            let took = at("started_at").zip(at("finished_at")).map(|(from, to)| to.since(from));
            let took = took.map_or_else(String::new, |took| format!("{:.1} s", took.as_secs_f64()));
            let word = |key: &str| stage[key].as_str().unwrap_or_default();
            println!("  {:10} {:14} {took:>8}  {}", word("name"), word("state"), word("reason"));
        }
    }

    fn checks(&self) -> BTreeMap<(&str, &str), &Value> {
        let all = self.0["checks"].as_array().unwrap().iter();
        all.map(|check| ((check["stage"].as_str().unwrap(), check["name"].as_str().unwrap()), check)).collect()
    }

    /// All stages green, and each of these checks was made and passed: `-> JOB` is one of the shipped script.
    fn passed_with(&self, script: &str, wanted: &[(&str, &str)]) {
        for stage in self.0["stages"].as_array().unwrap() {
            assert_eq!(stage["state"], "passed", "{stage:#}\n{:#}", self.0["checks"]);
        }
        assert_eq!(self.0["outcome"], "passed");
        let checks = self.checks();
        for (stage, name) in wanted {
            let own = name.strip_prefix("-> ");
            let is_it = |at: &&(&str, &str)| match own {
                Some(job) => at.0 == *stage && at.1.ends_with(&format!("{script} {job}")),
                None => at == &&(*stage, *name),
            };
            let found = checks.keys().find(is_it);
            let found = found.unwrap_or_else(|| panic!("no check `{name}` of {stage} in {:#?}", checks.keys()));
            assert_eq!(checks[found]["state"], "passed", "{:#}", checks[found]);
        }
    }

    /// Red in this stage, with these words; the stages before it are green, and nothing was left behind.
    fn failed_at(&self, stage: &str, words: &str) {
        assert_eq!(self.0["outcome"], "failed", "{:#}", self.0);
        let reason = self.0["reason"].as_str().unwrap();
        assert!(reason.contains(words), "expected words `{words}`, got `{reason}`\n{:#}", self.0["checks"]);
        let stages = self.0["stages"].as_array().unwrap();
        let red: Vec<&str> = stages
            .iter()
            .filter(|stage| !matches!(stage["state"].as_str(), Some("passed" | "skipped")))
            .map(|stage| stage["name"].as_str().unwrap())
            .collect();
        assert_eq!(red, [stage], "{stages:#?}");
    }
}

/// The upgrade is over some forty releases, and changes the schema of a database in use.
#[tokio::test]
#[ignore = "part of scripts/test --long"]
async fn a_matrix_server_keeps_rooms_pictures_and_its_key() {
    let Some(house) = house_for("real_matrix_synapse", "matrix-synapse").await else { return };
    let run = Run::of(&house, "matrix-synapse", real("matrix-synapse"), "!testme").await;
    run.passed_with("room.lua", &DUMPED);
    house.is_empty().await;
}

/// The hook exits with 0 and writes a file: of a database in which nothing is.
#[tokio::test]
#[ignore = "part of scripts/test --long"]
async fn a_dump_of_the_wrong_database_is_red() {
    let Some(house) = house_for("real_matrix_synapse_dump", "matrix-synapse").await else { return };
    let wrong =
        real("matrix-synapse").replace("pg_backup.sh", "-d \"$POSTGRES_DB\" >\"$file\"", "-d postgres >\"$file\"");
    let run = Run::of(&house, "matrix-synapse", wrong, "!testme backup").await;
    run.failed_at("backup", "does not hold what was written to db");
    house.is_empty().await;
}

/// The upgrade is over a major release and its changes of the schema.
#[tokio::test]
#[ignore = "part of scripts/test --long"]
async fn single_sign_on_keeps_realms_users_and_keys() {
    let Some(house) = house_for("real_keycloak", "keycloak").await else { return };
    let run = Run::of(&house, "keycloak", real("keycloak"), "!testme").await;
    run.passed_with("realm.fnl", &DUMPED);
    house.is_empty().await;
}

/// The new version starts well, answers well, and goes by a database of its own, since a variable lost its name: what everybody had
/// is as it was, and nobody can sign on. A row in the old database would never know.
#[tokio::test]
#[ignore = "part of scripts/test --long"]
async fn an_upgrade_that_looks_elsewhere_for_its_realms_is_red() {
    let Some(house) = house_for("real_keycloak_elsewhere", "keycloak").await else { return };
    // Only the head's script has the line.
    let elsewhere = real("keycloak").replace(
        "entrypoint.sh",
        "export KC_BOOTSTRAP",
        "unset KC_DB KC_DB_URL KC_DB_USERNAME\nexport KC_BOOTSTRAP",
    );
    let run = Run::of(&house, "keycloak", elsewhere, "!testme upgrade").await;
    run.failed_at("upgrade", "kept-over-upgrade");
    let checks = run.checks();
    assert_eq!(checks[&("upgrade", "row in PostgreSQL of db after the upgrade")]["state"], "passed");
    house.is_empty().await;
}
