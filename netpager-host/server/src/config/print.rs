//! What is in force, in the form of the file.

use std::collections::BTreeMap;
use std::fmt;

use security::{ClassConfig, RuleConfig, TlsConfig};
use serde::Serialize;

use super::file::LogFormat;
use super::{Config, ExportSpec, PatternSpec, Size, Span};

/// What the security crate reads, and can write itself.
#[derive(Serialize)]
struct Security<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'c TlsConfig>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    class: &'c BTreeMap<String, ClassConfig>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    acl: &'c [RuleConfig],
}

impl fmt::Display for Config {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listen: Vec<String> = self.listen.iter().map(quoted).collect();
        writeln!(to, "listen = [{}]", listen.join(", "))?;
        writeln!(to, "insecure-any-address = {}", self.insecure_any_address)?;
        optional(to, "memory", self.memory)?;
        self.workers.map_or(Ok(()), |workers| writeln!(to, "workers = {workers}"))?;
        optional(to, "state", self.state.as_ref().map(|path| path.display()))?;
        let format = if self.log == LogFormat::Json { "json" } else { "text" };
        writeln!(to, "\n[log]\nformat = \"{format}\"\nverbose = {}", self.verbose)?;
        self.print_limits(to)?;
        if let Some(admin) = &self.admin {
            writeln!(to, "\n[admin]\nlisten = {}", quoted(&admin.listen))?;
            optional(to, "token-file", admin.token_file.as_ref().map(|path| path.display()))?;
        }
        self.exports.iter().try_for_each(|export| print_export(to, export))?;
        self.patterns.iter().try_for_each(|pattern| print_pattern(to, pattern))?;
        let security = Security { tls: self.tls.as_ref(), class: &self.classes, acl: &self.rules };
        let security = toml::to_string(&security).map_err(|_| fmt::Error)?;
        if security.is_empty() { Ok(()) } else { write!(to, "\n{security}") }
    }
}

impl Config {
    fn print_limits(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = &self.limits;
        writeln!(to, "\n[limits]\nconnections = {}", limits.connections)?;
        limits.connections_per_identity.map_or(Ok(()), |count| writeln!(to, "connections-per-identity = {count}"))?;
        writeln!(to, "requests-per-connection = {}", limits.requests_per_connection)?;
        writeln!(to, "bytes-per-connection = {}", quoted(&Size(limits.bytes_per_connection)))?;
        writeln!(to, "bytes = {}", quoted(&Size(limits.bytes)))?;
        let times = [("handshake", limits.handshake), ("stall", limits.stall), ("drain", limits.drain), ("fence", limits.fence)];
        times.iter().try_for_each(|(key, time)| writeln!(to, "{key} = {}", quoted(&Span(*time))))
    }
}

fn print_export(to: &mut fmt::Formatter<'_>, export: &ExportSpec) -> fmt::Result {
    writeln!(to, "\n[[export]]\nname = {}\nsize = {}", quoted(&export.name), quoted(&export.size))?;
    writeln!(to, "store = {}", quoted(&export.store))?;
    optional(to, "quota", export.quota)?;
    optional(to, "description", export.description.as_deref())?;
    optional(to, "delay", export.delay)?;
    let flags = [("read-only", export.read_only), ("exclusive", export.exclusive), ("log", export.log)];
    flags.iter().filter(|(_, is_set)| *is_set).try_for_each(|(key, _)| writeln!(to, "{key} = true"))?;
    if export.error > 0 { writeln!(to, "error = {}", export.error) } else { Ok(()) }
}

fn print_pattern(to: &mut fmt::Formatter<'_>, pattern: &PatternSpec) -> fmt::Result {
    writeln!(to, "\n[[pattern]]\nmatch = {}\nsize = {}", quoted(&pattern.names), quoted(&pattern.size))?;
    optional(to, "max-size", pattern.max_size)?;
    optional(to, "quota", pattern.quota)?;
    writeln!(to, "store = {}\nlifetime = {}", quoted(&pattern.store), quoted(&pattern.lifetime))?;
    pattern.max_per_identity.map_or(Ok(()), |count| writeln!(to, "max-per-identity = {count}"))?;
    if pattern.exclusive { writeln!(to, "exclusive = true") } else { Ok(()) }
}

fn optional(to: &mut fmt::Formatter<'_>, key: &str, value: Option<impl fmt::Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(to, "{key} = {}", quoted(&value)))
}

/// A TOML string.
fn quoted(value: &impl fmt::Display) -> String {
    // A string of Rust is one of TOML but for the names of some control characters, which no value has.
    format!("{:?}", value.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file::{EXAMPLE, File};
    use super::*;
    use crate::cli::serve_of;

    #[test]
    fn what_is_printed_means_the_same() {
        let serve = serve_of(["netpager-host", "serve", "--workers", "3"]);
        let file = |text| File::parse(Path::new("f"), text).unwrap();
        let config = Config::merge(&serve, file(EXAMPLE)).unwrap();
        let again = Config::merge(&serve, file(&config.to_string())).unwrap();
        assert_eq!(config.to_string(), again.to_string());
        assert_eq!((config.exports, config.patterns, config.limits), (again.exports, again.patterns, again.limits));
        assert_eq!((config.listen, config.memory, config.admin), (again.listen, again.memory, again.admin));
        assert_eq!((config.tls, config.classes, config.rules), (again.tls, again.classes, again.rules));
    }
}
