//! Facts: events with their time and author, which the trail stores one per line.
//!
//! Only [`Author`] defines who can be an author. The JSON fields `by`, `login` and `operator` are parsed into it, and a
//! line with an impossible author is rejected.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::request::{Login, Person, PersonName};
use super::{Event, GrantId};

/// An event with its time and author, without its position in the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The time, by the daemon's clock.
    pub at: Timestamp,
    /// The grant; `None` for events of the daemon itself and for refused requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The author.
    #[serde(flatten)]
    pub author: Author,
    /// What happened.
    pub event: Event,
}

impl Fact {
    /// The name of the author, `root` for root on the admin socket; `None` for the daemon itself.
    #[must_use]
    pub fn by(&self) -> Option<&PersonName> {
        match &self.author {
            Author::Daemon => None,
            Author::Person { name, .. } => Some(name),
            Author::Operator(operator) => Some(&operator.name),
        }
    }

    /// The login of the person who did it; `None` if nobody logged in, in earlier trails, and for operators, who have a
    /// login of their own.
    #[must_use]
    pub fn login(&self) -> Option<&Login> {
        match &self.author {
            Author::Person { login, .. } => login.as_ref(),
            Author::Daemon | Author::Operator(_) => None,
        }
    }

    /// Whether it was done on the admin socket.
    #[must_use]
    pub fn is_by_operator(&self) -> bool {
        matches!(self.author, Author::Operator(_))
    }

    /// Whether this event, with this author, may be in the trail without a grant.
    #[must_use]
    pub fn is_of_the_daemon(&self) -> bool {
        match self.event {
            Event::Started { .. }
            | Event::PolicyLoaded { .. }
            | Event::Stopped
            | Event::RequestRefused(_)
            | Event::RefusalsCounted { .. } => true,
            Event::Drained { .. } | Event::Resumed | Event::ScanFinished(_) | Event::ScanFailed { .. } => {
                self.is_by_operator()
            }
            Event::Introduced { .. } => self.login().is_some_and(|login| login.identity().is_some()),
            Event::Linked { .. } => matches!(self.author, Author::Person { .. }),
            Event::LoggedOut(_) | Event::Notified { .. } => self.author == Author::Daemon,
            _ => false,
        }
    }
}

/// The author of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "AuthorFields", try_from = "AuthorFields")]
pub enum Author {
    /// The daemon itself.
    Daemon,
    /// A person.
    Person {
        /// The person's name.
        name: PersonName,
        /// The person's login.
        login: Option<Login>,
    },
    /// An operator, on the admin socket.
    Operator(Operator),
}

impl Author {
    /// The fact that this author caused `event` at `at`.
    #[must_use]
    pub fn fact(&self, at: Timestamp, grant: Option<GrantId>, event: Event) -> Fact {
        Fact { at, grant, author: self.clone(), event }
    }
}

impl From<&Person> for Author {
    fn from(by: &Person) -> Self {
        Self::Person { name: by.name.clone(), login: by.login.clone() }
    }
}

impl From<Option<&Person>> for Author {
    fn from(by: Option<&Person>) -> Self {
        by.map_or(Self::Daemon, Self::from)
    }
}

/// An operator of the daemon: root, who is not a person and may only end access, or a person in `admins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operator {
    /// The person, or `root`; no person has that name.
    pub name: PersonName,
    /// The account's uid.
    pub uid: u32,
    /// The login of the person, or of whoever became root; `None` if there was no login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// The JSON form of an author: three fields of the fact.
#[derive(Serialize, Deserialize)]
struct AuthorFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<PersonName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login: Option<Login>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operator: Option<Operator>,
}

impl From<Author> for AuthorFields {
    fn from(author: Author) -> Self {
        match author {
            Author::Daemon => Self { by: None, login: None, operator: None },
            Author::Person { name, login } => Self { by: Some(name), login, operator: None },
            Author::Operator(operator) => {
                Self { by: Some(operator.name.clone()), login: None, operator: Some(operator) }
            }
        }
    }
}

