//! What each command does: call the daemon, show the answer.
//!
//! No command decides anything; the daemon does, and its refusals are shown. An approver approves exactly what was just
//! shown. `main` calls it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use jit_core::grant::Phase;
use jit_core::grant::digest::sha256_hex;
use jit_core::grant::glass::Verdict;
use jit_core::grant::policy::Outcome;
use jit_wire::client::{Client, LONGEST_WAIT};
use jit_wire::{AskBody, EntitlementList, EventList, FilterQuery, GrantList, GrantView, ReviewBody, WhoamiView};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::{self, Access};
use crate::arguments::{Ask, Less};
use crate::cache::{is_first_time, tidy};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::issue;
use crate::now;
use crate::output::{self, Format, csv, hint, say, show as put};
use crate::probe;
use crate::session;
use crate::status::GRANT_VARIABLE;
use crate::store::Place;
use crate::terminal;
use crate::text::{BOLD, GREEN, clock, length, paint, program, safe, safe_name, seconds_to};
use crate::view::{
    self, closed_word, draining_line, event_row, explained, glass_line, missing_approvals, needed_review, page, place,
    plain, refusals, sentence, summary,
};
use crate::wait::{interruptible, until_answered};

/// How many grants are searched for the last request.
const LOOK_BACK: u32 = 200;

/// A grant that kubectl can use: the usual form of a grant, with its kubeconfig.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready<'a> {
    #[serde(flatten)]
    #[schema(value_type = GrantView)]
    grant: &'a GrantView,
    /// The file with the context.
    #[schema(value_type = String)]
    kubeconfig: &'a Path,
    /// The name of the context.
    #[schema(value_type = String)]
    context: &'a str,
}

/// Who is calling, and where the session of somebody is kept who is not on the bastion.
#[derive(Serialize, ToSchema)]
pub(crate) struct Calling<'a> {
    #[serde(flatten)]
    #[schema(value_type = WhoamiView)]
    who: &'a WhoamiView,
    /// Where the session is kept; absent on the bastion itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Place>)]
    session: Option<&'a Place>,
}

/// What every command needs.
pub(crate) struct Caller {
    /// The daemon's socket and account.
    pub(crate) daemon: Daemon,
    /// The connection to it.
    pub(crate) client: Client,
    /// The format of the result.
    pub(crate) format: Format,
}

impl Caller {
    /// `can`: if the caller may request nothing, it says why; that is not a failure.
    pub(crate) async fn can(&mut self, cluster: Option<&str>) -> Result<(), Failure> {
        let mut list: EntitlementList = self.client.entitlements().await?;
        list.draining.iter().for_each(|draining| say(&draining_line(draining)));
        let clusters: BTreeSet<String> = list.entitlements.iter().flat_map(|one| one.clusters.clone()).collect();
        if let Some(cluster) = cluster {
            list.entitlements.retain(|one| one.clusters.iter().any(|name| name == cluster));
        }
        if list.entitlements.is_empty() && self.format == Format::Table {
            let (why, what_next) = nothing_to_request(&list, cluster, &clusters);
            say(&why);
            hint(&what_next);
            return Ok(());
        }
        let rules = || {
            let mut rules: Vec<String> = list.entitlements.iter().map(|one| safe(&one.rule)).collect();
            rules.dedup();
            rules.join("\n")
        };
        put(self.format, &list, || view::entitlements(&list, terminal::width()), rules)
    }

    /// `request`, also to repeat an earlier request.
    pub(crate) async fn request(&mut self, ask: &Ask, no_wait: bool, limit: Option<Duration>) -> Result<(), Failure> {
        let is_again = ask.again.is_some();
        let ask = self.asked(ask).await?;
        if is_again && let Some(pending) = self.pending_like(&ask).await? {
            say("the same request is pending already");
            return Err(Failure::StillPending(Box::new(pending)));
        }
        let grant = issue::ask(&mut self.client, ask).await?;
        tidy(&mut self.client, std::slice::from_ref(&grant)).await;
        say(&format!("requested: {} ({})", sentence(&grant), paint(&grant.id, BOLD)));
        if let Some(sessions) = &grant.sessions {
            say(&format!("recorded: {}", safe(&sessions.says)));
            refusals(sessions).for_each(|sentence| say(&format!("refused: {sentence}")));
        }
        if no_wait {
            if grant.phase == Phase::Pending {
                let needed = missing_approvals(&grant.steps);
                say(&format!("needs {needed}; run `{} wait {}` to continue", program(), grant.id));
            }
            return put(self.format, &grant, || grant.id.clone(), || grant.id.clone());
        }
        let grant = self.answer(grant, limit).await?;
        let id = grant.id.clone();
        interruptible(&id, self.deliver(&grant)).await
    }

