//! The images that ran in a run's deployments, as its evidence keeps them: what two runs are compared by, besides their stages.

use std::path::Path;

use rusqlite::Connection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence;
use crate::model::RunId;
use crate::store::{StoreError, evidence as kept};

/// What a service ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// `head`, or `base` of the upgrade.
    pub deployment: String,
    pub service: String,
    /// As the recipe names it.
    pub image: String,
    /// Which content that was: `name@sha256:…`, none where it was built here.
    pub digests: Vec<String>,
}

#[derive(Deserialize)]
struct Kept {
    service: String,
    image: String,
    digests: Vec<String>,
}

impl Image {
    /// The first twelve digits of its content.
    pub fn short_digest(&self) -> Option<&str> {
        let (_, digest) = self.digests.first()?.split_once("sha256:")?;
        digest.get(..12)
    }
}

/// All of a run, the head's first. What retention took or nobody can read is not there.
pub fn of_run(db: &Connection, evidence: &Path, run: RunId) -> Result<Vec<Image>, StoreError> {
    let mut images = Vec::new();
    for deployment in ["head", "base"] {
        let Some(piece) = kept::by_name(db, run, &format!("images.{deployment}.json"))? else { continue };
        let text = std::fs::read(evidence::dir(evidence, run).join(&piece.name)).unwrap_or_default();
        let found: Vec<Kept> = serde_json::from_slice(&text).unwrap_or_default();
        images.extend(found.into_iter().map(|Kept { service, image, digests }| Image {
            deployment: deployment.to_owned(),
            service,
            image,
            digests,
        }));
    }
    Ok(images)
}

/// The same service of the same deployment, on both sides.
pub fn beside<'a>(first: &'a [Image], second: &'a [Image]) -> Vec<[Option<&'a Image>; 2]> {
    let same = |one: &Image, other: &Image| (&one.deployment, &one.service) == (&other.deployment, &other.service);
    let both = first.iter().map(|image| [Some(image), second.iter().find(|other| same(image, other))]);
    let only_second = second.iter().filter(|image| !first.iter().any(|other| same(image, other)));
    both.chain(only_second.map(|image| [None, Some(image)])).collect()
}
