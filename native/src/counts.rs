//! How often documents were handed over, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use mistralwire_core::Handover;
use mistralwire_core::handover::NAMES;

#[derive(Default)]
pub struct Counts([AtomicU64; NAMES.len()]);

impl Counts {
    pub fn add(&self, reason: Handover) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
