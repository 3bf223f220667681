//! Microsoft Graph, as an application with the permission `User.Read.All` sees it, and `GroupMember.Read.All` for groups.
//!
//! `GET users/OID?$select=accountEnabled` says whether the account is in use, and `POST users/OID/checkMemberGroups` in which
//! of at most 20 groups the person is, through other groups too. A person who does not exist is a 404 with the code
//! `Request_ResourceNotFound`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;

use super::rule::is_uuid;
use super::session::{Answer, Sent, Session};
use super::{DirectoryError, Found};

/// How many groups one question may name.
const AT_ONCE: usize = 20;

#[derive(Deserialize)]
struct User {
    #[serde(rename = "accountEnabled")]
    account_enabled: bool,
}

#[derive(Deserialize)]
struct Groups {
    value: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

pub(crate) async fn ask(session: &Session, subject: &str) -> Result<Found, DirectoryError> {
    // A subject of Entra ID is `tid/oid`, because its `sub` is another one for each client.
    let (_, id) = subject.split_once('/').ok_or(DirectoryError::Subject)?;
    if !is_uuid(id) {
        return Err(DirectoryError::Subject);
    }
    let answer = session.answer(&format!("/users/{id}?$select=accountEnabled"), &Sent::Get).await?;
    if answer.is_not_found() {
        return gone(&answer);
    }
    let user: User = answer.parsed()?;
    if !user.account_enabled {
        return Ok(Found::Disabled);
    }
    let asked: Vec<&String> = session.rule.groups.keys().collect();
    let mut groups = BTreeSet::new();
    for some in asked.chunks(AT_ONCE) {
        let sent = json!({ "groupIds": some });
        let answer = session.answer(&format!("/users/{id}/checkMemberGroups"), &Sent::Post(&sent)).await?;
        // It may be a group that does not exist.
        if answer.is_not_found() {
            return Err(answer.not_found());
        }
        let found: Groups = answer.parsed()?;
        groups.extend(found.value.iter().filter_map(|group| session.rule.groups.get(group)).cloned());
    }
    Ok(Found::Present(groups))
}

fn gone(answer: &Answer) -> Result<Found, DirectoryError> {
    match answer.parsed::<Refusal>() {
        Ok(refusal) if refusal.error.code == "Request_ResourceNotFound" => Ok(Found::Gone),
        _ => Err(answer.not_found()),
    }
}
