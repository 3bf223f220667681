//! A key in a PKCS#11 token: it is generated there or found there, and signs. It never leaves the token.
//!
//! The module is third-party code in our process, and its calls can take as long as the token does: never call it on a
//! thread that others wait for. A refused PIN is not tried again, because a token locks after a few attempts. If a token
//! was unplugged, the next signature looks for it again; until it is back, each signature fails with an explanation. A key
//! and its place call this.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::hint::Hint;

use super::credential::{self, CredentialError, CredentialName};
use super::der::{element, sha256};

/// A key in a token, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlace {
    /// The absolute path of the token's library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The label of the key pair.
    pub object: String,
    /// Where its PIN is.
    pub pin: PinPlace,
}

/// Where a token's PIN is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinPlace {
    /// In a credential that systemd passes to the service.
    Credential(CredentialName),
    /// In a private file.
    File(PathBuf),
}

impl fmt::Display for PinPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "the credential `{name}`"),
            Self::File(path) => write!(f, "`{}`", path.display()),
        }
    }
}

/// Whether a PIN is tried although the token counts a wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// For the daemon, which would try again and again.
    Careful,
    /// For a person who runs a command, which tries once.
    ByHand,
}

/// Why a token failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The library cannot be loaded or used.
    #[error("the PKCS#11 module `{}` cannot be used: {why}", path.display())]
    Module {
        /// The library.
        path: PathBuf,
        /// The error of the library or the system.
        why: String,
    },
    /// No slot has the token.
    #[error("no slot of `{}` has a token `{token}`", module.display())]
    NoToken {
        /// The label.
        token: String,
        /// The library.
        module: PathBuf,
        /// The labels of the tokens that were found.
        found: String,
    },
    /// Several slots have a token with that label.
    #[error("{count} tokens have the label `{token}`")]
    TokenTwice {
        /// The label.
        token: String,
        /// How many.
        count: usize,
    },
    /// The PIN is wrong.
    #[error("the token `{token}` refused the PIN in {pin}; it is not tried again, so that the token does not lock")]
    PinRefused {
        /// The token's label.
        token: String,
        /// Where the PIN is.
        pin: PinPlace,
    },
    /// The PIN may be wrong, and few attempts are left.
    #[error("the token `{token}` counts a wrong PIN, so none is tried automatically")]
    PinDoubtful {
        /// The token's label.
        token: String,
        /// Where the PIN is.
        pin: PinPlace,
    },
    /// The token accepts no PIN any more, or only one more attempt.
    #[error("the token `{token}` {why}")]
    PinLocked {
        /// The token's label.
        token: String,
        /// The state of the PIN.
        why: &'static str,
    },
    /// There is no such key.
    #[error("the token `{token}` has no private key labelled `{object}`")]
    NoObject {
        /// The token's label.
        token: String,
        /// The key's label.
        object: String,
    },
    /// There are several such keys.
    #[error("the token `{token}` has {count} {what} labelled `{object}`")]
    ObjectTwice {
        /// The token's label.
        token: String,
        /// The key's label.
        object: String,
        /// Private or public keys.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// The key cannot be used.
    #[error("the key `{object}` of the token `{token}` {why}")]
    ObjectKind {
        /// The token's label.
        token: String,
        /// The key's label.
        object: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token has another key than before, or signed with another one.
    #[error("the key `{object}` of the token `{token}` is not the one that was opened")]
    Changed {
        /// The token's label.
        token: String,
        /// The key's label.
        object: String,
    },
    /// A call failed.
    #[error("the token `{token}` failed to {doing}: {why}")]
    Failed {
        /// The token's label.
        token: String,
        /// The operation, as a verb.
        doing: &'static str,
        /// The module's error.
        why: String,
    },
    /// The credential with the PIN cannot be read.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The file with the PIN, or the module, is not trusted, or could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed to give random bytes")]
    NoRandom,
}

impl Hint for TokenError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Module { .. } => "`module` must be the path of the token's library".into(),
            Self::NoToken { found, .. } => format!("plug it in, or check the label; these were found: {found}").into(),
            Self::TokenTwice { .. } => "give each token a different label".into(),
            Self::PinRefused { .. } => "correct the PIN; `jitd ca show` then tries it once".into(),
            Self::PinDoubtful { pin, .. } => {
                format!("`jitd ca show` tries the one in {pin} once; the right PIN resets the count").into()
            }
            Self::PinLocked { .. } => "reset the PIN with the token's own tool and the security officer's PIN".into(),
            Self::NoObject { .. } => "`jitd init`, `jitd ca renew` or `jitd ca csr` creates it".into(),
            Self::ObjectTwice { .. } => "give the right one a different label".into(),
            Self::ObjectKind { .. } => {
                "use a P-256 key pair that may sign, with one label for the private and the public key".into()
            }
            Self::Changed { .. } => "`jitd ca show` shows the key; restart jitd if the change was intended".into(),
            Self::Failed { .. } => "check whether it is plugged in, and whether its own tool reaches it".into(),
            Self::Credential(error) => return error.hint(),
            Self::File(error) => return error.hint(),
            Self::NoRandom => return None,
        })
    }
}

