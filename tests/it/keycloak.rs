//! Keycloak (`tests/clients/keycloak`) as the identity provider of people who work from elsewhere.
//!
//! One server runs for all tests, and each of them has a realm (`realm.json`) of its own. Its people log in in Chromium, with a
//! password and a one-time password: `acr` is `mfa` then, and `pwd` if a password was all. Where somebody enters a code of another
//! device, Keycloak asks for the password alone, and a renewed ID token has no nonce (OpenID Connect Core 1.0 section 12.2).

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bastion::{ERIN, repository, text};
use crate::oidc::{Elsewhere, FRIEDA, GRETA, certify, free_port};
use crate::plane::{scratch, until_within};
use crate::providers::{
    Provider, Relay, a_logout_at_the_provider_ends_session_and_access, a_renewal_says_as_much_as_the_login,
    a_session_of_somebody_who_is_gone_is_not_renewed, chromium, keys_outages_and_clocks_stop_nobody_for_long,
    people_log_in_by_browser_and_by_code,
};

/// The secret of the one-time passwords in `realm.json`.
const SECRET: &str = "only for these tests";

/// A running Keycloak, which ends with this process.
struct Server {
    port: u16,
    folder: PathBuf,
    process: Child,
    _input: ChildStdin,
}

impl Server {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let built = Command::new(repository().join("tests/clients/build.sh"))
            .arg("keycloak")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(built.status.success(), "Keycloak could not be made");
        let begun = Instant::now();
        let (folder, port) = (scratch("keycloak"), free_port());
        let (certificate, key) = certify(&folder);
        let log = folder.join("keycloak.log");
        let mut process = Command::new(PathBuf::from(text(&built.stdout).trim()).join("run"))
            .args(["--http-enabled=false", "--http-host=127.0.0.1", "--hostname-strict=false", "--cache=local"])
            .arg(format!("--https-port={port}"))
            .arg(format!("--https-certificate-file={}", certificate.display()))
            .arg(format!("--https-certificate-key-file={}", key.display()))
            // What it trusts where it sends logout tokens.
            .arg(format!("--truststore-paths={}", folder.join("root.crt").display()))
            .envs([("KC_BOOTSTRAP_ADMIN_USERNAME", "admin"), ("KC_BOOTSTRAP_ADMIN_PASSWORD", "admin")])
            .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m")
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let mut server = Self { port, folder, process, _input: input };
        until_within(Duration::from_secs(300), "Keycloak serves", || {
            let log = || std::fs::read_to_string(&log).unwrap();
            assert!(server.process.try_wait().unwrap().is_none(), "{}", log());
            server.answer(&["--fail", &server.address("/realms/master")]).map(drop)
        });
        println!("Keycloak serves after {:.0?}", begun.elapsed());
        server
    }

    fn address(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// What it answers to curl; none if that fails.
    fn answer(&self, words: &[&str]) -> Option<String> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "60", "--cacert"]).arg(self.folder.join("root.crt"));
        let done = curl.args(words).output().unwrap();
        done.status.success().then(|| text(&done.stdout))
    }

    /// Calls the admin API.
    fn admin(&self, method: &str, path: &str, body: &Value) -> Value {
        let login = ["grant_type=password", "client_id=admin-cli", "username=admin", "password=admin"].join("&");
        let token = self.address("/realms/master/protocol/openid-connect/token");
        let token: Value = serde_json::from_str(&self.answer(&["--data", &login, &token]).unwrap()).unwrap();
        let authorization = format!("authorization: Bearer {}", token["access_token"].as_str().unwrap());
        let (address, body) = (self.address(&format!("/admin/realms{path}")), body.to_string());
        let mut words = vec!["--fail-with-body", "--request", method, "--header", &authorization];
        if method != "GET" {
            words.extend(["--header", "content-type: application/json", "--data", &body]);
        }
        words.push(&address);
        let answer = self.answer(&words).unwrap_or_else(|| panic!("{method} {path} failed"));
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }
}

/// Who administers a realm.
struct Administrator {
    server: &'static Server,
    realm: String,
}

/// A realm of one test.
struct Realm {
    administrator: Administrator,
    relay: Relay,
}

