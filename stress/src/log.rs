//! What the shim has noted of a worker's calls, and which states a power cut may leave of them.
//!
//! The model is the harshest that POSIX allows and file systems keep to in order: what a file holds is safe once the file was
//! made durable, what a folder holds once the folder was. Until then each name may be old or new, and the content of each file
//! old, missing, cut off, zeros, mixed or new, while the other files are all old, or all new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One line of the shim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Create {
        name: String,
        inode: u64,
    },
    Truncate {
        inode: u64,
        to: usize,
    },
    Write {
        inode: u64,
        at: usize,
        bytes: Vec<u8>,
    },
    /// The content of a file.
    Durable {
        inode: u64,
    },
    /// The names in the store's folder.
    DurableNames,
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        name: String,
    },
    /// A request went out.
    Send,
    /// An answer came in.
    Receive,
    /// The caller has the token.
    Told,
}

/// Reads a log, for the names below `folder`.
pub(crate) fn parse(text: &str, folder: &str) -> Result<Vec<Call>, String> {
    let name = |path: &str| path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
    let mut calls = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().map_err(|_| format!("the shim's log: {line}"));
        let call = match words[..] {
            ["create", path, inode] => name(path).map(|name| number(inode).map(|inode| Call::Create { name, inode })),
            ["truncate", inode, to] => {
                Some(number(inode).and_then(|inode| Ok(Call::Truncate { inode, to: number(to)? as usize })))
            }
            ["write", inode, at, hex] => Some(
                number(inode).and_then(|inode| Ok(Call::Write { inode, at: number(at)? as usize, bytes: unhex(hex)? })),
            ),
            ["durable", inode] => Some(number(inode).map(|inode| Call::Durable { inode })),
            ["durable_names", _] => Some(Ok(Call::DurableNames)),
            ["rename", from, to] => name(from).zip(name(to)).map(|(from, to)| Ok(Call::Rename { from, to })),
            ["unlink", path] => name(path).map(|name| Ok(Call::Unlink { name })),
            ["send"] => Some(Ok(Call::Send)),
            ["receive"] => Some(Ok(Call::Receive)),
            ["told"] => Some(Ok(Call::Told)),
            ["mkdir", _] | [""] => None,
            _ => return Err(format!("the shim's log: {line}")),
        };
        calls.extend(call.transpose()?);
    }
    Ok(calls)
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let byte = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).map(byte).collect::<Option<_>>().ok_or_else(|| "the shim's log: no bytes".to_owned())
}

/// Names, and what each holds.
pub(crate) type State = BTreeMap<String, Vec<u8>>;

/// The files of a folder as they are, all of it durable.
pub(crate) fn read_state(folder: &Path) -> Result<(State, BTreeMap<String, u64>), String> {
    use std::os::unix::fs::MetadataExt;
    let (mut state, mut inodes) = (State::new(), BTreeMap::new());
    for entry in std::fs::read_dir(folder).map_err(|error| error.to_string())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let inode = entry.metadata().map_err(|error| error.to_string())?.ino();
        state.insert(name.clone(), std::fs::read(entry.path()).map_err(|error| error.to_string())?);
        inodes.insert(name, inode);
    }
    Ok((state, inodes))
}

/// A file, whatever its names.
#[derive(Clone, Default)]
struct Content {
    safe: Vec<u8>,
    now: Vec<u8>,
}

impl Content {
    fn safe(&self) -> &Vec<u8> {
        &self.safe
    }

    fn now(&self) -> &Vec<u8> {
        &self.now
    }

    /// What a cut may leave of it.
    fn variants(&self) -> BTreeSet<Vec<u8>> {
        let mut variants = BTreeSet::from([self.safe.clone(), self.now.clone()]);
        if self.safe != self.now {
            let half = &self.now[..self.now.len() / 2];
            variants.extend([Vec::new(), half.to_vec(), vec![0; self.now.len()]]);
            // Of a file that is written over, the first part may be new and the rest old.
            let rest = self.safe.get(half.len()..).unwrap_or_default();
            variants.insert([half, rest].concat());
        }
        variants
    }
}

