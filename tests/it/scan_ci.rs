//! The jobs of docs/scan-ci.md: their shell steps, taken from the page, on a repository with known access and on one with more.
//!
//! Helm and GitHub's program are stubs that the job calls; everything else is real. GitLab's API is a server of this test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bastion::{repository, text};
use crate::plane::{root, scratch};

const PAGE: &str = "docs/scan-ci.md";

/// What stands already, and what a pull request adds: a binding in a plain file, and one in a chart.
const KNOWN: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: Group, name: dev}]
";
const NEW: &str = "\
---
# Until the migration is over.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: migration}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: User, name: bob}]
";
const CHART: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: shop, namespace: shop}
";

/// The YAML under a heading of the page.
fn block(heading: &str) -> Value {
    let page = std::fs::read_to_string(repository().join(PAGE)).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, rest) = rest.split_once("```yaml\n").unwrap();
    serde_saphyr::from_str(rest.split_once("```").unwrap().0).unwrap()
}

/// A shell, and what it is given, for each step in order.
type Steps = Vec<(Vec<&'static str>, String)>;

fn github() -> Steps {
    let job = block("GitHub Actions");
    let steps = job["jobs"]["scan"]["steps"].as_array().unwrap();
    let runs = steps.iter().filter_map(|step| step["run"].as_str());
    // As the runner starts its default shell.
    runs.map(|run| (vec!["bash", "-e", "-c"], run.to_owned())).collect()
}

fn gitlab() -> Steps {
    let job = block("GitLab CI");
    let lines: Vec<&str> =
        job["standing-access"]["script"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    // One shell runs them all.
    vec![(vec!["bash", "-e", "-o", "pipefail", "-c"], lines.join("\n"))]
}

fn tekton() -> Steps {
    let task = block("Tekton");
    let steps = task["spec"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["workingDir"] == "$(workspaces.source.path)"), "{task:#}");
    let scripts = steps.iter().map(|step| step["script"].as_str().unwrap());
    scripts.map(|script| (vec!["sh", "-c"], script.replace("$(results.summary.path)", "summary"))).collect()
}

fn argo() -> Steps {
    let template = block("Argo Workflows");
    let script = &template["spec"]["templates"][0]["script"];
    assert_eq!((&script["command"][0], &script["workingDir"]), (&"sh".into(), &"/src".into()), "{script:#}");
    vec![(vec!["sh", "-c"], script["source"].as_str().unwrap().to_owned())]
}

/// A repository whose baseline was written as the page says.
fn project() -> PathBuf {
    let folder = scratch("scan-ci");
    let bin = folder.join("bin");
    for path in ["bin", "deploy", "charts/shop"] {
        std::fs::create_dir_all(folder.join(path)).unwrap();
    }
    std::os::unix::fs::symlink(root().join("bin/jitd"), bin.join("jitd")).unwrap();
    let stub = |name: &str, script: &str| {
        let path = bin.join(name);
        std::fs::write(&path, format!("#!/bin/sh\nset -eu\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    stub("helm", "[ \"$1 $2 $3\" = 'template shop charts/shop' ] && cat charts/shop/rendered.yaml");
    stub(
        "gh",
        "[ \"$1 $2 $3\" = 'pr comment 7' ] && while [ \"$1\" != --body-file ]; do shift; done && cp \"$2\" comment.md",
    );
    std::fs::write(folder.join("deploy/rbac.yaml"), KNOWN).unwrap();
    std::fs::write(folder.join("charts/shop/rendered.yaml"), CHART).unwrap();
    let page = std::fs::read_to_string(repository().join(PAGE)).unwrap();
    let (_, rest) = page.split_once("commit it:\n\n").unwrap();
    let lines: Vec<&str> = rest.lines().take_while(|line| !line.is_empty()).map(str::trim_start).collect();
    assert_eq!(run(&folder, &["sh", "-e", "-c"], &lines.join("\n"), &BTreeMap::new()).0, 0);
    folder
}

fn run(folder: &Path, shell: &[&str], script: &str, variables: &BTreeMap<&str, String>) -> (i32, String) {
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).current_dir(folder).env("PATH", path).envs(variables);
    let output = command.output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

/// Runs the steps up to the first that fails, as each system does.
fn job(folder: &Path, steps: &Steps, variables: &BTreeMap<&str, String>) -> (i32, String) {
    let mut said = String::new();
    for (shell, script) in steps {
        let (code, more) = run(folder, shell, script, variables);
        said += &more;
        if code != 0 {
            return (code, said);
        }
    }
    (0, said)
}

/// The steps end as the page says, with what is known and with what is new; `check` looks at what they leave.
fn ends_as_the_page_says(steps: &Steps, variables: &BTreeMap<&str, String>, check: impl Fn(&Path, bool)) {
    let folder = project();
    let (code, said) = job(&folder, steps, variables);
    assert_eq!(code, 0, "{said}");
    check(&folder, false);
    std::fs::write(folder.join("deploy/rbac.yaml"), format!("{KNOWN}{NEW}")).unwrap();
    let (code, said) = job(&folder, steps, variables);
    assert!(code == 3 && said.contains("1 open finding at least high"), "{code}: {said}");
    check(&folder, true);
    // A baseline that is none fails, and not as a finding.
    std::fs::write(folder.join("scan-baseline.json"), "{}").unwrap();
    assert_eq!(job(&folder, steps, variables).0, 2);
}

/// The new finding is at its line; what is known is `unchanged`.
fn sarif_is_right(folder: &Path, is_new: bool) {
    let log: Value = serde_json::from_slice(&std::fs::read(folder.join("scan.sarif")).unwrap()).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let open: Vec<&Value> = results.iter().filter(|result| result["baselineState"] != "unchanged").collect();
    assert_eq!(open.len(), usize::from(is_new), "{log:#}");
    assert!(results.len() > open.len(), "the known finding is there: {log:#}");
    for result in open {
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!((result["ruleId"].as_str(), result["level"].as_str()), (Some("E01"), Some("error")));
        let line = place["region"]["startLine"].as_u64();
        assert_eq!(
            (place["artifactLocation"]["uri"].as_str(), line),
            (Some("deploy/rbac.yaml"), Some(8)),
            "{result:#}"
        );
    }
}

fn markdown_is_right(written: &str, is_new: bool) {
    assert!(written.starts_with("## Standing access\n"), "{written}");
    assert_eq!(written.contains("`user bob`"), is_new, "{written}");
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_job_of_github_actions_works() {
    let variables = BTreeMap::from([("GITHUB_STEP_SUMMARY", "summary.md".to_owned()), ("NUMBER", "7".to_owned())]);
    ends_as_the_page_says(&github(), &variables, |folder, is_new| {
        sarif_is_right(folder, is_new);
        markdown_is_right(&read(folder, "comment.md"), is_new);
        assert!(read(folder, "summary.md").ends_with(&read(folder, "scan.md")));
    });
}

#[test]
fn the_job_of_gitlab_works() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}/api/v4", listener.local_addr().unwrap());
    let notes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let taken = std::sync::Arc::clone(&notes);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            taken.lock().unwrap().push(note(stream.unwrap()));
        }
    });
    let variables = BTreeMap::from([
        ("CI_API_V4_URL", api),
        ("CI_PROJECT_ID", "3".to_owned()),
        ("CI_MERGE_REQUEST_IID", "7".to_owned()),
        ("SCAN_TOKEN", "token".to_owned()),
    ]);
    ends_as_the_page_says(&gitlab(), &variables, |folder, is_new| {
        sarif_is_right(folder, is_new);
        let (head, body) = notes.lock().unwrap().pop().unwrap();
        assert!(head.starts_with("POST /api/v4/projects/3/merge_requests/7/notes "), "{head}");
        let fields: BTreeMap<String, String> = serde_urlencoded::from_str(&body).unwrap();
        markdown_is_right(&fields["body"], is_new);
    });
}

/// The first line of a request, and its body.
fn note(mut stream: std::net::TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    (first, String::from_utf8(body).unwrap())
}

#[test]
fn the_task_of_tekton_works() {
    ends_as_the_page_says(&tekton(), &BTreeMap::new(), |folder, is_new| {
        sarif_is_right(folder, is_new);
        markdown_is_right(&read(folder, "scan.md"), is_new);
        let summary = read(folder, "summary");
        assert!(summary.starts_with(if is_new { "1 critical" } else { "nothing" }), "{summary}");
    });
}

#[test]
fn the_template_of_argo_workflows_works() {
    ends_as_the_page_says(&argo(), &BTreeMap::new(), |folder, is_new| {
        sarif_is_right(folder, is_new);
        assert!(read(folder, "scan.html").starts_with("<!doctype html>"));
    });
}
