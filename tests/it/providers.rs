//! What holds with every identity provider: logins, renewals, new keys, a provider that is down, and clocks that differ.
//!
//! Each rule here is shown with `oidc-provider` in this file, and with Keycloak in `keycloak.rs`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::bastion::{ERIN, Person, repository, text};
use crate::gateway_failures::Clock;
use crate::oidc::{Certified, Elsewhere, FRIEDA, GRETA};
use crate::plane::until_within;

/// An identity provider, whose people are frieda (`/payments-oncall`) and greta (`/payments-leads`).
pub(crate) trait Provider {
    /// What it calls itself.
    fn issuer(&self) -> String;
    /// The authority of its certificate.
    fn authority(&self) -> PathBuf;
    /// The scopes to ask for.
    fn scopes(&self) -> &'static [&'static str];
    /// The way to it.
    fn relay(&self) -> &Relay;
    /// Logs somebody in at this address, as a browser does; the last page.
    fn browse(&self, address: &str, name: &str) -> String;
    /// Puts somebody into these groups, and into no others.
    fn regroup(&self, who: &str, groups: &[&str]);
    /// Takes somebody away, or disables them.
    fn dismiss(&self, who: &str);
    /// Gives it other keys, and takes the ones before away.
    fn rotate(&self);
    /// Where it says that a login is over.
    fn send_logouts_to(&self, address: &str);
    /// Ends somebody's login.
    fn log_out(&self, who: &str);
}

/// What Chromium shows at the end of a login (`tests/clients/browser`).
pub(crate) fn chromium(address: &str, name: &str, secret: Option<&str>) -> Value {
    let built = Command::new(repository().join("tests/clients/build.sh")).arg("browser").output().unwrap();
    assert!(built.status.success(), "{}", text(&built.stderr));
    let run = Path::new(text(&built.stdout).trim()).join("run");
    let shown = Command::new(run).args([address, name]).args(secret).stdin(Stdio::null()).output().unwrap();
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    serde_json::from_slice(&shown.stdout).unwrap()
}

/// A port through which people and the front end reach a provider, until it is closed. The provider itself goes on, because
/// neither of the two keeps its people's logins over a restart.
pub(crate) struct Relay {
    port: u16,
    /// Its connections; none while it is closed.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Relay {
    /// A way to this port of 127.0.0.1.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), open: Arc::new(Mutex::new(Some(Vec::new()))) };
        let open = Arc::clone(&relay.open);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if let Some(open) = open.lock().as_mut()
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", target))
                {
                    let pass = |mut from: TcpStream, mut to: TcpStream| {
                        std::thread::spawn(move || {
                            let mut chunk = [0; 16 * 1024];
                            while let Ok(read @ 1..) = from.read(&mut chunk) {
                                if to.write_all(&chunk[..read]).is_err() {
                                    break;
                                }
                            }
                            drop(to.shutdown(Shutdown::Write));
                        });
                    };
                    pass(client.try_clone().unwrap(), server.try_clone().unwrap());
                    pass(server, client.try_clone().unwrap());
                    open.push(client);
                }
            }
        });
        relay
    }

    pub(crate) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Breaks its connections, and lets nobody through.
    pub(crate) fn close(&self) {
        for connection in self.open.lock().take().into_iter().flatten() {
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    pub(crate) fn reopen(&self) {
        *self.open.lock() = Some(Vec::new());
    }
}

/// What the provider gives for a refresh token, to whoever has it; none if it refuses.
fn refreshed(elsewhere: &Elsewhere, token: &str) -> Option<Value> {
    let provider = &elsewhere.provider;
    let post = |address: &str, forms: &[String]| -> Value {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]).arg(provider.authority()).arg(address);
        for form in forms {
            curl.args(["--data-urlencode", form]);
        }
        let done = curl.output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let found = post(&format!("{}/.well-known/openid-configuration", provider.issuer()), &[]);
    let forms =
        ["grant_type=refresh_token", "client_id=jit-login", &format!("refresh_token={token}")].map(str::to_owned);
    let answer = post(found["token_endpoint"].as_str().unwrap(), &forms);
    if answer["refresh_token"].is_string() {
        return Some(answer);
    }
    assert_eq!(answer["error"], "invalid_grant", "{answer}");
    None
}

