//! What was done through the gateway: reads and verifies the logs and recordings that `jit-gateway` wrote, and plays them.
//!
//! ```text
//!  sessions/GRANT/log.jsonl     ──► chain of lines ──► requests ──► words, tables
//!  sessions/GRANT/SESSION.cast  ──► hash by the log ─► events ────► a screen, or text ──► our own escape codes only
//!             SESSION.cast.age  ──► hash by the log ─► with an identity of age: the same
//! ```
//! The files are the gateway's, which faces hostile bytes, and what they contain is mostly a pod's. So no link in them is
//! followed, no line is trusted that does not verify, memory is bounded, and nothing of them reaches a terminal as it is.
//! It only reads, and decides nothing. The daemon reads for people, `jitd audit` for root, and `jit-login` plays what the
//! daemon sent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use jit_core::grant::{GrantId, LogHead};
use jit_host::hint::Hint;
use jit_wire::kept::{Checked, GrantLog, LoggedRequest};
use jit_wire::session::{Asked, LOG, RECORDING, SEALED};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

mod cast;
mod lines;
mod listing;
mod log;
mod recording;
mod replay;
mod screen;
mod text;
mod words;

pub use jit_seal::{Identity, KeyError, identities};

pub use cast::{Cast, CastFault, Event, What};
pub use listing::{HEADINGS, faults, is_session, length, rows, title};
pub use recording::{Bytes, Pieces, PrintFault, Recording};
pub use replay::Replay;
pub use screen::{FASTEST, Pace, SLOWEST, ScreenError, Time, show, speed};
pub use text::Plain;
pub use words::words;

/// Where the gateway of the packages keeps the logs.
pub const FOLDER: &str = "/var/lib/jit-gateway/sessions";

/// What is held in memory of all logs that one command reads, in bytes of their lines. What does not fit is counted.
const HELD: usize = 64 * 1024 * 1024;

/// Longer than an id that the gateway makes, which is a UUID.
const LONGEST_ID: usize = 64;

/// Why something cannot be read, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// The system call failed.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation, as a verb.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// It is a link, a pipe or something else that the gateway does not create.
    #[error("`{}` is not {wanted}", path.display())]
    Kind {
        /// The file or folder.
        path: PathBuf,
        /// The expected type.
        wanted: &'static str,
    },
    /// No log has such an id.
    #[error("no grant and no session in `{}` has an id that begins with `{}`", folder.display(), written.escape_default())]
    Unknown {
        /// The folder of all logs.
        folder: PathBuf,
        /// What was looked for.
        written: String,
    },
    /// Several have.
    #[error("`{}` is the beginning of several ids: {}", written.escape_default(), found.join(", "))]
    Several {
        /// What was looked for.
        written: String,
        /// The first ids.
        found: Vec<String>,
    },
    /// The session has no recording.
    #[error("session {0} was not recorded")]
    NotRecorded(String),
    /// The file does not verify, not even its beginning.
    #[error("nothing of the recording of session {session} verifies: {why}")]
    Unproved {
        /// The session.
        session: String,
        /// What is wrong.
        why: String,
    },
    /// It is larger than what may be compared.
    #[error("the recording of session {session} has {bytes} bytes, which is too much for this way")]
    Large {
        /// The session.
        session: String,
        /// Its size.
        bytes: u64,
    },
    /// The file verified, and was another one when it was read again.
    #[error("the recording of session {0} changed while it was read")]
    Changed(String),
    /// It is sealed, and there is no key, or not the right one.
    #[error("the recording of session {session} is sealed{}", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Sealed {
        /// The session.
        session: String,
        /// Why it cannot be opened with the keys that there are.
        why: Option<String>,
    },
}

