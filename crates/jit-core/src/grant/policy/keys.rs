//! The keys of `policy.yaml` and `guardrails.yaml`: each with its form, its default and what it is for. `parse.rs` reads
//! by these names, and `jitd policy schema` and the manual print them; no other list of them exists.
//!
//! Only tables; what a key means is decided in `parse.rs`.

use super::Source;
use super::pattern::{Glob, NamespacePattern, Selector, regex};
use super::schema::Presence::{Default, May, Must};
use super::schema::{Format, Key, KeyDoc, Object, Path, Presence, Shape};
use super::step::{Day, TimeOfDay, Zone};
use crate::grant::request::{
    ClusterName, FieldName, FieldValue, Malformed, Namespace, PersonName, Reason, ReviewTime, RoleRef, Window,
};
use crate::grant::restriction::regex_fault;
use crate::grant::{CommandPattern, Keep, Record};
use crate::rbac::risk::{RiskId, Severity};

/// The form of a whole file.
pub(super) fn of(source: Source) -> &'static Shape {
    match source {
        Source::Policy => &POLICY,
        Source::Guardrails => &GUARDRAILS,
    }
}

/// The JSON Schema (draft 2020-12) of a file, for editors.
#[must_use]
pub fn schema(source: Source) -> serde_json::Value {
    let mut schema = of(source).schema();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        schema.insert("title".to_owned(), source.file_name().into());
    }
    schema
}

/// The keys of a file for the manual, each before the keys inside it.
#[must_use]
pub fn keys(source: Source) -> Vec<KeyDoc> {
    let mut told = Vec::new();
    of(source).tell(&Path::default(), &mut told);
    told
}

const fn key(name: &'static str, need: Presence, shape: &'static Shape, about: &'static str) -> Key {
    Key { name, shape, need, about }
}

const fn object(keys: &'static [Key]) -> Object {
    Object { keys, one_of: &[] }
}

fn is<T: std::str::FromStr<Err = Malformed>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|wrong| wrong.why)
}

fn fits<T: std::str::FromStr<Err = String>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop)
}

fn printable(text: &str, most: usize, hint: &str) -> Result<(), String> {
    let right = !text.trim().is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control);
    if right { Ok(()) } else { Err(hint.to_owned()) }
}

// ---- words ----

const NAME: Format = Format {
    name: "name",
    pattern: "^.{1,80}$",
    check: |text| printable(text, 80, "use 1 to 80 printable characters; every decision shows it"),
};
const SENTENCE: Format = Format {
    name: "sentence",
    pattern: "^.{1,500}$",
    check: |text| printable(text, 500, "use 1 to 500 printable characters"),
};
const GROUP: Format = Format {
    name: "group name",
    pattern: "^.{1,100}$",
    check: |text| printable(text, 100, "use the name of a group of the host or the configuration"),
};
const CLUSTER: Format = Format { name: "cluster name", pattern: LABEL, check: is::<ClusterName> };
const NAMESPACE: Format = Format { name: "namespace", pattern: LABEL, check: is::<Namespace> };
const NAMESPACE_PATTERN: Format =
    Format { name: "namespace or glob", pattern: "^[a-z0-9*?-]{1,63}$", check: fits::<NamespacePattern> };
const SELECTOR: Format = Format { name: "label selector", pattern: ".", check: fits::<Selector> };
const ROLE: Format = Format { name: "role", pattern: "^[A-Za-z0-9:._/-]{1,265}$", check: is::<RoleRef> };
const GLOB: Format = Format { name: "name or glob", pattern: "^[A-Za-z0-9:._/*?-]{1,253}$", check: fits::<Glob> };
const PERSON: Format = Format { name: "person's name", pattern: "^[^:/-][^:/]{0,764}$", check: is::<PersonName> };
const REASON: Format = Format { name: "reason", pattern: "^.{1,500}$", check: is::<Reason> };
const DURATION: Format =
    Format { name: "duration", pattern: "^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$", check: is::<Window> };
