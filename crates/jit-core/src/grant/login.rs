//! What a login at an identity provider must have, before the person approves, uses break-glass, or gets a certificate; and
//! what is over once the provider says that a login is.
//!
//! A rule of the policy says what it requires (`login`); a provider of the configuration, how fresh a token must be for a
//! certificate (`fresh`). Both are about people who come from a provider: whoever comes by an account proved it to the host.
//! Approvals, break-glass and the broker call this.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::refusal::{Code, Refusal};
use super::request::{Login, ProviderLogin, Window};

/// By which way a person proved to a provider who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// In a browser that the program was waiting for (RFC 6749 section 4.1, with PKCE).
    Code,
    /// By a code that was entered in some browser (RFC 8628). Somebody may have been talked into entering another's.
    DeviceCode,
}

/// What a rule requires of a login at an identity provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoginTerms {
    /// `acr` must be one of these; any, or none, if there are none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acr: Vec<String>,
    /// `amr` must have each of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// How long ago the person may have proved who they are (`auth_time`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub auth_time: Option<Window>,
    /// Whether a login by device code is refused, and one of which that is unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_device_code: bool,
}

impl LoginTerms {
    /// Checks a login for what the person is about to do, such as `approving this`.
    ///
    /// # Errors
    /// The refusal, with what the person can do.
    pub fn hold(&self, login: Option<&Login>, doing: &str, now: Timestamp) -> Result<(), Refusal> {
        let Some(Login::Provider(login)) = login else { return Ok(()) };
        let weak = |why: String| Err(Refusal::new(Code::LoginTooWeak, format!("{doing} requires a login {why}")));
        if !self.acr.is_empty() && !login.acr.as_ref().is_some_and(|acr| self.acr.contains(acr)) {
            let yours = login.acr.as_ref().map_or("none".to_owned(), |acr| format!("`{}`", acr.escape_default()));
            return weak(format!("with {}; yours has {yours}", one_of(&self.acr))).map_err(AGAIN_WITH_MORE);
        }
        if let Some(method) = self.amr.iter().find(|method| !login.amr.contains(method)) {
            return weak(format!("by the method `{method}` (`amr`), and yours was not")).map_err(AGAIN_WITH_MORE);
        }
        if let Some(longest) = self.auth_time {
            let ago = login.auth_time.map(|at| now.duration_since(at));
            if ago.is_none_or(|ago| ago > longest.duration()) {
                let yours = match ago {
                    Some(ago) => format!("yours was {} s ago", ago.as_secs()),
                    None => "the provider does not say when yours was (`auth_time`)".to_owned(),
                };
                return weak(format!("of the last {longest}; {yours}"))
                    .map_err(|refusal| refusal.hint("log in again with `jit-login login`"));
            }
        }
        match login.flow {
            Some(Flow::DeviceCode) if self.no_device_code => {
                weak("in a browser, and yours was by device code".to_owned()).map_err(|refusal| {
                    refusal.hint("log in again in a browser: `jit-login login --no-browser` prints the address for it")
                })
            }
            None if self.no_device_code => {
                weak("in a browser, and of yours that is unknown".to_owned()).map_err(|refusal| {
                    refusal.hint("an administrator sets `deviceCode` of the provider in jit-frontend's config.yaml")
                })
            }
            _ => Ok(()),
        }
    }
}

const AGAIN_WITH_MORE: fn(Refusal) -> Refusal =
    |refusal| refusal.hint("log in again with `jit-login login`, and prove to the provider what this requires");

fn one_of(values: &[String]) -> String {
    format!("`acr` {}", values.join(" or "))
}

impl fmt::Display for LoginTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acr = (!self.acr.is_empty()).then(|| one_of(&self.acr));
        let amr = (!self.amr.is_empty()).then(|| format!("`amr` with {}", self.amr.join(" and ")));
        let age = self.auth_time.map(|longest| format!("at most {longest} ago"));
        let flow = self.no_device_code.then(|| "not by device code".to_owned());
        let all: Vec<String> = [acr, amr, age, flow].into_iter().flatten().collect();
        write!(f, "at an identity provider, for approving and break-glass: {}", all.join(", "))
    }
}

/// Checks that the token of the login is fresh enough for a certificate: a provider renews no login of somebody who is
/// disabled there. That a token has expired says nothing about the person.
///
/// # Errors
/// The refusal; the person's own program gets a new token, if the provider gives one.
pub fn is_fresh(login: &ProviderLogin, fresh: Window, now: Timestamp) -> Result<(), Refusal> {
    if login.issued.is_some_and(|issued| now.duration_since(issued) <= fresh.duration()) {
        return Ok(());
    }
    let why = format!("a certificate requires an ID token of the last {fresh}, and yours is older");
    Err(Refusal::new(Code::LoginStale, why).hint("log in again with `jit-login login`"))
}

/// What a provider's logout token says, as `jit-frontend` verified it. The token itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderLogout {
    /// The provider (`iss`).
    pub issuer: String,
    /// The person at the provider (`sub`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The login (`sid`); without it, all logins of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// When the token was issued (`iat`).
    pub issued: Timestamp,
    /// SHA-256 of the token, hex.
    pub token_sha256: String,
}

impl ProviderLogout {
    /// Whether this login is over. One of which it is not known which login it is at the provider is, if it is this person's.
    #[must_use]
    pub fn ends(&self, login: &ProviderLogin) -> bool {
        let is_another = self.sid.is_some() && login.sid.is_some() && self.sid != login.sid;
        self.ends_access_of(login) && !is_another
    }

    /// Whether a login that comes after the logout is nevertheless over, because its token is from before.
    #[must_use]
    pub fn has_ended(&self, login: &ProviderLogin) -> bool {
        let is_known = self.sid.is_some() && login.sid.is_some();
        self.ends(login) && (is_known || login.issued.is_none_or(|issued| issued <= self.issued))
    }

