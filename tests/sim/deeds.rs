//! What people do, concurrently where possible: each verb on any grant in any phase, mostly by people who may do it and
//! at a sensible moment, sometimes by anybody at any moment.
//!
//! Each call is a separate task, as in the API: it continues after the caller has lost patience.

use std::sync::Arc;
use std::time::Duration;

use jitd::broker::{Broker, BrokerError, GrantSelector};
use jitd::grant::glass::Verdict;
use jitd::grant::narrow::Narrowing;
use jitd::grant::request::{Access, ExactRules, KeyHash, Namespaces, Person};
use jitd::grant::{Filter, Grant, Phase};

use crate::cast::{self, ENGINEERS, LEADS, caller, window};
use crate::oracle::Deed;
use crate::world::{World, below, happens, now, one_of, sleep, world};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Request,
    Explain,
    Approve,
    Narrow,
    Deny,
    Withdraw,
    BreakGlass,
    Certificate,
    Extend,
    Review,
    Release,
    Revoke,
    OperatorsRevoke,
    Drain,
    Resume,
}

/// What can be done to a grant.
const TO_A_GRANT: [Verb; 11] = [
    Verb::Approve,
    Verb::Narrow,
    Verb::Deny,
    Verb::Withdraw,
    Verb::BreakGlass,
    Verb::Certificate,
    Verb::Extend,
    Verb::Review,
    Verb::Release,
    Verb::Revoke,
    Verb::OperatorsRevoke,
];

impl Verb {
    /// The verb in the grant's phase, so that collecting and renewing are distinct, and so are requests and extensions.
    fn told(self, grant: Option<&Grant>) -> &'static str {
        let phase = grant.map(|grant| grant.phase);
        let more = grant.is_some_and(|grant| grant.extension.is_some());
        match self {
            Self::Request => "request",
            Self::Explain => "explain",
            Self::Approve if more => "approve more time",
            Self::Approve => "approve",
            Self::Narrow => "approve less",
            Self::Deny if more => "deny more time",
            Self::Deny => "deny",
            Self::Withdraw => "withdraw",
            Self::BreakGlass => "break glass",
            Self::Certificate if phase == Some(Phase::Live) => "renew",
            Self::Certificate => "collect",
            Self::Extend => "extend",
            Self::Review => "review",
            Self::Release => "release",
            Self::Revoke => "revoke",
            Self::OperatorsRevoke => "operator's revoke",
            Self::Drain => "drain",
            Self::Resume => "resume",
        }
    }

    /// The verb as the oracle counts it in the trail; none if no event names its author.
    fn family(self) -> Option<&'static str> {
        Some(match self {
            Self::Request => "request",
            Self::Approve | Self::Narrow => "approve",
            Self::Deny => "deny",
            Self::Withdraw => "withdraw",
            Self::BreakGlass => "break glass",
            Self::Extend => "extend",
            Self::Review => "review",
            Self::Release | Self::Revoke => "end",
            _ => return None,
        })
    }

    fn is_of_requester(self) -> bool {
        matches!(self, Self::Withdraw | Self::BreakGlass | Self::Certificate | Self::Extend | Self::Release)
    }
}

/// Every verb by its name in the output, and whether a rule can refuse it.
pub(crate) const TOLD: [(&str, bool); 18] = [
    ("request", true),
    ("explain", true),
    ("approve", true),
    ("approve more time", true),
    ("approve less", true),
    ("deny", true),
    ("deny more time", true),
    ("withdraw", true),
    ("break glass", true),
    ("collect", true),
    ("renew", true),
    ("extend", true),
    ("review", true),
    ("release", true),
    ("revoke", true),
    ("operator's revoke", true),
    ("drain", false),
    ("resume", false),
];

/// A pair of verbs by its name in the count.
pub(crate) fn pair(one: Verb, other: Verb) -> String {
    let (one, other) = (one.min(other), one.max(other));
    format!("pair: {one:?} + {other:?}")
}

/// Every pair of verbs on one grant.
pub(crate) fn pairs() -> impl Iterator<Item = String> {
    let others = |at: usize| TO_A_GRANT.into_iter().skip(at);
    TO_A_GRANT.into_iter().enumerate().flat_map(move |(at, one)| others(at).map(move |other| pair(one, other)))
}

/// The certificate requests of each person, and one that several people use, each with its key.
pub(crate) struct Requests {
    pub(crate) of: Vec<(&'static str, Vec<(String, KeyHash)>)>,
    pub(crate) shared: (String, KeyHash),
}

#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) broker: Arc<Broker>,
    pub(crate) requests: Arc<Requests>,
    /// The path of the trail.
    pub(crate) folder: Arc<str>,
}

