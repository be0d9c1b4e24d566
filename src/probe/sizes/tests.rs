//! Whole probes through networks of every kind.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::super::testing::{Link, Network, here, tunnel};
use super::super::{Complaint, Kind, MAX_PACKETS, Machine, Report, Survey, Tunnel};
use super::*;
use crate::wire::datagram::protocol;

const ONE: &str = "203.0.113.1 192.168.0.2";
const TWO: &str = "203.0.113.1 10.0.0.9 192.168.0.2";

fn probe(network: &mut Network, mtu: u16) -> Report {
    let tunnel = tunnel(if network.links.len() == 2 { ONE } else { TWO });
    let mut survey = Survey::new(tunnel.clone(), &[Kind::Ping], mtu, 65_530);
    network.drive(&tunnel, &mut survey);
    survey.report()
}

fn sizes(network: &mut Network, mtu: u16) -> Sizes {
    probe(network, mtu).sizes.expect("sizes")
}

fn limits(sizes: &Sizes) -> Vec<(Option<u16>, Option<Larger>)> {
    sizes.levels.iter().map(|level| (level.whole, level.larger)).collect()
}

fn back(whole: u16, larger: Option<Larger>) -> Option<Back> {
    Some(Back { whole: Some(whole), larger })
}

fn said(sizes: &Sizes, path: &str) -> String {
    let path = path.parse().expect("a path");
    format!("{}. {}", sizes.sentence(&path), sizes.advice(&path, None).join(". "))
}

#[test]
fn all_is_well_costs_one_packet_and_one_round_trip() {
    for mtu in [1500, 9000] {
        let mut network = Network::of([Link::of(mtu); 3]);
        let sizes = sizes(&mut network, mtu);
        assert_eq!(limits(&sizes), [(Some(mtu), None); 2]);
        assert_eq!((sizes.back, sizes.mtu), (back(mtu, None), None));
        assert_eq!((network.packets, network.longest), (3 + 1, usize::from(mtu)));
        assert!(network.now < Duration::from_millis(100), "{:?}", network.now);
        let text = said(&sizes, TWO);
        let expected = format!(
            "packets of {mtu} octets arrive whole; answers of {mtu} octets come back whole. "
        );
        assert_eq!(text, expected);
    }
}

#[test]
fn without_ping_the_last_box_tells() {
    let mut network = Network { ping: false, ..Network::of([Link::of(1500); 3]) };
    let sizes = sizes(&mut network, 1500);
    assert_eq!((limits(&sizes), sizes.back), (vec![(Some(1500), None); 2], None));
    assert!(said(&sizes, TWO).contains("the way back was not seen"));
}

#[test]
fn a_link_that_fragments_is_named_with_its_mtu() {
    let small = Link::of(1420);
    for link in [small, Link { hides: true, ..small }] {
        let mut network = Network::of([link, Link::of(1500), Link::of(1500)]);
        let sizes = sizes(&mut network, 1500);
        let fragments = Some(Larger::Fragments);
        assert_eq!(limits(&sizes), [(Some(1420), fragments); 2]);
        assert_eq!((sizes.back, sizes.mtu), (back(1420, fragments), Some(1420)));
        assert!(network.now < Duration::from_secs(3), "{:?}", network.now);
        let text = said(&sizes, TWO);
        let there = "packets over 1420 octets travel in fragments between this host and NAT box 1, 203.0.113.1, \
                     and arrive; answers over 1420 octets come back in fragments. ";
        assert!(text.starts_with(there), "{text}");
        assert!(text.contains("write `mtu = 1420` under [client]"), "{text}");
        // Box 1 sees UDP, whose size it cannot lower.
        assert!(text.contains("`mtu = 1392` under [gateway] on NAT box 2"), "{text}");
    }
}

