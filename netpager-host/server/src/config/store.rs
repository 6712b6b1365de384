//! Where an export's pages are kept: one grammar for the command line and the configuration file.
//!
//! ```text
//! STORE = ram | compressed | file:PATH | log:DIRECTORY | NBD-URI
//!       | valkey:HOST:PORT[+HOST:PORT]...[+replicas=COUNT][+password-file=PATH]
//!       | mirror:(STORE;STORE[;STORE]...) | stripe:[SIZE:](STORE;STORE[;STORE]...)
//! ```
//!
//! In the file the same may be said as a table, `{ kind = "mirror", members = ["ram", "nbd://host/export"] }`. In the stores
//! of a pattern, `{name}` stands for the name of the export, made safe for a file name.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::units::Size;

/// What stands for the export's name in the stores of a pattern.
const NAME: &str = "{name}";
/// Members of members of members; deeper than anyone means.
const DEPTH_MAX: usize = 4;
/// How much of a stripe is on one member before the next has its turn, if nothing is said.
const STRIPE_BYTES: u64 = 1 << 20;

/// Where pages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreSpec {
    /// In memory.
    Ram,
    /// In memory; what is cold is compressed.
    Compressed,
    /// In one sparse file.
    File(PathBuf),
    /// In a directory, as a log with checksums.
    Log(PathBuf),
    /// On another NBD server.
    Nbd(String),
    /// In a Redis or Valkey cluster.
    Valkey(ClusterSpec),
    /// In all of these.
    Mirror(Vec<StoreSpec>),
    /// Parts in each of these in turn.
    Stripe { bytes: u64, members: Vec<StoreSpec> },
}

/// Which cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ClusterSpec {
    /// Some of its nodes, through which the others are found.
    pub(crate) nodes: Vec<String>,
    /// How many replicas must have confirmed everything for a flush to succeed.
    #[serde(default)]
    pub(crate) replicas: u32,
    /// The file with its password.
    pub(crate) password_file: Option<PathBuf>,
}

impl FromStr for StoreSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, DEPTH_MAX)
    }
}

fn parse(text: &str, depth: usize) -> Result<StoreSpec, String> {
    let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
    let argument = |what: &str| rest.filter(|rest| !rest.is_empty()).ok_or_else(|| format!("`{text}` lacks {what}"));
    match kind {
        "ram" | "compressed" if rest.is_some() => Err(format!("{kind} takes no argument")),
        "ram" => Ok(StoreSpec::Ram),
        "compressed" => Ok(StoreSpec::Compressed),
        "file" => Ok(StoreSpec::File(argument("a path")?.into())),
        "log" => Ok(StoreSpec::Log(argument("a directory")?.into())),
        "nbd" | "nbds" | "nbd+unix" | "nbds+unix" => upstream(text),
        "valkey" | "redis" => cluster(argument("HOST:PORT")?).and_then(checked_cluster),
        "mirror" => Ok(StoreSpec::Mirror(members(argument("members in parentheses")?, depth)?)),
        "stripe" => stripe(argument("members in parentheses")?, depth),
        _ => {
            let kinds = ["ram", "compressed", "file", "log", "nbd", "nbds", "nbd+unix", "valkey", "mirror", "stripe"];
            let meant = super::mistake::nearest(kind, kinds).map_or(String::new(), |near| format!("; did you mean {near}?"));
            let expected = "expected ram, compressed, file:PATH, log:DIRECTORY, an NBD URI, valkey:HOST:PORT, mirror:(A;B) or stripe:(A;B)";
            Err(format!("`{text}` is no store; {expected}{meant}"))
        }
    }
}

/// An address of another server; `{name}` in it is a name for now.
fn upstream(text: &str) -> Result<StoreSpec, String> {
    text.replace(NAME, "name").parse::<nbd::uri::NbdUri>().map_err(|error| format!("`{text}`: {error}"))?;
    Ok(StoreSpec::Nbd(text.into()))
}

fn cluster(text: &str) -> Result<ClusterSpec, String> {
    let mut cluster = ClusterSpec::default();
    for part in text.split('+') {
        match part.split_once('=') {
            Some(("replicas", count)) => cluster.replicas = count.parse().map_err(|_| format!("`{count}` is no number of replicas"))?,
            Some(("password-file", path)) => cluster.password_file = Some(path.into()),
            _ => cluster.nodes.push(part.into()),
        }
    }
    Ok(cluster)
}

