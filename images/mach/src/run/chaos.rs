//! Disturbances on purpose: netpager-host is killed and started again in the middle of a run.
//!
//! By the clock for people; by the guest's own progress for tests, which must hit the same moment on any machine.

use anyhow::{Context, Result, bail};
use std::str::FromStr;
use std::time::Duration;

/// One disturbance: when netpager-host is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chaos {
    when: When,
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
        let when = text.strip_prefix("kill-host@").context("write kill-host@SECONDS or kill-host@TEXT")?;
        if when.is_empty() {
            bail!("kill-host@ what? A number of seconds, or a text in the guest's progress");
        }
        let when = match when.parse::<u32>() {
            Ok(seconds) => When::After(Duration::from_secs(seconds.into())),
            Err(_) => When::Progress(when.to_owned()),
        };
        Ok(Self { when })
    }
}

/// The disturbances still to come.
#[derive(Debug)]
pub(crate) struct Agenda(Vec<Chaos>);

impl Agenda {
    pub(crate) fn new(chaos: &[Chaos]) -> Self {
        Self(chaos.to_vec())
    }

    /// Is it time, `elapsed` after the start? Each disturbance says so once.
    pub(crate) fn due_at(&mut self, elapsed: Duration) -> bool {
        self.take(|when| matches!(when, When::After(after) if *after <= elapsed))
    }

    /// Does this progress line call for one?
    pub(crate) fn due_on(&mut self, progress: &str) -> bool {
        self.take(|when| matches!(when, When::Progress(text) if progress.contains(text.as_str())))
    }

    /// How many never happened.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, due: impl Fn(&When) -> bool) -> bool {
        match self.0.iter().position(|chaos| due(&chaos.when)) {
            Some(index) => {
                self.0.remove(index);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disturbance_happens_once() {
        let chaos = ["kill-host@3".parse().unwrap(), "kill-host@net: random".parse().unwrap()];
        let mut agenda = Agenda::new(&chaos);
        assert!(!agenda.due_at(Duration::from_millis(2999)));
        assert!(agenda.due_at(Duration::from_secs(3)));
        assert!(!agenda.due_at(Duration::from_secs(4)));
        assert!(!agenda.due_on("net: sequential 10 %"));
        assert!(agenda.due_on("net: random 40 %"));
        assert!(!agenda.due_on("net: random 50 %"));
        assert_eq!(agenda.left(), 0);
    }

    #[test]
    fn other_disturbances_are_not_known() {
        assert!("kill-host@".parse::<Chaos>().is_err());
        assert!("kill-guest@3".parse::<Chaos>().is_err());
    }
}
