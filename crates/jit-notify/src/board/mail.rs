//! E-mail, handed to a relay over TLS (RFC 8314), which signs it.
//!
//! Plain text only. The subject has the title of a card, which holds no reason; no header holds a line feed, because a
//! [`Text`](crate::text::Text) has none. The `Message-ID` follows from the grant and the words, so that a repeat has the same
//! one, and what follows on a message refers to it (RFC 5322, 3.6.4). No answer is read.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Letter, Tokio1Executor};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::{Action, Message, head};
use crate::outcome::Outcome;
use crate::text::{Room, Text};
use jit_host::secret::Secret;

/// A list of addresses behind a relay.
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    password: Option<Secret>,
}

/// How a relay is reached.
#[derive(Debug)]
pub struct Relay {
    /// Its name, which its certificate has.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// The user and the password.
    pub login: Option<(String, Secret)>,
}

/// How a connection to a relay is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte, usually port 465.
    Tls,
    /// `STARTTLS` before anything else, usually port 587.
    StartTls,
    /// None, to this host only.
    Loopback,
}

/// For each step of the conversation.
const A_STEP: Duration = Duration::from_secs(15);

/// For all of it.
const WHOLE: Duration = Duration::from_secs(60);

/// In characters; mail programs show fewer.
const LONGEST_SUBJECT: usize = 200;

impl Mail {
    /// A message may be long, but nobody reads more.
    pub(super) const ROOM: Room = Room { each: 8_000, all: 32_000, line: 3, weight: |_| 1 };

    /// Letters from one address to some others; `authorities` are trusted in addition to those of the host.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the key's name. It contains no secret.
    pub fn new(relay: Relay, from: &str, to: &[String], authorities: &[CertificateDer<'_>]) -> Result<Self, String> {
        let Relay { host, port, security, login } = relay;
        let from = mailbox(from).map_err(|why| format!("from {why}"))?;
        let to = to.iter().map(|to| mailbox(to).map_err(|why| format!("to {why}"))).collect::<Result<_, _>>()?;
        let tls = match security {
            Security::Loopback if is_loopback(&host) => Tls::None,
            Security::Loopback => return Err("relay needs `tls` or `starttls`, because it is another host".to_owned()),
            Security::Tls => Tls::Wrapper(parameters(&host, authorities)?),
            Security::StartTls => Tls::Required(parameters(&host, authorities)?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .timeout(Some(A_STEP))
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        let mut password = None;
        if let Some((user, secret)) = login {
            transport = transport.credentials(Credentials::new(user, secret.expose().to_owned()));
            password = Some(secret);
        }
        Ok(Self { transport: transport.build(), from, to, password })
    }

    pub(super) async fn perform(
        &self,
        action: &Action,
        message: &Message,
        person: Option<&str>,
        now: Timestamp,
    ) -> Outcome {
        let first = match action {
            Action::Reply { remote } => remote.as_deref(),
            Action::Nothing | Action::Post | Action::Update { .. } => None,
        };
        let (letter, id) = match self.letter(message, first, person, now) {
            Ok(made) => made,
            Err(why) => return Outcome::Refused { why },
        };
        let outcome = match timeout(WHOLE, self.transport.send(letter)).await {
            Ok(Ok(_)) => Outcome::Delivered { remote: Some(id) },
            Ok(Err(error)) if error.is_permanent() => Outcome::Refused { why: said(&error) },
            Ok(Err(error)) => Outcome::Later { after: None, why: said(&error) },
            Err(_) => {
                let why = format!("the relay did not take the letter within {} s", WHOLE.as_secs());
                Outcome::Later { after: None, why }
            }
        };
        match &self.password {
            Some(password) => super::call::without(outcome, password),
            None => outcome,
        }
    }

    /// The letter and its `Message-ID`.
    fn letter(
        &self,
        message: &Message,
        first: Option<&str>,
        person: Option<&str>,
        now: Timestamp,
    ) -> Result<(Letter, String), String> {
        let card = &message.wanted.card;
        let domain = self.from.email.domain();
        let id = match first {
            None => format!("<{}@{domain}>", message.key),
            Some(_) => format!("<{}.{}@{domain}>", message.key, head(&card.sha256())),
        };
        let title = Text::new(&format!("[jitd] {}", card.title())).within(LONGEST_SUBJECT, |_| 1);
        let mut letter = Letter::builder()
            .from(self.from.clone())
            .date(SystemTime::from(now))
            .message_id(Some(id.clone()))
            .subject(title.as_str())
            // RFC 3834: a vacation responder does not answer; and what Exchange looks for.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("X-Auto-Response-Suppress"), "All".to_owned()))
            // RFC 2919: what people filter by.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("List-Id"), format!("<jitd.{domain}>")));
        letter = match person {
            Some(person) => letter.to(mailbox(person).map_err(|why| format!("the person's address {why}"))?),
            None => self.to.iter().cloned().fold(letter, lettre::message::MessageBuilder::to),
        };
        if let Some(first) = first {
            letter = letter.in_reply_to(first.to_owned()).references(first.to_owned());
        }
        // Base64, so that no relay changes what people read: no line is long, and none begins with a full stop or `From`.
        let text = card.plain().replace('\n', "\r\n");
        let part =
            SinglePart::builder().header(ContentType::TEXT_PLAIN).header(ContentTransferEncoding::Base64).body(text);
        let letter = letter.singlepart(part).map_err(|error| format!("the letter cannot be written: {error}"))?;
        Ok((letter, first.map_or(id, str::to_owned)))
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

fn parameters(host: &str, authorities: &[CertificateDer<'_>]) -> Result<TlsParameters, String> {
    let failed = |error: &dyn fmt::Display| format!("relay cannot be verified: {error}");
    let mut builder = TlsParameters::builder(host.to_owned());
    for authority in authorities {
        let certificate = Certificate::from_der(authority.to_vec()).map_err(|error| failed(&error))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| failed(&error))
}

fn mailbox(address: &str) -> Result<Mailbox, String> {
    address.parse().map_err(|_| "must be an address like jitd@example.com".to_owned())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What a relay says, safe in a log.
fn said(error: &lettre::transport::smtp::Error) -> String {
    let text: String = error.to_string().chars().flat_map(char::escape_default).collect();
    Text::new(&text).within(300, |_| 1).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::board) fn mail() -> Mail {
        let relay = Relay { host: "127.0.0.1".to_owned(), port: 25, security: Security::Loopback, login: None };
        Mail::new(relay, "jitd <jitd@example.com>", &["leads@example.com".to_owned()], &[]).unwrap()
    }

    /// A question and its reply, as they are sent.
    pub(in crate::board) fn letters(message: &Message, now: Timestamp) -> [String; 2] {
        [None, Some("<first@example.com>")].map(|first| {
            let (letter, _) = mail().letter(message, first, None, now).unwrap();
            String::from_utf8(letter.formatted()).unwrap()
        })
    }

    /// Without TLS only this host is spoken to.
    #[test]
    fn another_host_is_never_spoken_to_without_tls() {
        for (host, allowed) in
            [("127.0.0.1", true), ("::1", true), ("localhost", true), ("mail.example.com", false), ("10.0.0.1", false)]
        {
            let relay = Relay { host: host.to_owned(), port: 25, security: Security::Loopback, login: None };
            assert_eq!(Mail::new(relay, "jitd@example.com", &[], &[]).is_ok(), allowed, "{host}");
        }
        for address in ["", "a", "a@b\r\nBcc: c@d", "a@b, c@d"] {
            assert!(mailbox(address).is_err(), "{address:?}");
        }
    }
}