fn checked_cluster(cluster: ClusterSpec) -> Result<StoreSpec, String> {
    let good = |node: &str| node.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match cluster.nodes.iter().find(|node| !good(node)) {
        Some(bad) => Err(format!("`{bad}` is no node of a cluster; expected HOST:PORT")),
        None if cluster.nodes.is_empty() => Err("a cluster is found through its nodes: valkey:HOST:PORT".into()),
        None => Ok(StoreSpec::Valkey(cluster)),
    }
}

fn stripe(text: &str, depth: usize) -> Result<StoreSpec, String> {
    let (bytes, list) = match text.split_once('(') {
        Some((size, _)) if !size.is_empty() => {
            let Size(bytes) = size.strip_suffix(':').unwrap_or(size).parse()?;
            (bytes, &text[size.len()..])
        }
        _ => (STRIPE_BYTES, text),
    };
    checked_stripe(bytes, members(list, depth)?)
}

fn checked_stripe(bytes: u64, members: Vec<StoreSpec>) -> Result<StoreSpec, String> {
    match bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes) {
        true => Ok(StoreSpec::Stripe { bytes, members }),
        false => Err("the size of a stripe is a power of two from 4K to 1G".into()),
    }
}

/// What is between the parentheses, cut at the semicolons that are not within further parentheses.
fn members(text: &str, depth: usize) -> Result<Vec<StoreSpec>, String> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let inner = inner.ok_or_else(|| format!("`{text}`: members belong in parentheses, as in mirror:(file:/a;file:/b)"))?;
    let depth = depth.checked_sub(1).ok_or("stores within stores within stores: too deep")?;
    let members: Vec<StoreSpec> = split(inner, ';').into_iter().map(|member| parse(member, depth)).collect::<Result<_, _>>()?;
    enough(members)
}

fn enough(members: Vec<StoreSpec>) -> Result<Vec<StoreSpec>, String> {
    match members.len() {
        2..=64 => Ok(members),
        _ => Err("a mirror or a stripe has at least two members".into()),
    }
}

/// Cuts `text` at every `mark` outside parentheses.
pub(super) fn split(text: &str, mark: char) -> Vec<&str> {
    let (mut open, mut start, mut pieces) = (0_i32, 0, Vec::new());
    for (at, character) in text.char_indices() {
        match character {
            '(' => open += 1,
            ')' => open -= 1,
            _ if character == mark && open == 0 => {
                pieces.push(&text[start..at]);
                start = at + mark.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    pieces
}

impl StoreSpec {
    /// The same store for the export called `name`.
    pub(crate) fn named(&self, name: &str) -> Self {
        let safe = safe_name(name);
        let path = |path: &PathBuf| PathBuf::from(path.to_string_lossy().replace(NAME, &safe));
        match self {
            Self::Ram | Self::Compressed | Self::Valkey(_) => self.clone(),
            Self::File(file) => Self::File(path(file)),
            Self::Log(directory) => Self::Log(path(directory)),
            Self::Nbd(uri) => Self::Nbd(uri.replace(NAME, &safe)),
            Self::Mirror(members) => Self::Mirror(members.iter().map(|member| member.named(name)).collect()),
            Self::Stripe { bytes, members } => {
                Self::Stripe { bytes: *bytes, members: members.iter().map(|member| member.named(name)).collect() }
            }
        }
    }

    /// Whether two exports with this store would have the same bytes.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            // Keys carry the export's name.
            Self::Ram | Self::Compressed | Self::Valkey(_) => false,
            Self::File(path) | Self::Log(path) => !path.to_string_lossy().contains(NAME),
            Self::Nbd(uri) => !uri.contains(NAME),
            Self::Mirror(members) | Self::Stripe { members, .. } => members.iter().any(Self::is_shared),
        }
    }

    /// Whether pages are kept in this machine's memory, under a quota.
    pub(crate) fn is_memory(&self) -> bool {
        match self {
            Self::Ram | Self::Compressed => true,
            Self::Mirror(members) | Self::Stripe { members, .. } => members.iter().any(Self::is_memory),
            _ => false,
        }
    }

    /// Whether how much is kept can be limited.
    pub(crate) fn takes_quota(&self) -> bool {
        match self {
            Self::Ram | Self::Compressed | Self::Valkey(_) => true,
            Self::Mirror(members) | Self::Stripe { members, .. } => members.iter().any(Self::takes_quota),
            _ => false,
        }
    }
}

/// A name that is one part of a path and no other name's: everything but letters, digits and `-_` is written as its number.
pub(crate) fn safe_name(name: &str) -> String {
    let safe = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    if name.is_empty() { "%".into() } else { name.bytes().map(safe).collect() }
}

impl fmt::Display for StoreSpec {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |to: &mut fmt::Formatter<'_>, members: &[Self]| {
            let members: Vec<String> = members.iter().map(Self::to_string).collect();
            write!(to, "({})", members.join(";"))
        };
        match self {
            Self::Ram => to.write_str("ram"),
            Self::Compressed => to.write_str("compressed"),
            Self::File(path) => write!(to, "file:{}", path.display()),
            Self::Log(path) => write!(to, "log:{}", path.display()),
            Self::Nbd(uri) => to.write_str(uri),
            Self::Valkey(ClusterSpec { nodes, replicas, password_file }) => {
                write!(to, "valkey:{}", nodes.join("+"))?;
                if *replicas > 0 {
                    write!(to, "+replicas={replicas}")?;
                }
                password_file.as_ref().map_or(Ok(()), |path| write!(to, "+password-file={}", path.display()))
            }
            Self::Mirror(members) => to.write_str("mirror:").and_then(|()| list(to, members)),
            Self::Stripe { bytes, members } => write!(to, "stripe:{}:", Size(*bytes)).and_then(|()| list(to, members)),
        }
    }
}

