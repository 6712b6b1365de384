//! What the service was told: by the command line, else the environment, else the file, else the defaults.
//!
//! | module | what it reads |
//! |---|---|
//! | [`units`], [`store`], [`export`], [`pattern`], [`listen`], [`limits`] | values, with one grammar everywhere |
//! | [`file`] | the TOML file made of them |
//! | [`mistake`] | what is wrong, and where |

mod export;
mod file;
mod limits;
mod listen;
mod mistake;
mod pattern;
mod print;
mod store;
mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;

use security::{ClassConfig, RuleConfig, TlsConfig};

pub(crate) use export::ExportSpec;
pub(crate) use file::{AdminFile, EXAMPLE, File, LogFormat};
pub(crate) use limits::Limits;
pub(crate) use listen::{ListenSpec, Place};
pub(crate) use mistake::Mistake;
pub(crate) use pattern::{Lifetime, PatternSpec, sized_name};
pub(crate) use store::{ClusterSpec, StoreSpec, safe_name};
pub(crate) use units::{Size, Span};

use crate::cli::Serve;

/// Where to listen if nothing is said, and systemd passes nothing.
pub(crate) const LISTEN: &str = "nbd://127.0.0.1:10809";

/// Everything the service was told, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Empty if nothing was said.
    pub(crate) listen: Vec<ListenSpec>,
    pub(crate) insecure_any_address: bool,
    pub(crate) memory: Option<Size>,
    pub(crate) workers: Option<u16>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) log: LogFormat,
    pub(crate) verbose: bool,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) admin: Option<AdminFile>,
    pub(crate) exports: Vec<ExportSpec>,
    pub(crate) patterns: Vec<PatternSpec>,
    pub(crate) classes: BTreeMap<String, ClassConfig>,
    pub(crate) rules: Vec<RuleConfig>,
}

impl Config {
    /// Reads the file that `serve` names, if any, and puts the command line before it.
    pub(crate) fn load(serve: &Serve) -> Result<Self, Mistake> {
        let file = serve.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let config = Self::merge(serve, file)?;
        config.check().map_err(Mistake::new)?;
        Ok(config)
    }

    fn merge(serve: &Serve, file: File) -> Result<Self, Mistake> {
        let listen = match (&serve.listen[..], file.listen) {
            ([], Some(listen)) => listen,
            ([], None) => Vec::new(),
            (listen, _) => listen.to_vec(),
        };
        let mut limits = file.limits;
        limits.connections = serve.max_connections.or(limits.connections);
        limits.handshake = serve.handshake_timeout.or(limits.handshake);
        let tls = match (&serve.tls_certificates, file.tls) {
            (Some(directory), None) => Some(TlsConfig::new(directory)),
            (Some(directory), Some(tls)) => Some(TlsConfig { certificates: directory.clone(), ..tls }),
            (None, tls) => tls,
        };
        let token_file = serve.admin_token_file.clone();
        let admin = match (&serve.admin, file.admin) {
            (Some(listen), file) => {
                Some(AdminFile { listen: listen.clone(), token_file: token_file.or(file.and_then(|file| file.token_file)) })
            }
            (None, file) => file.map(|file| AdminFile { token_file: token_file.or(file.token_file), ..file }),
        };
        // What the command line says about an export replaces what the file says about it.
        let named = |export: &ExportSpec| serve.exports.iter().any(|other| other.name == export.name);
        let from_file = file.export.into_iter().filter(|export| !named(export));
        Ok(Self {
            listen,
            insecure_any_address: serve.insecure_any_address || file.insecure_any_address.unwrap_or(false),
            memory: serve.memory.or(file.memory),
            workers: serve.workers.or(file.workers),
            state: serve.state.clone().or(file.state),
            log: serve.log_format.or(file.log.format).unwrap_or_default(),
            verbose: serve.verbose || file.log.verbose.unwrap_or(false),
            limits: limits.or_default(),
            tls,
            admin,
            exports: serve.exports.iter().cloned().chain(from_file).collect(),
            patterns: serve.patterns.iter().cloned().chain(file.pattern).collect(),
            classes: file.class,
            rules: file.acl,
        })
    }

    /// Whether what was said makes sense together.
    fn check(&self) -> Result<(), String> {
        if self.exports.is_empty() && self.patterns.is_empty() {
            return Err("there is nothing to serve; say --export NAME=SIZE, --pattern, or name them in the file".into());
        }
        for (at, export) in self.exports.iter().enumerate() {
            export.check().map_err(|error| format!("export `{}`: {error}", export.name))?;
            if self.exports[..at].iter().any(|other| other.name == export.name) {
                return Err(format!("two exports are called `{}`", export.name));
            }
            let shares = |other: &&ExportSpec| export.store.is_shared() && other.store == export.store;
            if let Some(other) = self.exports[..at].iter().find(shares) {
                return Err(format!("the exports `{}` and `{}` would have the same bytes: {}", other.name, export.name, export.store));
            }
        }
        self.patterns.iter().try_for_each(PatternSpec::check)?;
        if let Some(0) | Some(1025..) = self.workers {
            return Err("workers is a number from 1 to 1024".into());
        }
        self.limits.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::serve_of;

    fn load(file: &str, arguments: &[&str]) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.display().to_string();
        let arguments = ["netpager-host", "serve", "--config", &path].into_iter().chain(arguments.iter().copied());
        Config::load(&serve_of(arguments)).map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn the_command_line_comes_before_the_file() {
        let file = "listen = [\"nbd://127.0.0.1:1\"]\nworkers = 3\nmemory = \"1GiB\"\n[limits]\nconnections = 5\n\
                    [[export]]\nname = \"a\"\nsize = \"1M\"\n[[export]]\nname = \"b\"\nsize = \"1M\"\n";
        let config = load(file, &["--export", "a=2M", "--workers", "4", "--listen", "127.0.0.1:2"]).unwrap();
        assert_eq!((config.workers, config.memory, config.limits.connections), (Some(4), Some(Size(1 << 30)), 5));
        assert_eq!(config.listen, ["127.0.0.1:2".parse().unwrap()]);
        let sizes: Vec<_> = config.exports.iter().map(|export| (export.name.as_str(), export.size.0)).collect();
        assert_eq!(sizes, [("a", 2 << 20), ("b", 1 << 20)]);
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        for (file, arguments, word) in [
            ("", &[][..], "nothing to serve"),
            ("", &["--export", "m=1M", "--export", "m=2M"], "two exports are called `m`"),
            ("", &["--export", "m=1M,store=file:/x", "--export", "n=1M,store=file:/x"], "the same bytes"),
            ("workers = 0", &["--export", "m=1M"], "workers"),
            ("[limits]\nbytes = 1", &["--export", "m=1M"], "64MiB"),
        ] {
            let error = load(file, arguments).unwrap_err();
            assert!(error.contains(word), "{file} {arguments:?}: {error}");
        }
    }
}
