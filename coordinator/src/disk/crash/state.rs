//! What is on the simulated disk: for every file and folder the durable content, the live one, and the changes between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

mod faults;

use faults::Faults;

/// Torn writes keep or lose pieces of this size.
const SECTOR_BYTES: usize = 512;
const ROOT: usize = 0;

#[derive(Debug)]
pub(super) struct State {
    nodes: Vec<Node>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) faults: Faults,
    pub(super) process: u64,
}

#[derive(Debug)]
enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Debug, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Append>,
}

#[derive(Debug)]
struct Append {
    offset: usize,
    bytes: Vec<u8>,
    /// A sync of it failed: no later sync keeps it, though the cache still shows it.
    dropped: bool,
}

#[derive(Debug, Default)]
struct Folder {
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<EntryChange>,
}

#[derive(Clone, Debug)]
enum EntryChange {
    Link { name: String, node: usize },
    Unlink { name: String },
    Rename { from: String, to: String, node: usize },
}

impl EntryChange {
    fn apply(self, entries: &mut BTreeMap<String, usize>) {
        match self {
            EntryChange::Link { name, node } => {
                entries.insert(name, node);
            }
            EntryChange::Unlink { name } => {
                entries.remove(&name);
            }
            EntryChange::Rename { from, to, node } => {
                entries.remove(&from);
                entries.insert(to, node);
            }
        }
    }
}

impl Folder {
    fn change(&mut self, change: EntryChange) {
        change.clone().apply(&mut self.live);
        self.pending.push(change);
    }
}

impl State {
    pub(super) fn new() -> State {
        let nodes = vec![Node::Folder(Folder::default())];
        State { nodes, locks: BTreeSet::new(), faults: Faults::default(), process: 0 }
    }

    pub(super) fn next_process(&mut self) -> u64 {
        self.process += 1;
        self.locks.clear();
        self.faults.clear();
        self.process
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<usize> {
        self.add(path, Node::File(File::default()))
    }

    pub(super) fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        if self.find_folder(path).is_ok() {
            return Ok(());
        }
        self.add(path, Node::Folder(Folder::default())).map(|_| ())
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<usize> {
        let id = self.find(path)?;
        match &self.nodes[id] {
            Node::File(_) => Ok(id),
            Node::Folder(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file")),
        }
    }

    pub(super) fn find_folder(&self, path: &Path) -> io::Result<usize> {
        let id = self.find(path)?;
        match &self.nodes[id] {
            Node::Folder(_) => Ok(id),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn content(&self, file: usize) -> &[u8] {
        match &self.nodes[file] {
            Node::File(file) => &file.live,
            Node::Folder(_) => &[],
        }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let folder = self.find_folder(path)?;
        let is_file = |node: usize| matches!(self.nodes[node], Node::File(_));
        let entries = self.folder(folder).map(|folder| &folder.live).into_iter().flatten();
        Ok(entries.filter(|(_, node)| is_file(**node)).map(|(name, _)| name.clone()).collect())
    }

    pub(super) fn append(&mut self, file: usize, bytes: &[u8]) {
        if let Node::File(file) = &mut self.nodes[file] {
            file.pending.push(Append { offset: file.live.len(), bytes: bytes.to_vec(), dropped: false });
            file.live.extend_from_slice(bytes);
        }
    }

    /// A successful sync keeps what is pending; a failed one marks it as never to be kept.
    pub(super) fn sync_file(&mut self, file: usize, succeeds: bool) {
        let Node::File(file) = &mut self.nodes[file] else { return };
        if !succeeds {
            file.pending.iter_mut().for_each(|append| append.dropped = true);
            return;
        }
        for append in file.pending.extract_if(.., |append| !append.dropped) {
            place(&mut file.durable, append.offset, &append.bytes);
        }
    }

    pub(super) fn sync_folder(&mut self, folder: usize) {
        if let Node::Folder(folder) = &mut self.nodes[folder] {
            folder.durable = folder.live.clone();
            folder.pending.clear();
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find_file(from)?;
        let (folder, from) = self.entry(from)?;
        let (target, to) = self.entry(to)?;
        if folder != target {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "renames stay within one folder"));
        }
        self.change(folder, EntryChange::Rename { from, to, node });
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find_file(from)?;
        if self.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = self.entry(to)?;
        self.change(folder, EntryChange::Link { name, node });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find_file(path)?;
        let (folder, name) = self.entry(path)?;
        self.change(folder, EntryChange::Unlink { name });
        Ok(())
    }

    /// The power cut: each change not yet synced survives, is torn or is lost, as the seed says.
    pub(super) fn lose_unsynced(&mut self, seed: u64) {
        let mut random = Random(seed);
        let keep_percent = [0, 25, 50, 75, 100][random.below(5)];
        for node in &mut self.nodes {
            match node {
                Node::File(file) => lose_appends(file, keep_percent, &mut random),
                Node::Folder(folder) => {
                    for change in folder.pending.drain(..) {
                        if random.below(100) < keep_percent {
                            change.apply(&mut folder.durable);
                        }
                    }
                    folder.live = folder.durable.clone();
                }
            }
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = self.entry(path)?;
        let id = self.nodes.len();
        self.nodes.push(node);
        self.change(folder, EntryChange::Link { name, node: id });
        Ok(id)
    }

    fn change(&mut self, folder: usize, change: EntryChange) {
        if let Node::Folder(folder) = &mut self.nodes[folder] {
            folder.change(change);
        }
    }

    fn folder(&self, id: usize) -> Option<&Folder> {
        match &self.nodes[id] {
            Node::Folder(folder) => Some(folder),
            Node::File(_) => None,
        }
    }

    /// The folder that holds the path's entry, and the entry's name.
    fn entry(&self, path: &Path) -> io::Result<(usize, String)> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
        let folder = self.find_folder(path.parent().ok_or_else(invalid)?)?;
        Ok((folder, name.to_owned()))
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut id = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let folder = self.folder(id).ok_or(io::ErrorKind::NotADirectory)?;
                    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                    id = *folder.live.get(name).ok_or(io::ErrorKind::NotFound)?;
                }
                Component::Prefix(_) | Component::ParentDir => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
        }
        Ok(id)
    }
}

fn lose_appends(file: &mut File, keep_percent: usize, random: &mut Random) {
    for append in file.pending.drain(..) {
        let Append { offset, bytes, .. } = append;
        match random.below(100) {
            roll if roll < keep_percent / 2 => place(&mut file.durable, offset, &bytes),
            roll if roll < keep_percent => {
                for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    let kept = random.below(sector.len() + 1);
                    match random.below(3) {
                        0 => place(&mut file.durable, offset + index * SECTOR_BYTES, sector),
                        1 => place(&mut file.durable, offset + index * SECTOR_BYTES, &sector[..kept]),
                        _ => {}
                    }
                }
                // The size may be kept where the data is not: the file then ends in zeros.
                if random.below(2) == 0 {
                    place(&mut file.durable, offset + bytes.len(), &[]);
                }
            }
            _ => {}
        }
    }
    file.live = file.durable.clone();
}

/// Writes at an offset; what lies between the old end and the offset reads as zeros.
fn place(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// SplitMix64: enough randomness for a simulation, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}
