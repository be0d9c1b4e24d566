//! Which paths of a name's NAT records are used.

use super::*;

#[test]
fn refused_records_are_no_records() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    let hostile = ["127.0.0.1 10.0.0.1", "192.168.0.1 10.0.0.1", "198.51.100.7 10.0.0.1"];
    bench.answer(&key("b.example"), found(&hostile, 300));
    let mut expected = released(id, Counter::DnsNoRecord);
    expected.counters.splice(0..0, [Counter::DnsRefusedRecord; 3]);
    assert_eq!(bench.seen(), expected);
    assert!(bench.table.asked.is_empty());
}

/// One that begins at this host's own gateway role and leads back, or to what that does not export.
#[test]
fn a_path_that_leads_nowhere_is_not_used() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    bench.answer(&key("b.example"), found(&["203.0.113.1 192.168.0.66", PATH], 300));
    let mut expected = mapped(id);
    expected.counters.insert(0, Counter::DnsRefusedRecord);
    assert_eq!(bench.seen(), expected);
    assert_eq!(bench.table.paths, [vec![PATH.parse().expect("a path")]]);
}

#[test]
fn a_refused_record_does_not_spoil_the_others() {
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    bench.answer(&key("b.example"), found(&["224.0.0.1 10.0.0.1", PATH, PATH], 300));
    let mut expected = mapped(id);
    expected.counters.insert(0, Counter::DnsRefusedRecord);
    assert_eq!(bench.seen(), expected);
    assert_eq!(bench.table.asked[0].1, 1);
}

#[test]
fn a_private_first_hop_is_for_the_record_s_own_zone() {
    let private = found(&["192.168.0.1 10.0.0.1"], 300);
    for (zone, counters) in [
        ("example", &[Counter::DnsMapped][..]),
        ("home", &[Counter::DnsRefusedRecord, Counter::DnsNoRecord]),
    ] {
        let private_zones = vec![name(zone)];
        let mut bench = Bench::with(Settings { private_zones, ..Settings::default() });
        bench.nodata();
        bench.seen();
        bench.answer(&key("b.example"), private.clone());
        assert_eq!(bench.seen().counters, counters);
    }
}

#[test]
fn more_paths_than_are_of_use() {
    let paths: Vec<_> = (1..=20).map(|last| format!("203.0.113.{last} 10.0.0.1")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let mut bench = Bench::new();
    let id = bench.nodata();
    bench.seen();
    bench.answer(&key("b.example"), found(&paths, 300));
    let mut expected = mapped(id);
    expected.counters.splice(0..0, [Counter::DnsExcessRecord; 4]);
    assert_eq!(bench.seen(), expected);
    assert_eq!(bench.table.asked[0].1, MAX_PATHS);
}
