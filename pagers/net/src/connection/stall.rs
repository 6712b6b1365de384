//! A connection that says nothing while somebody waits for pages: another one is asked too.
//!
//! TCP here repeats a lost packet after a second at the earliest (smoltcp's least timeout), and a packet that is lost at the end of a burst has
//! nothing behind it that would tell sooner. A second connection that works is a way around that, and around a path that has just died.

use alloc::vec::Vec;

use nbd::Command;

use super::{Connection, State, Tag};
use crate::core_state::Core;
use crate::jobs::JobId;
use crate::outgoing::Payload;

/// After so long without a byte it has stalled.
const STALL_NS: u64 = 200_000_000;

/// A job as one connection has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) id: JobId,
    pub(super) since_ns: u64,
    /// Another connection has it too.
    pub(super) is_shared: bool,
}

impl Connection {
    /// The jobs that it has.
    pub(super) fn asked(&self) -> impl Iterator<Item = Asked> {
        self.table.iter().filter_map(|(_, _, tag)| if let Tag::Job(asked) = tag { Some(*asked) } else { None })
    }

    /// When it will have stalled, if it says nothing until then and somebody waits for it.
    pub(crate) fn stalls_ns(&self) -> Option<u64> {
        let waiting = self.table.iter().filter_map(|(_, pending, tag)| match tag {
            Tag::Job(asked) if !asked.is_shared && pending.request().command == Command::Read => Some(asked.since_ns),
            _ => None,
        });
        let since_ns = waiting.min().filter(|_| self.state == State::Ready)?;
        Some(self.heard_ns.max(since_ns) + STALL_NS)
    }

    /// The reads that another connection should have too, if this one has stalled; they are given once.
    pub(crate) fn take_stalled(&mut self, now_ns: u64) -> Vec<JobId> {
        if self.stalls_ns().is_none_or(|at| now_ns < at) {
            return Vec::new();
        }
        let cookies: Vec<u64> = self.table.iter().map(|(cookie, ..)| cookie).collect();
        let mut stalled = Vec::new();
        for cookie in cookies {
            if let Some((pending, Tag::Job(asked))) = self.table.get_mut(cookie)
                && pending.request().command == Command::Read
                && !core::mem::replace(&mut asked.is_shared, true)
            {
                stalled.push(asked.id);
            }
        }
        stalled
    }

    /// Asks for what another connection has been asked for. Whichever answers first is believed; the other answer finds nobody who waits for it.
    pub(crate) fn ask_too(&mut self, id: JobId, core: &mut Core) {
        let Some(job) = core.jobs.get(id).filter(|_| !self.table.is_full()) else { return };
        let request = job.request();
        if self.ask(request, Tag::Job(Asked { id, since_ns: core.now_ns, is_shared: true }), Payload::Nothing).is_ok() {
            core.counters.asked_twice += 1;
        }
    }
}
