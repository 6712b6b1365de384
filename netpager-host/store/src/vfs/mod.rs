//! What stores on disk ask of the system: few enough calls that a test can answer them with a disk that loses power, fills
//! up, fails to flush or flips bits. [`HostVfs`] answers them with the real one.

mod host;

use std::fmt::Debug;
use std::io;
use std::path::Path;

pub use host::HostVfs;

/// How to zero a range of a file without writing zeroes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeroing {
    /// The space is given back.
    PunchHole,
    /// The space is kept, or taken.
    Allocate,
}

/// Where the data that was looked for begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There, before the end of the file.
    At(u64),
    /// Nowhere before the end.
    Nowhere,
    /// The file system cannot tell.
    Unknown,
}

/// The files of a system. Names of files that were made, renamed or removed are only durable once their directory is synced.
pub trait Vfs: Debug + Send + Sync {
    /// Opens a file for reading and writing; makes it if there is none and `create` says so.
    ///
    /// # Errors
    /// The file cannot be used.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn VfsFile>>;

    /// Whether there is such a file or directory.
    ///
    /// # Errors
    /// The system does not tell.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes a directory, if there is none.
    ///
    /// # Errors
    /// There is none afterwards.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a directory, in no order. Names that are not Unicode are none of ours and left out.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Removes a file.
    ///
    /// # Errors
    /// It is still there.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Some may be lost in a crash.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// An open file. Positions are always named, so calls may overlap.
pub trait VfsFile: Debug + Send + Sync {
    /// Fills `buffer`.
    ///
    /// # Errors
    /// Nothing in `buffer` may be used.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes `data`, in the kernel's memory at least.
    ///
    /// # Errors
    /// Part of it may have been written.
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Any of what was written since the last success may be lost, even if a later call succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// How long the file is.
    ///
    /// # Errors
    /// The system does not tell.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file, or makes it longer with a hole.
    ///
    /// # Errors
    /// It is as it was.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Zeroes a range within the file; false if the file system does not know how.
    ///
    /// # Errors
    /// The range holds old bytes or zeroes.
    fn zero(&self, zeroing: Zeroing, offset: u64, length: u64) -> io::Result<bool>;

    /// The first data from `offset` on.
    ///
    /// # Errors
    /// The system does not tell.
    fn find_data(&self, offset: u64) -> io::Result<Found>;

    /// The first hole from `offset` on.
    ///
    /// # Errors
    /// The system does not tell.
    fn find_hole(&self, offset: u64) -> io::Result<Found>;

    /// How much space the file takes.
    ///
    /// # Errors
    /// The system does not tell.
    fn allocated_bytes(&self) -> io::Result<u64>;

    /// Locks the file against other processes until it is closed; false if one of them has.
    ///
    /// # Errors
    /// The file cannot be locked.
    fn try_lock(&self) -> io::Result<bool>;
}