    /// A pending request of this person for the same access.
    async fn pending_like(&mut self, ask: &AskBody) -> Result<Option<GrantView>, Failure> {
        let Ok(meant) = ask.parse() else { return Ok(None) };
        let (access, duration) = (meant.access.to_string(), meant.window.to_string());
        let namespaces: Vec<String> = meant.scope.namespaces().iter().map(ToString::to_string).collect();
        let is_the_same = |grant: &GrantView| {
            grant.phase == Phase::Pending
                && grant.cluster == ask.cluster
                && grant.namespaces == namespaces
                && grant.access == access
                && grant.duration == duration
                && grant.reason == ask.reason
                && grant.fields == ask.fields
                && grant.start == ask.start
        };
        Ok(self.mine().await?.into_iter().find(is_the_same))
    }

    /// The caller's own grants that are open.
    async fn mine(&mut self) -> Result<Vec<GrantView>, Failure> {
        let filter = self.own().await?;
        Ok(self.client.list(false, 1000, &filter).await?.grants)
    }

    /// Selects the caller's own grants.
    async fn own(&mut self) -> Result<FilterQuery, Failure> {
        Ok(FilterQuery { person: Some(self.client.whoami().await?.name), ..FilterQuery::default() })
    }

    /// The request with that id, or the person's last one.
    async fn asked_before(&mut self, id: Option<&str>) -> Result<AskBody, Failure> {
        let grant = match id {
            Some(id) => self.client.show(id).await?,
            None => {
                let filter = self.own().await?;
                let mine = self.client.list(true, LOOK_BACK, &filter).await?.grants.into_iter().next();
                let mine = mine.ok_or_else(|| {
                    Failure::usage(
                        "you have no earlier request",
                        "name the cluster, the namespace, the role and the duration",
                    )
                })?;
                self.client.show(&mine.id).await?
            }
        };
        Ok(AskBody {
            cluster: grant.cluster,
            cluster_wide: grant.namespaces.is_empty(),
            namespaces: grant.namespaces,
            rules: if grant.role.is_none() { grant.rules.unwrap_or_default() } else { Vec::new() },
            role: grant.role,
            duration: grant.duration,
            reason: grant.reason,
            fields: grant.fields,
            start: None,
        })
    }

    /// `wait`
    pub(crate) async fn wait(&mut self, id: Option<String>, limit: Option<Duration>) -> Result<(), Failure> {
        let grant = self.named_or_only(id, &[Phase::Pending, Phase::Approved, Phase::Collecting, Phase::Live]).await?;
        let mine = self.client.whoami().await?.name == grant.requester;
        let grant = self.answer(grant, limit).await?;
        if mine {
            let id = grant.id.clone();
            return interruptible(&id, self.deliver(&grant)).await;
        }
        put(self.format, &grant, || format!("{} {}", grant.id, grant.phase.as_str()), || grant.id.clone())
    }

    /// The answer to a request. For a program, a denial is a result too.
    async fn answer(&mut self, grant: GrantView, limit: Option<Duration>) -> Result<GrantView, Failure> {
        let answer = until_answered(&mut self.client, grant, limit).await;
        if let (Err(Failure::Closed(grant)), Format::Json | Format::Yaml) = (&answer, self.format) {
            put(self.format, grant, String::new, String::new)?;
        }
        answer
    }

