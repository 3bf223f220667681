//! The node of the tests' control plane, driven by the administrator's kubectl without anything of ours in between. Tests
//! that put something in between rely on what is shown here. Streams are tried over WebSocket, as today's clients connect,
//! and over SPDY, as older ones do.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use http::Method;
use jiff::Timestamp;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::bastion::text;
use crate::plane::{Admin, Plane, programs, scratch, until};

/// Values of `KUBECTL_…_WEBSOCKETS`: WebSocket, then SPDY.
const WAYS: [&str; 2] = ["true", "false"];

/// A namespace of one test, whose pods run on the plane's node.
pub(crate) struct Pods<'a> {
    plane: &'a Plane,
    pub(crate) admin: Admin,
    pub(crate) ns: String,
    home: PathBuf,
}

impl<'a> Pods<'a> {
    pub(crate) fn on(plane: &'a Plane) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let ns = format!("pods-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        plane.admin().create("/api/v1/namespaces", &json!({ "metadata": { "name": ns } }));
        Self::within(plane, ns)
    }

    /// The pods of a namespace that exists already.
    pub(crate) fn within(plane: &'a Plane, ns: String) -> Self {
        let admin = plane.admin();
        let account = format!("/api/v1/namespaces/{ns}/serviceaccounts/default");
        until("pods can be created", || (admin.get(&account).0 == 200).then_some(()));
        Self { plane, admin, ns, home: scratch("kubectl") }
    }

    /// Creates a pod with one container, `main`, that runs a shell script, and waits until it has started. The fields of
    /// `more` replace those of the container.
    pub(crate) fn run(&self, name: &str, script: &str, more: &Value) {
        let mut container = json!({ "name": "main", "image": "none", "command": ["sh", "-c", script] });
        container
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        let spec = json!({ "nodeName": self.plane.node(), "restartPolicy": "Never", "containers": [container] });
        let pods = format!("/api/v1/namespaces/{}/pods", self.ns);
        self.admin.create(&pods, &json!({ "metadata": { "name": name }, "spec": spec }));
        self.reaches(name, &["Running", "Succeeded", "Failed"]);
    }

    /// Waits until the pod is in one of these phases.
    pub(crate) fn reaches(&self, name: &str, phases: &[&str]) -> Value {
        until(&format!("`{name}` is one of {phases:?}"), || {
            let (_, pod) = self.admin.get(&format!("/api/v1/namespaces/{}/pods/{name}", self.ns));
            pod["status"]["phase"].as_str().is_some_and(|phase| phases.contains(&phase)).then_some(pod)
        })
    }

    /// kubectl in this namespace; it is ended after a minute.
    fn kubectl(&self, way: &str, arguments: &[&str]) -> Command {
        self.command(&["timeout", "--foreground", "60"], way, arguments)
    }

    fn command(&self, before: &[&str], way: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(before[0]);
        command.args(&before[1..]).arg(programs().join("kubectl"));
        command.arg("--kubeconfig").arg(&self.plane.kubeconfig).args(["-n", &self.ns]).args(arguments);
        command.env("HOME", &self.home).current_dir(&self.home).stdin(Stdio::null());
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", way).env("KUBECTL_PORT_FORWARD_WEBSOCKETS", way);
        command
    }

    /// Runs kubectl, which must succeed, and returns what it printed.
    fn says(&self, arguments: &[&str]) -> String {
        let done = self.kubectl("true", arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
        text(&done.stdout)
    }

    fn path(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}", self.ns)
    }
}

/// Exit code, standard output, standard error.
fn told(done: &Output) -> (Option<i32>, String, String) {
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

/// kubectl with something on its standard input.
fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let done = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    done
}

/// The output of a process or a terminal so far.
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// Reads to the end. The end of a terminal is an error.
    fn from(mut source: impl Read + Send + 'static) -> Self {
        let heard = Self(Arc::default());
        let buffer = Arc::clone(&heard.0);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = source.read(&mut part) {
                buffer.lock().unwrap().extend_from_slice(&part[..count]);
            }
        });
        heard
    }

    fn so_far(&self) -> String {
        text(&self.0.lock().unwrap())
    }

    fn until(&self, words: &str) {
        until(&format!("`{words}` is said"), || self.so_far().contains(words).then_some(()));
    }
}

