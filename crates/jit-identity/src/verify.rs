//! The checks of an ID token, in the order in which they are made.
//!
//! ```text
//!  form, header, algorithm, key, signature   (jws.rs)
//!  ─► kind ─► issuer ─► audience, client ─► times ─► nonce ─► subject ─► name ─► required claims ─► groups ─► Person
//! ```
//! OpenID Connect Core 1.0 section 3.1.3.7 lists the least. The rest closes what libraries leave open: a missing claim is
//! never taken as a fulfilled one, and a claim of another type never as a missing one.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use jit_core::grant::login::Flow;
use jit_core::grant::request::PersonName;
use serde_json::{Map, Value};

use crate::json;
use crate::jws::{Jws, Kind};
use crate::keys::KeySet;
use crate::person::Person;
use crate::provider::{DeviceCode, GroupsRule, NonceRule, Pointer, Provider, SubjectRule, Wanted};
use crate::refusal::Refusal;

/// By how much the clocks of the provider and of the bastion may differ.
pub(crate) const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// How long after `iat` a token without a `nonce` is accepted, where the provider's rule allows it.
const WITHOUT_NONCE: SignedDuration = SignedDuration::from_secs(60);

/// The longest value that identifies somebody, in bytes (OpenID Connect Core 1.0 section 2, `sub`).
const LONGEST_IDENTIFIER: usize = 255;

pub(crate) const IN_THE_FUTURE: &str = "is in the future";

/// Who the token is about, if it passes every check of the provider's rule.
///
/// `nonce` is what the token must contain: the front end derives it from its own name and the client's key. `now` is the
/// bastion's clock.
///
/// # Errors
/// [`Refusal`]: the first check that the token fails.
pub fn verify(token: &[u8], keys: &KeySet, rule: &Provider, nonce: &str, now: Timestamp) -> Result<Person, Refusal> {
    let jws = Jws::parse(token, Kind::Id)?;
    let claims = payload(&jws.verify(keys, &rule.algorithms)?)?;
    is_id_token(&claims)?;
    is_of_issuer(&claims, rule)?;
    let client = audience(&claims, rule)?.to_owned();
    let times = times(&claims, rule, now)?;
    let authenticated = authenticated(&claims, rule, now)?;
    match claims.get("nonce") {
        Some(Value::String(found)) if found == nonce => {}
        None if rule.nonce == NonceRule::Optional && now.duration_since(times.issued) <= WITHOUT_NONCE => {}
        _ => return Err(Refusal::Nonce),
    }
    let flow = flow(rule, &client, claims.contains_key("nonce"));
    let subject = subject(&claims, rule)?;
    let sid = optional_identifier(&claims, "sid")?;
    let all = Value::Object(claims);
    let name = name(&all, rule)?;
    for requirement in &rule.required {
        is_met(&all, &requirement.claim, &requirement.wanted)?;
    }
    let groups = rule.groups.as_ref().map(|rule| groups(&all, rule)).transpose()?.unwrap_or_default();
    let acr = match all.get("acr") {
        None => None,
        Some(Value::String(acr)) => Some(acr.clone()),
        Some(_) => return Err(unusable("/acr", "is not text")),
    };
    let amr = match all.get("amr") {
        None => Vec::new(),
        Some(list) => texts(list).ok_or_else(|| unusable("/amr", "is not a list of texts"))?,
    };
    Ok(Person {
        provider: rule.name.clone(),
        issuer: rule.issuer.clone(),
        subject,
        name,
        groups,
        acr,
        amr,
        authenticated,
        sid,
        flow,
        issued: times.issued,
        expires: times.expires,
        kid: jws.kid().to_owned(),
        token_hash: hash(token),
    })
}

/// The `iss` of a token that nobody has verified, only to choose the rule by which [`verify`] or
/// [`verify_logout`](crate::verify_logout) then decides.
///
/// # Errors
/// [`Refusal`]: the token has no right form, or no `iss`.
pub fn unverified_issuer(token: &[u8], kind: Kind) -> Result<String, Refusal> {
    let claims = payload(&Jws::parse(token, kind)?.unverified()?)?;
    text(&claims, "iss").map(str::to_owned).ok_or(Refusal::Issuer)
}

