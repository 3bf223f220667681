//! The notices: what happens, for `jit-notify`, which tells people.
//!
//! ```text
//!  trail ──► facts after the reader's number, each with its grant as it was then ──► whom it concerns ══► jit-notify
//!    ▲                                                                               in one sentence
//!  ledger: "something was appended" wakes it; so does a clock, for what was stored late
//!
//!  jit-notify ══► hashes of what receivers took ──► `notified` in the trail
//! ```
//! It decides nothing and waits for nobody: each reader has a connection of its own and reads the trail for itself. One that
//! does not read is disconnected, and continues later after the last fact that it has.

mod allowance;
mod audience;
mod says;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use self::allowance::Allowance;
use crate::broker::Broker;
use crate::grant::{Author, Event, Grant, SentText, Shown};
use crate::hint::Hint;
use crate::ledger::{Folded, LedgerError, Told};
use crate::wire::feed::{self, Documents};
use crate::wire::notice::{
    Audience, FromDaemon, FromNotify, HEARTBEAT_SECONDS, LONGEST_OF_NOTIFY, MOST_TEXTS, Notice, Open, Start, VERSION,
};
use crate::wire::{DrainingView, GrantView, SessionsView};

/// How long a new connection has to say from where it wants the facts.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// How long a reader may take for a document.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// How many readers there may be: one for each channel.
const READERS: usize = 64;

/// What the notices need of the daemon.
pub struct Source {
    /// The daemon.
    pub broker: Arc<Broker>,
    /// The name of this host.
    pub host: String,
    /// The accounts that may connect.
    pub accounts: BTreeSet<u32>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum EndOfReading {
    #[error("{0}")]
    Socket(#[from] std::io::Error),
    #[error("{}", .0.in_full())]
    Trail(#[from] LedgerError),
    #[error("{0}")]
    Reader(&'static str),
}

/// Serves the socket of `jit-notify`. Never returns.
pub async fn serve(listener: UnixListener, source: Source) {
    let (source, places) = (Arc::new(source), Arc::new(Semaphore::new(READERS)));
    let allowance = Arc::new(Allowance::new(Instant::now()));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of jit-notify could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("more than {READERS} channels of jit-notify want the notices");
            continue;
        };
        let (source, allowance) = (Arc::clone(&source), Arc::clone(&allowance));
        tokio::spawn(async move {
            if let Err(why) = converse(stream, &source, &allowance).await {
                tracing::info!(%why, "a channel of jit-notify is disconnected");
            }
            drop(place);
        });
    }
}

/// One connection, to its end.
async fn converse(stream: UnixStream, source: &Source, allowance: &Allowance) -> Result<(), EndOfReading> {
    let account = stream.peer_cred()?.uid();
    let (reader, to) = stream.into_split();
    let mut writer = Writer(to);
    if !source.accounts.contains(&account) {
        tracing::warn!(uid = account, "only the account in `notify` of config.yaml may read the notices");
        writer.refuse("only root and the account in `notify` of config.yaml may read the notices".to_owned()).await?;
        return Err(EndOfReading::Reader("it runs as another account"));
    }
    let mut documents = Documents::new(reader, LONGEST_OF_NOTIFY);
    let (from, open) = match timeout(HELLO_WITHIN, documents.next()).await.unwrap_or(Ok(None))? {
        Some(FromNotify::Hello { version: VERSION, from, open }) => (from, open),
        Some(FromNotify::Hello { version, .. }) => {
            writer.refuse(format!("jitd speaks version {VERSION} of the notices, jit-notify {version}")).await?;
            return Err(EndOfReading::Reader("it speaks another version"));
        }
        Some(FromNotify::Sent { .. }) => return Err(EndOfReading::Reader("it did not introduce itself first")),
        None => return Err(EndOfReading::Reader("it did not introduce itself")),
    };
    let ledger = source.broker.ledger();
    let appended = ledger.appended();
    let last = ledger.last_number().await?;
    let after = match from {
        Start::Now => last,
        Start::Since(time) => ledger.last_before(time).await?,
        Start::After(after) => match i64::try_from(after).ok().filter(|after| *after <= last) {
            Some(after) => after,
            None => {
                let why = format!("the trail ends with fact {last}, but the reader has {after} facts of another trail");
                writer.refuse(why).await?;
                return Err(EndOfReading::Reader("it has facts of another trail"));
            }
        },
    };
    let (snapshot, _) = ledger.subscribe();
    let draining = snapshot.drain.as_deref().map(DrainingView::from);
    let [number, first] = [last, after].map(i64::unsigned_abs);
    let host = source.host.clone();
    writer.write(&FromDaemon::Snapshot { version: VERSION, host, number, after: first, draining }).await?;
    if open {
        let now = ledger.now();
        for grant in snapshot.grants {
            let shown = if grant.waits_for_somebody() { ledger.shown_of(&grant.id).await? } else { None };
            let audience = audience::of_grant(&grant);
            let open = Open { grant: source.view(&grant, shown, now), audience };
            writer.write(&FromDaemon::Open(Box::new(open))).await?;
        }
    }
    Following { source, allowance, writer, documents, reported: None }.follow(after, appended).await
}

/// A connection that is told everything.
struct Following<'a> {
    source: &'a Source,
    allowance: &'a Allowance,
    writer: Writer,
    documents: Documents<OwnedReadHalf>,
    /// What the reader reported, and when it may be recorded.
    reported: Option<(Instant, Vec<SentText>)>,
}

impl Following<'_> {
    /// Tells everything after `after`, until the reader is gone.
    async fn follow(
        mut self,
        mut after: i64,
        mut appended: tokio::sync::watch::Receiver<i64>,
    ) -> Result<(), EndOfReading> {
        let ledger = self.source.broker.ledger();
        let mut folded = Folded::default();
        let mut heartbeat = interval(Duration::from_secs(HEARTBEAT_SECONDS));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Before reading: what is appended meanwhile wakes it again.
            appended.mark_unchanged();
            loop {
                let (told, next) = ledger.facts_after(after, folded).await?;
                folded = next;
                let Some(last) = told.last().map(|told| told.number) else { break };
                for told in told {
                    if let Some(notice) = self.source.notice(told) {
                        self.writer.write(&FromDaemon::Notice(Box::new(notice))).await?;
                    }
                }
                after = last;
            }
            let due = self.reported.as_ref().map(|(due, _)| *due);
            tokio::select! {
                // The daemon stops when this is an error, and its sockets close.
                grown = appended.changed() => grown.map_err(|_| EndOfReading::Reader("the daemon stops"))?,
                _ = heartbeat.tick() => self.writer.write(&FromDaemon::Alive { number: after.unsigned_abs() }).await?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.record().await?,
                document = self.documents.next::<FromNotify>() => match document? {
                    Some(FromNotify::Sent { texts }) => self.take(texts)?,
                    Some(FromNotify::Hello { .. }) => return Err(EndOfReading::Reader("it introduced itself twice")),
                    None => return Ok(()),
                },
            }
        }
    }

    fn take(&mut self, texts: Vec<SentText>) -> Result<(), EndOfReading> {
        if self.reported.is_some() {
            return Err(EndOfReading::Reader("it reports more before the last report is recorded"));
        }
        if texts.is_empty() || texts.len() > MOST_TEXTS {
            return Err(EndOfReading::Reader("it reports no texts, or too many at once"));
        }
        self.reported = Some((self.allowance.take(texts.len(), Instant::now()), texts));
        Ok(())
    }

    /// Records what was reported. If that fails, the connection ends, and the reader reports it again.
    async fn record(&mut self) -> Result<(), EndOfReading> {
        let Some((_, texts)) = self.reported.take() else { return Ok(()) };
        self.source.broker.ledger().note(&Author::Daemon, Event::Notified { texts }).await?;
        Ok(self.writer.write(&FromDaemon::Recorded).await?)
    }
}

