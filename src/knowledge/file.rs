//! The file as people write it: `.cc-ci/recipe.yaml` in a recipe's repository and `recipes/<recipe>/recipe.yaml` on the
//! appliance. The JSON Schema is made of these types, so what an editor says is what the reader says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::compose::policy::Exception;
use crate::config;
use crate::model::RecipeName;

/// What cc-ci is told about one recipe. Everything may be left out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "recipe.yaml of cc-ci")]
pub struct RecipeFile {
    /// Variables of the app's `.env`, besides those of `.env.sample` and over them.
    pub env: BTreeMap<String, String>,
    /// Values of secrets that abra does not generate, each in a file of the appliance. On the appliance only.
    pub secrets: BTreeMap<String, SecretFile>,
    /// When the app is taken to be up.
    pub health: HealthFile,
    /// What has to be true of the app, besides the generic test; looked at after the install and again after the upgrade.
    pub checks: Vec<CheckFile>,
    /// Data that has to survive, besides the file in each volume and the row in each database that cc-ci writes by itself.
    pub markers: Vec<MarkerFile>,
    /// How long a deployment may take, in place of the recipe's own `timeout` label.
    pub timeout: Option<Span>,
    /// Stages that mean nothing to this recipe, each with the reason. Taken from the base branch.
    pub not_applicable: BTreeMap<Optional, String>,
    /// Why this recipe cannot be tested at all. Taken from the base branch.
    pub unsupported: Option<String>,
    /// More names of the app: the variable of `.env` that holds each, and the word that makes it. `SANDBOX_DOMAIN: sandbox`
    /// becomes `<app>-sandbox.<domain>`.
    pub hosts: BTreeMap<String, String>,
    /// Recipes of the same organisation that have to run beside it, at most three: deployed first in the same run, taken down
    /// last. Taken from the base branch.
    #[schemars(length(max = 3))]
    pub needs: Vec<NeedFile>,
    /// What of the policy does not hold for this recipe. On the appliance only.
    pub policy: Vec<Exception>,
}

/// Where a secret's value is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// A file on the appliance, as sops-nix makes it: `/run/secrets/recipes/smtp_password`.
    pub file: PathBuf,
}

/// When the app is taken to be up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthFile {
    /// The path that is asked for through the proxy; `/` where nothing is said.
    pub path: Option<String>,
    /// How long after every service runs it may take to answer.
    pub within: Option<Span>,
    /// The status that is good, in place of any 2xx.
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
}

/// One check. It says with one of `get`, `tcp`, `run`, `assets` or `login` what it looks at.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckFile {
    /// As results show it; no two checks of a file have the same.
    pub name: Option<String>,
    /// A path of the app, asked for by HTTPS through the proxy.
    pub get: Option<String>,
    /// A TCP port of a service that takes connections.
    #[schemars(range(min = 1))]
    pub tcp: Option<u16>,
    /// A command in a container, as a list of words; no shell takes them apart.
    pub run: Option<Vec<String>>,
    /// A page whose first stylesheet and first script have to load.
    pub assets: Option<String>,
    /// A form that is filled in with a browser.
    pub login: Option<Login>,
    /// `get`, `assets`, `login`: the variable in `hosts` whose name is asked, in place of the app's first one.
    pub host: Option<String>,
    /// `get`: the status of the answer; 2xx where nothing is said.
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// `get`: the page's title.
    pub title: Option<String>,
    /// `get`, `run`, `tcp`: what stands in the answer, in the output, in the first bytes that the port sends.
    pub contains: Option<String>,
    /// `get`: headers, and what stands in them.
    pub header: BTreeMap<String, String>,
    /// `get`: JSON pointers into the answer, and the values there: `{/status/ready: true}`.
    pub json: BTreeMap<String, serde_json::Value>,
    /// `get`: a redirect that leads to this path or address; it is not followed.
    pub redirect: Option<String>,
    /// `run`, `tcp`: the service, as the compose file calls it; `app` where nothing is said.
    pub service: Option<String>,
    /// `run`: the exit code; 0 where nothing is said.
    pub exit: Option<i64>,
    /// Looks again until it is true, for so long.
    pub until: Option<Span>,
}

/// A login form.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The path of the page with the form.
    pub at: String,
    /// Fields by their CSS selectors, and what goes into them.
    pub fill: BTreeMap<String, Field>,
    /// The selector of what is clicked then.
    pub press: String,
    /// The selector of what is there once it went well.
    pub see: String,
    /// What stands in it.
    #[serde(default)]
    pub contains: Option<String>,
}

/// What goes into a field.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(untagged, expecting = "needs text, or `{secret: NAME}`")]
pub enum Field {
    /// A secret of the app, as the compose file calls it, or of the appliance.
    #[schemars(extend("additionalProperties" = false))]
    Secret {
        secret: String,
    },
    Text(String),
}

/// A recipe that has to run beside this one: its name alone, or with what this one is told of it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(untagged, expecting = "a recipe's name goes here, or `{recipe: NAME, env: {VARIABLE: text}}`")]
pub enum NeedFile {
    Name(Name),
    Wired(Wired),
}

/// A needed recipe, and what the app is told of it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Wired {
    /// Its name, which is that of its repository.
    pub recipe: Name,
    /// Variables of the app's `.env`, with `{domain}` where the needed app's domain goes: `https://{domain}/realms/notes`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Secrets of the app, and which of the needed app's generated secrets each is. On the appliance only.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

/// Data that has to survive. It says with one of `file`, `row` or `put` what is written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MarkerFile {
    /// A file in a volume: the volume as the compose file calls it, then the path in it: `data/kept.txt`.
    pub file: Option<String>,
    /// A row in the database that this service is.
    pub row: Option<String>,
    /// An object that is sent to this path of the app by PUT.
    pub put: Option<String>,
    /// `put`: the path at which it is asked for by GET; that of `put` where nothing is said.
    pub get: Option<String>,
    /// `put`: what is sent, with `{value}` where the value goes that nobody else can have written; that alone where nothing is
    /// said.
    pub body: Option<String>,
    /// `put`: what stands in the answer, with `{value}` in it; that alone where nothing is said.
    pub contains: Option<String>,
    /// `put`: headers that go with all requests.
    pub header: BTreeMap<String, String>,
}

/// A stage that a recipe may have no use for.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Optional {
    Backup,
    Upgrade,
}

/// A span of time with its unit: `90s`, `15m`, `1h30m`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Span(#[serde(with = "config::span")] pub Duration);

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A span of time with its unit: `90s`, `15m`, `1h30m`.",
            "pattern": "^([0-9]+(ms|s|m|h|d))+$",
        })
    }
}

/// A recipe's name.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Name(pub RecipeName);

impl JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RecipeName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$" })
    }
}

/// The JSON Schema of the file, for editors. `docs/recipe.schema.json` is this.
pub fn schema() -> String {
    let schema = schemars::generate::SchemaSettings::draft07().into_generator().into_root_schema_for::<RecipeFile>();
    format!("{:#}\n", schema.as_value())
}
