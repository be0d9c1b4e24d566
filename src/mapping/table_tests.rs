use super::*;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};

const QUARANTINE: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

/// One of many path sets.
fn set(number: u8) -> PathSet {
    let path = format!("203.0.113.1 192.168.0.{number}").parse().expect("a path");
    PathSet::new(vec![path]).expect("not empty")
}

fn mappings(net: &str, cap: usize) -> Mappings {
    Mappings::new(net.parse().expect("a network"), cap, QUARANTINE)
}

fn map(mappings: &Mappings, number: u8, now: Time) -> Result<Ipv4Addr, Exhausted> {
    mappings.map(&format!("N{number}.example."), &set(number), TTL, now)
}

/// Maps like [`map`], and lets a flow use the address for a moment.
fn map_used(mappings: &Mappings, number: u8, now: Time) -> Result<Ipv4Addr, Exhausted> {
    let addr = map(mappings, number, now)?;
    let mapping = mappings.lookup(addr).expect("a mapping");
    assert!(mapping.pin());
    mapping.unpin(now);
    Ok(addr)
}

#[test]
fn two_names_of_one_path_set_share_an_address() {
    let mappings = mappings("127.64.0.0/10", 10);
    let first = mappings.map("b.example.", &set(2), TTL, at(0));
    assert_eq!(first, mappings.map("WWW.example.", &set(2), TTL, at(0)));
    let mapping = mappings.lookup(first.expect("an address")).expect("a mapping");
    assert_eq!(mapping.names(), ["www.example.", "b.example."]);
    assert_eq!(mapping.expires(), at(10));
    assert_eq!(mapping.paths(), &set(2));
}

#[test]
fn a_name_whose_record_changed_keeps_its_old_address_for_a_while() {
    let mappings = mappings("127.64.0.0/10", 10);
    let old = mappings.map("b.example.", &set(2), TTL, at(0)).expect("an address");
    let new = mappings.map("b.example.", &set(3), TTL, at(1)).expect("an address");
    assert_ne!(old, new);
    assert_eq!(mappings.expire(at(69)), 0);
    assert_eq!(mappings.expire(at(70)), 1);
    assert!(mappings.lookup(old).is_none());
    assert!(mappings.lookup(new).is_some());
}

#[test]
fn a_mapping_in_quarantine_comes_back_to_life() {
    let mappings = mappings("127.64.0.0/10", 10);
    let addr = map(&mappings, 2, at(0)).expect("an address");
    let mapping = mappings.lookup(addr).expect("a mapping");
    assert!(mapping.is_live(at(9)) && !mapping.is_live(at(10)));
    assert_eq!(map(&mappings, 2, at(50)), Ok(addr));
    assert!(mapping.is_live(at(59)));
}

#[test]
fn a_full_table_gives_nothing_before_a_quarantine_ends() {
    let mappings = mappings("127.64.0.0/10", 2);
    let held = map(&mappings, 1, at(0)).expect("an address");
    map_used(&mappings, 2, at(5)).expect("an address");
    assert!(mappings.lookup(held).is_some_and(|mapping| mapping.pin()));
    assert_eq!(map(&mappings, 3, at(74)), Err(Exhausted::Cap(2)));
    assert!(map_used(&mappings, 3, at(75)).is_ok());
    assert_eq!(map(&mappings, 4, at(100)), Err(Exhausted::Cap(2)));
    assert!(mappings.lookup(held).is_some());
}

#[test]
fn in_a_full_table_addresses_that_no_flow_used_go_first() {
    let mappings = mappings("127.64.0.0/10", 3);
    let used = map_used(&mappings, 1, at(0)).expect("an address");
    let unused = map(&mappings, 2, at(0)).expect("an address");
    let valid = mappings.map("long.example.", &set(3), 10 * TTL, at(0)).expect("an address");
    assert_eq!(map(&mappings, 4, at(9)), Err(Exhausted::Cap(3)));
    // There is room, so it rests.
    assert_eq!(mappings.expire(at(10)), 0);
    assert!(map(&mappings, 4, at(10)).is_ok());
    assert!(mappings.lookup(used).is_some() && mappings.lookup(valid).is_some());
    assert!(mappings.lookup(unused).is_none_or(|mapping| mapping.paths() == &set(4)));
}

