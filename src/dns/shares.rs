//! Who of the DNS proxy's clients may have how much of it.
//!
//! This host's programs and the hosts that are served each have a room of their own. In theirs, a host
//! may have as many places as are left for the others: alone half the room, one of nine that want all
//! they can get a tenth. So there is always something for one that has nothing, no matter who came
//! first. (Switches share their buffers by the same rule: dynamic thresholds, Choudhury and Hahne 1998.)

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// This host's programs, whichever loopback address they ask from. They are one: any of them may
    /// have every such address.
    Here,
    /// A host that is served.
    Host(Ipv4Addr),
}

impl Asker {
    /// Who asks from `addr` at `asked`, where the proxy listens. At loopback only programs of this host
    /// ask, from any of its addresses.
    pub fn of(asked: IpAddr, addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) if !asked.is_loopback() && !addr.is_loopback() => Self::Host(addr),
            _ => Self::Here,
        }
    }
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// The host has as many as are left for the others.
    Share,
}

/// Places, and who has them.
#[derive(Debug)]
pub struct Shares {
    here: Room,
    hosts: Room,
    /// Hosts that have any.
    each: HashMap<Ipv4Addr, usize>,
}

#[derive(Debug)]
struct Room {
    places: usize,
    taken: usize,
}

impl Shares {
    /// So many places: this host's programs have half of them, or all where no hosts are served.
    pub fn new(places: usize, serves: bool) -> Self {
        let hosts = if serves { places / 2 } else { 0 };
        let room = |places| Room { places, taken: 0 };
        Self { here: room(places - hosts), hosts: room(hosts), each: HashMap::new() }
    }

    /// Takes a place, which must be given back.
    pub fn take(&mut self, asker: Asker) -> Result<(), Full> {
        match asker {
            Asker::Here => self.here.take(),
            Asker::Host(host) => {
                let has = self.each.get(&host).copied().unwrap_or_default();
                if has > 0 && has >= self.hosts.left() {
                    return Err(Full::Share);
                }
                self.hosts.take()?;
                self.each.insert(host, has + 1);
                Ok(())
            }
        }
    }

    /// Gives back a place that was taken.
    pub fn give_back(&mut self, asker: Asker) {
        match asker {
            Asker::Here => self.here.taken -= 1,
            Asker::Host(host) => {
                self.hosts.taken -= 1;
                let has = self.each.entry(host).or_default();
                *has -= 1;
                if *has == 0 {
                    self.each.remove(&host);
                }
            }
        }
    }
}

impl Room {
    fn left(&self) -> usize {
        self.places - self.taken
    }

    fn take(&mut self) -> Result<(), Full> {
        if self.left() == 0 {
            return Err(Full::All);
        }
        self.taken += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACES: usize = 64;

    fn host(last: u8) -> Asker {
        Asker::of([192, 168, 0, 1].into(), Ipv4Addr::new(192, 168, 0, last).into())
    }

    /// As many as it gets.
    fn fill(shares: &mut Shares, asker: Asker) -> usize {
        std::iter::repeat_with(|| shares.take(asker)).take_while(Result::is_ok).count()
    }

    #[test]
    fn loopback_is_one_asker() {
        let of = |asked: &str, addr: &str| {
            Asker::of(asked.parse().expect("an address"), addr.parse().expect("an address"))
        };
        for addr in ["127.0.0.1", "127.99.0.1", "::1"] {
            assert_eq!(of(addr, addr), Asker::Here);
        }
        // A resolver here with a source address of its own (unbound's `outgoing-interface`).
        assert_eq!(of("127.0.0.1", "192.168.0.1"), Asker::Here);
        assert_ne!(host(1), host(2));
    }

    #[test]
    fn one_host_has_half_of_its_room_and_this_host_s_programs_have_theirs() {
        let mut shares = Shares::new(PLACES, true);
        assert_eq!(fill(&mut shares, host(1)), PLACES / 4);
        assert_eq!(shares.take(host(1)), Err(Full::Share));
        assert_eq!(shares.take(host(2)), Ok(()));
        assert_eq!(fill(&mut shares, Asker::Here), PLACES / 2);
        assert_eq!(shares.take(Asker::Here), Err(Full::All));
        assert_eq!(shares.take(host(3)), Ok(()));
    }

    #[test]
    fn where_nobody_is_served_this_host_has_all() {
        let mut shares = Shares::new(PLACES, false);
        assert_eq!(shares.take(host(1)), Err(Full::All));
        assert_eq!(fill(&mut shares, Asker::Here), PLACES);
    }

    /// Hosts that always take what they can: whoever came first has no more than the others once
    /// everything has been given back once.
    #[test]
    fn those_who_want_everything_end_with_equal_shares() {
        let mut shares = Shares::new(2 * 100, true);
        let mut taken: Vec<u8> = Vec::new();
        for last in 1..=9 {
            taken.extend(std::iter::repeat_n(last, fill(&mut shares, host(last))));
        }
        for round in 0..3 {
            for last in std::mem::take(&mut taken) {
                shares.give_back(host(last));
                // All of them compete for the place.
                for next in (1..=9).map(|n| (n + round + last) % 9 + 1) {
                    if shares.take(host(next)).is_ok() {
                        taken.push(next);
                    }
                }
            }
        }
        for last in 1..=9 {
            let has = taken.iter().filter(|&&one| one == last).count();
            assert!((9..=11).contains(&has), "{last} has {has}: {shares:?}");
        }
        assert_eq!(shares.take(host(200)), Ok(()), "and there is one for another");
    }

    proptest! {
        /// What askers do, whatever it is: `true` takes, `false` gives back.
        #[test]
        fn no_host_and_no_program_keeps_others_out(
            serves: bool,
            steps in prop::collection::vec((any::<bool>(), 0u8..12), 0..600),
        ) {
            let mut shares = Shares::new(PLACES, serves);
            let mut has: HashMap<u8, usize> = HashMap::new();
            let hosts_room = if serves { PLACES / 2 } else { 0 };
            let asker = |number| if number == 0 { Asker::Here } else { host(number) };
            for (takes, number) in steps {
                let mine = has.get(&number).copied().unwrap_or_default();
                let here = has.get(&0).copied().unwrap_or_default();
                let hosts = has.values().sum::<usize>() - here;
                if takes {
                    let left = hosts_room - hosts;
                    let expected = match number {
                        0 if here < PLACES - hosts_room => Ok(()),
                        0 => Err(Full::All),
                        _ if mine == 0 && left == 0 => Err(Full::All),
                        _ if mine == 0 || mine < left => Ok(()),
                        _ => Err(Full::Share),
                    };
                    prop_assert_eq!(shares.take(asker(number)), expected);
                    *has.entry(number).or_default() += usize::from(expected.is_ok());
                } else if mine > 0 {
                    shares.give_back(asker(number));
                    has.insert(number, mine - 1);
                }
                let known = has.iter().filter(|(number, has)| **number > 0 && **has > 0).count();
                prop_assert_eq!(shares.each.len(), known, "hosts without places are forgotten");
            }
        }
    }
}
