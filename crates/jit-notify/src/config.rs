//! The configuration, `/etc/jit-notify/config.yaml`.
//!
//! ```yaml
//! socket: /run/jitd/notify.sock          # the socket of jitd
//! state: /var/lib/jit-notify             # how far each channel is
//! channels:
//! - name: siem
//!   webhook:
//!     url: {credential: siem-url}        # the URL is a secret, too
//!     secrets: [{credential: siem-key}]  # whsec_…; two while one replaces the other
//! - name: wall
//!   to: {groups: [sre], administrators: true}
//!   command: {run: [/usr/local/libexec/tell, --short], deadline: 10s}
//! ```
//! Boards are in `config/boards.rs`. An unknown key is refused. A secret is never in this file.

mod boards;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jit_core::grant::policy::{Hours, Zone};
use jit_core::grant::request::Window;
use jit_host::configuration::{self, ConfigError};
use jit_host::files::read_configuration;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use self::boards::{
    AlertmanagerFile, MailFile, MannerFile, MattermostFile, PagerDutyFile, RemindFile, ServiceFile, SlackFile,
    TeamsFile, TemplatesFile,
};
use crate::channel::{Channel, Feed, Kind, Listeners};
use crate::command::Command;
use crate::text::template::Templates;
use crate::webhook::Webhook;
use jit_host::secret::{Place, Secret};

/// The configuration.
#[derive(Debug)]
pub struct Config {
    /// The socket of the daemon.
    pub socket: PathBuf,
    /// The folder of the channels' states.
    pub state: PathBuf,
    /// Authorities that are trusted in addition to those of the host.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The channels, in the order of the file.
    pub channels: Vec<Channel>,
}

/// In which zone and in which words a board says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    /// The name of the channel.
    pub channel: String,
    /// The zone of the times.
    pub zone: Zone,
    /// The words.
    pub templates: Templates,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default = "socket")]
    socket: PathBuf,
    #[serde(default = "state")]
    state: PathBuf,
    certificate_authority: Option<PathBuf>,
    channels: Vec<ChannelFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChannelFile {
    name: String,
    to: Option<ListenersFile>,
    webhook: Option<WebhookFile>,
    command: Option<CommandFile>,
    slack: Option<SlackFile>,
    teams: Option<TeamsFile>,
    mattermost: Option<MattermostFile>,
    mail: Option<MailFile>,
    pagerduty: Option<PagerDutyFile>,
    alertmanager: Option<AlertmanagerFile>,
    zone: Option<String>,
    people: Option<BTreeMap<String, Option<String>>>,
    directory: Option<CommandFile>,
    after: Option<Window>,
    quiet: Option<Hours>,
    remind: Option<RemindFile>,
    templates: Option<TemplatesFile>,
}

/// What a channel is, as the file has it.
enum KindFile {
    Webhook(WebhookFile),
    Command(CommandFile),
    Board(ServiceFile),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListenersFile {
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    administrators: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookFile {
    url: Place,
    secrets: Vec<Place>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CommandFile {
    run: Vec<String>,
    deadline: Option<Window>,
}

fn socket() -> PathBuf {
    "/run/jitd/notify.sock".into()
}

fn state() -> PathBuf {
    "/var/lib/jit-notify".into()
}

/// How long a command may run if the file does not say.
const COMMAND_RUNS_FOR: Duration = Duration::from_secs(10);

/// The longest name of a channel, in bytes: it is a file's name too.
const LONGEST_NAME: usize = 40;

/// What a channel reads while it is made.
struct Reader<'a> {
    folder: &'a Path,
    credentials: Option<&'a Path>,
    authorities: &'a [CertificateDer<'static>],
}

impl Config {
    /// Reads only which folder has the channels' states, for those who ask the running program.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn state_of(path: &Path) -> Result<PathBuf, ConfigError> {
        let file: File = configuration::read(path, "notify.md")?;
        Ok(path.parent().unwrap_or(Path::new(".")).join(file.state))
    }