/// A kubectl that ends with the test, also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Not SIGKILL: `timeout` can pass this on to kubectl.
            let _ = kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM);
            drop(self.0.wait());
        }
    }
}

/// Random bytes, more than one flow-control window of a stream.
fn bytes() -> Vec<u8> {
    let mut bytes = vec![0; 300_000];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    let mut command = Command::new("sha256sum");
    command.env_clear().env("PATH", "/usr/bin:/bin");
    text(&fed(command, bytes).stdout)[..64].to_owned()
}

/// A log holds both outputs of its container. `logs -f` prints what the container writes later, and ends with it.
#[test]
fn logs_are_followed_to_the_end_of_the_container() {
    let pods = Pods::on(Plane::shared());
    let script = "echo first; echo second >&2; while [ ! -e go ]; do sleep 0.05; done; echo last";
    pods.run("p", script, &json!({}));
    let pod = pods.reaches("p", &["Running"]);
    let ready = pod["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!((&ready["status"], &pod["status"]["containerStatuses"][0]["ready"]), (&json!("True"), &json!(true)));
    let whole = until("both lines are in the log", || {
        let log = pods.says(&["logs", "p"]);
        (log.lines().count() == 2).then_some(log)
    });
    assert!(whole.contains("first\n") && whole.contains("second\n"), "{whole}");
    assert_eq!(pods.says(&["logs", "p", "--tail=1"]).lines().count(), 1);

    let mut follow = Running(pods.kubectl("true", &["logs", "-f", "p"]).stdout(Stdio::piped()).spawn().unwrap());
    let heard = Heard::from(follow.0.stdout.take().unwrap());
    heard.until("second");
    assert!(follow.0.try_wait().unwrap().is_none(), "it waits for more");
    // The container may end before this command has, which is then killed.
    pods.kubectl("true", &["exec", "p", "--", "touch", "go"]).output().unwrap();
    assert!(follow.0.wait().unwrap().success());
    assert_eq!(heard.so_far(), format!("{whole}last\n"));
    let pod = pods.reaches("p", &["Succeeded"]);
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0, "{pod}");

    let stamped = pods.says(&["logs", "p", "--timestamps"]);
    let times: Vec<_> = stamped.lines().filter_map(|line| line.split(' ').next()?.parse::<Timestamp>().ok()).collect();
    assert!(times.len() == 3 && stamped.ends_with(" last\n"), "{stamped}");

    let refused = pods.kubectl("true", &["logs", "p", "--limit-bytes=5"]).output().unwrap();
    assert!(!refused.status.success() && text(&refused.stderr).contains("limitBytes"), "{refused:?}");
}

/// A container whose command does not exist on this host still writes a log.
#[test]
fn a_container_without_a_command_of_this_host_logs_a_line_a_second() {
    let pods = Pods::on(Plane::shared());
    pods.run("p", "", &json!({ "command": ["/no/such/server", "--port=80"] }));
    let mut follow = Running(pods.kubectl("true", &["logs", "-f", "p"]).stdout(Stdio::piped()).spawn().unwrap());
    Heard::from(follow.0.stdout.take().unwrap()).until("line 1\nline 2\n");
}

/// kubectl exits with the command's code, and prints each output on its own.
#[test]
fn exec_keeps_outputs_apart_and_the_exit_code() {
    let pods = Pods::on(Plane::shared());
    pods.run("p", "sleep 600", &json!({ "env": [{ "name": "COLOUR", "value": "green" }] }));
    for way in WAYS {
        let script = "echo out $COLOUR; echo err >&2; exit 7";
        let done = pods.kubectl(way, &["exec", "p", "--", "sh", "-c", script]).output().unwrap();
        let err = "err\ncommand terminated with exit code 7\n";
        assert_eq!(told(&done), (Some(7), "out green\n".to_owned(), err.to_owned()), "{way}");
        let none = pods.kubectl(way, &["exec", "p", "--", "/no/such/program"]).output().unwrap();
        let (code, _, why) = told(&none);
        assert!(code == Some(1) && why.contains("no such file"), "{way}: {code:?} {why}");
    }
}

