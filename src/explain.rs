//! `nattt explain`: from what the DNS and the daemon say about a name to what follows from it.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Serialize, Serializer};

use crate::control::{Explanation, NatRecord, Subject};
use crate::path::Path;

/// What a name server answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Records, those of aliases included.
    Records {
        /// In the order of the reply.
        records: Vec<Record>,
    },
    /// The name is there, without a record of this type.
    NoData,
    /// There is no such name.
    NoName,
    /// Nothing came back.
    Silent,
    /// The server refused, or could not be asked.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Whose it is, in presentation form.
    pub owner: String,
    /// Seconds.
    pub ttl: u32,
    /// What it says.
    #[serde(flatten)]
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// CNAME: the name's other name.
    Alias(String),
    /// A.
    Address(Ipv4Addr),
    /// The octets of a record of the NAT type.
    #[serde(serialize_with = "as_hex")]
    Nat(Vec<u8>),
}

/// What was asked, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The server that answered, or the last that did not.
    pub server: IpAddr,
    /// To the question for an address, as programs ask it.
    pub address: Answer,
    /// To the question for the NAT record.
    pub nat: Answer,
}

/// How it stands with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// It leads through a tunnel.
    Tunnelled,
    /// It is right behind this host, which leads only the hosts it serves there.
    ServedOnly,
    /// It has an address of its own, and is never touched.
    Ordinary,
    /// There is no such name.
    NoName,
    /// Neither address nor NAT record.
    NoRecord,
    /// The name server does not answer.
    NoAnswer,
    /// The name server answers questions for addresses, not for NAT records.
    NoNatAnswer,
    /// No NAT record is well-formed.
    Malformed,
    /// Every NAT record is refused.
    Refused,
    /// The NAT record is right, but the configuration leaves the name alone.
    LeftAlone,
    /// The NAT record is right, yet the reply has no address.
    NotMapped,
    /// The address is of the pool, but natttd does not know it.
    Forgotten,
    /// It would lead through a tunnel, as far as the DNS goes; no daemon says more.
    NoDaemon,
}

impl Answer {
    /// The records, if there are any.
    pub fn records(&self) -> &[Record] {
        match self {
            Self::Records { records } => records,
            _ => &[],
        }
    }

    /// Whether the server may be asked no more: another one is.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Silent | Self::Failed { .. })
    }
}

impl Asked {
    /// The addresses of the reply.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let address = |record: &Record| match record.data {
            Data::Address(addr) => Some(addr),
            Data::Alias(_) | Data::Nat(_) => None,
        };
        self.address.records().iter().filter_map(address).collect()
    }

    /// Each NAT record with its owner and its path, or why it is none.
    pub fn paths(&self) -> Vec<(&Record, Result<Path, String>)> {
        let path = |record: &'_ Record| match &record.data {
            Data::Nat(rdata) => Some(Path::from_rdata(rdata).map_err(|error| error.to_string())),
            Data::Alias(_) | Data::Address(_) => None,
        };
        let records = self.nat.records().iter();
        records.filter_map(|record| Some((record, path(record)?))).collect()
    }

    /// What the daemon is asked.
    pub fn subject(&self, name: &str) -> Subject {
        let records = self.paths().into_iter().filter_map(|(record, path)| {
            Some(NatRecord { owner: record.owner.clone(), path: path.ok()?.to_string() })
        });
        Subject { name: name.to_owned(), records: records.collect(), addresses: self.addresses() }
    }
}

/// What follows. `known` is what the daemon answered to [`Asked::subject`].
pub fn conclude(asked: &Asked, known: Option<&Explanation>) -> Conclusion {
    let addresses = asked.addresses();
    if !addresses.is_empty() {
        return of_addresses(&addresses, known);
    }
    match (&asked.address, &asked.nat) {
        (Answer::Silent | Answer::Failed { .. }, _) => Conclusion::NoAnswer,
        (Answer::NoName, _) => Conclusion::NoName,
        (_, Answer::Silent | Answer::Failed { .. }) => Conclusion::NoNatAnswer,
        _ => of_records(asked, known),
    }
}

fn of_addresses(addresses: &[Ipv4Addr], known: Option<&Explanation>) -> Conclusion {
    let Some(known) = known else { return Conclusion::Ordinary };
    let mapped = known.mapping.as_ref().is_some_and(|mapping| addresses.contains(&mapping.address));
    if mapped && known.served_only {
        Conclusion::ServedOnly
    } else if mapped {
        Conclusion::Tunnelled
    } else if addresses.iter().all(|addr| known.unmapped.contains(addr)) {
        Conclusion::Forgotten
    } else {
        Conclusion::Ordinary
    }
}

fn of_records(asked: &Asked, known: Option<&Explanation>) -> Conclusion {
    let paths = asked.paths();
    if paths.is_empty() {
        return Conclusion::NoRecord;
    }
    if paths.iter().all(|(_, path)| path.is_err()) {
        return Conclusion::Malformed;
    }
    match known {
        None => Conclusion::NoDaemon,
        Some(known) if known.left_alone => Conclusion::LeftAlone,
        Some(known) if known.judgements.iter().all(|one| one.refused.is_some()) => {
            Conclusion::Refused
        }
        Some(_) => Conclusion::NotMapped,
    }
}

