//! Images that nothing names any more: what a pull of a newer one under the same name leaves. The only ones that are ever
//! removed; what has a name may be somebody's, and is wanted again by the next run.

use std::time::Duration;

use bollard::query_parameters as query;

use super::client::{Swarm, SwarmFault, ask, filter, gone_is_fine};
use crate::clock::Time;

/// Listing walks every layer, and removing waits for the disk.
const CALL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    pub id: String,
    pub created: Time,
    /// Bytes, with layers that others share.
    pub size: u64,
}

impl Swarm {
    /// Images without a name, oldest first.
    pub async fn dangling_images(&self) -> Result<Vec<Dangling>, SwarmFault> {
        let options = query::ListImagesOptions { filters: Some(filter("dangling", "true")), ..Default::default() };
        let found = ask("list images", CALL, self.docker.list_images(Some(options))).await?;
        let mut images: Vec<Dangling> = found
            .into_iter()
            .map(|image| Dangling {
                id: image.id,
                created: Time(image.created.saturating_mul(1000)),
                size: u64::try_from(image.size).unwrap_or(0),
            })
            .collect();
        images.sort_by_key(|image| image.created);
        Ok(images)
    }

    /// Never by force: one that a container uses stays. Says whether it went.
    pub async fn remove_image(&self, id: &str) -> Result<bool, SwarmFault> {
        let none = None::<query::RemoveImageOptions>;
        let removed = ask(format!("remove image {id}"), CALL, self.docker.remove_image(id, none, None)).await;
        match gone_is_fine(removed.map(drop)) {
            Ok(()) => Ok(true),
            Err(fault) if fault.is_conflict() => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}
