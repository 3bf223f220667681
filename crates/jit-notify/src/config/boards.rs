//! The boards in the configuration.
//!
//! ```yaml
//! - name: leads
//!   to: {groups: [leads]}
//!   zone: Europe/Berlin                         # of the times in messages
//!   people: {alice: U024BE7LH, bob: null}       # told what becomes of their own requests, and not told
//!   directory: {run: [/usr/local/libexec/slack-id-of]}  # knows the others
//!   remind: {every: 5m, most: 3}
//!   quiet: {days: [sat, sun], from: "00:00", to: "24:00", zone: Europe/Berlin}
//!   templates: {request: request.txt}           # what the messages say
//!   slack: {channel: C024BE91L, token: {credential: slack-token}}
//! - name: security
//!   to: {groups: [leads]}
//!   after: 10m                                  # when nobody answered so long
//!   mail:
//!     from: jitd <jitd@example.com>
//!     to: [security@example.com]
//!     relay: {host: mail.example.com, port: 465, security: tls, user: jitd, password: {credential: mail-password}}
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use jit_core::grant::policy::{Hours, Zone};
use jit_core::grant::request::Window;
use jit_host::files::read_configuration;
use serde::Deserialize;

use super::{CommandFile, Reader};
use crate::board::pace::Reminders;
use crate::board::{Alertmanager, Board, Mail, Manner, Mattermost, PagerDuty, Relay, Security, Service, Slack, Teams};
use crate::directory::Directory;
use crate::http::Target;
use crate::present::Subject;
use crate::text::template::{Template, Templates};
use jit_host::secret::Place;

/// What boards have beside their service. Feeds have none of it.
#[derive(Default)]
pub(super) struct MannerFile {
    pub(super) zone: Option<String>,
    pub(super) people: Option<BTreeMap<String, Option<String>>>,
    pub(super) directory: Option<CommandFile>,
    pub(super) after: Option<Window>,
    pub(super) quiet: Option<Hours>,
    pub(super) remind: Option<RemindFile>,
    pub(super) templates: Option<TemplatesFile>,
}