/// Octets as in a zone file.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

fn as_hex<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Judgement, Mapping, MappingState};
    use proptest::prelude::*;

    const NAT: [u8; 10] = [203, 0, 113, 1, 0, 100, 192, 168, 0, 2];
    const MAPPED: Ipv4Addr = Ipv4Addr::new(127, 118, 232, 255);

    fn records(data: Vec<Data>) -> Answer {
        let record = |data| Record { owner: "b.example.".into(), ttl: 300, data };
        Answer::Records { records: data.into_iter().map(record).collect() }
    }

    fn asked(address: Answer, nat: Answer) -> Asked {
        Asked { server: Ipv4Addr::LOCALHOST.into(), address, nat }
    }

    fn nat() -> Answer {
        records(vec![Data::Alias("c.example.".into()), Data::Nat(NAT.into())])
    }

    fn known(refused: Option<&str>, mapped: bool) -> Explanation {
        let mapping = Mapping {
            address: MAPPED,
            names: Vec::new(),
            paths: Vec::new(),
            silent_paths: Vec::new(),
            expires_in_s: 1,
            flows: 0,
            state: MappingState::Live,
        };
        Explanation {
            record_type: 65324,
            left_alone: false,
            served_only: false,
            judgements: vec![Judgement {
                refused: refused.map(str::to_owned),
                mtu: 1472,
                outer: None,
            }],
            mapping: mapped.then_some(mapping),
            unmapped: if mapped { Vec::new() } else { vec![MAPPED] },
            flows: Vec::new(),
            last_drop: None,
        }
    }

    #[test]
    fn the_daemon_is_asked_about_what_is_well_formed() {
        let nat = records(vec![Data::Nat(NAT.into()), Data::Nat(vec![1])]);
        let asked = asked(records(vec![Data::Address(MAPPED)]), nat);
        let subject = asked.subject("b.example");
        assert_eq!(subject.addresses, [MAPPED]);
        assert_eq!(subject.records.len(), 1);
        assert_eq!(subject.records[0].path, "203.0.113.1:100 192.168.0.2");
        assert_eq!(
            asked.paths()[1].1,
            Err("a NAT record has 6n+4 octets (n = 1 to 8), not 1".into())
        );
    }

    #[test]
    fn every_conclusion() {
        use Conclusion::*;
        let address = |addr: [u8; 4]| records(vec![Data::Address(addr.into())]);
        let failed = || Answer::Failed { reason: "SERVFAIL".into() };
        let (good, refused) = (known(None, true), known(Some("private"), false));
        let unmapped = known(None, false);
        let served_only = Explanation { served_only: true, ..good.clone() };
        let left_alone = Explanation { left_alone: true, ..unmapped.clone() };
        for (address, nat, known, expected) in [
            (address(MAPPED.octets()), nat(), Some(&good), Tunnelled),
            (address(MAPPED.octets()), nat(), Some(&served_only), ServedOnly),
            (address(MAPPED.octets()), nat(), Some(&unmapped), Forgotten),
            (address([192, 0, 2, 1]), nat(), Some(&good), Ordinary),
            (address([192, 0, 2, 1]), Answer::NoData, None, Ordinary),
            (Answer::NoName, Answer::NoName, Some(&good), NoName),
            (Answer::NoData, Answer::NoData, Some(&good), NoRecord),
            (Answer::Silent, nat(), Some(&good), NoAnswer),
            (failed(), nat(), None, NoAnswer),
            (Answer::NoData, Answer::Silent, Some(&good), NoNatAnswer),
            (Answer::NoData, failed(), Some(&good), NoNatAnswer),
            (Answer::NoData, records(vec![Data::Nat(vec![0; 9])]), Some(&good), Malformed),
            (Answer::NoData, nat(), Some(&refused), Refused),
            (Answer::NoData, nat(), Some(&unmapped), NotMapped),
            (Answer::NoData, nat(), Some(&left_alone), LeftAlone),
            (Answer::NoData, Answer::NoData, Some(&left_alone), NoRecord),
            (Answer::NoData, nat(), None, NoDaemon),
            // An alias alone is no address.
            (records(vec![Data::Alias("c.".into())]), Answer::NoData, Some(&good), NoRecord),
        ] {
            let asked = asked(address, nat);
            assert_eq!(conclude(&asked, known), expected, "{asked:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_path_or_an_error(rdata in prop::collection::vec(any::<u8>(), 0..80)) {
            let well_formed = Path::from_rdata(&rdata).is_ok();
            let asked = asked(Answer::NoData, records(vec![Data::Nat(rdata)]));
            prop_assert_eq!(asked.subject("b").records.len(), usize::from(well_formed));
            let expected = if well_formed { Conclusion::NoDaemon } else { Conclusion::Malformed };
            prop_assert_eq!(conclude(&asked, None), expected);
        }
    }
}
