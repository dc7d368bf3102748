//! Mail, handed to a server that delivers it. Its `Message-ID` is the same for each attempt.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::message::Message;
use super::target::NotSent;
use crate::config::notify as config;
use crate::secrets::Secret;

const ANSWER: Duration = Duration::from_secs(20);

pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// Nobody answers a machine's mail, least of all another machine (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<AutoSubmitted, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(AutoSubmitted::name(), "auto-generated".into())
    }
}

impl Mail {
    pub(super) fn new(
        mail: &config::Mail,
        password: Option<&Secret>,
        authority: Option<&[u8]>,
    ) -> Result<Mail, String> {
        let mailbox = |text: &String| text.parse().map_err(|error| format!("`{text}` is not a mail address ({error})"));
        let trust = || {
            let mut trust = TlsParameters::builder(mail.server.clone());
            if let Some(pem) = authority {
                let authority = Certificate::from_pem(pem).map_err(|error| format!("`ca_file`: {error}"))?;
                trust = trust.add_root_certificate(authority);
            }
            trust.build_rustls().map_err(|error| format!("TLS cannot be set up: {error}"))
        };
        let (tls, usual) = match mail.tls {
            config::Tls::Starttls => (Tls::Required(trust()?), 587),
            config::Tls::Implicit => (Tls::Wrapper(trust()?), 465),
            config::Tls::None => (Tls::None, 25),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.server)
            .port(mail.port.unwrap_or(usual))
            .tls(tls)
            .timeout(Some(ANSWER));
        if let (Some(user), Some(password)) = (&mail.user, password) {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        let to = mail.to.iter().map(mailbox).collect::<Result<_, _>>()?;
        Ok(Mail { transport: transport.build(), from: mailbox(&mail.from)?, to })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), NotSent> {
        let mail =
            self.letter(message).map_err(|error| NotSent::because(format!("the mail cannot be written: {error}")))?;
        self.transport.send(mail).await.map(drop).map_err(|error| NotSent::because(causes(&error)))
    }

    fn letter(&self, message: &Message) -> Result<lettre::Message, lettre::error::Error> {
        let written_at = UNIX_EPOCH + Duration::from_millis(u64::try_from(message.at.0).unwrap_or(0));
        let mut letter = lettre::Message::builder()
            .from(self.from.clone())
            .date(written_at)
            .message_id(Some(format!("<cc-ci-{}@{}>", message.id, self.from.email.domain())))
            .subject(format!("[cc-ci] {}", message.subject))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            letter = letter.to(to.clone());
        }
        letter.body(format!("{}\n", message.whole()))
    }
}

fn causes(error: &lettre::transport::smtp::Error) -> String {
    crate::engine::causes(error)
}
