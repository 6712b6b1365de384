//! `netpager-host export`: exports of a running service, and images of them.

use std::error::Error;
use std::path::PathBuf;

use admin::Progress;
use admin::client::ExportAction;
use clap::{Args, Subcommand};
use nbd::uri::NbdUri;
use remote::{Engine, NbdConfig, NbdStore};
use store::{Content, FileStore, Space, Store, StoreError};

/// How much is copied at a time.
const PIECE_BYTES: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  netpager-host export list
  netpager-host export create build 4GiB --quota 1GiB
  netpager-host export save nbd://127.0.0.1:10809/build build.img
  netpager-host export load nbd://127.0.0.1:10809/build build.img
  netpager-host export rm build

list, create, rm and stat ask the admin address of a running service; save and load speak NBD, with any server.";

/// List, make and remove exports of a running service; save them to images and load them.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ExportCommand {
    #[command(flatten)]
    Action(ExportAction),
    /// Copy an export to a sparse file; what reads as zeroes takes no space there.
    Save(Image),
    /// Copy a file to an export; what is a hole in the file becomes one in the export.
    Load(Image),
}

/// An export, and a file with the same bytes.
#[derive(Args, Debug)]
pub(crate) struct Image {
    /// The export: nbd://HOST:PORT/NAME, nbds://…, nbd+unix:///NAME?socket=PATH.
    uri: NbdUri,
    /// The file.
    file: PathBuf,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

impl ExportCommand {
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Action(action) => Ok(action.run()?),
            Self::Save(image) => image.save(),
            Self::Load(image) => image.load(),
        }
    }
}

impl Image {
    fn open(&self) -> Result<NbdStore, Box<dyn Error>> {
        let config = NbdConfig { tls: crate::exports::certificates(&self.uri)?, ..NbdConfig::new(self.uri.clone()) };
        Ok(NbdStore::open(&Engine::start()?, config)?)
    }

    fn save(&self) -> Result<(), Box<dyn Error>> {
        let export = self.open()?;
        if std::fs::metadata(&self.file).is_ok_and(|found| found.len() > 0) {
            return Err(format!("{} is there already, and not empty; nothing was written", self.file.display()).into());
        }
        let file = FileStore::open(&self.file, export.size())?;
        self.copy("saving", &export, &file)
    }

    fn load(&self) -> Result<(), Box<dyn Error>> {
        let export = self.open()?;
        let length = std::fs::metadata(&self.file)?.len();
        if length > export.size() {
            return Err(format!("{} has {length} bytes, and the export only {}", self.file.display(), export.size()).into());
        }
        let file = FileStore::open(&self.file, length)?;
        self.copy("loading", &file, &export)
    }

    fn copy(&self, what: &str, from: &dyn Store, to: &dyn Store) -> Result<(), Box<dyn Error>> {
        let mut progress = Progress::bytes(what, Some(from.size()), self.quiet);
        copy(from, to, |bytes| progress.advance(bytes))?;
        println!("{}", progress.finish());
        Ok(())
    }
}

/// Copies all of a store; holes become holes.
fn copy(from: &dyn Store, to: &dyn Store, mut advanced: impl FnMut(u64)) -> Result<(), StoreError> {
    let (mut at, end, mut buffer) = (0, from.size(), vec![0; PIECE_BYTES as usize]);
    while at < end {
        let extent = from.extent_at(at, end - at)?;
        let length = match extent.content {
            Content::Hole => {
                let length = extent.length.min(end - at);
                to.write_zeroes(at, length, Space::Release)?;
                length
            }
            Content::Data => {
                let length = extent.length.min(PIECE_BYTES).min(end - at);
                let piece = &mut buffer[..length as usize];
                from.read_at(at, piece)?;
                to.write_at(at, piece)?;
                length
            }
        };
        at += length;
        advanced(length);
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::{Arena, RamStore};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_holes() {
        let store = || RamStore::new(Arc::new(Arena::new(8 << 20)), 1 << 30, 8 << 20).unwrap();
        let (from, to) = (store(), store());
        from.write_at(5 << 20, &[7; 3 << 20]).unwrap();
        to.write_at(100 << 20, &[9; 4096]).unwrap();
        let mut done = 0;
        copy(&from, &to, |bytes| done += bytes).unwrap();
        assert_eq!(done, 1 << 30);
        let mut read = vec![0; 3 << 20];
        to.read_at(5 << 20, &mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 7));
        assert_eq!(to.extent_at(8 << 20, 1 << 29).unwrap().content, Content::Hole);
        assert_eq!(to.used_bytes(), from.used_bytes(), "what was there before is gone");
    }
}