    /// Sets up kubectl and says how to use it.
    async fn deliver(&mut self, grant: &GrantView) -> Result<(), Failure> {
        let access = self.collect(grant).await?;
        let shown = self.client.show(&grant.id).await.unwrap_or_else(|_| grant.clone());
        let place = match grant.namespaces.as_slice() {
            [] => "the whole cluster".to_owned(),
            names => place(names),
        };
        say(&format!(
            "{}: {} on {} in {place}, for {} until {}",
            paint("ready", GREEN),
            safe(&grant.access),
            safe_name(&access.kept.cluster.name),
            length(seconds_to(access.kept.until)),
            clock(access.kept.until)
        ));
        if let Some(trouble) = probe::trouble(&access.path).await {
            say(&format!("but kubectl fails: {}", trouble.what));
            hint(&trouble.hint);
        }
        let line = export(&access);
        let ready = Ready { grant: &shown, kubeconfig: &access.path, context: access.kubeconfig.name() };
        put(self.format, &ready, || line, || grant.id.clone())
    }

    /// `ls`
    pub(crate) async fn list(&mut self, all: bool, limit: u32, filter: &FilterQuery) -> Result<(), Failure> {
        self.list_of(all, limit, filter, *filter == FilterQuery::default()).await
    }

    /// `status`: of the caller only.
    pub(crate) async fn status(&mut self, all: bool, limit: u32) -> Result<(), Failure> {
        let own = self.own().await?;
        self.list_of(all, limit, &own, true).await
    }

    /// `is_whole`: the caller did not choose among the grants.
    async fn list_of(&mut self, all: bool, limit: u32, filter: &FilterQuery, is_whole: bool) -> Result<(), Failure> {
        let all = includes_ended(all, filter);
        let list: GrantList = self.client.list(all, limit, filter).await?;
        searched(filter).iter().for_each(|line| say(line));
        tidy(&mut self.client, &list.grants).await;
        list.draining.iter().for_each(|draining| say(&draining_line(draining)));
        if list.grants.is_empty() && self.format == Format::Table {
            say(match (all, is_whole) {
                (true, true) => "no grants yet",
                (true, false) => "no such grants that you may see",
                (false, true) => "no open grants; --all includes those that have ended",
                (false, false) => "no such open grants; --all includes those that have ended",
            });
            return Ok(());
        }
        if list.more {
            say(&format!("showing the newest {} only; use --limit for more", list.grants.len()));
        }
        if self.format == Format::Csv {
            return csv(&view::GRANT_COLUMNS, list.grants.iter().map(view::grant_cells));
        }
        list.grants.iter().filter_map(glass_line).for_each(|line| say(&line));
        let names = || list.grants.iter().map(|grant| grant.id.as_str()).collect::<Vec<_>>().join("\n");
        put(self.format, &list, || view::list(&list.grants, terminal::width()), names)
    }

    /// `show`
    pub(crate) async fn show(&mut self, id: Option<String>) -> Result<(), Failure> {
        const OPEN: [Phase; 5] = [Phase::Pending, Phase::Approved, Phase::Collecting, Phase::Live, Phase::Ending];
        let id = self.id_or_only(id, &OPEN).await?;
        let grant = self.client.show(&id).await?;
        put(self.format, &grant, || page(&grant, terminal::width()), || grant.id.clone())
    }

