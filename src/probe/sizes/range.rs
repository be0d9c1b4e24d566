//! Looking for the largest size that arrives.

use crate::wire::outer::LEVEL;

/// MTUs that links have: minima of IPv4 and IPv6, tunnels of many kinds, PPPoE, Ethernet, jumbo frames.
const USUAL: [u16; 14] =
    [576, 1280, 1380, 1400, 1420, 1440, 1450, 1460, 1472, 1476, 1480, 1492, 1500, 9000];

/// What is known of the largest size that arrives somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// The largest that arrived.
    works: u16,
    /// The smallest larger one that did not.
    fails: Option<u16>,
    /// What a router says that its link takes.
    told: Option<u16>,
}

impl Range {
    /// `works`: a size that is known to arrive.
    pub(super) fn new(works: u16) -> Self {
        Self { works, fails: None, told: None }
    }

    pub(super) fn works(&self) -> u16 {
        self.works
    }

    /// A late answer may prove that a size was given up too early.
    pub(super) fn arrived(&mut self, size: u16) {
        self.works = self.works.max(size);
        self.fails = self.fails.filter(|&fails| fails > self.works);
    }

    /// A size that arrived before may be lost by chance.
    pub(super) fn failed(&mut self, size: u16) {
        if size > self.works {
            self.fails = Some(self.fails.map_or(size, |fails| fails.min(size)));
        }
    }

    /// Whether some size up to `top` does not arrive.
    pub(super) fn is_bounded(&self, top: u16) -> bool {
        self.fails.is_some_and(|fails| fails <= top)
    }

    /// A router says that no more than `limit` gets on.
    pub(super) fn told(&mut self, limit: u16) {
        self.told = Some(limit);
    }

    /// What to try next; nothing if the largest of all up to `top` is known. `guess`: to be tried
    /// first. `level`: so many tunnel headers are off before the link in question.
    pub(super) fn next(&self, top: u16, guess: u16, level: usize) -> Option<u16> {
        if self.works >= top {
            return None;
        }
        let Some(fails) = self.fails.filter(|&fails| fails <= top) else { return Some(top) };
        let is_open = |size: &u16| self.works < *size && *size < fails;
        // Who reports the MTU is believed, once a packet of that size has arrived.
        if self.told == Some(self.works) {
            return None;
        }
        let guess = if guess == self.works { guess + 1 } else { guess };
        self.told.filter(is_open).or(Some(guess).filter(is_open)).or_else(|| {
            let off = (level * LEVEL) as u16;
            let usual = USUAL.iter().flat_map(|mtu| [mtu + off, mtu + off + 1]).filter(is_open);
            let usual: Vec<_> = usual.collect();
            let middle = usual.get(usual.len() / 2).copied();
            middle.or(Some(self.works + (fails - self.works) / 2).filter(is_open))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Looks for `limit`, and returns it with the number of tries.
    fn search(limit: u16, works: u16, top: u16, guess: u16, told: Option<u16>) -> (u16, usize) {
        let mut range = Range::new(works);
        let mut tries = 0;
        while let Some(size) = range.next(top, guess, 0) {
            tries += 1;
            assert!(works < size && size <= top && tries < 30, "{size} of {works} to {top}");
            if size <= limit {
                range.arrived(size);
            } else {
                range.failed(size);
                if let Some(told) = told {
                    range.told(told);
                }
            }
        }
        (range.works(), tries)
    }

    #[test]
    fn usual_sizes_are_found_quickly() {
        assert_eq!(search(1500, 112, 1500, 0, None), (1500, 1));
        for limit in [1280, 1420, 1492] {
            assert_eq!(search(limit, 112, 1500, 0, Some(limit)), (limit, 2));
            assert_eq!(search(limit, 112, 1500, limit, None), (limit, 3));
            let (found, tries) = search(limit, 112, 1500, 0, None);
            assert_eq!(found, limit);
            assert!(tries <= 7, "{tries} tries for {limit}");
        }
    }

    #[test]
    fn a_router_that_names_too_much_is_not_believed() {
        assert_eq!(search(1420, 112, 1500, 0, Some(1460)).0, 1420);
    }

    #[test]
    fn a_late_answer_reopens_what_was_given_up() {
        let mut range = Range::new(112);
        range.failed(1500);
        range.failed(1400);
        range.arrived(1400);
        assert_eq!(range.next(1500, 0, 0), Some(1500));
    }

    proptest! {
        #[test]
        fn every_limit_is_found(
            limit in 112u16..9100, top in 576u16..=9000, guess: u16, told in prop::option::of(any::<u16>()),
        ) {
            // Somebody who names too little is believed, because that size arrives.
            let told = told.filter(|&told| told >= limit);
            let (found, _) = search(limit, 112, top, guess, told);
            prop_assert_eq!(found, limit.min(top));
        }
    }
}
