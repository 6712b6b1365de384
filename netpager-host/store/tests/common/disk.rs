//! A disk in memory that behaves as badly as a real one may: it forgets what was not synced, in any order and cut anywhere;
//! it loses power in the middle of a call, fills up, becomes read-only, fails to sync, and flips bits.
//!
//! A file is what is durable, and the writes since the last sync. A crash applies any of their 512-byte sectors, in part
//! even, and leaves out the others. The names in a directory are durable up to the last sync of the directory, and a crash
//! keeps any number of the changes after that, in order, as a journal does.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use store::vfs::{Found, Vfs, VfsFile, Zeroing};

use super::random::Random;

const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// What is left of the writes that were not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    /// All: only the process died.
    Process,
    /// None.
    Clean,
    /// Some sectors, as the seed says.
    Power(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    current: Vec<u8>,
    changes: Vec<Change>,
    /// Blocks that take space.
    blocks: std::collections::BTreeSet<usize>,
    locked: bool,
}

impl File {
    fn apply(content: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write { offset, data } => {
                if content.len() < offset + data.len() {
                    content.resize(offset + data.len(), 0);
                }
                content[*offset..offset + data.len()].copy_from_slice(data);
            }
            Change::Length(length) => content.resize(*length, 0),
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.current, &change);
        self.changes.push(change);
    }

    /// Applies the sectors of all unsynced changes that `random` likes to the durable content.
    fn crash(&mut self, random: &mut Random) {
        let favour = random.below(5);
        for change in std::mem::take(&mut self.changes) {
            let Change::Write { offset, data } = change else {
                if random.below(4) < favour {
                    Self::apply(&mut self.durable, &change);
                }
                continue;
            };
            let mut at = 0;
            while at < data.len() {
                let end = data.len().min((offset + at) / SECTOR * SECTOR + SECTOR - offset);
                if random.below(4) < favour {
                    let cut = if random.once_in(8) { at + random.below(end - at + 1) } else { end };
                    Self::apply(&mut self.durable, &Change::Write { offset: offset + at, data: data[at..cut].to_vec() });
                }
                at = end;
            }
        }
        self.current.clone_from(&self.durable);
    }
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    names: Names,
    durable_names: Names,
    /// What the names were after each change since the last sync.
    name_changes: Vec<Names>,
    /// Calls that change something, so far.
    calls: usize,
    power_fails_at: Option<usize>,
    capacity: Option<usize>,
    read_only: bool,
    failing_syncs: usize,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct Handle {
    disk: Disk,
    file: usize,
    holds_lock: Mutex<bool>,
}

fn failed(kind: io::ErrorKind, reason: &str) -> io::Error {
    io::Error::new(kind, reason)
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power fails in the middle of the call of this number; that call and all later ones fail.
    pub(crate) fn fail_power_at(&self, call: usize) {
        self.state().power_fails_at = Some(call);
    }

    /// The disk holds no more than so many bytes.
    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// The next syncs fail, and what they were to make durable is dropped in part.
    pub(crate) fn fail_syncs(&self, count: usize) {
        self.state().failing_syncs = count;
    }

    /// How much space all files take.
    pub(crate) fn used(&self) -> usize {
        self.state().files_used()
    }

    /// The disk after a crash. What had it open before has a disk that is gone.
    pub(crate) fn restart(&self, crash: Crash) -> Self {
        let state = self.state();
        let mut files = state.files.clone();
        let mut random = Random(if let Crash::Power(seed) = crash { seed } else { 0 });
        for file in &mut files {
            match crash {
                Crash::Process => file.durable.clone_from(&file.current),
                Crash::Clean => file.current.clone_from(&file.durable),
                Crash::Power(_) => file.crash(&mut random),
            }
            file.changes.clear();
            file.locked = false;
            file.blocks =
                (0..file.current.len().div_ceil(BLOCK)).filter(|block| block_of(&file.current, *block).iter().any(|&b| b != 0)).collect();
        }
        let names = match crash {
            Crash::Process => state.names.clone(),
            Crash::Clean => state.durable_names.clone(),
            Crash::Power(_) => {
                let kept = random.below(state.name_changes.len() + 1);
                kept.checked_sub(1).map_or(&state.durable_names, |last| &state.name_changes[last]).clone()
            }
        };
        Self(Arc::new(Mutex::new(State { files, durable_names: names.clone(), names, ..State::default() })))
    }

    /// Changes a byte of a file behind everyone's back.
    pub(crate) fn flip(&self, path: &Path, offset: usize, bits: u8) {
        let mut state = self.state();
        let file = state.names[path];
        state.files[file].durable[offset] ^= bits;
        state.files[file].current[offset] ^= bits;
    }

    /// The files there are, and how long they are.
    pub(crate) fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state();
        state.names.iter().map(|(path, &file)| (path.clone(), state.files[file].current.len())).collect()
    }

    /// Counts a call that changes something; the power may fail before it, or in its middle (`Ok(false)`).
    fn change(&self) -> io::Result<(MutexGuard<'_, State>, bool)> {
        let mut state = self.state();
        state.calls += 1;
        let (calls, fails_at) = (state.calls, state.power_fails_at.unwrap_or(usize::MAX));
        if calls > fails_at {
            return Err(failed(io::ErrorKind::Other, "the power is gone"));
        }
        if state.read_only {
            return Err(failed(io::ErrorKind::ReadOnlyFilesystem, "read-only"));
        }
        Ok((state, calls < fails_at))
    }

    fn change_names(&self, with: impl FnOnce(&mut State)) -> io::Result<()> {
        let (mut state, survives) = self.change()?;
        with(&mut state);
        let names = state.names.clone();
        state.name_changes.push(names);
        if survives { Ok(()) } else { Err(failed(io::ErrorKind::Other, "the power is gone")) }
    }
}