impl Realm {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = Server::shared();
        let name = format!("corp-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut realm: Value = serde_json::from_str(include_str!("realm.json")).unwrap();
        realm["realm"] = json!(name);
        server.admin("POST", "", &realm);
        Self { administrator: Administrator { server, realm: name }, relay: Relay::to(server.port) }
    }
}

impl Administrator {
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.server.admin(method, &format!("/{}{path}", self.realm), body)
    }

    /// Changes the first of what this path lists.
    fn change(&self, path: &str, query: &str, change: impl FnOnce(&mut Value)) {
        let mut found = self.call("GET", &format!("{path}?{query}"), &Value::Null)[0].take();
        change(&mut found);
        self.call("PUT", &format!("{path}/{}", found["id"].as_str().unwrap()), &found);
    }
}

impl Provider for Realm {
    fn issuer(&self) -> String {
        format!("{}/realms/{}", self.relay.address(), self.administrator.realm)
    }

    fn authority(&self) -> PathBuf {
        self.administrator.server.folder.join("root.crt")
    }

    fn scopes(&self) -> &'static [&'static str] {
        &["openid", "profile"]
    }

    fn relay(&self) -> &Relay {
        &self.relay
    }

    fn browse(&self, address: &str, name: &str) -> String {
        chromium(address, name, Some(SECRET))["text"].as_str().unwrap().to_owned()
    }

    fn regroup(&self, who: &str, groups: &[&str]) {
        let administrator = &self.administrator;
        let user =
            administrator.call("GET", &format!("/users?username={who}&exact=true"), &Value::Null)[0]["id"].take();
        for group in administrator.call("GET", "/groups", &Value::Null).as_array().unwrap() {
            let method = if groups.contains(&group["path"].as_str().unwrap()) { "PUT" } else { "DELETE" };
            let path = format!("/users/{}/groups/{}", user.as_str().unwrap(), group["id"].as_str().unwrap());
            administrator.call(method, &path, &json!({}));
        }
    }

    fn dismiss(&self, who: &str) {
        let disable = |user: &mut Value| user["enabled"] = json!(false);
        self.administrator.change("/users", &format!("username={who}&exact=true"), disable);
    }

    fn rotate(&self) {
        let administrator = &self.administrator;
        let keys = administrator.call("GET", "/components?type=org.keycloak.keys.KeyProvider", &Value::Null);
        let old = keys.as_array().unwrap().iter().find(|key| key["providerId"] == "rsa-generated").unwrap();
        let mut new = old.clone();
        new.as_object_mut().unwrap().remove("id");
        (new["name"], new["config"]) = (json!("new"), json!({ "priority": ["200"], "algorithm": ["RS256"] }));
        administrator.call("POST", "/components", &new);
        administrator.call("DELETE", &format!("/components/{}", old["id"].as_str().unwrap()), &Value::Null);
    }

    fn send_logouts_to(&self, address: &str) {
        let change = |client: &mut Value| {
            client["attributes"]["backchannel.logout.url"] = json!(address);
            client["attributes"]["backchannel.logout.session.required"] = json!("true");
        };
        self.administrator.change("/clients", "clientId=jit-login", change);
    }

    /// "Sign out" of the user's sessions in the administration console.
    fn log_out(&self, who: &str) {
        let administrator = &self.administrator;
        let user =
            administrator.call("GET", &format!("/users?username={who}&exact=true"), &Value::Null)[0]["id"].take();
        administrator.call("POST", &format!("/users/{}/logout", user.as_str().unwrap()), &json!({}));
    }
}

/// Only who has given a one-time password comes in.
fn elsewhere(realm: Realm) -> Elsewhere {
    let rule =
        json!({ "deviceCode": { "audience": "jit-login-device" }, "require": [{ "claim": "/acr", "is": "mfa" }] });
    Elsewhere::at(Box::new(realm), &rule)
}

#[test]
#[ignore = "make identity: it needs a JDK and Maven"]
fn people_of_keycloak_log_in_by_browser_and_by_code() {
    let elsewhere = Elsewhere::at(Box::new(Realm::new()), &json!({ "deviceCode": { "audience": "jit-login-device" } }));
    people_log_in_by_browser_and_by_code(&elsewhere, Some(SECRET));
}

