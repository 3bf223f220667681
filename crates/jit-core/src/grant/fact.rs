//! An event with its time and its author: what the trail stores, one a line.
//!
//! Who can be an author is said by [`Author`] alone. What the JSON of older trails has, `by`, `login` and `operator`, is
//! read into it, and a line whose author can't be is no fact.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::request::{Login, Person, PersonName};
use super::{Event, GrantId};

/// An event with its time and its author, before it has a place in the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When, by the daemon's clock.
    pub at: Timestamp,
    /// The grant it is about; none for the daemon's own life and for refused requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// Who did it.
    #[serde(flatten)]
    pub author: Author,
    /// What happened.
    pub event: Event,
}

impl Fact {
    /// The name of who did it, `root` for root at the operators' door; none for the daemon itself.
    #[must_use]
    pub fn by(&self) -> Option<&PersonName> {
        match &self.author {
            Author::Daemon => None,
            Author::Person { name, .. } => Some(name),
            Author::Operator(operator) => Some(&operator.name),
        }
    }

    /// How the person who did it came to the host; none where nobody logged in, in trails of before it was
    /// kept, and for operators, who carry their own.
    #[must_use]
    pub fn login(&self) -> Option<&Login> {
        match &self.author {
            Author::Person { login, .. } => login.as_ref(),
            Author::Daemon | Author::Operator(_) => None,
        }
    }

    /// Whether it was done through the operators' door.
    #[must_use]
    pub fn is_by_operator(&self) -> bool {
        matches!(self.author, Author::Operator(_))
    }

    /// Whether it may stand in a trail without a grant, as it is.
    #[must_use]
    pub fn is_of_the_daemon(&self) -> bool {
        match self.event {
            Event::Started { .. }
            | Event::PolicyLoaded { .. }
            | Event::Stopped
            | Event::RequestRefused(_)
            | Event::RefusalsCounted { .. } => true,
            Event::Drained { .. } | Event::Resumed => self.is_by_operator(),
            _ => false,
        }
    }
}

/// Who does what is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "AuthorFields", try_from = "AuthorFields")]
pub enum Author {
    /// Nobody but the daemon itself.
    Daemon,
    /// A person.
    Person {
        /// Who.
        name: PersonName,
        /// How they came to the host.
        login: Option<Login>,
    },
    /// Somebody at the operators' door.
    Operator(Operator),
}

impl Author {
    /// What this author does at `at`.
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

/// Who operates the daemon: root, who is no person and may only take away, or a person of `admins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operator {
    /// The person, or `root`; no person is called so.
    pub name: PersonName,
    /// The account.
    pub uid: u32,
    /// Who became root, or how the person came to the host; none where there was no login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// An author as JSON has it: three fields of the fact.
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
            AuthorFields { by: None, login: Some(_), operator: None } => Err("`login` stands without `by`"),
            AuthorFields { login: Some(_), operator: Some(_), .. } => Err("`login` stands beside `operator`"),
            AuthorFields { login: None, operator: Some(_), .. } => Err("`operator` is not who `by` names"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(author: &str) -> String {
        format!(r#"{{"at":"2027-01-15T08:00:00Z"{author},"event":{{"kind":"stopped"}}}}"#)
    }

    /// What trails have, also those of before there were logins and operators, is read and written to the letter.
    #[test]
    fn an_author_is_written_as_it_always_was() {
        let name: PersonName = "carol".parse().unwrap();
        let login = Some(Login::Account { uid: 1003, person: Some(name.clone()) });
        let root = Operator { name: PersonName::root(), uid: 0, login: login.clone() };
        let unknown = Login::Account { uid: 4, person: None };
        for (author, written) in [
            (Author::Daemon, ""),
            (Author::Person { name: name.clone(), login: None }, r#","by":"carol""#),
            (Author::Person { name: name.clone(), login: Some(unknown) }, r#","by":"carol","login":{"uid":4}"#),
            (
                Author::Person { name: name.clone(), login: Some(Login::Unknowable) },
                r#","by":"carol","login":{"unknown":true}"#,
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
    fn an_author_that_can_not_be_is_refused() {
        for (author, why) in [
            (r#","login":{"uid":4}"#, "`login` stands without `by`"),
            (r#","operator":{"name":"root","uid":0}"#, "`operator` is not who `by` names"),
            (r#","by":"carol","operator":{"name":"root","uid":0}"#, "`operator` is not who `by` names"),
            (
                r#","by":"root","login":{"uid":4},"operator":{"name":"root","uid":0}"#,
                "`login` stands beside `operator`",
            ),
            (r#","login":{"uid":4},"operator":{"name":"root","uid":0}"#, "`login` stands beside `operator`"),
            (r#","by":"carol","login":{}"#, "a login has a `uid`, or is `unknown`"),
            (r#","by":"carol","login":{"uid":4,"unknown":true}"#, "a login has a `uid`, or is `unknown`"),
            (r#","by":"system:admin""#, "a name is an account's"),
        ] {
            let error = serde_json::from_str::<Fact>(&line(author)).unwrap_err().to_string();
            assert!(error.contains(why), "{author}: {error}");
        }
    }
}
