//! Requests and requesters: each word of a request is parsed once, here, into a type that cannot hold anything invalid.
//!
//! None of these types can hold a name that begins with `system:`, so no later step can put one into a certificate or a
//! binding of a grant. Nothing here reads a clock, a file or the network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::login::Flow;
use super::refusal::{Code, Refusal};
use crate::rbac::digest::sha256_hex;
use crate::rbac::word::{dns_label, word};
use crate::rbac::{self, Rule};

pub use crate::rbac::{Malformed, Namespace, Namespaces, Scope};

/// A request: a role, or exact rules, in one scope of one cluster, for a time, for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRequest {
    /// The cluster, by its name in the daemon's configuration.
    pub cluster: ClusterName,
    /// Some namespaces, or the whole cluster.
    pub scope: Scope,
    /// What may be done there.
    pub access: Access,
    /// How long the access lasts once it is live.
    pub window: Window,
    /// Why, in the requester's words.
    pub reason: Reason,
    /// The further fields that the rule requires, such as a ticket.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<FieldName, FieldValue>,
    /// The time from which it may be collected; absent for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
}

impl AccessRequest {
    /// Checks that a new request does not begin in the past; a minute is for clocks that differ.
    ///
    /// # Errors
    /// The refusal.
    pub fn begins_in_time(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.start {
            Some(start) if after(start, SignedDuration::from_mins(1)) < now => {
                let why = format!("the start {start:.0} is in the past");
                Err(Refusal::new(Code::PolicyDenied, why).hint("leave the start out for access at once"))
            }
            _ => Ok(()),
        }
    }
}

/// A person as the host knows them now, with all groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name; two accounts of one person have the same name.
    pub name: PersonName,
    /// The groups on the host, or those declared in the configuration.
    pub groups: BTreeSet<String>,
    /// The login; `None` if nobody logged in, and for people who are only looked up.
    pub login: Option<Login>,
}

/// The account with which somebody logged in, whatever account they switched to since: sudo and su do not change it. It
/// gives nobody a right; it only keeps one human from counting as two people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LoginFields", into = "LoginFields")]
pub enum Login {
    /// With this account.
    Account {
        /// The login uid of the kernel's audit.
        uid: u32,
        /// The person of that account; `None` for root's and for an unknown person's.
        person: Option<PersonName>,
    },
    /// The kernel records logins, but this one could not be read: the caller had exited, or is hidden from the daemon.
    /// It might be anybody's.
    Unknowable,
    /// At an identity provider; the caller came through `jit-frontend`.
    Provider(Box<ProviderLogin>),
}

/// What the ID token of a login said, as `jit-frontend` verified it. The token itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderLogin {
    /// The provider (`iss`). With the subject it is the person's identity: two logins are one person's exactly if both
    /// are equal, byte by byte.
    pub issuer: String,
    /// The person at the provider (`sub`).
    pub subject: String,
    /// How the person proved who they are, in the provider's words (`acr`, OpenID Connect Core 1.0 section 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The methods of that proof (`amr`, RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// When the person proved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Timestamp>,
    /// When the token was issued (`iat`); absent in older trails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Timestamp>,
    /// The login at the provider, which its logout tokens name (`sid`, OpenID Connect Back-Channel Logout 1.0 section 2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// By which way the person logged in, if that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
    /// The provider's key that signed the token (`kid`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// SHA-256 of the token, hex.
    pub token_sha256: String,
}