#[test]
fn a_flood_of_names_cannot_take_what_flows_use() {
    let mappings = mappings("127.64.0.0/10", 8);
    let used = map_used(&mappings, 0, at(0)).expect("an address");
    for second in 0..69 {
        for number in 1..20 {
            let _ = map(&mappings, number, at(second));
        }
        assert!(mappings.lookup(used).is_some_and(|mapping| mapping.paths() == &set(0)));
    }
}

#[test]
fn a_full_table_finds_a_short_mapping_made_after_the_last_sweep() {
    let mappings = mappings("127.64.0.0/10", 2);
    mappings.map("long.example.", &set(1), 100 * TTL, at(0)).expect("an address");
    mappings.expire(at(0));
    map_used(&mappings, 2, at(0)).expect("an address");
    assert!(map(&mappings, 3, at(70)).is_ok());
}

#[test]
fn an_address_just_told_passes_to_nobody_whatever_the_ttl() {
    for (net, cap, full) in [
        ("127.64.0.0/10", 2, Exhausted::Cap(2)),
        ("127.64.0.0/30", 9, Exhausted::Pool("127.64.0.0/30".parse().expect("a network"))),
    ] {
        let mappings = Mappings::new(net.parse().expect("a network"), cap, Duration::ZERO);
        let map = |number, now| mappings.map("b.example.", &set(number), Duration::ZERO, now);
        assert!(map(1, at(0)).is_ok() && map(2, at(0)).is_ok());
        assert_eq!(mappings.expire(at(9)), 0);
        assert_eq!(map(7, at(9)), Err(full));
        assert!(map(7, at(10)).is_ok());
    }
}

/// Sets whose hash points to the same address of the pool.
fn colliding(mappings: &Mappings) -> [u8; 3] {
    let first = |&number: &u8| mappings.pool.probe(&set(number)).next();
    let mut alike = (1..=255).filter(|number| first(number) == first(&0));
    [0, alike.next().expect("in so small a pool"), alike.next().expect("in so small a pool")]
}

#[test]
fn an_address_stands_for_another_host_only_when_all_others_are_used_up() {
    let mappings = mappings("127.64.0.0/29", 10);
    let [one, two, three] = colliding(&mappings);
    let first = map(&mappings, one, at(0)).expect("an address");
    assert_eq!(mappings.expire(at(1000)), 1);
    let second = map(&mappings, two, at(1000)).expect("an address");
    assert_ne!(second, first, "the address that was free last");
    assert_eq!(mappings.expire(at(2000)), 1);
    assert_eq!(map(&mappings, one, at(2000)), Ok(first), "its own again");
    assert_eq!(map(&mappings, two, at(2000)), Ok(second), "its own again");
    // Six addresses: four more are left, then the one that has been free for longest.
    assert_eq!(mappings.expire(at(3000)), 2);
    assert_eq!(map(&mappings, two, at(3000)), Ok(second));
    assert_eq!(mappings.expire(at(4000)), 1);
    let others: Vec<_> = (100..104).map(|number| map(&mappings, number, at(4000))).collect();
    assert!(!others.contains(&Ok(first)) && !others.contains(&Ok(second)));
    assert_eq!(map(&mappings, three, at(4000)), Ok(first));
}

#[test]
fn a_full_pool_gives_nothing_before_a_quarantine_ends() {
    let mappings = mappings("127.64.0.0/30", 10);
    assert!(map_used(&mappings, 1, at(0)).is_ok() && map_used(&mappings, 2, at(0)).is_ok());
    assert_eq!(map(&mappings, 3, at(69)), Err(Exhausted::Pool(mappings.pool())));
    assert!(map(&mappings, 3, at(70)).is_ok());
}

