//! A disk whose power can be cut after every operation, and that tells what may be left then.
//!
//! What was not synced is lost, or there, or there in part: a content as it was when last synced, empty, any prefix of
//! the new one, or zeros in its place; of the changes of names since the directory was synced, any subset. That is
//! more than ext4 allows itself, so what survives this survives a change of the file system too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::directory;
use super::files::Files;

/// Steps in which a torn content is tried, in bytes.
const TEAR: usize = 32;
/// Most changes of names of which every subset is tried; of more, only what came first.
const SUBSETS: usize = 5;

type Content = Rc<Vec<u8>>;

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Content,
    content: Content,
}

/// A change of names.
#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl Change {
    fn directory(&self) -> &Path {
        match self {
            Self::Create(path, _) | Self::Rename(_, path, _) | Self::Remove(path) => directory(path),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

/// A failure that was ordered.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// At which operation, from 0.
    pub at: usize,
    /// `errno`.
    pub errno: i32,
    /// Whether all later ones fail too.
    pub lasting: bool,
}

#[derive(Clone, Debug)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    changes: Vec<Change>,
    operations: usize,
    power_until: usize,
    fault: Option<Fault>,
    room: usize,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Simulated(Rc<RefCell<State>>);

impl Simulated {
    /// An empty disk with much room.
    pub fn new() -> Self {
        Self::of(Vec::new(), BTreeMap::new())
    }

    /// A disk where everything is durable.
    fn of(contents: Vec<Content>, names: BTreeMap<PathBuf, usize>) -> Self {
        let inodes = contents.into_iter().map(|c| Inode { durable: c.clone(), content: c }).collect();
        Self(Rc::new(RefCell::new(State {
            inodes,
            durable: names.clone(),
            names,
            changes: Vec::new(),
            operations: 0,
            power_until: usize::MAX,
            fault: None,
            room: usize::MAX,
        })))
    }

    /// A disk of its own with the same content, everything durable, counting from 0.
    pub fn copy(&self) -> Self {
        let state = self.0.borrow();
        Self::of(state.inodes.iter().map(|inode| inode.content.clone()).collect(), state.names.clone())
    }

    /// Operations so far that change something or may fail.
    pub fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    /// Cuts the power after so many operations.
    pub fn cut_after(&self, operations: usize) {
        self.0.borrow_mut().power_until = operations;
    }

    /// Orders a failure.
    pub fn fail(&self, fault: Fault) {
        self.0.borrow_mut().fault = Some(fault);
    }

    /// Leaves room for so many bytes more.
    pub fn leave_room(&self, bytes: usize) {
        let mut state = self.0.borrow_mut();
        state.room = state.used() + bytes;
    }

    /// Every disk that may be found after a power cut now.
    pub fn crashes(&self) -> Vec<Self> {
        let state = self.0.borrow();
        let mut disks = Vec::new();
        for names in state.possible_names() {
            let mut contents: Vec<Vec<Content>> = vec![Vec::new()];
            for (number, inode) in state.inodes.iter().enumerate() {
                let named = names.values().any(|named| *named == number);
                let possible = if named { inode.possible() } else { vec![inode.durable.clone()] };
                contents = contents
                    .into_iter()
                    .flat_map(|before| {
                        possible.iter().map(move |one| [&*before, std::slice::from_ref(one)].concat())
                    })
                    .collect();
            }
            disks.extend(contents.into_iter().map(|contents| Self::of(contents, names.clone())));
        }
        disks
    }

    /// Counts an operation, and fails it when it is to fail.
    fn step(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        if state.off() {
            return Err(io::Error::other("the power is off"));
        }
        let at = state.operations;
        state.operations += 1;
        match state.fault {
            Some(fault) if fault.at == at || (fault.lasting && at > fault.at) => {
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            _ => Ok(()),
        }
    }

    fn fill(&self, path: &Path, content: &[u8], synced: bool) -> io::Result<()> {
        if self.0.borrow().off() {
            return self.step();
        }
        let failed = self.step();
        let mut state = self.0.borrow_mut();
        let inode = state.open(path);
        state.inodes[inode].content = Content::default();
        let fits = state.room.saturating_sub(state.used());
        // What fails has written a part.
        let length = if failed.is_err() { content.len() / 2 } else { content.len() }.min(fits);
        state.inodes[inode].content = Rc::new(content[..length].to_vec());
        if synced {
            state.inodes[inode].durable = state.inodes[inode].content.clone();
        }
        failed?;
        if length < content.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl State {
    const fn off(&self) -> bool {
        self.operations >= self.power_until
    }

    fn used(&self) -> usize {
        self.names.values().map(|inode| self.inodes[*inode].content.len()).sum()
    }

    fn open(&mut self, path: &Path) -> usize {
        if let Some(inode) = self.names.get(path) {
            return *inode;
        }
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.names.insert(path.to_owned(), inode);
        self.changes.push(Change::Create(path.to_owned(), inode));
        inode
    }

    fn possible_names(&self) -> Vec<BTreeMap<PathBuf, usize>> {
        let count = self.changes.len();
        let chosen: Vec<u64> = if count <= SUBSETS {
            (0..1 << count).collect()
        } else {
            (0..=count).map(|first| (1 << first) - 1).collect()
        };
        let names = |chosen: u64| {
            let mut names = self.durable.clone();
            let picked = self.changes.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
            picked.for_each(|(_, change)| change.apply(&mut names));
            names
        };
        chosen.into_iter().map(names).collect()
    }
}

impl Inode {
    fn possible(&self) -> Vec<Content> {
        if self.durable == self.content {
            return vec![self.content.clone()];
        }
        let new = &self.content;
        let mut possible = vec![self.durable.clone(), Content::default(), new.clone()];
        for cut in (0..new.len()).step_by(TEAR).chain(new.len().checked_sub(1)) {
            let zeros = [&new[..cut], &*vec![0; new.len() - cut]].concat();
            possible.extend([Rc::new(new[..cut].to_vec()), Rc::new(zeros)]);
        }
        possible
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Files for Simulated {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // What is read with the power off does not matter: nothing comes of it.
        if !self.0.borrow().off() {
            self.step()?;
        }
        let state = self.0.borrow();
        let content = &state.inodes[*state.names.get(path).ok_or_else(missing)?].content;
        Ok(content.iter().copied().take(usize::try_from(limit).unwrap()).collect())
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.borrow();
        let here = state.names.keys().filter(|path| directory(path) == dir);
        Ok(here.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn make_dirs(&self, _: &Path) -> io::Result<()> {
        self.step()
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.fill(path, content, false)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.0.borrow_mut();
        let inode = *state.names.get(path).ok_or_else(missing)?;
        state.inodes[inode].durable = state.inodes[inode].content.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.0.borrow_mut();
        let inode = *state.names.get(from).ok_or_else(missing)?;
        let change = Change::Rename(from.to_owned(), to.to_owned(), inode);
        change.apply(&mut state.names);
        state.changes.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.0.borrow_mut();
        state.names.remove(path).ok_or_else(missing)?;
        state.changes.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.0.borrow_mut();
        let changes = std::mem::take(&mut state.changes);
        let (here, elsewhere): (Vec<_>, Vec<_>) = changes.into_iter().partition(|c| c.directory() == dir);
        here.iter().for_each(|change| change.apply(&mut state.durable));
        state.changes = elsewhere;
        Ok(())
    }

    fn allocate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.fill(path, &vec![0; usize::try_from(length).unwrap()], true)
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let state = self.0.borrow();
        Ok(state.inodes[*state.names.get(path).ok_or_else(missing)?].content.len() as u64)
    }
}

#[test]
fn what_was_synced_survives_and_what_was_not_may_be_anything() {
    let disk = Simulated::new();
    let (one, two, dir) = (Path::new("/d/one"), Path::new("/d/two"), Path::new("/d"));
    disk.write(one, b"old").unwrap();
    disk.sync(one).unwrap();
    disk.sync_dir(dir).unwrap();
    assert_eq!(disk.crashes().len(), 1);
    disk.write(one, b"newer").unwrap();
    disk.rename(one, two).unwrap();
    let found: std::collections::BTreeSet<_> = disk
        .crashes()
        .iter()
        .map(|disk| [one, two].map(|path| disk.read(path, 9).map(|c| String::from_utf8(c).unwrap()).ok()))
        .collect();
    for content in ["old", "", "newer", "newe"] {
        assert!(found.contains(&[Some(content.to_owned()), None]), "{content:?} under the old name");
        assert!(found.contains(&[None, Some(content.to_owned())]), "{content:?} under the new name");
    }
    assert!(!found.iter().any(|[one, two]| one.is_some() == two.is_some()), "a rename is whole");
}