impl State {
    fn files_used(&self) -> usize {
        self.names.values().map(|&file| self.files[file].blocks.len() * BLOCK).sum()
    }
}

fn block_of(content: &[u8], block: usize) -> &[u8] {
    &content[block * BLOCK..content.len().min((block + 1) * BLOCK)]
}

impl Vfs for Disk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn VfsFile>> {
        let known = self.state().names.get(path).copied();
        let file = match known {
            Some(file) => file,
            None if create => {
                let mut made = 0;
                self.change_names(|state| {
                    state.files.push(File::default());
                    made = state.files.len() - 1;
                    state.names.insert(path.to_owned(), made);
                })?;
                made
            }
            None => return Err(failed(io::ErrorKind::NotFound, "no such file")),
        };
        Ok(Box::new(Handle { disk: self.clone(), file, holds_lock: Mutex::new(false) }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state().names.contains_key(path))
    }

    /// All directories are there.
    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change_names(|state| _ = state.names.remove(path))
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let (mut state, survives) = self.change()?;
        if !survives {
            return Err(failed(io::ErrorKind::Other, "the power is gone"));
        }
        state.durable_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }
}

impl VfsFile for Handle {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        let content = &state.files[self.file].current;
        let found = content.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof, "past the end"))?);
        Ok(())
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, survives) = self.disk.change()?;
        let offset = offset as usize;
        let (used, capacity) = (state.files_used(), state.capacity.unwrap_or(usize::MAX));
        let file = &mut state.files[self.file];
        let blocks = offset / BLOCK..(offset + data.len()).div_ceil(BLOCK);
        let new: Vec<usize> = blocks.filter(|block| !file.blocks.contains(block)).collect();
        let affordable = capacity.saturating_sub(used) / BLOCK;
        // A full disk takes the beginning.
        let fits = new.get(affordable).map_or(data.len(), |block| (block * BLOCK).saturating_sub(offset));
        file.blocks.extend(new.iter().take(affordable));
        file.change(Change::Write { offset, data: data[..fits].to_vec() });
        match (survives, fits < data.len()) {
            (false, _) => Err(failed(io::ErrorKind::Other, "the power is gone")),
            (true, true) => Err(failed(io::ErrorKind::StorageFull, "no space")),
            (true, false) => Ok(()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, survives) = self.disk.change()?;
        if !survives {
            return Err(failed(io::ErrorKind::Other, "the power is gone"));
        }
        let failing = state.failing_syncs > 0;
        state.failing_syncs = state.failing_syncs.saturating_sub(1);
        let seed = state.calls as u64;
        let file = &mut state.files[self.file];
        if failing {
            // The kernel says it once, and then takes what is in its memory for written.
            file.crash_durable_only(seed);
            return Err(failed(io::ErrorKind::Other, "the disk failed"));
        }
        file.durable.clone_from(&file.current);
        file.changes.clear();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].current.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let (mut state, survives) = self.disk.change()?;
        let file = &mut state.files[self.file];
        file.change(Change::Length(length as usize));
        file.blocks.retain(|&block| block * BLOCK < length as usize);
        if survives { Ok(()) } else { Err(failed(io::ErrorKind::Other, "the power is gone")) }
    }

    fn zero(&self, zeroing: Zeroing, offset: u64, length: u64) -> io::Result<bool> {
        if zeroing == Zeroing::Allocate {
            self.write_all_at(&vec![0; length as usize], offset)?;
            return Ok(true);
        }
        let (mut state, survives) = self.disk.change()?;
        let (start, end) = (offset as usize, (offset + length) as usize);
        let file = &mut state.files[self.file];
        file.change(Change::Write { offset: start, data: vec![0; end - start] });
        (start.div_ceil(BLOCK)..end / BLOCK).for_each(|block| _ = file.blocks.remove(&block));
        if survives { Ok(true) } else { Err(failed(io::ErrorKind::Other, "the power is gone")) }
    }

    fn find_data(&self, offset: u64) -> io::Result<Found> {
        let state = self.disk.state();
        let found = state.files[self.file].blocks.range(offset as usize / BLOCK..).next();
        Ok(found.map_or(Found::Nowhere, |&block| Found::At(offset.max((block * BLOCK) as u64))))
    }

    fn find_hole(&self, offset: u64) -> io::Result<Found> {
        let state = self.disk.state();
        let file = &state.files[self.file];
        let block = (offset as usize / BLOCK..).find(|block| !file.blocks.contains(block)).unwrap();
        Ok(Found::At(((block * BLOCK) as u64).max(offset).min(file.current.len() as u64)))
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        Ok((self.disk.state().files[self.file].blocks.len() * BLOCK) as u64)
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.state();
        let locked = std::mem::replace(&mut state.files[self.file].locked, true);
        *self.holds_lock.lock().unwrap() |= !locked;
        Ok(!locked)
    }
}

impl File {
    /// Makes some of the changes durable and forgets the others, which the kernel's memory still has.
    fn crash_durable_only(&mut self, seed: u64) {
        let current = self.current.clone();
        self.crash(&mut Random(seed));
        self.current = current;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if *self.holds_lock.lock().unwrap() {
            self.disk.state().files[self.file].locked = false;
        }
    }
}
