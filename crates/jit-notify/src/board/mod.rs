//! Boards: channels that show what is true now, such as a chat, as opposed to feeds, which get every fact.
//!
//! ```text
//!  Present (a grant) ─► text::says ─► Wanted ─┐
//!                                             ├─► due ─► Step ─► the service ─► Outcome, Shown
//!  Shown (what this board has of it) ─────────┘
//! ```
//! There is one message per request, updated where the service can do that, and a reply where it cannot. A question that nobody
//! can answer any more is never asked, so that after an outage a board gets what is true now. A message only tells: it has the
//! command to type, and nothing in it decides.

mod alertmanager;
mod call;
mod mail;
mod mattermost;
pub mod pace;
mod pagerduty;
mod slack;
mod teams;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::policy::{Hours, Zone};
use jit_wire::notice::Notice;
use parking_lot::Mutex;

pub use self::alertmanager::Alertmanager;
pub use self::mail::{Mail, Relay, Security};
pub use self::mattermost::Mattermost;
use self::pace::{Pace, Reminders, Turn, may_ring};
pub use self::pagerduty::PagerDuty;
pub use self::slack::Slack;
pub use self::teams::Teams;
use crate::directory::Directory;
use crate::http::Http;
use crate::outcome::Outcome;
use crate::present::{Posted, Present, Shown, Subject};
use crate::text::says::{Origin, Wanted, digest, news, operations, question};
use crate::text::template::Templates;
use crate::text::{Card, Room};

/// A board.
#[derive(Debug)]
pub struct Board {
    /// The service that shows it.
    pub service: Service,
    /// The zone of the times in messages.
    pub zone: Zone,
    /// How it tells people.
    pub manner: Manner,
    crowd: Mutex<Crowd>,
}

/// How a board tells people. The default is: everybody at once, never again, at any time of the day, nobody personally, and in
/// the words of this program.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Where the service reaches people, by their names: they are told what becomes of their own requests. Who has `None` is
    /// not told.
    pub people: BTreeMap<String, Option<String>>,
    /// Knows it of those who are not in `people`. Without it they are not told.
    pub directory: Option<Arc<Directory>>,
    /// How long a question waits before this board has it; for those who are asked when the first ones do not answer.
    pub after: SignedDuration,
    /// When it does not ring.
    pub quiet: Option<Hours>,
    /// How often a question is repeated.
    pub reminders: Option<Reminders>,
    /// What its messages say.
    pub templates: Arc<Templates>,
}

/// The services.
#[derive(Debug)]
pub enum Service {
    /// Slack, as a bot.
    Slack(Slack),
    /// Microsoft Teams, through a workflow.
    Teams(Teams),
    /// Mattermost, as a bot.
    Mattermost(Mattermost),
    /// E-mail.
    Mail(Box<Mail>),
    /// PagerDuty.
    PagerDuty(PagerDuty),
    /// Alertmanager.
    Alertmanager(Alertmanager),
}

/// How a service can follow up on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It can change the message.
    Updates,
    /// It can only add to it, so that it is told the outcome and no steps on the way there.
    Replies,
}

/// What has to be done so that a board shows what is true.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Nothing: it is true already, or nobody has to know.
    Nothing,
    /// A first message.
    Post,
    /// The message is changed.
    Update {
        /// What the service calls it.
        remote: String,
    },
    /// A message that belongs to the first one.
    Reply {
        /// What the service calls the first one, if it says.
        remote: Option<String>,
    },
}

/// A message on its way to a service.
#[derive(Clone, Debug)]
struct Message {
    /// The same each time: who has a message with it has this one.
    key: String,
    subject: Subject,
    /// Where the person is reached to whom it goes; `None` for the board itself.
    person: Option<String>,
    /// What is said, cut for this service.
    wanted: Wanted,
    /// The grant, or the first one of several.
    grant: String,
    host: String,
    /// Before this time nobody can have a message with this key.
    since: Timestamp,
}

/// One thing to do, and what is shown afterwards.
#[derive(Debug)]
struct Step {
    action: Action,
    message: Message,
    after: Posted,
}

/// What a board still has to do for a request.
#[derive(Debug)]
enum Due {
    Nothing,
    /// Nothing before this time.
    NotBefore(Timestamp),
    Now(Box<Step>),
}