/// The command reads all of the input, and its end.
#[test]
fn exec_takes_input_to_its_end() {
    let pods = Pods::on(Plane::shared());
    pods.run("p", "sleep 600", &json!({}));
    let bytes = bytes();
    for way in WAYS {
        let done = fed(pods.kubectl(way, &["exec", "-i", "p", "--", "sha256sum"]), &bytes);
        assert_eq!(told(&done), (Some(0), format!("{}  -\n", sha256(&bytes)), String::new()), "{way}");
    }
}

/// `exec -it` gives the command a terminal of its own, which always has the size of the client's. kubectl exits with the
/// code of the shell.
#[test]
fn a_terminal_follows_the_size_of_the_client() {
    let pods = Pods::on(Plane::shared());
    pods.run("p", "sleep 600", &json!({}));
    for way in WAYS {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let ours = openpty(&size, None).unwrap();
        let name = std::fs::read_link(format!("/proc/self/fd/{}", ours.slave.as_raw_fd())).unwrap();
        let end = || Stdio::from(ours.slave.try_clone().unwrap());
        // A process is told of a new size only by the controlling terminal of its session.
        let before = ["setsid", "--ctty", "--wait", "timeout", "--foreground", "60"];
        let mut kubectl = pods.command(&before, way, &["exec", "-it", "p", "--", "sh"]);
        let mut kubectl = Running(kubectl.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap());
        drop(ours.slave);
        let mut keyboard = File::from(ours.master);
        let screen = Heard::from(keyboard.try_clone().unwrap());
        let mut type_in = |words: &str| keyboard.write_all(words.as_bytes()).unwrap();
        type_in("echo size: $(stty size) of $(tty); test -t 0 && test -t 1 && test -t 2 && echo 'a ''terminal'\n");
        screen.until("size: 24 80 of /dev/pts/");
        screen.until("a terminal");
        let theirs = screen.so_far();
        assert!(!theirs.contains(&format!("of {}\r", name.display())), "it has its own: {theirs}");
        let resized = Command::new("stty").arg("-F").arg(&name).args(["cols", "132", "rows", "43"]).status().unwrap();
        assert!(resized.success());
        until("the new size is there, too", || {
            type_in("echo size: $(stty size)\n");
            screen.so_far().contains("size: 43 132").then_some(())
        });
        type_in("exit 7\n");
        assert_eq!(kubectl.0.wait().unwrap().code(), Some(7), "{way}: {}", screen.so_far());
        screen.until("command terminated with exit code 7");
    }
}

/// Attached clients write to the main process and read what it writes, all at the same time, until it ends.
#[test]
fn attach_connects_to_the_main_process() {
    let pods = Pods::on(Plane::shared());
    for way in WAYS {
        let name = format!("by-{way}");
        let script = "while read -r line; do echo \"heard $line\"; done; echo over >&2; exit 3";
        pods.run(&name, script, &json!({ "stdin": true, "stdinOnce": true }));
        let mut listener = pods.kubectl(way, &["attach", &name]);
        let mut listener = Running(listener.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut speaker = pods.kubectl(way, &["attach", "-i", &name]);
        let speaker = speaker.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut speaker = Running(speaker.spawn().unwrap());
        let heard = [&mut listener, &mut speaker].map(|one| Heard::from(one.0.stdout.take().unwrap()));
        let complaints = Heard::from(speaker.0.stderr.take().unwrap());
        let mut mouth = speaker.0.stdin.take().unwrap();
        // A client does not get what was written before it attached.
        until("both are attached", || {
            mouth.write_all(b"hello\n").unwrap();
            heard.iter().all(|one| one.so_far().contains("heard hello\n")).then_some(())
        });
        mouth.write_all(b"bye\n").unwrap();
        drop(mouth);
        for one in [&mut listener, &mut speaker] {
            assert!(one.0.wait().unwrap().success(), "{way}");
        }
        for one in heard {
            one.until("heard bye\n");
        }
        complaints.until("over\n");
        let pod = pods.reaches(&name, &["Failed"]);
        assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3, "{pod}");
        let log = pods.says(&["logs", &name]);
        assert!(["heard hello\n", "heard bye\n", "over\n"].iter().all(|line| log.contains(line)), "{log}");
    }
}

