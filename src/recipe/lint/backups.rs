//! What the backup labels come to.

use super::{Findings, shown};
use crate::recipe::Said;

pub(super) fn look(said: &Said, found: &mut Findings) {
    let services = said.compose.services();
    let volumes: Vec<_> = said.compose.volumes().into_iter().filter(|volume| !volume.is_external()).collect();
    let is_volume = |name: &str| said.compose.volumes().iter().any(|volume| volume.key == name);
    let mut enabled = 0;
    for service in &services {
        for (key, value) in service.labels() {
            let place = said.compose.place(key.span);
            match key.as_str().unwrap_or_default() {
                "backupbot.backup" if matches!(value.as_str(), Some("true" | "True" | "1")) => {
                    enabled += 1;
                    if enabled > 1 {
                        let message = format!("`backupbot.backup` is on a second service, `{}`", service.name);
                        found.warn("backup-labels", place, message, "leave it on the main service alone");
                    }
                }
                "backupbot.backup.path" => {
                    let message = "`backupbot.backup.path` is of the first version of the backup labels: it is honoured, and only these paths of this service are kept";
                    let cure = "say `backupbot.backup.volumes.<volume>.path`, from the root of the volume";
                    found.warn("backup-labels", place, message, cure);
                }
                "backupbot.backup.command" => {
                    let message = "nothing comes of `backupbot.backup.command` in either version of the backup labels";
                    found.warn("backup-labels", place, message, "say `backupbot.backup.pre-hook`");
                }
                key => match backup_label(key) {
                    BackupLabel::Volume(name) if !is_volume(name) => {
                        let message = format!("`{}` names a volume that the recipe does not have", shown(key));
                        found.warn("backup-labels", place, message, "name it as the compose file's `volumes:` does");
                    }
                    BackupLabel::Unknown => {
                        let message = format!("`{}` is no label of the backup specification", shown(key));
                        let cure = "the specification has `backup`, `backup.volumes.<volume>`, and hooks named `pre-hook` and `post-hook`";
                        found.warn("backup-labels", place, message, cure);
                    }
                    BackupLabel::Volume(_) | BackupLabel::Known => {}
                },
            }
        }
    }
    if let (0, Some(volume)) = (enabled, volumes.first()) {
        let message = "there are volumes and no backup label, so nothing is backed up";
        found.warn("backup-labels", said.compose.place(volume.span), message, "add `backupbot.backup=true` to `app`");
    }
}

/// What the backup specification, version 2, makes of a label; other people's labels are known.
enum BackupLabel<'a> {
    Known,
    Volume(&'a str),
    Unknown,
}

fn backup_label(key: &str) -> BackupLabel<'_> {
    let Some(own) = key.strip_prefix("backupbot.") else { return BackupLabel::Known };
    if let Some(volume) = own.strip_prefix("backup.volumes.") {
        return BackupLabel::Volume(volume.strip_suffix(".path").unwrap_or(volume));
    }
    match own {
        "backup" | "restore" | "backup.pre-hook" | "backup.post-hook" | "restore.pre-hook" | "restore.post-hook" => {
            BackupLabel::Known
        }
        _ => BackupLabel::Unknown,
    }
}
