//! The cluster itself: keys, commands, and what its errors mean.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, ClusterInterface, KeysInterface, ServerInterface};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, Server, ServerConfig};
use fred::types::scan::Scanner;
use fred::types::{Builder, ClusterHash, CustomCommand};
use fred::util::redis_keyslot;
use futures_util::TryStreamExt;
use store::StoreError;

/// How many keys a node looks at in one step of a scan.
const SCAN_STEP: u32 = 1000;

/// A client that knows all nodes of a cluster, and the keys of one export.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
    prefix: String,
}

/// What an error of the cluster means to whoever uses the store.
pub(super) fn store_error(error: &Error) -> StoreError {
    let details = error.details();
    if details.starts_with("OOM") {
        return StoreError::Io(io::Error::new(io::ErrorKind::StorageFull, format!("the cluster has no memory left: {details}")));
    }
    match error.kind() {
        ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Cluster | ErrorKind::Canceled | ErrorKind::Routing | ErrorKind::Backpressure => {
            StoreError::Unavailable(format!("the cluster: {details}"))
        }
        _ => StoreError::Io(io::Error::other(format!("the cluster: {error}"))),
    }
}

/// Letters, digits and a few signs stay; anything else, braces above all, could change where a key lives.
fn escaped(name: &str) -> String {
    let mut key = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => key.push(byte as char),
            other => key.push_str(&format!("%{other:02x}")),
        }
    }
    key
}

/// A client that is connected.
async fn client(config: Config, deadline: Duration) -> Result<Client, StoreError> {
    let mut builder = Builder::from_config(config);
    builder
        .set_performance_config(PerformanceConfig { default_command_timeout: deadline, ..PerformanceConfig::default() })
        .set_connection_config(ConnectionConfig {
            connection_timeout: deadline,
            internal_command_timeout: deadline,
            ..ConnectionConfig::default()
        })
        .set_policy(ReconnectPolicy::new_exponential(0, 50, 1000, 2));
    let client = builder.build().map_err(|error| store_error(&error))?;
    client.init().await.map_err(|error| store_error(&error))?;
    Ok(client)
}

/// The nodes in an answer to CLUSTER NODES: `ID HOST:PORT@BUSPORT[,NAME] FLAGS …` on each line.
fn addresses(nodes: &str) -> impl Iterator<Item = Server> + '_ {
    nodes.lines().filter_map(|line| {
        let (host, port) = line.split(' ').nth(1)?.split('@').next()?.rsplit_once(':')?;
        if host.is_empty() { None } else { Some(Server::new(host, port.parse().ok()?)) }
    })
}

impl Cluster {
    /// Connects to the cluster that `url` leads to.
    pub(super) async fn connect(url: &str, export: &str, deadline: Duration) -> Result<Self, StoreError> {
        let mut config = Config::from_url(url).map_err(|error| store_error(&error))?;
        let first = client(config.clone(), deadline).await?;
        // After a failure the client asks the nodes of its configuration for the new shape of the cluster. If the only one it
        // was given is the one that failed, it would ask in vain; so it is given all of them.
        let nodes: String = first.cluster_nodes().await.map_err(|error| store_error(&error))?;
        if let ServerConfig::Clustered { hosts, .. } = &mut config.server {
            hosts.extend(addresses(&nodes).filter(|node| !hosts.contains(node)).collect::<Vec<_>>());
        } else {
            return Err(StoreError::Io(io::Error::new(io::ErrorKind::InvalidInput, "the address must begin with redis-cluster://")));
        }
        let _ = first.quit().await;
        Ok(Self { client: client(config, deadline).await?, prefix: format!("pvmach/{}/", escaped(export)) })
    }

    pub(super) async fn close(&self) {
        let _ = self.client.quit().await;
    }

    fn key(&self, extent: u64) -> String {
        format!("{}{extent:x}", self.prefix)
    }

    /// Bytes `first..=last` of an extent, or as many of them as are stored.
    pub(super) async fn get(&self, extent: u64, first: usize, last: usize) -> Result<Bytes, StoreError> {
        self.client.getrange(self.key(extent), first, last).await.map_err(|error| store_error(&error))
    }

    pub(super) async fn put(&self, extent: u64, at: usize, bytes: Bytes) -> Result<(), StoreError> {
        self.client.setrange::<u64, _, _>(self.key(extent), at as u32, bytes).await.map(drop).map_err(|error| store_error(&error))
    }

    pub(super) async fn remove(&self, extent: u64) -> Result<(), StoreError> {
        self.client.unlink::<u64, _>(self.key(extent)).await.map(drop).map_err(|error| store_error(&error))
    }

