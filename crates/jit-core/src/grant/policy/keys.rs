//! The keys of `policy.yaml` and `guardrails.yaml`: each with its form and what it is for. `parse.rs` reads
//! by these names, `jitd policy schema` prints them, and there is no other list of them.
//!
//! Only tables; what a key means is decided in `parse.rs`.

use super::Source;
use super::pattern::{Glob, NamespacePattern, Selector, regex};
use super::schema::Need::{May, Must};
use super::schema::{Format, Key, KeyDoc, Need, Object, Path, Shape};
use super::step::{Day, TimeOfDay, Zone};
use crate::grant::request::{
    ClusterName, FieldName, FieldValue, Malformed, Namespace, PersonName, Reason, ReviewTime, RoleRef, Window,
};
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

/// The keys of a file, each above those below it, for the manual.
#[must_use]
pub fn keys(source: Source) -> Vec<KeyDoc> {
    let mut told = Vec::new();
    of(source).tell(&Path::default(), &mut told);
    told
}

const fn key(name: &'static str, need: Need, shape: &'static Shape, about: &'static str) -> Key {
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
    check: |text| printable(text, 80, "1 to 80 printable characters, people read it in every decision"),
};
const SENTENCE: Format = Format {
    name: "sentence",
    pattern: "^.{1,500}$",
    check: |text| printable(text, 500, "1 to 500 printable characters"),
};
const GROUP: Format = Format {
    name: "group",
    pattern: "^.{1,100}$",
    check: |text| printable(text, 100, "the name of a group as the host or the configuration has it"),
};
const CLUSTER: Format = Format { name: "cluster", pattern: LABEL, check: is::<ClusterName> };
const NAMESPACE: Format = Format { name: "namespace", pattern: LABEL, check: is::<Namespace> };
const NAMESPACE_PATTERN: Format =
    Format { name: "namespace or glob", pattern: "^[a-z0-9*?-]{1,63}$", check: fits::<NamespacePattern> };
const SELECTOR: Format = Format { name: "label selector", pattern: ".", check: fits::<Selector> };
const ROLE: Format = Format { name: "role", pattern: "^[A-Za-z0-9:._/-]{1,265}$", check: is::<RoleRef> };
const GLOB: Format = Format { name: "name or glob", pattern: "^[A-Za-z0-9:._/*?-]{1,253}$", check: fits::<Glob> };
const PERSON: Format = Format { name: "person", pattern: "^[^:/-][^:/]{0,764}$", check: is::<PersonName> };
const REASON: Format = Format { name: "reason", pattern: "^.{1,500}$", check: is::<Reason> };
const DURATION: Format =
    Format { name: "duration", pattern: "^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$", check: is::<Window> };
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
        _ if text.is_empty() => Err("an empty one matches everything, leave the key out".to_owned()),
        Ok(_) => Ok(()),
        // The last line of the library's message is the sentence; the ones before draw the place.
        Err(error) => {
            Err(error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
        }
    },
};
const FIELD_NAME: Format = Format { name: "field's name", pattern: "^[a-z0-9_-]{1,40}$", check: is::<FieldName> };
const FIELD_VALUE: Format = Format { name: "field's value", pattern: "^.{1,200}$", check: is::<FieldValue> };
const RISK_ID: Format = Format {
    name: "risk",
    pattern: "^E[0-9]+$",
    check: |text| text.parse::<RiskId>().map(drop).map_err(|_| "an id of the risk catalogue, such as E25".to_owned()),
};
const TIMESTAMP: Format = Format {
    name: "moment",
    pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+$",
    check: |text| {
        text.parse::<jiff::Timestamp>().map(drop).map_err(|_| "write it like 2026-11-23T18:00:00Z".to_owned())
    },
};
const WORD: Format = Format { name: "word", pattern: "", check: |_| Ok(()) };
const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

const TEXT: &Shape = &Shape::Text(WORD);
const WORDS: &Shape = &Shape::List(TEXT, 0);
const GROUPS: &Shape = &Shape::List(&Shape::Text(GROUP), 1);
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

// ---- policy.yaml ----

const POLICY: Shape = Shape::Object(&object(&[
    key(
        "rules",
        Must,
        &Shape::List(&Shape::Object(&RULE), 0),
        "who may ask for what; the first rule that fits decides",
    ),
    key("deny", May, &Shape::List(&Shape::Object(&DENY), 0), "what is denied by name, tried before the rules"),
    key("limits", May, &Shape::Object(&LIMITS), "how much one person may ask for"),
    key(
        "tests",
        May,
        &Shape::List(&Shape::Object(&CASE), 0),
        "questions and the answers they have to get; `jitd policy test` asks them",
    ),
]));