    /// `approve`
    pub(crate) async fn approve(
        &mut self,
        id: &str,
        yes: bool,
        digest: Option<String>,
        less: &Less,
        details: bool,
    ) -> Result<(), Failure> {
        let less = less.body()?;
        let grant = self.client.show(id).await?;
        let width = terminal::width();
        say(&if details { page(&grant, width) } else { summary(&grant, width) });
        // An open extension is what is approved, otherwise the request itself. The daemon refuses another digest.
        let shown = grant.extension.as_ref().map_or(&grant.digest, |extension| &extension.digest);
        let asked = digest.as_ref().unwrap_or(shown).clone();
        if digest.is_none() && !yes {
            if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
                return Err(Failure::usage(
                    "cannot ask for confirmation without a terminal",
                    "use --yes, or --digest HEX with the digest that you looked at",
                ));
            }
            let question = if less.is_some() { "approve the narrowed request?" } else { "approve?" };
            let is_open = grant.phase == Phase::Pending || grant.extension.is_some();
            // The daemon refuses an answer to one's own request; nobody has to think about that before.
            let is_own = is_open && self.client.whoami().await?.name == grant.requester;
            if is_open && !is_own && !agreed_to(question).await? {
                return Err(Failure::Declined { id: grant.id });
            }
        }
        let (cut_down, requested, more_time) = (less.is_some(), sentence(&grant), grant.extension);
        let grant = self.client.approve(&grant.id, &asked, less).await?;
        if cut_down && sentence(&grant) != requested {
            say(&format!("narrowed to {}", sentence(&grant)));
        }
        match (more_time, &grant.extension) {
            (_, Some(extension)) => say(&format!("still needs {}", missing_approvals(&extension.steps))),
            (Some(given), None) => {
                let end = grant.deadline.map(|at| format!(", until {}", clock(at))).unwrap_or_default();
                say(&format!("extended by {}{end}", safe(&given.duration)));
            }
            (None, None) if grant.phase == Phase::Pending => {
                say(&format!("still needs {}", missing_approvals(&grant.steps)));
            }
            (None, None) => {}
        }
        self.done(&grant)
    }

    /// `deny`
    pub(crate) async fn deny(&mut self, id: &str, reason: &str) -> Result<(), Failure> {
        let grant = self.client.deny(id, reason).await?;
        if grant.phase == Phase::Live {
            let end =
                grant.deadline.map(|at| format!("; the access continues until {}", clock(at))).unwrap_or_default();
            say(&format!("the extension was denied{end}"));
        }
        self.done(&grant)
    }

    /// `withdraw`
    pub(crate) async fn withdraw(&mut self, id: Option<String>) -> Result<(), Failure> {
        let id = self.id_or_only(id, &[Phase::Pending, Phase::Approved]).await?;
        let grant = self.client.withdraw(&id).await?;
        tidy(&mut self.client, std::slice::from_ref(&grant)).await;
        self.done(&grant)
    }

    /// `extend`: the certificate is renewed at once, so that there is no gap.
    pub(crate) async fn extend(
        &mut self,
        id: Option<String>,
        duration: &str,
        reason: &str,
        no_wait: bool,
    ) -> Result<(), Failure> {
        let before = self.named_or_only(id, &[Phase::Live]).await?;
        let mut grant = self.client.extend(&before.id, duration, reason).await?;
        if let Some(asked) = &grant.extension {
            let needed = missing_approvals(&asked.steps);
            say(&format!("requested {} more; needs {needed}", safe(&asked.duration)));
        }
        while let Some(asked) = grant.extension.as_ref().filter(|asked| seconds_to(asked.pending_until) > 0) {
            if no_wait {
                return put(self.format, &grant, || grant.id.clone(), || grant.id.clone());
            }
            let patience = Duration::from_secs(seconds_to(asked.pending_until).unsigned_abs().max(1)).min(LONGEST_WAIT);
            let id = grant.id.clone();
            grant = interruptible(&id, async { Ok(self.client.wait(&grant, patience).await?) }).await?;
        }
        if grant.phase != Phase::Live {
            return Err(Failure::Closed(Box::new(grant)));
        }
        if grant.deadline <= before.deadline {
            return Err(if grant.extension.is_some() { Failure::ExtensionLapsed } else { Failure::ExtensionDenied });
        }
        self.deliver(&grant).await
    }

    /// `break-glass`: collects at once.
    pub(crate) async fn break_glass(&mut self, id: Option<String>, reason: &str) -> Result<(), Failure> {
        let grant = self.named_or_only(id, &[Phase::Pending]).await?;
        let grant = self.client.break_glass(&grant.id, reason).await?;
        if let Some(line) = glass_line(&grant) {
            say(&line);
        }
        let id = grant.id.clone();
        interruptible(&id, self.deliver(&grant)).await
    }

    /// `review`
    pub(crate) async fn review(&mut self, id: &str, verdict: Verdict, words: &str) -> Result<(), Failure> {
        let grant = self.client.show(id).await?;
        say(&summary(&grant, terminal::width()));
        let digest = grant.break_glass.as_ref().map(|glass| glass.digest.clone()).unwrap_or_default();
        let body = ReviewBody { digest, verdict, words: words.to_owned() };
        let grant = self.client.review(&grant.id, &body).await?;
        let word = match &grant.break_glass {
            Some(glass) if glass.owed => {
                let still = if glass.disputed { "" } else { "still " };
                say(&format!("{still}{}", needed_review(glass)));
                if glass.disputed { "reviewed, a decision is due" } else { "reviewed, further reviews are due" }
            }
            _ => "reviewed",
        };
        put(self.format, &grant, || format!("{} {word}", grant.id), || grant.id.clone())
    }

    /// `end`
    pub(crate) async fn end(&mut self, id: Option<String>) -> Result<(), Failure> {
        let id = self.id_or_only(id, &[Phase::Collecting, Phase::Live]).await?;
        let grant = self.client.end(&id).await?;
        tidy(&mut self.client, std::slice::from_ref(&grant)).await;
        self.done(&grant)
    }

    /// `revoke`
    pub(crate) async fn revoke(&mut self, id: &str, reason: &str) -> Result<(), Failure> {
        let grant = self.client.revoke(id, reason).await?;
        self.done(&grant)
    }

    fn done(&self, grant: &GrantView) -> Result<(), Failure> {
        let word = if grant.phase.is_open() { grant.phase.as_str().to_owned() } else { closed_word(grant) };
        put(self.format, grant, || format!("{} {word}", grant.id), || grant.id.clone())
    }

    /// `request --dry-run`
    pub(crate) async fn try_request(&mut self, ask: &Ask) -> Result<(), Failure> {
        let ask = self.asked(ask).await?;
        self.explain(&ask, true).await
    }

    /// `explain`: a "deny" is shown, and is exit code 4; so is what the cluster would refuse.
    pub(crate) async fn explain(&mut self, ask: &AskBody, dry_run: bool) -> Result<(), Failure> {
        let decision = self.client.explain(ask, dry_run).await?;
        put(self.format, &decision, || explained(&decision), || decision.outcome.to_string())?;
        let refused = decision.outcome == Outcome::Deny || decision.tried.iter().any(|object| object.refused.is_some());
        if refused { Err(Failure::WouldBeDenied) } else { Ok(()) }
    }

    /// What the words of `request` ask for.
    async fn asked(&mut self, ask: &Ask) -> Result<AskBody, Failure> {
        let before = match &ask.again {
            Some(id) => Some(self.asked_before(id.as_deref()).await?),
            None => None,
        };
        ask.body(before, now())
    }

    /// `link` where somebody is logged in at a provider.
    pub(crate) async fn offer_link(&mut self) -> Result<(), Failure> {
        let link = self.client.offer_link().await?;
        let text = || {
            let (name, code) = (safe_name(&link.name), safe(&link.code));
            format!(
                "to be one person with `{name}`, run on the bastion, until {}: jit-login link {code}",
                clock(link.until)
            )
        };
        put(self.format, &link, text, || safe(&link.code))
    }

    /// `link` with a code, on the bastion.
    pub(crate) async fn accept_link(&mut self, code: &str, yes: bool) -> Result<(), Failure> {
        let link = self.client.offered_link(code).await?;
        let whose =
            format!("`{}`, who is {} at {}", safe_name(&link.name), safe_name(&link.subject), safe(&link.issuer));
        if !yes {
            if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
                return Err(Failure::usage("cannot ask for confirmation without a terminal", "use --yes"));
            }
            say(&format!("the login of {whose}: whoever logs in with it acts as you from now on"));
            if !agreed_to("is this you?").await? {
                return Err(Failure::usage("nothing was linked", ""));
            }
        }
        let link = self.client.accept_link(code).await?;
        put(self.format, &link, || format!("linked {whose}"), || safe_name(&link.name))
    }

    /// `whoami`
    pub(crate) async fn whoami(&mut self) -> Result<(), Failure> {
        let who: WhoamiView = self.client.whoami().await?;
        let place = self.daemon.bastion()?.map(|bastion| bastion.place()).transpose()?;
        who.draining.iter().for_each(|draining| say(&draining_line(draining)));
        let text = || {
            let groups: Vec<String> = who.groups.iter().map(|group| safe_name(group)).collect();
            let mut text = format!(
                "{} on host {}\ngroups: {}",
                paint(&safe_name(&who.name), BOLD),
                safe_name(&who.host),
                groups.join(", ")
            );
            if who.administers {
                text += "\nadministrator: a group of yours is in `admins`";
            }
            if let (Some(issuer), Some(subject)) = (&who.issuer, &who.subject) {
                let issued = who.issued.map(|at| format!(", by a token of {}", clock(at))).unwrap_or_default();
                let asked = who.directory.map(|at| format!(", by the directory of {}", clock(at))).unwrap_or_default();
                text += &format!("\nlogged in at {} as {}{issued}{asked}", safe(issuer), safe_name(subject));
            }
            if let Some(place) = &place {
                text += &format!("\nthe session is kept in {place}");
            }
            text
        };
        put(self.format, &Calling { who: &who, session: place.as_ref() }, text, || safe_name(&who.name))
    }

    /// `kubeconfig`
    pub(crate) async fn kubeconfig(
        &mut self,
        id: Option<String>,
        merge: bool,
        make_current: bool,
        file: Option<PathBuf>,
    ) -> Result<(), Failure> {
        let grant = self.usable(id).await?;
        let access = self.collect(&grant).await?;
        if merge {
            let path = access.kubeconfig.merge(file, make_current)?;
            say(&format!("context `{}` added to `{}`", access.kubeconfig.name(), path.display()));
            let line = if make_current {
                String::new()
            } else {
                format!("kubectl config use-context {}", access.kubeconfig.name())
            };
            return put(self.format, access.kubeconfig.value(), || line, || access.kubeconfig.name().to_owned());
        }
        let path = match file {
            Some(file) => {
                access.kubeconfig.write_to(&file)?;
                std::path::absolute(&file).unwrap_or(file)
            }
            None => access.path,
        };
        put(self.format, access.kubeconfig.value(), || export_path(&path), || path.display().to_string())
    }

    /// `run`: says once for each grant if the command, and what it has open, may continue after the grant.
    pub(crate) async fn run(&mut self, id: Option<String>, command: &[OsString]) -> Result<(), Failure> {
        let grant = self.usable(id).await?;
        let access = self.collect(&grant).await?;
        let confined = session::confine(&self.daemon, &grant.id, access.kept.until);
        if let Err(why) = &confined
            && is_first_time(&grant.id)?
            && view::may_stream(&self.client.show(&grant.id).await?)
        {
            say(&session::not_ended(why));
        }
        become_command(confined, command, &grant, &access)
    }

    /// `shell`
    pub(crate) async fn shell(&mut self, id: Option<String>) -> Result<(), Failure> {
        let shell = session::shell()?;
        let grant = self.usable(id).await?;
        let access = self.collect(&grant).await?;
        let confined = session::confine(&self.daemon, &grant.id, access.kept.until);
        let may_stream = view::may_stream(&self.client.show(&grant.id).await?);
        say(&session::ends_when(&confined, &grant.id, access.kept.until, may_stream));
        become_command(confined, &shell, &grant, &access)
    }

    /// `events`
    pub(crate) async fn events(&mut self, id: &str) -> Result<(), Failure> {
        let list: EventList = self.client.events(id).await?;
        self.put_events(&list, &["SEQ", "AT", "BY", "EVENT", "WITH"], event_row)
    }

    /// `events` without an id
    pub(crate) async fn all_events(&mut self, limit: u32, filter: &FilterQuery) -> Result<(), Failure> {
        let list: EventList = self.client.all_events(limit, filter).await?;
        searched(filter).iter().for_each(|line| say(line));
        if list.events.is_empty() && self.format == Format::Table {
            say("no such events");
            return Ok(());
        }
        if list.more {
            say(&format!("showing the newest {} only; use --limit for more", list.events.len()));
        }
        self.put_events(&list, &["SEQ", "AT", "GRANT", "BY", "EVENT", "WITH"], view::event_row_with_grant)
    }

    /// `export`: the lines as they are stored, a page at a time.
    pub(crate) async fn export(&mut self) -> Result<(), Failure> {
        if std::io::stdout().is_terminal() {
            return Err(Failure::usage(
                "the audit trail is not written to a terminal, which would interpret control characters in it",
                format!("`{} export > trail.jsonl`", program()),
            ));
        }
        let (mut count, mut head, mut after) = (0, String::new(), Some(0));
        while let Some(from) = after {
            let page = self.client.lines_after(from).await?;
            if !output::lines(&page.lines)? {
                return Ok(());
            }
            count += page.lines.len();
            if let Some(last) = page.lines.last() {
                head = sha256_hex(last.as_bytes());
            }
            after = page.next;
        }
        say(&format!("{count} events; the head is {head}:{count}"));
        hint("note the head elsewhere; `jitd audit verify --file FILE --head HASH:NUMBER` checks the lines against it");
        Ok(())
    }

    fn put_events(&self, list: &EventList, headings: &[&str], row: fn(&Value) -> Vec<String>) -> Result<(), Failure> {
        if self.format == Format::Csv {
            return csv(&view::EVENT_COLUMNS, list.events.iter().map(view::event_cells));
        }
        let names = || {
            list.events
                .iter()
                .map(|event| plain(event.pointer("/event/kind").unwrap_or(&Value::Null)))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let rows = || list.events.iter().map(row).collect();
        put(self.format, list, || view::events(headings, rows(), terminal::width()), names)
    }

    async fn collect(&mut self, grant: &GrantView) -> Result<Access, Failure> {
        let result = access::collect(&mut self.client, &self.daemon, grant).await;
        if matches!(result, Err(Failure::Client(_))) {
            say(&format!("the approval stays valid; run `{} wait {}` to try again", program(), grant.id));
        }
        result
    }

    /// A grant of the caller's that is approved or live.
    async fn usable(&mut self, id: Option<String>) -> Result<GrantView, Failure> {
        let grant = self.named_or_only(id, &[Phase::Approved, Phase::Collecting, Phase::Live]).await?;
        match grant.phase {
            Phase::Pending => Err(Failure::StillPending(Box::new(grant))),
            Phase::Approved | Phase::Collecting | Phase::Live => Ok(grant),
            _ => Err(Failure::Closed(Box::new(grant))),
        }
    }

    /// The given id, or that of the caller's only grant in one of `phases`.
    async fn id_or_only(&mut self, id: Option<String>, phases: &[Phase]) -> Result<String, Failure> {
        match id {
            Some(id) => Ok(id),
            None => Ok(self.named_or_only(None, phases).await?.id),
        }
    }

    /// The given grant, or the caller's only one in one of `phases`.
    async fn named_or_only(&mut self, id: Option<String>, phases: &[Phase]) -> Result<GrantView, Failure> {
        if let Some(id) = id {
            return Ok(self.client.show(&id).await?);
        }
        only(self.mine().await?, phases)
    }
}