#[test]
fn fragments_that_are_dropped_make_large_packets_vanish() {
    let link = Link { drops: true, drops_back: true, ..Link::of(1420) };
    for link in [link, Link { hides: true, ..link }] {
        let mut network = Network::of([link, Link::of(1500)]);
        let sizes = sizes(&mut network, 1500);
        assert_eq!(limits(&sizes), [(Some(1420), Some(Larger::Lost))]);
        // Nothing larger gets to the host, so nothing larger comes back.
        assert_eq!((sizes.back, sizes.mtu), (back(1420, None), Some(1420)));
        let text = said(&sizes, ONE);
        assert!(
            text.contains("over 1420 octets are lost between this host and NAT box 1"),
            "{text}"
        );
        assert!(text.contains("So that what is large gets through: write `mtu = 1420`"), "{text}");
        assert!(sizes.is_lossy());
    }
}

#[test]
fn between_two_boxes_the_headers_of_the_first_are_off() {
    let link = Link { drops: true, ..Link::of(1380) };
    for link in [link, Link { hides: true, ..link }] {
        let mut network = Network::of([Link::of(1500), link, Link::of(1500)]);
        let sizes = sizes(&mut network, 1500);
        assert_eq!(limits(&sizes), [(Some(1500), None), (Some(1408), Some(Larger::Lost))]);
        assert_eq!(sizes.mtu, Some(1408));
        let text = said(&sizes, TWO);
        assert!(text.contains("between NAT box 1 and NAT box 2, 10.0.0.9"), "{text}");
        assert!(text.contains("`mtu = 1380` under [gateway] on NAT box 2"), "{text}");
    }
}

#[test]
fn a_loss_on_the_way_back_is_told_from_one_on_the_way_there() {
    let link = Link { drops_back: true, ..Link::of(1420) };
    let sizes = sizes(&mut Network::of([link, Link::of(1500)]), 1500);
    assert_eq!(limits(&sizes), [(Some(1420), Some(Larger::Fragments))]);
    assert_eq!((sizes.back, sizes.mtu), (back(1420, Some(Larger::Lost)), Some(1420)));
    let text = said(&sizes, ONE);
    assert!(text.contains("answers over 1420 octets are lost on the way back"), "{text}");
    assert!(text.contains("If large downloads hang"), "{text}");
}

/// A host's own LAN that is smaller is reported to applications: no matter of the tunnel.
#[test]
fn a_small_link_behind_the_last_box_needs_no_advice() {
    let sizes = sizes(&mut Network::of([Link::of(9000), Link::of(1500)]), 9000);
    assert_eq!(limits(&sizes), [(Some(9000), None)]);
    assert_eq!((sizes.back, sizes.mtu), (back(1528, None), None));
}

#[test]
fn a_box_that_reports_six_errors_at_once_is_not_taken_for_a_black_hole() {
    for ping in [true, false] {
        let link = Link { hides: true, ..Link::of(1307) };
        let mut network = Network { limited: true, ping, ..Network::of([link, Link::of(1500)]) };
        let sizes = sizes(&mut network, 1500);
        assert_eq!(limits(&sizes), [(Some(1307), Some(Larger::Fragments))], "{:?}", network.now);
    }
}

#[test]
fn a_last_box_that_says_nothing_is_seen_by_the_hosts_echoes() {
    let mut network =
        Network { mute: vec![2], ..Network::of([Link::of(1500), Link::of(1380), Link::of(1500)]) };
    let sizes = sizes(&mut network, 1500);
    let expected = [(Some(1500), None), (Some(1408), Some(Larger::Fragments))];
    assert_eq!(limits(&sizes), expected);
}

#[test]
fn where_nothing_answers_nothing_is_said() {
    let network = Network { ping: false, mute: vec![1], ..Network::of([Link::of(1500); 2]) };
    assert_eq!(probe(&mut network.clone(), 1500).sizes, None);
}