    /// Whether the access ends that was requested with this login: it is this person's at this provider. With which login it
    /// was collected and used since is not known, so that does not matter.
    #[must_use]
    pub fn ends_access_of(&self, login: &ProviderLogin) -> bool {
        let is_theirs = match &self.subject {
            Some(subject) => *subject == login.subject,
            None => self.sid.is_some() && self.sid == login.sid,
        };
        self.issuer == login.issuer && is_theirs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(NOW + second).unwrap()
    }

    fn login() -> ProviderLogin {
        ProviderLogin {
            issuer: "https://id.example".to_owned(),
            subject: "1".to_owned(),
            acr: Some("2".to_owned()),
            amr: vec!["pwd".to_owned(), "otp".to_owned()],
            auth_time: Some(at(-600)),
            issued: Some(at(-60)),
            sid: Some("s-1".to_owned()),
            flow: Some(Flow::Code),
            key_id: None,
            token_sha256: String::new(),
        }
    }

    fn held(terms: &LoginTerms, login: ProviderLogin) -> Result<(), String> {
        let held = terms.hold(Some(&Login::Provider(Box::new(login))), "approving this", at(0));
        held.map_err(|refusal| {
            assert_eq!(refusal.code, Code::LoginTooWeak);
            assert!(!refusal.hint.is_empty());
            refusal.why
        })
    }

    #[test]
    fn a_login_has_what_the_rule_requires_or_is_refused_with_the_reason() {
        let usual = LoginTerms::default();
        let acr = LoginTerms { acr: vec!["2".to_owned(), "3".to_owned()], ..usual.clone() };
        let amr = LoginTerms { amr: vec!["otp".to_owned()], ..usual.clone() };
        let recent = LoginTerms { auth_time: Some(Window::TEN_MINUTES), ..usual.clone() };
        let browser = LoginTerms { no_device_code: true, ..usual.clone() };
        for terms in [&usual, &acr, &amr, &recent, &browser] {
            assert_eq!(held(terms, login()), Ok(()), "{terms}");
            // The host has its own proof.
            assert!(terms.hold(Some(&Login::Account { uid: 1, person: None }), "approving this", at(0)).is_ok());
            assert!(terms.hold(None, "approving this", at(0)).is_ok());
        }
        for (terms, login, why) in [
            (&acr, ProviderLogin { acr: Some("1".to_owned()), ..login() }, "with `acr` 2 or 3; yours has `1`"),
            (&acr, ProviderLogin { acr: None, ..login() }, "with `acr` 2 or 3; yours has none"),
            (
                &amr,
                ProviderLogin { amr: vec!["pwd".to_owned()], ..login() },
                "by the method `otp` (`amr`), and yours was not",
            ),
            (&recent, ProviderLogin { auth_time: Some(at(-601)), ..login() }, "of the last 10m; yours was 601 s ago"),
            (&recent, ProviderLogin { auth_time: None, ..login() }, "does not say when"),
            (&browser, ProviderLogin { flow: Some(Flow::DeviceCode), ..login() }, "yours was by device code"),
            (&browser, ProviderLogin { flow: None, ..login() }, "of yours that is unknown"),
        ] {
            let refused = held(terms, login).unwrap_err();
            assert!(refused.starts_with("approving this requires a login ") && refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_certificate_needs_a_fresh_token() {
        assert_eq!(is_fresh(&login(), "1m".parse().unwrap(), at(0)), Ok(()));
        for (login, now) in [(login(), 1), (ProviderLogin { issued: None, ..login() }, 0)] {
            assert_eq!(is_fresh(&login, "1m".parse().unwrap(), at(now)).unwrap_err().code, Code::LoginStale);
        }
    }

    /// Each case is a logout, and whether it ends this login, one that comes later, and the access of this one.
    #[test]
    fn a_logout_ends_the_login_that_it_names_and_all_of_the_person_if_it_names_none() {
        let logout = |subject: &str, sid: &str| ProviderLogout {
            issuer: "https://id.example".to_owned(),
            subject: (!subject.is_empty()).then(|| subject.to_owned()),
            sid: (!sid.is_empty()).then(|| sid.to_owned()),
            issued: at(-60),
            token_sha256: String::new(),
        };
        let later = ProviderLogin { issued: Some(at(-59)), ..login() };
        let unnamed = ProviderLogin { sid: None, ..login() };
        let unnamed_later = ProviderLogin { sid: None, ..later.clone() };
        for (login, logout, expected) in [
            (login(), logout("1", "s-1"), [true, true, true]),
            (login(), logout("", "s-1"), [true, true, true]),
            (login(), logout("1", ""), [true, true, true]),
            // Another login of the same person: the session goes on, but whose access it was is not known.
            (login(), logout("1", "s-2"), [false, false, true]),
            (login(), logout("", "s-2"), [false, false, false]),
            // Another person.
            (login(), logout("2", ""), [false, false, false]),
            (login(), logout("2", "s-1"), [false, false, false]),
            (login(), ProviderLogout { issuer: "https://id.example/".to_owned(), ..logout("1", "s-1") }, [false; 3]),
            // A login that is over stays so, however new its token is.
            (later.clone(), logout("1", "s-1"), [true, true, true]),
            (later, logout("1", ""), [true, false, true]),
            (unnamed.clone(), logout("1", "s-2"), [true, true, true]),
            (unnamed_later, logout("1", "s-2"), [true, false, true]),
            (unnamed, logout("", "s-1"), [false, false, false]),
        ] {
            let found = [logout.ends(&login), logout.has_ended(&login), logout.ends_access_of(&login)];
            assert_eq!(found, expected, "{logout:?} {login:?}");
        }
    }
}
