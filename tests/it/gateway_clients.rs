//! Clients other than kubectl, driven through the gateway over a whole window. They ask for a credential once, or once for
//! each command, so it has to last as long as the window; and they are cut and refused when that ends.
//!
//! `tests/clients` has the clients. Those that take long to make are ignored here and run by `make clients`.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bastion::{ALICE, repository, text};
use crate::gateway::{Front, run_pod};
use crate::plane::{Plane, root, until_within};
use crate::recording::{Kept, front as front_with};

/// The window of these tests. A certificate without the gateway would live for a third of it.
const WINDOW: Duration = Duration::from_secs(75);

/// When something happens that a client has to notice, long after a certificate of its own would have expired.
const LATE: Duration = Duration::from_secs(60);

const TIMES: &str = "{answer: 1h, collect: 10m, certificate: 25s}";

/// The folder of a client, where every account can start it.
fn made(client: &str) -> PathBuf {
    static EACH: Once = Once::new();
    EACH.call_once(|| std::fs::create_dir_all(root().join("clients")).unwrap());
    let folder = root().join("clients").join(client);
    let script = repository().join("tests/clients/build.sh");
    let made = Command::new(script).arg(client).stderr(Stdio::inherit()).output().unwrap();
    assert!(made.status.success(), "the client could not be made");
    let copied = Command::new("cp").args(["-a", text(&made.stdout).trim()]).arg(&folder).status().unwrap();
    assert!(copied.success());
    folder.join("run")
}

/// A client, which prints a line for each of its steps.
struct Client {
    child: Child,
    lines: BufReader<ChildStdout>,
    said: String,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { lines: BufReader::new(child.stdout.take().unwrap()), child, said: String::new() }
    }

    /// The next line that begins with this word, without it.
    fn says(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                let mut why = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
                panic!("it never said `{word}`:\n{}{why}", self.said);
            }
            self.said.push_str(&line);
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A library's client lists, runs a command and holds a watch for the whole window, lists again near its end, and is cut
/// and refused with it.
fn works_for_a_whole_window(client: &str) {
    let run = made(client);
    let front = Front::with(Plane::managed(), None, TIMES);
    run_pod(&front, "exec sleep 300");
    let begun = Instant::now();
    let grant = front.live_in("play", "edit", &format!("{}s", WINDOW.as_secs()));
    let mut command = front.bastion.login_command(ALICE, "jit-login");
    let mut client = Client::start(command.args(["run", &grant, "--"]).arg(run).arg(&front.bastion.ns));
    assert!(client.says("listed").split(',').any(|name| name == "seen"), "{}", client.said);
    assert_eq!(client.says("exec"), "3 out");
    client.says("saw seen");
    until_within(LATE, "it is late", || (begun.elapsed() > LATE).then_some(()));
    let path = format!("/api/v1/namespaces/{}/configmaps", front.bastion.ns);
    front.bastion.admin.create(&path, &json!({ "metadata": { "name": "late" } }));
    client.says("saw late");
    assert!(client.says("listed").contains("late"), "{}", client.said);
    assert!(begun.elapsed() < WINDOW, "the machine is too slow for this window: {:?}", begun.elapsed());
    client.says("ended");
    let lasted = begun.elapsed();
    // A window ends at a whole second.
    assert!(lasted > WINDOW - Duration::from_secs(2) && lasted < WINDOW + Duration::from_secs(10), "{lasted:?}");
    let why = client.says("refused");
    assert!(!why.is_empty());
    assert_eq!(front.end_of(&grant)["event"]["kind"], "ended");
}

/// It runs from `a_minute.rs`.
pub(crate) fn the_python_client_works_for_a_whole_window() {
    works_for_a_whole_window("python");
}

