//! The rule of a provider, as an administrator writes it.
//!
//! ```yaml
//! name: corp
//! issuer: https://login.example.com/realms/corp   # exactly the `iss` of its tokens
//! audience: jit-login                             # the client's id, exactly
//! otherAudiences: [jitd]                          # what `aud` may contain besides
//! algorithms: [RS256]                             # RS256 and ES256 if absent
//! maxLife: 1h                                     # the longest from `iat` to `exp`; 24h if absent
//! nonce: optional                                 # for a provider that drops it; `required` if absent
//! require:
//! - {claim: /acr, is: "urn:example:mfa"}
//! - {claim: /amr, has: otp}
//! authTime: 1h                                    # how old `auth_time` may be
//! deviceCode: {audience: jit-login-device}        # how a login by device code is told apart; or `never`, `without-nonce`
//! displayName: {claim: /preferred_username}       # suffix: "@corp" if absent
//! groups:
//!   claim: /groups
//!   map: {payments-leads: payments-leads}         # the provider's group: the bastion's
//! ```
//! A claim is a JSON pointer (RFC 6901), because names of claims contain dots and slashes. An unknown key is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jit_core::grant::request::Window;
use serde::Deserialize;
use serde_json::Value;

use crate::algorithm::Algorithm;

/// The rule of a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "ProviderFile")]
pub struct Provider {
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) other_audiences: BTreeSet<String>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) max_life: Window,
    pub(crate) nonce: NonceRule,
    pub(crate) required: Vec<Requirement>,
    pub(crate) auth_time: Option<Window>,
    pub(crate) device_code: Option<DeviceCode>,
    pub(crate) subject: SubjectRule,
    pub(crate) name_claim: Pointer,
    pub(crate) name_suffix: String,
    pub(crate) groups: Option<GroupsRule>,
}

/// Whether a token without a `nonce` is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonceRule {
    /// Never.
    #[default]
    Required,
    /// Within 60 s of `iat`, for a provider that drops it in the device flow. A wrong one is refused nevertheless.
    Optional,
}

/// How a login by device code (RFC 8628) is told apart from one in a browser. A token does not say it, and whoever presents one
/// may be the one who talked somebody else into entering the code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceCode {
    /// The provider allows our client none.
    Never,
    /// The provider leaves the `nonce` out of its token.
    WithoutNonce,
    /// The provider allows it to this client alone, which has no other way to log in.
    Audience(String),
}

/// Which claims identify the person below the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectRule {
    Sub,
    /// `tid` and `oid`: Entra's `sub` is another one for each client.
    Entra,
}

/// A claim that has to be there.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    pub(crate) claim: Pointer,
    pub(crate) wanted: Wanted,
}

#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Is(Value),
    Has(String),
}

#[derive(Clone, Debug)]
pub(crate) struct GroupsRule {
    pub(crate) claim: Pointer,
    pub(crate) map: BTreeMap<String, String>,
}

/// A JSON pointer to a claim (RFC 6901), `/` and the claim's name, with `~1` for `/` and `~0` for `~`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pointer(String);

impl Pointer {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the first claim on the way, as it is in the token.
    pub(crate) fn first(&self) -> String {
        self.0.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~")
    }
}

