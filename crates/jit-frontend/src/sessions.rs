//! Sessions: who has proved with which key who they are. They live in memory only; after a restart people log in again.
//!
//! A session belongs to one key and one identity, and ends at its end, at `DELETE /v1/login`, when the same key opens
//! another one, or when its provider ends the login. A token opens sessions for one key only, also where it carries no nonce,
//! and none once its login is over.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::login::ProviderLogout;
use jit_core::grant::request::{PersonName, ProviderLogin};
use jit_wire::frontend::SessionView;
use jit_wire::{ErrorCode, Problem};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Sessions at a time.
const MOST: usize = 4096;

/// Sessions of one person at a time: each terminal of a person may have one. The oldest gives way.
const MOST_OF_ONE: usize = 16;

/// Logouts that are remembered. The one that may be forgotten first gives way.
const MOST_LOGOUTS: usize = 16_384;

/// For how long a logout is remembered: as long as a token of before could open a session, and as long as its own token could
/// come again. Neither may live longer than a day (`maxLife`), with the clocks' difference.
const LOGOUT_REMEMBERED: SignedDuration = SignedDuration::from_mins(24 * 60 + 2);

/// The sessions.
#[derive(Default)]
pub struct Sessions(Mutex<State>);

#[derive(Default)]
struct State {
    /// By the SHA-256 of the key.
    by_key: HashMap<String, Arc<Session>>,
    /// Tokens that have opened a session: with which key, and until when they could open another one.
    used: HashMap<String, (String, Timestamp)>,
    /// Logouts, and since when, by issuer and `jti`.
    logouts: HashMap<(String, String), (ProviderLogout, Timestamp)>,
}

/// One session.
pub struct Session {
    /// The login, with the identity.
    pub login: ProviderLogin,
    /// What the person is called, by the rule of the provider.
    pub name: PersonName,
    /// The groups, by the rule of the provider.
    pub groups: Vec<String>,
    /// The name by which `jitd` knows the person.
    pub known_as: String,
    /// When it was opened.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Cancelled when it ends before that.
    pub ended: CancellationToken,
}

impl Session {
    /// What the person is told.
    #[must_use]
    pub fn view(&self) -> SessionView {
        let ProviderLogin { issuer, subject, .. } = self.login.clone();
        let (name, groups) = (self.known_as.clone(), self.groups.clone());
        SessionView { name, issuer, subject, groups, until: self.until }
    }
}

impl Sessions {
    /// The session of this key.
    #[must_use]
    pub fn of(&self, key: &str, now: Timestamp) -> Option<Arc<Session>> {
        self.0.lock().by_key.get(key).filter(|session| session.until > now).cloned()
    }

    /// Whether the token of this login may open a session for this key: no other key has, and the login is not over.
    ///
    /// # Errors
    /// The refusal.
    pub fn may_open(&self, key: &str, login: &ProviderLogin) -> Result<(), Problem> {
        self.0.lock().may_open(key, login)
    }

    /// Opens a session. The token, which expires at `expires`, opens none for another key.
    ///
    /// # Errors
    /// The refusal.
    pub fn open(&self, key: &str, session: Session, expires: Timestamp) -> Result<Arc<Session>, Problem> {
        let (now, session) = (session.since, Arc::new(session));
        let mut state = self.0.lock();
        // Again, under the lock: two keys can have come this far with one token.
        state.may_open(key, &session.login)?;
        let State { by_key, used, .. } = &mut *state;
        by_key.retain(|_, session| session.until > now);
        // A token is accepted for a minute after its end, see `jit-identity`.
        used.retain(|_, (_, expires)| *expires + SignedDuration::from_mins(2) > now);
        let mut own: Vec<_> = by_key.iter().filter(|(_, other)| is_same(other, &session)).collect();
        own.sort_by_key(|(_, other)| other.since);
        let oldest = (own.len() >= MOST_OF_ONE).then(|| own.first().map(|(key, _)| (*key).clone())).flatten();
        if let Some(ended) = oldest.and_then(|oldest| by_key.remove(&oldest)) {
            ended.ended.cancel();
        }
        if by_key.len() >= MOST || used.len() >= MOST * MOST_OF_ONE {
            return Err(Problem::new(ErrorCode::Busy, "there are too many sessions").hint("try again later"));
        }
        used.insert(session.login.token_sha256.clone(), (key.to_owned(), expires));
        if let Some(before) = by_key.insert(key.to_owned(), Arc::clone(&session)) {
            before.ended.cancel();
        }
        Ok(session)
    }