/// Every form of an exec through a gateway that records: what the client prints, the exit code and the time are those of the
/// same without a gateway, and each recording has what was printed. Returns the folder of the recordings.
fn every_console_is_recorded(front: &Front<'_>, client: &str) -> PathBuf {
    let run = made(client);
    let grant = front.live("edit");
    let said = |command: &mut Command| -> Vec<Value> {
        let done = command.arg(&front.bastion.ns).arg("consoles").output().unwrap();
        assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
        let output = text(&done.stdout);
        let lines = output.lines().filter_map(|line| line.strip_prefix("console "));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let through = said(front.bastion.login_command(ALICE, "jit-login").args(["run", &grant, "--"]).arg(&run));
    let direct = said(Command::new(&run).env("KUBECONFIG", &front.bastion.plane.kubeconfig));
    assert_eq!((through.len(), direct.len()), (12, 12));
    let (mut printed, mut later) = (Vec::new(), Vec::new());
    for (mut through, mut direct) in through.into_iter().zip(direct) {
        let [slow, quick] = [&mut through, &mut direct]
            .map(|one| one.as_object_mut().unwrap().remove("milliseconds").unwrap().as_u64().unwrap());
        let lines =
            |one: &Value| sorted(&["stdout", "stderr"].map(|part| one[part].as_str().unwrap_or_default()).concat());
        assert_eq!(lines(&through), lines(&direct), "{through}");
        assert_eq!([&through["code"], &through["refused"]], [&direct["code"], &direct["refused"]], "{through}");
        later.push(slow.saturating_sub(quick));
        if through["refused"].is_null() {
            assert_eq!(through["code"], 7, "{through}");
            printed.extend(std::iter::repeat_n(lines(&through), 5).filter(|lines| !lines.is_empty()));
        }
    }
    // A busy machine delays single ones.
    later.sort_unstable();
    assert!(later[later.len() / 2] <= 200, "milliseconds later than without the gateway: {later:?}");
    assert!(printed.len() >= 50, "nearly every form shows something: {}", printed.len());
    front.says(ALICE, &["end", &grant]);
    front.end_of(&grant);
    let kept = Kept::of(front, &grant);
    // A form that is refused after it began, or that shows nothing, leaves an empty recording.
    let recorded =
        kept.sessions().into_iter().map(|session| sorted(&session.printed())).filter(|lines| !lines.is_empty());
    assert_eq!(recorded.collect::<Vec<_>>(), printed);
    kept.folder
}

/// The lines of two outputs come in any order.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn every_console_of_the_python_client_is_recorded() {
    every_console_is_recorded(&front_with("record: required"), "python");
}

/// asciinema's own player shows what was printed, with the Java client's recordings.
#[test]
#[ignore = "make clients: it needs a JDK, Maven, npm and Chromium"]
fn every_console_of_the_java_client_is_recorded_and_plays() {
    let folder = every_console_is_recorded(&front_with("record: required"), "java");
    let casts = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let whole = |path: &PathBuf| {
        let is_cast = path.extension().is_some_and(|extension| extension == "cast");
        is_cast && std::fs::read_to_string(path).unwrap().contains("len 6")
    };
    let cast = casts.into_iter().find(whole).unwrap();
    let played = Command::new(made("cast")).arg(&cast).output().unwrap();
    assert!(played.status.success(), "{}", text(&played.stderr));
    let seen: Value = serde_json::from_slice(&played.stdout).unwrap();
    assert_eq!((&seen["errors"], &seen["requests"]), (&json!([]), &json!([])), "{seen}");
    let shown = seen["text"].as_str().unwrap();
    assert!(shown.contains("out") && shown.contains("len 6"), "{seen}");
}

#[test]
#[ignore = "make clients: it needs a JDK and Maven"]
fn the_java_client_works_for_a_whole_window() {
    works_for_a_whole_window("java");
}

/// Helm installs, lists and upgrades to the end of the window. What it waits for then is given up, and it is refused.
#[test]
#[ignore = "make clients: Helm takes minutes to build"]
fn helm_works_for_a_whole_window() {
    let run = made("helm");
    let front = Front::with(Plane::managed(), None, TIMES);
    let chart = front.bastion.home(ALICE).join("chart");
    let write = |file: &str, written: &str| {
        let path = chart.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, written).unwrap();
    };
    write("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n");
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}\"}\ndata: {key: \"{{ .Values.key }}\"}\n";
    write("templates/config.yaml", config);
    // Nothing schedules it, so it never runs.
    let pod = "{{ if .Values.pod }}\napiVersion: v1\nkind: Pod\nmetadata: {name: \"{{ .Release.Name }}\"}\nspec: {containers: [{name: main, image: none}]}\n{{ end }}\n";
    write("templates/pod.yaml", pod);

    let begun = Instant::now();
    let grant = front.live_in("play", "edit", &format!("{}s", WINDOW.as_secs()));
    let helm = |words: &[&str]| {
        let mut command = front.bastion.login_command(ALICE, "jit-login");
        command.args(["run", &grant, "--"]).arg(&run).args(["-n", &front.bastion.ns]).args(words);
        command
    };
    let says = |words: &[&str]| {
        let done = helm(words).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
        text(&done.stdout)
    };
    let chart = chart.to_str().unwrap();
    says(&["install", "one", chart, "--set", "key=first", "--wait"]);
    assert!(says(&["list", "-q"]).contains("one"));
    until_within(LATE, "it is late", || (begun.elapsed() > LATE).then_some(()));
    says(&["upgrade", "one", chart, "--set", "key=second"]);
    assert!(says(&["get", "values", "one"]).contains("second"));
    let path = format!("/api/v1/namespaces/{}/configmaps/one", front.bastion.ns);
    assert_eq!(front.bastion.admin.get(&path).1["data"]["key"], "second");
    // It tries to watch again until its own limit is over.
    let waits = helm(&["install", "two", chart, "--set", "pod=true", "--wait", "--timeout", "40s"]).output().unwrap();
    let (lasted, why) = (begun.elapsed(), text(&waits.stderr));
    assert!(!waits.status.success() && lasted > WINDOW - Duration::from_secs(2), "{lasted:?}: {why}");
    assert!(lasted < WINDOW + Duration::from_secs(60), "{lasted:?}: {why}");
    let refused = helm(&["list"]).output().unwrap();
    assert!(!refused.status.success(), "{}", text(&refused.stdout));
}