impl Source {
    /// A fact as others may be told about it; `None` for one that nobody is told.
    fn notice(&self, told: Told) -> Option<Notice> {
        let Told { number, fact, grant, shown } = told;
        // A grant in use has one every ten seconds; and what was told is no news.
        if matches!(fact.event, Event::Logged { .. } | Event::Notified { .. }) {
            return None;
        }
        Some(Notice {
            number: number.unsigned_abs(),
            at: fact.at,
            event: fact.event.kind().to_owned(),
            by: fact.by().map(ToString::to_string),
            audience: audience::of(&fact, grant.as_ref()),
            says: says::in_words(&fact, grant.as_ref()),
            grant: grant.map(|grant| self.view(&grant, shown, fact.at)),
        })
    }

    /// The grant as a receiver may see it: with what it lets its holder reach where somebody has to answer, without the rules
    /// of the role, and without what the policy calls private.
    fn view(&self, grant: &Grant, shown: Option<Shown>, now: Timestamp) -> GrantView {
        let is_behind = self.broker.goes_through_the_gateway(grant);
        let sessions = is_behind.then(|| SessionsView::of(&grant.terms.sessions, grant.terms.readers.as_deref()));
        let view = GrantView { sessions, ..GrantView::of(grant, now) };
        let view = match shown {
            Some(shown) => view.with(shown, &grant.digest),
            None => view,
        };
        let mut view = if is_behind { view.behind_the_gateway() } else { view };
        view.rules = None;
        view.namespace_uids.clear();
        view.fields.retain(|name, _| !grant.terms.private().iter().any(|private| private.as_str() == name));
        view
    }
}

/// Writes documents.
struct Writer(OwnedWriteHalf);

impl Writer {
    async fn write(&mut self, document: &FromDaemon) -> std::io::Result<()> {
        let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "it does not read");
        timeout(TAKEN_WITHIN, feed::write(&mut self.0, document)).await.map_err(late)?
    }

    async fn refuse(&mut self, why: String) -> std::io::Result<()> {
        self.write(&FromDaemon::Refused { why }).await
    }
}

/// Nobody.
const NOBODY: Audience = Audience {
    to_answer: Vec::new(),
    to_answer_people: Vec::new(),
    to_know: Vec::new(),
    to_know_groups: Vec::new(),
    to_administrators: false,
};
