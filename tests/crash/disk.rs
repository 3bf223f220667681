//! A disk whose power is lost: out of what was written and synced, what may be there afterwards.
//!
//! What was synced is there. Of what was written after the last sync of its file there is nothing, all, its beginning, its end,
//! or any of its sectors; and a name that was made or taken away is so only when its folder was synced, or else perhaps. That
//! is what POSIX promises (fsync(3p)); file systems in use promise more. `main.rs` asks.

use std::collections::BTreeMap;
use std::rc::Rc;

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// The files of a folder, by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What a program did to a file of the folder, as `record.c` wrote it down.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Empty for the folder itself.
    pub(crate) name: String,
    pub(crate) deed: Deed,
}

#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Made,
    Changed(Change),
    Synced,
    Removed,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Written { offset: usize, bytes: Rc<[u8]> },
    Cut(usize),
}

/// The log of `record.c`.
pub(crate) fn steps(mut log: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    while !log.is_empty() {
        let number = |bytes: &[u8]| usize::try_from(u64::from_ne_bytes(bytes.try_into().unwrap())).unwrap();
        let (head, rest) = log.split_at(18);
        let (name, rest) = rest.split_at(usize::from(head[1]));
        let (bytes, rest) = rest.split_at(number(&head[10..]));
        let offset = number(&head[2..10]);
        let deed = match head[0] {
            b'c' => Deed::Made,
            b'w' => Deed::Changed(Change::Written { offset, bytes: bytes.into() }),
            b't' => Deed::Changed(Change::Cut(offset)),
            b's' => Deed::Synced,
            b'u' => Deed::Removed,
            other => panic!("`{other}` is no record"),
        };
        steps.push(Step { name: String::from_utf8(name.to_vec()).unwrap(), deed });
        log = rest;
    }
    steps
}

/// Numbers that look random and are the same for a seed (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Whether a sync does what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Holds,
    /// It is answered, and nothing is written: a disk with a cache that it does not tell of.
    Lies,
}

/// The disk at a moment of the history.
pub(crate) struct Disk {
    sync: Sync,
    inodes: Vec<Inode>,
    /// By name, which file has it, and which one had it when the folder was synced.
    names: BTreeMap<String, Name>,
}

#[derive(Clone, Copy, Default)]
struct Name {
    now: Option<usize>,
    synced: Option<usize>,
}

#[derive(Default)]
struct Inode {
    synced: Vec<u8>,
    /// What was done to it since, oldest first.
    changes: Vec<Change>,
}

impl Disk {
    /// A disk that has these files.
    pub(crate) fn with(files: &Files, sync: Sync) -> Self {
        let inodes = files.values().map(|bytes| Inode { synced: bytes.clone(), changes: Vec::new() }).collect();
        let name = |number| Name { now: Some(number), synced: Some(number) };
        let names = files.keys().enumerate().map(|(number, file)| (file.clone(), name(number))).collect();
        Self { sync, inodes, names }
    }

    pub(crate) fn take(&mut self, Step { name, deed }: &Step) {
        if name.is_empty() {
            self.names.values_mut().for_each(|name| name.synced = name.now);
            return;
        }
        let entry = self.names.entry(name.clone()).or_default();
        if let Deed::Made = deed {
            entry.now = Some(self.inodes.len());
            return self.inodes.push(Inode::default());
        }
        let inode = &mut self.inodes[entry.now.unwrap_or_else(|| panic!("`{name}` is not there"))];
        match deed {
            Deed::Changed(change) => inode.changes.push(change.clone()),
            Deed::Synced if self.sync == Sync::Holds => inode.sync(),
            Deed::Removed => entry.now = None,
            Deed::Synced | Deed::Made => {}
        }
    }

    /// What a program reads that goes on.
    pub(crate) fn files(&self) -> Files {
        let now = |(name, inode): (&String, &Name)| Some((name.clone(), self.inodes[inode.now?].whole()));
        self.names.iter().filter_map(now).collect()
    }

    /// What is there when the power comes back.
    pub(crate) fn after_a_loss(&self, chance: &mut Chance) -> Files {
        let mut files = Files::new();
        for (name, of) in &self.names {
            let inode = if chance.below(2) == 0 { of.synced } else { of.now };
            if let Some(inode) = inode {
                files.insert(name.clone(), self.inodes[inode].after_a_loss(chance));
            }
        }
        files
    }
}

impl Inode {
    fn sync(&mut self) {
        self.synced = self.whole();
        self.changes.clear();
    }

    fn whole(&self) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        self.changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    }

    fn after_a_loss(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let from = chance.below(self.changes.len() + 1);
        match chance.below(5) {
            0 => {}
            1 => self.changes.iter().for_each(|change| change.apply(&mut bytes)),
            2 => self.changes[..from].iter().for_each(|change| change.apply(&mut bytes)),
            3 => self.changes[from..].iter().for_each(|change| change.apply(&mut bytes)),
            _ => self.changes.iter().for_each(|change| change.apply_partly(&mut bytes, chance)),
        }
        bytes
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Written { offset, bytes } => write(file, *offset, bytes),
            Self::Cut(length) => file.resize(*length, 0),
        }
    }

    fn apply_partly(&self, file: &mut Vec<u8>, chance: &mut Chance) {
        match self {
            Self::Written { offset, bytes } => {
                let first = SECTOR - offset % SECTOR;
                let (first, rest) = bytes.split_at(first.min(bytes.len()));
                let mut at = *offset;
                for sector in std::iter::once(first).chain(rest.chunks(SECTOR)) {
                    if chance.below(2) == 0 {
                        write(file, at, sector);
                    }
                    at += sector.len();
                }
            }
            Self::Cut(_) if chance.below(2) == 0 => self.apply(file),
            Self::Cut(_) => {}
        }
    }
}

fn write(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}