const RULE: Object = Object {
    keys: &[
        key("name", Must, &Shape::Text(NAME), "a name that people read in every decision"),
        key("who", Must, GROUPS, "groups, any of which may ask"),
        key("clusters", Must, CLUSTERS, "the clusters it is for"),
        key("namespaces", May, NAMESPACES, "names, globs with * and ?, and label selectors"),
        key("clusterWide", May, &Shape::Flag, "whether it also gives the whole cluster"),
        key("roles", May, ROLES, "ClusterRoles, or role/NAME for a Role of the namespace"),
        key(
            "rules",
            May,
            &Shape::List(&Shape::Object(&RBAC_RULE), 1),
            "a ceiling: exact rules below it may be asked instead of a role",
        ),
        key(
            "narrow",
            May,
            &Shape::Flag,
            "whether an approver may cut a role down to some of its rules; the daemon then has to hold the role",
        ),
        key("maxDuration", Must, LONG, "the longest access, such as 10m"),
        key("maxTotal", May, LONG, "the longest access with extensions; without it maxDuration"),
        key(
            "reason",
            May,
            &Shape::Either(&Shape::Text(REGEX), &Shape::Object(&REASON_RULE)),
            "what a reason has to look like",
        ),
        key("fields", May, &Shape::List(&Shape::Object(&FIELD), 1), "more that has to be told when asking"),
        key(
            "approval",
            May,
            &Shape::List(&Shape::Object(&STEP), 1),
            "steps that all have to hold, each met by people of any of its groups",
        ),
        key("preApproved", May, &Shape::True, "nobody is asked"),
        key("pending", May, LONG, "how long an answer is waited for"),
        key("collect", May, LONG, "how long an approval waits to be collected"),
        key(
            "certificate",
            May,
            LONG,
            "the longest life of one certificate; as long as maxDuration, clients that ask for one only once work to the end",
        ),
        key(
            "startWithin",
            May,
            LONG,
            "how far ahead the start may lie; without it the access starts when it is collected",
        ),
        key("drift", May, &Shape::Word(&["revoke", "warn"]), "what happens when the role changes under a live grant"),
        key("breakGlass", May, &Shape::Object(&BREAK_GLASS), "access without an answer, reviewed afterwards"),
    ],
    one_of: &[&["approval", "preApproved"]],
};

const RBAC_RULE: Object = object(&[
    key("apiGroups", May, WORDS, "API groups; \"\" is the core group"),
    key("resources", May, WORDS, "resources, with subresources as pods/log"),
    key("resourceNames", May, WORDS, "only objects of these names"),
    key("nonResourceURLs", May, WORDS, "URL paths outside the resources"),
    key("verbs", Must, &Shape::List(TEXT, 1), "verbs"),
]);

/// Exact rules are about resources only.
const EXACT_RULE: Object = object(&[
    key("apiGroups", Must, &Shape::List(TEXT, 1), "API groups; \"\" is the core group"),
    key("resources", Must, &Shape::List(TEXT, 1), "resources, with subresources as pods/log"),
    key("resourceNames", May, WORDS, "only objects of these names"),
    key("verbs", Must, &Shape::List(TEXT, 1), "verbs"),
]);

const REASON_RULE: Object = object(&[
    key("pattern", May, &Shape::Text(REGEX), "a regular expression that the reason matches"),
    key("minLength", May, &Shape::Whole(1, 500), "the least number of characters"),
    key("prompt", May, &Shape::Text(SENTENCE), "what the person who asks is asked"),
]);

const FIELD: Object = object(&[
    key("name", Must, &Shape::Text(FIELD_NAME), "the field's name, a-z 0-9 _ - up to 40"),
    key("type", Must, &Shape::Word(&["text", "number", "url", "choice"]), "text, number, url or choice"),
    key("pattern", May, &Shape::Text(REGEX), "a regular expression that the value matches"),
    key("choices", May, &Shape::List(&Shape::Text(FIELD_VALUE), 1), "the values there are, for the type choice"),
    key("required", May, &Shape::Flag, "whether it has to be told"),
    key("prompt", May, &Shape::Text(SENTENCE), "what the person who asks is asked"),
]);

const STEP: Object = object(&[
    key("groups", Must, GROUPS, "groups whose members may agree"),
    key("count", May, COUNT, "how many people have to; without it one"),
    key("hours", May, &Shape::Object(&HOURS), "when their yes counts"),
]);

const HOURS: Object = object(&[
    key("days", Must, &Shape::List(&Shape::Word(Day::WORDS), 1), "mon, tue, wed, thu, fri, sat, sun"),
    key("from", Must, &Shape::Text(TIME_OF_DAY), "the first minute, such as \"08:00\""),
    key("to", Must, &Shape::Text(TIME_OF_DAY), "the minute after the last, such as \"18:00\""),
    key("zone", Must, &Shape::Text(ZONE), "a time zone, such as Europe/Berlin"),
]);

