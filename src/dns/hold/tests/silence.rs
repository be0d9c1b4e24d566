//! Servers that ignore a type of record, and zones that would like them to seem so.

use proptest::prelude::*;

use super::*;
use crate::dns::Name;

/// How long `os::lookup` tries, in milliseconds.
const TRIED: u64 = 6_000;

pub(super) fn root() -> LookupKey {
    LookupKey { name: Name::root(), ..key("b.example") }
}

fn asks_root() -> Seen {
    Seen { lookups: vec![root()], ..Seen::default() }
}

fn none() -> NatAnswer {
    NatAnswer::None { ttl: 60 }
}

impl Bench {
    /// Neither a name nor the root is answered.
    pub(super) fn silence_server(&mut self) {
        self.hang("silent.example");
        assert_eq!(self.seen(), asks_root());
        self.wait(TRIED);
        self.answer(&root(), NatAnswer::Silent);
        assert_eq!(self.seen(), nothing());
    }

    /// A name's question stays without an answer.
    fn hang(&mut self, asked: &str) {
        self.nodata_for(asked);
        self.wait(TRIED);
        self.seen();
        self.answer(&key(asked), NatAnswer::Silent);
    }
}

#[test]
fn a_silent_server_delays_nobody() {
    let mut bench = Bench::new();
    bench.silence_server();
    let id = bench.nodata();
    let mut expected = released(id, Counter::DnsServerSilent);
    expected.lookups = vec![key("b.example")];
    assert_eq!(bench.seen(), expected);
    // The question goes on in the background, once.
    let again = bench.nodata();
    assert_eq!(bench.seen(), released(again, Counter::DnsServerSilent));
    bench.answer(&key("b.example"), found(&[PATH], 300));
    let next = bench.nodata();
    assert_eq!(bench.seen(), mapped(next));
}

#[test]
fn one_answer_ends_the_silence() {
    for (asked, answer) in
        [(key("c.example"), found(&[PATH], 0)), (key("c.example"), none()), (root(), none())]
    {
        let mut bench = Bench::new();
        bench.silence_server();
        bench.answer(&asked, answer);
        bench.nodata();
        assert_eq!(bench.seen(), held());
    }
}

#[test]
fn names_that_hang_make_no_server_silent() {
    let mut bench = Bench::new();
    for asked in ["a.one.example", "b.two.example", "c.three.example", "d.four.example"] {
        bench.hang(asked);
        assert_eq!(bench.seen(), asks_root());
        bench.answer(&root(), none());
        bench.wait(1);
    }
    bench.nodata();
    assert_eq!(bench.seen(), held());
}

#[test]
fn names_that_hang_together_ask_the_root_once() {
    let mut bench = Bench::new();
    let names = ["a.one.example", "b.two.example", "c.three.example"];
    names.iter().for_each(|asked| _ = bench.nodata_for(asked));
    bench.wait(TRIED);
    bench.seen();
    bench.answer(&key(names[0]), NatAnswer::Silent);
    bench.answer(&key(names[1]), NatAnswer::Silent);
    assert_eq!(bench.seen(), asks_root());
    bench.answer(&root(), none());
    bench.answer(&key(names[2]), NatAnswer::Silent);
    assert_eq!(bench.seen(), nothing(), "the server has answered since");
}

#[test]
fn an_answer_meanwhile_excuses_the_server() {
    let mut bench = Bench::new();
    bench.hang("hangs.example");
    bench.wait(10);
    bench.answer(&key("c.example"), none());
    bench.wait(TRIED);
    bench.answer(&root(), NatAnswer::Silent);
    bench.seen();
    bench.nodata();
    assert_eq!(bench.seen(), held());
}

#[test]
fn a_failure_is_no_silence() {
    let mut bench = Bench::new();
    bench.hang("hangs.example");
    bench.answer(&root(), NatAnswer::Failed);
    bench.seen();
    bench.nodata();
    assert_eq!(bench.seen(), held());
}

#[test]
fn silence_is_for_one_type_of_record_and_one_server() {
    let mut bench = Bench::new();
    bench.silence_server();
    bench.packet(v6(&testing::octets(&testing::nodata())));
    assert_eq!(bench.seen().counters, [Counter::DnsHeld]);
}