impl Scene {
    /// Starts everybody.
    pub(crate) fn begins(&self) {
        for name in ENGINEERS {
            tokio::spawn(self.clone().engineer(name));
        }
        for name in LEADS {
            tokio::spawn(self.clone().lead(name));
        }
        tokio::spawn(self.clone().operator());
        tokio::spawn(self.clone().side_by_side());
    }

    async fn engineer(self, name: &'static str) {
        loop {
            sleep(below(10_000)).await;
            let own: Vec<Arc<Grant>> = self.broker.ledger().of(&name.parse().unwrap());
            let open: Vec<&Arc<Grant>> = own.iter().filter(|grant| grant.phase.is_open()).collect();
            if open.is_empty() || happens(250) {
                let again = happens(80);
                let asked = self.attempt(Verb::Request, caller(name), None);
                // Two shells of one person, each unaware of the other.
                if again {
                    tokio::join!(asked, self.attempt(Verb::Request, caller(name), None));
                } else {
                    asked.await;
                }
                continue;
            }
            let grant = Arc::clone(one_of(&open));
            let verb = match (grant.phase, below(10)) {
                (Phase::Pending, 0) => Verb::Withdraw,
                (Phase::Pending, 1..=5) => Verb::BreakGlass,
                (Phase::Approved, 0..=7) => Verb::Certificate,
                (Phase::Approved, 8) => Verb::Withdraw,
                (Phase::Live, 0..=2) => Verb::Certificate,
                (Phase::Live, 3..=6) => Verb::Extend,
                (Phase::Live, 7) => Verb::Release,
                (_, 9) => one_of(&TO_A_GRANT),
                (Phase::Pending, 6) => Verb::Explain,
                _ => continue,
            };
            let other = happens(60)
                .then(|| open.iter().find(|other| other.id != grant.id && other.phase == grant.phase))
                .flatten();
            let first = self.attempt(verb, caller(name), Some(Arc::clone(&grant)));
            match other {
                // The same with two grants of that person at the same time.
                Some(other) => {
                    tokio::join!(first, self.attempt(verb, caller(name), Some(Arc::clone(other))));
                }
                None => first.await,
            }
        }
    }

    async fn lead(self, name: &'static str) {
        loop {
            sleep(below(16_000)).await;
            let listed = self.broker.ledger().list(&caller(name), happens(50), &Filter::default(), 50, None).await;
            let Ok((listed, _)) = listed else { continue };
            let visible: Vec<Arc<Grant>> = listed.into_iter().map(|(_, grant)| grant).collect();
            let waits =
                |grant: &&Arc<Grant>| grant.phase == Phase::Pending || grant.extension.is_some() || grant.owes_review();
            let waiting: Vec<&Arc<Grant>> = visible.iter().filter(waits).collect();
            let grant = match (waiting.is_empty(), happens(150)) {
                (false, false) => Arc::clone(one_of(&waiting)),
                _ if visible.is_empty() => continue,
                _ => one_of(&visible),
            };
            let verb = match (grant.phase, below(20)) {
                (_, 0) => one_of(&TO_A_GRANT),
                (_, 1..=5) if grant.owes_review() => Verb::Review,
                (Phase::Pending, 1..=11) => Verb::Approve,
                (Phase::Pending, 12..=16) => Verb::Narrow,
                (Phase::Pending, 17..=18) => Verb::Deny,
                (Phase::Live, 1..=12) if grant.extension.is_some() => Verb::Approve,
                (Phase::Live, 13..=16) if grant.extension.is_some() => Verb::Deny,
                (_, 17..=18) => Verb::Revoke,
                _ => continue,
            };
            let first = self.attempt(verb, caller(name), Some(Arc::clone(&grant)));
            if happens(150) {
                let other = one_of(&LEADS);
                tokio::join!(first, self.attempt(Verb::Approve, caller(other), Some(grant)));
            } else {
                first.await;
            }
        }
    }

    async fn operator(self) {
        loop {
            sleep(10_000 + below(60_000)).await;
            match below(5) {
                0 => self.attempt(Verb::Resume, root(), None).await,
                1 => self.attempt(Verb::OperatorsRevoke, root(), None).await,
                _ => self.attempt(Verb::Drain, root(), None).await,
            }
            sleep(below(15_000)).await;
            // A drain may be in force although its answer never arrived.
            while self.broker.draining().is_some() {
                self.attempt(Verb::Resume, root(), None).await;
                sleep(1_000).await;
            }
        }
    }

