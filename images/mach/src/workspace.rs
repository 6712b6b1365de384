//! Where things are: the top of the source tree and the folder that cargo builds into.
//!
//! Everything that reads or writes files starts from here, so that the program works from any folder.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The source tree this program belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The folder that holds the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// From `MACH_ROOT` (set by the script), else the first folder upwards that holds `images/manifests`.
    pub(crate) fn find() -> Result<Self> {
        let root = match std::env::var_os("MACH_ROOT") {
            Some(root) => PathBuf::from(root),
            None => Self::upwards(&std::env::current_dir().context("there is no current folder")?)?,
        };
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => std::path::absolute(target).context("CARGO_TARGET_DIR is not a path")?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    fn upwards(from: &Path) -> Result<PathBuf> {
        match from.ancestors().find(|folder| folder.join("images/manifests").is_dir()) {
            Some(root) => Ok(root.to_owned()),
            None => bail!("{} is not inside the pvmach source tree; call ./mach there", from.display()),
        }
    }

    /// Our own folder inside the target folder, made if it is not there.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join("mach").join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_from_a_folder_below() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("images/manifests/deep")).unwrap();
        assert_eq!(Workspace::upwards(&top.path().join("images/manifests/deep")).unwrap(), top.path());
    }

    #[test]
    fn outside_of_the_tree_is_an_error() {
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(Workspace::upwards(elsewhere.path()).unwrap_err().to_string().contains("source tree"));
    }
}