#[derive(Clone)]
enum Change {
    Set(String, usize),
    /// Never half done.
    Move(String, String),
    Remove(String),
}

/// The folder while the calls are made: what is safe, and what is not yet.
pub(crate) struct Disk {
    /// Never reused, other than the system's numbers of files.
    contents: Vec<Content>,
    by_inode: BTreeMap<u64, usize>,
    safe_names: BTreeMap<String, usize>,
    names: BTreeMap<String, usize>,
    /// Since the folder was made durable.
    changes: Vec<Change>,
}

impl Disk {
    pub(crate) fn new(state: &State, inodes: &BTreeMap<String, u64>) -> Disk {
        let contents = state.values().map(|bytes| Content { safe: bytes.clone(), now: bytes.clone() }).collect();
        let names: BTreeMap<String, usize> = state.keys().cloned().zip(0..).collect();
        let by_inode = names.iter().filter_map(|(name, index)| Some((*inodes.get(name)?, *index))).collect();
        Disk { contents, by_inode, safe_names: names.clone(), names, changes: Vec::new() }
    }

    pub(crate) fn apply(&mut self, call: &Call) {
        match call {
            Call::Create { name, inode } => {
                self.contents.push(Content::default());
                let index = self.contents.len() - 1;
                self.by_inode.insert(*inode, index);
                self.change(Change::Set(name.clone(), index));
            }
            Call::Truncate { inode, to } => {
                if let Some(content) = self.content(*inode) {
                    content.now.resize(*to, 0);
                }
            }
            Call::Write { inode, at, bytes } => {
                if let Some(content) = self.content(*inode) {
                    let end = at + bytes.len();
                    content.now.resize(content.now.len().max(end), 0);
                    content.now[*at..end].copy_from_slice(bytes);
                }
            }
            Call::Durable { inode } => {
                if let Some(content) = self.content(*inode) {
                    content.safe = content.now.clone();
                }
            }
            Call::DurableNames => {
                self.safe_names = self.names.clone();
                self.changes.clear();
            }
            Call::Rename { from, to } => self.change(Change::Move(from.clone(), to.clone())),
            Call::Unlink { name } => self.change(Change::Remove(name.clone())),
            Call::Send | Call::Receive | Call::Told => {}
        }
    }

    fn content(&mut self, inode: u64) -> Option<&mut Content> {
        self.contents.get_mut(*self.by_inode.get(&inode)?)
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    /// Every state that a cut at this moment may leave.
    pub(crate) fn states(&self) -> BTreeSet<State> {
        // A few changes at most are under way: each may be there or not.
        let count = self.changes.len().min(6);
        let mut states = BTreeSet::new();
        for chosen in 0..1_u32 << count {
            let mut names = self.safe_names.clone();
            for (index, change) in self.changes.iter().enumerate() {
                if index >= count || chosen & (1 << index) != 0 {
                    apply(&mut names, change);
                }
            }
            for rest in [Content::safe as fn(&Content) -> &Vec<u8>, Content::now] {
                let whole = |index: &usize| rest(&self.contents[*index]).clone();
                let state: State = names.iter().map(|(name, index)| (name.clone(), whole(index))).collect();
                for (name, index) in &names {
                    for bytes in self.contents[*index].variants() {
                        states.insert(State::from_iter(state.clone().into_iter().chain([(name.clone(), bytes)])));
                    }
                }
                states.insert(state);
            }
        }
        states
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Change) {
    match change {
        Change::Set(name, index) => drop(names.insert(name.clone(), *index)),
        Change::Move(from, to) => {
            if let Some(index) = names.remove(from) {
                names.insert(to.clone(), index);
            }
        }
        Change::Remove(name) => drop(names.remove(name)),
    }
}