#[test]
fn in_a_full_pool_addresses_that_no_flow_used_go_first() {
    let mappings = mappings("127.64.0.0/30", 10);
    let used = map_used(&mappings, 1, at(0)).expect("an address");
    let unused = map(&mappings, 2, at(0)).expect("an address");
    assert_eq!(map(&mappings, 3, at(9)), Err(Exhausted::Pool(mappings.pool())));
    assert_eq!(map(&mappings, 3, at(10)), Ok(unused));
    assert!(mappings.lookup(used).is_some_and(|mapping| mapping.paths() == &set(1)));
}

#[test]
fn a_lower_cap_keeps_the_newest_mappings() {
    let before = mappings("127.64.0.0/10", 10);
    for number in 1..=5 {
        map(&before, number, at(number.into())).expect("an address");
    }
    let after = mappings("127.64.0.0/10", 2);
    let skipped = after.restore(before.to_state(), at(30));
    assert_eq!((after.len(), skipped.count), (2, 3));
    let kept = after.snapshot().into_iter().filter_map(|mapping| mapping.name());
    assert_eq!(
        kept.collect::<BTreeSet<_>>(),
        ["n4.example.", "n5.example."].map(str::to_owned).into()
    );
}

#[test]
fn a_pool_without_usable_addresses_is_exhausted() {
    let mappings = mappings("127.64.0.0/31", 10);
    assert_eq!(map(&mappings, 1, at(0)), Err(Exhausted::Pool(mappings.pool())));
}

#[test]
fn a_record_cannot_hold_an_address_for_68_years() {
    let mappings = mappings("127.64.0.0/10", 10);
    mappings.map("b.example.", &set(1), Duration::from_secs(u64::MAX), at(0)).expect("an address");
    assert_eq!(mappings.expire(at(0) + MAX_TTL + QUARANTINE), 1);
}

#[test]
fn generations_tell_what_changed() {
    let mappings = mappings("127.64.0.0/10", 10);
    map(&mappings, 1, at(0)).expect("an address");
    let (any, addresses) = (mappings.generation(), mappings.address_generation());
    map(&mappings, 1, at(1)).expect("an address");
    assert_ne!(mappings.generation(), any);
    assert_eq!(mappings.address_generation(), addresses);
    let (any, soon) = (mappings.generation(), mappings.urgent_generation());
    let mapping = mappings.snapshot().pop().expect("a mapping");
    assert!(mapping.pin());
    assert!(mappings.generation() != any && mappings.urgent_generation() != soon);
    let (any, soon) = (mappings.generation(), mappings.urgent_generation());
    assert!(mapping.pin());
    assert!(mappings.generation() == any && mappings.urgent_generation() == soon);
    mapping.unpin(at(1));
    mapping.unpin(at(1));
    assert_eq!(mappings.address_generation(), addresses);
    mappings.expire(at(1000));
    assert_ne!(mappings.urgent_generation(), soon);
    assert_ne!(mappings.address_generation(), addresses);
    assert!(mappings.is_empty());
}

#[test]
fn the_saved_form_is_stable() {
    let mappings = mappings("127.64.0.0/10", 10);
    mappings.map("b.example.", &set(2), TTL, at(1)).expect("an address");
    let json = String::from_utf8(mappings.to_state().to_json()).expect("text");
    let expected = "{\"version\":1,\"mappings\":[\n{\"address\":\"127.118.232.255\",\
        \"expires_ms\":11000,\"last_used_ms\":1000,\"names\":[\"b.example.\"],\
        \"paths\":[\"203.0.113.1:100 192.168.0.2\"],\"used\":false}\n]}\n";
    assert_eq!(json, expected);
}

