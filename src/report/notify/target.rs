//! One target of the configuration, with its secret read and its connection prepared.

use std::path::PathBuf;
use std::time::Duration;

use super::mail::Mail;
use super::matrix::Matrix;
use super::message::Message;
use super::webhook::Webhook;
use crate::config::notify as config;
use crate::secrets::redact::Redactor;
use crate::secrets::{self, Secret, SecretFileError};

/// Where notices go.
pub struct Target {
    name: String,
    way: Way,
}

enum Way {
    Webhook(Webhook),
    Matrix(Matrix),
    Mail(Mail),
}

/// Why a target cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("`notify`: `{target}`")]
    Secret {
        target: String,
        #[source]
        source: SecretFileError,
    },
    #[error("`notify`: `{target}`: {what}")]
    Wrong { target: String, what: String },
    #[error("`notify`: `{target}`: {path} cannot be read", path = path.display())]
    Unreadable {
        target: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Why a message did not get there, for the operator, and when to try again at the earliest where the other side said so.
#[derive(Debug)]
pub struct NotSent {
    pub why: String,
    pub after: Option<Duration>,
}

impl NotSent {
    pub(super) fn because(why: impl Into<String>) -> NotSent {
        NotSent { why: why.into(), after: None }
    }
}

impl Target {
    /// Reads the target's secret, which `redactor` masks from then on.
    pub fn open(configured: &config::Target, redactor: &Redactor) -> Result<Target, TargetError> {
        let name = configured.name.clone();
        let secret = |what: &str, path: &std::path::Path| -> Result<Secret, TargetError> {
            let secret =
                secrets::read_file(path).map_err(|source| TargetError::Secret { target: name.clone(), source })?;
            redactor.register(&format!("{what} of {name}"), &secret);
            Ok(secret)
        };
        let wrong = |what: String| TargetError::Wrong { target: name.clone(), what };
        let way = match (&configured.webhook, &configured.matrix, &configured.mail) {
            (Some(webhook), ..) => {
                let secret = secret("webhook secret", &webhook.secret_file)?;
                Way::Webhook(Webhook::new(&webhook.url, secret).map_err(wrong)?)
            }
            (_, Some(matrix), _) => {
                let token = secret("Matrix token", &matrix.token_file)?;
                Way::Matrix(Matrix::new(matrix, &name, &token).map_err(wrong)?)
            }
            (_, _, Some(mail)) => {
                let password = mail.password_file.as_deref().map(|path| secret("mail password", path)).transpose()?;
                let authority = mail.ca_file.as_deref().map(|path| {
                    crate::given::read(path).map_err(|source| TargetError::Unreadable {
                        target: name.clone(),
                        path: path.into(),
                        source,
                    })
                });
                Way::Mail(Mail::new(mail, password.as_ref(), authority.transpose()?.as_deref()).map_err(wrong)?)
            }
            (None, None, None) => return Err(wrong("needs one of `webhook`, `matrix` and `mail`".into())),
        };
        Ok(Target { name, way })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// One attempt.
    pub async fn send(&self, message: &Message) -> Result<(), NotSent> {
        match &self.way {
            Way::Webhook(webhook) => webhook.send(message).await,
            Way::Matrix(matrix) => matrix.send(message).await,
            Way::Mail(mail) => mail.send(message).await,
        }
    }
}
