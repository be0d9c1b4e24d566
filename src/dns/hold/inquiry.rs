//! What must be known before one reply can be settled: the NAT record of its name, or the
//! addresses that emulate it.

use std::net::Ipv4Addr;

use super::lookup::{Answer, LookupKey, Server, Wanted};
use crate::counters::Counter;
use crate::dns::{FollowUp, Lack, Name};
use crate::path::{Hop, Path, PathSet};
use crate::time::Time;

/// What is asked, and what is known of it so far.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// Not asked where the reply says that there is none.
    nat: Option<Part>,
    emulated: Option<Emulated>,
}

/// The addresses that make a path.
#[derive(Debug)]
struct Emulated {
    host: Part,
    boxes: Vec<(Part, u16)>,
}

#[derive(Debug)]
struct Part {
    key: LookupKey,
    known: Option<Known>,
}

/// An answer and when it is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) answer: Answer,
    pub(super) end: Time,
}

/// What comes of an inquiry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The paths of NAT records, until `end`.
    Paths { paths: PathSet, end: Time },
    /// Every address is there: see [`Inquiry::emulated_paths`].
    Emulated { end: Time },
    /// The reply stays as it is.
    Unchanged(Counter),
}

/// Paths that were made of addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) paths: Vec<Path>,
    /// Addresses that may not stand where they would.
    pub(super) refused: usize,
}

impl Inquiry {
    /// What a reply of `server` leads to.
    pub(super) fn new(server: Server, follow_up: &FollowUp, now: Time) -> Self {
        let FollowUp { target, lack, emulated, .. } = follow_up;
        let part = |name: &Name, wanted| {
            let key = LookupKey { server, name: name.clone(), wanted };
            Part { key, known: None }
        };
        let may_have_nat = matches!(lack, Lack::Address | Lack::Hints);
        let nat = may_have_nat.then(|| part(target, Wanted::Nat));
        let emulated = emulated.as_ref().map(|names| {
            let address = |(name, port): &(Name, u16)| (part(name, Wanted::Address), *port);
            let boxes = names.boxes.iter().map(address).collect();
            Emulated { host: part(&names.host, Wanted::Address), boxes }
        });
        let mut inquiry = Self { nat, emulated };
        if let (Some(emulated), Lack::Boxes { hosts, ttl }) = (&mut inquiry.emulated, lack) {
            let (answer, ttl) = Answer::of_addresses(hosts.clone(), *ttl);
            emulated.host.known = Some(Known { answer, end: now + ttl });
        }
        inquiry
    }

    /// The questions that are still open.
    pub(super) fn open(&self) -> impl Iterator<Item = &LookupKey> {
        self.parts().filter(|part| part.known.is_none()).map(|part| &part.key)
    }

    /// Takes what `known` says about open questions.
    pub(super) fn fill(&mut self, known: impl Fn(&LookupKey) -> Option<Known>) {
        for part in self.parts_mut().filter(|part| part.known.is_none()) {
            part.known = known(&part.key);
        }
    }

    /// Nothing while it must wait. A NAT record comes first: as long as one may still come, the
    /// addresses wait for it, but not longer than anybody waits (`in_time` ends then).
    pub(super) fn outcome(&self, in_time: bool) -> Option<Outcome> {
        let nat = match &self.nat {
            None => Some(Err(Counter::DnsNoRecord)),
            Some(part) => part.known.as_ref().map(Known::paths),
        };
        match (nat, self.emulated.as_ref()) {
            (Some(Ok((paths, end))), _) => Some(Outcome::Paths { paths: paths.clone(), end }),
            (Some(Err(counter)), None) => Some(Outcome::Unchanged(counter)),
            (Some(Err(_)), Some(emulated)) => emulated.outcome(),
            (None, Some(emulated)) if !in_time => {
                emulated.outcome().filter(|outcome| matches!(outcome, Outcome::Emulated { .. }))
            }
            (None, _) => None,
        }
    }