impl TryFrom<AuthorFields> for Author {
    type Error = &'static str;
    fn try_from(fields: AuthorFields) -> Result<Self, &'static str> {
        match fields {
            AuthorFields { by: None, login: None, operator: None } => Ok(Self::Daemon),
            AuthorFields { by: Some(name), login, operator: None } => Ok(Self::Person { name, login }),
            AuthorFields { by: Some(name), login: None, operator: Some(operator) } if name == operator.name => {
                Ok(Self::Operator(operator))
            }
            AuthorFields { by: None, login: Some(_), operator: None } => Err("`login` requires `by`"),
            AuthorFields { login: Some(_), operator: Some(_), .. } => Err("`login` and `operator` exclude each other"),
            AuthorFields { login: None, operator: Some(_), .. } => Err("`operator` and `by` name different people"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::login::Flow;
    use super::super::request::ProviderLogin;
    use super::*;

    fn line(author: &str) -> String {
        format!(r#"{{"at":"2027-01-15T08:00:00Z"{author},"event":{{"kind":"stopped"}}}}"#)
    }

    /// All forms of an author, including those from before there were logins and operators, survive a round trip
    /// exactly.
    #[test]
    fn the_json_of_an_author_never_changes() {
        let name: PersonName = "carol".parse().unwrap();
        let login = Some(Login::Account { uid: 1003, person: Some(name.clone()) });
        let root = Operator { name: PersonName::root(), uid: 0, login: login.clone() };
        let unknown = Login::Account { uid: 4, person: None };
        let provider = Login::Provider(Box::new(ProviderLogin {
            issuer: "https://id.example".to_owned(),
            subject: "42".to_owned(),
            acr: Some("2".to_owned()),
            amr: vec!["otp".to_owned()],
            auth_time: Some("2027-01-15T07:59:00Z".parse().unwrap()),
            issued: None,
            sid: None,
            flow: None,
            key_id: Some("k1".to_owned()),
            token_sha256: "ab".to_owned(),
        }));
        let recent = match provider.clone() {
            Login::Provider(login) => Login::Provider(Box::new(ProviderLogin {
                issued: login.auth_time,
                flow: Some(Flow::DeviceCode),
                ..*login
            })),
            other => other,
        };
        for (author, written) in [
            (Author::Daemon, ""),
            (Author::Person { name: name.clone(), login: None }, r#","by":"carol""#),
            (Author::Person { name: name.clone(), login: Some(unknown) }, r#","by":"carol","login":{"uid":4}"#),
            (
                Author::Person { name: name.clone(), login: Some(Login::Unknowable) },
                r#","by":"carol","login":{"unknown":true}"#,
            ),
            (
                Author::Person { name: name.clone(), login: Some(provider) },
                concat!(
                    r#","by":"carol","login":{"provider":{"issuer":"https://id.example","subject":"42","acr":"2","#,
                    r#""amr":["otp"],"authTime":"2027-01-15T07:59:00Z","keyId":"k1","tokenSha256":"ab"}}"#
                ),
            ),
            (
                Author::Person { name: name.clone(), login: Some(recent) },
                concat!(
                    r#","by":"carol","login":{"provider":{"issuer":"https://id.example","subject":"42","acr":"2","#,
                    r#""amr":["otp"],"authTime":"2027-01-15T07:59:00Z","issued":"2027-01-15T07:59:00Z","#,
                    r#""flow":"device-code","keyId":"k1","tokenSha256":"ab"}}"#
                ),
            ),
            (
                Author::Operator(Operator { name, uid: 1003, login: None }),
                r#","by":"carol","operator":{"name":"carol","uid":1003}"#,
            ),
            (
                Author::Operator(root),
                r#","by":"root","operator":{"name":"root","uid":0,"login":{"uid":1003,"person":"carol"}}"#,
            ),
        ] {
            let fact: Fact = serde_json::from_str(&line(written)).unwrap();
            assert_eq!(fact.author, author);
            assert_eq!(serde_json::to_string(&fact).unwrap(), line(written));
        }
    }

    #[test]
    fn an_impossible_author_is_rejected() {
        for (author, why) in [
            (r#","login":{"uid":4}"#, "`login` requires `by`"),
            (r#","operator":{"name":"root","uid":0}"#, "`operator` and `by` name different people"),
            (r#","by":"carol","operator":{"name":"root","uid":0}"#, "`operator` and `by` name different people"),
            (
                r#","by":"root","login":{"uid":4},"operator":{"name":"root","uid":0}"#,
                "`login` and `operator` exclude each other",
            ),
            (r#","login":{"uid":4},"operator":{"name":"root","uid":0}"#, "`login` and `operator` exclude each other"),
            (r#","by":"carol","login":{}"#, "a login has a `uid`, or is `unknown`"),
            (
                r#","by":"carol","login":{"uid":4,"provider":{"issuer":"i","subject":"s","tokenSha256":"t"}}"#,
                "a login has a `uid`, or is `unknown`",
            ),
            (r#","by":"carol","login":{"provider":{"issuer":"i","subject":"s","name":"n"}}"#, "unknown field `name`"),
            (r#","by":"carol","login":{"uid":4,"unknown":true}"#, "a login has a `uid`, or is `unknown`"),
            (r#","by":"system:admin""#, "a name is an account's"),
        ] {
            let error = serde_json::from_str::<Fact>(&line(author)).unwrap_err().to_string();
            assert!(error.contains(why), "{author}: {error}");
        }
    }
}