/// Questions that are to become one message, and those that are in one already.
#[derive(Debug, Default)]
struct Crowd {
    pace: Pace,
    waiting: BTreeMap<String, Gathered>,
    /// What was posted, and SHA-256 of what people read there.
    together: BTreeMap<String, (Posted, String)>,
}

#[derive(Debug)]
struct Gathered {
    grant: String,
    wanted: Wanted,
    since: Timestamp,
}

/// How long questions are gathered for a message about several.
const GATHERED_FOR: SignedDuration = SignedDuration::from_secs(2);

impl Board {
    /// A board of a service.
    #[must_use]
    pub fn new(service: Service, zone: Zone, manner: Manner) -> Self {
        Self { service, zone, manner, crowd: Mutex::default() }
    }

    /// Does the next thing so that the board shows the present state of a request, of which `shown` is shown already.
    /// Returns what is shown from now on, which is kept if the receiver took it; `None` if there is nothing to do now. After
    /// a delivery there may be more to do.
    ///
    /// `listens` is whether the request is for this board. If not, it is only told what it has to correct, and its people
    /// what becomes of their own requests.
    pub async fn show(
        &self,
        http: &Http,
        listens: bool,
        present: &Present,
        shown: Option<&Shown>,
        now: Timestamp,
    ) -> Option<(Outcome, Shown)> {
        let before = shown.cloned().unwrap_or_default();
        let due = match self.due(listens, present, &before, now) {
            due @ Due::Now(_) => due,
            // Those who have to answer come first: a directory may take its time.
            due @ (Due::Nothing | Due::NotBefore(_)) => match self.look_up(present, now).await {
                Ok(false) => due,
                Ok(true) => self.due(listens, present, &before, now),
                Err(why) => return Some((Outcome::Later { after: None, why }, before)),
            },
        };
        let Due::Now(step) = due else { return None };
        let Step { action, message, mut after } = *step;
        let subject = message.subject;
        // What people read: if the request is one of several in a message, all of that.
        let mut read = after.sha256.clone();
        let outcome = match self.turn(&action, message, now) {
            Place::Taken(posted, all) => {
                read = all;
                after = Posted { sha256: after.sha256, ..posted };
                Outcome::Delivered { remote: after.remote.clone() }
            }
            Place::Later(wait) => {
                let why = "there are more than ten messages in a minute, so several become one".to_owned();
                Outcome::Later { after: Some(wait), why }
            }
            Place::Alone(message) => {
                let outcome = self.service.perform(http, &action, &message, now).await;
                if let (Outcome::Delivered { remote }, Action::Post) = (&outcome, &action) {
                    after.remote.clone_from(remote);
                }
                outcome
            }
            Place::Together(message, members) => {
                let outcome = self.service.perform(http, &Action::Post, &message, now).await;
                if let Outcome::Delivered { remote } = &outcome {
                    read = message.wanted.card.sha256();
                    after = Posted { remote: remote.clone(), among_others: true, ..after };
                    self.crowd.lock().joined(&members, &after, &read);
                }
                outcome
            }
        };
        let mut then = before;
        then.number = present.number;
        (then.sha256, then.about) = (read, Some(subject));
        then.messages.insert(subject, after);
        then.asks = then.messages.values().any(|posted| posted.open);
        Some((outcome, then))
    }

    /// When there is something to do although nothing happens: a reminder, the end of the quiet hours, a question that now
    /// goes to the next group, a deadline that passes. `None` if only the next fact can change something.
    #[must_use]
    pub fn again_at(
        &self,
        listens: bool,
        present: &Present,
        shown: Option<&Shown>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let before = shown.cloned().unwrap_or_default();
        let due = match self.due(listens, present, &before, now) {
            Due::NotBefore(at) => Some(at),
            Due::Now(_) => return Some(now),
            Due::Nothing => None,
        };
        let origin = self.origin(&present.host);
        let reminders = self
            .manner
            .reminders
            .iter()
            .flat_map(|reminders| before.messages.values().filter_map(|posted| reminders.due(posted)));
        let deadlines = Subject::QUESTIONS.into_iter().filter_map(|subject| {
            question(&origin, &present.grant, &present.audience, subject, None, now).and_then(|wanted| wanted.until)
        });
        let near = present.grant.deadline.and_then(|at| at.checked_sub(crate::text::says::NEAR_THE_END).ok());
        due.into_iter().chain(reminders).chain(deadlines).chain(near).filter(|at| *at > now).min()
    }