    /// Two people act on one grant, at the same time or nearly so.
    async fn side_by_side(self) {
        loop {
            sleep(below(8_000)).await;
            let open = self.broker.ledger().open(|_| true);
            if open.is_empty() {
                continue;
            }
            let grant = one_of(&open).grant();
            let (one, other) = (one_of(&TO_A_GRANT), one_of(&TO_A_GRANT));
            world(|world| world.count(pair(one, other)));
            let first = self.attempt(one, self.who(one, &grant), Some(Arc::clone(&grant)));
            let second = async {
                sleep(below(2) * below(60)).await;
                self.attempt(other, self.who(other, &grant), Some(Arc::clone(&grant))).await;
            };
            tokio::join!(first, second);
        }
    }

    /// Who usually does that.
    fn who(&self, verb: Verb, grant: &Grant) -> Person {
        match verb {
            Verb::OperatorsRevoke => root(),
            _ if happens(50) => caller(one_of(&ENGINEERS)),
            verb if verb.is_of_requester() => caller(grant.requester.as_str()),
            _ => caller(one_of(&LEADS)),
        }
    }

    /// Somebody tries something, and waits for a while.
    async fn attempt(&self, verb: Verb, who: Person, grant: Option<Arc<Grant>>) {
        let patience = 2_000 + below(40_000);
        let call = tokio::spawn(self.clone().call(verb, who, grant));
        let _ = tokio::time::timeout(Duration::from_millis(patience), call).await;
    }

    async fn call(self, verb: Verb, who: Person, seen: Option<Arc<Grant>>) {
        let told = verb.told(seen.as_deref());
        let id = seen.as_ref().map(|grant| grant.id.clone());
        let deed: Option<Deed> = verb.family().map(|family| (id.clone(), family, who.name.clone()));
        world(|world| {
            let of = id.as_ref().map_or(String::new(), |id| format!(" {id}"));
            world.note(format!("{} begins to {told}{of}", who.name));
            world.count("calls");
            if let Some(deed) = &deed {
                world.oracle_saw_begun(deed);
            }
        });
        let done = self.done(verb, &who, seen.as_deref()).await;
        world(|world| {
            if !world.alive {
                return;
            }
            let of = id.as_ref().map_or(String::new(), |id| format!(" {id}"));
            match &done {
                Ok(told_grant) => {
                    world.note(format!("{} could {told}{of}", who.name));
                    world.count(format!("verb: {told}"));
                    if let (Some(deed), Some(grant)) = (&deed, told_grant) {
                        world.oracle_saw_told(deed, grant);
                    }
                }
                Err(BrokerError::Refused(refusal)) => {
                    world.note(format!("{} could not {told}{of}: {refusal}", who.name));
                    world.count(format!("refused: {told}"));
                    world.count(format!("code: {}", refusal.code.as_str()));
                    if let Some(deed) = &deed {
                        world.oracle_saw_refused(deed);
                    }
                }
                Err(error) => {
                    // Another run must print the same, but has its trail in another folder.
                    let error = error.to_string().replace('\n', "; ").replace(&*self.folder, "");
                    world.note(format!("{} could not {told}{of}, by a failure: {error}", who.name));
                    world.count(format!("failed: {told}"));
                }
            }
        });
    }

    /// The call itself, and what the caller learns about the grant.
    async fn done(&self, verb: Verb, who: &Person, grant: Option<&Grant>) -> Result<Option<Arc<Grant>>, BrokerError> {
        let broker = &self.broker;
        let words = || "so it is".parse().unwrap();
        let Some(grant) = grant else {
            return match verb {
                Verb::Request => broker.request(who, cast::ask(), &self.csr(who)).await.map(Some),
                Verb::Drain => {
                    broker.drain(&cast::operator(), happens(500).then(words)).await?;
                    world(|world| world.oracle_saw_drained(Some(world.now())));
                    Ok(None)
                }
                Verb::Resume => {
                    world(|world| world.oracle_saw_drained(None));
                    broker.resume(&cast::operator()).await.map(|()| None)
                }
                Verb::OperatorsRevoke => {
                    let whose = match below(5) {
                        0 if happens(300) => GrantSelector::Everybody,
                        1 => GrantSelector::Cluster("elsewhere".parse().unwrap()),
                        2 => GrantSelector::PersonIn(one_of(&ENGINEERS).parse().unwrap(), "play".parse().unwrap()),
                        _ => GrantSelector::Person(one_of(&ENGINEERS).parse().unwrap()),
                    };
                    self.revoke_many(&whose, happens(200)).await
                }
                _ => Ok(None),
            };
        };
        match verb {
            Verb::Approve => {
                let digest = digest(grant);
                broker.approve(grant, who, &digest, &Narrowing::default()).await.map(Some)
            }
            Verb::Narrow => broker.approve(grant, who, &digest(grant), &less(grant)).await.map(Some),
            Verb::Deny => broker.deny(grant, who, "no".to_owned()).await.map(Some),
            Verb::Withdraw => broker.withdraw(grant, who).await.map(Some),
            Verb::BreakGlass => broker.break_glass(grant, who, words()).await.map(Some),
            Verb::Certificate => {
                let handed = broker.certificate(grant, who, &self.csr_of(grant)).await?;
                world(|world| {
                    if world.alive {
                        world.count("certificates");
                        world.oracle_saw_handed_over(&grant.id, &handed);
                    }
                });
                Ok(None)
            }
            Verb::Extend => broker.extend(grant, who, window(5 + below(150)), words()).await.map(Some),
            Verb::Review => {
                let shown =
                    grant.glass.as_ref().filter(|_| happens(970)).map_or(String::new(), |glass| glass.digest.clone());
                let verdict = one_of(&[Verdict::Justified, Verdict::NotJustified]);
                broker.review(grant, who, &shown, verdict, words()).await.map(Some)
            }
            Verb::Release => broker.release(grant, who).await.map(Some),
            Verb::Revoke => broker.revoke(grant, who, "now".to_owned()).await.map(Some),
            Verb::OperatorsRevoke => {
                let whose = GrantSelector::PersonIn(grant.requester.clone(), grant.ask.cluster.clone());
                self.revoke_many(&whose, false).await
            }
            Verb::Explain => {
                let other = happens(400).then(cast::ask);
                broker.explain(who, other.as_ref().unwrap_or(&grant.ask), happens(500)).await.map(|_| None)
            }
            Verb::Request | Verb::Drain | Verb::Resume => Ok(None),
        }
    }

