//! A spin lock whose waiters give their processor away: EL0 threads can be preempted while they hold one.

use spin::relax::RelaxStrategy;

/// Waits by letting others run.
pub(crate) struct GiveWay;

impl RelaxStrategy for GiveWay {
    fn relax() {
        crate::trap::swtch();
    }
}

/// The lock.
pub(crate) type Lock<T> = spin::mutex::SpinMutex<T, GiveWay>;