    /// Reads only what the boards say, for a preview: no secret.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn wording_of(path: &Path) -> Result<Vec<Wording>, ConfigError> {
        let fault = |why: String| ConfigError::new(path, &why);
        let file: File = configuration::read(path, "notify.md")?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let boards = file.channels.into_iter().filter(|one| one.webhook.is_none() && one.command.is_none());
        boards
            .map(|ChannelFile { name: channel, zone, templates, .. }| {
                let wrong = |why: String| fault(format!("channel `{channel}`: {why}"));
                let zone = boards::zone(zone.as_deref()).map_err(wrong)?;
                let templates = templates.unwrap_or_default().read(folder).map_err(wrong)?;
                Ok(Wording { channel, zone, templates })
            })
            .collect()
    }

    /// Reads the file, and the secrets that it names. Paths in it are relative to its folder. `credentials` is the value of
    /// `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    /// [`ConfigError`]. It contains no secret.
    pub fn read(path: &Path, credentials: Option<&Path>) -> Result<Self, ConfigError> {
        let fault = |why: String| ConfigError::new(path, &why);
        let file: File = configuration::read(path, "notify.md")?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let authorities = match file.certificate_authority {
            Some(path) => {
                authorities(&folder.join(path)).map_err(|why| fault(format!("`certificateAuthority`: {why}")))?
            }
            None => Vec::new(),
        };
        let reader = Reader { folder, credentials, authorities: &authorities };
        let mut channels: Vec<Channel> = Vec::new();
        for channel in file.channels {
            let name = channel.name.clone();
            let made = reader.channel(channel).map_err(|why| fault(format!("channel `{name}`: {why}")))?;
            if channels.iter().any(|known| known.name == name) {
                return Err(fault(format!("channel `{name}` is listed twice")));
            }
            channels.push(made);
        }
        if channels.is_empty() {
            return Err(fault("`channels` is empty".to_owned()));
        }
        Ok(Self { socket: folder.join(file.socket), state: folder.join(file.state), authorities, channels })
    }
}

impl Reader<'_> {
    fn channel(&self, file: ChannelFile) -> Result<Channel, String> {
        let ChannelFile { name, to, webhook, command, slack, teams, mattermost, mail, pagerduty, alertmanager, .. } =
            file;
        let ChannelFile { zone, people, directory, after, quiet, remind, templates, .. } = file;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
            return Err(format!("a name is 1 to {LONGEST_NAME} lower-case letters, digits and `-`"));
        }
        let audience = match to {
            None => Listeners::Everything,
            Some(ListenersFile { groups, administrators: false }) if groups.is_empty() => {
                return Err("`to` names nobody; leave it out for everything".to_owned());
            }
            Some(ListenersFile { groups, administrators }) => Listeners::Some { groups, administrators },
        };
        let manner = MannerFile { zone, people, directory, after, quiet, remind, templates };
        let kinds = [
            webhook.map(KindFile::Webhook),
            command.map(KindFile::Command),
            slack.map(|file| KindFile::Board(ServiceFile::Slack(file))),
            teams.map(|file| KindFile::Board(ServiceFile::Teams(file))),
            mattermost.map(|file| KindFile::Board(ServiceFile::Mattermost(file))),
            mail.map(|file| KindFile::Board(ServiceFile::Mail(file))),
            pagerduty.map(|file| KindFile::Board(ServiceFile::PagerDuty(file))),
            alertmanager.map(|file| KindFile::Board(ServiceFile::Alertmanager(file))),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            let all = "`webhook`, `command`, `slack`, `teams`, `mattermost`, `mail`, `pagerduty` and `alertmanager`";
            return Err(format!("a channel has exactly one of {all}"));
        };
        let kind = match kind {
            KindFile::Board(service) => Kind::Board(Box::new(self.board(service, manner)?)),
            _ if !manner.is_unsaid() => {
                let keys = "`zone`, `people`, `directory`, `after`, `quiet`, `remind` and `templates`";
                return Err(format!("{keys} are for boards: a feed gets every fact at once, as JSON"));
            }
            KindFile::Webhook(webhook) => Kind::Feed(Feed::Webhook(self.webhook(&webhook)?)),
            KindFile::Command(command) => Kind::Feed(Feed::Command(self.command(command)?)),
        };
        Ok(Channel { name, kind, audience })
    }

    fn webhook(&self, file: &WebhookFile) -> Result<Webhook, String> {
        let url = self.secret(&file.url)?;
        let secrets = file.secrets.iter().map(|place| self.secret(place)).collect::<Result<Vec<_>, _>>()?;
        Webhook::new(&url, &secrets)
    }

    fn command(&self, file: CommandFile) -> Result<Command, String> {
        let mut words = file.run.into_iter();
        let program = PathBuf::from(words.next().unwrap_or_default());
        if !program.is_absolute() {
            return Err("`run` must begin with the absolute path of a program".to_owned());
        }
        let deadline = match file.deadline {
            None => COMMAND_RUNS_FOR,
            Some(window) => window.duration().try_into().map_err(|_| "`deadline` is too long".to_owned())?,
        };
        Ok(Command { program, arguments: words.map(Into::into).collect(), deadline })
    }

    /// Reads a secret, in the place that the file names.
    fn secret(&self, place: &Place) -> Result<Secret, String> {
        place.read(self.folder, self.credentials).map_err(|error| error.to_string())
    }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read_configuration(path).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err("the file contains no certificate in PEM".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("the file is not PEM: {error}")),
    }
}

#[cfg(test)]
mod tests;