#[test]
fn silence_is_forgotten_unless_it_goes_on() {
    let mut bench = Bench::new();
    bench.silence_server();
    bench.wait(590_000);
    bench.silence_server();
    bench.wait(590_000);
    let id = bench.nodata();
    assert_eq!(bench.seen().verdicts, [(id, None)]);
    bench.wait(10_000);
    bench.nodata();
    assert_eq!(bench.seen().counters, [Counter::DnsHeld]);
}

#[test]
fn a_question_that_nobody_answers_is_given_up_as_silence() {
    let mut bench = Bench::new();
    bench.nodata_for("c.example");
    bench.wait(1_000);
    bench.wait(29_000);
    assert_eq!(bench.seen().lookups, [key("c.example"), root()]);
    bench.wait(30_000);
    assert_eq!(bench.hold.next_deadline(), None);
    let id = bench.nodata();
    assert_eq!(bench.seen().verdicts, [(id, None)]);
}

#[test]
fn the_silent_server_heard_of_first_makes_room() {
    let mut bench = Bench::new();
    for number in 0..=MAX_SERVERS {
        let addr = Ipv4Addr::from(0xc000_0200 + number as u32).into();
        let server = Server::new(addr, 0);
        for key in [LookupKey { server, ..key("b.example") }, LookupKey { server, ..root() }] {
            bench.hold.ask(&key, bench.now);
            bench.answer(&key, NatAnswer::Silent);
        }
    }
    assert_eq!(bench.seen().counters, [Counter::DnsEvicted]);
}

/// What a client does: asks for a name of one of some zones, of which `h` hang, and waits.
fn asks() -> impl Strategy<Value = Vec<(String, u64)>> {
    prop::collection::vec(("[gh][0-9]\\.zone[0-9]\\.example", 0u64..9_000), 1..20)
}

/// A client and a server that answers after a moment what it answers at all.
struct Browsing<F> {
    bench: Bench,
    answers: F,
    open: Vec<(Time, LookupKey)>,
}

/// In this time a server answers, in milliseconds.
const MOMENT: u64 = 200;

impl<F: Fn(&LookupKey) -> bool> Browsing<F> {
    fn new(answers: F) -> Self {
        Self { bench: Bench::new(), answers, open: Vec::new() }
    }

    /// When the name was asked for, and what moved at once.
    fn ask(&mut self, asked: &str) -> (Time, Vec<Counter>) {
        self.bench.nodata_for(asked);
        (self.bench.now, self.sent())
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / MOMENT {
            self.bench.wait(MOMENT);
            let until = self.bench.now;
            for (since, key) in std::mem::take(&mut self.open) {
                let tried = since + Duration::from_millis(TRIED) <= until;
                match (self.answers)(&key) {
                    true => self.bench.answer(&key, none()),
                    false if tried => self.bench.answer(&key, NatAnswer::Silent),
                    false => self.open.push((since, key)),
                }
            }
            self.sent();
        }
    }

    fn sent(&mut self) -> Vec<Counter> {
        let Seen { lookups, counters, .. } = self.bench.seen();
        self.open.extend(lookups.into_iter().map(|key| (self.bench.now, key)));
        counters
    }
}

proptest! {
    /// Whatever the zones do, in whatever order: the server answers about the root.
    #[test]
    fn no_zone_makes_a_server_silent(asks in asks()) {
        let mut browsing = Browsing::new(|key| !key.name.to_string().starts_with('h'));
        for (asked, wait) in asks {
            let (_, counters) = browsing.ask(&asked);
            prop_assert!(!counters.contains(&Counter::DnsServerSilent));
            browsing.pass(wait);
        }
    }

    /// Nobody waits for it later than two questions after the first name.
    #[test]
    fn a_silent_server_is_known_soon(asks in asks()) {
        let mut browsing = Browsing::new(|_| false);
        let known = browsing.bench.now + Duration::from_millis(2 * TRIED);
        for (asked, wait) in asks {
            let (at, counters) = browsing.ask(&asked);
            prop_assert!(at < known || !counters.contains(&Counter::DnsHeld));
            browsing.pass(wait);
        }
    }
}
