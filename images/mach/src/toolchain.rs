//! Which cargo builds the guest, and with what flags.
//!
//! Host crates use the cargo that built this program. Guest crates use the same one when it has the bare-metal targets;
//! otherwise Debian's rustc-web, which builds `core` and `alloc` from `rust-web-src`. The script decides and says so in
//! `MACH_GUEST`; without the script this module looks for itself.

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// The kernel's target: no floating point registers, so that EL0's need not be saved on every entry.
pub(crate) const KERNEL_TARGET: &str = "aarch64-unknown-none-softfloat";
/// The target of EL0 programs.
pub(crate) const USER_TARGET: &str = "aarch64-unknown-none";

/// A toolchain that can build for the bare-metal targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestToolchain {
    /// The host's toolchain has the targets.
    Own,
    /// Debian's, with `core` and `alloc` built along.
    Debian,
}

/// The host's cargo: the one that the script chose, or that runs us.
pub(crate) fn host_cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl GuestToolchain {
    pub(crate) fn pick() -> Result<Self> {
        match std::env::var("MACH_GUEST").as_deref() {
            Ok("rustup") => Ok(Self::Own),
            Ok("debian") => Ok(Self::Debian),
            Ok(other) => bail!("MACH_GUEST={other}: say rustup or debian"),
            Err(_) if targets_present()? => Ok(Self::Own),
            Err(_) => Ok(Self::Debian),
        }
    }

    /// `cargo SUBCOMMAND --target TARGET` with what this toolchain needs besides.
    pub(crate) fn cargo(self, workspace: &Workspace, subcommand: &str, target: &str) -> Command {
        let mut cargo = match self {
            Self::Own => host_cargo(),
            Self::Debian => Command::new("/usr/bin/cargo"),
        };
        cargo.current_dir(&workspace.root).args([subcommand, "--target", target]);
        if self == Self::Debian {
            let linker = format!("target.{target}.linker='ld.lld'");
            cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
            // cargo and clippy of this toolchain: without the variable that makes rustup's shims choose another.
            cargo.env_remove("RUSTUP_TOOLCHAIN");
            cargo.args(["-Zbuild-std=core,alloc", "--config", &linker]);
        }
        cargo
    }
}

fn targets_present() -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().context("cannot run rustc")?;
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()).join("lib/rustlib");
    Ok([KERNEL_TARGET, USER_TARGET].iter().all(|target| library.join(target).join("lib").is_dir()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(toolchain: GuestToolchain) -> Vec<String> {
        let workspace = Workspace { root: ".".into(), target: "target".into() };
        let command = toolchain.cargo(&workspace, "build", USER_TARGET);
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_own_toolchain_needs_no_flags() {
        assert_eq!(arguments(GuestToolchain::Own), ["build", "--target", USER_TARGET]);
    }

    #[test]
    fn debians_toolchain_builds_core_and_links_with_lld() {
        let words = arguments(GuestToolchain::Debian);
        assert!(words.contains(&"-Zbuild-std=core,alloc".to_owned()));
        assert!(words.contains(&"target.aarch64-unknown-none.linker='ld.lld'".to_owned()));
    }
}