impl Login {
    /// The login uid, if it is known.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Account { uid, .. } => Some(*uid),
            Self::Unknowable | Self::Provider(_) => None,
        }
    }

    /// The person of the account, if one is known.
    #[must_use]
    pub fn person(&self) -> Option<&PersonName> {
        match self {
            Self::Account { person, .. } => person.as_ref(),
            Self::Unknowable | Self::Provider(_) => None,
        }
    }

    /// The login, if it was at an identity provider.
    #[must_use]
    pub fn provider(&self) -> Option<&ProviderLogin> {
        match self {
            Self::Provider(login) => Some(login),
            Self::Account { .. } | Self::Unknowable => None,
        }
    }

    /// Issuer and subject, if the login was at an identity provider.
    #[must_use]
    pub fn identity(&self) -> Option<(&str, &str)> {
        self.provider().map(|login| (login.issuer.as_str(), login.subject.as_str()))
    }

    /// When the provider issued the token of the login.
    #[must_use]
    pub fn issued(&self) -> Option<Timestamp> {
        match self {
            Self::Provider(login) => login.issued,
            Self::Account { .. } | Self::Unknowable => None,
        }
    }
}

/// The JSON form of a login: `{"uid":1003,"person":"carol"}`, `{"unknown":true}` or `{"provider":{"issuer":…}}`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoginFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<PersonName>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unknown: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<Box<ProviderLogin>>,
}

impl From<Login> for LoginFields {
    fn from(login: Login) -> Self {
        let none = Self { uid: None, person: None, unknown: false, provider: None };
        match login {
            Login::Account { uid, person } => Self { uid: Some(uid), person, ..none },
            Login::Unknowable => Self { unknown: true, ..none },
            Login::Provider(login) => Self { provider: Some(login), ..none },
        }
    }
}

impl TryFrom<LoginFields> for Login {
    type Error = &'static str;
    fn try_from(fields: LoginFields) -> Result<Self, Self::Error> {
        match fields {
            LoginFields { uid: Some(uid), person, unknown: false, provider: None } => Ok(Self::Account { uid, person }),
            LoginFields { uid: None, person: None, unknown: true, provider: None } => Ok(Self::Unknowable),
            LoginFields { uid: None, person: None, unknown: false, provider: Some(login) } => Ok(Self::Provider(login)),
            _ => Err("a login has a `uid`, or is `unknown`, or has a `provider`"),
        }
    }
}

impl Person {
    /// Whether both may be the same human: they are the same person, one logged in as the other, or both logged in as
    /// the same person or with the same identity at a provider.
    #[must_use]
    pub fn may_be(&self, other: &PersonName, login: Option<&Login>) -> bool {
        // Somebody who was declared between the two acts has two names.
        let identity = self.login.as_ref().and_then(Login::identity);
        if identity.is_some() && identity == login.and_then(Login::identity) {
            return true;
        }
        let ours = [Some(&self.name), self.login.as_ref().and_then(Login::person)];
        let theirs = [Some(other), login.and_then(Login::person)];
        ours.iter().flatten().any(|name| theirs.iter().flatten().any(|other| name == other))
    }

    /// Whether the person is in at least one of `groups`.
    #[must_use]
    pub fn is_in_any(&self, groups: &[impl AsRef<str>]) -> bool {
        groups.iter().any(|group| self.groups.contains(group.as_ref()))
    }
}

word!(
    /// A person's name: the name of their account, 1 to 255 bytes, in whatever form the host allows.
    ///
    /// Bytes that a certificate, a path or a terminal could misinterpret are written as `%` and two hex digits: `:`,
    /// `/` and `%` themselves, invalid UTF-8, control characters, characters that change direction or are invisible,
    /// white space other than a space between other characters, and a leading `-`. Therefore a name contains no colon
    /// and cannot begin with `system:`, and names and accounts correspond one to one.
    PersonName,
    |text| {
        let account = unescaped(text).unwrap_or_default();
        if (1..=255).contains(&account.len()) && escaped(&account) == *text {
            Ok(())
        } else {
            Err(Malformed::new(
                "person",
                text,
                "a name is an account's, of 1 to 255 bytes, with %XX for `%` and for each byte that is not shown as text",
            ))
        }
    }
);