#[test]
fn the_interface_itself_is_too_small() {
    let tunnel = tunnel(ONE);
    let mut survey = Survey::new(tunnel.clone(), &[Kind::Ping], 1500, 0);
    let mut network = Network::of([Link::of(1500); 2]);
    let mut interface = Interface { inner: &mut survey, mtu: 1420 };
    network.drive(&tunnel, &mut interface);
    let sizes = survey.report().sizes.expect("sizes");
    assert_eq!((sizes.tried, sizes.interface, sizes.mtu), (1420, Some(1420), None));
    let path = ONE.parse().expect("a path");
    for (made, advised) in [(None, false), (Some(1420), false), (Some(1500), true)] {
        let made = made.map(|octets| Made { octets, measures: false });
        let advice = sizes.advice(&path, made).concat();
        assert_eq!(advice.contains("write `mtu = 1420` under [client]"), advised, "{advice}");
    }
    assert_eq!((limits(&sizes), sizes.back), (vec![(Some(1420), None)], back(1420, None)));
    assert!(said(&sizes, ONE).starts_with("this host's interface sends no more than 1420 octets"));
}

/// A socket that refuses what is too long, twice, as the kernel's does.
struct Interface<'a> {
    inner: &'a mut Survey,
    mtu: u16,
}

impl Machine for Interface<'_> {
    fn poll(&mut self, now: Duration) -> Option<Packet> {
        loop {
            let packet = self.inner.poll(now)?;
            if packet.octets.len() + LEVEL <= usize::from(self.mtu) {
                return Some(packet);
            }
            assert!(packet.whole, "with DF clear it would be fragmented");
            for _ in 0..2 {
                let complaint =
                    Complaint { by: here().addr, kind: 3, code: 4, mtu: Some(self.mtu) };
                self.inner.complained(complaint, &[], now);
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.inner.deadline()
    }

    fn received(&mut self, bytes: &[u8], fragment: Option<u16>, now: Duration) -> Option<Packet> {
        self.inner.received(bytes, fragment, now)
    }

    fn complained(&mut self, complaint: Complaint, quote: &[u8], now: Duration) {
        self.inner.complained(complaint, quote, now);
    }
}

#[test]
fn a_link_below_every_mtu_has_to_be_mended() {
    let sizes = sizes(&mut Network::of([Link::of(400), Link::of(1500)]), 1500);
    assert_eq!(sizes.mtu, Some(400));
    let text = said(&sizes, ONE);
    assert!(text.contains("has to be mended"), "{text}");
}

/// `--mtu` may ask for more than natttd uses.
#[test]
fn what_natttd_makes_may_fit_already() {
    let sizes = sizes(&mut Network::of([Link::of(1420), Link::of(1500)]), 1500);
    let path = ONE.parse().expect("a path");
    let advice = |octets, measures| sizes.advice(&path, Some(Made { octets, measures })).join("\n");
    assert_eq!(advice(1420, false), "");
    assert_eq!(advice(1500, false).lines().count(), 2);
    assert!(advice(1500, true).starts_with("natttd here measures that by itself"));
    assert_eq!(advice(1420, true), "");
}

/// What the daemon makes of it.
fn working(network: &mut Network, kind: Kind, mtu: u16) -> (Option<Working>, usize) {
    let path = if network.links.len() == 2 { ONE } else { TWO };
    let tunnel = tunnel(path);
    let mut survey = Survey::of_sizes(tunnel.clone(), kind, mtu, 65_530);
    network.drive(&tunnel, &mut survey);
    (survey.sizes().and_then(|sizes| sizes.working(network.links.len() - 1)), network.packets)
}

/// A measurement over links of which all boxes, and the host if `ping`, answer: what gets there, what back.
fn measured(links: &[Link], kind: Kind, ping: bool) -> (u16, Option<u16>) {
    let mut network = Network { ping, ..Network::of(links.iter().copied()) };
    let working = working(&mut network, kind, 1500).0.expect("an answer");
    (working.there, working.back)
}

#[test]
fn a_measurement_says_what_gets_through_in_both_directions() {
    let (small, all) = (Link::of(1420), Link::of(1500));
    let lossy = Link { drops: true, drops_back: true, hides: true, ..small };
    let back = Link { drops_back: true, ..small };
    for kind in [Kind::Tcp(80), Kind::Ping] {
        for (links, there, comes) in [
            (&[all; 3][..], 1500, None),
            (&[small, all], 1420, Some(1420)),
            // Nothing larger gets there whose answer could be lost.
            (&[lossy, all], 1420, None),
            (&[back, all], 1420, Some(1420)),
            (&[all, lossy, all], 1448, None),
            // The host's own network is no matter of the tunnel.
            (&[all, small], 1500, None),
        ] {
            assert_eq!(measured(links, kind, true), (there, comes), "{links:?}");
            assert_eq!(measured(links, kind, false), (there, None), "{links:?}");
        }
    }
}

#[test]
fn a_measurement_of_a_good_path_is_two_pings() {
    let mut network = Network::of([Link::of(1500); 3]);
    let (found, packets) = working(&mut network, Kind::Tcp(80), 1500);
    assert_eq!((found.map(|found| found.there), packets), (Some(1500), 2));
    assert_eq!(network.heard, [protocol::ICMP; 2], "no connection that nobody asked for");
}

/// Where pings get in, programs hear of nothing even if the host is the last box itself, where no TTL ends.
#[test]
fn a_host_that_answers_hears_pings_only() {
    for link in [Link::of(1420), Link { drops: true, hides: true, ..Link::of(1420) }] {
        for links in [vec![link, Link::of(1500)], vec![Link::of(1500), link, Link::of(1500)]] {
            let mut network = Network { is_box: true, ..Network::of(links) };
            let found = working(&mut network, Kind::Udp(53), 1500).0.expect("an answer");
            let limits = [Some(found.there), found.back];
            assert!(limits.iter().flatten().any(|&octets| octets < 1500), "{found:?}");
            assert!(
                network.heard.iter().all(|&heard| heard == protocol::ICMP),
                "{:?}",
                network.heard
            );
        }
    }
}

/// Its own network takes less than was asked for: no more gets to it, and nobody need try again.
#[test]
fn a_host_that_stands_for_a_box_is_asked_what_gets_to_it() {
    let mut network = Network { mute: vec![1], ..Network::of([Link::of(576); 2]) };
    let found = working(&mut network, Kind::Ping, 605);
    assert_eq!(found.0, None, "less than any link takes");
    assert!(found.1 < 30, "{} packets", found.1);
}

/// Firewalls refuse pings by "host prohibited" and the like. The boxes know all the same.
#[test]
fn a_host_that_refuses_pings_ends_nothing() {
    for links in [vec![Link::of(1500); 2], vec![Link::of(1420), Link::of(1500), Link::of(1500)]] {
        let truth = truth(&links, links.len() - 1);
        let mut network = Network { refuses: true, ..Network::of(links) };
        let found = working(&mut network, Kind::Tcp(80), 1500).0.expect("an answer");
        assert_eq!((found.there, found.back), (truth, None));
        assert!(network.now < Duration::from_secs(12), "{:?}", network.now);
    }
}

#[test]
fn nothing_is_known_of_a_path_whose_last_box_is_silent() {
    let silent = Network { ping: false, mute: vec![2], ..Network::of([Link::of(1500); 3]) };
    assert_eq!(working(&mut silent.clone(), Kind::Tcp(80), 1500).0, None);
    let mut pinged = Network { ping: true, ..silent };
    assert_eq!(working(&mut pinged, Kind::Tcp(80), 1500).0.map(|found| found.there), Some(1500));
}

#[test]
fn a_box_that_falls_silent_proves_nothing() {
    for answers in 1..4 {
        let network = Network::of([Link::of(1500); 3]);
        let mut network = Network { ping: false, tires: Some((2, answers)), ..network };
        let found = working(&mut network, Kind::Tcp(80), 1500).0.map(|found| found.there);
        assert!(found.is_none_or(|there| there == 1500), "{found:?} after {answers} answers");
        assert!(answers > 1 || found.is_none());
    }
}

/// Some hosts and firewalls answer to small pings only: that says nothing about the way there.
#[test]
fn a_host_that_answers_to_no_large_ping_is_no_small_link() {
    for (boxes, most) in [(1, 300), (2, 300), (1, 1400), (2, 1400)] {
        let network = Network::of(vec![Link::of(1500); boxes + 1]);
        let network = Network { most, ..network };
        let found = working(&mut network.clone(), Kind::Tcp(80), 1500).0.expect("an answer");
        assert_eq!(found.there, 1500);
        assert_eq!(found.back.filter(|&back| back >= 1280), Some(1400).filter(|_| most == 1400));
        // The same where only the host can be asked.
        let mut mute = Network { mute: vec![boxes], ..network };
        let found = working(&mut mute, Kind::Tcp(80), 1500).0;
        let limits = found.map(|found| (found.there, found.back));
        assert_eq!(limits, Some((1500, Some(1400))).filter(|_| most == 1400));
    }
}

#[test]
fn a_link_that_natttd_does_not_count_on_needs_a_setting() {
    let sizes = sizes(&mut Network::of([Link::of(1100), Link::of(1500)]), 1500);
    let advice =
        sizes.advice(&ONE.parse().expect("a path"), Some(Made { octets: 1500, measures: true }));
    assert!(advice.concat().contains("write `mtu = 1100` under [client]"), "{advice:?}");
}

fn links(count: usize) -> impl Strategy<Value = Vec<Link>> {
    let mtu = prop_oneof![576u16..1600, Just(1500), Just(1420), 8900u16..9100];
    let link = (mtu, any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(mtu, drops, drops_back, hides)| Link { mtu, drops, drops_back, hides });
    prop::collection::vec(link, count)
}

/// The largest size that gets whole through so many links.
fn truth(links: &[Link], through: usize) -> u16 {
    let limit = |(boxes, link): (usize, &Link)| link.mtu + (boxes * LEVEL) as u16;
    links[..through].iter().enumerate().map(limit).min().expect("a link")
}

proptest! {
    /// Whatever the links, a measurement never says that more gets through whole than does, in either
    /// direction; and no less, unless the host's own network hides what it does.
    #[test]
    fn what_is_measured_is_true(
        links in (2usize..=3).prop_flat_map(links), mtu in 576u16..=9000,
        ping: bool, refuses: bool, is_box: bool, tcp: bool,
    ) {
        let is_box = is_box && ping && !refuses;
        let mut links = links;
        // Behind a host that is the last box there is no link.
        links.last_mut().into_iter().filter(|_| is_box).for_each(|link| *link = Link::of(u16::MAX));
        let network = Network::of(links.clone());
        let mut network = Network { ping, refuses, is_box, ..network };
        let kind = if tcp { Kind::Tcp(80) } else { Kind::Ping };
        let (found, packets) = working(&mut network, kind, mtu);
        let boxes = links.len() - 1;
        let truth = truth(&links, boxes).min(mtu);
        prop_assert!(packets <= MAX_PACKETS + MAX_SIZED);
        prop_assert!(network.now <= Duration::from_secs(20), "{:?}", network.now);
        // Where the host itself is the last box, it alone can say what gets there, and what comes back.
        let least = |found: Working| found.back.map_or(found.there, |back| back.min(found.there));
        let ended = network.now < Duration::from_secs(12) && packets < MAX_SIZED;
        if !network.is_box && ended {
            prop_assert_eq!(found.map(|found| found.there), Some(truth));
        }
        prop_assert!(found.is_none_or(|found| least(found) <= truth), "{found:?}");
    }

    /// Whoever falls silent, answers to small pings only, or not as often as asked: nothing too large is
    /// believed, and nothing small that nothing proves.
    #[test]
    fn what_is_not_clear_is_not_measured(
        links in (2usize..=3).prop_flat_map(links), mtu in 576u16..=9000,
        ping: bool, most in prop_oneof![Just(usize::MAX), 100usize..2000], limited: bool,
        mute in prop::collection::vec(1usize..=2, 0..2), tires in prop::option::of((1usize..=2, 0usize..12)),
    ) {
        let network = Network::of(links.clone());
        let mut network = Network { ping, most, limited, mute, tires, ..network };
        let found = working(&mut network, Kind::Tcp(80), mtu).0;
        let truth = truth(&links, links.len() - 1).min(mtu);
        prop_assert!(network.now <= Duration::from_secs(20), "{:?}", network.now);
        if let Some(Working { there, back }) = found {
            prop_assert!(there >= truth, "{there} is too small for {truth}");
            let seen = back.map_or(there, |back| back.min(there));
            prop_assert!(seen <= truth, "{seen} is too large for {truth}");
        }
    }

    /// Whatever the links, the number of packets and the time stay bounded, no packet is larger than
    /// asked for, and what is said to arrive does. Where time was enough, the limits are exact.
    #[test]
    fn what_is_said_is_true(
        links in (2usize..=3).prop_flat_map(links), mtu in 576u16..=9000, ping: bool, limited: bool,
        spent in prop::collection::vec((0u64..6000).prop_map(Duration::from_millis), 3),
    ) {
        let mut network = Network { ping, limited, full: spent, ..Network::of(links.clone()) };
        let report = probe(&mut network, mtu);
        prop_assert!(network.packets <= MAX_PACKETS + MAX_SIZED);
        prop_assert!(network.longest <= usize::from(mtu));
        prop_assert!(network.now <= Duration::from_secs(17), "{:?}", network.now);
        let sizes = report.sizes.expect("small packets get through");
        let mut reach = mtu;
        for (index, level) in sizes.levels.iter().enumerate() {
            let limit = truth(&links, index + 1);
            prop_assert!(level.whole.unwrap_or(0) <= limit);
            let lost = links[..=index].iter().any(|link| link.drops);
            prop_assert!(lost || level.larger != Some(Larger::Lost));
            // Else the search may not have come to its end.
            if network.now < Duration::from_secs(12) {
                prop_assert_eq!(level.whole, Some(limit.min(reach)).filter(|_| limit < mtu).or(Some(mtu.min(limit))));
                prop_assert_eq!(level.larger.is_some(), limit < reach);
            }
            if level.larger == Some(Larger::Lost) {
                reach = reach.min(limit);
            }
        }
        if !limited && ping && let Some(Back { whole, .. }) = sizes.back {
            prop_assert!(whole.unwrap_or(0) <= truth(&links, links.len()).min(mtu));
        }
    }

    /// Nor can anybody who answers to what was not sent, or reports what is not so, make it go on.
    #[test]
    fn no_report_makes_it_send_more(
        mtus in prop::collection::vec(prop::option::of(any::<u16>()), 1..20),
        choices in prop::collection::vec(0u8..6, 1..50),
    ) {
        let tunnel = tunnel(TWO);
        let mut survey = Survey::new(tunnel.clone(), &[Kind::Ping, Kind::Tcp(80)], 1500, 7);
        let mut now = Duration::ZERO;
        let mut packets = 0;
        while let Some(deadline) = survey.deadline() {
            now = now.max(deadline);
            while let Some(sent) = survey.poll(now) {
                packets += 1;
                now += Duration::from_millis(1);
                let complaint = |kind, code| Complaint {
                    by: [here().addr, Ipv4Addr::new(10, 0, 0, 1)][packets % 2],
                    kind, code, mtu: mtus[packets % mtus.len()],
                };
                disturb(&tunnel, &mut survey, &sent, choices[packets % choices.len()], complaint, now);
            }
        }
        prop_assert!(packets <= MAX_PACKETS + MAX_SIZED);
        prop_assert!(now <= Duration::from_secs(18), "{now:?}");
        if let Some(sizes) = survey.report().sizes {
            said(&sizes, TWO);
        }
    }
}

fn disturb(
    tunnel: &Tunnel,
    survey: &mut Survey,
    sent: &Packet,
    choice: u8,
    complaint: impl Fn(u8, u8) -> Complaint,
    now: Duration,
) {
    use super::super::testing::Peer;
    let peer = Peer::of(tunnel);
    let bytes = match choice {
        0 => peer.answer(&sent.octets),
        1 => peer.error(&sent.octets, 1, complaint(11, 0)),
        2 => peer.error(&sent.octets, 2, complaint(11, 0)),
        3 => peer.error(&sent.octets, 1 + now.subsec_millis() as usize % 2, complaint(3, 4)),
        4 => return survey.complained(complaint(3, 4), &sent.octets[..28], now),
        _ => return survey.complained(complaint(3, 4), &[], now),
    };
    survey.received(&bytes, Some(1000).filter(|_| choice == 0), now);
}