/// A key pair in a token, opened.
pub(super) struct TokenKey {
    place: TokenPlace,
    /// The public point, uncompressed.
    public: Vec<u8>,
    /// One signature at a time; none while the token is unplugged.
    open: Mutex<Option<Open>>,
}

struct Open {
    session: Session,
    key: ObjectHandle,
    public: Vec<u8>,
}

impl Open {
    fn sign(&self, module: &Module, digest: &[u8]) -> Result<Vec<u8>, Error> {
        // While this lock is held, nobody restarts the module.
        let _in_use = module.context.read();
        self.session.sign(&Mechanism::Ecdsa, self.key, digest)
    }
}

impl TokenKey {
    /// Opens the existing key.
    pub(super) fn open(place: &TokenPlace, attempt: Attempt) -> Result<Self, TokenError> {
        let session = place.session(attempt)?;
        Ok(Self::from(place, place.find(session)?))
    }

    /// Opens the existing key, or generates a new one.
    pub(super) fn make_or_take(place: &TokenPlace) -> Result<Self, TokenError> {
        match Self::open(place, Attempt::ByHand) {
            Err(TokenError::NoObject { .. }) => {
                let session = place.session(Attempt::ByHand)?;
                place.generate(&session)?;
                Ok(Self::from(place, place.find(session)?))
            }
            other => other,
        }
    }

    fn from(place: &TokenPlace, open: Open) -> Self {
        Self { place: place.clone(), public: open.public.clone(), open: Mutex::new(Some(open)) }
    }

    /// The public point, uncompressed.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// An ECDSA signature of the SHA-256 of `message`, in DER.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let digest = sha256(message);
        let mut open = self.open.lock();
        let module = module(&self.place.module)?;
        let raw = match open.as_ref().map(|open| open.sign(&module, &digest)) {
            Some(Ok(raw)) => raw,
            // A session ends when the token is unplugged; it may be back now.
            _ => {
                *open = None;
                let again = self.place.find(self.place.session(Attempt::Careful)?)?;
                if again.public != self.public {
                    return Err(self.changed());
                }
                let raw = again.sign(&module, &digest).map_err(|error| self.place.failed("sign", &error))?;
                *open = Some(again);
                raw
            }
        };
        let signature = der(&raw).ok_or_else(|| self.changed())?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.public)
            .verify(message, &signature)
            .map_err(|_| self.changed())?;
        Ok(signature)
    }

    fn changed(&self) -> TokenError {
        TokenError::Changed { token: self.place.token.clone(), object: self.place.object.clone() }
    }
}