    /// Whether it tells the administrators what happens. Who is woken by an alarm has something to answer.
    #[must_use]
    pub fn tells_administrators(&self) -> bool {
        self.service.has_one_room()
    }

    /// Tells the administrators what happened, in one message; `left_out` facts before these are not in it. Returns
    /// SHA-256 of what they read as well; `None` in quiet hours.
    pub async fn tell(
        &self,
        http: &Http,
        host: &str,
        facts: &[Arc<Notice>],
        left_out: u64,
        now: Timestamp,
    ) -> Option<(Outcome, String)> {
        if !may_ring(self.manner.quiet.as_ref(), now) {
            return None;
        }
        let first = facts.first()?;
        let origin = self.origin(host);
        // The same after a crash, when there may be more of them.
        let key = format!("{host}.operation.{}", first.number);
        Some(self.post(http, &origin, &key, operations(&origin, facts, left_out), first.at, now).await)
    }

    /// Posts that this is a test. An alarm is not raised for that, but the service says whether it would take one.
    pub async fn test(&self, http: &Http, host: &str, now: Timestamp) -> Outcome {
        let origin = self.origin(host);
        let card = Card::new("this is a test of the channel; nothing happened").line("host", host);
        self.post(http, &origin, &format!("{host}.test.{}", now.as_millisecond()), card, now, now).await.0
    }

    /// Posts a message that asks nobody for an answer.
    async fn post(
        &self,
        http: &Http,
        origin: &Origin,
        key: &str,
        card: Card,
        since: Timestamp,
        now: Timestamp,
    ) -> (Outcome, String) {
        let card = card.within(self.service.room());
        let sha256 = card.sha256();
        let message = Message {
            key: key.to_owned(),
            subject: Subject::News,
            person: None,
            wanted: Wanted { card, open: false, until: None, risk: None },
            grant: key.to_owned(),
            host: origin.host.clone(),
            since,
        };
        (self.service.perform(http, &Action::Post, &message, now).await, sha256)
    }

    fn origin(&self, host: &str) -> Origin {
        let templates = Arc::clone(&self.manner.templates);
        Origin { host: host.to_owned(), zone: self.zone.clone(), templates }
    }

    /// Where a person is reached, as far as it is known.
    fn address(&self, person: &str) -> Option<String> {
        match self.manner.people.get(person) {
            Some(listed) => listed.clone(),
            None => self.manner.directory.as_ref().and_then(|directory| directory.known(person)),
        }
    }

    /// Asks the directory about the requester if there is something to tell them. Whether it was asked.
    async fn look_up(&self, present: &Present, now: Timestamp) -> Result<bool, String> {
        let requester = &present.grant.requester;
        let Some(directory) = &self.manner.directory else { return Ok(false) };
        let is_listed = self.manner.people.contains_key(requester);
        if is_listed || news(&self.origin(&present.host), &present.grant, present.says.as_deref(), now).is_none() {
            return Ok(false);
        }
        directory.ask(requester, now).await.map(|()| true)
    }