/// Files, relative to the folder of the configuration.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TemplatesFile {
    request: Option<PathBuf>,
    extension: Option<PathBuf>,
    review: Option<PathBuf>,
    news: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RemindFile {
    every: Window,
    most: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SlackFile {
    channel: String,
    token: Place,
    /// Slack for governments has another.
    api: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TeamsFile {
    url: Place,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MattermostFile {
    server: String,
    channel: String,
    token: Place,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MailFile {
    from: String,
    to: Vec<String>,
    relay: RelayFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RelayFile {
    host: String,
    port: u16,
    security: SecurityFile,
    user: Option<String>,
    password: Option<Place>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SecurityFile {
    Tls,
    StartTls,
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PagerDutyFile {
    routing_key: Place,
    /// Other regions have others.
    server: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AlertmanagerFile {
    server: String,
    token: Option<Place>,
}

/// One of the services, as the file has it.
pub(super) enum ServiceFile {
    Slack(SlackFile),
    Teams(TeamsFile),
    Mattermost(MattermostFile),
    Mail(MailFile),
    PagerDuty(PagerDutyFile),
    Alertmanager(AlertmanagerFile),
}

const SLACK: &str = "https://slack.com/api";
const PAGERDUTY: &str = "https://events.pagerduty.com";

impl MannerFile {
    /// Whether the file says nothing of it.
    pub(super) fn is_unsaid(&self) -> bool {
        let Self { zone, people, directory, after, quiet, remind, templates } = self;
        let is_at_once = after.is_none() && quiet.is_none() && remind.is_none();
        let is_to_nobody = people.is_none() && directory.is_none();
        is_at_once && is_to_nobody && zone.is_none() && templates.is_none()
    }
}

impl TemplatesFile {
    /// Reads the files; what has none keeps the text of this program.
    pub(super) fn read(self, folder: &Path) -> Result<Templates, String> {
        let Self { request, extension, review, news } = self;
        let files = [
            (Subject::Request, request),
            (Subject::Extension, extension),
            (Subject::Review, review),
            (Subject::News, news),
        ];
        let mut templates = Templates::default();
        for (subject, path) in files {
            let Some(path) = path.map(|path| folder.join(path)) else { continue };
            let key = subject.as_str();
            let text = read_configuration(&path).map_err(|error| format!("`templates.{key}`: {error}"))?;
            let template = Template::parse(subject, &text)
                .map_err(|error| format!("`templates.{key}`: `{}`, {error}", path.display()))?;
            templates = templates.with(subject, template);
        }
        Ok(templates)
    }
}

/// The zone of the times in messages.
pub(super) fn zone(written: Option<&str>) -> Result<Zone, String> {
    written.unwrap_or("UTC").parse().map_err(|hint| format!("`zone` must be {hint}"))
}

impl Reader<'_> {
    pub(super) fn board(&self, service: ServiceFile, manner: MannerFile) -> Result<Board, String> {
        let MannerFile { zone, people, directory, after, quiet, remind, templates } = manner;
        let zone = self::zone(zone.as_deref())?;
        let templates = Arc::new(templates.unwrap_or_default().read(self.folder)?);
        let service = self.service(service)?;
        let people = people.unwrap_or_default();
        if (!people.is_empty() || directory.is_some()) && !service.reaches_people() {
            return Err(format!("`people` and `directory`: single people cannot be told through {service}"));
        }
        let directory = match directory {
            None => None,
            Some(file) => {
                let command = self.command(file).map_err(|why| format!("`directory`: {why}"))?;
                Some(Arc::new(Directory::new(command)))
            }
        };
        let reminders = match remind {
            None => None,
            Some(_) if !service.reminds() => return Err(format!("`remind`: {service} repeats alarms itself")),
            Some(RemindFile { every, most }) => Some(Reminders { every: every.duration(), most }),
        };
        let after = after.map_or(SignedDuration::ZERO, |after| after.duration());
        Ok(Board::new(service, zone, Manner { people, directory, after, quiet, reminders, templates }))
    }

    fn service(&self, service: ServiceFile) -> Result<Service, String> {
        let target = |url: &str, key: &str| Target::parse(url).map_err(|why| format!("`{key}` {why}"));
        Ok(match service {
            ServiceFile::Slack(SlackFile { channel, token, api }) => {
                let api = target(api.as_deref().unwrap_or(SLACK), "api")?;
                Service::Slack(Slack::new(api, self.secret(&token)?, &channel)?)
            }
            ServiceFile::Teams(TeamsFile { url }) => {
                Service::Teams(Teams::new(self.secret(&url)?).map_err(|why| format!("`url` {why}"))?)
            }
            ServiceFile::Mattermost(MattermostFile { server, channel, token }) => {
                let server = target(&server, "server")?;
                Service::Mattermost(Mattermost::new(server, self.secret(&token)?, &channel)?)
            }
            ServiceFile::Mail(MailFile { from, to, relay }) => {
                let RelayFile { host, port, security, user, password } = relay;
                let login = match (user, password) {
                    (Some(user), Some(password)) => Some((user, self.secret(&password)?)),
                    (None, None) => None,
                    _ => return Err("a relay has both `user` and `password`, or neither".to_owned()),
                };
                let security = match security {
                    SecurityFile::Tls => Security::Tls,
                    SecurityFile::StartTls => Security::StartTls,
                    SecurityFile::None => Security::Loopback,
                };
                if to.is_empty() {
                    return Err("`to` is empty".to_owned());
                }
                let relay = Relay { host, port, security, login };
                Service::Mail(Box::new(Mail::new(relay, &from, &to, self.authorities)?))
            }
            ServiceFile::PagerDuty(PagerDutyFile { routing_key, server }) => {
                let server = target(server.as_deref().unwrap_or(PAGERDUTY), "server")?;
                Service::PagerDuty(PagerDuty::new(server, self.secret(&routing_key)?))
            }
            ServiceFile::Alertmanager(AlertmanagerFile { server, token }) => {
                let token = token.map(|token| self.secret(&token)).transpose()?;
                Service::Alertmanager(Alertmanager::new(target(&server, "server")?, token))
            }
        })
    }
}