pub(crate) fn payload(text: &[u8]) -> Result<Map<String, Value>, Refusal> {
    json::object(text).ok_or(Refusal::Payload(json::REQUIRED))
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

fn texts(list: &Value) -> Option<Vec<String>> {
    list.as_array()?.iter().map(|element| element.as_str().map(str::to_owned)).collect()
}

fn unusable(claim: impl Into<String>, why: &'static str) -> Refusal {
    Refusal::Claims { claim: claim.into(), why }
}

/// Refuses the other tokens that a provider signs with the same keys. A header's `typ` often does not tell them apart.
fn is_id_token(claims: &Map<String, Value>) -> Result<(), Refusal> {
    // OpenID Connect Back-Channel Logout 1.0 section 2.4; security events (RFC 8417) have it too.
    if claims.contains_key("events") {
        return Err(Refusal::Kind(Kind::Id, "it has `events`, as logout tokens have"));
    }
    // Keycloak: ID, Bearer, Refresh, Offline, Logout.
    if claims.get("typ").is_some_and(|kind| kind != "ID") {
        return Err(Refusal::Kind(Kind::Id, "`typ` in its payload is not `ID`"));
    }
    // Cognito: id, access.
    if claims.get("token_use").is_some_and(|kind| kind != "id") {
        return Err(Refusal::Kind(Kind::Id, "`token_use` in its payload is not `id`"));
    }
    Ok(())
}

/// By which way the person logged in. A token without a `nonce` is taken for one by device code, where some providers drop it.
fn flow(rule: &Provider, client: &str, has_nonce: bool) -> Option<Flow> {
    match &rule.device_code {
        _ if !has_nonce => Some(Flow::DeviceCode),
        Some(DeviceCode::Audience(other)) if client == other => Some(Flow::DeviceCode),
        Some(DeviceCode::Never | DeviceCode::WithoutNonce | DeviceCode::Audience(_)) => Some(Flow::Code),
        None => None,
    }
}

pub(crate) fn is_of_issuer(claims: &Map<String, Value>, rule: &Provider) -> Result<(), Refusal> {
    if text(claims, "iss") == Some(&rule.issuer) { Ok(()) } else { Err(Refusal::Issuer) }
}

/// One of our clients is in `aud`; whoever else is has to be known, and then the token was issued to our client.
pub(crate) fn audience<'a>(claims: &Map<String, Value>, rule: &'a Provider) -> Result<&'a str, Refusal> {
    let listed = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(list) => texts(list).ok_or(Refusal::Audience)?,
        None => return Err(Refusal::Audience),
    };
    let is_listed = |client: &&str| listed.iter().any(|name| name == client);
    let ours = [Some(rule.audience()), rule.device_audience()].into_iter().flatten().find(is_listed);
    let ours = ours.ok_or(Refusal::Audience)?;
    if !listed.iter().all(|name| name == ours || rule.other_audiences.contains(name)) {
        return Err(Refusal::Audience);
    }
    match claims.get("azp") {
        Some(client) if client == ours => Ok(ours),
        None if listed.len() == 1 => Ok(ours),
        _ => Err(Refusal::AuthorizedParty),
    }
}

pub(crate) struct Times {
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
}

pub(crate) fn times(claims: &Map<String, Value>, rule: &Provider, now: Timestamp) -> Result<Times, Refusal> {
    let wrong = |claim, why| Refusal::Time { claim, why };
    let required = |claim| time(claims, claim)?.ok_or_else(|| wrong(claim, "is missing"));
    let (expires, issued) = (required("exp")?, required("iat")?);
    if now.duration_since(expires) > SKEW {
        return Err(Refusal::Expired);
    }
    if is_future(issued, now) {
        return Err(wrong("iat", IN_THE_FUTURE));
    }
    if time(claims, "nbf")?.is_some_and(|at| is_future(at, now)) {
        return Err(wrong("nbf", IN_THE_FUTURE));
    }
    if expires <= issued {
        return Err(wrong("exp", "is not after `iat`"));
    }
    if expires.duration_since(issued) > rule.max_life.duration() {
        return Err(wrong("exp", "is later than the provider's rule allows (`maxLife`)"));
    }
    Ok(Times { issued, expires })
}

/// When the person was authenticated.
fn authenticated(claims: &Map<String, Value>, rule: &Provider, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    let authenticated = time(claims, "auth_time")?;
    if authenticated.is_some_and(|at| is_future(at, now)) {
        return Err(Refusal::Time { claim: "auth_time", why: IN_THE_FUTURE });
    }
    if let Some(longest) = rule.auth_time {
        match authenticated {
            None => return Err(unusable("/auth_time", "is missing, and the provider's rule requires it")),
            Some(at) if now.duration_since(at) > longest.duration() + SKEW => {
                return Err(unusable("/auth_time", "is longer ago than the provider's rule allows; log in again"));
            }
            Some(_) => {}
        }
    }
    Ok(authenticated)
}

fn is_future(time: Timestamp, now: Timestamp) -> bool {
    time.duration_since(now) > SKEW
}

