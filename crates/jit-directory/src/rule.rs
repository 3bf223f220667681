//! How a directory is asked, as the configuration says it.

use std::collections::BTreeMap;

use http::Uri;
use jit_host::secret::Place;

/// The kinds of directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The admin REST API of Keycloak.
    Keycloak,
    /// Microsoft Graph.
    Graph,
}

/// How a directory is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is.
    pub kind: Kind,
    /// Where its API is, `https://…` without a slash at the end.
    pub url: String,
    /// Where the token comes from.
    pub(crate) token: String,
    /// Our client.
    pub client_id: String,
    /// Its secret.
    pub secret: Place,
    /// Which of our groups each of its groups is.
    pub groups: BTreeMap<String, String>,
}

impl Rule {
    /// A rule for the people of an issuer.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence that begins with a key.
    pub fn new(
        kind: Kind,
        issuer: &str,
        url: &str,
        client_id: &str,
        secret: Place,
        groups: BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        if !is_plain(url) {
            return Err("`url` must be https://HOST/PATH, without a user, a query or a fragment".to_owned());
        }
        let issuer = issuer.trim_end_matches('/');
        let token = match kind {
            Kind::Keycloak => format!("{issuer}/protocol/openid-connect/token"),
            Kind::Graph => match issuer.strip_suffix("/v2.0") {
                Some(tenant) => format!("{tenant}/oauth2/v2.0/token"),
                None => return Err("`microsoftGraph` needs an issuer of Entra ID, which ends with /v2.0".to_owned()),
            },
        };
        if client_id.is_empty() || client_id.len() > 255 {
            return Err("`clientId` must have 1 to 255 bytes".to_owned());
        }
        if let Some(group) = groups.keys().find(|group| !is_group(kind, group)) {
            let form = match kind {
                Kind::Keycloak => "a path such as /payments-oncall",
                Kind::Graph => "the object id of a group, a UUID in lower case",
            };
            return Err(format!("`groups`: `{}` is not {form}", group.escape_default()));
        }
        Ok(Self { kind, url: url.to_owned(), token, client_id: client_id.to_owned(), secret, groups })
    }
}

fn is_group(kind: Kind, group: &str) -> bool {
    match kind {
        Kind::Keycloak => group.starts_with('/') && group.len() > 1,
        Kind::Graph => is_uuid(group) && group.to_ascii_lowercase() == group,
    }
}

fn is_plain(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let has_host = uri.authority().is_some_and(|it| !it.host().is_empty() && !it.as_str().contains('@'));
    uri.scheme_str() == Some("https") && has_host && uri.query().is_none() && !url.contains('#')
}

/// `8-4-4-4-12` hexadecimal digits (RFC 9562 section 4).
pub(crate) fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://login.example.com/realms/corp";
    const TENANT: &str = "https://login.microsoftonline.com/8c1f1b8e-0b0a-4a43-9a6b-3d2f1c0e5a77/v2.0";
    const GROUP: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

    fn rule(kind: Kind, issuer: &str, url: &str, group: &str) -> Result<Rule, String> {
        let groups = [(group.to_owned(), "payments-oncall".to_owned())].into();
        Rule::new(kind, issuer, url, "jitd", Place::Credential("keycloak".to_owned()), groups)
    }

    #[test]
    fn the_token_comes_from_the_issuer() {
        let keycloak = rule(Kind::Keycloak, ISSUER, "https://admin.example.com/admin/realms/corp/", "/oncall").unwrap();
        assert_eq!(keycloak.token, "https://login.example.com/realms/corp/protocol/openid-connect/token");
        assert_eq!(keycloak.url, "https://admin.example.com/admin/realms/corp");
        let graph = rule(Kind::Graph, TENANT, "https://graph.microsoft.com/v1.0", GROUP).unwrap();
        let token = "https://login.microsoftonline.com/8c1f1b8e-0b0a-4a43-9a6b-3d2f1c0e5a77/oauth2/v2.0/token";
        assert_eq!(graph.token, token);
    }

    #[test]
    fn a_rule_that_could_not_be_asked_is_refused() {
        for url in [
            "http://login.example.com/admin/realms/corp",
            "https://user@login.example.com/admin",
            "https://login.example.com/admin?realm=corp",
            "https://login.example.com/admin#corp",
            "https:///admin",
            "login.example.com",
            "",
        ] {
            assert!(rule(Kind::Keycloak, ISSUER, url, "/oncall").unwrap_err().contains("`url`"), "{url}");
        }
        for (kind, issuer, group, why) in [
            (Kind::Keycloak, ISSUER, "oncall", "`groups`: `oncall` is not a path"),
            (Kind::Keycloak, ISSUER, "/", "`groups`: `/` is not a path"),
            (Kind::Graph, TENANT, "/oncall", "`groups`: `/oncall` is not the object id"),
            (Kind::Graph, TENANT, "0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0", "is not the object id"),
            (Kind::Graph, ISSUER, GROUP, "`microsoftGraph` needs an issuer of Entra ID"),
        ] {
            assert!(rule(kind, issuer, "https://login.example.com", group).unwrap_err().contains(why), "{group}");
        }
    }
}
