//! Run queues, wait queues and timeouts.