#[test]
fn bad_entries_are_skipped_alone() {
    let entry = |addr: &str, path: &str| {
        format!(
            r#"{{"address":"{addr}","paths":[{path}],"names":[],"expires_ms":0,"last_used_ms":0}}"#
        )
    };
    let entries = [
        entry("127.64.0.1", r#""203.0.113.1 10.0.0.1""#),
        entry("127.64.0.2", r#""203.0.113.1 10.0.0.1""#), // the same paths
        entry("127.64.0.1", r#""203.0.113.1 10.0.0.2""#), // the same address
        entry("127.0.0.1", r#""203.0.113.1 10.0.0.3""#),  // outside the pool
        entry("127.64.0.0", r#""203.0.113.1 10.0.0.4""#), // its first address
        entry("127.127.255.255", r#""203.0.113.1 10.0.0.5""#), // its last address
        entry("127.64.0.3", r#""10.0.0.6""#),             // no NAT box
        entry("127.64.0.4", ""),                          // no path
        "{}".to_owned(),
        "7".to_owned(),
    ];
    let json = format!(r#"{{"version":1,"mappings":[{}]}}"#, entries.join(","));
    let state = State::from_json(json.as_bytes()).expect("readable");
    let mappings = mappings("127.64.0.0/10", 10);
    let skipped = mappings.restore(state, at(0));
    assert_eq!((mappings.len(), skipped.count), (1, 9));
    assert!(skipped.first_reason.is_some_and(|reason| reason.contains("127.64.0.3")));
}

#[test]
fn names_that_could_harm_a_terminal_are_not_taken_back() {
    let json = r#"{"version":1,"mappings":[{"address":"127.64.0.1","names":["\u001b[2J."],
        "paths":["203.0.113.1 10.0.0.1"],"expires_ms":0,"last_used_ms":0}]}"#;
    let mappings = mappings("127.64.0.0/10", 10);
    let skipped = mappings.restore(State::from_json(json.as_bytes()).expect("readable"), at(0));
    assert_eq!((mappings.len(), skipped.count), (0, 1));
}

#[test]
fn a_later_version_is_refused_whole() {
    use super::super::StateError;
    let later = State::from_json(br#"{"version":2,"tables":{}}"#);
    assert_eq!(later, Err(StateError::Version(2)));
    for json in [&b""[..], b"[]", b"{}", b"{\"version\":1}", b"\xff", b"{\"version\":-1}"] {
        assert!(matches!(State::from_json(json), Err(StateError::Malformed(_))), "{json:?}");
    }
}

#[test]
fn restored_addresses_are_valid_and_rest_for_a_quarantine() {
    let before = mappings("127.64.0.0/30", 10);
    let addr = map_used(&before, 1, at(0)).expect("an address");
    map_used(&before, 2, at(0)).expect("an address");
    let after = mappings("127.64.0.0/30", 10);
    after.restore(before.to_state(), at(1000));
    assert!(after.lookup(addr).is_some_and(|mapping| mapping.paths() == &set(1)));
    assert_eq!(map(&after, 3, at(1059)), Err(Exhausted::Pool(after.pool())));
    assert!(map(&after, 3, at(1060)).is_ok());
}

#[test]
fn after_a_restart_too_addresses_that_no_flow_used_go_first() {
    let before = mappings("127.64.0.0/30", 10);
    let used = map_used(&before, 1, at(0)).expect("an address");
    let unused = map(&before, 2, at(0)).expect("an address");
    let after = mappings("127.64.0.0/30", 10);
    let saved = before.to_state().to_json();
    after.restore(State::from_json(&saved).expect("what was written"), at(1000));
    assert_eq!(map(&after, 3, at(1009)), Err(Exhausted::Pool(after.pool())));
    assert_eq!(map(&after, 3, at(1010)), Ok(unused));
    assert!(after.lookup(used).is_some_and(|mapping| mapping.paths() == &set(1)));
}

#[test]
fn a_file_that_does_not_say_so_may_hold_used_addresses() {
    let json = r#"{"version":1,"mappings":[{"address":"127.64.0.1","names":[],
        "paths":["203.0.113.1 10.0.0.1"],"expires_ms":0,"last_used_ms":0}]}"#;
    let mappings = mappings("127.64.0.0/10", 1);
    mappings.restore(State::from_json(json.as_bytes()).expect("readable"), at(0));
    assert_eq!(map(&mappings, 2, at(59)), Err(Exhausted::Cap(1)));
    assert!(map(&mappings, 2, at(60)).is_ok());
}

#[test]
fn times_from_a_wrong_clock_do_not_hold_an_address_for_ever() {
    let before = mappings("127.64.0.0/10", 10);
    map(&before, 1, at(u64::MAX / 2000)).expect("an address");
    let after = mappings("127.64.0.0/10", 10);
    after.restore(before.to_state(), at(0));
    assert_eq!(after.expire(at(0) + MAX_TTL + QUARANTINE), 1);
}

#[test]
fn a_pinned_mapping_stays_while_another_worker_wants_its_address() {
    let mappings = Mappings::new("127.64.0.0/30".parse().expect("a network"), 2, Duration::ZERO);
    let addr = mappings.map("b.example.", &set(0), Duration::ZERO, at(0)).expect("an address");
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut second = 0;
            for number in (0..20).cycle().take(4000) {
                second += 10;
                let _ = mappings.map("b.example.", &set(number), Duration::ZERO, at(second));
                mappings.expire(at(second));
            }
        });
        while !churn.is_finished() {
            let Some(mapping) = mappings.lookup(addr) else { continue };
            if mapping.pin() {
                let holder = mappings.lookup(addr).expect("a pinned mapping");
                assert!(Arc::ptr_eq(&holder, &mapping));
                mapping.unpin(at(0));
            }
        }
    });
}