/// Whether a search includes grants that have ended.
pub(crate) fn includes_ended(all: bool, filter: &FilterQuery) -> bool {
    all || filter.since.is_some() || filter.until.is_some() || filter.at.is_some() || filter.break_glass
}

/// How the times of a search were understood.
pub(crate) fn searched(filter: &FilterQuery) -> Vec<String> {
    let moment = |words: &str, at: Option<Timestamp>| Some(format!("{words} {}", clock(at?)));
    let moments = [moment("live at", filter.at), moment("since", filter.since), moment("until", filter.until)];
    moments.into_iter().flatten().collect()
}

/// The only grant in one of `phases`. It never chooses from several, and names a pending request.
fn only(mine: Vec<GrantView>, phases: &[Phase]) -> Result<GrantView, Failure> {
    let has_none = mine.is_empty();
    let (fitting, others): (Vec<_>, Vec<_>) = mine.into_iter().partition(|grant| phases.contains(&grant.phase));
    let fitting = one_of(fitting)?;
    let pending = one_of(others.into_iter().filter(|grant| grant.phase == Phase::Pending).collect())?;
    match (fitting, pending) {
        (Some(grant), _) => Ok(grant),
        (None, Some(pending)) => Err(Failure::StillPending(Box::new(pending))),
        (None, None) if has_none => {
            Err(Failure::usage("you have no open grant", format!("request access with `{} request`", program())))
        }
        (None, None) => {
            let wanted = phases.iter().map(|phase| phase.as_str()).collect::<Vec<_>>().join(" or ");
            Err(Failure::usage(format!("none of your grants is {wanted}"), format!("`{} ls` lists them", program())))
        }
    }
}