    /// Ends the session of this key. False if there is none.
    pub fn end(&self, key: &str) -> bool {
        let ended = self.0.lock().by_key.remove(key);
        ended.is_some_and(|session| {
            session.ended.cancel();
            true
        })
    }

    /// Ends the sessions of a login that its provider has ended, by the token with this `jti`. Returns how many.
    ///
    /// # Errors
    /// The refusal: a `jti` counts once.
    pub fn log_out(&self, logout: &ProviderLogout, jti: &str, now: Timestamp) -> Result<usize, Problem> {
        let mut state = self.0.lock();
        let State { by_key, logouts, .. } = &mut *state;
        logouts.retain(|_, (_, since)| *since + LOGOUT_REMEMBERED > now);
        let name = (logout.issuer.clone(), jti.to_owned());
        if logouts.contains_key(&name) {
            return Err(Problem::new(ErrorCode::TokenUsed, "this logout token has come before (`jti`)"));
        }
        if logouts.len() >= MOST_LOGOUTS {
            let oldest = logouts.iter().min_by_key(|(_, (_, since))| *since).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| logouts.remove(&oldest));
        }
        logouts.insert(name, (logout.clone(), now));
        let before = by_key.len();
        by_key.retain(|_, session| {
            let is_over = logout.ends(&session.login);
            if is_over {
                session.ended.cancel();
            }
            !is_over
        });
        Ok(before - by_key.len())
    }
}

impl State {
    fn may_open(&self, key: &str, login: &ProviderLogin) -> Result<(), Problem> {
        if self.logouts.values().any(|(logout, _)| logout.has_ended(login)) {
            let why = "the provider has ended the login of this token";
            return Err(Problem::new(ErrorCode::TokenRefused, why).hint("log in again with `jit-login login`"));
        }
        match self.used.get(&login.token_sha256) {
            Some((other, _)) if other != key => {
                Err(Problem::new(ErrorCode::TokenUsed, "another key has opened a session with this token").hint(
                    "log in again with `jit-login login`; if nobody else should have the token, tell an administrator",
                ))
            }
            _ => Ok(()),
        }
    }
}

