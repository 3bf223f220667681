//! What each key of `config.yaml` is for, in words for people: the manual's only source.
//!
//! It decides nothing: the forms that serde reads are in `file.rs`. A test takes the keys from those forms
//! themselves and holds this table to them, so that a key without its words does not get in.

use crate::grant::policy::Presence;

/// A key of `config.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it stands; `[]` is each of a list.
    pub path: &'static str,
    /// What is written there.
    pub form: &'static str,
    /// What holds without it.
    pub need: Presence,
    /// What it is for.
    pub about: &'static str,
}

const fn key(path: &'static str, form: &'static str, need: Presence, about: &'static str) -> Key {
    Key { path, form, need, about }
}

/// Every key, those below a key right behind it.
pub const KEYS: &[Key] = &[
    key(
        "host",
        "a name of a-z 0-9 and -",
        Presence::May,
        "this host in the name that the daemon has in its clusters, `jit:daemon:HOST`, and on its bindings; several \
         daemons on one cluster need different ones. Without it the first label of the host's name",
    ),
    key(
        "socket",
        "a path",
        Presence::Default("/run/jitd/api.sock"),
        "where the API listens, when systemd does not hand the socket over; open to the group `jit-users` where there is \
         one, else to everybody",
    ),
    key(
        "adminSocket",
        "a path",
        Presence::May,
        "where root and the people of `admins` operate the daemon, when systemd does not hand the socket over; without it \
         `admin.sock` beside `socket`",
    ),
    key(
        "state",
        "a path",
        Presence::Default("/var/lib/jitd"),
        "the folder of the trail and of the authorities; only the daemon's account may enter it",
    ),
    key(
        "sessions",
        "a path",
        Presence::Default("/var/lib/jit-gateway/sessions"),
        "the folder in which `jit-gateway` keeps its logs and recordings: `sessions` below its `state`. The daemon reads them \
         for people; its account has to be in the group that may",
    ),
    key("policy", "a path", Presence::Default("policy.yaml"), "the policy, see `jitd-policy`(5)"),
    key(
        "guardrails",
        "a path",
        Presence::May,
        "the guardrails, see `jitd-guardrails`(5). A file that is named here has to exist; without the key it is \
         `guardrails.yaml` next to the policy, if it exists",
    ),
    key("auditors", "a list of groups", Presence::Default("[]"), "whose members may read every grant"),
    key(
        "admins",
        "a list of groups",
        Presence::Default("[]"),
        "whose members may read and revoke every grant, and operate the daemon",
    ),
    key("times", "a map", Presence::May, "the clocks"),
    key(
        "times.answer",
        "a duration",
        Presence::Default("1h"),
        "how long a request waits for an answer, unless its rule says otherwise",
    ),
    key(
        "times.collect",
        "a duration",
        Presence::Default("10m"),
        "how long an approval waits to be collected, unless its rule says otherwise",
    ),
    key(
        "times.certificate",
        "a duration",
        Presence::Default("15m"),
        "the longest life of one certificate, unless its rule says otherwise; inside the window it is renewed without a new \
         approval",
    ),
    key(
        "rates",
        "a map",
        Presence::May,
        "how often one account may call in a minute, at once or spread over it. Who calls more often is held, and then \
         answered 429 with the time after which to try again; the others do not notice. Raise them for an account that a \
         program has",
    ),
    key("rates.calls", "a number", Presence::Default("1200"), "calls of any kind"),
    key(
        "rates.requests",
        "a number",
        Presence::Default("20"),
        "requests, and questions what would be said to one; the trail keeps each permanently",
    ),
    key("rates.certificates", "a number", Presence::Default("30"), "certificates, collected or renewed"),
    key(
        "strictPeople",
        "true or false",
        Presence::Default("false"),
        "whether only the people below are known, and nobody by the host's name service alone",
    ),
    key(
        "people",
        "a list of maps",
        Presence::Default("[]"),
        "people whom the host's name service does not know, or who have several accounts: nobody answers their own \
         request, with whichever of them",
    ),
    key("people[].name", "a name", Presence::Must, "who it is, in every certificate and in the trail"),
    key(
        "people[].uids",
        "a list of numbers",
        Presence::Default("[]"),
        "every account of theirs; no two people share one",
    ),
    key(
        "people[].identities",
        "a list of maps",
        Presence::Default("[]"),
        "every identity of theirs at the providers below; no two people share one. Who has an account and an identity is \
         one person, and answers their own request with neither",
    ),
    key("people[].identities[].issuer", "a URL", Presence::Must, "the provider, as its `issuer` below"),
    key("people[].identities[].subject", "a text", Presence::Must, "who it is there: the claim `sub` of their tokens"),
    key("people[].groups", "a list of groups", Presence::Default("[]"), "the groups that they are in"),
    key(
        "people[].hostGroups",
        "true or false",
        Presence::Default("false"),
        "whether the groups that the host's name service gives their accounts count too",
    ),
    key(
        "notify",
        "an account",
        Presence::May,
        "the account of `jit-notify`(8), which tells people what happens; mostly `jit-notify`. It may read who requests \
         what and who answers, at `notify.sock` beside `socket`. Without it nobody may",
    ),
    key(
        "providers",
        "a list of maps",
        Presence::Default("[]"),
        "identity providers whose people `jit-frontend`(8) lets in. With the first one the daemon needs the socket of \
         `jitd-frontend.socket`",
    ),
    key(
        "providers[].issuer",
        "a URL that begins https://",
        Presence::Must,
        "the claim `iss` of its tokens, exactly; the same stands in the configuration of `jit-frontend`. Its people who are \
         not declared above are named `NAME.TAG`, where the tag is a digest of issuer and subject, so that nobody gets \
         another's name",
    ),
    key(
        "providers[].groups",
        "a list of groups",
        Presence::Default("[]"),
        "the groups that its people can be in, whatever `jit-frontend` says: groups of the policy, and of `auditors` and \
         `admins` only if they are listed here too",
    ),
    key(
        "providers[].fresh",
        "a duration",
        Presence::Default("10m"),
        "how old a person's ID token may be when they collect access or renew a certificate. Their `jit-login` gets a newer one \
         from the provider, which gives none to somebody who is disabled there",
    ),
    key(
        "providers[].directory",
        "a map",
        Presence::May,
        "where the daemon asks, with a credential of its own that may only read, who its people are now: about those with live \
         access, and about whoever collects. Whoever is disabled there, or in none of the groups of their rule, loses the access \
         within a minute. What it says counts instead of what the provider said before",
    ),
    key(
        "providers[].directory.keycloak",
        "a URL that begins https://",
        Presence::May,
        "the realm in Keycloak's admin API, `https://HOST/admin/realms/REALM`; either this or `microsoftGraph`",
    ),
    key(
        "providers[].directory.microsoftGraph",
        "a URL that begins https://",
        Presence::May,
        "Microsoft Graph, `https://graph.microsoft.com/v1.0` or that of a national cloud, for an issuer of Entra ID",
    ),
    key(
        "providers[].directory.clientId",
        "a text",
        Presence::Must,
        "the daemon's client at the provider. It gets a token by client credentials",
    ),
    key(
        "providers[].directory.secret",
        "a map with one of the two",
        Presence::Must,
        "where the secret of the client lies",
    ),
    key(
        "providers[].directory.secret.credential",
        "a credential's name",
        Presence::May,
        "in a credential that systemd hands to the service, see systemd.exec(5)",
    ),
    key("providers[].directory.secret.file", "a path", Presence::May, "in a file as private as a key"),
    key(
        "providers[].directory.groups",
        "a map",
        Presence::Must,
        "which group of the provider each group of the directory is: the path of a group of Keycloak, or the object id of one \
         of Entra ID. Each of `groups` has to be there",
    ),
    key(
        "providers[].directory.staleAfter",
        "a duration",
        Presence::Default("10m"),
        "while the directory does not answer, for how long what it said last is enough. After that its people request and \
         collect nothing; live access continues",
    ),
    key("clusters", "a list of maps", Presence::Must, "the clusters that access is given to, at least one"),
    key("clusters[].name", "a name of a-z 0-9 and -", Presence::Must, "what people call it when they ask"),
    key("clusters[].server", "a URL that begins https://", Presence::Must, "its API server"),
    key(
        "clusters[].certificateAuthority",
        "a path",
        Presence::Must,
        "the authority of the API server's own certificate, in PEM",
    ),
    key(
        "clusters[].authority",
        "a path",
        Presence::May,
        "the folder of the authority that signs for people; without it `ca/NAME` below `state`",
    ),
    key(
        "clusters[].key",
        "a map with one of the two",
        Presence::May,
        "where the authority's key lies; without it in `issuing.pem` in the authority's folder",
    ),
    key(
        "clusters[].key.credential",
        "a credential's name",
        Presence::May,
        "in a credential that systemd hands to the service, see systemd.exec(5); `jitd ca seal` moves it there",
    ),
    key("clusters[].key.pkcs11", "a map", Presence::May, "in a PKCS#11 token, which signs and never gives it away"),
    key("clusters[].key.pkcs11.module", "a path", Presence::Must, "the token's library"),
    key("clusters[].key.pkcs11.token", "a label of 1 to 32 bytes", Presence::Must, "the token"),
    key("clusters[].key.pkcs11.object", "a label", Presence::Must, "the key pair in it"),
    key("clusters[].key.pkcs11.pinCredential", "a credential's name", Presence::May, "the PIN, handed over by systemd"),
    key(
        "clusters[].key.pkcs11.pinFile",
        "a path",
        Presence::May,
        "the PIN, in a file as private as a key; one of the two",
    ),
    key(
        "clusters[].kubeconfig",
        "a path",
        Presence::May,
        "how the daemon itself reaches the API server, and as whom: for a cluster that does not trust the authority, such \
         as a managed one. It may have a certificate, a token or a credential plugin, and a proxy; `server` and \
         `certificateAuthority` are then only for people. The API server has to know its user as `daemonUser`. Without it \
         the daemon signs a certificate of ten minutes for itself",
    ),
    key(
        "clusters[].context",
        "a name",
        Presence::May,
        "the context of `kubeconfig` to use; without it the current one",
    ),
    key(
        "clusters[].daemonUser",
        "a user name",
        Presence::Default("jit:daemon:HOST"),
        "the user that the API server knows the user of `kubeconfig` by, such as `system:serviceaccount:NAMESPACE:NAME`, an \
         e-mail address or an object id; `jitd check --cluster` says which. The admission policies limit exactly this user. \
         No other bastion and nothing else may have it, the gateway neither",
    ),
    key(
        "clusters[].access",
        "`direct` or `gateway`",
        Presence::Default("direct"),
        "how people reach the API server: directly with their certificates, or through `jit-gateway`, which acts in their \
         name while their grants live. `gateway` needs `gatewayUser`, and before Kubernetes 1.36 `impersonation`",
    ),
    key(
        "clusters[].gatewayUser",
        "a user name",
        Presence::May,
        "the user that the API server knows the gateway by: the CN of its certificate, or \
         `system:serviceaccount:NAMESPACE:NAME`. Each grant lets it act as that grant's holder, and only there",
    ),
    key(
        "clusters[].impersonation",
        "`constrained` or `unconstrained`",
        Presence::Default("constrained"),
        "how a grant lets the gateway act as its holder. `constrained` needs Kubernetes 1.36. `unconstrained` uses the verb \
         `impersonate`, which every version knows, and is weaker: Kubernetes does not limit it to the places of the grant, \
         and only the admission policies limit what the daemon can give. Apply `jitd manifest` again after a change",
    ),
];

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use serde::de::value::StrDeserializer;
    use serde::de::{
        DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
    };
    use serde::{Deserialize, forward_to_deserialize_any};

    use crate::grant::request::Window;
    use crate::grant::times::Times;

    use super::super::file::{ConfigFile, TimesFile, default_policy, default_sessions, default_socket, default_state};
    use super::*;

    type Stop = serde::de::value::Error;
    type Names = &'static [&'static str];

    /// A file that has nothing but one key, at the end of `path`, where it takes down the names that serde knows.
    #[derive(Clone, Copy)]
    struct Probe<'a> {
        path: &'a [&'static str],
        known: &'a RefCell<Vec<&'static str>>,
    }

    impl Probe<'_> {
        /// The name that is gone into, and what is below it; at the end of the path there is none.
        fn next(self, names: Names) -> Result<(&'static str, Self), Stop> {
            match self.path.split_first() {
                Some((name, path)) => Ok((*name, Self { path, ..self })),
                None => {
                    self.known.borrow_mut().extend(names);
                    Err(Stop::custom("the end of the path"))
                }
            }
        }
    }

    macro_rules! leaves {
        ($($kind:ident)*) => {
            $(fn $kind<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
                Err(Stop::custom("nothing is below this"))
            })*
        };
    }

    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = Stop;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            panic!("a form does not say which keys it has, so they can't be held to the table")
        }

        fn deserialize_struct<V: Visitor<'de>>(self, _: &str, names: Names, visitor: V) -> Result<V::Value, Stop> {
            visitor.visit_map(self.next(names).map(|(name, below)| One(Some(name), below))?)
        }

        fn deserialize_enum<V: Visitor<'de>>(self, _: &str, names: Names, visitor: V) -> Result<V::Value, Stop> {
            visitor.visit_enum(self.next(names).map(|(name, below)| One(Some(name), below))?)
        }

        fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.visit_seq(self.next(&["[]"]).map(|(name, below)| One(Some(name), below))?)
        }

        fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.visit_some(self)
        }

        fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Stop> {
            visitor.visit_newtype_struct(self)
        }

        /// A map whose keys the administrator chooses; a form with a flattened part would come here, too.
        fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            let why = Stop::invalid_type(Unexpected::Unit, &visitor).to_string();
            if why.ends_with("expected a map") {
                Err(Stop::custom("nothing is below this"))
            } else {
                self.deserialize_any(visitor)
            }
        }

        leaves! {
            deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
            deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char
            deserialize_str deserialize_string deserialize_unit
        }

        forward_to_deserialize_any! { bytes byte_buf unit_struct tuple tuple_struct identifier ignored_any }
    }

    /// A map, a list or an enum with one thing in it.
    struct One<'a>(Option<&'static str>, Probe<'a>);

    impl<'de> MapAccess<'de> for One<'_> {
        type Error = Stop;

        fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
            self.0.take().map(|name| seed.deserialize(StrDeserializer::new(name))).transpose()
        }

        fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
            seed.deserialize(self.1)
        }
    }

    impl<'de> SeqAccess<'de> for One<'_> {
        type Error = Stop;

        fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
            self.0.take().map(|_| seed.deserialize(self.1)).transpose()
        }
    }

    impl<'de> EnumAccess<'de> for One<'_> {
        type Error = Stop;
        type Variant = Self;

        fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Stop> {
            let name = self.0.unwrap_or_default();
            Ok((seed.deserialize(StrDeserializer::<Stop>::new(name))?, self))
        }
    }

    impl<'de> VariantAccess<'de> for One<'_> {
        type Error = Stop;

        fn unit_variant(self) -> Result<(), Stop> {
            Ok(())
        }

        fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
            seed.deserialize(self.1)
        }

        fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
            self.1.deserialize_any(visitor)
        }

        fn struct_variant<V: Visitor<'de>>(self, names: Names, visitor: V) -> Result<V::Value, Stop> {
            self.1.deserialize_struct("", names, visitor)
        }
    }

    /// Every path that serde lets be written, taken from the forms themselves.
    fn accepted() -> BTreeSet<String> {
        let mut paths = vec![Vec::new()];
        let mut accepted = BTreeSet::new();
        while let Some(path) = paths.pop() {
            let known = RefCell::new(Vec::new());
            assert!(ConfigFile::deserialize(Probe { path: &path, known: &known }).is_err());
            for name in known.into_inner() {
                let below = [path.as_slice(), &[name]].concat();
                if name != "[]" {
                    accepted.insert(below.join(".").replace(".[]", "[]"));
                }
                paths.push(below);
            }
        }
        accepted
    }

    /// Every key that may be written is described, once, and nothing else is.
    #[test]
    fn the_table_has_the_keys_that_are_read() {
        let described: Vec<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
        assert_eq!(described.iter().cloned().collect::<BTreeSet<_>>(), accepted());
        assert_eq!(described.len(), accepted().len(), "a key is described twice");
    }

    #[test]
    fn what_is_said_to_hold_without_a_key_does() {
        let said = |path: &str| match KEYS.iter().find(|key| key.path == path).map(|key| key.need) {
            Some(Presence::Default(text)) => text.to_owned(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(said("socket"), default_socket().display().to_string());
        assert_eq!(said("state"), default_state().display().to_string());
        assert_eq!(said("sessions"), default_sessions().display().to_string());
        assert_eq!(said("policy"), default_policy().display().to_string());
        let times = Times::from(TimesFile::default());
        for (path, time) in [("answer", times.answer), ("collect", times.collect), ("certificate", times.certificate)] {
            assert_eq!(said(&format!("times.{path}")).parse(), Ok(time), "{path}");
        }
        assert_eq!(said("providers[].fresh").parse(), Ok(Window::TEN_MINUTES));
        assert_eq!(said("providers[].directory.staleAfter").parse(), Ok(Window::TEN_MINUTES));
        for key in KEYS.iter().filter(|key| key.need == Presence::Must) {
            let is_of_a_list = ["people[]", "providers[]"].iter().any(|list| key.path.starts_with(list));
            assert!(is_of_a_list || key.path.starts_with("clusters"), "{}", key.path);
        }
        let least: ConfigFile =
            serde_saphyr::from_str("clusters: [{name: prod, server: x, certificateAuthority: y}]").unwrap();
        assert!(
            least.auditors.is_empty()
                && least.admins.is_empty()
                && least.people.is_empty()
                && least.providers.is_empty()
        );
        assert!(!least.strict_people);
        assert!(serde_saphyr::from_str::<ConfigFile>("{}").is_err());
    }
}