impl Hint for SessionsError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("root and the group `jit-sessions` can read what the gateway recorded".into())
            }
            Self::Io { source, doing: "open", .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("a gateway creates this folder; `--folder` names another one".into())
            }
            Self::Large { .. } => Some("root can play it on the bastion with `jitd audit play`".into()),
            Self::Sealed { why: None, .. } => {
                Some("name a file with the key of one of its recipients: `--identity FILE`".into())
            }
            Self::Several { .. } => Some("write more of the id".into()),
            Self::Unproved { .. } | Self::Changed(_) => Some("keep the files unchanged as evidence".into()),
            _ => None,
        }
    }
}

/// The folder of all logs, open.
pub struct Sessions {
    path: PathBuf,
    folder: OwnedFd,
    /// How much more may be held.
    room: usize,
    /// How many more bytes of recordings may be compared.
    compared: u64,
    known: BTreeMap<GrantId, Vec<LogHead>>,
}

/// What somebody means by an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A grant.
    Grant(GrantId),
    /// A request of a grant.
    Session(GrantId, String),
}

impl Sessions {
    /// Opens the folder of all logs, such as [`FOLDER`].
    ///
    /// # Errors
    /// [`SessionsError::Io`] or [`SessionsError::Kind`].
    pub fn open(path: &Path) -> Result<Self, SessionsError> {
        let folder = open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| refused(path, "a folder", errno))?;
        Ok(Self { path: path.to_owned(), folder, room: HELD, compared: u64::MAX, known: BTreeMap::new() })
    }

    /// Compares each log with where it stood by the audit trail, too.
    #[must_use]
    pub fn with_trail(self, known: BTreeMap<GrantId, Vec<LogHead>>) -> Self {
        Self { known, ..self }
    }

    /// Holds at most `room` bytes of lines, and compares at most `compared` bytes of recordings with the logs; those beyond are
    /// listed as [skipped](Checked::skipped).
    #[must_use]
    pub fn within(self, room: usize, compared: u64) -> Self {
        Self { room, compared, ..self }
    }

    /// Whether the gateway kept anything of a grant.
    #[must_use]
    pub fn has(&self, grant: &GrantId) -> bool {
        nix::sys::stat::fstatat(self.folder.as_fd(), grant.as_str(), nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// The recorded sessions whose ids begin so, at most `limit`, by the names of their files.
    ///
    /// # Errors
    /// [`SessionsError::Io`].
    pub fn recorded(&self, beginning: &str, limit: usize) -> Result<Vec<(GrantId, String)>, SessionsError> {
        let beginning = beginning.to_ascii_lowercase();
        let mut found = Vec::new();
        if !is_id(&beginning) {
            return Ok(found);
        }
        for grant in self.grants()? {
            let ids = self.recordings_of(&grant, &beginning);
            found.extend(ids.into_iter().map(|id| (grant.clone(), id)));
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The grants that have a folder.
    ///
    /// # Errors
    /// [`SessionsError::Io`].
    pub fn grants(&self) -> Result<Vec<GrantId>, SessionsError> {
        let mut grants: Vec<GrantId> = names(&self.path)?.into_iter().filter_map(|name| name.parse().ok()).collect();
        grants.sort();
        Ok(grants)
    }

    /// Reads and verifies the log of a grant, and the recordings of the requests that `keep` selects by their id, what they
    /// ask for, and whether they only read. A log that is missing or damaged is a [fault](GrantLog::fault), not an error.
    ///
    /// # Errors
    /// [`SessionsError::Io`] if a file cannot be read.
    pub fn read(
        &mut self,
        grant: &GrantId,
        keep: impl Fn(&str, &Asked, bool) -> bool,
    ) -> Result<GrantLog, SessionsError> {
        let (mut log, heads) = self.log(grant, keep)?;
        for (request, heads) in log.requests.iter_mut().zip(&heads) {
            if request.recorded {
                request.recording = Some(self.check(grant, request, heads)?.1);
            }
        }
        Ok(log)
    }

    /// The grant or the session that an id, or the beginning of one, stands for. Grants are read as [`GrantId::as_written`]
    /// reads them.
    ///
    /// # Errors
    /// [`SessionsError::Unknown`], [`SessionsError::Several`], or a folder that cannot be read.
    pub fn find(&mut self, written: &str) -> Result<Found, SessionsError> {
        let (beginning, session) = (GrantId::as_written(written), written.to_ascii_lowercase());
        let grants = self.grants()?;
        let mut found: Vec<Found> = Vec::new();
        if GrantId::is_beginning(&beginning) {
            let these = grants.iter().filter(|grant| grant.as_str().starts_with(&beginning));
            found.extend(these.cloned().map(Found::Grant));
        }
        if is_id(&session) {
            for grant in &grants {
                found
                    .extend(self.sessions_of(grant, &session)?.into_iter().map(|id| Found::Session(grant.clone(), id)));
            }
        }
        let exact = |found: &&Found| match found {
            Found::Grant(id) => id.as_str() == beginning,
            Found::Session(_, id) => *id == session,
        };
        if let Some(exact) = found.iter().find(exact) {
            return Ok(exact.clone());
        }
        match found.as_slice() {
            [] => Err(SessionsError::Unknown { folder: self.path.clone(), written: written.to_owned() }),
            [one] => Ok(one.clone()),
            several => {
                let name = |found: &Found| match found {
                    Found::Grant(id) => format!("grant {id}"),
                    Found::Session(_, id) => format!("session {id}"),
                };
                let found = several.iter().take(5).map(name).collect();
                Err(SessionsError::Several { written: written.to_owned(), found })
            }
        }
    }

    /// The requests of a grant whose ids begin so: those with a recording by their files, so that a long log need not be
    /// read, otherwise those of the log.
    fn sessions_of(&mut self, grant: &GrantId, beginning: &str) -> Result<Vec<String>, SessionsError> {
        let mut ids = self.recordings_of(grant, beginning);
        if ids.is_empty() {
            let (log, _) = self.log(grant, |id, _, _| id.starts_with(beginning))?;
            ids = log.requests.into_iter().map(|request| request.id).collect();
        }
        ids.sort();
        Ok(ids)
    }

    fn recordings_of(&self, grant: &GrantId, beginning: &str) -> Vec<String> {
        // A folder that cannot be listed is a fault of this grant, and hides no other.
        let recordings = names(&self.path.join(grant.as_str())).unwrap_or_default();
        recordings
            .into_iter()
            .filter_map(|name| name.strip_suffix(RECORDING).or(name.strip_suffix(SEALED)).map(str::to_owned))
            .filter(|id| is_id(id) && id.starts_with(beginning))
            .collect()
    }

    /// A recorded session, as its log describes it, and as much of the recording as verifies.
    ///
    /// # Errors
    /// [`SessionsError::NotRecorded`], [`SessionsError::Unproved`], or a file that cannot be read.
    pub fn recording(
        &mut self,
        grant: &GrantId,
        session: &str,
    ) -> Result<(GrantLog, LoggedRequest, Recording), SessionsError> {
        let (mut log, mut heads) = self.log(grant, |id, _, _| id == session)?;
        let unproved = |why: String| SessionsError::Unproved { session: session.to_owned(), why };
        let Some(mut request) = log.requests.pop() else {
            let why = log.fault.unwrap_or_else(|| format!("the log of grant {grant} does not have it"));
            return Err(unproved(why));
        };
        if !request.recorded {
            return Err(SessionsError::NotRecorded(session.to_owned()));
        }
        let (file, checked) = self.check(grant, &request, &heads.pop().unwrap_or_default())?;
        if checked.skipped {
            return Err(SessionsError::Large { session: session.to_owned(), bytes: checked.bytes });
        }
        let Some(file) = file.filter(|_| checked.verified > 0) else {
            let nothing = || "the log does not say yet how far it has come".to_owned();
            return Err(unproved(checked.fault.unwrap_or_else(nothing)));
        };
        let recording = Recording::new(request.id.clone(), file, checked.clone());
        request.recording = Some(checked);
        Ok((log, request, recording))
    }

    fn log(
        &mut self,
        grant: &GrantId,
        keep: impl Fn(&str, &Asked, bool) -> bool,
    ) -> Result<(GrantLog, Vec<log::Heads>), SessionsError> {
        let faulty = |why: String| Ok((log::faulty(grant, why), Vec::new()));
        let path = self.path.join(grant.as_str()).join(LOG);
        let file = match self.file(grant, LOG) {
            Ok(Some(file)) => file,
            Ok(None) => return faulty(format!("there is no {LOG}")),
            Err(kind @ SessionsError::Kind { .. }) => return faulty(kind.to_string()),
            Err(error) => return Err(error),
        };
        let known = self.known.get(grant).map_or(&[][..], Vec::as_slice);
        log::read(grant, io::BufReader::new(file), known, &mut self.room, keep).map_err(|source| SessionsError::Io {
            path,
            doing: "read",
            source,
        })
    }

    fn check(
        &mut self,
        grant: &GrantId,
        request: &LoggedRequest,
        heads: &log::Heads,
    ) -> Result<(Option<File>, Checked), SessionsError> {
        let name = format!("{}{RECORDING}", request.id);
        let sealed = format!("{}{SEALED}", request.id);
        // The hash in the log says whether it is the right one.
        let (file, name) = match self.file(grant, &name) {
            Ok(None) => match self.file(grant, &sealed) {
                Ok(None) => (Ok(None), name),
                found => (found, sealed),
            },
            found => (found, name),
        };
        let file = match file {
            Ok(Some(file)) => file,
            Ok(None) => return Ok((None, recording::faulty(format!("there is no {name}")))),
            Err(kind @ SessionsError::Kind { .. }) => return Ok((None, recording::faulty(kind.to_string()))),
            Err(error) => return Err(error),
        };
        let failed =
            |source| SessionsError::Io { path: self.path.join(grant.as_str()).join(name), doing: "read", source };
        let checked = recording::skipped(&file).and_then(|skipped| match self.compared.checked_sub(skipped.bytes) {
            Some(left) => {
                self.compared = left;
                recording::check(&file, heads, request.outcome.is_some())
            }
            None => Ok(skipped),
        });
        let checked = checked.map_err(failed)?;
        Ok((Some(file), checked))
    }

    /// A file of a grant; none if there is no such file. Neither it nor its folder may be a link, with which a gateway in
    /// somebody else's hands could show other files of this host, and a pipe must not block.
    fn file(&self, grant: &GrantId, name: &str) -> Result<Option<File>, SessionsError> {
        let path = self.path.join(grant.as_str());
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = match openat(self.folder.as_fd(), grant.as_str(), flags | OFlag::O_DIRECTORY, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(refused(&path, "a folder", errno)),
        };
        let path = path.join(name);
        let file = match openat(folder.as_fd(), name, flags | OFlag::O_NONBLOCK, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(refused(&path, "a regular file", errno)),
        };
        let metadata =
            file.metadata().map_err(|source| SessionsError::Io { path: path.clone(), doing: "inspect", source })?;
        if metadata.is_file() { Ok(Some(file)) } else { Err(SessionsError::Kind { path, wanted: "a regular file" }) }
    }
}

/// Whether this can be the id of a request, and so the name of a file.
fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The names in a folder that are text.
fn names(path: &Path) -> Result<Vec<String>, SessionsError> {
    let failed = |source| SessionsError::Io { path: path.to_owned(), doing: "list", source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// `ELOOP` and `ENOTDIR` are what open(2) answers for a link with `O_NOFOLLOW`.
fn refused(path: &Path, wanted: &'static str, errno: Errno) -> SessionsError {
    match errno {
        Errno::ELOOP | Errno::ENOTDIR | Errno::ENXIO => SessionsError::Kind { path: path.to_owned(), wanted },
        errno => SessionsError::Io { path: path.to_owned(), doing: "open", source: errno.into() },
    }
}