fn is_same(one: &Session, other: &Session) -> bool {
    one.login.issuer == other.login.issuer && one.login.subject == other.login.subject
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn session(subject: &str, token: &str, since: i64) -> Session {
        Session {
            login: ProviderLogin {
                issuer: "https://id.example".to_owned(),
                subject: subject.to_owned(),
                acr: None,
                amr: Vec::new(),
                auth_time: None,
                issued: None,
                sid: None,
                flow: None,
                key_id: None,
                token_sha256: token.to_owned(),
            },
            name: "alice@corp".parse().unwrap(),
            groups: Vec::new(),
            known_as: "alice".to_owned(),
            since: at(since),
            until: at(since + 60),
            ended: CancellationToken::new(),
        }
    }

    #[test]
    fn a_session_is_of_one_key_and_ends() {
        let sessions = Sessions::default();
        let first = sessions.open("k1", session("1", "t1", 0), at(5)).unwrap();
        assert!(sessions.of("k1", at(59)).is_some() && sessions.of("k2", at(1)).is_none());
        assert!(sessions.of("k1", at(60)).is_none(), "it is over");
        // The same key logs in again.
        let second = sessions.open("k1", session("1", "t2", 10), at(15)).unwrap();
        assert!(first.ended.is_cancelled() && !second.ended.is_cancelled());
        assert!(sessions.end("k1") && second.ended.is_cancelled() && !sessions.end("k1"));
        assert!(sessions.of("k1", at(11)).is_none());
    }

    #[test]
    fn a_token_opens_sessions_for_one_key() {
        let sessions = Sessions::default();
        sessions.open("k1", session("1", "t1", 0), at(5)).unwrap();
        let stolen = sessions.open("k2", session("1", "t1", 1), at(5)).err().unwrap();
        assert_eq!((stolen.code.as_str(), stolen.status), ("token-used", 401));
        sessions.end("k1");
        assert!(sessions.open("k2", session("1", "t1", 2), at(5)).is_err(), "not after a logout either");
        assert!(sessions.open("k1", session("1", "t1", 3), at(5)).is_ok(), "a lost answer is asked for again");
    }

    #[test]
    fn the_oldest_session_of_a_person_gives_way() {
        let sessions = Sessions::default();
        let other = sessions.open("other", session("2", "other", 0), at(5)).unwrap();
        let mut opened = Vec::new();
        for number in 0..=MOST_OF_ONE {
            let minute = i64::try_from(number).unwrap();
            let new = session("1", &format!("t{number}"), minute);
            opened.push(sessions.open(&format!("k{number}"), new, at(90)).unwrap());
        }
        let ended: Vec<bool> = opened.iter().map(|session| session.ended.is_cancelled()).collect();
        assert!(ended[0] && ended[1..].iter().all(|ended| !ended) && !other.ended.is_cancelled());
    }

    fn at_login(sid: &str, issued: i64, session: Session) -> Session {
        let login = ProviderLogin { sid: Some(sid.to_owned()), issued: Some(at(issued)), ..session.login };
        Session { login, ..session }
    }

    fn logout(subject: Option<&str>, sid: Option<&str>, issued: i64) -> ProviderLogout {
        ProviderLogout {
            issuer: "https://id.example".to_owned(),
            subject: subject.map(str::to_owned),
            sid: sid.map(str::to_owned),
            issued: at(issued),
            token_sha256: "t".to_owned(),
        }
    }

    #[test]
    fn a_logout_ends_the_sessions_of_its_login_and_their_tokens_open_no_other() {
        let sessions = Sessions::default();
        let open = |key: &str, sid: &str, token: &str, minute| {
            sessions.open(key, at_login(sid, minute, session("1", token, minute)), at(minute + 5))
        };
        let (one, same, two) =
            (open("k1", "a", "t1", 0).unwrap(), open("k2", "a", "t2", 1).unwrap(), open("k3", "b", "t3", 1).unwrap());
        assert_eq!(sessions.log_out(&logout(Some("1"), Some("a"), 2), "j1", at(2)).unwrap(), 2);
        assert!(one.ended.is_cancelled() && same.ended.is_cancelled() && !two.ended.is_cancelled());
        assert!(sessions.of("k1", at(2)).is_none() && sessions.of("k3", at(2)).is_some());
        // Not with the same token, and not with a newer one of that login.
        for (token, minute) in [("t1", 3), ("t4", 4)] {
            let refused = open("k1", "a", token, minute).err().unwrap();
            assert_eq!((refused.code.as_str(), refused.status), ("token-refused", 401));
        }
        open("k1", "c", "t5", 4).unwrap();
        // All of the person's, and then only what is newer.
        assert_eq!(sessions.log_out(&logout(Some("1"), None, 5), "j2", at(5)).unwrap(), 2);
        assert!(two.ended.is_cancelled());
        assert!(open("k1", "d", "t6", 5).is_err() && open("k1", "d", "t7", 6).is_ok());
        assert_eq!(sessions.log_out(&logout(Some("2"), None, 6), "j3", at(6)).unwrap(), 0);
    }

    #[test]
    fn a_logout_token_counts_once_for_as_long_as_it_could_come_again() {
        let sessions = Sessions::default();
        assert_eq!(sessions.log_out(&logout(Some("1"), None, 0), "j1", at(0)).unwrap(), 0);
        let again = sessions.log_out(&logout(Some("1"), None, 0), "j1", at(24 * 60 + 1)).unwrap_err();
        assert_eq!(again.code, "token-used");
        let other = ProviderLogout { issuer: "https://id.example.org".to_owned(), ..logout(Some("1"), None, 0) };
        assert_eq!(sessions.log_out(&other, "j1", at(1)).unwrap(), 0, "another provider's");
        for number in 0..=MOST_LOGOUTS {
            sessions.log_out(&logout(Some("2"), None, 2), &format!("n{number}"), at(2)).unwrap();
        }
        assert_eq!(sessions.0.lock().logouts.len(), MOST_LOGOUTS);
        assert!(sessions.log_out(&logout(Some("2"), None, 2), &format!("n{MOST_LOGOUTS}"), at(3)).is_err());
    }
}
