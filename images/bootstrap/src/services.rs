//! The names of services, and those who wait for one.

use alloc::string::String;
use alloc::vec::Vec;

use abi::Code;
use abi::call::bootstrap::bootstrap_look_up;
use runtime::SendRight;
use runtime::{Reply, port};

/// A task, as the supervisor numbers them.
pub type ChildId = u64;

/// What is registered and what is waited for.
#[derive(Debug, Default)]
pub struct Services {
    registered: Vec<(String, ChildId, SendRight)>,
    waiting: Vec<(String, Reply)>,
}

impl Services {
    /// A task offers a service. A name that somebody has is not given twice.
    pub fn register(&mut self, name: String, owner: ChildId, service: SendRight) -> Result<(), Code> {
        if self.registered.iter().any(|(taken, _, _)| *taken == name) {
            return Err(Code::NAME_EXISTS);
        }
        for (_, reply) in self.waiting.extract_if(.., |(wanted, _)| *wanted == name) {
            answer(reply, &service);
        }
        self.registered.push((name, owner, service));
        Ok(())
    }

    /// A task wants a service: answered now, or when it is registered.
    pub fn look_up(&mut self, name: String, reply: Reply) {
        match self.registered.iter().find(|(registered, _, _)| *registered == name) {
            Some((_, _, service)) => answer(reply, service),
            None => self.waiting.push((name, reply)),
        }
    }

    /// Whether a task registered this name.
    #[must_use]
    pub fn has(&self, name: &str, owner: ChildId) -> bool {
        self.registered.iter().any(|(registered, by, _)| registered == name && *by == owner)
    }

    /// A task is no more, nor are its services.
    pub fn forget(&mut self, owner: ChildId) {
        self.registered.retain(|(_, by, _)| *by != owner);
    }

    /// Names that somebody waits for.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.waiting.iter().map(|(name, _)| name.as_str())
    }
}

fn answer(reply: Reply, service: &SendRight) {
    let found = if port::is_valid(service.name()) { Ok(service.copy()) } else { Err(Code::INVALID_CAPABILITY) };
    // Who asked may be gone.
    let _ = reply.send::<bootstrap_look_up::Request>(&found.map(|service| bootstrap_look_up::Reply { service }));
}
