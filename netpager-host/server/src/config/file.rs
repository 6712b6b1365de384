//! The configuration file, as it is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use security::{ClassConfig, RuleConfig, TlsConfig};
use serde::Deserialize;

use super::export::ExportSpec;
use super::limits::LimitsFile;
use super::listen::ListenSpec;
use super::mistake::Mistake;
use super::pattern::PatternSpec;
use super::units::Size;

/// A commented file that says everything that can be said.
pub(crate) const EXAMPLE: &str = include_str!("example.toml");

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The section `[log]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct LogFile {
    pub(crate) format: Option<LogFormat>,
    pub(crate) verbose: Option<bool>,
}

/// The section `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AdminFile {
    pub(crate) listen: String,
    pub(crate) token_file: Option<PathBuf>,
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) listen: Option<Vec<ListenSpec>>,
    pub(crate) insecure_any_address: Option<bool>,
    pub(crate) memory: Option<Size>,
    pub(crate) workers: Option<u16>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) log: LogFile,
    pub(crate) limits: LimitsFile,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) admin: Option<AdminFile>,
    pub(crate) export: Vec<ExportSpec>,
    pub(crate) pattern: Vec<PatternSpec>,
    pub(crate) class: BTreeMap<String, ClassConfig>,
    pub(crate) acl: Vec<RuleConfig>,
}

impl File {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Mistake> {
        let text = std::fs::read_to_string(path).map_err(|error| Mistake::new(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(path, &text)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Mistake> {
        toml::from_str(text).map_err(|error| Mistake::in_file(path, text, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        File::parse(Path::new("f.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn the_example_is_right() {
        let file = File::parse(Path::new("example"), EXAMPLE).unwrap();
        assert!(!file.export.is_empty() && !file.pattern.is_empty() && !file.acl.is_empty() && file.tls.is_some());
        file.export.iter().for_each(|export| export.check().unwrap());
        file.pattern.iter().for_each(|pattern| pattern.check().unwrap());
        file.limits.or_default().check().unwrap();
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_what_was_meant() {
        let unknown = mistake("workers = 2\n\n[[export]]\nname = \"a\"\nsize = \"1G\"\nqouta = \"1G\"\n");
        assert!(unknown.starts_with("f.toml, line 6: ") && unknown.ends_with("did you mean `quota`?"), "{unknown}");
        let size = mistake("[[export]]\nname = \"a\"\nsize = \"1GB\"\n");
        assert!(size.starts_with("f.toml, line 3: ") && size.contains("`1GB` is no size"), "{size}");
        let section = mistake("[limit]\nbytes = 1\n");
        assert!(section.contains("line 1: ") && section.contains("did you mean `limits`?"), "{section}");
        assert!(mistake("a = ").contains("line 1"));
        assert!(mistake("[[export]]\nname = \"a\"\n").contains("missing field `size`"));
        let store = mistake("[[export]]\nname = \"a\"\nsize = 1\nstore = { kind = \"mirror\", members = [\"rum\"] }\n");
        assert!(store.contains("line 4") && store.contains("did you mean ram?"), "{store}");
    }
}
