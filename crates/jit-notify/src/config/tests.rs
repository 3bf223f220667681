//! Files that people write: what each makes, and what is said about mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;
use crate::board::Service;

/// A folder of this test with a secret in `token`.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("jit-notify-config-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.join("token"), "https://hooks.example.com/hush\n").unwrap();
    fs::set_permissions(folder.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn read(folder: &Path, channel: &str) -> Result<Config, String> {
    let path = folder.join("config.yaml");
    fs::write(&path, format!("channels:\n- {channel}\n")).unwrap();
    Config::read(&path, None).map_err(|error| error.to_string())
}

const EACH: [&str; 6] = [
    "slack: {channel: C024BE91L, token: {file: token}}",
    "teams: {url: {file: token}}",
    "mattermost: {server: 'https://chat.example.com', channel: 4xp9fdt77pncbef59f4k1qe83o, token: {file: token}}",
    "mail: {from: 'jitd <jitd@example.com>', to: [leads@example.com], relay: {host: mail.example.com, port: 465, \
     security: tls, user: jitd, password: {file: token}}}",
    "pagerduty: {routingKey: {file: token}}",
    "alertmanager: {server: 'http://127.0.0.1:9093'}",
];

#[test]
fn each_service_can_be_a_channel() {
    let folder = folder("each");
    for (file, shown) in EACH.iter().zip(["Slack", "Teams", "Mattermost", "e-mail", "PagerDuty", "Alertmanager"]) {
        let config = read(&folder, &format!("{{name: leads, to: {{groups: [leads]}}, after: 10m, {file}}}")).unwrap();
        let Kind::Board(board) = &config.channels[0].kind else { panic!("{file}") };
        assert_eq!(board.service.to_string(), shown);
        assert_eq!(board.manner.after.as_mins(), 10);
        assert!(!format!("{config:?}").contains("hush"));
        let reaches = matches!(board.service, Service::Slack(_) | Service::Mattermost(_) | Service::Mail(_));
        for told in ["people: {alice: x, bob: null}", "directory: {run: [/bin/true]}"] {
            let people = read(&folder, &format!("{{name: leads, {told}, {file}}}"));
            assert_eq!(people.is_ok(), reaches, "{file}");
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

/// A mistake is said in words that name the channel and have no secret.
#[test]
fn a_mistake_is_named_without_a_secret() {
    let folder = folder("mistakes");
    let [slack, teams, mattermost, _, pagerduty, _] = EACH;
    for (file, said) in [
        (format!("{slack}, {teams}"), "exactly one of"),
        ("zone: UTC".to_owned(), "exactly one of"),
        (format!("{slack}, zone: Mars/Base"), "`zone` must be"),
        (format!("{slack}, more: 1"), "more"),
        (slack.replace("C024BE91L", "'#ops'"), "channel must be the id"),
        (slack.replace("file: token", "file: missing"), "missing"),
        (mattermost.replace("https", "http"), "`server` must be https"),
        (format!("{slack}, directory: {{run: [mail-of]}}"), "`directory`: `run` must begin with the absolute path"),
        (format!("{pagerduty}, remind: {{every: 5m, most: 3}}"), "PagerDuty repeats alarms itself"),
        (
            "command: {run: [/bin/true]}, after: 5m".to_owned(),
            "`zone`, `people`, `directory`, `after`, `quiet`, `remind` and `templates` are for boards",
        ),
        (
            "mail: {from: a@b.example, to: [c@d.example], relay: {host: mail.example.com, port: 25, security: none}}"
                .to_owned(),
            "because it is another host",
        ),
        (
            "mail: {from: a@b.example, to: [c@d.example], relay: {host: h, port: 465, security: tls, user: jitd}}"
                .to_owned(),
            "both `user` and `password`",
        ),
    ] {
        let why = read(&folder, &format!("{{name: leads, {file}}}")).unwrap_err();
        assert!(why.contains(said), "{file}: {why}");
        assert!(!why.contains("hush"), "{why}");
    }
    fs::remove_dir_all(folder).unwrap();
}

/// A board says what its files say, and what has no file, in the words of this program. A file with a mistake is refused with
/// its name and the line, by `preview` as well, which reads no secret.
#[test]
fn a_board_has_words_of_its_own() {
    let folder = folder("templates");
    let [slack, ..] = EACH;
    let channel = format!("{{name: leads, zone: Europe/Berlin, templates: {{request: request.txt}}, {slack}}}");
    let write = |text: &str| fs::write(folder.join("request.txt"), text).unwrap();
    write("{requester} möchte {what}\nGrund: {reason}\n");
    let config = read(&folder, &channel).unwrap();
    let Kind::Board(board) = &config.channels[0].kind else { panic!("no board") };
    assert_ne!(*board.manner.templates, Templates::default());
    // What needs no secret is read without one.
    fs::remove_file(folder.join("token")).unwrap();
    let wording = Config::wording_of(&folder.join("config.yaml")).unwrap();
    assert_eq!((wording.len(), &wording[0].templates), (1, &*board.manner.templates));

    write("{requester} möchte {what}\nGrund: {raeson}\n");
    let place = format!(
        "`templates.request`: `{}`, line 2: there is no field `{{raeson}}`",
        folder.join("request.txt").display()
    );
    for why in
        [read(&folder, &channel).unwrap_err(), Config::wording_of(&folder.join("config.yaml")).unwrap_err().to_string()]
    {
        assert!(why.contains("channel `leads`") && why.contains(&place), "{why}");
    }
    fs::remove_file(folder.join("request.txt")).unwrap();
    assert!(read(&folder, &channel).unwrap_err().contains("`templates.request`: cannot open"));
    fs::remove_dir_all(folder).unwrap();
}