impl TryFrom<String> for Pointer {
    type Error = ProviderError;
    fn try_from(text: String) -> Result<Self, ProviderError> {
        let escapes_are_right = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if text.len() > 1 && text.starts_with('/') && escapes_are_right {
            Ok(Self(text))
        } else {
            fault(format!("`{}` is not a JSON pointer such as /groups or /realm_access/roles", text.escape_default()))
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Why a rule cannot be used, as a sentence that begins with the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(String);

fn fault<T>(why: impl Into<String>) -> Result<T, ProviderError> {
    Err(ProviderError(why.into()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProviderFile {
    name: String,
    issuer: String,
    audience: String,
    #[serde(default)]
    other_audiences: BTreeSet<String>,
    algorithms: Option<Vec<Algorithm>>,
    max_life: Option<Window>,
    #[serde(default)]
    nonce: NonceRule,
    #[serde(default)]
    require: Vec<RequirementFile>,
    auth_time: Option<Window>,
    device_code: Option<DeviceCode>,
    display_name: NameFile,
    groups: Option<GroupsFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequirementFile {
    claim: Pointer,
    is: Option<Value>,
    has: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameFile {
    claim: Pointer,
    suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupsFile {
    claim: Pointer,
    map: BTreeMap<String, String>,
}

/// The longest name of a provider, in bytes: it stands in people's names.
const LONGEST_NAME: usize = 40;

/// Hosts of Entra ID in its clouds
/// (<https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud>), and the one of its first version.
const ENTRA: [&str; 5] = [
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "sts.windows.net",
];

impl TryFrom<ProviderFile> for Provider {
    type Error = ProviderError;

    fn try_from(file: ProviderFile) -> Result<Self, ProviderError> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if file.name.is_empty() || file.name.len() > LONGEST_NAME || !file.name.chars().all(is_plain) {
            return fault(format!("`name` must be 1 to {LONGEST_NAME} lower-case letters, digits and `-`"));
        }
        let subject = subject_of(&file.issuer)?;
        if file.audience.is_empty() {
            return fault("`audience` is empty");
        }
        if file.other_audiences.contains(&file.audience) {
            return fault("`otherAudiences` contains the `audience` itself");
        }
        if matches!(&file.device_code, Some(DeviceCode::Audience(other)) if other.is_empty() || *other == file.audience)
        {
            return fault("`deviceCode.audience` must be another client than `audience`");
        }
        let algorithms = file.algorithms.unwrap_or_else(|| vec![Algorithm::RS256, Algorithm::ES256]);
        if algorithms.is_empty() {
            return fault("`algorithms` is empty, so that no token would be accepted");
        }
        let required = file.require.into_iter().map(requirement).collect::<Result<_, _>>()?;
        let name_suffix = file.display_name.suffix.unwrap_or_else(|| format!("@{}", file.name));
        if format!("a{name_suffix}").parse::<jit_core::grant::request::PersonName>().is_err() {
            return fault("`displayName.suffix` contains something that is not in a person's name");
        }
        let groups = file.groups.map(groups).transpose()?;
        Ok(Self {
            name: file.name,
            issuer: file.issuer,
            audience: file.audience,
            other_audiences: file.other_audiences,
            algorithms,
            max_life: file.max_life.unwrap_or(Window::DAY),
            nonce: file.nonce,
            required,
            auth_time: file.auth_time,
            device_code: file.device_code,
            subject,
            name_claim: file.display_name.claim,
            name_suffix,
            groups,
        })
    }
}

/// Checks the issuer, and says which claims are the subject there.
fn subject_of(issuer: &str) -> Result<SubjectRule, ProviderError> {
    let Some(rest) = issuer.strip_prefix("https://") else {
        return fault("`issuer` must begin with https://");
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%!$&'()*+,;=".contains(c);
    if let Some(bad) = rest.chars().find(|c| !is_plain(*c)) {
        return match bad {
            // Microsoft's discovery for all tenants names `https://login.microsoftonline.com/{tenantid}/v2.0`.
            '{' | '}' => fault("`issuer` is a template: name one tenant, because others are anybody's"),
            _ => fault("`issuer` must be https://host/path, without a user, a query or a fragment"),
        };
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    if name.is_empty() {
        return fault("`issuer` has no host");
    }
    if !ENTRA.contains(&name.as_str()) {
        return Ok(SubjectRule::Sub);
    }
    let tenant = path.split('/').next().unwrap_or_default();
    let is_id = tenant.len() == 36 && tenant.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_id {
        Ok(SubjectRule::Entra)
    } else {
        fault("`issuer` must contain the id of one tenant: `common`, `organizations` and `consumers` are anybody's")
    }
}

fn requirement(file: RequirementFile) -> Result<Requirement, ProviderError> {
    let wanted = match (file.is, file.has) {
        (Some(value @ (Value::String(_) | Value::Bool(_))), None) => Wanted::Is(value),
        (Some(Value::Number(number)), None) if number.is_i64() => Wanted::Is(Value::Number(number)),
        (Some(_), None) => return fault(format!("`is` of `{}` must be text, an integer, true or false", file.claim)),
        (None, Some(element)) => Wanted::Has(element),
        _ => return fault(format!("`{}` needs exactly one of `is` and `has`", file.claim)),
    };
    Ok(Requirement { claim: file.claim, wanted })
}

fn groups(file: GroupsFile) -> Result<GroupsRule, ProviderError> {
    if file.map.is_empty() {
        return fault("`groups.map` is empty: only groups that it maps count");
    }
    for (theirs, ours) in &file.map {
        let is_reserved = ours.starts_with("system:") || ours.starts_with(jit_core::grant::names::SUBJECT);
        if theirs.is_empty() || ours.is_empty() || is_reserved || ours.chars().any(char::is_control) {
            return fault(format!(
                "`groups.map` maps `{}` to something that is not a group of people",
                theirs.escape_default()
            ));
        }
    }
    Ok(GroupsRule { claim: file.claim, map: file.map })
}

impl Provider {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The exact `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The client's id.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The id of the client for logins by device code, if that is another one.
    #[must_use]
    pub fn device_audience(&self) -> Option<&str> {
        match &self.device_code {
            Some(DeviceCode::Audience(client)) => Some(client),
            Some(DeviceCode::Never | DeviceCode::WithoutNonce) | None => None,
        }
    }
}

/// All providers of a bastion, 1 or more.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<Provider>")]
pub struct Providers(Vec<Provider>);

impl TryFrom<Vec<Provider>> for Providers {
    type Error = ProviderError;

    fn try_from(listed: Vec<Provider>) -> Result<Self, ProviderError> {
        let mut names = BTreeSet::new();
        let mut issuers = BTreeSet::new();
        for provider in &listed {
            if !names.insert(&provider.name) {
                return fault(format!("the provider `{}` is listed twice", provider.name));
            }
            // Two rules for one issuer would be two answers to who somebody is.
            if !issuers.insert(&provider.issuer) {
                return fault(format!("the provider `{}` has the `issuer` of another", provider.name));
            }
        }
        if listed.is_empty() { fault("there is no provider") } else { Ok(Self(listed)) }
    }
}

impl Providers {
    /// The providers in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter()
    }

    /// The provider with exactly this issuer.
    #[must_use]
    pub fn of_issuer(&self, issuer: &str) -> Option<&Provider> {
        self.0.iter().find(|provider| provider.issuer == issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(issuer: &str, more: &str) -> Result<Provider, String> {
        let text = format!("name: corp\nissuer: '{issuer}'\naudience: jit-login\n{more}");
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())
    }

    const NAME: &str = "displayName: {claim: /preferred_username}\n";
    const ISSUER: &str = "https://login.example.com/realms/corp";

    #[test]
    fn an_issuer_is_one_tenant() {
        let tenant = "11111111-2222-3333-4444-555555555555";
        for (issuer, subject) in [
            (ISSUER.to_owned(), SubjectRule::Sub),
            ("https://accounts.google.com".to_owned(), SubjectRule::Sub),
            ("https://login.example.com:8443/common".to_owned(), SubjectRule::Sub),
            (format!("https://login.microsoftonline.com/{tenant}/v2.0"), SubjectRule::Entra),
            (format!("https://sts.windows.net/{tenant}/"), SubjectRule::Entra),
        ] {
            assert_eq!(parse(&issuer, NAME).unwrap().subject, subject, "{issuer}");
        }
        for (issuer, why) in [
            ("https://login.microsoftonline.com/common/v2.0", "anybody's"),
            ("https://LOGIN.microsoftonline.com:443/organizations/v2.0", "anybody's"),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", "a template"),
            ("https://login.microsoftonline.com", "anybody's"),
            ("http://login.example.com", "https://"),
            ("https://login.example.com/?realm=corp", "without"),
            ("https://login.example.com/#corp", "without"),
            ("https://a@login.example.com/", "without"),
            ("https:///corp", "no host"),
        ] {
            assert!(parse(issuer, NAME).unwrap_err().contains(why), "{issuer}");
        }
    }

    #[test]
    fn a_rule_is_complete_and_has_no_unknown_key() {
        for (more, why) in [
            ("", "displayName"),
            ("displayName: {claim: preferred_username}\n", "JSON pointer"),
            ("displayName: {claim: /a~2}\n", "JSON pointer"),
            ("displayName: {claim: /a, suffix: ':b'}\n", "suffix"),
            ("displayName: {claim: /a, prefix: 'b'}\n", "prefix"),
            ("algorithms: []\n", "algorithms"),
            ("algorithms: [HS256]\n", "HS256"),
            ("algorithms: [none]\n", "none"),
            ("otherAudiences: [jit-login]\n", "otherAudiences"),
            ("require: [{claim: /acr}]\n", "exactly one"),
            ("require: [{claim: /acr, is: a, has: b}]\n", "exactly one"),
            ("require: [{claim: /acr, is: [a]}]\n", "text"),
            ("groups: {claim: /groups, map: {}}\n", "groups.map"),
            ("groups: {claim: /groups, map: {a: 'system:masters'}}\n", "groups.map"),
            ("groups: {claim: /groups, map: {a: 'jit:x'}}\n", "groups.map"),
            ("nonce: never\n", "never"),
            ("deviceCode: always\n", "always"),
            ("deviceCode: {audience: jit-login}\n", "deviceCode.audience"),
            ("clientSecret: x\n", "clientSecret"),
        ] {
            let more = if more.starts_with("displayName") || more.is_empty() {
                more.to_owned()
            } else {
                format!("{NAME}{more}")
            };
            let error = parse(ISSUER, &more).unwrap_err();
            assert!(error.contains(why), "{more}: {error}");
        }
    }

    #[test]
    fn each_issuer_has_one_rule() {
        let (one, other) = (parse(ISSUER, NAME).unwrap(), parse("https://login.example.org", NAME).unwrap());
        let other = Provider { name: "other".to_owned(), ..other };
        let both = Providers::try_from(vec![one.clone(), other.clone()]).unwrap();
        assert_eq!(both.of_issuer(ISSUER).unwrap().name(), "corp");
        assert!(both.of_issuer("https://login.example.com/realms/corp/").is_none());
        let same_name = Provider { name: "corp".to_owned(), ..other.clone() };
        let same_issuer = Provider { issuer: ISSUER.to_owned(), ..other };
        for listed in [vec![], vec![one.clone(), same_name], vec![one, same_issuer]] {
            assert!(Providers::try_from(listed).is_err());
        }
    }
}