/// The only grant, if there is one; if there are several, the person has to name one.
fn one_of(mut grants: Vec<GrantView>) -> Result<Option<GrantView>, Failure> {
    if grants.len() < 2 {
        return Ok(grants.pop());
    }
    let each: Vec<String> = grants.iter().map(|grant| format!("{} ({})", grant.id, sentence(grant))).collect();
    Err(Failure::usage(format!("you have {} grants", grants.len()), format!("name one: {}", each.join("; "))))
}

/// Why the person may request nothing in `cluster`, and what to do about it; `elsewhere` are the clusters in which they may.
fn nothing_to_request(list: &EntitlementList, cluster: Option<&str>, elsewhere: &BTreeSet<String>) -> (String, String) {
    let place = cluster.map_or(String::new(), |cluster| format!(" in cluster {}", safe_name(cluster)));
    let groups: Vec<String> = list.groups.iter().map(|group| safe_name(group)).collect();
    let closed = list.closed.iter().map(|closed| {
        let by: Vec<String> = closed.by.iter().map(|sentence| safe(sentence)).collect();
        format!("; the rule `{}` is closed to you: {}", safe(&closed.rule), by.join("; "))
    });
    let why = match (groups.as_slice(), list.closed.as_slice()) {
        ([], _) => ": you are in no group".to_owned(),
        (_, []) if !elsewhere.is_empty() => String::new(),
        (groups, []) => format!(": no rule names any of your groups ({})", groups.join(", ")),
        _ => closed.collect(),
    };
    let what_next = if elsewhere.is_empty() {
        "ask your platform team for a rule, or for membership in a group that a rule names".to_owned()
    } else {
        let elsewhere: Vec<String> = elsewhere.iter().map(|name| safe_name(name)).collect();
        format!("you may request access in {}", elsewhere.join(", "))
    };
    (format!("you may request nothing{place}{why}"), what_next)
}