#[test]
#[ignore = "make identity: it needs a JDK and Maven"]
fn a_renewal_at_keycloak_says_as_much_as_the_login() {
    a_renewal_says_as_much_as_the_login(&mut elsewhere(Realm::new()));
}

#[test]
#[ignore = "make identity: it needs a JDK and Maven"]
fn keys_outages_and_clocks_of_keycloak_stop_nobody_for_long() {
    keys_outages_and_clocks_stop_nobody_for_long(&mut elsewhere(Realm::new()));
}

/// A password alone is refused, and the browser says so too; a code of another device is never more.
#[test]
#[ignore = "make identity: it needs a JDK and Maven"]
fn a_login_without_the_second_factor_is_refused() {
    let realm = Realm::new();
    let change = |client: &mut Value| client["attributes"]["default.acr.values"] = json!("pwd");
    realm.administrator.change("/clients", "clientId=jit-login", change);
    let elsewhere = elsewhere(realm);
    let browse = |address: &str| {
        let shown = elsewhere.provider.browse(address, FRIEDA.name);
        assert!(shown.starts_with("You are not logged in"), "{shown}");
    };
    let (succeeded, said) = elsewhere.tries(FRIEDA, &["--no-browser"], browse);
    let why = "`/acr` is not what the provider's rule requires";
    assert!(!succeeded && said.contains(why), "{said}");
    let browse = |address: &str| drop(elsewhere.provider.browse(address, FRIEDA.name));
    let (succeeded, said) = elsewhere.tries(FRIEDA, &["--device"], browse);
    assert!(!succeeded && said.contains(why), "{said}");
}

#[test]
#[ignore = "make identity: it needs a JDK and Maven"]
fn a_session_of_somebody_whom_keycloak_has_disabled_is_not_renewed() {
    a_session_of_somebody_who_is_gone_is_not_renewed(&mut elsewhere(Realm::new()));
}

/// An administrator ends all of somebody's sessions.
#[test]
#[ignore = "make identity: it needs a JDK and Maven"]
fn a_logout_at_keycloak_ends_session_and_access() {
    a_logout_at_the_provider_ends_session_and_access(&mut elsewhere(Realm::new()));
}

/// The daemon asks Keycloak itself: who loses the group, or is disabled, loses live access within a minute.
#[test]
#[ignore = "make identity: it needs a JDK and Maven"]
fn whoever_loses_the_group_or_the_account_at_keycloak_loses_live_access() {
    let realm = Realm::new();
    let directory = json!({
        "keycloak": realm.issuer().replace("/realms/", "/admin/realms/"), "clientId": "jitd", "secret": { "file": "directory.secret" },
        "groups": { "/payments-oncall": "payments-oncall", "/payments-leads": "payments-leads" },
    });
    let elsewhere = Elsewhere::with_directory(Box::new(realm), &json!({}), &directory, "hush");
    elsewhere.log_in(GRETA);
    let lose = |lose: &dyn Fn(), why: &str| {
        elsewhere.provider.regroup(FRIEDA.name, &["/payments-oncall"]);
        elsewhere.log_in(FRIEDA);
        let ns = &elsewhere.bastion.ns;
        let request = ["request", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-42 from home"];
        let id = elsewhere.said(FRIEDA, &[&request[..], &["--no-wait", "-o", "name"]].concat());
        elsewhere.said(GRETA, &["approve", &id, "--yes"]);
        elsewhere.said(FRIEDA, &["run", &id, "--", "kubectl", "get", "configmaps", "seen", "-o", "name"]);
        let grant = json!({ "id": id });
        assert_eq!(elsewhere.bastion.show(ERIN, &grant)["phase"], "live");
        lose();
        let ended = until_within(Duration::from_secs(60), "the access is over", || {
            let shown = elsewhere.bastion.show(ERIN, &grant);
            (shown["phase"] == "ended").then_some(shown)
        });
        assert_eq!(ended["endCause"], "drifted");
        assert!(ended["closingWords"].as_str().unwrap().contains(why), "{ended}");
    };
    lose(&|| elsewhere.provider.regroup(FRIEDA.name, &[]), "is no longer in payments-oncall");
    lose(&|| elsewhere.provider.dismiss(FRIEDA.name), "says that this account is disabled");
}