    /// Remembers the shape of the export, or compares it with what is remembered. True if it is the same.
    pub(super) async fn claim(&self, shape: &str) -> Result<bool, StoreError> {
        let key = format!("{}shape", self.prefix);
        let options = Some(fred::types::SetOptions::NX);
        let _: Option<String> = self.client.set(&key, shape, None, options, false).await.map_err(|error| store_error(&error))?;
        let kept: String = self.client.get(&key).await.map_err(|error| store_error(&error))?;
        Ok(kept == shape)
    }

    /// The numbers of all extents that are stored.
    pub(super) async fn extents(&self) -> Result<Vec<u64>, StoreError> {
        let pages = self.client.scan_cluster(format!("{}*", self.prefix), Some(SCAN_STEP), None);
        let found = pages.try_fold(Vec::new(), |mut found, mut page| async move {
            for key in page.take_results().unwrap_or_default() {
                let number = key.as_str().and_then(|key| key.strip_prefix(&self.prefix).and_then(|hex| u64::from_str_radix(hex, 16).ok()));
                found.extend(number);
            }
            page.next();
            Ok(found)
        });
        found.await.map_err(|error| store_error(&error))
    }

    fn primaries(&self) -> Result<Vec<(Server, u16, u16)>, StoreError> {
        let state =
            self.client.cached_cluster_state().ok_or_else(|| StoreError::Unavailable("the cluster's nodes are not known".into()))?;
        let mut primaries: Vec<(Server, u16, u16)> = Vec::new();
        for slot in state.slots() {
            if !primaries.iter().any(|(server, ..)| *server == slot.primary) {
                primaries.push((slot.primary.clone(), slot.start, slot.end));
            }
        }
        Ok(primaries)
    }

    /// The first node that would throw keys away when its memory is full, and its policy. Nodes that do not tell are believed.
    pub(super) async fn evicting(&self) -> Result<Option<(String, String)>, StoreError> {
        for (server, ..) in self.primaries()? {
            let command = CustomCommand::new_static("CONFIG", ClusterHash::Random, false);
            let node = self.client.with_cluster_node(&server);
            match node.custom::<Vec<String>, _>(command, vec!["GET", "maxmemory-policy"]).await {
                Ok(answer) => {
                    let policy = answer.get(1).cloned().unwrap_or_default();
                    if policy != "noeviction" {
                        return Ok(Some((server.to_string(), policy)));
                    }
                }
                Err(error) => tracing::warn!(node = %server, "does not tell whether it evicts keys: {error}"),
            }
        }
        Ok(None)
    }

    /// Waits until `replicas` replicas of every primary have all that was written. The least number that any primary
    /// reached is returned.
    ///
    /// WAIT covers what its own connection wrote. A connection may be newer than our writes, so each primary is written to
    /// first: replicas apply writes in order, so whoever has the last one has all.
    pub(super) async fn wait(&self, replicas: u32, deadline: Duration) -> Result<u32, StoreError> {
        let mut least = u32::MAX;
        for (server, start, end) in self.primaries()? {
            let key =
                (0u64..).map(|at| format!("{}flush{at}", self.prefix)).find(|key| (start..=end).contains(&redis_keyslot(key.as_bytes())));
            let Some(key) = key else { continue };
            self.client.set::<(), _, _>(key, 1, None, None, false).await.map_err(|error| store_error(&error))?;
            let wait = deadline.as_millis() as i64 / 2;
            let node = self.client.with_cluster_node(&server);
            let reached: u32 = node.wait(i64::from(replicas), wait).await.map_err(|error| store_error(&error))?;
            least = least.min(reached);
        }
        Ok(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_without_an_address_are_left_out() {
        let nodes = "a 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460\nb :0@0 slave,noaddr a 0 0 1 disconnected\n\
            c ::1:7001@17001,name slave a 0 0 1 connected\n";
        let found: Vec<_> = addresses(nodes).map(|node| (node.host.to_string(), node.port)).collect();
        assert_eq!(found, [("127.0.0.1".to_owned(), 7000), ("::1".to_owned(), 7001)]);
        assert_eq!(addresses("\n \nx y").count(), 0);
    }

    #[test]
    fn no_name_can_choose_where_its_keys_live() {
        assert_eq!(escaped("np1/guest-a_0.x"), "np1%2fguest-a_0.x");
        assert_eq!(escaped("{tag}*?[]%"), "%7btag%7d%2a%3f%5b%5d%25");
        assert_ne!(escaped("a/b"), escaped("a%2fb"));
    }

    #[test]
    fn memory_that_is_used_up_is_told_from_other_errors() {
        assert!(store_error(&Error::new(ErrorKind::Unknown, "OOM command not allowed when used memory > 'maxmemory'.")).is_out_of_space());
        assert!(matches!(store_error(&Error::new(ErrorKind::IO, "gone")), StoreError::Unavailable(_)));
        assert!(matches!(store_error(&Error::new(ErrorKind::Auth, "NOAUTH")), StoreError::Io(_)));
    }
}