impl TokenPlace {
    /// A session in which the key can be used.
    fn session(&self, attempt: Attempt) -> Result<Session, TokenError> {
        let module = module(&self.module)?;
        let slot = match self.slot(&module) {
            Err(TokenError::TokenTwice { token, count }) => return Err(TokenError::TokenTwice { token, count }),
            // Some modules find a newly plugged token only after a restart; and a module that could not restart while all
            // tokens were unplugged has to be restarted first.
            Err(_) => {
                module.restart(&self.module)?;
                self.slot(&module)
            }
            other => other,
        }?;
        let context = module.context.read();
        let failed = |doing| move |error: Error| self.failed(doing, &error);
        // Generating a key needs a read-write session; a read-only session is enough for everything else.
        let session = match attempt {
            Attempt::ByHand => context.open_rw_session(slot),
            Attempt::Careful => context.open_ro_session(slot),
        }
        .map_err(failed("open a session"))?;
        let token = context.get_token_info(slot).map_err(failed("report its state"))?;
        if !token.login_required() {
            return Ok(session);
        }
        let locked = |why| TokenError::PinLocked { token: self.token.clone(), why };
        if token.user_pin_locked() {
            return Err(locked("has locked its PIN"));
        }
        if token.user_pin_final_try() {
            return Err(locked("would lock its PIN after one more wrong PIN, so none is tried"));
        }
        let pin = self.pin()?;
        let digest = sha256(pin.as_bytes());
        // Held until the answer is known, so that no other thread tries the same wrong PIN.
        let refused = module.refused(&self.token);
        let mut refused = refused.lock();
        if *refused == Some(digest) && attempt == Attempt::Careful {
            return Err(TokenError::PinRefused { token: self.token.clone(), pin: self.pin.clone() });
        }
        if token.user_pin_count_low() && attempt == Attempt::Careful {
            return Err(TokenError::PinDoubtful { token: self.token.clone(), pin: self.pin.clone() });
        }
        // Sessions of one process share their login.
        match session.login(UserType::User, Some(&AuthPin::from(pin.as_str()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                *refused = None;
                Ok(session)
            }
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                *refused = Some(digest);
                Err(TokenError::PinRefused { token: self.token.clone(), pin: self.pin.clone() })
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(locked("has locked its PIN")),
            Err(error) => Err(self.failed("log in", &error)),
        }
    }

    /// The only slot with the token.
    fn slot(&self, module: &Module) -> Result<Slot, TokenError> {
        let context = module.context.read();
        let slots = context.get_slots_with_token().map_err(|error| self.failed("be listed", &error))?;
        let labelled: Vec<(Slot, String)> = slots
            .into_iter()
            // A slot that does not answer has no token that we could use.
            .filter_map(|slot| Some((slot, context.get_token_info(slot).ok()?.label().trim_end().to_owned())))
            .collect();
        let mut found = labelled.iter().filter(|(_, label)| *label == self.token);
        match (found.next(), found.count()) {
            (Some((slot, _)), 0) => Ok(*slot),
            (Some(_), others) => Err(TokenError::TokenTwice { token: self.token.clone(), count: others + 1 }),
            (None, _) => Err(TokenError::NoToken {
                token: self.token.clone(),
                module: self.module.clone(),
                found: match labelled.iter().filter(|(_, label)| !label.is_empty()).collect::<Vec<_>>().as_slice() {
                    [] => "none".to_owned(),
                    others => others
                        .iter()
                        .map(|(_, label)| format!("`{}`", label.escape_debug()))
                        .collect::<Vec<_>>()
                        .join(", "),
                },
            }),
        }
    }

    fn pin(&self) -> Result<Zeroizing<String>, TokenError> {
        let text = match &self.pin {
            PinPlace::Credential(name) => credential::read(name)?,
            PinPlace::File(path) => files::read_private(path)?,
        };
        // Editors add a newline.
        Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// The only key pair with that label.
    fn find(&self, session: Session) -> Result<Open, TokenError> {
        let label = Attribute::Label(self.object.clone().into_bytes());
        let objects = |class: ObjectClass, by: Attribute| {
            session
                .find_objects(&[Attribute::Class(class), by])
                .map_err(|error| self.failed("look for the key", &error))
        };
        let kind = |why| TokenError::ObjectKind { token: self.token.clone(), object: self.object.clone(), why };
        let key = match objects(ObjectClass::PRIVATE_KEY, label.clone())?.as_slice() {
            [key] => *key,
            [] => return Err(TokenError::NoObject { token: self.token.clone(), object: self.object.clone() }),
            several => return Err(self.twice("private keys", several.len())),
        };
        let wanted = [AttributeType::KeyType, AttributeType::Sign, AttributeType::Id];
        let attributes = |object, wanted: &[AttributeType]| {
            session.get_attributes(object, wanted).map_err(|error| self.failed("describe the key", &error))
        };
        let mut by = label;
        for attribute in attributes(key, &wanted)? {
            match attribute {
                Attribute::KeyType(KeyType::EC) | Attribute::Sign(true) => {}
                Attribute::KeyType(_) => return Err(kind("is not on an elliptic curve")),
                Attribute::Sign(false) => return Err(kind("may not sign")),
                Attribute::Id(id) if !id.is_empty() => by = Attribute::Id(id),
                _ => {}
            }
        }
        let public = match objects(ObjectClass::PUBLIC_KEY, by)?.as_slice() {
            [public] => *public,
            [] => return Err(kind("has no public key")),
            several => return Err(self.twice("public keys", several.len())),
        };
        let (mut curve, mut point) = (Vec::new(), Vec::new());
        for attribute in attributes(public, &[AttributeType::KeyType, AttributeType::EcParams, AttributeType::EcPoint])?
        {
            match attribute {
                Attribute::EcParams(value) => curve = value,
                Attribute::EcPoint(value) => point = value,
                _ => {}
            }
        }
        if curve != P256 {
            return Err(kind("is not on the curve P-256"));
        }
        // An OCTET STRING with the point (PKCS#11 3.1 section 6.3.3); some tokens give the point alone.
        let public = point.strip_prefix(&[0x04, 0x41]).filter(|rest| rest.len() == 65).unwrap_or(&point).to_vec();
        match public.as_slice() {
            [0x04, coordinates @ ..] if coordinates.len() == 64 => Ok(Open { session, key, public }),
            _ => Err(kind("has an unreadable public key")),
        }
    }

    fn generate(&self, session: &Session) -> Result<(), TokenError> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| TokenError::NoRandom)?;
        let common =
            [Attribute::Token(true), Attribute::Label(self.object.clone().into_bytes()), Attribute::Id(id.to_vec())];
        let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(P256.to_vec())];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        session
            .generate_key_pair(
                &Mechanism::EccKeyPairGen,
                &[&common[..], &public].concat(),
                &[&common[..], &private].concat(),
            )
            .map_err(|error| self.failed("generate a key", &error))?;
        Ok(())
    }

    fn twice(&self, what: &'static str, count: usize) -> TokenError {
        TokenError::ObjectTwice { token: self.token.clone(), object: self.object.clone(), what, count }
    }

    fn failed(&self, doing: &'static str, error: &Error) -> TokenError {
        TokenError::Failed { token: self.token.clone(), doing, why: describe(error) }
    }
}

