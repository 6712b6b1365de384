//! Who is connected, by the numbers that metrics and logs use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::exports::Link;

/// All connections in the transmission phase.
#[derive(Default)]
pub(crate) struct Clients(Mutex<HashMap<u64, Arc<Link>>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, number: u64, link: Arc<Link>) {
        self.lock().insert(number, link);
    }

    pub(crate) fn remove(&self, number: u64) {
        self.lock().remove(&number);
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Link>> {
        self.lock().get(&number).cloned()
    }
}