/// The written form of an account's name.
fn escaped(account: &[u8]) -> String {
    let mut text = String::new();
    for chunk in account.utf8_chunks() {
        for c in chunk.valid().chars() {
            let is_plain = match c {
                ' ' | '-' => !text.is_empty(),
                ':' | '/' | '%' => false,
                c => !c.is_control() && !c.is_whitespace() && !is_invisible(c),
            };
            if is_plain { text.push(c) } else { escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()) }
        }
        escape(&mut text, chunk.invalid());
    }
    match text.strip_suffix(' ') {
        Some(before) => format!("{before}%20"),
        None => text,
    }
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("%{byte:02X}"));
    }
}

/// The account's name for a written form; `None` if it is malformed.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut account = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        account.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(account)
}

impl PersonName {
    /// The name of an account of the host.
    ///
    /// # Errors
    /// [`Malformed`] if it is empty or too long.
    pub fn of_account(account: &[u8]) -> Result<Self, Malformed> {
        escaped(account).parse()
    }

    /// The account's name, as on the host.
    #[must_use]
    pub fn account(&self) -> Vec<u8> {
        unescaped(&self.0).unwrap_or_default()
    }

    /// The name of root as an author in the trail. No person has it.
    #[must_use]
    pub fn root() -> Self {
        Self("root".into())
    }

    /// Whether this is root's name.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.0 == "root"
    }
}

word!(
    /// A cluster's name in the configuration: a DNS label (RFC 1123).
    ClusterName,
    |text| dns_label("cluster", text)
);

word!(
    /// The name of a Role or ClusterRole: 1 to 253 characters of `A-Z a-z 0-9 : . _ -`, not beginning with `system:`
    /// (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#restrictions-on-role-creation-or-update>:
    /// RBAC names are path segments; we allow less).
    RoleName,
    |text| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_' | '-');
        if text.to_ascii_lowercase().starts_with("system:") {
            return Err(Malformed::new("role", text, "roles of the system itself are never granted"));
        }
        if text.is_empty() || text.len() > 253 || text == "." || text == ".." || !text.chars().all(legal) {
            return Err(Malformed::new(
                "role",
                text,
                "must be 1 to 253 characters (A-Z a-z 0-9 : . _ -); write role/NAME for a Role of the namespace",
            ));
        }
        Ok(())
    }
);

word!(
    /// Why the access is needed: 1 to 500 characters, no control or direction-changing characters.
    Reason,
    |text| {
        if text.trim().is_empty() || text.chars().count() > 500 {
            return Err(Malformed::new("reason", text, "must be 1 to 500 characters, not only spaces"));
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || is_invisible(*c)) {
            return Err(Malformed::new(
                "reason",
                text,
                format!("contains the character U+{:04X}, which a terminal would not show as text", u32::from(bad)),
            ));
        }
        Ok(())
    }
);

/// Characters that change direction or are invisible: a reader would see a different text than the stored one.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E0FFF}')
}

word!(
    /// The name of an additional field in a rule of the policy: 1 to 40 characters of `a-z 0-9 _ -`.
    FieldName,
    |text| {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if (1..=40).contains(&text.len()) && text.chars().all(legal) {
            Ok(())
        } else {
            Err(Malformed::new("field", text, "a field's name must be 1 to 40 characters (a-z 0-9 _ -)"))
        }
    }
);

word!(
    /// The value of such a field: 1 to 200 characters, no control or direction-changing characters.
    FieldValue,
    |text| {
        let count = text.chars().count();
        if !(1..=200).contains(&count) || text.trim().is_empty() {
            return Err(Malformed::new("field", text, "must be 1 to 200 characters"));
        }
        if text.chars().any(|c| c.is_control() || is_invisible(c)) {
            return Err(Malformed::new("field", text, "contains a character that a terminal would not show as text"));
        }
        Ok(())
    }
);

impl RoleName {
    /// The Role that a grant of exact rules owns; it is named like the grant's binding.
    pub(super) fn owned_by(id: &super::GrantId) -> Self {
        Self(id.binding_name().into())
    }

    /// The ClusterRole that lets the gateway act as the holder of a grant.
    pub(super) fn of_gateway(id: &super::GrantId) -> Self {
        Self(id.gateway_name().into())
    }