/// The name of a return code; the library's own text for it is a whole paragraph of the standard.
fn describe(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("{function:?} returned {code:?}"),
        other => other.to_string(),
    }
}

/// The OID 1.2.840.10045.3.1.7, encoded.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// A loaded module. PKCS#11 initializes a module once per process, and all sessions of the process share its logins.
struct Module {
    /// Locked for writing only during a restart.
    context: RwLock<Pkcs11>,
    /// The PIN that each token refused, each with a separate lock: a token that hangs does not block the others.
    refused: Mutex<BTreeMap<String, Arc<Mutex<Refused>>>>,
}

/// The SHA-256 of the last PIN that a token refused.
type Refused = Option<[u8; 32]>;

impl Module {
    fn load(path: &Path) -> Result<Self, TokenError> {
        files::check_code(path)?;
        Ok(Self { context: RwLock::new(begun(path)?), refused: Mutex::default() })
    }

    /// Restarts the module, which ends all its sessions; whoever has one opens another.
    fn restart(&self, path: &Path) -> Result<(), TokenError> {
        // Waiting for a token that hangs would block all other tokens of the module.
        let mut context = self.context.try_write().ok_or_else(|| {
            let why = "it has to be restarted, but another call is in progress".to_owned();
            TokenError::Module { path: path.to_path_buf(), why }
        })?;
        // If this fails, the module is still initialized, which `begun` accepts.
        let _ = context.clone().finalize();
        *context = begun(path)?;
        Ok(())
    }

    fn refused(&self, token: &str) -> Arc<Mutex<Refused>> {
        let mut tokens = self.refused.lock();
        Arc::clone(tokens.entry(token.to_owned()).or_default())
    }
}

fn begun(path: &Path) -> Result<Pkcs11, TokenError> {
    let failed = |error: Error| TokenError::Module { path: path.to_path_buf(), why: describe(&error) };
    let context = Pkcs11::new(path).map_err(failed)?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(context),
        Err(error) => Err(failed(error)),
    }
}

/// The module at that path, loaded at the first call and kept until the process ends. A module that is slow to load blocks
/// only those who need it.
fn module(path: &Path) -> Result<Arc<Module>, TokenError> {
    type Place = Arc<Mutex<Option<Arc<Module>>>>;
    static LOADED: Mutex<BTreeMap<PathBuf, Place>> = Mutex::new(BTreeMap::new());
    let place = {
        let mut loaded = LOADED.lock();
        Arc::clone(loaded.entry(path.to_path_buf()).or_default())
    };
    let mut place = place.lock();
    if let Some(module) = &*place {
        return Ok(Arc::clone(module));
    }
    let module = Arc::new(Module::load(path)?);
    *place = Some(Arc::clone(&module));
    Ok(module)
}

/// ECDSA-Sig-Value (RFC 5480 appendix A) of the two halves that PKCS#11 returns.
fn der(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() != 64 {
        return None;
    }
    let (r, s) = raw.split_at_checked(32)?;
    Some(element(0x30, &[&integer(r), &integer(s)]))
}

/// A positive INTEGER in its shortest form.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = bytes.get(zeros..).unwrap_or_default();
    match digits.first() {
        Some(..0x80) => element(0x02, &[digits]),
        // Without the zero byte, its first bit would make it negative; and zero itself needs one digit.
        _ => element(0x02, &[&[0], digits]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_its_numbers_in_their_shortest_form() {
        for (number, written) in [
            (vec![0; 32], vec![2, 1, 0]),
            ([vec![0; 31], vec![0x7f]].concat(), vec![2, 1, 0x7f]),
            ([vec![0; 31], vec![0x80]].concat(), vec![2, 2, 0, 0x80]),
            (vec![0xff; 32], [vec![2, 33, 0], vec![0xff; 32]].concat()),
        ] {
            assert_eq!(integer(&number), written);
            let whole = [written.clone(), written].concat();
            assert_eq!(der(&[number.clone(), number].concat()), Some(element(0x30, &[&whole])));
        }
        assert_eq!(der(&[1; 63]), None);
    }
}