/// A time in whole seconds since 1970 (RFC 7519 section 2, NumericDate). Fractions are refused: no provider is known to
/// send them, and two programs would round them differently.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<Timestamp>, Refusal> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let wrong = || Refusal::Time { claim, why: "is not a time in whole seconds since 1970" };
    let seconds = value.as_i64().filter(|seconds| *seconds >= 0).ok_or_else(wrong)?;
    Timestamp::from_second(seconds).map(Some).map_err(|_| wrong())
}

/// A value that identifies somebody, alone or together with others.
pub(crate) fn identifier<'a>(value: Option<&'a Value>, claim: &str) -> Result<&'a str, Refusal> {
    let is_plain = |text: &&str| (1..=LONGEST_IDENTIFIER).contains(&text.len()) && !text.chars().any(char::is_control);
    let text = value.and_then(Value::as_str).filter(is_plain);
    text.ok_or_else(|| Refusal::Identifier { claim: claim.to_owned() })
}

/// The same, of a claim that may be absent.
pub(crate) fn optional_identifier(claims: &Map<String, Value>, claim: &str) -> Result<Option<String>, Refusal> {
    let found = claims.get(claim).map(|value| identifier(Some(value), &format!("/{claim}"))).transpose()?;
    Ok(found.map(str::to_owned))
}

fn subject(claims: &Map<String, Value>, rule: &Provider) -> Result<String, Refusal> {
    // Required of every ID token, even if it is not what identifies a person.
    let sub = identifier(claims.get("sub"), "/sub")?;
    match rule.subject {
        SubjectRule::Sub => Ok(sub.to_owned()),
        SubjectRule::Entra => {
            let tid = identifier(claims.get("tid"), "/tid")?;
            let oid = identifier(claims.get("oid"), "/oid")?;
            // Each is the id of one thing, so that no pair is taken for another one.
            let is_id = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
            match (is_id(tid), is_id(oid)) {
                (true, true) => Ok(format!("{tid}/{oid}")),
                (false, _) => Err(Refusal::Identifier { claim: "/tid".to_owned() }),
                (_, false) => Err(Refusal::Identifier { claim: "/oid".to_owned() }),
            }
        }
    }
}

fn name(claims: &Value, rule: &Provider) -> Result<PersonName, Refusal> {
    let claim = &rule.name_claim;
    let found = claims.pointer(claim.as_str()).ok_or_else(|| unusable(claim.as_str(), "is missing"))?;
    let text = found.as_str().ok_or_else(|| unusable(claim.as_str(), "is not text"))?;
    identifier(Some(found), claim.as_str())?;
    let name = format!("{text}{}", rule.name_suffix).parse();
    name.map_err(|_| unusable(claim.as_str(), "is not the name of a person (no `:`, `/`, `%` or invisible characters)"))
}

fn is_met(claims: &Value, claim: &Pointer, wanted: &Wanted) -> Result<(), Refusal> {
    let found = claims.pointer(claim.as_str()).ok_or_else(|| unusable(claim.as_str(), "is missing"))?;
    match wanted {
        Wanted::Is(value) if found == value => Ok(()),
        Wanted::Is(_) => Err(unusable(claim.as_str(), "is not what the provider's rule requires")),
        Wanted::Has(element) => match texts(found) {
            None => Err(unusable(claim.as_str(), "is not a list of texts")),
            Some(list) if list.contains(element) => Ok(()),
            Some(_) => Err(unusable(claim.as_str(), "lacks what the provider's rule requires")),
        },
    }
}

/// The groups that the rule maps. A group that it does not map is nothing to the bastion.
fn groups(claims: &Value, rule: &GroupsRule) -> Result<BTreeSet<String>, Refusal> {
    let claim = rule.claim.as_str();
    let Some(found) = claims.pointer(claim) else {
        // OpenID Connect Core 1.0 section 5.6.2: the groups are elsewhere, at a URL that the token chooses. Entra says so
        // with `hasgroups` too. Nobody goes there, and these are not "no groups".
        let first = rule.claim.first();
        let names_elsewhere = claims.get("_claim_names").is_some_and(|names| names.get(&first).is_some());
        return if names_elsewhere || claims.get("hasgroups").is_some() {
            Err(unusable(claim, "is not in the token, because the person has too many groups"))
        } else {
            Ok(BTreeSet::new())
        };
    };
    // A text is not a list of one.
    let theirs = texts(found).ok_or_else(|| unusable(claim, "is not a list of texts"))?;
    Ok(theirs.iter().filter_map(|group| rule.map.get(group)).cloned().collect())
}

/// The SHA-256 of a token, in hexadecimal digits.
pub(crate) fn hash(token: &[u8]) -> String {
    digest(&SHA256, token).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests;