    /// The ClusterRole that lets the gateway act as somebody in a place.
    pub(super) fn gateway_on(host: &str) -> Self {
        Self(super::names::gateway_on_role(host).into())
    }
}

/// What is allowed: an existing role, or exact rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// What this role allows.
    Role(RoleRef),
    /// These rules, in a Role that the grant owns and that ends with it.
    Rules(ExactRules),
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(f, "role {role}"),
            Self::Rules(rules) => {
                let rules: Vec<String> = rules.as_slice().iter().map(ToString::to_string).collect();
                write!(f, "exactly {}", rules.join("; "))
            }
        }
    }
}

/// Rules that are requested one by one: 1 to 20, in canonical order, only about resources, without `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Rule>", into = "Vec<Rule>")]
pub struct ExactRules(Vec<Rule>);

impl ExactRules {
    /// The rules in canonical order.
    #[must_use]
    pub fn as_slice(&self) -> &[Rule] {
        &self.0
    }
}

impl TryFrom<Vec<Rule>> for ExactRules {
    type Error = Malformed;
    fn try_from(mut rules: Vec<Rule>) -> Result<Self, Malformed> {
        let fault = |value: &str, why: &str| Err(Malformed::new("rules", value, why));
        if !(1..=20).contains(&rules.len()) {
            return fault(&rules.len().to_string(), "must be 1 to 20 rules");
        }
        for rule in &rules {
            if rule.verbs.is_empty() || rule.resources.is_empty() || rule.api_groups.is_empty() {
                return fault(&rule.to_string(), "each rule must have `verbs`, `apiGroups` and `resources`");
            }
            if !rule.non_resource_urls.is_empty() {
                return fault(&rule.to_string(), "non-resource URLs cannot be requested as rules; request a role");
            }
            let lists = [&rule.verbs, &rule.api_groups, &rule.resources, &rule.resource_names];
            if lists.iter().any(|list| list.len() > 50) {
                return fault(&rule.to_string(), "at most 50 words in each list");
            }
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
            let is_word = |word: &String| word.len() <= 253 && word.chars().all(legal);
            if !lists.into_iter().flatten().all(is_word) {
                return fault(&rule.to_string(), "write exact names: letters, digits and . - _ / :, no `*`");
            }
            let empty = |list: &[String]| list.iter().any(String::is_empty);
            if empty(&rule.verbs) || empty(&rule.resources) || empty(&rule.resource_names) {
                return fault(&rule.to_string(), "contains an empty string");
            }
        }
        rbac::canonical(&mut rules);
        Ok(Self(rules))
    }
}

impl From<ExactRules> for Vec<Rule> {
    fn from(rules: ExactRules) -> Self {
        rules.0
    }
}

/// An existing role. Written `view` or `clusterrole/view` for a ClusterRole, `role/NAME` for a Role of the requested
/// namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RoleRef {
    /// A ClusterRole; if it is bound in a namespace, it applies only there.
    ClusterRole(RoleName),
    /// A Role of the requested namespace.
    Role(RoleName),
}

impl RoleRef {
    /// The role's name without its kind.
    #[must_use]
    pub fn name(&self) -> &RoleName {
        match self {
            Self::ClusterRole(name) | Self::Role(name) => name,
        }
    }

    /// `ClusterRole` or `Role`, as in a binding's `roleRef.kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ClusterRole(_) => "ClusterRole",
            Self::Role(_) => "Role",
        }
    }
}

impl FromStr for RoleRef {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.split_once('/') {
            None => Ok(Self::ClusterRole(text.parse()?)),
            Some(("clusterrole", name)) => Ok(Self::ClusterRole(name.parse()?)),
            Some(("role", name)) => Ok(Self::Role(name.parse()?)),
            Some(_) => Err(Malformed::new("role", text, "write NAME, clusterrole/NAME or role/NAME")),
        }
    }
}