const KEEP: Format = Format {
    name: "time to keep",
    pattern: "^([0-9]{1,4}d|([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?)$",
    check: is::<Keep>,
};
const REVIEW_TIME: Format = Format { name: "duration", pattern: DURATION.pattern, check: is::<ReviewTime> };
const WAIT: Format = Format {
    name: "duration",
    pattern: DURATION.pattern,
    check: |text| if text == "0s" { Ok(()) } else { is::<Window>(text) },
};
const TIME_OF_DAY: Format =
    Format { name: "time of the day", pattern: "^[0-2][0-9]:[0-5][0-9]$", check: fits::<TimeOfDay> };
const ZONE: Format = Format { name: "time zone", pattern: "^[A-Za-z0-9/_+-]+$", check: fits::<Zone> };
const REGEX: Format = Format {
    name: "regular expression",
    pattern: ".",
    check: |text| match regex(text) {
        _ if text.is_empty() => Err("an empty one matches everything; remove the key".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(regex_fault(&error)),
    },
};
const COMMAND: Format = Format { name: "regular expression", pattern: "^.{1,500}$", check: fits::<CommandPattern> };
const FIELD_NAME: Format = Format { name: "field name", pattern: "^[a-z0-9_-]{1,40}$", check: is::<FieldName> };
const FIELD_VALUE: Format = Format { name: "field value", pattern: "^.{1,200}$", check: is::<FieldValue> };
const RISK_ID: Format = Format {
    name: "risk id",
    pattern: "^E[0-9]+$",
    check: |text| {
        text.parse::<RiskId>().map(drop).map_err(|_| "use an id of the risk catalogue, such as E25".to_owned())
    },
};
const TIMESTAMP: Format = Format {
    name: "time",
    pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+$",
    check: |text| {
        text.parse::<jiff::Timestamp>().map(drop).map_err(|_| "write it like 2026-11-23T18:00:00Z".to_owned())
    },
};
const API_GROUP: Format = Format {
    name: "qualified API group",
    pattern: "^[a-z0-9-]+(\\.[a-z0-9-]+)+$",
    check: |text| {
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        if text.contains('.') && text.split('.').all(is_label) {
            Ok(())
        } else {
            Err("write it like `widgets.example.com`".to_owned())
        }
    },
};
const RESOURCE: Format = Format {
    name: "resource",
    pattern: "^([a-z0-9]+(/[a-z0-9]+)?|\\*)$",
    check: |text| {
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
        let (base, below) = text.split_once('/').map_or((text, None), |(base, below)| (base, Some(below)));
        if text == "*" || (is_name(base) && below.is_none_or(is_name)) {
            Ok(())
        } else {
            Err("write the plural name, such as `widgets` or `widgets/status`, or `*`".to_owned())
        }
    },
};
const WORD: Format = Format { name: "word", pattern: "", check: |_| Ok(()) };
const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// The severities that an administrator can choose: nothing else is classified.
const CLASSES: &[&str] = &["low", "medium", "high", "critical"];

/// The verbs that every kind can have.
const COMMON_VERBS: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

const TEXT: &Shape = &Shape::Text(WORD);
const WORDS: &Shape = &Shape::List(TEXT, 0);
const GROUPS: &Shape = &Shape::List(&Shape::Text(GROUP), 1);
const READERS: &Shape = &Shape::List(&Shape::Text(GROUP), 0);
const LONG: &Shape = &Shape::Text(DURATION);
const COUNT: &Shape = &Shape::Whole(1, 10);
const CLUSTERS: &Shape = &Shape::List(&Shape::Text(CLUSTER), 1);
const ROLES: &Shape = &Shape::List(&Shape::Text(ROLE), 1);
const NAMESPACES: &Shape = &Shape::List(
    &Shape::Either(
        &Shape::Text(NAMESPACE_PATTERN),
        &Shape::Object(&object(&[key(
            "labels",
            Must,
            &Shape::Text(SELECTOR),
            "a label selector, as kubectl writes it",
        )])),
    ),
    1,
);

/// The severities that a guardrail can name.
pub(super) const SEVERITIES: &[Severity] =
    &[Severity::Low, Severity::Medium, Severity::High, Severity::Critical, Severity::Unclassified];
const SEVERITY: &Shape = &Shape::Word(&["low", "medium", "high", "critical", "unclassified"]);

/// What a rule can have recorded.
pub(super) const RECORDS: &[Record] = &[Record::Required, Record::Metadata, Record::Off];
const RECORD: &Shape = &Shape::Word(&["required", "metadata", "off"]);

// ---- policy.yaml ----

const POLICY: Shape = Shape::Object(&object(&[
    key(
        "rules",
        Must,
        &Shape::List(&Shape::Object(&RULE), 0),
        "who may request what; the first rule that matches decides",
    ),
    key("deny", Default("[]"), &Shape::List(&Shape::Object(&DENY), 0), "explicit denials, evaluated before the rules"),
    key("limits", May, &Shape::Object(&LIMITS), "limits on the requests of one person"),
    key(
        "tests",
        Default("[]"),
        &Shape::List(&Shape::Object(&CASE), 0),
        "requests and the outcome that each must have; `jitd policy test` and `jitd check` run them",
    ),
]));

const RULE: Object = Object {
    keys: &[
        key("name", Must, &Shape::Text(NAME), "the name that every decision shows"),
        key("who", Must, GROUPS, "groups whose members may request"),
        key("clusters", Must, CLUSTERS, "the clusters that the rule covers"),
        key(
            "namespaces",
            May,
            NAMESPACES,
            "names, globs with `*` and `?`, and label selectors; required unless `clusterWide` is true",
        ),
        key("clusterWide", Default("false"), &Shape::Flag, "whether the rule also allows access to the whole cluster"),
        key(
            "roles",
            May,
            ROLES,
            "ClusterRoles, or `role/NAME` for a Role of the namespace; either this or `rules` is required",
        ),
        key(
            "rules",
            May,
            &Shape::List(&Shape::Object(&RBAC_RULE), 1),
            "a ceiling for exact rules, which may be requested instead of a role",
        ),
        key(
            "narrow",
            Default("false"),
            &Shape::Flag,
            "whether an approver may narrow a role to some of its rules; the daemon then has to hold the role itself",
        ),
        key("maxDuration", Must, LONG, "the longest window, such as `10m`"),
        key("maxTotal", May, LONG, "the longest window with extensions; without it `maxDuration`"),
        key(
            "reason",
            May,
            &Shape::Either(&Shape::Text(REGEX), &Shape::Object(&REASON_RULE)),
            "the form of the reason: a regular expression, or a map; without it any text of 1 to 500 characters",
        ),
        key("fields", May, &Shape::List(&Shape::Object(&FIELD), 1), "further fields of the request, such as a ticket"),
        key(
            "approval",
            May,
            &Shape::List(&Shape::Object(&STEP), 1),
            "approval steps, all of which are needed; one person counts in one step only",
        ),
        key("preApproved", May, &Shape::True, "no approval is needed"),
        key(
            "notify",
            May,
            GROUPS,
            "groups that `jit-notify` also tells of each request and what becomes of it, where it has channels for them. They \
             may do nothing more for that. Those who have to answer, and the requester, are told anyway",
        ),
        key("pending", May, LONG, "how long a request waits for approval; without it `times.answer` of `config.yaml`"),
        key(
            "collect",
            May,
            LONG,
            "how long an approval waits to be collected; without it `times.collect` of `config.yaml`",
        ),
        key(
            "certificate",
            May,
            LONG,
            "the longest life of one certificate; without it `times.certificate` of `config.yaml`. With the value of \
             `maxDuration`, clients that read the certificate only once work for the whole window",
        ),
        key(
            "startWithin",
            May,
            LONG,
            "how far ahead a start time may lie; without it the window begins when the access is collected",
        ),
        key(
            "drift",
            Default("revoke"),
            &Shape::Word(&["revoke", "warn"]),
            "what happens when the role changes during a live grant: end the grant, or only record and log it",
        ),
        key(
            "record",
            Default("metadata"),
            RECORD,
            "what the gateway keeps of what is done: nothing, each request without its content, or also what exec and \
             attach print. With `required` there is no exec and no attach without a recording. In clusters that people \
             reach directly nothing is recorded, and `required` is a mistake",
        ),
        key(
            "recordInput",
            Default("false"),
            &Shape::Flag,
            "whether a recording also has what is typed, passwords included; only with `record: required`",
        ),
        key(
            "idle",
            May,
            LONG,
            "how long an exec, attach or port-forward may go on without a byte from or to the person; without it as long \
             as the grant. Only where people go through the gateway",
        ),
        key(
            "refuse",
            Default("[]"),
            REFUSE,
            "what the gateway refuses although the role allows it, because RBAC cannot tell it apart. The requester and the \
             approvers see it, and who is refused reads its name. Only where people go through the gateway. With that of \
             the guardrails it takes at most 2048 bytes as JSON",
        ),
        key(
            "readers",
            May,
            READERS,
            "the groups whose members may play the recordings, and may see the grant for that; without it those that may \
             approve or review the grant, and the auditors and admins of config.yaml. `[]` leaves them to root. The list of \
             sessions and the log are for everybody who may see the grant",
        ),
        key(
            "login",
            May,
            &Shape::Object(&LOGIN),
            "what a login at an identity provider must have for approving, also an extension, and for break-glass. People \
             who come by an account of the host proved it to the host, and are not compared",
        ),
        key(
            "breakGlass",
            May,
            &Shape::Object(&BREAK_GLASS),
            "access without an approval, reviewed afterwards; without it break-glass is not possible",
        ),
    ],
    one_of: &[&["approval", "preApproved"]],
};

/// What a rule or the guardrails can have refused.
const REFUSE: &Shape = &Shape::List(&Shape::Object(&RESTRICTION), 0);

const RESTRICTION: Object = Object {
    keys: &[
        key("name", Must, &Shape::Text(NAME), "the name that a refusal shows"),
        key(
            "exec",
            May,
            &Shape::Object(&EXEC),
            "refuses exec of other commands, and attach and debug containers, whose commands nobody has compared. It cannot \
             hold what an allowed command starts, nor what runs in pods and workloads that the role may create or change",
        ),
        key(
            "copy",
            May,
            &Shape::True,
            "refuses exec of a command with the word `tar`, which `kubectl cp` needs in both directions. It cannot hold other \
             commands that read and write files",
        ),
        key(
            "portForward",
            May,
            &Shape::Object(&PORTS),
            "refuses port-forward to other ports, and the proxies of pods and services. It cannot hold connections that an \
             exec or a new pod makes",
        ),
        key(
            "deleteCollection",
            May,
            &Shape::True,
            "refuses delete without a name. It cannot hold `kubectl delete --all`, which deletes one object after the other, \
             nor the deletion of a namespace",
        ),
    ],
    one_of: &[&["exec", "copy", "portForward", "deleteCollection"]],
};

const EXEC: Object = object(&[key(
    "except",
    Must,
    &Shape::List(&Shape::Text(COMMAND), 1),
    "regular expressions, one of which has to match the whole command, such as `psql( .*)?`: its words with a space between \
     them, each in single quotes if it is empty or has a character other than `A-Z a-z 0-9 _ @ % + = : , . / -`",
)]);

const PORTS: Object =
    object(&[key("except", Must, &Shape::List(&Shape::Whole(1, 65535), 1), "the ports that may be forwarded")]);

const RBAC_RULE: Object = object(&[
    key("apiGroups", May, WORDS, "API groups; `\"\"` is the core group"),
    key("resources", May, WORDS, "resources, with subresources such as `pods/log`"),
    key("resourceNames", May, WORDS, "only objects of these names"),
    key("nonResourceURLs", May, WORDS, "paths that are not resources, such as `/metrics`"),
    key("verbs", Must, &Shape::List(TEXT, 1), "verbs"),
]);

/// Exact rules cover resources only.
const EXACT_RULE: Object = object(&[
    key("apiGroups", Must, &Shape::List(TEXT, 1), "API groups; `\"\"` is the core group"),
    key("resources", Must, &Shape::List(TEXT, 1), "resources, with subresources such as `pods/log`"),
    key("resourceNames", May, WORDS, "only objects of these names"),
    key("verbs", Must, &Shape::List(TEXT, 1), "verbs"),
]);

const REASON_RULE: Object = object(&[
    key("pattern", May, &Shape::Text(REGEX), "a regular expression that the reason has to match"),
    key("minLength", Default("1"), &Shape::Whole(1, 500), "the minimum number of characters"),
    key("prompt", May, &Shape::Text(SENTENCE), "the question that the requester is shown"),
]);

const FIELD: Object = object(&[
    key("name", Must, &Shape::Text(FIELD_NAME), "the field's name: up to 40 of `a-z 0-9 _ -`"),
    key("type", Must, &Shape::Word(&["text", "number", "url", "choice"]), "the type of the value"),
    key("pattern", May, &Shape::Text(REGEX), "a regular expression that the value has to match"),
    key("choices", May, &Shape::List(&Shape::Text(FIELD_VALUE), 1), "the allowed values, for the type `choice`"),
    key("required", Default("false"), &Shape::Flag, "whether a request must have the field"),
    key("prompt", May, &Shape::Text(SENTENCE), "the question that the requester is shown"),
    key(
        "private",
        Default("false"),
        &Shape::Flag,
        "whether the value stays on this host: `jit-notify` sends it to nobody. Who may see the request sees it in \
         `jit-login`, and the trail has it",
    ),
]);

const STEP: Object = object(&[
    key("groups", Must, GROUPS, "groups whose members may approve"),
    key("count", Default("1"), COUNT, "how many people have to approve"),
    key(
        "hours",
        May,
        &Shape::Object(&HOURS),
        "when an approval counts; without it always. A denial counts at any time",
    ),
]);

const HOURS: Object = object(&[
    key("days", Must, &Shape::List(&Shape::Word(Day::WORDS), 1), "days of the week"),
    key("from", Must, &Shape::Text(TIME_OF_DAY), "the first minute, such as `\"08:00\"`"),
    key("to", Must, &Shape::Text(TIME_OF_DAY), "the minute after the last, such as `\"18:00\"`"),
    key("zone", Must, &Shape::Text(ZONE), "a time zone, such as `Europe/Berlin`"),
]);

const CLAIMS: &Shape = &Shape::List(&Shape::Text(NAME), 1);

const LOGIN: Object = object(&[
    key(
        "acr",
        May,
        CLAIMS,
        "values of the claim `acr`, one of which the token must have: how the person was authenticated",
    ),
    key("amr", May, CLAIMS, "values that the claim `amr` must have, all of them: the methods, such as `otp` or `hwk`"),
    key(
        "authTime",
        May,
        LONG,
        "how long ago the person may have proved who they are (the claim `auth_time`); a renewal of the session proves nothing",
    ),
    key(
        "deviceCode",
        Default("true"),
        &Shape::Flag,
        "whether a login by device code is enough. With `false` also one of which that is unknown is refused: \
         `providers[].deviceCode` of jit-frontend's config.yaml tells them apart",
    ),
]);

const BREAK_GLASS: Object = object(&[
    key(
        "after",
        Must,
        &Shape::Text(WAIT),
        "how long the request has to wait for an approval first; `0s` for not at all",
    ),
    key("maxDuration", Must, LONG, "the longest window of break-glass access"),
    key(
        "review",
        Must,
        &Shape::Object(&REVIEW),
        "who reviews the access afterwards; where they disagree, a member of `admins` of config.yaml decides",
    ),
]);

const REVIEW: Object = object(&[
    key("groups", Must, GROUPS, "groups whose members review"),
    key("count", Default("1"), COUNT, "how many people have to review"),
    key("within", Must, &Shape::Text(REVIEW_TIME), "how soon after break-glass the review is due, at most `168h`"),
]);

const DENY: Object = object(&[
    key("name", Must, &Shape::Text(NAME), "the name that the denial shows"),
    key("who", May, GROUPS, "whose requests; without it everybody's"),
    key("clusters", May, CLUSTERS, "in which clusters; without it in all"),
    key(
        "namespaces",
        May,
        NAMESPACES,
        "names, globs and label selectors; without it all namespaces. A request for the whole cluster reaches every namespace",
    ),
    key(
        "clusterWide",
        May,
        &Shape::Flag,
        "true for requests for the whole cluster only, false for all others; without it both",
    ),
    key("roles", May, ROLES, "requested roles, by name; without it every request"),
    key("why", Must, &Shape::Text(SENTENCE), "the reason that the requester is shown"),
]);

const LIMITS: Object = object(&[
    key("pending", May, &Shape::Whole(1, 1000), "how many pending requests one person may have; without it no limit"),
    key("live", May, &Shape::Whole(1, 1000), "how many live grants one person may have; without it no limit"),
    key(
        "perHour",
        May,
        &Shape::Whole(1, 1000),
        "how many requests one person may make in an hour; without it no limit",
    ),
    key(
        "afterDenial",
        Default("1h"),
        &Shape::Text(WAIT),
        "how long after a denial the requester gets the same access, or wider access, neither by break-glass nor \
         pre-approved; `0s` turns this off",
    ),
]);

const CASE: Object = object(&[
    key("name", Must, &Shape::Text(NAME), "what the test shows"),
    key("person", Must, &Shape::Text(PERSON), "the requester"),
    key("groups", Must, &Shape::List(&Shape::Text(GROUP), 0), "the requester's groups"),
    key("ask", Must, &Shape::Object(&CASE_ASK), "the request"),
    key("now", May, &Shape::Text(TIMESTAMP), "the time of the request; without it 1970-01-01T00:00:00Z"),
    key(
        "labels",
        May,
        &Shape::Map(NAMESPACE, &Shape::Map(WORD, TEXT)),
        "the labels of namespaces; a namespace that is not listed has unknown labels",
    ),
    key("roleRules", May, &Shape::List(&Shape::Object(&RBAC_RULE), 0), "the rules of the requested role, for its risk"),
    key("outcome", Must, &Shape::Word(&["ask", "preApproved", "deny"]), "the expected outcome"),
    key("rule", May, &Shape::Text(NAME), "the rule, denial or guardrail that must decide"),
    key(
        "says",
        May,
        &Shape::Either(&Shape::Text(SENTENCE), &Shape::List(&Shape::Text(SENTENCE), 1)),
        "text, or texts, that the sentences of `jitd policy explain` must contain, such as `break-glass at once, for 30m`",
    ),
]);

const CASE_ASK: Object = Object {
    keys: &[
        key("cluster", Must, &Shape::Text(CLUSTER), "the cluster"),
        key("namespaces", May, &Shape::List(&Shape::Text(NAMESPACE), 1), "the namespaces"),
        key("clusterWide", May, &Shape::True, "the whole cluster"),
        key("role", May, &Shape::Text(ROLE), "a role"),
        key("rules", May, &Shape::List(&Shape::Object(&EXACT_RULE), 1), "exact rules"),
        key("for", Must, LONG, "how long"),
        key("reason", Must, &Shape::Text(REASON), "why"),
        key("fields", May, &Shape::Map(FIELD_NAME, &Shape::Text(FIELD_VALUE)), "the further fields"),
        key("at", May, &Shape::Text(TIMESTAMP), "the start time"),
    ],
    one_of: &[&["namespaces", "clusterWide"], &["role", "rules"]],
};

// ---- guardrails.yaml ----

const GUARDRAILS: Shape = Shape::Object(&object(&[
    key("maxDuration", Default("24h"), LONG, "the longest window that any rule may allow"),
    key("maxTotal", Default("24h"), LONG, "the longest window with extensions"),
    key("never", May, &Shape::Object(&NEVER), "what no rule can allow"),
    key("maxRisk", Default("critical"), SEVERITY, "a request of a higher risk is refused"),
    key(
        "clusterWide",
        Default("{approvers: 2}"),
        &Shape::Object(&CLUSTER_WIDE),
        "what access to a whole cluster needs",
    ),
    key(
        "risks",
        Default("[]"),
        &Shape::List(&Shape::Object(&RISK), 0),
        "additional approval steps, and recordings, for classes of risk",
    ),
    key(
        "classify",
        Default("[]"),
        &Shape::List(&Shape::Object(&CLASSIFY), 0),
        "the severity of rights that the catalogue does not know (risk E60 becomes E78); the first entry that names one counts",
    ),
    key("record", Default("off"), RECORD, "the least that is recorded, whatever `record` of a rule says"),
    key(
        "refuse",
        Default("[]"),
        REFUSE,
        "what the gateway refuses of every grant, in addition to `refuse` of its rule",
    ),
    key(
        "keepSessions",
        May,
        &Shape::Text(KEEP),
        "how long the gateway keeps the log and the recordings of a grant after its end, such as `90d` or `12h`; without it \
         forever. They are deleted within minutes then, also those of grants that ended before this was written, and the \
         audit trail says when and how much",
    ),
]));

const CLASSIFY: Object = object(&[
    key("group", Must, &Shape::Text(API_GROUP), "an API group that is not one of Kubernetes itself"),
    key(
        "resources",
        Must,
        &Shape::List(&Shape::Text(RESOURCE), 1),
        "resources, with subresources such as `widgets/status`; `\"*\"` is all of the group",
    ),
    key("verbs", Must, &Shape::List(&Shape::Word(COMMON_VERBS), 1), "verbs"),
    key(
        "severity",
        Must,
        &Shape::Word(CLASSES),
        "the severity in the whole cluster; in an ordinary namespace one class lower",
    ),
    key("reason", Must, &Shape::Text(SENTENCE), "why, for approvers"),
]);

const NEVER: Object = object(&[
    key("roles", Default("[cluster-admin]"), &Shape::List(&Shape::Text(GLOB), 0), "names and globs of roles"),
    key(
        "namespaces",
        Default("[kube-system, kube-public, kube-node-lease]"),
        &Shape::List(&Shape::Text(NAMESPACE_PATTERN), 0),
        "names and globs of namespaces",
    ),
]);

const CLUSTER_WIDE: Object =
    object(&[key("approvers", Must, COUNT, "the minimum number of people who have to approve")]);

const RISK: Object = Object {
    keys: &[
        key("severity", May, SEVERITY, "this severity and higher ones"),
        key("ids", May, &Shape::List(&Shape::Text(RISK_ID), 1), "any of these risks, listed in RISKS below"),
        key("step", May, &Shape::Object(&STEP), "who has to approve in addition; either this or `record` is required"),
        key("record", May, RECORD, "the least that is recorded of such access, whatever `record` of a rule says"),
    ],
    one_of: &[&["severity", "ids"]],
};

#[cfg(test)]
mod tests {
    use super::super::{Drift, Guardrails, Limits, Policy};
    use super::*;

    const LEAST: &str = "rules: [{name: a, who: [b], clusters: [c], namespaces: [d], roles: [view], maxDuration: 1h, \
        approval: [{groups: [e]}], breakGlass: {after: 1h, maxDuration: 5m, review: {groups: [e], within: 1h}}, \
        fields: [{name: f, type: text}], reason: {prompt: why}, login: {amr: [otp]}}]";

    /// If a key is absent, the parser uses the documented default.
    #[test]
    fn a_documented_default_is_the_one_in_force() {
        let policy = Policy::read(LEAST, None).unwrap();
        let [rule] = policy.rules.as_slice() else { panic!("one rule") };
        let (limits, usual) = (Limits::default(), Guardrails::default());
        let globs = |globs: &[Glob]| globs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let written = |list: String| format!("[{list}]");
        let review = &rule.break_glass.as_ref().unwrap().review;
        let in_force = [
            (Source::Policy, "deny", written(String::new())),
            (Source::Policy, "tests", written(String::new())),
            (Source::Policy, "rules[].clusterWide", rule.cluster_wide.to_string()),
            (Source::Policy, "rules[].narrow", rule.narrow.to_string()),
            (Source::Policy, "rules[].drift", if rule.drift == Drift::Revoke { "revoke" } else { "warn" }.to_owned()),
            (Source::Policy, "rules[].record", rule.sessions.record.as_str().to_owned()),
            (Source::Policy, "rules[].recordInput", rule.sessions.record_input.to_string()),
            (Source::Policy, "rules[].refuse", written(String::new())),
            (Source::Policy, "rules[].reason.minLength", rule.reason.as_ref().unwrap().min_length.max(1).to_string()),
            (Source::Policy, "rules[].fields[].required", rule.fields.iter().any(|field| field.required).to_string()),
            (Source::Policy, "rules[].fields[].private", rule.fields.iter().any(|field| field.is_private).to_string()),
            (Source::Policy, "rules[].approval[].count", rule.steps.first().unwrap().count.to_string()),
            (Source::Policy, "rules[].breakGlass.review.count", review.steps.first().unwrap().count.to_string()),
            (Source::Policy, "rules[].login.deviceCode", (!rule.login.as_ref().unwrap().no_device_code).to_string()),
            (Source::Policy, "limits.afterDenial", limits.after_denial.unwrap().to_string()),
            (Source::Guardrails, "maxDuration", usual.max_duration.to_string()),
            (Source::Guardrails, "maxTotal", usual.max_total.to_string()),
            (Source::Guardrails, "never.roles", written(globs(&usual.never_roles))),
            (Source::Guardrails, "never.namespaces", written(globs(&usual.never_namespaces))),
            (Source::Guardrails, "maxRisk", usual.max_risk.to_string()),
            (Source::Guardrails, "clusterWide", format!("{{approvers: {}}}", usual.cluster_wide_approvers)),
            (Source::Guardrails, "risks", written(String::new())),
            (Source::Guardrails, "classify", written(String::new())),
            (Source::Guardrails, "record", usual.record.as_str().to_owned()),
            (Source::Guardrails, "refuse", written(String::new())),
            // A step of a guardrail has the same form as a step of a rule.
            (Source::Guardrails, "risks[].step.count", rule.steps.first().unwrap().count.to_string()),
        ];
        assert!(
            policy.deny.is_empty() && policy.cases.is_empty() && usual.risks.is_empty() && usual.classified.is_empty()
        );
        assert!(usual.risks_recorded.is_empty() && usual.refuse.is_empty() && rule.sessions.is_usual());
        assert_eq!((limits.pending, limits.live, limits.per_hour), (None, None, None));
        let documented: Vec<(Source, String, String)> = [Source::Policy, Source::Guardrails]
            .into_iter()
            .flat_map(|source| keys(source).into_iter().map(move |key| (source, key)))
            .filter_map(|(source, key)| match key.need {
                Presence::Default(text) => Some((source, key.path, text.to_owned())),
                Presence::Must | Presence::May => None,
            })
            .collect();
        let in_force: Vec<_> = in_force.map(|(source, path, value)| (source, path.to_owned(), value)).into();
        let missing: Vec<_> = documented.iter().filter(|one| !in_force.contains(one)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(documented.len(), in_force.len());
    }
}
