//! A manifest: which tasks, which pagers, which disks and host exports, how much memory.
//!
//! The TOML form is for people (images/manifests/*.toml). `image::boot` turns it, with the variables of one run filled in,
//! into the plain text that the bootstrap task reads.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A manifest as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// What it shows, in one line.
    pub(crate) summary: String,
    #[serde(default)]
    pub(crate) guest: Guest,
    #[serde(default, rename = "disk")]
    pub(crate) disks: Vec<Disk>,
    #[serde(default, rename = "host")]
    pub(crate) exports: Vec<Export>,
    #[serde(default, rename = "pager")]
    pub(crate) pagers: Vec<Pager>,
    #[serde(default, rename = "run")]
    pub(crate) runs: Vec<Run>,
}

/// The machine, where the command line says nothing else.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Guest {
    /// RAM in MiB.
    pub(crate) memory: u32,
    pub(crate) cpus: u32,
    /// Words for the kernel's command line.
    pub(crate) cmdline: String,
}

impl Default for Guest {
    fn default() -> Self {
        Self { memory: 64, cpus: 2, cmdline: String::new() }
    }
}

/// A virtio disk; the first one is `vda` in the guest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    /// Its serial number in the guest.
    pub(crate) name: String,
    /// May contain variables.
    pub(crate) size: String,
}

/// An export of netpager-host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Export {
    pub(crate) export: String,
    /// May contain variables.
    pub(crate) size: String,
    #[serde(default)]
    pub(crate) store: StoreKind,
    /// One client at a time, and a new one waits for the last writes of the one before.
    #[serde(default)]
    pub(crate) exclusive: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    #[default]
    Ram,
    File,
}

/// A pager, started in the order written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pager {
    /// What programs call it by.
    pub(crate) name: String,
    pub(crate) program: String,
    /// `key=value` words; may contain variables.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// Is it the default pager, the one for anonymous memory?
    #[serde(default)]
    pub(crate) default: bool,
}

/// A program, started when the one before it has ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The program's own name if it says none.
    pub(crate) name: Option<String>,
    pub(crate) program: String,
    /// May contain variables.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// The phase that it must report (`@phase` with this `pager`), or the run has not verified everything.
    pub(crate) phase: Option<String>,
}

impl Manifest {
    /// Reads the manifest that `name` means: a path if it looks like one, else a name in images/manifests.
    pub(crate) fn load(root: &Path, name: &str) -> Result<Self> {
        let path = Self::path(root, name)?;
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the manifest {}", path.display()))
    }

    fn path(root: &Path, name: &str) -> Result<PathBuf> {
        if name.ends_with(".toml") {
            return Ok(PathBuf::from(name));
        }
        let folder = root.join("images/manifests");
        let path = folder.join(format!("{name}.toml"));
        if !path.is_file() {
            bail!("there is no manifest `{name}`; there are: {}", Self::names(&folder).join(", "));
        }
        Ok(path)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned())).collect();
        names.sort();
        names
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        if self.runs.is_empty() {
            bail!("nothing to run: at least one [[run]] is needed");
        }
        unique("[[pager]]", self.pagers.iter().map(|pager| pager.name.as_str()))?;
        unique("[[disk]]", self.disks.iter().map(|disk| disk.name.as_str()))?;
        unique("[[host]]", self.exports.iter().map(|export| export.export.as_str()))?;
        if self.pagers.iter().filter(|pager| pager.default).count() > 1 {
            bail!("more than one default pager");
        }
        Ok(())
    }

    /// Every program named, in order.
    pub(crate) fn programs(&self) -> Vec<&str> {
        let pagers = self.pagers.iter().map(|pager| pager.program.as_str());
        pagers.chain(self.runs.iter().map(|run| run.program.as_str())).collect()
    }

    /// Does a pager take the words of this list?
    pub(crate) fn takes(&self, list: &str) -> bool {
        let argument = format!("${{{list}}}");
        self.pagers.iter().any(|pager| pager.args.contains(&argument))
    }

    /// The phases that must be reported, in order.
    pub(crate) fn phases(&self) -> Vec<String> {
        self.runs.iter().filter_map(|run| run.phase.clone()).collect()
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = Vec::new();
    for name in names {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(word) {
            bail!("{what} `{name}`: names are letters, digits, - and _");
        }
        if seen.contains(&name) {
            bail!("two {what} are named `{name}`");
        }
        seen.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        format!("{:#}", Manifest::parse(text).unwrap_err())
    }

    #[test]
    fn defaults_are_filled_in() {
        let manifest = Manifest::parse("summary = 's'\n[[run]]\nprogram = 'hello'\n").unwrap();
        assert_eq!((manifest.guest.memory, manifest.guest.cpus), (64, 2));
        assert_eq!(manifest.programs(), ["hello"]);
        assert!(manifest.phases().is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        assert!(refusal("summary = 's'").contains("nothing to run"));
        assert!(refusal("summary = 's'\nrum = 1").contains("unknown field `rum`"));
        let run = "summary = 's'\n[[run]]\nprogram = 'p'\n";
        assert!(refusal(&format!("{run}[[disk]]\nname='a'\nsize='1'\n[[disk]]\nname='a'\nsize='1'")).contains("two"));
        assert!(refusal(&format!("{run}[[pager]]\nname='a b'\nprogram='x'")).contains("letters"));
        let pager = |name| format!("[[pager]]\nname='{name}'\nprogram='x'\ndefault=true\n");
        assert!(refusal(&format!("{run}{}{}", pager("a"), pager("b"))).contains("more than one default"));
        assert!(refusal(&format!("{run}[[host]]\nexport='m'\nsize='1'\nstore='tape'")).contains("tape"));
    }

    #[test]
    fn every_manifest_of_the_tree_parses_and_expands() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let names = Manifest::names(&root.join("images/manifests"));
        assert!(names.contains(&"demo".to_owned()), "{names:?}");
        for name in names {
            let manifest = Manifest::load(&root, &name).unwrap();
            let variables = crate::image::variables::Variables::example();
            crate::image::boot::text(&manifest, &variables).unwrap();
            for size in manifest.disks.iter().map(|d| &d.size).chain(manifest.exports.iter().map(|e| &e.size)) {
                crate::size::parse(&variables.expand(size).unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let message = Manifest::load(&root, "nonsense").unwrap_err().to_string();
        assert!(message.contains("nonsense") && message.contains("demo") && message.contains("swap"), "{message}");
    }
}
