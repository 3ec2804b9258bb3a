//! How often documents were handed over, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use mistralwire_core::Handover;
use mistralwire_core::handover::NAMES;

/// What the binding itself hands over.
const ARGUMENTS: usize = NAMES.len();
const PANIC: usize = NAMES.len() + 1;

#[derive(Default)]
pub struct Counts([AtomicU64; NAMES.len() + 2]);

impl Counts {
    pub fn add(&self, reason: Handover) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Count arguments that are none of this engine's: another type, or text that UTF-8 can't hold.
    pub fn add_arguments(&self) {
        self.0[ARGUMENTS].fetch_add(1, Ordering::Relaxed);
    }

    pub fn add_panic(&self) {
        self.0[PANIC].fetch_add(1, Ordering::Relaxed);
    }

    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let names = NAMES.iter().copied().chain(["arguments", "panic"]);
        names.zip(&self.0).map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }
}
