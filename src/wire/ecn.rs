//! Explicit Congestion Notification through a tunnel (RFC 6040).

const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;

/// The inner traffic class after decapsulation, or `None` where the packet must be dropped:
/// congestion was marked on a packet whose sender cannot be told (RFC 6040 §4.2, figure 4).
///
/// The inner DSCP stays (RFC 2983 §3, pipe model); only the ECN bits are combined.
pub fn decapsulated(inner: u8, outer: u8) -> Option<u8> {
    let ecn = match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => return None,
        (NOT_ECT, _) => NOT_ECT,
        (_, CE) => CE,
        (CE, _) => CE,
        (_, ECT_1) => ECT_1,
        (inner, _) => inner,
    };
    Some(inner & !ECN | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_rfc_6040_figure_4() {
        const ECT_0: u8 = 0b10;
        let columns = [NOT_ECT, ECT_0, ECT_1, CE];
        let rows = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, results) in rows {
            for (outer, result) in columns.into_iter().zip(results) {
                let dscp = 0xb8;
                assert_eq!(decapsulated(dscp | inner, outer), result.map(|ecn| dscp | ecn));
            }
        }
    }
}