    /// The first thing to do for a request.
    fn due(&self, listens: bool, present: &Present, shown: &Shown, now: Timestamp) -> Due {
        let origin = self.origin(&present.host);
        let grant = &present.grant;
        // A grant does not keep what became of an extension; the last sentence says it.
        let was_asked = shown.messages.get(&Subject::Extension).is_some_and(|posted| posted.open);
        let answered = present.says.as_deref().filter(|_| was_asked && grant.extension.is_none());
        let mut not_before: Option<Timestamp> = None;
        let subjects = Subject::QUESTIONS.into_iter().chain([Subject::News]);
        for subject in subjects {
            let posted = shown.messages.get(&subject);
            let mut person = None;
            let wanted = match subject {
                Subject::News => {
                    person = self.address(&grant.requester).filter(|_| self.service.reaches_people());
                    person.as_ref().and_then(|_| news(&origin, grant, answered, now))
                }
                _ if listens || posted.is_some() => question(&origin, grant, &present.audience, subject, answered, now),
                _ => None,
            };
            let Some(mut wanted) = wanted else { continue };
            wanted.card = wanted.card.within(self.service.room());
            let mut action = next(&wanted, posted, self.service.ability(), subject);
            let mut reminders = posted.map_or(0, |posted| posted.reminders);
            if action == Action::Nothing
                && let Some((posted, reminder)) = posted.zip(self.manner.reminders)
                && wanted.open
                && reminder.due(posted).is_some_and(|at| at <= now)
                && self.service.reminds()
            {
                action = Action::Reply { remote: posted.remote.clone() };
                reminders = reminders.saturating_add(1);
            }
            if action == Action::Nothing {
                continue;
            }
            let later =
                |at: Timestamp, not_before: Option<Timestamp>| not_before.map_or(Some(at), |known| Some(known.min(at)));
            if action == Action::Post && person.is_none() {
                let asked_at = asked_at(present, subject).unwrap_or(now);
                let from = asked_at.checked_add(self.manner.after).unwrap_or(Timestamp::MAX);
                if from > now {
                    not_before = later(from, not_before);
                    continue;
                }
            }
            if !matches!(action, Action::Update { .. }) && !may_ring(self.manner.quiet.as_ref(), now) {
                // Hours end on a minute of the clock.
                not_before = later(now.checked_add(SignedDuration::from_mins(1)).unwrap_or(now), not_before);
                continue;
            }
            let (sha256, open) = (wanted.card.sha256(), wanted.open);
            let after = match posted.filter(|_| action != Action::Post) {
                Some(posted) => Posted { sha256, open, reminders, ..posted.clone() },
                None => Posted { remote: None, sha256, open, at: now, reminders: 0, among_others: false },
            };
            let mut key = format!("{}.{}", grant.id, subject.as_str());
            // A changed message stays the one that it was.
            if posted.is_some() && !matches!(action, Action::Update { .. }) {
                key = format!("{key}.{}.{reminders}", head(&after.sha256));
            }
            let message = Message {
                key,
                subject,
                person,
                wanted,
                grant: grant.id.clone(),
                host: present.host.clone(),
                since: grant.requested_at,
            };
            return Due::Now(Box::new(Step { action, message, after }));
        }
        not_before.map_or(Due::Nothing, Due::NotBefore)
    }

    /// Whether a message goes out by itself, as one of several, or later. Only questions to many are gathered.
    fn turn(&self, action: &Action, message: Message, now: Timestamp) -> Place {
        if *action != Action::Post || message.person.is_some() || !self.service.has_one_room() {
            return Place::Alone(Box::new(message));
        }
        let mut crowd = self.crowd.lock();
        if let Some((posted, read)) = crowd.together.remove(&message.key) {
            return Place::Taken(posted, read);
        }
        let gathered = Gathered { grant: message.grant.clone(), wanted: message.wanted.clone(), since: now };
        let since = crowd.waiting.entry(message.key.clone()).or_insert(gathered).since;
        let waiting = crowd.waiting.len();
        let is_gathered = now.duration_since(since) >= GATHERED_FOR;
        match crowd.pace.turn(now) {
            Turn::Free => {
                crowd.waiting.remove(&message.key);
                crowd.pace.posted(now);
                Place::Alone(Box::new(message))
            }
            Turn::Last if !is_gathered => Place::Later(seconds(GATHERED_FOR)),
            Turn::Last if waiting == 1 => {
                crowd.waiting.remove(&message.key);
                crowd.pace.posted(now);
                Place::Alone(Box::new(message))
            }
            Turn::Last => {
                crowd.pace.posted(now);
                let members: Vec<String> = crowd.waiting.keys().cloned().collect();
                let several: Vec<(String, Wanted)> =
                    crowd.waiting.values().map(|one| (one.grant.clone(), one.wanted.clone())).collect();
                let origin = self.origin(&message.host);
                let mut wanted = digest(&origin, &several, now);
                wanted.card = wanted.card.within(self.service.room());
                let key = format!("{}.together", message.key);
                Place::Together(Box::new(Message { key, wanted, ..message }), members)
            }
            Turn::NotBefore(at) => Place::Later(seconds(at.duration_since(now))),
        }
    }
}

/// Where a first message goes.
enum Place {
    /// It is in a message about several already; with SHA-256 of all of that.
    Taken(Posted, String),
    Later(Duration),
    Alone(Box<Message>),
    Together(Box<Message>, Vec<String>),
}

impl Crowd {
    /// These questions are in one message now.
    fn joined(&mut self, members: &[String], posted: &Posted, read: &str) {
        for member in members {
            if self.waiting.remove(member).is_some() {
                self.together.insert(member.clone(), (posted.clone(), read.to_owned()));
            }
        }
    }
}