/// Replaces this process with the command, so that its exit code is the command's.
fn become_command(
    confined: Result<Command, String>,
    command: &[OsString],
    grant: &GrantView,
    access: &Access,
) -> Result<(), Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("no command given", "write it after `--`"));
    };
    let mut become_it = match confined {
        Ok(mut scope) => {
            scope.arg(program);
            scope
        }
        Err(_) => Command::new(program),
    };
    become_it.args(arguments).env("KUBECONFIG", &access.path).env(GRANT_VARIABLE, &grant.id);
    let error = become_it.exec();
    Err(Failure::usage(format!("cannot run `{}`: {error}", program.to_string_lossy()), "write the command after `--`"))
}

/// Asks at the terminal. The daemon closes a connection that is idle for ten seconds, and people read for longer. So the
/// answer is read on another thread: this one sees that the connection was closed, and opens the next.
async fn agreed_to(question: &str) -> Result<bool, Failure> {
    let mut err = anstream::stderr();
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = read.await.map_err(std::io::Error::other).flatten();
    let answer = answer.map_err(|error| Failure::own(format!("cannot read the answer: {error}"), ""))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn export(access: &Access) -> String {
    export_path(&access.path)
}

/// A line for `eval`, quoted if a shell would interpret the path.
fn export_path(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c));
    if plain {
        format!("export KUBECONFIG={text}")
    } else {
        format!("export KUBECONFIG='{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_shell_would_split_is_quoted() {
        assert_eq!(export_path("/run/user/7/a.kubeconfig".as_ref()), "export KUBECONFIG=/run/user/7/a.kubeconfig");
        assert_eq!(export_path("/a b/c'd$(x)".as_ref()), r"export KUBECONFIG='/a b/c'\''d$(x)'");
    }
}