    /// Every path that leads through one address of each box to one of the host's; the first
    /// `most` of them in their order. `usable` says which address may be a first box's (`true`) or
    /// another's.
    pub(super) fn emulated_paths(
        &self,
        most: usize,
        usable: impl Fn(Ipv4Addr, bool) -> bool,
    ) -> Joined {
        let Some(emulated) = &self.emulated else {
            return Joined { paths: Vec::new(), refused: 0 };
        };
        let mut refused = 0;
        let mut usable = |part: &Part, first| {
            let all = part.addresses();
            let usable: Vec<_> = all.iter().copied().filter(|&addr| usable(addr, first)).collect();
            refused += all.len() - usable.len();
            usable
        };
        let hosts = usable(&emulated.host, false);
        let mut ways: Vec<Vec<Hop>> = vec![Vec::new()];
        for (index, (part, port)) in emulated.boxes.iter().enumerate() {
            let addrs = usable(part, index == 0);
            let longer = |way: Vec<Hop>| {
                let hop = |&addr: &Ipv4Addr| Hop { addr, port: *port };
                let hops: Vec<Hop> = addrs.iter().map(hop).collect();
                hops.into_iter().map(move |hop| [&way[..], &[hop]].concat())
            };
            ways = ways.into_iter().flat_map(longer).take(most).collect();
        }
        let paths = ways.into_iter().flat_map(|way| {
            hosts.iter().filter_map(move |&host| Path::new(way.clone(), host).ok())
        });
        Joined { paths: paths.take(most).collect(), refused }
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        let emulated = self.emulated.iter().flat_map(|emulated| {
            emulated.boxes.iter().map(|(part, _)| part).chain([&emulated.host])
        });
        self.nat.iter().chain(emulated)
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        let emulated = self.emulated.iter_mut().flat_map(|emulated| {
            emulated.boxes.iter_mut().map(|(part, _)| part).chain([&mut emulated.host])
        });
        self.nat.iter_mut().chain(emulated)
    }
}

impl Emulated {
    /// One address that is missing settles it; all must be there.
    fn outcome(&self) -> Option<Outcome> {
        let parts = || self.boxes.iter().map(|(part, _)| part).chain([&self.host]);
        let known = || parts().filter_map(|part| part.known.as_ref());
        let missing = known().find_map(|known| known.addresses().err());
        match missing {
            Some(counter) => Some(Outcome::Unchanged(counter)),
            None if known().count() < parts().count() => None,
            None => known().map(|known| known.end).min().map(|end| Outcome::Emulated { end }),
        }
    }
}

impl Part {
    fn addresses(&self) -> &[Ipv4Addr] {
        self.known.as_ref().and_then(|known| known.addresses().ok()).unwrap_or_default()
    }
}

impl Known {
    fn paths(&self) -> Result<(&PathSet, Time), Counter> {
        match &self.answer {
            Answer::Paths(paths) => Ok((paths, self.end)),
            answer => Err(answer.absence()),
        }
    }

