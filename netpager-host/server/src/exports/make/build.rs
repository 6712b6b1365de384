//! Puts stores together, members of members first.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nbd::uri::NbdUri;
use remote::{
    Member, Mirror, MirrorConfig, NbdConfig, NbdStore, Plain, Replica, StaleFile, StaleLog, StaleMemory, Stripe, ValkeyConfig, ValkeyStore,
};
use store::{CompressedStore, FileStore, LogStore, RamStore, Store, StoreError};

use super::secure::Certificates;
use super::{MakeError, Maker, Parts};
use crate::config::{ClusterSpec, Size, StoreSpec, safe_name};

/// How long a request to another server may take, reconnecting included, unless a mirror has something better to do.
const DEADLINE: Duration = Duration::from_secs(30);

/// The stores of one export, in the making.
pub(super) struct Build<'m> {
    maker: &'m Maker,
    name: &'m str,
    parts: Parts,
    mirrors: usize,
}

impl<'m> Build<'m> {
    pub(super) fn new(maker: &'m Maker, name: &'m str) -> Self {
        Self { maker, name, parts: Parts::default(), mirrors: 0 }
    }

    pub(super) fn parts(self) -> Parts {
        self.parts
    }

    /// Opens a store of at least `size` bytes.
    pub(super) fn open(&mut self, spec: &StoreSpec, size: u64, quota: Option<u64>) -> Result<Arc<dyn Store>, MakeError> {
        match spec {
            StoreSpec::Ram => {
                let quota = quota_or_all(size, quota)?;
                Ok(Arc::new(RamStore::new(self.maker.arena.clone(), size, quota).ok_or(MakeError::TooLarge)?))
            }
            StoreSpec::Compressed => {
                let quota = quota_or_all(size, quota)?;
                Ok(Arc::new(CompressedStore::new(self.maker.compressor()?, size, quota).ok_or(MakeError::TooLarge)?))
            }
            StoreSpec::File(path) => Ok(Arc::new(FileStore::open(path, size)?)),
            StoreSpec::Log(directory) => Ok(Arc::new(LogStore::open(directory, size)?)),
            StoreSpec::Nbd(uri) => {
                let store = self.upstream(uri, None)?;
                match store.size() >= size {
                    true => Ok(store),
                    false => Err(MakeError::TooSmall { store: uri.clone(), has: Size(store.size()), wanted: Size(size) }),
                }
            }
            StoreSpec::Valkey(cluster) => {
                let config = ValkeyConfig { quota, replicas: cluster.replicas, ..ValkeyConfig::new(url(cluster)?, self.name.into(), size) };
                Ok(Arc::new(ValkeyStore::open(&self.maker.engine()?, config)?))
            }
            StoreSpec::Mirror(members) => self.mirror(members, size, quota),
            StoreSpec::Stripe { bytes, members } => {
                let count = members.len() as u64;
                let each = size.div_ceil(count).next_multiple_of(*bytes);
                let quota = quota.map(|quota| quota.div_ceil(count));
                let members = members.iter().map(|member| self.part(member, each, quota)).collect::<Result<_, _>>()?;
                Ok(Arc::new(Stripe::new(members, *bytes)?))
            }
        }
    }

    /// A part of a stripe: all parts must have the same size, so another server's export is used up to that.
    fn part(&mut self, spec: &StoreSpec, size: u64, quota: Option<u64>) -> Result<Arc<dyn Store>, MakeError> {
        match spec {
            StoreSpec::Nbd(uri) => Ok(self.upstream(uri, Some(size))?),
            other => self.open(other, size, quota),
        }
    }

    fn upstream(&mut self, text: &str, size: Option<u64>) -> Result<Arc<NbdStore>, MakeError> {
        let uri: NbdUri = text.parse().map_err(|error| StoreError::Unavailable(format!("{text}: {error}")))?;
        let load = || Certificates::load(&uri, self.maker.certificates.as_deref());
        let tls = uri.is_secure.then(load).transpose()?;
        let config = NbdConfig { tls, size, deadline: DEADLINE, ..NbdConfig::new(uri) };
        let store = Arc::new(NbdStore::open(&self.maker.engine()?, config)?);
        self.parts.upstreams.push((text.into(), store.clone()));
        Ok(store)
    }

    fn mirror(&mut self, specs: &[StoreSpec], size: u64, quota: Option<u64>) -> Result<Arc<dyn Store>, MakeError> {
        let log = self.stale_log(specs);
        let mut members = Vec::new();
        for (number, spec) in specs.iter().enumerate() {
            // The number tells apart members that are written alike, such as two in RAM.
            let name = format!("{} {spec}", number + 1);
            members.push(Member { name, store: self.replica(spec, size, quota)? });
        }
        let mirror = Arc::new(Mirror::open(members, MirrorConfig::default(), log)?);
        self.parts.mirrors.push(mirror.clone());
        Ok(mirror)
    }

    /// A member of a mirror. Another server may be away when the mirror is opened.
    fn replica(&mut self, spec: &StoreSpec, size: u64, quota: Option<u64>) -> Result<Arc<dyn Replica>, MakeError> {
        match spec {
            StoreSpec::Nbd(uri) => Ok(self.upstream(uri, Some(size))?),
            other => Ok(Arc::new(Plain(self.open(other, size, quota)?))),
        }
    }

    /// Where the mirror remembers which member missed writes. What is in this process's memory is gone after a restart, and
    /// so is what anybody could say about it.
    fn stale_log(&mut self, specs: &[StoreSpec]) -> Box<dyn StaleLog> {
        self.mirrors += 1;
        let all_volatile = specs.iter().all(|spec| matches!(spec, StoreSpec::Ram | StoreSpec::Compressed));
        match &self.maker.state {
            _ if all_volatile => Box::new(StaleMemory::default()),
            Some(state) => Box::new(StaleFile::new(mirror_file(state, self.name, self.mirrors))),
            None => {
                tracing::warn!(
                    "export `{}`: without a state directory (--state), a restart does not know which member of its mirror missed writes",
                    self.name
                );
                Box::new(StaleMemory::default())
            }
        }
    }
}

/// The file of the `number`th mirror in an export's store.
pub(super) fn mirror_file(state: &Path, name: &str, number: usize) -> PathBuf {
    state.join(format!("mirror-{}-{number}", safe_name(name)))
}

/// A cluster's address as its client wants it, password included: it is never logged.
fn url(cluster: &ClusterSpec) -> Result<String, MakeError> {
    let password = match &cluster.password_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| StoreError::Unavailable(format!("password file {}: {error}", path.display())))?;
            format!(":{}@", percent(text.trim_end()))
        }
        None => String::new(),
    };
    let (first, rest) = cluster.nodes.split_first().expect("a cluster has nodes, or it is refused");
    let rest: Vec<String> = rest.iter().map(|node| format!("node={node}")).collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    Ok(format!("redis-cluster://{password}{first}{mark}{}", rest.join("&")))
}

/// Text as a part of a URI (RFC 3986).
fn percent(text: &str) -> String {
    let write = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(write).collect()
}

fn quota_or_all(size: u64, quota: Option<u64>) -> Result<u64, MakeError> {
    let full = RamStore::full_cost(size).ok_or(MakeError::TooLarge)?;
    Ok(quota.unwrap_or(full))
}