impl TryFrom<String> for RoleRef {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<RoleRef> for String {
    fn from(role: RoleRef) -> Self {
        role.to_string()
    }
}

impl fmt::Display for RoleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterRole(name) => write!(f, "{name}"),
            Self::Role(name) => write!(f, "role/{name}"),
        }
    }
}

/// A length of time in whole seconds, from 5 seconds to `LONGEST`, written `90s`, `15m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Length<const LONGEST: u32>(u32);

/// How long access may last, and other times of at most a day.
pub type Window = Length<86_400>;

/// How long a review may take: at most a week, so that access on a Friday night can be reviewed on Monday.
pub type ReviewTime = Length<604_800>;

impl Window {
    /// Five minutes.
    pub const FIVE_MINUTES: Self = Self(300);
    /// Ten minutes.
    pub const TEN_MINUTES: Self = Self(600);
    /// A quarter of an hour.
    pub const QUARTER_OF_AN_HOUR: Self = Self(900);
    /// One hour.
    pub const HOUR: Self = Self(3600);
    /// Eight hours.
    pub const EIGHT_HOURS: Self = Self(8 * 3600);
    /// A day, the maximum.
    pub const DAY: Self = Self(86_400);
}

impl<const LONGEST: u32> Length<LONGEST> {
    /// The minimum.
    pub const LEAST: Self = Self(5);

    /// The length in seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        i64::from(self.0)
    }

    /// The length as a duration.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(self.seconds())
    }
}

/// Parses a duration into seconds: hours, minutes and seconds in this order, each at most once, such as `1h30m`, `15m`
/// or `90s`. All files and command lines use this grammar.
///
/// # Errors
/// `text` is malformed.
pub fn seconds(text: &str) -> Result<u32, Malformed> {
    let malformed = || Malformed::new("duration", text, "write hours, minutes and seconds like 1h30m, 15m or 90s");
    let mut total: u32 = 0;
    let mut digits = String::new();
    let mut last_unit = u32::MAX;
    for c in text.chars() {
        if c.is_ascii_digit() && digits.len() < 6 {
            digits.push(c);
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(malformed()),
        };
        let count: u32 = digits.parse().map_err(|_| malformed())?;
        if unit >= last_unit {
            return Err(malformed());
        }
        last_unit = unit;
        digits.clear();
        total = total.saturating_add(count.saturating_mul(unit));
    }
    if digits.is_empty() && last_unit != u32::MAX { Ok(total) } else { Err(malformed()) }
}

impl<const LONGEST: u32> FromStr for Length<LONGEST> {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        match seconds(text)? {
            short if short < Self::LEAST.0 => Err(Malformed::new("duration", text, "must be at least 5s")),
            long if long > LONGEST => {
                Err(Malformed::new("duration", text, format!("must be at most {}", Self(LONGEST))))
            }
            fits => Ok(Self(fits)),
        }
    }
}

impl<const LONGEST: u32> TryFrom<String> for Length<LONGEST> {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl<const LONGEST: u32> From<Length<LONGEST>> for String {
    fn from(length: Length<LONGEST>) -> Self {
        length.to_string()
    }
}

impl<const LONGEST: u32> fmt::Display for Length<LONGEST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if seconds > 0 || self.0 == 0 {
            write!(f, "{seconds}s")?;
        }
        Ok(())
    }
}

/// The text of any number of seconds, as [`seconds`] parses it.
pub(super) fn written(seconds: i64) -> String {
    Length::<{ u32::MAX }>(u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)).to_string()
}