/// A terminal that is looked at and typed into.
struct Screen<'a> {
    front: &'a Front<'a>,
}

impl<'a> Screen<'a> {
    /// One in which alice runs these words.
    fn start(front: &'a Front<'a>, words: &[&str]) -> Self {
        let screen = Self { front };
        let terminal = ["-f", "/dev/null", "new-session", "-d", "-x", "160", "-y", "40"];
        // It stays when they end, with what they said.
        let shell = ["sh", "-c", "\"$@\"; echo \"ended with $?\"; exec sleep 600", "sh"];
        screen.tmux(&[&terminal[..], &shell, words].concat());
        screen
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut tmux = self.front.bastion.login_command(ALICE, "/usr/bin/tmux");
        // k9s asks who it is, and the account has no entry.
        tmux.env("USER", "alice").env("LANG", "C.UTF-8").args(["-u", "-S", "tmux.sock"]).args(words);
        tmux
    }

    fn tmux(&self, words: &[&str]) -> String {
        let done = self.command(words).output().unwrap();
        assert!(done.status.success(), "tmux {words:?}: {}", text(&done.stderr));
        text(&done.stdout)
    }

    /// What stands on it.
    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn types(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"][..], keys].concat());
    }

    /// Waits until this stands on it.
    fn shows(&self, what: &str) {
        until_within(Duration::from_secs(40), &format!("the screen shows `{what}`"), || {
            self.text().contains(what).then_some(())
        });
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let tmux = |words: &[&str]| self.command(words).output().map(|done| text(&done.stdout)).unwrap_or_default();
        if std::thread::panicking() {
            eprintln!("---- screen\n{}", tmux(&["capture-pane", "-p"]));
        }
        tmux(&["kill-server"]);
    }
}

/// k9s lists pods, shows a log, opens a shell and sees a pod that comes near the end of the window. Its watches are cut then.
#[test]
#[ignore = "make clients: k9s takes minutes to build, and needs tmux"]
fn k9s_works_for_a_whole_window() {
    let run = made("k9s");
    let front = Front::with(Plane::managed(), None, TIMES);
    run_pod(&front, "while :; do echo tick; sleep 1; done");
    let begun = Instant::now();
    let grant = front.live_in("play", "edit", &format!("{}s", WINDOW.as_secs()));
    let login = root().join("bin/jit-login");
    let words = [login.to_str().unwrap(), "run", &grant, "--", run.to_str().unwrap()];
    let config = front.bastion.home(ALICE).join(".config/k9s");
    std::fs::create_dir_all(&config).unwrap();
    // It would ask its makers for a newer version.
    std::fs::write(config.join("config.yaml"), "k9s: {skipLatestRevCheck: true}\n").unwrap();
    let screen =
        Screen::start(&front, &[&words[..], &["-n", &front.bastion.ns, "-c", "pods", "--splashless"]].concat());
    screen.shows("web-0");
    screen.types(&["l"]);
    screen.shows("tick");
    screen.types(&["Escape"]);
    screen.shows("Running");
    screen.types(&["s"]);
    screen.shows("<<K9s-Shell>>");
    screen.types(&["echo $((6 * 7)) out", "Enter"]);
    screen.shows("42 out");
    screen.types(&["exit", "Enter"]);
    screen.shows("Running");
    until_within(LATE, "it is late", || (begun.elapsed() > LATE).then_some(()));
    let pod =
        json!({ "metadata": { "name": "late" }, "spec": { "containers": [{ "name": "main", "image": "none" }] } });
    front.bastion.admin.create(&format!("/api/v1/namespaces/{}/pods", front.bastion.ns), &pod);
    screen.shows("late");
    assert!(begun.elapsed() < WINDOW, "the machine is too slow for this window: {:?}", begun.elapsed());
    let log = front.bastion.dir.join("gateway/sessions").join(&grant).join("log.jsonl");
    // Its connection ends with its certificate, at the same moment as the window.
    until_within(WINDOW, "its watch of pods is cut", || {
        let log = std::fs::read_to_string(&log).unwrap();
        let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].clone());
        entries.into_iter().find(|entry| {
            let (asked, end) = (&entry["asked"], &entry["outcome"]["end"]);
            (asked["verb"] == "watch", asked["resource"] == "pods", end == "cut") == (true, true, true)
        })
    });
    assert!(begun.elapsed() > WINDOW - Duration::from_secs(2), "{:?}", begun.elapsed());
}
