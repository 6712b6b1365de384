//! Disturbances on purpose: in the middle of a run netpager-host is killed and started again, or a member of its mirror is killed.
//!
//! By the clock for people; by the guest's own progress for tests, which must hit the same moment on any machine.

use anyhow::{Result, bail};
use std::str::FromStr;
use std::time::Duration;

/// One disturbance: who is killed, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chaos {
    pub(crate) victim: Victim,
    when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The netpager-host that the guest talks to. It comes back.
    Host,
    /// A netpager-host that the other one mirrors to. It doesn't.
    Member,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    /// This long after the start.
    After(Duration),
    /// At the first progress line that contains the text.
    Progress(String),
}

/// How long the host's service stays away: long enough that requests pile up and the guest's TCP has to try again.
#[cfg(not(test))]
pub(crate) const AWAY: Duration = Duration::from_secs(2);
/// Our own tests have no TCP to impress.
#[cfg(test)]
pub(crate) const AWAY: Duration = Duration::from_millis(100);

impl FromStr for Chaos {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (victim, when) = match text.split_once('@') {
            Some(("kill-host", when)) => (Victim::Host, when),
            Some(("kill-member", when)) => (Victim::Member, when),
            _ => bail!("write kill-host@ or kill-member@, then SECONDS or TEXT"),
        };
        if when.is_empty() {
            bail!("{text} when? A number of seconds, or a text in the guest's progress");
        }
        let when = match when.parse::<u32>() {
            Ok(seconds) => When::After(Duration::from_secs(seconds.into())),
            Err(_) => When::Progress(when.to_owned()),
        };
        Ok(Self { victim, when })
    }
}

/// The disturbances still to come.
#[derive(Debug)]
pub(crate) struct Agenda(Vec<Chaos>);

impl Agenda {
    pub(crate) fn new(chaos: &[Chaos]) -> Self {
        Self(chaos.to_vec())
    }

    /// Whose time has come, `elapsed` after the start? Each disturbance says so once.
    pub(crate) fn due_at(&mut self, elapsed: Duration) -> Option<Victim> {
        self.take(|when| matches!(when, When::After(after) if *after <= elapsed))
    }

    /// Does this progress line call for one?
    pub(crate) fn due_on(&mut self, progress: &str) -> Option<Victim> {
        self.take(|when| matches!(when, When::Progress(text) if progress.contains(text.as_str())))
    }

    /// How many never happened.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, due: impl Fn(&When) -> bool) -> Option<Victim> {
        let index = self.0.iter().position(|chaos| due(&chaos.when))?;
        Some(self.0.remove(index).victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disturbance_happens_once() {
        let chaos = ["kill-host@3".parse().unwrap(), "kill-member@net: random".parse().unwrap()];
        let mut agenda = Agenda::new(&chaos);
        assert_eq!(agenda.due_at(Duration::from_millis(2999)), None);
        assert_eq!(agenda.due_at(Duration::from_secs(3)), Some(Victim::Host));
        assert_eq!(agenda.due_at(Duration::from_secs(4)), None);
        assert_eq!(agenda.due_on("net: sequential 10 %"), None);
        assert_eq!(agenda.due_on("net: random 40 %"), Some(Victim::Member));
        assert_eq!(agenda.due_on("net: random 50 %"), None);
        assert_eq!(agenda.left(), 0);
    }

    #[test]
    fn other_disturbances_are_not_known() {
        assert!("kill-host@".parse::<Chaos>().is_err());
        assert!("kill-guest@3".parse::<Chaos>().is_err());
    }
}
