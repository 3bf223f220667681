//! The prose of jit-notify(8), around what the command line says by itself.

use clap::CommandFactory;
use jit_manual::{Page, Section};

use jit_notify::present::Subject;
use jit_notify::text::template::{FIELDS, built_in};

use crate::Arguments;

/// The page.
pub(crate) fn page() -> Page {
    let date = jit_manual::date(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref());
    let about = "tells approvers, requesters and administrators what happens in jitd";
    let command = Arguments::command();
    let synopsis = [
        "`jit-notify` serve [--config FILE]",
        "`jit-notify` check [--config FILE]",
        "`jit-notify` preview [CHANNEL] [--config FILE]",
        "`jit-notify` test CHANNEL|--all",
        "`jit-notify` status [-o json]",
        "`jit-notify` replay CHANNEL --since TIME",
        "`jit-notify` metrics",
    ];
    let mut page = Page::new("jit-notify", Section::Administration, about, &synopsis, &date);
    page.heading("DESCRIPTION")
        .text(
            "`jit-notify` reads the facts of the audit trail from `jitd`(8) and sends them through channels. `jitd` does \
             not know whether it runs, and nothing waits for it. Each channel keeps how far it is, so after an outage of \
             the receiver, of `jit-notify` or of `jitd`, it continues where it stopped.",
        )
        .text(
            "A `webhook` and a `command` get every fact at least once. The facts of one request arrive in their order, \
             different requests do not wait for each other, and a repeat has the same id. A fact that a receiver refuses \
             for good is parked: it is listed by `status`, and those after it go on.",
        )
        .text(
            "`slack`, `teams`, `mattermost`, `mail`, `pagerduty` and `alertmanager` are boards: they show what is true now, in \
             one message per request, which is changed or followed by another one. After an outage a board never asks what \
             nobody can answer any more.",
        )
        .text("`test`, `status`, `replay` and `metrics` ask the running program, so they work as root or as its account.");
    page.options(&command).verbs(&command);
    page.heading("CONFIGURATION")
        .text(
            "YAML. A file with an unknown key is refused. A path is absolute, or relative to the file's folder. A secret is \
             never in this file but in a place: `{credential: NAME}`, a credential that systemd passes to the unit, or \
             `{file: PATH}`, a file that only its owner can read.",
        )
        .item("socket", "The socket of `jitd`; the default is `/run/jitd/notify.sock`.")
        .item("state", "The folder in which each channel keeps how far it is; the default is `/var/lib/jit-notify`.")
        .item(
            "certificateAuthority",
            "A file with certificate authorities, PEM, that receivers' certificates may have besides those of the host.",
        )
        .item("channels[].name", "The name of the channel: lower-case letters, digits and `-`.")
        .item(
            "channels[].to.groups",
            "The channel gets only what is about grants that one of these groups approves or reviews. Without `to`, it \
             gets everything.",
        )
        .item(
            "channels[].to.administrators",
            "Whether it also gets what concerns the administrators: drains, revocations by operators, break-glass, and \
             trouble with a cluster or a log.",
        )
        .item(
            "channels[].webhook.url",
            "The place of the URL. It is https, or http on this host. Redirects are not followed.",
        )
        .item(
            "channels[].webhook.secrets",
            "The places of one or two secrets: `whsec_` and 24 to 64 bytes in base64. With two, each request has both \
             signatures, so that the receiver can change from one to the other.",
        )
        .item("channels[].command.run", "The absolute path of a program, and its arguments.")
        .item("channels[].command.deadline", "How long it may run, such as `30s`; the default is `10s`.")
        .item("channels[].zone", "For boards: the time zone of the times in messages; the default is `UTC`.")
        .item(
            "channels[].people",
            "For `slack`, `mattermost` and `mail`: names of people, and their ids or addresses there. They are told what \
             becomes of their own requests. Who has `null`, or is neither listed nor known to `directory`, is not told.",
        )
        .item(
            "channels[].directory",
            "For the same: `run` and `deadline` of a program that knows where people are reached who are not in `people`. It \
             gets a name as its last argument, and prints an id or an address; nothing for somebody who is not told. An \
             answer counts for ten minutes. If it fails, it is run again later, and only that person waits.",
        )
        .item("channels[].after", "For boards: how long a question waits before this board has it, such as `10m`.")
        .item(
            "channels[].quiet",
            "For boards: `days`, `from`, `to` and `zone`. In these hours messages are changed, but none is sent.",
        )
        .item("channels[].remind", "For boards but `pagerduty` and `alertmanager`: repeat an open question `every` so long, \
              at `most` so many times.")
        .item(
            "channels[].templates",
            "For boards: files with the words for `request`, `extension`, `review` and `news`; see TEMPLATES.",
        )
        .item("channels[].slack", "`channel`, an id; `token`, the place of a bot's token; `api`, for another Slack.")
        .item("channels[].teams", "`url`, the place of the URL of a workflow that takes a Teams webhook request.")
        .item("channels[].mattermost", "`server`, a URL; `channel`, an id; `token`, the place of a bot's token.")
        .item(
            "channels[].mail",
            "`from` and `to`, addresses; `relay` with `host`, `port`, `security` (`tls`, `starttls`, or `none` on this \
             host), and, if it wants them, `user` and `password`, the place of it.",
        )
        .item("channels[].pagerduty", "`routingKey`, the place of an Events API v2 key; `server`, for another region.")
        .item("channels[].alertmanager", "`server`, a URL; `token`, the place of a bearer token, if one is needed.");
    page.heading("TEMPLATES").text(
        "A template has the words of a board's messages about a request, about an extension, about a review after \
         break-glass, or about news for the requester. The first line is the title. Each other line is `NAME: TEXT`, or \
         `{fields}`: a line for each field of the request, under its own name; `{field.NAME}` is the text of one of them. \
         A brace in the text is written twice. A line is left out if one of its fields has no value. The title has only \
         fields marked with `*`, because others may see it. What became of a request and the command to type follow by \
         themselves. Nothing in a template is markup. A template with a mistake is refused at the start, with its file, \
         the line and the field; `preview` shows each message. The fields:",
    );
    for field in FIELDS {
        let mark = if field.is_for_titles() { "*" } else { "" };
        let of = field.only_of().map(|subjects| format!("; only for {subjects}")).unwrap_or_default();
        page.item(&format!("`{{{}}}`{mark}", field.name), &format!("{}{of}.", field.is));
    }
    page.example("The built-in words about a request:", built_in(Subject::Request));
    page.heading("WEBHOOKS")
        .text(
            "A fact is sent by POST as Standard Webhooks 1.0 says. `webhook-id` is the same each time a fact is sent. \
             `webhook-signature` is the HMAC-SHA256 of `webhook-id`, `webhook-timestamp` and the body. 2xx means that the \
             receiver took the fact, and 410 switches the channel off until the next start. After 408, 425, 429 and 5xx, \
             and without an answer, it is sent again: after a second at first, after five minutes at most, or as \
             `Retry-After` says, up to an hour. Any other status parks the fact.",
        )
        .text("`HTTPS_PROXY` and `NO_PROXY` are honoured. An answer has 15 s to begin and 30 s to end.");
    page.heading("COMMAND CHANNELS").text(
        "The program gets the fact as one JSON document on its standard input, and `JIT_ID` and `JIT_TYPE` in an \
         environment that has only `PATH` and `LANG` besides. No shell is involved. Exit code 0 means that it took the fact, \
         and 75 that it wants it later. Any other exit code parks the fact. At the deadline, the program and everything in its process group is \
         killed, and started again later. The first 4 KiB of what it prints are read, and the first 200 characters are logged.",
    );
    page.heading("EXIT STATUS")
        .item("`0`", "It was told to stop, or did what it was told.")
        .item("`1`", "Failure, also of a channel that was tested.")
        .item("`2`", "The command line or the configuration is invalid.");
    page.heading("ENVIRONMENT")
        .item("`JIT_NOTIFY_LOG`", "How much it logs, such as `info` or `jit_notify=debug`. The default is `info`.")
        .item("`HTTPS_PROXY`, `NO_PROXY`", "The proxy on the way to receivers, and which hosts are reached without it.")
        .item("`CREDENTIALS_DIRECTORY`", "The folder of the credentials; systemd sets it.");
    page.heading("FILES")
        .item("/etc/jit-notify/config.yaml", "The configuration.")
        .item("/run/jitd/notify.sock", "The socket of `jitd`, open to the account in `notify` of `jitd-config`(5).")
        .item("/var/lib/jit-notify/CHANNEL.json", "How far a channel is.")
        .item("/usr/share/doc/jitd/docs/notify.md", "How to set it up.");
    page.heading("SEE ALSO").text("`jitd`(8), `jitd-config`(5), `systemd.exec`(5)");
    page
}
