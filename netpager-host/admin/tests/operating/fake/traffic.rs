//! Clients that seem to read and write.

use std::sync::Arc;
use std::time::Duration;

use admin::{ClientInfo, Command, Outcome, Recorder, Registry};

/// Who uses which export, how, and how many requests a turn.
const CLIENTS: [(&str, &str, Option<&str>, &str, u64); 5] = [
    ("np1/lab/guest-1", "10.0.0.21:50112", Some("guest-1.lab"), "TLS 1.3", 900),
    ("np1/lab/guest-1", "10.0.0.21:50113", Some("guest-1.lab"), "TLS 1.3", 300),
    ("np1/lab/guest-2", "10.0.0.22:41022", Some("guest-2.lab"), "TLS 1.3", 500),
    ("disk", "unix", Some("uid 1000"), "Unix socket", 120),
    (super::HOSTILE, "127.0.0.1:39000", None, "plain", 3),
];

/// The clients.
pub(crate) struct Traffic {
    /// With their numbers in the table.
    recorders: Vec<(usize, Recorder)>,
    seed: u64,
    turn: u64,
}

impl Traffic {
    /// All of them connect.
    pub(crate) fn connect(registry: &Arc<Registry>) -> Self {
        let connect = |&(export, peer, identity, transport, _): &(&str, &str, Option<&str>, &str, u64)| {
            registry.connect(ClientInfo {
                export: export.into(),
                peer: peer.into(),
                identity: identity.map(str::to_owned),
                transport: transport.into(),
                protocol: "extended headers".into(),
            })
        };
        Self { recorders: CLIENTS.iter().map(connect).enumerate().collect(), seed: 1, turn: 0 }
    }

    /// The clients' numbers.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.recorders.iter().map(|(_, recorder)| recorder.id()).collect()
    }

    /// A client leaves.
    pub(crate) fn drop_client(&mut self, id: u64) {
        self.recorders.retain(|(_, recorder)| recorder.id() != id);
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    /// Each does some requests; a turn is meant to be a tenth of a second.
    pub(crate) fn turn(&mut self) {
        self.turn += 1;
        for index in 0..self.recorders.len() {
            let client = self.recorders[index].0;
            let wave = 1.0 + 0.6 * (self.turn as f64 / 60.0 + client as f64).sin();
            let jitter = self.random() % 100;
            let count = (CLIENTS[client].4 as f64 * wave) as u64 * (70 + jitter) / 100;
            (0..count).for_each(|_| self.request(index));
        }
    }

    fn request(&mut self, index: usize) {
        let (kind, long) = (self.random() % 100, self.random() % 1000);
        let latency = 12_000 + self.random() % 30_000 + if long > 985 { 400_000 + self.random() % 900_000 } else { 0 };
        let (command, bytes) = match kind {
            0..62 => (Command::Read, 4096 << (self.random() % 3)),
            62..96 => (Command::Write, 4096 << (self.random() % 4)),
            96..98 => (Command::WriteZeroes, 65536),
            98 => (Command::Trim, 65536),
            _ => (Command::Flush, 0),
        };
        let outcome = if long == 7 { Outcome::NoSpace } else { Outcome::Ok };
        let (_, recorder) = &mut self.recorders[index];
        recorder.begin();
        recorder.finish(command, outcome, if outcome == Outcome::Ok { bytes } else { 0 }, Duration::from_nanos(latency));
    }
}