/// A store as a table of the configuration file.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Table {
    Ram {},
    Compressed {},
    File { path: PathBuf },
    Log { directory: PathBuf },
    Nbd { uri: String },
    Valkey(ClusterSpec),
    Mirror { members: Vec<StoreSpec> },
    Stripe { size: Option<Size>, members: Vec<StoreSpec> },
}

impl TryFrom<Table> for StoreSpec {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        match table {
            Table::Ram {} => Ok(Self::Ram),
            Table::Compressed {} => Ok(Self::Compressed),
            Table::File { path } => Ok(Self::File(path)),
            Table::Log { directory } => Ok(Self::Log(directory)),
            Table::Nbd { uri } => upstream(&uri),
            Table::Valkey(cluster) => checked_cluster(cluster),
            Table::Mirror { members } => enough(members).map(Self::Mirror),
            Table::Stripe { size, members } => checked_stripe(size.map_or(STRIPE_BYTES, |Size(bytes)| bytes), enough(members)?),
        }
    }
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = StoreSpec;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a store such as \"ram\", or a table with its kind")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<StoreSpec, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<StoreSpec, M::Error> {
        Table::deserialize(MapAccessDeserializer::new(map))?.try_into().map_err(M::Error::custom)
    }
}

impl<'de> Deserialize<'de> for StoreSpec {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextOrTable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [&str; 10] = [
        "ram",
        "compressed",
        "file:/var/x=y",
        "log:/var/log",
        "nbd://host:10809/export",
        "nbd+unix:///e?socket=/run/s",
        "valkey:a:1+b:2",
        "valkey:a:1+replicas=2+password-file=/etc/p",
        "mirror:(ram;file:/a;stripe:64KiB:(nbd://a/x;nbd://b/x))",
        "stripe:1MiB:(ram;ram)",
    ];

    #[test]
    fn what_is_printed_is_what_was_read() {
        for text in SAMPLES {
            let spec: StoreSpec = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("disk", "`disk` is no store"),
            ("comprest", "did you mean compressed?"),
            ("ram:1", "no argument"),
            ("file:", "lacks a path"),
            ("valkey:here", "HOST:PORT"),
            ("mirror:ram;ram", "parentheses"),
            ("mirror:(ram)", "at least two"),
            ("stripe:3K:(ram;ram)", "power of two"),
            ("mirror:(ram;disk)", "`disk` is no store"),
            ("mirror:(ram;mirror:(ram;mirror:(ram;mirror:(ram;mirror:(ram;ram)))))", "too deep"),
        ] {
            let error = text.parse::<StoreSpec>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn every_export_of_a_pattern_has_its_own_file() {
        let spec: StoreSpec = "mirror:(file:/a/{name}.img;nbd://host/{name})".parse().unwrap();
        assert!(!spec.is_shared() && "mirror:(file:/a;ram)".parse::<StoreSpec>().unwrap().is_shared());
        assert_eq!(spec.named("np1/x/..").to_string(), "mirror:(file:/a/np1%2fx%2f%2e%2e.img;nbd://host/np1%2fx%2f%2e%2e)");
        assert_ne!(safe_name("a/b"), safe_name("a%2fb"));
        assert_ne!(safe_name(""), safe_name("%"));
    }
}