const BREAK_GLASS: Object = object(&[
    key("after", Must, &Shape::Text(WAIT), "how long an answer is waited for first; 0s is not at all"),
    key("maxDuration", Must, LONG, "the longest access of this kind"),
    key("review", Must, &Shape::Object(&REVIEW), "who looks at it afterwards"),
]);

const REVIEW: Object = object(&[
    key("groups", Must, GROUPS, "groups whose members review"),
    key("count", May, COUNT, "how many people have to; without it one"),
    key("within", Must, &Shape::Text(REVIEW_TIME), "how soon after break-glass was used, at most 168h"),
]);

const DENY: Object = object(&[
    key("name", Must, &Shape::Text(NAME), "a name that people read when it denies"),
    key("who", May, GROUPS, "groups; without it everybody"),
    key("clusters", May, CLUSTERS, "clusters; without it all"),
    key(
        "namespaces",
        May,
        NAMESPACES,
        "names, globs and label selectors; without it all. A request for the whole cluster reaches every namespace",
    ),
    key("clusterWide", May, &Shape::Flag, "true for requests for the whole cluster only, false for none of them"),
    key("roles", May, ROLES, "roles that are asked for by name; without it every request"),
    key("why", Must, &Shape::Text(SENTENCE), "what the person is told"),
]);

const LIMITS: Object = object(&[
    key("pending", May, &Shape::Whole(1, 1000), "open requests of one person that nobody answered yet"),
    key("live", May, &Shape::Whole(1, 1000), "grants of one person that work at the same time"),
    key("perHour", May, &Shape::Whole(1, 1000), "requests of one person in an hour"),
    key(
        "afterDenial",
        May,
        &Shape::Text(WAIT),
        "how long after a denial the person gets the same, or more, neither by break-glass nor pre-approved; without it 1h, \
         0s is not at all",
    ),
]);

const CASE: Object = object(&[
    key("name", Must, &Shape::Text(NAME), "what the case shows"),
    key("person", Must, &Shape::Text(PERSON), "who asks"),
    key("groups", Must, &Shape::List(&Shape::Text(GROUP), 0), "the groups that they are in"),
    key("ask", Must, &Shape::Object(&CASE_ASK), "what they ask for"),
    key("now", May, &Shape::Text(TIMESTAMP), "when"),
    key("labels", May, &Shape::Map(NAMESPACE, &Shape::Map(WORD, TEXT)), "the labels of namespaces"),
    key("roleRules", May, &Shape::List(&Shape::Object(&RBAC_RULE), 0), "the rules of the asked role"),
    key("outcome", Must, &Shape::Word(&["ask", "preApproved", "deny"]), "what has to come out"),
    key("rule", May, &Shape::Text(NAME), "the rule, denial or guardrail that has to decide"),
    key(
        "says",
        May,
        &Shape::Either(&Shape::Text(SENTENCE), &Shape::List(&Shape::Text(SENTENCE), 1)),
        "text, or texts, that the sentences of `jitd policy explain` have to contain, such as `break-glass at once, for 30m`",
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
        key("fields", May, &Shape::Map(FIELD_NAME, &Shape::Text(FIELD_VALUE)), "more that is told"),
        key("at", May, &Shape::Text(TIMESTAMP), "when it is to start"),
    ],
    one_of: &[&["namespaces", "clusterWide"], &["role", "rules"]],
};

// ---- guardrails.yaml ----

const GUARDRAILS: Shape = Shape::Object(&object(&[
    key("maxDuration", May, LONG, "the longest access that any rule may give"),
    key("maxTotal", May, LONG, "the longest access with extensions"),
    key("never", May, &Shape::Object(&NEVER), "what is never given"),
    key("maxRisk", May, SEVERITY, "a request that is judged worse is refused"),
    key("clusterWide", May, &Shape::Object(&CLUSTER_WIDE), "what access to a whole cluster takes"),
    key("risks", May, &Shape::List(&Shape::Object(&RISK), 0), "stricter steps for classes of risk"),
]));

const NEVER: Object = object(&[
    key("roles", May, &Shape::List(&Shape::Text(GLOB), 0), "names and globs of roles"),
    key("namespaces", May, &Shape::List(&Shape::Text(NAMESPACE_PATTERN), 0), "names and globs of namespaces"),
]);

const CLUSTER_WIDE: Object = object(&[key("approvers", Must, COUNT, "how many people at least")]);

const RISK: Object = Object {
    keys: &[
        key("severity", May, SEVERITY, "this severity and worse"),
        key("ids", May, &Shape::List(&Shape::Text(RISK_ID), 1), "any of these risks"),
        key("step", Must, &Shape::Object(&STEP), "who has to agree then"),
    ],
    one_of: &[&["severity", "ids"]],
};