impl Service {
    async fn perform(&self, http: &Http, action: &Action, message: &Message, now: Timestamp) -> Outcome {
        let person = message.person.as_deref();
        match self {
            Self::Slack(slack) => slack.perform(http, action, message, person, now).await,
            Self::Teams(teams) => teams.perform(http, message, now).await,
            Self::Mattermost(mattermost) => mattermost.perform(http, action, message, person, now).await,
            Self::Mail(mail) => mail.perform(action, message, person, now).await,
            Self::PagerDuty(pager) => pager.perform(http, message, now).await,
            Self::Alertmanager(alertmanager) => alertmanager.perform(http, message, now).await,
        }
    }

    fn ability(&self) -> Ability {
        match self {
            Self::Slack(_) | Self::Mattermost(_) | Self::Alertmanager(_) => Ability::Updates,
            Self::Teams(_) | Self::Mail(_) | Self::PagerDuty(_) => Ability::Replies,
        }
    }

    fn room(&self) -> Room {
        match self {
            Self::Slack(_) => Slack::ROOM,
            Self::Teams(_) => Teams::ROOM,
            Self::Mattermost(_) => Mattermost::ROOM,
            Self::Mail(_) => Mail::ROOM,
            Self::PagerDuty(_) => PagerDuty::ROOM,
            Self::Alertmanager(_) => Alertmanager::ROOM,
        }
    }

    /// Whether it can write to single people.
    #[must_use]
    pub fn reaches_people(&self) -> bool {
        matches!(self, Self::Slack(_) | Self::Mattermost(_) | Self::Mail(_))
    }

    /// Whether it wants to be reminded by us: alarms are repeated by the service itself.
    #[must_use]
    pub fn reminds(&self) -> bool {
        !matches!(self, Self::PagerDuty(_) | Self::Alertmanager(_))
    }

    /// Whether people read everything in one place, so that many messages at once bury each other. An alarm is never part
    /// of another one, because each is resolved by itself.
    fn has_one_room(&self) -> bool {
        !matches!(self, Self::PagerDuty(_) | Self::Alertmanager(_))
    }
}

/// What has to be done so that a board that has `posted` shows `wanted`, whose text is already cut for this board.
pub fn next(wanted: &Wanted, posted: Option<&Posted>, ability: Ability, subject: Subject) -> Action {
    let Some(posted) = posted else {
        // Nobody who was not asked has to hear that nothing is asked of them any more.
        return if wanted.open || subject == Subject::News { Action::Post } else { Action::Nothing };
    };
    if posted.sha256 == wanted.card.sha256() {
        return Action::Nothing;
    }
    match (&posted.remote, ability) {
        // A question that is open anew, such as the second extension: people have to be asked again.
        _ if subject != Subject::News && wanted.open && !posted.open => Action::Post,
        // Each change has to be noticed, and a changed message does not ring.
        (remote, _) if subject == Subject::News => Action::Reply { remote: remote.clone() },
        (Some(remote), Ability::Updates) if !posted.among_others => Action::Update { remote: remote.clone() },
        // The outcome of a question that was asked.
        (remote, _) if posted.open != wanted.open => Action::Reply { remote: remote.clone() },
        _ => Action::Nothing,
    }
}

/// When somebody was asked about `subject`.
fn asked_at(present: &Present, subject: Subject) -> Option<Timestamp> {
    match subject {
        Subject::Request => Some(present.grant.requested_at),
        Subject::Review => present.grant.break_glass.as_ref().map(|glass| glass.broken_at),
        // A grant does not say when more time was requested, so it counts from the last fact.
        Subject::Extension => Some(present.at),
        Subject::News => None,
    }
}

/// Enough of a digest to tell the texts about one grant apart.
fn head(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

fn seconds(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}

/// The lines of a card without its title, for services with a title of their own.
fn body(card: &Card) -> String {
    let mut body: Vec<String> = card.lines().iter().map(|(name, value)| format!("{name}: {value}")).collect();
    body.extend(card.to_type().map(|command| format!("answer: {command}")));
    body.join("\n")
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slack(_) => "Slack",
            Self::Teams(_) => "Teams",
            Self::Mattermost(_) => "Mattermost",
            Self::Mail(_) => "e-mail",
            Self::PagerDuty(_) => "PagerDuty",
            Self::Alertmanager(_) => "Alertmanager",
        })
    }
}

#[cfg(test)]
mod tests;