/// A file is the same after `cp` into a pod and out of it.
#[test]
fn cp_keeps_every_byte_both_ways() {
    let pods = Pods::on(Plane::shared());
    pods.run("p", "sleep 600", &json!({}));
    let bytes = bytes();
    let (here, there) = (scratch("here"), scratch("there"));
    std::fs::write(here.join("sent"), &bytes).unwrap();
    for way in WAYS {
        let inside = there.join(way);
        let remote = format!("{}/p:{}", pods.ns, inside.display());
        let sent = pods.kubectl(way, &["cp", here.join("sent").to_str().unwrap(), &remote]).output().unwrap();
        assert!(sent.status.success(), "{way}: {}", text(&sent.stderr));
        let sum = pods.says(&["exec", "p", "--", "sha256sum", inside.to_str().unwrap()]);
        assert_eq!(sum[..64], sha256(&bytes), "{way}");
        let back = here.join(format!("back-{way}"));
        let fetched = pods.kubectl(way, &["cp", &remote, back.to_str().unwrap()]).output().unwrap();
        assert!(fetched.status.success(), "{way}: {}", text(&fetched.stderr));
        assert_eq!(sha256(&std::fs::read(&back).unwrap()), sha256(&bytes), "{way}");
    }
}

/// A server that sends back what it receives, and reports how many bytes a connection had when it ended.
pub(crate) fn echo() -> (u16, std::sync::mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ended, endings) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, ended) = (connection.unwrap(), ended.clone());
            std::thread::spawn(move || {
                let (mut count, mut part) = (0, [0; 4096]);
                while let Ok(length @ 1..) = connection.read(&mut part) {
                    count += length;
                    if connection.write_all(&part[..length]).is_err() {
                        break;
                    }
                }
                let _ = ended.send(count);
            });
        }
    });
    (port, endings)
}

/// `port-forward` carries several connections at a time, both ways. Each ends on its own, and all end with kubectl.
#[test]
fn port_forward_carries_connections_to_their_end() {
    let pods = Pods::on(Plane::shared());
    pods.run("p", "sleep 600", &json!({}));
    let limit = std::time::Duration::from_secs(20);
    for way in WAYS {
        let (port, endings) = echo();
        let mut kubectl = pods.kubectl(way, &["port-forward", "p", &format!(":{port}")]);
        let mut kubectl = Running(kubectl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        // It also writes a line for each connection, so its output has to stay open.
        let (mut output, mut line) = (BufReader::new(kubectl.0.stdout.take().unwrap()), String::new());
        output.read_line(&mut line).unwrap();
        let local: u16 =
            line.strip_prefix("Forwarding from 127.0.0.1:").unwrap().split(' ').next().unwrap().parse().unwrap();
        let connect = || {
            let stream = TcpStream::connect(("127.0.0.1", local)).unwrap();
            stream.set_read_timeout(Some(limit)).unwrap();
            stream
        };
        let (mut one, mut other) = (connect(), connect());
        let mut answer = [0; 5];
        for (stream, words) in [(&mut one, b"hello"), (&mut other, b"there")] {
            stream.write_all(words).unwrap();
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, words, "{way}");
        }
        // The client's end of input reaches the server, and then the server's reaches the client.
        one.write_all(b" once more").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        one.read_to_end(&mut rest).unwrap();
        assert_eq!((text(&rest).as_str(), endings.recv_timeout(limit)), (" once more", Ok(15)), "{way}");
        assert!(kubectl.0.try_wait().unwrap().is_none(), "{way}");
        drop(kubectl);
        assert_eq!(endings.recv_timeout(limit), Ok(5), "{way}: the other ends with kubectl");
    }
}

