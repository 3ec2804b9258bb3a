//! The plan of each message class: a hash table by the address of the class and the revision.

/// A message class in a revision of the contract.
#[derive(Clone, Default)]
pub struct Root {
    /// Address of the class; 0 for an empty slot of the table.
    pub address: usize,
    pub revision: i64,
    /// Index of the plan of its message, and index of the class.
    pub message: usize,
    pub class: usize,
}

pub struct Roots(Vec<Root>);

#[inline(always)]
fn place(address: usize, revision: i64) -> usize {
    // Objects are aligned: the lowest bits of addresses are always 0.
    ((address >> 4) ^ revision as usize).wrapping_mul(0x9E37_79B9) >> 8
}

impl Roots {
    pub fn new(roots: impl ExactSizeIterator<Item = Root>) -> Roots {
        let mut table = vec![Root::default(); (roots.len() * 4).next_power_of_two().max(2)];
        let mask = table.len() - 1;
        for root in roots {
            let mut at = place(root.address, root.revision) & mask;
            while table[at].address != 0 {
                at = (at + 1) & mask;
            }
            table[at] = root;
        }
        Roots(table)
    }

    #[inline(always)]
    pub fn find(&self, address: usize, revision: i64) -> Option<&Root> {
        let mut at = place(address, revision);
        loop {
            let root = &self.0[at & (self.0.len() - 1)];
            if root.address == address && root.revision == revision {
                return Some(root);
            }
            if root.address == 0 {
                return None;
            }
            at += 1;
        }
    }
}
