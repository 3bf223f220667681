//! What a decision costs, and how soon access ends whose role somebody edits.
//!
//! ```text
//!  decision: 1,000 rules, a role of 500 rules ─► assess, decide          in this process, no cluster
//!  drift:    PUT clusterrole ─► … ─► GET pods with the certificate ─► 403
//! ```
//! The role goes on allowing what is asked for; only its being another ends the access.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jitd::grant::policy::{Circumstances, Decision, Policy, Usage, could_be_asked, decide};
use jitd::grant::request::{Access, AccessRequest, Namespace, Person};
use jitd::rbac::risk::{Surroundings, assess};
use jitd::rbac::role::Rule;
use serde_json::json;

use crate::daemon::Daemon;
use crate::http::request;
use crate::load::median;
use crate::plane::Plane;
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "drift";

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let decision = decision(settings)?;
    let mut ends = drift(plane, folder, settings).await?;
    ends.sort_unstable_by(f64::total_cmp);
    let slowest = ends.last().copied().ok_or("nothing was measured")?;
    Ok(vec![
        Row::new("decision: 1000 rules, a role of 500", number(decision, "ms")).at_most(decision, 1.0, "ms"),
        Row::new("role edited, until its access is refused, median", number(median(ends.iter().copied()), "s"))
            .against(format!("the slowest of {}: {}", ends.len(), number(slowest, "s")))
            .at_most(slowest, 5.0, "s"),
    ])
}

/// The median of whole decisions, in milliseconds: of 1,000 rules for the person's group only the last fits.
fn decision(settings: &Settings) -> Result<f64, Failure> {
    let rule = |number: usize| {
        json!({
            "name": format!("rule-{number}"), "who": ["oncall"], "clusters": ["bench"],
            "namespaces": [format!("team-{number}-*"), { "labels": format!("team={number},env!=prod") }],
            "roles": ["view", "debug"], "maxDuration": "1h", "reason": "^INC-[0-9]+", "approval": [{ "groups": ["leads"] }],
        })
    };
    let policy = json!({ "rules": (0..1000).map(rule).collect::<Vec<_>>() }).to_string();
    let policy = Policy::read(&policy, None).map_err(|faults| format!("{faults:?}"))?;
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let rules: Vec<Rule> = (0..500)
        .map(|number| Rule {
            api_groups: vec![if number % 2 == 0 { "apps".to_owned() } else { format!("group-{number}.example") }],
            resources: vec![format!("things-{number}"), "deployments/status".to_owned()],
            verbs: words(&["get", "list", "watch"]),
            ..Rule::default()
        })
        .collect();
    let alice = Person { name: "alice".parse()?, groups: ["oncall".to_owned()].into(), login: None };
    let ask = AccessRequest {
        cluster: "bench".parse()?,
        scope: "team-999-a".parse::<Namespace>()?.into(),
        access: Access::Role("view".parse()?),
        window: "10m".parse()?,
        reason: "INC-42 the queue is stuck".parse()?,
        fields: BTreeMap::new(),
        start: None,
    };
    let labels = BTreeMap::from([("team-999-a".parse()?, BTreeMap::new())]);
    let (now, usage) = (Timestamp::UNIX_EPOCH, Usage::default());
    let times = (0..settings.shorter(2000, 200)).map(|_| {
        let begun = Instant::now();
        let could = could_be_asked(&policy, &alice, &ask, now, usage);
        let assessment = assess(&rules, &ask.scope, &Surroundings::ordinary(None));
        let decided =
            decide(&policy, &alice, &ask, &Circumstances { now, labels: &labels, assessment: &assessment, usage });
        let took = begun.elapsed();
        assert!(could.is_ok() && matches!(black_box(decided), Decision::Ask(terms) if terms.rule == "rule-999"));
        took.as_secs_f64() * 1e3
    });
    Ok(median(times.collect::<Vec<_>>()))
}

/// Seconds from the answer to the edit of a role until its holder is refused.
async fn drift(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<f64>, Failure> {
    let times = settings.shorter(20, 3);
    plane.namespace(NAMESPACE).await?;
    let mut daemon = Daemon::prepare(plane, folder, "drift", &[NAMESPACE.to_owned()])?;
    daemon.start().await?;
    progress(&format!("policy: {times} roles that are edited while they are granted"));
    let mut admin = plane.admin.connect().await?;
    let (mut alice, mut bob) = (daemon.alice().connect().await?, daemon.bob().connect().await?);
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = |verbs: &[&str]| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": EDITED },
            "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": verbs }],
        })
    };
    admin.exchange(&request("POST", roles, Some(&role(&["get", "list"])))).await?.json()?;
    let pods = request("GET", &format!("/api/v1/namespaces/{NAMESPACE}/pods"), None);
    let mut ends = Vec::new();
    for turn in 0..times {
        let pending = daemon.request_role(&mut alice, NAMESPACE, EDITED, "1h").await?;
        bob.exchange(&pending.approve()).await?.json()?;
        let collected = alice.exchange(&pending.certificate()).await?.json()?;
        let chain = collected["certificate"].as_str().ok_or("no certificate")?;
        let mut holder = plane.client(chain, &pending.key_pem())?.connect().await?;
        holder.exchange(&pods).await?.json()?;
        let verbs: &[&str] = if turn % 2 == 0 { &["get", "list", "watch"] } else { &["get", "list"] };
        admin.exchange(&request("PUT", &format!("{roles}/{EDITED}"), Some(&role(verbs)))).await?.json()?;
        let begun = Instant::now();
        while holder.exchange(&pods).await?.json().is_ok() {
            if begun.elapsed() > Duration::from_secs(20) {
                return Err("an edited role did not end its access".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ends.push(begun.elapsed().as_secs_f64());
    }
    daemon.stop()?;
    Ok(ends)
}

/// The role that is edited; the benchmark's policy gives it.
pub(crate) const EDITED: &str = "bench-edited";