    fn addresses(&self) -> Result<&[Ipv4Addr], Counter> {
        match &self.answer {
            Answer::Addresses(addrs) => Ok(addrs),
            answer => Err(answer.absence()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::emulation::Names;
    use crate::dns::testing::name;
    use proptest::prelude::*;

    const NOW: Time = Time::from_millis(1_000_000);

    fn inquiry(lack: Lack) -> Inquiry {
        let boxes = vec![(name("nat1.x"), 100), (name("nat2.x"), 4100)];
        let emulated = Some(Names { host: name("in.x"), boxes });
        let follow_up = FollowUp { asked: name("b.x"), target: name("b.x"), lack, emulated };
        Inquiry::new(Server::new("192.0.2.53".parse().expect("an address"), 0), &follow_up, NOW)
    }

    fn addr(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    fn know(inquiry: &mut Inquiry, of: &str, answer: Answer, seconds: u64) {
        let end = NOW + std::time::Duration::from_secs(seconds);
        let known = Known { answer, end };
        inquiry.fill(|key| (key.name == name(of)).then(|| known.clone()));
    }

    fn addresses(texts: &[&str]) -> Answer {
        Answer::Addresses(texts.iter().map(|text| addr(text)).collect())
    }

    fn joined(inquiry: &Inquiry, most: usize) -> Vec<String> {
        let Joined { paths, .. } = inquiry.emulated_paths(most, |_, _| true);
        paths.iter().map(Path::to_string).collect()
    }

    #[test]
    fn all_addresses_make_a_path_that_lives_as_long_as_the_shortest() {
        let mut inquiry = inquiry(Lack::Name);
        let open: Vec<_> = inquiry.open().map(|key| key.name.to_string()).collect();
        assert_eq!(open, ["nat1.x", "nat2.x", "in.x"]);
        know(&mut inquiry, "nat1.x", addresses(&["203.0.113.1"]), 60);
        know(&mut inquiry, "in.x", addresses(&["192.168.0.2"]), 300);
        assert_eq!(inquiry.outcome(true), None);
        know(&mut inquiry, "nat2.x", addresses(&["10.0.0.9"]), 20);
        let end = NOW + std::time::Duration::from_secs(20);
        assert_eq!(inquiry.outcome(true), Some(Outcome::Emulated { end }));
        assert_eq!(joined(&inquiry, 9), ["203.0.113.1:100 10.0.0.9:4100 192.168.0.2"]);
    }

    #[test]
    fn one_missing_address_settles_it() {
        let mut inquiry = inquiry(Lack::Name);
        know(&mut inquiry, "nat2.x", Answer::NoRecord, 60);
        assert_eq!(inquiry.outcome(true), Some(Outcome::Unchanged(Counter::DnsNoRecord)));
    }

    #[test]
    fn addresses_wait_for_the_nat_record_but_not_for_ever() {
        let mut inquiry = inquiry(Lack::Address);
        for of in ["nat1.x", "nat2.x", "in.x"] {
            know(&mut inquiry, of, addresses(&["203.0.113.1"]), 60);
        }
        assert_eq!(inquiry.outcome(true), None);
        assert!(matches!(inquiry.outcome(false), Some(Outcome::Emulated { .. })));
        know(&mut inquiry, "b.x", Answer::Failed, 5);
        assert!(matches!(inquiry.outcome(true), Some(Outcome::Emulated { .. })));
    }

    #[test]
    fn a_nat_record_comes_first() {
        let mut inquiry = inquiry(Lack::Address);
        let path = "203.0.113.1 192.168.0.2".parse().expect("a path");
        let paths = PathSet::new(vec![path]).expect("a path");
        know(&mut inquiry, "b.x", Answer::Paths(paths.clone()), 60);
        know(&mut inquiry, "nat1.x", Answer::NoRecord, 60);
        let end = NOW + std::time::Duration::from_secs(60);
        assert_eq!(inquiry.outcome(true), Some(Outcome::Paths { paths, end }));
    }

    #[test]
    fn several_addresses_are_alternative_paths() {
        let mut inquiry = inquiry(Lack::Name);
        know(&mut inquiry, "nat1.x", addresses(&["203.0.113.1", "203.0.113.2"]), 60);
        know(&mut inquiry, "nat2.x", addresses(&["10.0.0.9"]), 60);
        know(&mut inquiry, "in.x", addresses(&["192.168.0.2", "192.168.0.3"]), 60);
        let all = [
            "203.0.113.1:100 10.0.0.9:4100 192.168.0.2",
            "203.0.113.1:100 10.0.0.9:4100 192.168.0.3",
            "203.0.113.2:100 10.0.0.9:4100 192.168.0.2",
            "203.0.113.2:100 10.0.0.9:4100 192.168.0.3",
        ];
        assert_eq!(joined(&inquiry, 9), all);
        assert_eq!(joined(&inquiry, 3), all[..3]);
        let usable = |addr: Ipv4Addr, first: bool| !first || addr.octets()[3] == 2;
        let one = inquiry.emulated_paths(9, usable);
        assert_eq!((one.paths.len(), one.refused), (2, 1));
    }

    proptest! {
        #[test]
        fn there_are_as_many_paths_as_combinations(counts in prop::collection::vec(0usize..5, 3), most in 0usize..40) {
            let mut inquiry = inquiry(Lack::Name);
            for (of, &count) in ["nat1.x", "nat2.x", "in.x"].iter().zip(&counts) {
                let addrs = (0..count).map(|n| Ipv4Addr::from(0x0a00_0000 + n as u32)).collect();
                know(&mut inquiry, of, Answer::Addresses(addrs), 60);
            }
            let made = joined(&inquiry, most);
            prop_assert_eq!(made.len(), counts.iter().product::<usize>().min(most));
            let mut distinct = made.clone();
            distinct.dedup();
            prop_assert_eq!(distinct, made);
        }
    }
}