    async fn revoke_many(&self, whose: &GrantSelector, drain: bool) -> Result<Option<Arc<Grant>>, BrokerError> {
        let words = "so it is".parse().unwrap();
        let revoked = self.broker.revoke_many(whose, &cast::operator(), &words, drain).await?;
        if drain && revoked.not_drained.is_none() && self.broker.draining().is_some() {
            world(|world| world.oracle_saw_drained(Some(world.now())));
        }
        world(|world| {
            world.count(if revoked.grants.iter().all(|revoked| revoked.why.is_none()) {
                "revoked at once"
            } else {
                "revoked later"
            })
        });
        Ok(None)
    }

    /// The person's own key, sometimes one that others have too, or none.
    fn csr(&self, who: &Person) -> String {
        match below(50) {
            0 => "no request".to_owned(),
            1..=2 => self.requests.shared.0.clone(),
            _ => {
                let own = self.requests.of.iter().find(|(name, _)| *name == who.name.as_str());
                own.map_or_else(|| self.requests.shared.clone(), |(_, all)| one_of(all)).0
            }
        }
    }

    /// The certificate request of a grant, found by its key; sometimes another one.
    fn csr_of(&self, grant: &Grant) -> String {
        let shared = &self.requests.shared;
        let mut all = self.requests.of.iter().flat_map(|(_, all)| all);
        let its = all.find(|(_, key)| *key == grant.key).filter(|_| happens(970));
        its.unwrap_or(shared).0.clone()
    }
}

fn root() -> Person {
    let name = jitd::grant::request::PersonName::root();
    Person { name, groups: std::collections::BTreeSet::new(), login: None }
}

/// What an approver was shown, sometimes what was shown before.
fn digest(grant: &Grant) -> String {
    if happens(20) {
        return "0".repeat(64);
    }
    let open = grant.extension.as_ref().filter(|extension| extension.pending_until.as_millisecond() > now());
    open.map_or_else(|| grant.digest.to_string(), |extension| extension.digest.clone())
}

/// Less than what was requested, sometimes more.
fn less(grant: &Grant) -> Narrowing {
    let namespaces = grant.ask.scope.namespaces();
    let mut less = Narrowing::default();
    match below(3) {
        0 if namespaces.len() > 1 => {
            less.namespaces = Some(Namespaces::try_from(vec![one_of(namespaces)]).unwrap());
        }
        1 => {
            if let Access::Rules(rules) = cast::exact(&["get"], &["pods"]) {
                less.rules = Some(ExactRules::clone(&rules));
            }
        }
        _ => {
            let seconds = u64::try_from(grant.ask.window.seconds()).unwrap();
            let fewer = if happens(100) { seconds + 10 } else { (seconds / 2).max(5) };
            less.window = Some(window(fewer));
        }
    }
    less
}

/// Whether the daemon's memory is what the trail says.
pub(crate) fn expect_remembered(broker: &Broker) {
    let wrong = world(|world: &mut World| {
        let open = world.oracle.grants().filter(|grant| !grant.is_over());
        open.filter(|grant| broker.ledger().open_grant(&grant.id).is_none_or(|open| *open.grant() != **grant))
            .map(|grant| grant.id.clone())
            .next()
    });
    if let Some(id) = wrong {
        world(|world| world.violated(10, format!("after a restart {id} is not what its events make")));
    }
}