/// The refresh token that is kept on somebody's laptop.
fn kept(elsewhere: &Elsewhere, person: Person) -> Option<String> {
    let who = elsewhere.said(person, &["whoami"]);
    let (_, file) = who.rsplit_once(' ').unwrap();
    in_file(file)
}

fn in_file(file: &str) -> Option<String> {
    let kept: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    kept["refreshToken"].as_str().map(str::to_owned)
}

/// What `whoami` says to somebody who has to log in again.
#[track_caller]
fn has_to_log_in(elsewhere: &Elsewhere, person: Person, why: &str) {
    let refused = elsewhere.run(person, &["whoami"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains(why) && said.contains("jit-login login https://"), "{said}");
}

/// Two people, one with a browser on the laptop and one with a code that is entered elsewhere, work together.
pub(crate) fn people_log_in_by_browser_and_by_code(elsewhere: &Elsewhere, secret: Option<&str>) {
    elsewhere.log_in(FRIEDA);
    let elsewhere_too = |address: &str| {
        let seen = chromium(address, GRETA.name, secret);
        assert!(seen["text"].as_str().unwrap().contains("Success"), "{seen}");
    };
    let (succeeded, said) = elsewhere.tries(GRETA, &["--device"], elsewhere_too);
    assert!(succeeded, "{said}");
    for (person, groups) in [(FRIEDA, "groups: payments-oncall\n"), (GRETA, "groups: payments-leads\n")] {
        let who = elsewhere.said(person, &["whoami"]);
        assert!(who.contains(groups), "{who}");
        let known =
            std::fs::read_to_string(elsewhere.bastion.home(person).join(".config/jit-login/config.yaml")).unwrap();
        assert_eq!(known.contains("flow: device"), person == GRETA, "{known}");
    }
    let id = elsewhere.works();
    elsewhere.said(FRIEDA, &["end", &id]);
}

/// One refresh token is used once, whoever asks; a renewal that says less than the login did is none; a logout leaves nothing.
pub(crate) fn a_renewal_says_as_much_as_the_login(elsewhere: &mut Elsewhere) {
    elsewhere.log_in(FRIEDA);
    let first = kept(elsewhere, FRIEDA).unwrap();
    elsewhere.restart();
    elsewhere.three_at_once(FRIEDA);
    let who = elsewhere.said(FRIEDA, &["whoami"]);
    assert!(who.contains("groups: payments-oncall\n"), "{who}");
    assert_ne!(kept(elsewhere, FRIEDA).unwrap(), first);

    // Without groups, and then as whoever has none.
    let file = who.rsplit_once(' ').unwrap().1.to_owned();
    elsewhere.provider.regroup(FRIEDA.name, &[]);
    elsewhere.restart();
    has_to_log_in(elsewhere, FRIEDA, "renewed the login without groups");
    assert_eq!(in_file(&file), None, "nobody tries again");
    has_to_log_in(elsewhere, FRIEDA, "there is no session");
    elsewhere.log_in(FRIEDA);
    let who = elsewhere.said(FRIEDA, &["whoami"]);
    assert!(who.contains("groups: \n") || who.contains("groups:\n"), "{who}");
    elsewhere.provider.regroup(FRIEDA.name, &["/payments-oncall"]);
    elsewhere.restart();
    let who = elsewhere.said(FRIEDA, &["whoami"]);
    assert!(who.contains("groups: payments-oncall\n"), "{who}");

    // A thief is faster.
    let stolen = kept(elsewhere, FRIEDA).unwrap();
    let thief = refreshed(elsewhere, &stolen).unwrap();
    elsewhere.restart();
    has_to_log_in(elsewhere, FRIEDA, "invalid_grant");
    assert_eq!(in_file(&file), None);
    assert_eq!(refreshed(elsewhere, thief["refresh_token"].as_str().unwrap()), None, "the provider has noticed");

    elsewhere.log_in(FRIEDA);
    let left = kept(elsewhere, FRIEDA).unwrap();
    elsewhere.said(FRIEDA, &["logout"]);
    assert!(!std::fs::exists(&file).unwrap());
    assert_eq!(refreshed(elsewhere, &left), None, "it is revoked");
    assert_eq!(elsewhere.run(FRIEDA, &["whoami"]).status.code(), Some(8), "there is no daemon on a laptop");
}

/// New keys count when a token needs them. Who has a session works on while the provider is down, and nobody else comes in.
/// Clocks may differ by a minute.
pub(crate) fn keys_outages_and_clocks_stop_nobody_for_long(elsewhere: &mut Elsewhere) {
    elsewhere.clock = Some(Clock::right(&elsewhere.bastion.dir));
    elsewhere.restart();
    let is_off_by = |elsewhere: &Elsewhere, seconds: &str| elsewhere.clock.as_ref().unwrap().is_off_by(seconds);
    elsewhere.log_in(FRIEDA);
    elsewhere.provider.rotate();
    // The next fetch comes 30 s after the last one at the earliest.
    is_off_by(elsewhere, "+40");
    elsewhere.log_in(FRIEDA);

    elsewhere.provider.relay().close();
    elsewhere.said(FRIEDA, &["whoami"]);
    let words = elsewhere.invitation();
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--no-browser"]).collect();
    let refused = elsewhere.run(GRETA, &words);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains(&elsewhere.provider.issuer()), "{said}");
    elsewhere.restart();
    let refused = elsewhere.run(FRIEDA, &["whoami"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains(&elsewhere.provider.issuer()), "{said}");
    elsewhere.provider.relay().reopen();
    let who = elsewhere.said(FRIEDA, &["whoami"]);
    assert!(who.contains("groups: payments-oncall\n"), "{who}");

    for (seconds, is_close) in [("-50", true), ("-100", false), ("+50", true)] {
        is_off_by(elsewhere, seconds);
        let browse = |address: &str| {
            let shown = elsewhere.provider.browse(address, GRETA.name);
            assert_eq!(shown.contains("You are logged in"), is_close, "{seconds}: {shown}");
            assert_eq!(shown.contains("You are not logged in"), !is_close, "{seconds}: {shown}");
        };
        let (succeeded, said) = elsewhere.tries(GRETA, &["--no-browser"], browse);
        assert_eq!(succeeded, is_close, "{seconds}: {said}");
        assert!(is_close || said.contains("is in the future") && said.contains("timedatectl"), "{said}");
    }
}

/// Who is gone at the provider does not get another session.
pub(crate) fn a_session_of_somebody_who_is_gone_is_not_renewed(elsewhere: &mut Elsewhere) {
    elsewhere.log_in(FRIEDA);
    elsewhere.provider.dismiss(FRIEDA.name);
    elsewhere.restart();
    has_to_log_in(elsewhere, FRIEDA, "invalid_grant");
}

/// Whose login ends at the provider has no session, no access and no other session; everybody else goes on, and so does who logs
/// in again.
pub(crate) fn a_logout_at_the_provider_ends_session_and_access(elsewhere: &mut Elsewhere) {
    elsewhere.take_logouts();
    elsewhere.log_in(FRIEDA);
    elsewhere.log_in(GRETA);
    let id = elsewhere.works();
    elsewhere.provider.log_out(FRIEDA.name);
    was_logged_out(elsewhere, &id);
    has_to_log_in(elsewhere, FRIEDA, "invalid_grant");
    elsewhere.said(GRETA, &["whoami"]);
    let trail = elsewhere.bastion.trail();
    let heard = trail.iter().find(|entry| entry["event"]["kind"] == "logged_out").unwrap();
    let requested = trail.iter().find(|entry| entry["event"]["kind"] == "requested").unwrap();
    let (event, login) = (&heard["event"], &requested["login"]["provider"]);
    assert_eq!(
        [&event["issuer"], &event["subject"], &event["sid"]],
        [&login["issuer"], &login["subject"], &login["sid"]]
    );
    assert!(event["sid"].is_string() && event["subject"].is_string(), "{event}");
    let log = std::fs::read_to_string(elsewhere.bastion.dir.join("frontend.log")).unwrap();
    assert!(!(log + &json!(trail).to_string()).contains("eyJ"), "a token was kept");
    elsewhere.log_in(FRIEDA);
    elsewhere.works();
}

/// The access ends soon, because its holder was logged out.
#[track_caller]
fn was_logged_out(elsewhere: &Elsewhere, id: &str) {
    let shown = || elsewhere.bastion.get(ERIN, &format!("/v1/grants/{id}")).1;
    let ended = until_within(AGAIN, "the access ends", || Some(shown()).filter(|grant| grant["phase"] == "ended"));
    let why = ended["closingWords"].as_str().unwrap();
    assert!(why.contains("was logged out at https://"), "{why}");
}

/// Longer than the front end waits before it says something again (30 s at most).
const AGAIN: Duration = Duration::from_secs(60);

fn certified() -> Elsewhere {
    Elsewhere::at(Box::new(Certified::start()), &json!({}))
}

#[test]
fn people_of_a_certified_provider_log_in_by_browser_and_by_code() {
    people_log_in_by_browser_and_by_code(&certified(), None);
}

#[test]
fn a_renewal_at_a_certified_provider_says_as_much_as_the_login() {
    a_renewal_says_as_much_as_the_login(&mut certified());
}

#[test]
fn keys_outages_and_clocks_of_a_certified_provider_stop_nobody_for_long() {
    keys_outages_and_clocks_stop_nobody_for_long(&mut certified());
}

#[test]
fn a_session_of_somebody_who_is_gone_from_a_certified_provider_is_not_renewed() {
    a_session_of_somebody_who_is_gone_is_not_renewed(&mut certified());
}

#[test]
fn a_logout_at_a_certified_provider_ends_session_and_access() {
    a_logout_at_the_provider_ends_session_and_access(&mut certified());
}

/// While `jitd` is down, the sessions end all the same, and the access as soon as it is back.
#[test]
fn a_logout_while_jitd_is_down_ends_the_access_when_it_is_back() {
    let mut elsewhere = certified();
    elsewhere.take_logouts();
    elsewhere.log_in(FRIEDA);
    elsewhere.log_in(GRETA);
    let id = elsewhere.works();
    elsewhere.bastion.kill();
    elsewhere.provider.log_out(FRIEDA.name);
    has_to_log_in(&elsewhere, FRIEDA, "invalid_grant");
    elsewhere.bastion.serve();
    was_logged_out(&elsewhere, &id);
    elsewhere.said(GRETA, &["whoami"]);
}

/// A renewal without an ID token says nothing about anybody.
#[test]
fn a_renewal_without_an_id_token_is_none() {
    let provider = Certified::start();
    provider.control("withhold");
    let mut elsewhere = Elsewhere::at(Box::new(provider), &json!({}));
    elsewhere.log_in(FRIEDA);
    elsewhere.restart();
    has_to_log_in(&elsewhere, FRIEDA, "renewed the login without saying whose it is");
    has_to_log_in(&elsewhere, FRIEDA, "there is no session");
}

/// The browser opens the printed address, and ends at a page of `jit-login` that everybody can read.
#[test]
fn a_browser_ends_at_a_page_of_jit_login() {
    let elsewhere = certified();
    let mut seen = Value::Null;
    let (succeeded, said) =
        elsewhere.tries(FRIEDA, &["--no-browser"], |address| seen = chromium(address, "frieda", None));
    assert!(succeeded, "{said}");
    assert!(seen["address"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{seen}");
    assert!(seen["text"].as_str().unwrap().starts_with("You are logged in\n"), "{seen}");
    assert_eq!([&seen["axe"], &seen["errors"]], [&json!([]), &json!([])], "{seen}");
}
