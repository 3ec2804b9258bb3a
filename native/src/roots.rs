//! Which plan a message class has: a table by the address of the class and the revision.

/// Class, revision, and index of the plan; class 0 of an empty place.
type Root = (usize, i64, usize);

pub struct Roots(Vec<Root>);

#[inline(always)]
fn place(class: usize, revision: i64) -> usize {
    // Objects are aligned: the lowest bits of addresses say nothing.
    ((class >> 4) ^ revision as usize).wrapping_mul(0x9E37_79B9) >> 8
}

impl Roots {
    pub fn new(roots: impl ExactSizeIterator<Item = Root>) -> Roots {
        let mut table = vec![(0, 0, 0); (roots.len() * 4).next_power_of_two().max(2)];
        let mask = table.len() - 1;
        for root in roots {
            let mut at = place(root.0, root.1) & mask;
            while table[at].0 != 0 {
                at = (at + 1) & mask;
            }
            table[at] = root;
        }
        Roots(table)
    }

    #[inline(always)]
    pub fn find(&self, class: usize, revision: i64) -> Option<usize> {
        let mut at = place(class, revision);
        loop {
            match self.0[at & (self.0.len() - 1)] {
                (0, ..) => return None,
                (known, of, index) if known == class && of == revision => return Some(index),
                _ => at += 1,
            }
        }
    }
}
