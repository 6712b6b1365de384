//! Gives up exports made at run time when their time has come.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::catalogue::Catalogue;
use super::entry::{Entry, Source};
use crate::config::{Lifetime, Span};

/// How often idle exports are looked for. Nobody needs them to go on the second.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the catalogue is gone.
pub(crate) async fn expire(catalogue: Arc<Catalogue>, mut leaving: mpsc::UnboundedReceiver<Arc<Entry>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let due = tokio::select! {
            left = leaving.recv() => match left {
                Some(entry) => due(&entry, true).map(|idle| (entry, idle)).into_iter().collect(),
                None => return,
            },
            _ = ticks.tick() => {
                let due = |entry: Arc<Entry>| due(&entry, false).map(|idle| (entry, idle));
                catalogue.entries().into_iter().filter_map(due).collect::<Vec<_>>()
            }
        };
        for (entry, idle) in due {
            let catalogue = catalogue.clone();
            let removal = tokio::task::spawn_blocking(move || catalogue.remove_if_idle(&entry, idle));
            removal.await.expect("removing an export does not panic");
        }
    }
}

/// How long an export must have been idle to be given up, if that can be now.
fn due(entry: &Entry, was_left: bool) -> Option<Duration> {
    match &entry.source {
        // An export whose maker has not come yet is idle as well, but has not been left.
        Source::Made { lifetime: Lifetime::LastClose, .. } if was_left => Some(Duration::ZERO),
        Source::Made { lifetime: Lifetime::Idle(Span(time)), .. } => Some(*time),
        _ => None,
    }
}
