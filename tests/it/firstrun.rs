//! The first run: `jitd init` on a new host, from flags, from a kubeconfig and on a terminal, and what it never does.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::bastion::text;
use crate::plane::{Plane, root, scratch, until};

/// A host without a configuration.
struct Host {
    dir: PathBuf,
}

const ANSWERS: [&str; 8] =
    ["--requesters", "payments-oncall", "--approvers", "payments-leads", "--namespace", "payments", "--role", "view"];

impl Host {
    fn new() -> Self {
        Self { dir: scratch("firstrun") }
    }

    fn config(&self) -> PathBuf {
        self.dir.join("etc/config.yaml")
    }

    fn jitd(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(root().join("bin/jitd"));
        command.arg("--config").arg(self.config()).args(words).stdin(Stdio::null());
        command
    }

    /// All flags, with the shared cluster as it is known to an administrator.
    fn flags(&self) -> Vec<String> {
        let plane = Plane::shared();
        let state = self.dir.join("state");
        let socket = self.dir.join("run/api.sock");
        let own = ["init", "--cluster", "prod", "--kubeconfig", plane.kubeconfig.to_str().unwrap()];
        let places = ["--state", state.to_str().unwrap(), "--socket", socket.to_str().unwrap()];
        own.iter().chain(&ANSWERS).chain(&places).map(ToString::to_string).collect()
    }

    fn init(&self, more: &[&str]) -> Output {
        let flags = self.flags();
        let words: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.jitd(&words)
    }

    #[track_caller]
    fn done(&self, more: &[&str]) -> Output {
        let output = self.init(more);
        assert!(output.status.success(), "{}", text(&output.stderr));
        output
    }