/// `now` plus `span`, or [`Timestamp::MAX`] if that is out of range.
#[must_use]
pub fn after(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// The public key of a request: SHA-256 over its SubjectPublicKeyInfo in DER, 64 lower-case hex digits.
/// An approval is bound to it; no other key gets the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash of a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn of(info: &[u8]) -> Self {
        Self(sha256_hex(info))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_begin_with_system() {
        for text in ["system:masters", "system:node", "SYSTEM:masters", "System:x"] {
            assert!(text.parse::<PersonName>().is_err(), "{text}");
            assert!(text.parse::<RoleName>().is_err(), "{text}");
            assert!(text.parse::<RoleRef>().is_err(), "{text}");
            assert!(format!("clusterrole/{text}").parse::<RoleRef>().is_err(), "{text}");
            assert!(text.parse::<Namespace>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_is_parsed_as_people_write_it() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5400), ("24h", 86400), ("5s", 5), ("1h1m1s", 3661)]
        {
            let window: Window = text.parse().unwrap();
            assert_eq!(window.seconds(), seconds, "{text}");
            assert_eq!(window.to_string().parse::<Window>().unwrap(), window);
        }
        for text in
            ["", "10", "m", "4s", "25h", "1m1h", "1m1m", "-5m", "1.5h", "10 m", "9999999h", "99999999999999s", "１５m"]
        {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn any_time_that_is_left_is_written_like_a_window() {
        assert_eq!([0, 25, 480, 5400, -1].map(written), ["0s", "25s", "8m", "1h30m", "0s"]);
    }

    #[test]
    fn a_reason_contains_nothing_that_a_terminal_would_interpret() {
        for text in ["", "  ", "a\u{1b}[2J", "a\nb", "x\u{202e}y", "x\u{200b}y", "x\u{7f}"] {
            assert!(text.parse::<Reason>().is_err(), "{text:?}");
        }
        assert!("x".repeat(501).parse::<Reason>().is_err());
        assert!("INC-42 Größe prüfen".parse::<Reason>().is_ok());
    }

    #[test]
    fn a_role_reference_contains_its_kind() {
        assert_eq!("view".parse::<RoleRef>().unwrap().kind(), "ClusterRole");
        assert_eq!("role/deployer".parse::<RoleRef>().unwrap().kind(), "Role");
        for text in ["", "a/b", "role/", "role/a/b", "../x", "a b", "a%2fb", "."] {
            assert!(text.parse::<RoleRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn look_alike_letters_are_rejected_in_a_namespace() {
        assert!("pаyments".parse::<Namespace>().is_err(), "Cyrillic а");
    }

    /// Every account name of a host has a written form, which parses back to the account name.
    #[test]
    fn every_account_has_a_distinct_name() {
        let long = "x".repeat(61);
        for (account, name) in [
            (&b"alice@example.com"[..], "alice@example.com"),
            (b"CORP\\alice", "CORP\\alice"),
            (b"o'brien", "o'brien"),
            ("j.müller".as_bytes(), "j.müller"),
            (b"anna+ops", "anna+ops"),
            (b"svc deploy", "svc deploy"),
            (b"HOST$", "HOST$"),
            (b"_apt", "_apt"),
            (long.as_bytes(), &long),
            (b"daemon:bastion", "daemon%3Abastion"),
            (b"system:masters", "system%3Amasters"),
            (b"../alice", "..%2Falice"),
            (b"50%25", "50%2525"),
            (b"-rf", "%2Drf"),
            (b" alice ", "%20alice%20"),
            (b"a\x1b[31mb\n", "a%1B[31mb%0A"),
            ("bob\u{202e}".as_bytes(), "bob%E2%80%AE"),
            (b"j.m\xfcller", "j.m%FCller"),
            (b"j.m\xf6ller", "j.m%F6ller"),
        ] {
            let found = PersonName::of_account(account).unwrap();
            assert_eq!((found.as_str(), &*found.account()), (name, account));
            assert_eq!(name.parse::<PersonName>().unwrap(), found);
        }
    }

    #[test]
    fn a_name_that_is_not_the_written_form_of_an_account_is_rejected() {
        for text in [
            "",
            "a:b",
            "a/b",
            "-a",
            " a",
            "a ",
            "a%",
            "a%2",
            "a%zz",
            "a%41",
            "a%3a",
            "a\nb",
            "a\u{200b}b",
            &"x".repeat(256),
        ] {
            assert!(text.parse::<PersonName>().is_err(), "{text:?}");
        }
        assert!(PersonName::of_account(b"").is_err());
    }
}