/// Deleting a pod ends all processes in it, also those of exec and their children. A command of exec outlives its client, as
/// with container runtimes.
#[test]
fn the_end_of_a_pod_ends_its_processes() {
    let pods = Pods::on(Plane::shared());
    pods.run("p", "sleep 601 & echo $$ $! > main; wait", &json!({}));
    let script = "sleep 602 & echo $$ $! > exec; wait";
    let mut exec = pods.kubectl("true", &["exec", "p", "--", "sh", "-c", script]);
    let exec = Running(exec.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let pids = until("four processes run", || {
        let said = text(&pods.kubectl("true", &["exec", "p", "--", "cat", "main", "exec"]).output().unwrap().stdout);
        let pids: Vec<u32> = said.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        (pids.len() == 4).then_some(pids)
    });
    let running = || pids.iter().filter(|pid| runs(**pid)).count();
    assert_eq!(running(), 4);
    drop(exec);
    pods.says(&["exec", "p", "--", "true"]);
    assert_eq!(running(), 4, "an exec does not end with its client");
    let mut late = pods.kubectl("true", &["exec", "p", "--", "sh", "-c", "echo up; exec sleep 603"]);
    let mut late = Running(late.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    Heard::from(late.0.stdout.take().unwrap()).until("up");
    let complaint = Heard::from(late.0.stderr.take().unwrap());
    pods.says(&["delete", "pod", "p", "--timeout=30s"]);
    assert_eq!((running(), pods.admin.get(&pods.path("p")).0), (0, 404));
    assert_eq!(late.0.wait().unwrap().code(), Some(137), "{}", complaint.so_far());
}

/// Whether a process runs. A zombie does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The kubelet outlives a restart of the API server, and then starts and ends pods as before.
#[test]
fn the_kubelet_waits_for_an_api_server_that_is_away() {
    let plane = Plane::to_stop();
    let pods = Pods::on(&plane);
    pods.run("before", "echo $$ > pid; exec sleep 600", &json!({}));
    let pid = until("it runs", || {
        let said = pods.kubectl("true", &["exec", "before", "--", "cat", "pid"]).output().unwrap();
        text(&said.stdout).trim().parse().ok()
    });
    pods.run("ending", "while [ ! -e go ]; do sleep 0.05; done; exit 4", &json!({}));
    let home = pods.says(&["exec", "ending", "--", "pwd"]);
    plane.stop_api_server();
    std::fs::write(Path::new(home.trim()).join("go"), "").unwrap();
    plane.start_api_server();
    let ended = pods.reaches("ending", &["Failed"]);
    assert_eq!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 4, "{ended}");
    assert!(runs(pid), "the other goes on");
    pods.run("after", "sleep 600", &json!({}));
    assert_eq!(pods.says(&["exec", "after", "--", "echo", "here"]), "here\n");
    pods.says(&["delete", "pod", "before", "--timeout=30s"]);
    assert!(!runs(pid));
}

/// `kubectl debug` adds a container to a pod that runs.
#[test]
fn debug_runs_an_ephemeral_container() {
    let pods = Pods::on(Plane::shared());
    pods.run("p", "sleep 600", &json!({}));
    let words =
        ["debug", "p", "-i", "--image=none", "--container=later", "--", "sh", "-c", "read -r x; echo \"got $x\""];
    let done = fed(pods.kubectl("true", &words), b"it\n");
    assert!(done.status.success() && text(&done.stdout).contains("got it\n"), "{:?}", told(&done));
    assert_eq!(pods.reaches("p", &["Running"])["status"]["ephemeralContainerStatuses"][0]["name"], "later");
}

/// `kubectl top` reads the aggregated API metrics.k8s.io, which the kubelet serves. The test does not use the shared plane,
/// where the API would appear in the discovery of tests that run at the same time.
#[test]
fn top_reads_an_aggregated_api() {
    let pods = Pods::on(Plane::managed());
    pods.plane.serve_metrics();
    pods.run("p", "sleep 600", &json!({}));
    let words = |said: String| said.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    let pod = ["NAME", "CPU(cores)", "MEMORY(bytes)", "p", "5m", "16Mi"];
    assert_eq!(words(pods.says(&["top", "pods"])), pod);
    assert_eq!(words(pods.says(&["top", "pod", "p"])), pod);
    let node = words(pods.says(&["top", "nodes"]));
    assert_eq!(node[5..], ["test", "5m", "0%", "16Mi", "0%"], "{node:?}");
    let nobody = pods.kubectl("true", &["top", "pods", "--as=nobody"]).output().unwrap();
    let (code, _, why) = told(&nobody);
    assert!(code == Some(1) && why.contains("cannot list resource \"pods\" in API group \"metrics.k8s.io\""), "{why}");
}

/// The kubelet accepts only the API server, so nobody reaches a pod without its decision and its audit log.
#[test]
fn the_kubelet_answers_only_the_api_server() {
    let plane = Plane::shared();
    let pods = Pods::on(plane);
    pods.run("p", "sleep 600", &json!({}));
    let port = pods.admin.get(&format!("/api/v1/nodes/{}", plane.node())).1["status"]["daemonEndpoints"]
        ["kubeletEndpoint"]["Port"].clone();
    let address = format!("https://127.0.0.1:{port}/containerLogs/{}/p/main", pods.ns);
    let file = |name: &str| plane.dir.join(name).to_str().unwrap().to_owned();
    let curl = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert", &file("ca.crt")]).args(more);
        curl.args(["--write-out", "%{http_code}", &address]).output().unwrap()
    };
    let with = |name: &str| curl(&["--cert", &file(&format!("{name}.crt")), "--key", &file(&format!("{name}.key"))]);
    assert_eq!(text(&with("kubelet-client").stdout), "200");
    for refused in [with("admin"), curl(&[])] {
        let (code, answer, why) = told(&refused);
        assert!(code != Some(0) && answer == "000" && !why.contains("timed out"), "{code:?} {answer} {why}");
    }
}

