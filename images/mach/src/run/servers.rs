//! The netpager-hosts of a run: the one the guest talks to and, if it keeps a mirror, those behind it.

use super::chaos::Victim;
use super::server::Server;
use anyhow::Result;

#[derive(Debug)]
pub(crate) struct Servers {
    host: Server,
    members: Vec<Server>,
}

impl Servers {
    pub(crate) fn new(host: Server, members: Vec<Server>) -> Self {
        Self { host, members }
    }

    /// Kills one as a crash would (SIGKILL); of the members, the first: it is the one that is read from.
    pub(crate) fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Host => self.host.kill(),
            Victim::Member => self.members.first_mut().into_iter().for_each(Server::kill),
        }
    }

    /// Starts the guest's one again where it was.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.host.restart()
    }

    /// What one of them said that has ended although nobody killed it.
    pub(crate) fn died(&mut self) -> Option<String> {
        let mut all = self.members.iter_mut().chain([&mut self.host]);
        all.find_map(|server| server.died().then(|| server.logged()))
    }

    /// Asks all to end; the mirror before its members.
    pub(crate) fn stop(self) {
        self.host.stop();
        self.members.into_iter().for_each(Server::stop);
    }
}
