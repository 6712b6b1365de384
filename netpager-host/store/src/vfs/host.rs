//! The files of the machine this runs on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom, fallocate, flock, seek};
use rustix::io::Errno;

use super::{Found, Vfs, VfsFile, Zeroing};

/// The real files.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostVfs;

#[derive(Debug)]
struct HostFile(File);

impl Vfs for HostVfs {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn VfsFile>> {
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Box::new(HostFile(file)))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        // The directory of a bare name is the one we are in.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }
}

impl HostFile {
    /// The file's position is not used by anything else: reads and writes name their own.
    fn find(&self, from: SeekFrom) -> io::Result<Found> {
        match seek(&self.0, from) {
            Ok(at) => Ok(Found::At(at)),
            Err(Errno::NXIO) => Ok(Found::Nowhere),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Found::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

impl VfsFile for HostFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn zero(&self, zeroing: Zeroing, offset: u64, length: u64) -> io::Result<bool> {
        let flags = match zeroing {
            Zeroing::PunchHole => FallocateFlags::PUNCH_HOLE,
            Zeroing::Allocate => FallocateFlags::ZERO_RANGE,
        };
        match fallocate(&self.0, flags | FallocateFlags::KEEP_SIZE, offset, length) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn find_data(&self, offset: u64) -> io::Result<Found> {
        self.find(SeekFrom::Data(offset))
    }

    fn find_hole(&self, offset: u64) -> io::Result<Found> {
        self.find(SeekFrom::Hole(offset))
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.blocks() * 512)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
