//! `jitd scan apply-plan DIR --dry-run`: asks the API server about each step of a plan of `--suggest`.
//!
//! Every request says `dryRun=All`, so the API server checks rights, admission and preconditions, and changes nothing. A step
//! whose files are not what the step says, and one that would take what whoever asks holds, is refused before anything is sent.

use std::path::Path;

use clap::Args;
use jit_scan::suggest::{Plan, Removal, Request, Runner, Step, administrators_after};
use jit_scan::{Access, Reader, Role};
use serde_json::{Value, json};

use super::live::{self, Extent, Session};
use super::{say_not_evaluated, shown};
use crate::Failure;
use crate::print::{self, counted};

/// A plan, and the cluster that it is for.
#[derive(Args)]
pub(crate) struct ApplyPlan {
    /// The folder that `--suggest` wrote.
    folder: std::path::PathBuf,
    /// Change nothing: ask the API server whether it would. Nothing else is possible; the plan contains the commands.
    #[arg(long, required = true)]
    dry_run: bool,
    #[command(flatten)]
    live: live::Context,
}

/// What is known of a step.
enum Verdict {
    /// Nothing that an API server could be asked.
    ByHand,
    /// It can be carried out, or has been.
    Possible(&'static str),
    Refused(String),
}

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

pub(super) fn apply_plan(ApplyPlan { folder, live, .. }: &ApplyPlan) -> Result<(), Failure> {
    let text = read(&folder.join("plan.yaml"))?;
    let file = folder.join("plan.yaml");
    let plan =
        Plan::parse(&text).map_err(|why| Failure::usage(format!("{}: {}", file.display(), shown(&why.to_string()))))?;
    let roles = if plan.steps.iter().any(|step| !step.creates.is_empty()) { roles(folder)? } else { Vec::new() };
    let mut reader = Reader::default();
    live::read(live, Extent::Rights, &mut reader, None)?;
    let snapshot = reader.finish();
    let mut session = Session::open(live)?;
    let runner = session.runner()?;
    let mut rows = Vec::new();
    let mut refused = 0_u64;
    for step in &plan.steps {
        let verdict = ask(&mut session, folder, &roles, &runner, step)?;
        let answer = match verdict {
            Verdict::ByHand => "by hand".to_owned(),
            Verdict::Possible(how) => how.to_owned(),
            Verdict::Refused(why) => {
                refused += 1;
                format!("REFUSED: {}", shown(&why))
            }
        };
        rows.push(vec![step.step.to_string(), answer, shown(&step.does)]);
    }
    let mut said = print::table(&["STEP", "ANSWER", "WHAT"], rows);
    let access = Access::of(&snapshot);
    let removals: Vec<&Removal> = plan.removals();
    if administrators_after(&access, &removals).is_empty() && !administrators_after(&access, &[]).is_empty() {
        refused += 1;
        said.push_str("\nREFUSED: no binding of a person or group would administer the cluster any more");
    }
    print::result(said)?;
    say_not_evaluated(snapshot.not_evaluated.iter().chain(access.not_evaluated()));
    if refused == 0 {
        return Ok(());
    }
    print::notice(
        &format!("{} of the plan", counted(refused, "refusal")),
        "scan again with `--suggest`, into a new folder",
    );
    Err(Failure::No)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|why| Failure::usage(format!("{}: {why}", path.display())))
}

fn roles(folder: &Path) -> Result<Vec<Role>, Failure> {
    let mut reader = Reader::default();
    reader.path(&folder.join("roles.yaml")).map_err(Failure::invalid)?;
    Ok(reader.finish().roles)
}

fn ask(session: &mut Session, folder: &Path, roles: &[Role], runner: &Runner, step: &Step) -> Result<Verdict, Failure> {
    let mut how = "done";
    for name in &step.creates {
        let Some(role) = roles.iter().find(|role| role.name.name == *name && role.name.namespace.is_none()) else {
            return Ok(Verdict::Refused(format!("roles.yaml has no ClusterRole `{name}`")));
        };
        match create(session, role)? {
            Verdict::Possible("done") => {}
            Verdict::Possible(possible) => how = possible,
            refused => return Ok(refused),
        }
    }
    match &step.removes {
        Some(removal) => remove(session, folder, runner, step.step, removal),
        None if step.creates.is_empty() => Ok(Verdict::ByHand),
        None => Ok(Verdict::Possible(how)),
    }
}

/// Whether the role can be created, or is there with these rules.
fn create(session: &mut Session, role: &Role) -> Result<Verdict, Failure> {
    let name = &role.name.name;
    let body = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": name }, "rules": role.rules,
    });
    let request = Request { method: "POST", path: ROLES.to_owned(), content_type: "application/json", body };
    let (status, answer) = session.dry_run(&request)?;
    if status != 409 {
        return Ok(verdict(status, &answer, "possible"));
    }
    let (_, existing) = session.get(&format!("{ROLES}/{name}"))?;
    if existing.get("rules") == Some(&json!(role.rules)) {
        return Ok(Verdict::Possible("done"));
    }
    Ok(Verdict::Refused(format!("there is another ClusterRole `{name}`")))
}

fn remove(
    session: &mut Session,
    folder: &Path,
    runner: &Runner,
    step: usize,
    removal: &Removal,
) -> Result<Verdict, Failure> {
    let (file, expected) = removal.file(step);
    let written: Option<Value> = serde_json::from_str(&read(&folder.join(&file))?).ok();
    if written.as_ref() != Some(&expected) {
        return Ok(Verdict::Refused(format!("{file} is not what the step says")));
    }
    if let Some(own) = removal.subjects.iter().find(|subject| runner.is(subject.kind, &subject.name)) {
        return Ok(Verdict::Refused(format!("it is what you hold as {}", own.words())));
    }
    let (status, answer) = session.dry_run(&removal.request())?;
    Ok(match status {
        404 => Verdict::Possible("done"),
        // A precondition of a deletion, and a failed test of a patch.
        409 | 422 => Verdict::Refused(format!("it has changed since the scan: {}", said(&answer))),
        _ => verdict(status, &answer, "possible"),
    })
}

fn verdict(status: u16, answer: &Value, possible: &'static str) -> Verdict {
    if (200..300).contains(&status) {
        return Verdict::Possible(possible);
    }
    Verdict::Refused(format!("{status}: {}", said(answer)))
}

fn said(answer: &Value) -> &str {
    answer.get("message").and_then(Value::as_str).unwrap_or("no reason was given")
}