/// What may happen to a table.
#[derive(Debug, Clone)]
enum Op {
    Map { set: u8, ttl: u64 },
    Pin { set: u8 },
    Unpin { set: u8 },
    Expire,
    Advance { seconds: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0u8..20, 0u64..100).prop_map(|(set, ttl)| Op::Map { set, ttl }),
        2 => (0u8..20).prop_map(|set| Op::Pin { set }),
        2 => (0u8..20).prop_map(|set| Op::Unpin { set }),
        1 => Just(Op::Expire),
        3 => (0u64..80).prop_map(|seconds| Op::Advance { seconds }),
    ];
    prop::collection::vec(op, 0..120)
}

/// What a path set was promised: an independent, slower account of the same rules.
#[derive(Debug, Clone, Default)]
struct Promise {
    addr: Option<Ipv4Addr>,
    expires: u64,
    last_used: u64,
    /// Whether a flow used the address since it was given.
    used: bool,
    pins: Vec<Arc<Mapping>>,
}

impl Promise {
    /// Whatever else happens.
    fn holds_firmly(&self, now: u64) -> bool {
        let rest = if self.used { QUARANTINE.as_secs() } else { 0 };
        let quiet = (self.expires.max(self.last_used) + rest).max(self.last_used + 10);
        self.addr.is_some() && (!self.pins.is_empty() || now < quiet)
    }

    /// As long as there is room.
    fn holds(&self, now: u64) -> bool {
        let rest = QUARANTINE.as_secs().min(120);
        self.holds_firmly(now) || self.addr.is_some() && now < self.expires + rest
    }
}