/// The API server of the managed plane accepts tokens, and does not accept an authority that the shared plane trusts.
#[test]
fn a_managed_cluster_accepts_tokens_and_no_authority_of_ours() {
    let managed = Plane::managed();
    let reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    for (user, groups) in [
        ("admin", &["system:masters", "system:authenticated"][..]),
        ("jitd", &["system:authenticated"]),
        ("jit-gateway", &["system:authenticated"]),
    ] {
        let client = Admin::new(&managed.token_kubeconfig(user));
        let who = client.create(reviews, &json!({}))["status"]["userInfo"].clone();
        assert_eq!((&who["username"], &who["groups"]), (&json!(user), &json!(groups)), "{who}");
        let may = if user == "admin" { 200 } else { 403 };
        assert_eq!(client.get("/api/v1/nodes").0, may, "{user}");
    }
    let (root, chain, key) = stranger();
    let file = scratch("stranger").join("root.crt");
    std::fs::write(&file, root).unwrap();
    Plane::shared().trust(&file);
    let status = |plane| Admin::with_certificate(plane, &chain, &key).call(Method::POST, reviews, &json!({})).0;
    until("the shared one trusts it", || (status(Plane::shared()) == 200).then_some(()));
    assert_eq!(status(managed), 401);
}

/// An authority, a certificate that it issued to `carol`, and her key, in PEM.
fn stranger() -> (String, String, String) {
    let key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let named = |name: &str| {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters
    };
    let mut authority = named("an authority of nobody's");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = key();
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let mut carol = named("carol");
    carol.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let carol_key = key();
    let chain = carol.signed_by(&carol_key, &rcgen::Issuer::new(authority, authority_key)).unwrap().pem();
    (root, chain, carol_key.serialize_pem())
}
