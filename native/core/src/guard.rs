//! The boundary that no panic crosses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::handover::{Handover, Outcome};

/// Run a conversion in scratch memory; a panic in it hands the document over, and clears the memory.
#[inline]
pub fn guarded<M: Default>(memory: &mut M, convert: impl FnOnce(&mut M) -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| convert(memory))).unwrap_or_else(|_| {
        *memory = M::default();
        Err(Handover::Panic)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_hands_the_document_over_and_leaves_no_memory_behind() {
        let mut memory = vec![1];
        let outcome = guarded(&mut memory, |memory| {
            memory.push(2);
            panic!("a mistake");
        });
        assert_eq!(outcome, Err(Handover::Panic));
        assert!(memory.is_empty());
        assert_eq!(guarded(&mut memory, |_| Ok(())), Ok(()));
    }
}