struct Model {
    mappings: Mappings,
    promises: Vec<Promise>,
    now: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            mappings: mappings("127.64.0.0/28", 12),
            promises: vec![Promise::default(); 20],
            now: 0,
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Map { set, ttl } => self.map(set, ttl),
            Op::Pin { set } => self.pin(set.into()),
            Op::Unpin { set } => self.unpin(set.into()),
            Op::Expire => drop(self.mappings.expire(at(self.now))),
            Op::Advance { seconds } => self.now += seconds,
        }
    }

    fn map(&mut self, number: u8, ttl: u64) {
        let is_new = !self.is_mapped(number);
        let ttl_given = Duration::from_secs(ttl);
        let result = self.mappings.map("b.example.", &set(number), ttl_given, at(self.now));
        self.drop_one_that_made_room();
        let held = self.promises.iter().filter(|promise| promise.holds_firmly(self.now)).count();
        let promise = &mut self.promises[usize::from(number)];
        match result {
            Ok(addr) => {
                assert!(!promise.holds(self.now) || promise.addr == Some(addr), "address changed");
                promise.addr = Some(addr);
                promise.used &= !is_new;
                promise.expires = promise.expires.max(self.now + ttl);
                promise.last_used = self.now;
            }
            Err(_) => assert!(held == 12 && !promise.holds(self.now), "refused, but {held} held"),
        }
    }

    fn is_mapped(&self, number: u8) -> bool {
        self.mappings.read().of(&set(number)).is_some()
    }

    /// When a new mapping finds the table full, one promise is dropped, and no firm one.
    fn drop_one_that_made_room(&mut self) {
        let broken = |number: &usize| {
            self.promises[*number].holds(self.now) && !self.is_mapped(*number as u8)
        };
        let broken: Vec<_> = (0..self.promises.len()).filter(broken).collect();
        assert!(broken.is_empty() || broken.len() == 1 && self.mappings.len() == 12, "{broken:?}");
        for number in broken {
            assert!(!self.promises[number].holds_firmly(self.now), "a firm promise is broken");
            self.promises[number] = Promise::default();
        }
    }

    fn pin(&mut self, number: usize) {
        let Some(addr) = self.promises[number].addr else { return };
        let found = self.mappings.lookup(addr);
        let Some(mapping) = found.filter(|mapping| mapping.paths() == &set(number as u8)) else {
            assert!(!self.promises[number].holds(self.now), "a promised address is gone");
            return;
        };
        assert!(mapping.pin());
        self.promises[number].used = true;
        self.promises[number].pins.push(mapping);
    }

    fn unpin(&mut self, number: usize) {
        if let Some(mapping) = self.promises[number].pins.pop() {
            mapping.unpin(at(self.now));
            self.promises[number].last_used = self.now;
        }
    }

    fn check(&self) {
        for (number, promise) in self.promises.iter().enumerate() {
            if let Some(addr) = promise.addr.filter(|_| promise.holds(self.now)) {
                let mapping = self.mappings.lookup(addr).expect("a promised address");
                assert_eq!(mapping.paths(), &set(number as u8));
                assert_eq!(mapping.flows() as usize, promise.pins.len());
            }
        }
        let table = self.mappings.read();
        assert!(table.len() <= 12);
    }
}

proptest! {
    #[test]
    fn no_promise_is_ever_broken(ops in ops()) {
        let mut model = Model::new();
        for op in &ops {
            model.run(op);
            model.check();
        }
    }

    #[test]
    fn the_same_paths_get_the_same_address_while_nothing_else_holds_it(number: u8, other: u8) {
        let alone = map(&mappings("127.64.0.0/16", 10), number, at(0));
        let shared = mappings("127.64.0.0/16", 10);
        let first = map(&shared, other, at(0));
        let second = map(&shared, number, at(0));
        prop_assert_eq!(first == second, number == other);
        prop_assert!(second == alone || first == alone);
    }

    #[test]
    fn no_address_changes_hosts_while_the_pool_has_others(ops in ops()) {
        let mappings = mappings("127.64.0.0/27", 20);
        let (mut now, mut owner) = (0, HashMap::new());
        for op in ops {
            match op {
                Op::Map { set: number, .. } => {
                    let addr = map(&mappings, number, at(now)).expect("room");
                    prop_assert_eq!(*owner.entry(addr).or_insert(number), number);
                }
                Op::Advance { seconds } => now += seconds,
                _ => drop(mappings.expire(at(now))),
            }
        }
    }

    #[test]
    fn restoring_what_was_saved_is_the_identity(ops in ops()) {
        let mut model = Model::new();
        ops.iter().for_each(|op| model.run(op));
        let saved = model.mappings.to_state();
        let read = State::from_json(&saved.to_json()).expect("what was written");
        let restored = mappings("127.64.0.0/28", 12);
        prop_assert_eq!(restored.restore(read, at(model.now)), Skipped::default());
        prop_assert_eq!(restored.to_state(), saved);
    }

    #[test]
    fn any_octets_are_a_table_or_an_error(json in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(State::from_json(&json).is_err());
    }
}
