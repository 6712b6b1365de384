//! The crates of the workspace as cargo sees them: names, folders, targets, and which of each other they use.

use crate::toolchain::host_cargo;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    /// `[package.metadata]`.
    pub(crate) metadata: serde_json::Value,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for an ordinary one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for crates of the workspace.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    pub(crate) src_path: PathBuf,
}

impl Metadata {
    pub(crate) fn read(workspace: &Workspace) -> Result<Self> {
        let mut cargo = host_cargo();
        cargo.current_dir(&workspace.root).args(["metadata", "--no-deps", "--format-version", "1", "--quiet"]);
        let output = cargo.output().context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("cargo metadata is not what was expected")
    }
}

impl Package {
    /// The crates of the workspace that it is built on; what only its tests use does not count.
    pub(crate) fn arrows(&self) -> impl Iterator<Item = &str> {
        let built_on = |dependency: &&Dependency| dependency.path.is_some() && dependency.kind.as_deref() != Some("dev");
        self.dependencies.iter().filter(built_on).map(|dependency| dependency.name.as_str())
    }

    /// The first file of each library, program and build script.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Target> {
        let shipped = |kind: &String| matches!(kind.as_str(), "lib" | "rlib" | "staticlib" | "bin" | "proc-macro");
        self.targets.iter().filter(move |target| target.kind.iter().any(shipped))
    }

    /// Does it ask for Miri (`[package.metadata.mach] miri = true`)?
    pub(crate) fn wants_miri(&self) -> bool {
        self.metadata["mach"]["miri"] == true
    }
}
