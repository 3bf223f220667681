//! People who work from elsewhere: a real identity provider, the real front end, the real daemon, and `jit-login` with a home
//! of its own and no socket of the daemon.
//!
//! The provider is `oidc-provider` (`tests/clients/provider`); curl stands in the place of the browser. `providers.rs` and
//! `keycloak.rs` have more of it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Key, Options, Person, path, repository, text};
use crate::gateway_failures::Clock;
use crate::plane::{Plane, root, scratch, until_within};
use crate::providers::{Provider, Relay};

/// Accounts on laptops.
pub(crate) const FRIEDA: Person = Person { name: "frieda", uid: 430_001 };
pub(crate) const GRETA: Person = Person { name: "greta", uid: 430_002 };
const ALICES_LAPTOP: Person = Person { name: "alice", uid: 430_003 };

/// A bastion, its front end and a provider.
pub(crate) struct Elsewhere {
    pub(crate) bastion: Bastion<'static>,
    pub(crate) provider: Box<dyn Provider>,
    frontend: Option<Child>,
    /// The clock of the front end, if it is not the host's.
    pub(crate) clock: Option<Clock>,
    port: u16,
}

/// A port that no test and no connection has: below those that the kernel gives to connections, of which this file has
/// thousands (ip(7), `ip_local_port_range`).
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Elsewhere {
    fn start() -> Self {
        Self::with("10m", |_| {})
    }

    /// For certificates, an ID token may be so old; `change` may change the bastion before it serves.
    fn with(fresh: &str, change: impl FnOnce(&Bastion<'_>)) -> Self {
        Self::made(Box::new(Certified::start()), &json!({}), fresh, change)
    }

    /// With this provider, and with more of its rule.
    pub(crate) fn at(provider: Box<dyn Provider>, rule: &Value) -> Self {
        Self::made(provider, rule, "10m", |_| {})
    }

    /// The same with a directory, as `config.yaml` has it, whose secret this is.
    pub(crate) fn with_directory(provider: Box<dyn Provider>, rule: &Value, directory: &Value, secret: &str) -> Self {
        Self::made(provider, rule, &format!("10m, directory: {directory}"), |bastion| {
            let file = bastion.dir.join("directory.secret");
            std::fs::write(&file, secret).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        })
    }

    fn made(provider: Box<dyn Provider>, rule: &Value, fresh: &str, change: impl FnOnce(&Bastion<'_>)) -> Self {
        let port = free_port();
        let issuer = provider.issuer();
        let groups = "[payments-oncall, payments-leads]";
        let config = format!("providers: [{{issuer: \"{issuer}\", groups: {groups}, fresh: {fresh}}}]\n");
        let mut bastion = Bastion::prepared(Plane::shared(), Options { config, ..Options::default() });
        let alice = format!("name: alice, identities: [{{issuer: \"{issuer}\", subject: alice}}], uids");
        bastion.rewrite_config("name: alice, uids", &alice);
        change(&bastion);
        let mut daemon = Command::new(root().join("bin/jitd"));
        // For the provider's directory, where it has one.
        daemon.env("SSL_CERT_FILE", provider.authority());
        bastion.serve_as(daemon);
        let mut config = json!({
            "listen": format!("127.0.0.1:{port}"), "server": format!("https://127.0.0.1:{port}"),
            "daemon": "run/frontend.sock", "state": "frontend", "scopes": provider.scopes(),
            "providers": [{
                "name": "corp", "issuer": issuer, "audience": "jit-login",
                "nonce": "optional", "deviceCode": "without-nonce",
                "displayName": { "claim": "/preferred_username" },
                "groups": { "claim": "/groups", "map": {
                    "/payments-oncall": "payments-oncall", "/payments-leads": "payments-leads", "/admins": "admins",
                } },
            }],
        });
        for (key, value) in rule.as_object().unwrap() {
            config["providers"][0][key] = value.clone();
        }
        std::fs::write(bastion.dir.join("frontend.yaml"), config.to_string()).unwrap();
        let mut elsewhere = Self { bastion, provider, frontend: None, clock: None, port };
        elsewhere.serve();
        elsewhere
    }

    fn serve(&mut self) {
        let log = self.bastion.dir.join("frontend.log");
        let file = std::fs::File::create(&log).unwrap();
        let program = || Command::new(root().join("bin/jit-frontend"));
        let mut frontend = self.clock.as_ref().map_or_else(program, |clock| clock.under("jit-frontend"));
        frontend.arg("serve").arg("--config").arg(self.bastion.dir.join("frontend.yaml"));
        frontend.env("SSL_CERT_FILE", self.provider.authority()).env_remove("NOTIFY_SOCKET");
        self.frontend = Some(frontend.stdin(Stdio::null()).stderr(file).spawn().unwrap());
        let served = Duration::from_secs(60);
        until_within(served, "the front end serves", || {
            std::fs::read_to_string(&log).unwrap().contains(": ready ").then_some(())
        });
    }

    /// Its sessions are gone then.
    pub(crate) fn restart(&mut self) {
        let mut frontend = self.frontend.take().unwrap();
        frontend.kill().unwrap();
        frontend.wait().unwrap();
        self.serve();
    }

    fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Gives the front end a certificate that the provider trusts, which says there who has logged out.
    pub(crate) fn take_logouts(&mut self) {
        let (dir, authority) = (&self.bastion.dir, self.provider.authority());
        // Its own: both are at 127.0.0.1.
        let [certificate, key] = ["provider.crt", "provider.key"].map(|name| authority.with_file_name(name));
        let chain = [certificate, authority].map(|file| std::fs::read_to_string(file).unwrap()).concat();
        std::fs::write(dir.join("chain.crt"), chain).unwrap();
        let file = dir.join("frontend.yaml");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config["certificate"] = json!({ "chain": "chain.crt", "key": key });
        std::fs::write(&file, config.to_string()).unwrap();
        self.restart();
        self.provider.send_logouts_to(&format!("{}/v1/logout", self.server()));
    }

    /// What `jit-frontend invite` prints, as the words after `jit-login`.
    pub(crate) fn invitation(&self) -> Vec<String> {
        let mut invite = Command::new(root().join("bin/jit-frontend"));
        let printed =
            invite.arg("invite").arg("--config").arg(self.bastion.dir.join("frontend.yaml")).output().unwrap();
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        text(&printed.stdout).split_whitespace().skip(1).map(str::to_owned).collect()
    }

    /// `jit-login` on the laptop of this person.
    pub(crate) fn laptop(&self, person: Person) -> Command {
        let mut command = self.bastion.login_command(person, "jit-login");
        command.env_remove("JITD_SOCKET").env("SSL_CERT_FILE", self.provider.authority());
        command
    }

    pub(crate) fn run(&self, person: Person, words: &[&str]) -> Output {
        self.laptop(person).args(words).output().unwrap()
    }

    /// What a command prints that succeeds.
    #[track_caller]
    pub(crate) fn said(&self, person: Person, words: &[&str]) -> String {
        let done = self.run(person, words);
        assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
        text(&done.stdout).trim().to_owned()
    }

    /// Logs this person in, with the browser that they have.
    #[track_caller]
    pub(crate) fn log_in(&self, person: Person) {
        let browse = |address: &str| {
            let done = self.provider.browse(address, person.name);
            assert!(done.contains("You are logged in"), "{done}");
        };
        let (succeeded, said) = self.tries(person, &["--no-browser"], browse);
        assert!(succeeded, "{said}");
    }

    /// Whether a login succeeds that uses a browser like this, and what it says then.
    pub(crate) fn tries(&self, person: Person, words: &[&str], browse: impl FnOnce(&str)) -> (bool, String) {
        let mut login = self.laptop(person);
        login.args(self.invitation()).args(["-o", "json"]).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut login = Waiting(login.spawn().unwrap());
        let mut lines = BufReader::new(login.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let begins = self.provider.issuer();
        let is_address = |word: &&str| word.starts_with(&begins);
        let address = lines.by_ref().find_map(|line| line.split(' ').find(is_address).map(str::to_owned));
        browse(&address.expect("an address"));
        let rest: Vec<String> = lines.collect();
        let succeeded = login.0.wait().unwrap().success();
        if succeeded {
            let session = std::io::read_to_string(login.0.stdout.take().unwrap()).unwrap();
            crate::schemas::fits("login", &serde_json::from_str(&session).unwrap());
        }
        (succeeded, rest.join("\n"))
    }

    /// Logs this person in by a code that they enter in a browser elsewhere.
    #[track_caller]
    fn log_in_by_device(&self, person: Person) {
        let jar = self.bastion.dir.join("cookies");
        let page = |address: &str, form: Option<&str>| page(&jar, &self.provider.authority(), address, form);
        let browse = |address: &str| {
            let (place, code) = address.split_once("?user_code=").unwrap();
            let (form, _) = page(address, None);
            let fields = format!("xsrf={}&user_code={code}", hidden(&form));
            let (confirm, _) = page(place, Some(&fields));
            let fields = format!("xsrf={}&user_code={code}&confirm=yes", hidden(&confirm));
            let (login_page, at) = page(place, Some(&fields));
            assert!(login_page.contains("login"), "{login_page}");
            let (consent, at) = page(&at, Some(&format!("as={}", person.name)));
            assert!(consent.contains("consent"), "{consent}");
            page(&at, Some("yes=1"));
        };
        let (succeeded, said) = self.tries(person, &["--device"], browse);
        assert!(succeeded, "{said}");
    }

    /// Requests access to the namespace of this bastion; the grant's id.
    #[track_caller]
    fn request(&self, person: Person) -> String {
        let ns = self.bastion.ns.as_str();
        let words = ["request", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-42 from home"];
        self.said(person, &[&words[..], &["--no-wait", "-o", "name"]].concat())
    }

    /// Whether kubectl reads there with that grant.
    #[track_caller]
    fn reads(&self, person: Person, id: &str) {
        let seen = self.said(person, &["run", id, "--", "kubectl", "get", "configmaps", "seen", "-o", "name"]);
        assert_eq!(seen, "configmap/seen");
    }

    /// Three commands of a person at once, all of which succeed.
    #[track_caller]
    pub(crate) fn three_at_once(&self, person: Person) {
        let spawn = || self.laptop(person).arg("whoami").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        for command in [spawn(), spawn(), spawn()] {
            let done = command.wait_with_output().unwrap();
            assert!(done.status.success(), "{}", text(&done.stderr));
        }
    }

    /// frieda requests, greta approves, and kubectl reads; the grant's id.
    #[track_caller]
    pub(crate) fn works(&self) -> String {
        let id = self.request(FRIEDA);
        self.said(GRETA, &["approve", &id, "--yes"]);
        self.reads(FRIEDA, &id);
        id
    }
}

/// `oidc-provider`, with a certificate of an authority of its own.
pub(crate) struct Certified {
    process: Child,
    folder: PathBuf,
    relay: Relay,
}

impl Certified {
    pub(crate) fn start() -> Self {
        let (folder, port) = (scratch("provider"), free_port());
        let relay = Relay::to(port);
        let (certificate, key) = certify(&folder);
        let built = Command::new(repository().join("tests/clients/build.sh")).arg("provider").output().unwrap();
        assert!(built.status.success(), "{}", text(&built.stderr));
        let log = folder.join("provider.log");
        let process = Command::new(PathBuf::from(text(&built.stdout).trim()).join("run"))
            .args([port.to_string(), relay.address()])
            .args([certificate, key])
            .env("NODE_EXTRA_CA_CERTS", folder.join("root.crt"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { process, folder, relay };
        until_within(Duration::from_secs(60), "the provider serves", || {
            std::fs::read_to_string(&log).unwrap().lines().any(|line| line == "ready").then_some(())
        });
        started
    }

    pub(crate) fn control(&self, words: &str) {
        let address = format!("{}/control/{words}", self.issuer());
        let done =
            Command::new("curl").args(["--silent", "--cacert"]).arg(self.authority()).arg(address).output().unwrap();
        assert_eq!(text(&done.stdout), "ok");
    }
}

impl Provider for Certified {
    fn issuer(&self) -> String {
        self.relay.address()
    }

    fn authority(&self) -> PathBuf {
        self.folder.join("root.crt")
    }

    fn scopes(&self) -> &'static [&'static str] {
        &["openid", "profile", "groups"]
    }

    fn relay(&self) -> &Relay {
        &self.relay
    }

    /// With curl: the name, then the consent. Each answer leads on, at last to `jit-login`.
    fn browse(&self, address: &str, name: &str) -> String {
        let page = |address: &str, form: Option<&str>| page(&self.folder.join(name), &self.authority(), address, form);
        let (mut shown, mut at) = page(address, None);
        // Somebody who has logged in before is not asked again.
        for (asked, form) in [("login", format!("as={name}")), ("consent", "yes=1".to_owned())] {
            if shown.contains(&format!("<button>{asked}")) {
                (shown, at) = page(&at, Some(&form));
            }
        }
        shown
    }

    fn regroup(&self, who: &str, groups: &[&str]) {
        let groups: String = groups.iter().map(|group| format!("&group={group}")).collect();
        self.control(&format!("groups?who={who}{groups}"));
    }

    fn dismiss(&self, who: &str) {
        self.control(&format!("gone?who={who}"));
    }

    fn rotate(&self) {
        self.control("rotate");
    }

    fn send_logouts_to(&self, address: &str) {
        self.control(&format!("logouts?to={address}"));
    }

    /// With the browser that they logged in with.
    fn log_out(&self, who: &str) {
        let page = |address: &str, form: Option<&str>| page(&self.folder.join(who), &self.authority(), address, form);
        let (asked, _) = page(&format!("{}/session/end", self.issuer()), None);
        let form = format!("xsrf={}&logout=yes", hidden(&asked));
        let (shown, _) = page(&format!("{}/session/end/confirm", self.issuer()), Some(&form));
        assert!(shown.contains("Sign-out Success"), "{shown}");
    }
}

impl Drop for Certified {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// One page, where a browser ends up that keeps its cookies here, and its address.
fn page(jar: &Path, authority: &Path, address: &str, form: Option<&str>) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--location", "--max-time", "60", "--output", "-"])
        .args(["--write-out", "\n%{url_effective}", "--cookie-jar"])
        .arg(jar)
        .arg("--cookie")
        .arg(jar)
        .arg("--cacert")
        .arg(authority);
    if let Some(form) = form {
        curl.args(["--data", form]);
    }
    let shown = curl.arg(address).output().unwrap();
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    let (page, at) = shown.rsplit_once('\n').unwrap();
    (page.to_owned(), at.to_owned())
}

/// The value of a form of `oidc-provider` that proves that it was shown.
fn hidden(page: &str) -> &str {
    let rest = page.split("name=\"xsrf\" value=\"").nth(1).unwrap_or_else(|| panic!("no form: {page}"));
    rest.split('"').next().unwrap()
}

/// A login that waits for its browser; it does not outlive a test that fails.
struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(child) = &mut self.frontend {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.bastion.dir.join("frontend.log")).unwrap_or_default();
            eprintln!("---- log of the front end\n{log}");
        }
    }
}

/// Writes a certificate for 127.0.0.1 and its key to this folder, and its authority to `root.crt`.
pub(crate) fn certify(folder: &Path) -> (PathBuf, PathBuf) {
    let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    file("root.crt", params.self_signed(&root_key).unwrap().pem());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    // With the name of its issuer, OpenSSL would take it for self-signed.
    leaf.distinguished_name = DistinguishedName::new();
    leaf.distinguished_name.push(DnType::CommonName, "provider");
    let leaf = leaf.signed_by(&key, &Issuer::new(params, root_key)).unwrap();
    (file("provider.crt", leaf.pem()), file("provider.key", key.serialize_pem()))
}

/// Login by code, request, approval by somebody else who is elsewhere, certificate, kubectl; and nothing keeps a token.
#[test]
fn people_work_from_elsewhere_as_on_the_bastion() {
    let mut elsewhere = Elsewhere::start();
    elsewhere.log_in(FRIEDA);
    elsewhere.log_in(GRETA);
    let who = elsewhere.said(FRIEDA, &["whoami"]);
    assert!(who.starts_with("frieda@corp.") && who.contains("groups: payments-oncall\n"), "{who}");
    assert!(who.contains("the session is kept in ") && who.contains(", by a token of "), "{who}");
    let id = elsewhere.works();
    let trail = elsewhere.bastion.trail();
    let login = |kind: &str| {
        let entry = trail.iter().find(|entry| entry["event"]["kind"] == kind).unwrap();
        entry["login"]["provider"]["subject"].as_str().unwrap().to_owned()
    };
    assert_eq!((login("requested").as_str(), login("approved").as_str()), ("frieda", "greta"));
    // No part of a JSON Web Token, which begins with `{"` in base64url.
    let log = std::fs::read_to_string(elsewhere.bastion.dir.join("frontend.log")).unwrap();
    for (name, kept) in [("trail", json!(trail).to_string()), ("daemon", elsewhere.bastion.log()), ("front end", log)] {
        assert!(!kept.contains("eyJ"), "a token is in the log of the {name}");
    }
    let session = who.rsplit_once(' ').unwrap().1;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(session).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Sessions are gone with the front end; two commands at once renew theirs with one refresh token.
    elsewhere.restart();
    let spawn =
        || elsewhere.laptop(FRIEDA).arg("whoami").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for command in [spawn(), spawn()] {
        let done = command.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    // What the provider says at the next login counts.
    elsewhere.provider.regroup("greta", &["/admins"]);
    elsewhere.log_in(GRETA);
    let who = elsewhere.said(GRETA, &["whoami"]);
    assert!(who.contains("groups: \n") || who.contains("groups:\n"), "a provider gives no admins: {who}");
    elsewhere.said(FRIEDA, &["end", &id]);
    elsewhere.said(FRIEDA, &["logout"]);
    assert!(!std::fs::exists(session).unwrap());
    assert_eq!(elsewhere.run(FRIEDA, &["whoami"]).status.code(), Some(8), "there is no daemon on a laptop");
    elsewhere.bastion.has_no_fault();
}

/// `jit-login link` on the laptop and on the bastion makes both logins one person.
#[test]
fn a_login_at_a_provider_and_an_account_are_linked() {
    let elsewhere = Elsewhere::start();
    elsewhere.log_in(FRIEDA);
    let offered: Value = serde_json::from_str(&elsewhere.said(FRIEDA, &["link", "-o", "json"])).unwrap();
    crate::schemas::fits("link", &offered);
    let code = offered["code"].as_str().unwrap().to_owned();
    let refused = elsewhere.run(FRIEDA, &["link", &code, "--yes"]);
    assert_eq!(refused.status.code(), Some(4), "only an account accepts: {}", text(&refused.stderr));
    let unasked = elsewhere.bastion.login(BOB, &["link", &code]);
    assert_eq!(unasked.status.code(), Some(2), "without a terminal: {}", text(&unasked.stderr));
    let linked = elsewhere.bastion.login(BOB, &["link", &code, "--yes"]);
    assert!(linked.status.success() && text(&linked.stdout).contains("frieda at https://"), "{linked:?}");
    let who = elsewhere.said(FRIEDA, &["whoami"]);
    assert!(who.starts_with("bob on host"), "{who}");
}

/// A certificate needs a fresh ID token: `jit-login` gets one by itself, as long as the provider renews the login. Who is gone
/// there between the approval and the collection collects nothing.
#[test]
fn a_certificate_is_collected_with_a_fresh_token() {
    let elsewhere = Elsewhere::with("20s", |_| {});
    elsewhere.log_in(FRIEDA);
    let approved = || {
        let id = elsewhere.request(FRIEDA);
        let grant = elsewhere.bastion.get(ERIN, &format!("/v1/grants/{id}")).1;
        assert_eq!(elsewhere.bastion.approve(BOB, &grant).0, 200);
        id
    };
    // When the token of the last request was issued.
    let issued = || -> jiff::Timestamp {
        let trail = elsewhere.bastion.trail();
        let entry = trail.iter().rfind(|entry| entry["event"]["kind"] == "requested").unwrap();
        entry["login"]["provider"]["issued"].as_str().unwrap().parse().unwrap()
    };
    let is_too_old = |issued: jiff::Timestamp| {
        #[expect(clippy::disallowed_methods, reason = "the token grows old by the clock")]
        until_within(Duration::from_secs(120), "the token is too old", || {
            (jiff::Timestamp::now().duration_since(issued).as_secs() > 20).then_some(())
        });
    };
    let id = approved();
    let first = issued();
    is_too_old(first);
    elsewhere.reads(FRIEDA, &id);
    elsewhere.said(FRIEDA, &["end", &id]);
    let id = approved();
    let second = issued();
    assert!(second > first, "the session has another token");
    assert!(elsewhere.bastion.trail().iter().all(|entry| entry["event"]["kind"] != "refused"));
    elsewhere.provider.dismiss("frieda");
    is_too_old(second);
    let refused = elsewhere.run(FRIEDA, &["run", &id, "--", "true"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("identity provider"), "{said}");
    assert_eq!(elsewhere.bastion.get(ERIN, &format!("/v1/grants/{id}")).1["phase"], "approved");
}

/// A rule refuses approvals by people who logged in by device code, or not recently enough, and says what to do.
#[test]
fn a_rule_refuses_an_approval_after_a_login_by_device_code() {
    let policy = "rules:
- name: payments
  who: [payments-oncall]
  clusters: [play]
  namespaces: [NS]
  roles: [view]
  maxDuration: 10m
  approval: [{groups: [payments-leads]}]
  login: {amr: [otp], authTime: 1h, deviceCode: false}
";
    let elsewhere = Elsewhere::with("10m", |bastion| bastion.write_policy(policy));
    let bastion = &elsewhere.bastion;
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let id = grant["id"].as_str().unwrap();
    elsewhere.log_in_by_device(GRETA);
    let refused = elsewhere.run(GRETA, &["approve", id, "--yes"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("yours was by device code") && said.contains("--no-browser"), "{said}");
    elsewhere.log_in(GRETA);
    elsewhere.said(GRETA, &["approve", id, "--yes"]);
    let trail = bastion.trail();
    let flow = |kind: &str| {
        let entry = trail.iter().find(|entry| entry["event"]["kind"] == kind).unwrap();
        entry["login"]["provider"]["flow"].as_str().unwrap().to_owned()
    };
    assert_eq!((flow("refused").as_str(), flow("approved").as_str()), ("device-code", "code"));
    bastion.has_no_fault();
}

/// One human who comes by their account and by a provider is one person.
#[test]
fn the_same_human_by_account_and_by_provider_is_one_person() {
    let elsewhere = Elsewhere::start();
    let bastion = &elsewhere.bastion;
    elsewhere.log_in(ALICES_LAPTOP);
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    let id = grant["id"].as_str().unwrap();
    let answered = elsewhere.run(ALICES_LAPTOP, &["approve", id, "--yes", "-o", "json"]);
    assert_eq!(answered.status.code(), Some(4));
    assert!(text(&answered.stderr).contains("nobody answers their own request"), "{}", text(&answered.stderr));
    assert_eq!(bastion.get(ERIN, &path(&grant, "")).1["phase"], "pending");
    let id = elsewhere.request(ALICES_LAPTOP);
    let digest = json!({ "digest": bastion.get(ERIN, &format!("/v1/grants/{id}")).1["digest"] });
    let (status, problem) = bastion.post(ALICE, &format!("/v1/grants/{id}/approve"), &digest);
    assert_eq!((status, &problem["code"]), (403, &json!("self-approval")));
    assert_eq!(bastion.post(BOB, &format!("/v1/grants/{id}/approve"), &digest).0, 200);
}

/// `jit-login` speaks to no server but the one of the invitation, also the first time.
#[test]
fn nothing_is_said_to_another_server() {
    let elsewhere = Elsewhere::start();
    let other = format!("sha256:{}", "00".repeat(32));
    let refused = elsewhere.run(FRIEDA, &["login", &elsewhere.server(), "--root", &other, "--no-browser"]);
    assert_eq!(refused.status.code(), Some(8), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("UnknownIssuer"), "{}", text(&refused.stderr));
    let without = elsewhere.run(FRIEDA, &["login", &elsewhere.server(), "--no-browser"]);
    assert_eq!(without.status.code(), Some(2), "{}", text(&without.stderr));
    let unknown = elsewhere.run(FRIEDA, &["--socket", &elsewhere.server(), "whoami"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
}

/// 2,000 idle and 200 slow strangers at the front end, and the users' socket answers as always.
#[test]
fn strangers_do_not_slow_the_users_down() {
    let elsewhere = Elsewhere::start();
    let slowest = || {
        let asked = (0..20).map(|_| {
            let begun = Instant::now();
            assert_eq!(elsewhere.bastion.get(ALICE, "/v1/whoami"), (200, elsewhere.bastion.get(ALICE, "/v1/whoami").1));
            begun.elapsed()
        });
        asked.max().unwrap()
    };
    let quiet = slowest();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let held = runtime.block_on(async {
        let mut held = Vec::new();
        for number in 0..2200_u32 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            let host = u8::try_from(2 + number % 10).unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
            let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], elsewhere.port))).await.unwrap();
            if number % 11 == 0 {
                // The beginning of a handshake.
                stream.writable().await.unwrap();
                let _ = stream.try_write(&[0x16, 3, 1, 2, 0, 1]);
            }
            held.push(stream);
        }
        held
    });
    let loud = slowest();
    println!("the slowest of 20 calls at the users' socket: {loud:?}, {quiet:?} without {} strangers", held.len());
    assert!(loud < Duration::from_secs(1).max(quiet * 3), "{loud:?}, {quiet:?}");
    let metrics: Value = elsewhere.bastion.get(ALICE, "/v1/clusters").1;
    assert!(metrics["clusters"].is_array());
}