    /// The names below a folder of this host, in order.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// From flags only: files that pass `jitd check`, private, an authority, and the next steps.
#[test]
fn init_creates_what_the_daemon_needs() {
    let host = Host::new();
    let output = host.done(&["--distribution", "kubeadm"]);
    assert_eq!(text(&output.stdout), format!("{}\n", host.dir.join("state/ca/prod/root.crt").display()));
    let told = text(&output.stderr);
    for words in [
        "wrote ",
        "--client-ca-file=/etc/kubernetes/pki/client-ca.crt",
        "kubeadm-config",
        "manifest prod | kubectl apply -f -",
        "check --cluster prod",
        "root.key to an offline place",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(host.names("etc"), ["config.yaml", "guardrails.yaml", "policy.yaml", "prod-ca.crt"]);
    for (path, expected) in [
        ("etc", 0o700),
        ("etc/config.yaml", 0o600),
        ("etc/policy.yaml", 0o600),
        ("state", 0o700),
        ("state/ca", 0o700),
        ("state/ca/prod/issuing.pem", 0o600),
    ] {
        assert_eq!(mode(&host.dir.join(path)), expected, "{path}");
    }
    let checked = host.jitd(&["check"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert!(
        text(&checked.stdout).ends_with("config.yaml: ok, 1 rule for prod, 2 cases pass\n"),
        "{}",
        text(&checked.stdout)
    );
}

/// For scripts: what was created, what existed, and how to make the authority trusted.
#[test]
fn init_reports_what_it_created_as_json() {
    let host = Host::new();
    let made: Value = serde_json::from_slice(&host.done(&["-o", "json", "--distribution", "k3s"]).stdout).unwrap();
    assert_eq!(made["files"].as_array().unwrap().len(), 4);
    assert!(made["files"].as_array().unwrap().iter().all(|file| file["fate"] == "written"), "{made}");
    let cluster = &made["clusters"][0];
    assert_eq!(
        (&cluster["cluster"], &cluster["authority"], &cluster["distribution"]),
        (&"prod".into(), &"written".into(), &"k3s".into())
    );
    assert_eq!(cluster["rootSha256"].as_str().unwrap().len(), 64);
    assert!(cluster["trust"][1].as_str().unwrap().contains("/var/lib/rancher/k3s/server/tls/client-ca.crt"), "{made}");
    let again: Value = serde_json::from_slice(&host.done(&["-o", "json"]).stdout).unwrap();
    assert_eq!((&again["files"][0]["fate"], &again["clusters"][0]["authority"]), (&"left".into(), &"left".into()));
    assert_eq!(again["clusters"][0]["rootSha256"], cluster["rootSha256"]);
}

/// Each key that is commented out works when it is uncommented, alone and with all others.
#[test]
fn every_optional_key_can_be_uncommented() {
    let host = Host::new();
    host.done(&[]);
    // One of them names a file.
    fs::copy(&Plane::shared().kubeconfig, host.dir.join("etc/prod.kubeconfig")).unwrap();
    let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ") || line.starts_with("#  ");
    let mut taken_up = 0;
    for name in ["config.yaml", "policy.yaml", "guardrails.yaml"] {
        let file = host.dir.join("etc").join(name);
        let written = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        let with = |chosen: &dyn Fn(usize) -> bool| -> String {
            let line = |(at, line): (usize, &&str)| {
                if is_key(line) && chosen(at) { line.strip_prefix('#').unwrap().to_owned() } else { (*line).to_owned() }
            };
            lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\n") + "\n"
        };
        let passes = |text_of: String| {
            fs::write(&file, &text_of).unwrap();
            let checked = host.jitd(&["check"]);
            assert!(checked.status.success(), "{}\n{text_of}", text(&checked.stderr));
        };
        let begins: Vec<usize> =
            (0..lines.len()).filter(|at| is_key(lines[*at]) && (*at == 0 || !is_key(lines[at - 1]))).collect();
        for begin in &begins {
            let end = (*begin..lines.len()).find(|at| !is_key(lines[*at])).unwrap_or(lines.len());
            passes(with(&|at| (*begin..end).contains(&at)));
            taken_up += 1;
        }
        passes(with(&|_| true));
        fs::write(&file, &written).unwrap();
    }
    assert!(taken_up >= 20, "{taken_up}");
}

/// What is missing is named all at once, and nothing is written.
#[test]
fn without_a_terminal_every_missing_flag_is_named_at_once() {
    let host = Host::new();
    let output = host.jitd(&["init", "--cluster", "prod", "--role", "view"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "jitd: missing: --server, --server-ca, --requesters, --approvers, --namespace; nothing was written\n\
         hint: on a terminal `jitd init` asks for them; --kubeconfig FILE provides the server and its CA\n"
    );
    assert!(!host.dir.join("etc").exists());
}

/// An impossible answer is refused with its reason, and nothing is written.
#[test]
fn an_impossible_answer_writes_nothing() {
    let plane = Plane::shared();
    let (ca, server) = (plane.ca.to_str().unwrap(), plane.server.as_str());
    let by_hand = |change: (&'static str, &'static str)| {
        let mut words = vec!["init", "--cluster", "prod", "--server", server, "--server-ca", ca];
        words.extend(ANSWERS);
        let at = words.iter().position(|word| *word == change.0).unwrap();
        words[at + 1] = change.1;
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (flag, value, why) in [
        ("--cluster", "Prod!", "must be 1 to 63 characters (a-z 0-9 -)"),
        ("--server", "http://10.0.0.1", "is not a URL like https://10.0.0.1:6443"),
        ("--server-ca", "/nowhere", "No such file"),
        ("--server-ca", "/etc/hosts", "contains no certificate"),
        ("--requesters", "a\nb", "is not a valid group name"),
        ("--namespace", "kube-system", "no access is granted in `kube-system`"),
        ("--role", "cluster-admin", "`cluster-admin` is never granted"),
        ("--role", "system:node", "roles of the system itself are never granted"),
    ] {
        let host = Host::new();
        let words = by_hand((flag, value));
        let output = host.jitd(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flag} {value}: {told}");
        assert!(told.contains(why) && !told.contains(".init-"), "{flag} {value}: {told}");
        assert!(!host.dir.join("etc").exists(), "{flag} {value}");
    }
    let host = Host::new();
    let output = host.init(&["--context", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("contains no context `nowhere`"), "{}", text(&output.stderr));
    assert!(!host.dir.join("etc").exists());
}

/// No existing file is changed: not the configuration, not a policy without one, not an authority.
#[test]
fn existing_files_are_not_changed() {
    let host = Host::new();
    host.done(&[]);
    let kept = [
        "etc/config.yaml",
        "etc/policy.yaml",
        "etc/prod-ca.crt",
        "state/ca/prod/issuing.pem",
        "state/ca/prod/root.key",
    ];
    let all =
        || kept.map(|name| (fs::read(host.dir.join(name)).unwrap(), fs::metadata(host.dir.join(name)).unwrap().ino()));
    let before = all();
    let again = host.done(&["--distribution", "kubeadm"]);
    assert!(text(&again.stderr).contains("config.yaml exists and is unchanged"), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("cluster prod: the authority exists already"), "{}", text(&again.stderr));
    assert_eq!(all(), before);
    let other = host.jitd(&["init", "--cluster", "staging"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("cluster `staging` is not in `"), "{}", text(&other.stderr));
    assert_eq!(all(), before);

    // Only the configuration is missing, and the answers for the policy are not needed.
    fs::remove_file(host.config()).unwrap();
    let policy = "rules: []  # ours\n";
    fs::write(host.dir.join("etc/policy.yaml"), policy).unwrap();
    let plane = Plane::shared();
    let state = host.dir.join("state");
    let words = [
        "init",
        "--cluster",
        "prod",
        "--kubeconfig",
        plane.kubeconfig.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
    ];
    let output = host.jitd(&words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(host.config().exists());
    assert_eq!(fs::read_to_string(host.dir.join("etc/policy.yaml")).unwrap(), policy);

    // A policy for another cluster does not fit: then nothing is written beside it.
    fs::remove_file(host.config()).unwrap();
    let other = "rules: [{name: a, who: [a], clusters: [other], namespaces: [a], roles: [view], maxDuration: 1m, preApproved: true}]\n";
    fs::write(host.dir.join("etc/policy.yaml"), other).unwrap();
    let output = host.jitd(&words);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cluster `other` is not in the configuration"), "{}", text(&output.stderr));
    assert_eq!(host.names("etc"), ["guardrails.yaml", "policy.yaml", "prod-ca.crt"]);
}

/// If a folder cannot be written, no part of the files is left.
#[test]
fn an_unwritable_folder_gets_nothing() {
    let host = Host::new();
    fs::create_dir(host.dir.join("etc")).unwrap();
    let flags = host.flags();
    let etc = host.dir.join("etc");
    let script = format!("mount --bind {0} {0}\nmount -o remount,ro,bind {0}\nexec \"$@\"", etc.display());
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-euc", &script, "sh"])
        .arg(root().join("bin/jitd"))
        .arg("--config")
        .arg(host.config());
    let output = command.args(&flags).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("cannot write `") && text(&output.stderr).contains("nothing was written"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(host.names("etc"), Vec::<String>::new());
    assert!(!host.dir.join("state").exists());
}

/// Only the server and its CA are used from an administrator's kubeconfig.
#[test]
fn an_administrators_credential_is_never_used() {
    let host = Host::new();
    host.done(&[]);
    let plane = Plane::shared();
    let kubeconfig: Value = serde_saphyr::from_str(&fs::read_to_string(&plane.kubeconfig).unwrap()).unwrap();
    let user = kubeconfig["users"][0]["user"].as_object().unwrap();
    let secrets: Vec<&str> = user.values().filter_map(Value::as_str).collect();
    assert!(!secrets.is_empty());
    let all = host
        .names("etc")
        .iter()
        .map(|name| fs::read_to_string(host.dir.join("etc").join(name)).unwrap())
        .collect::<String>();
    assert!(all.contains(&plane.server));
    for secret in secrets {
        assert!(!all.contains(secret));
    }
    assert!(!all.contains("PRIVATE KEY"));

    // Another context than the current one.
    let (other, file) = (Host::new(), scratch("kubeconfig").join("file"));
    fs::copy(&plane.kubeconfig, &file).unwrap();
    let ca = format!("--certificate-authority={}", plane.ca.display());
    for words in [
        ["set-cluster", "far", "--server=https://10.9.9.9:6443", &ca],
        ["set-context", "far", "--cluster=far", "--user=nobody"],
    ] {
        let kubectl =
            Command::new(root().join("bin/kubectl")).arg("config").args(words).env("KUBECONFIG", &file).output();
        assert!(kubectl.unwrap().status.success(), "{words:?}");
    }
    let state = other.dir.join("state");
    let mut words = vec!["init", "--cluster", "far", "--kubeconfig", file.to_str().unwrap(), "--context", "far"];
    words.extend(ANSWERS);
    words.extend(["--distribution", "other", "--state", state.to_str().unwrap()]);
    let output = other.jitd(&words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fs::read_to_string(other.config()).unwrap().contains("server: https://10.9.9.9:6443\n"));
    assert_eq!(fs::read(other.dir.join("etc/far-ca.crt")).unwrap(), fs::read(&plane.ca).unwrap());
}

/// A kubeconfig key that changes how kubectl connects, and that the daemon does not support, is refused by name, not
/// ignored.
#[test]
fn a_kubeconfig_with_an_unsupported_connection_is_refused() {
    for (key, value) in [
        ("proxy-url", "https://proxy.example:3128"),
        ("tls-server-name", "kubernetes"),
        ("insecure-skip-tls-verify", "true"),
    ] {
        let (host, file) = (Host::new(), scratch("kubeconfig").join("file"));
        let words = ["set-cluster", "far", "--server=https://10.9.9.9:6443", &format!("--{key}={value}")];
        let context = ["set-context", "far", "--cluster=far", "--user=nobody"];
        for words in [&words[..], &context, &["use-context", "far"]] {
            let kubectl =
                Command::new(root().join("bin/kubectl")).arg("config").args(words).env("KUBECONFIG", &file).output();
            assert!(kubectl.unwrap().status.success(), "{words:?}");
        }
        let mut words = vec!["init", "--cluster", "far", "--kubeconfig", file.to_str().unwrap()];
        words.extend(ANSWERS);
        words.extend(["--distribution", "other"]);
        let output = host.jitd(&words);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(&format!("has `{key}`, which jitd does not")), "{said}");
        assert_eq!(host.names("etc"), Vec::<String>::new(), "nothing was written");
    }
}

/// With the service's account, its group reads the configuration, and the state is the account's.
#[test]
fn root_makes_the_files_for_the_account_of_the_service() {
    let host = Host::new();
    let files = scratch("accounts");
    fs::write(files.join("passwd"), "root:x:0:0::/:/bin/sh\njitd:x:7001:7002::/:/bin/false\n").unwrap();
    let flags = host.flags();
    let script = format!("mount --bind {}/passwd /etc/passwd\nexec \"$@\"", files.display());
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-euc", &script, "sh"])
        .arg(root().join("bin/jitd"))
        .arg("--config")
        .arg(host.config());
    let output = command.args(&flags).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (path, expected) in [
        ("etc", (0, 7002, 0o750)),
        ("etc/config.yaml", (0, 7002, 0o640)),
        ("etc/policy.yaml", (0, 7002, 0o640)),
        ("etc/guardrails.yaml", (0, 7002, 0o640)),
        ("etc/prod-ca.crt", (0, 7002, 0o640)),
        ("state", (7001, 7002, 0o700)),
        ("state/ca", (7001, 7002, 0o700)),
        ("state/ca/prod", (7001, 7002, 0o700)),
        ("state/ca/prod/issuing.pem", (7001, 7002, 0o600)),
    ] {
        let found = fs::metadata(host.dir.join(path)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), expected, "{path}");
    }
    let mut serving = Command::new("setpriv");
    serving
        .args(["--reuid", "7001", "--regid", "7002", "--clear-groups"])
        .arg(root().join("bin/jitd"))
        .arg("--config")
        .arg(host.config());
    let shown = serving.args(["ca", "show", "prod"]).output().unwrap();
    assert!(shown.status.success(), "{}", text(&shown.stderr));
}

/// On a terminal it asks for missing values, and asks again until the answer is possible.
#[test]
fn on_a_terminal_it_asks() {
    let host = Host::new();
    let plane = Plane::shared();
    let state = host.dir.join("state");
    let command = format!(
        "{} --config {} init --state {}",
        root().join("bin/jitd").display(),
        host.config().display(),
        state.display()
    );
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let answers = format!(
        "Prod!\nprod\nftp://x\n{}\n{}\nkubeadm\nbastion1\npayments-oncall\npayments-leads\npayments shop\n\n",
        plane.server,
        plane.ca.display()
    );
    let mut input = terminal.stdin.take().unwrap();
    input.write_all(answers.as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    drop(input);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    for words in [
        "the cluster's name, as people will type it: ",
        "must be 1 to 63 characters (a-z 0-9 -)",
        "the cluster's distribution: kubeadm, k3s, rke2",
        "this bastion's name [",
        "the ClusterRoles that may be requested, separated by spaces [view]: ",
        "next steps for prod:",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let written = fs::read_to_string(host.dir.join("etc/policy.yaml")).unwrap();
    assert!(written.contains("namespaces: [payments, shop]") && written.contains("roles: [view]"), "{written}");
    assert!(fs::read_to_string(host.config()).unwrap().contains("host: bastion1\n"));
    assert!(host.jitd(&["check"]).status.success());
}

/// A provider's cluster is set up behind the gateway. What only an administrator knows is a placeholder that the daemon and
/// the gateway refuse, with its line.
#[test]
fn a_providers_cluster_is_set_up_behind_the_gateway() {
    for (word, plugin, of_config, of_kubeconfig) in [
        ("eks", "aws", 0, ["FILL_IN_REGION", "FILL_IN_EKS_CLUSTER", "FILL_IN_ACCOUNT_ID"].as_slice()),
        ("gke", "gke-gcloud-auth-plugin", 2, &[]),
        ("aks", "kubelogin", 2, &["FILL_IN_DAEMON_CLIENT_ID"]),
    ] {
        let host = Host::new();
        let output = host.done(&["--distribution", word, "--host", "b1"]);
        let told = text(&output.stderr);
        let written = |name: &str| fs::read_to_string(host.dir.join("etc").join(name)).unwrap();
        let [config, kubeconfig] = [written("config.yaml"), written("prod.kubeconfig")];
        let of_gateway = written("jit-gateway.prod.kubeconfig");
        assert!(kubeconfig.contains(&format!("command: {plugin}\n")) && config.contains("access: gateway\n"), "{word}");
        assert!(
            told.contains("/etc/jit-gateway/prod.kubeconfig")
                && told.contains("managed.md")
                && !told.contains("trust.md"),
            "{told}"
        );

        let lines = |text: &str| text.lines().filter(|line| line.contains("FILL_IN_")).count();
        assert_eq!(lines(&config), of_config, "{config}");
        let refused = |output: &Output| {
            assert!(!output.status.success());
            text(&output.stderr)
        };
        let said = if of_config + of_kubeconfig.len() > 0 { refused(&host.jitd(&["check"])) } else { String::new() };
        let places = |name: &str, text: &str| -> Vec<String> {
            let numbered = text.lines().enumerate().filter(|(_, line)| line.contains("FILL_IN_"));
            numbered
                .map(|(before, _)| format!("{name}`, line {} still has the placeholder `FILL_IN_", before + 1))
                .collect()
        };
        // Of a kubeconfig the first is named.
        let expected = places("config.yaml", &config).into_iter().chain(places("prod.kubeconfig", &kubeconfig));
        for place in expected {
            assert!(said.contains(&place), "{place}: {said}");
        }
        for word in of_kubeconfig {
            assert!(kubeconfig.contains(word) && told.contains(word), "{word}: {told}");
        }
        // Again, before anything is filled in: init leaves everything.
        host.done(&["--distribution", word]);
        assert_eq!(written("config.yaml"), config);

        // The gateway reads its files where they are installed.
        let installed = host.dir.join("gateway");
        fs::create_dir(&installed).unwrap();
        let place = installed.to_str().unwrap();
        let gateway_config =
            format!("feed: {place}/feed.sock\nstate: {place}\nlisten: 127.0.0.1:0\n{}", written("jit-gateway.yaml"));
        fs::write(installed.join("config.yaml"), gateway_config).unwrap();
        fs::write(installed.join("prod.kubeconfig"), &of_gateway).unwrap();
        let mut gateway = Command::new(root().join("bin/jit-gateway"));
        gateway.arg("--config").arg(installed.join("config.yaml")).arg("serve").stdin(Stdio::null());
        if of_gateway.contains("FILL_IN_") {
            let said = refused(&gateway.output().unwrap());
            assert!(said.contains(&places("prod.kubeconfig", &of_gateway)[0]), "{said}");
        }
        let filled = |name: &str, text: &str| {
            let text =
                text.replace("FILL_IN_DAEMON_", "d-").replace("FILL_IN_GATEWAY_", "g-").replace("FILL_IN_", "x-");
            fs::write(host.dir.join(name), text).unwrap();
        };
        filled("etc/config.yaml", &config);
        filled("etc/prod.kubeconfig", &kubeconfig);
        filled("gateway/prod.kubeconfig", &of_gateway);
        let checked = host.jitd(&["check"]);
        assert!(checked.status.success(), "{}", text(&checked.stderr));
        let manifest = text(&host.jitd(&["manifest", "prod"]).stdout);
        let user = match word {
            "eks" => "jitd-b1",
            "gke" => "d-EMAIL",
            _ => "d-OBJECT_ID",
        };
        assert!(manifest.contains(&format!("name: {user}\n")), "{manifest}");
        let mut serving = gateway.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(serving.stderr.take().unwrap()).lines();
        let ready = log.by_ref().map_while(Result::ok).any(|line| line.contains("ready"));
        drop(serving.kill());
        serving.wait().unwrap();
        assert!(ready, "{word}");
    }
}

/// After the printed steps the API server trusts the authority, and the daemon serves.
#[test]
fn the_printed_steps_lead_to_a_daemon_that_serves() {
    let host = Host::new();
    let output = host.done(&["--host", &format!("first-{}", std::process::id())]);
    let root_certificate = text(&output.stdout).trim().to_owned();
    let checked = || text(&host.jitd(&["check", "--cluster", "prod"]).stdout);
    assert!(
        checked().starts_with("fault   prod authority: the API server does not trust this authority"),
        "{}",
        checked()
    );
    Plane::shared().trust(Path::new(&root_certificate));
    until("the authority is trusted", || checked().starts_with("ok      prod authority: it is trusted").then_some(()));
    let mut serving = host.command(&["serve"]);
    let mut daemon = serving.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the daemon answers", || std::os::unix::net::UnixStream::connect(host.dir.join("run/api.sock")).ok());
    assert!(Command::new("kill").arg(daemon.id().to_string()).status().unwrap().success());
    assert!(daemon.wait().unwrap().success());
}
