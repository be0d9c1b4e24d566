//! `nattt flows`.

use super::table::{Align, Table};
use super::units;
use crate::control::{Ends, Flow, Leg, Traffic};

const CLIENT: [(&str, Align); 10] = [
    ("PROTO", Align::Left),
    ("STATE", Align::Left),
    ("APPLICATION", Align::Left),
    ("MAPPED", Align::Left),
    ("NAME", Align::Left),
    ("OUTER", Align::Left),
    ("INNER", Align::Left),
    ("TO HOST", Align::Right),
    ("TO CLIENT", Align::Right),
    ("IDLE/EXPIRES", Align::Right),
];
const GATEWAY: [(&str, Align); 9] = [
    ("PROTO", Align::Left),
    ("STATE", Align::Left),
    ("CLIENT", Align::Left),
    ("INNER", Align::Left),
    ("HOST", Align::Left),
    ("SEEN AS", Align::Left),
    ("TO HOST", Align::Right),
    ("TO CLIENT", Align::Right),
    ("IDLE/EXPIRES", Align::Right),
];

/// One table for each role that has flows, and a line if the limit left some out.
pub(super) fn render(total: usize, flows: &[Flow]) -> String {
    if total == 0 {
        return "No flow is open.\n".into();
    }
    // What was used last is what people look for.
    let mut sorted: Vec<_> = flows.iter().collect();
    sorted.sort_by_key(|flow| flow.idle_s);
    let parts = [client_flows(&sorted), gateway_flows(&sorted), left_out(total, flows.len())];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn client_flows(flows: &[&Flow]) -> Option<String> {
    let mut table = Table::new(CLIENT);
    let mut any = false;
    for flow in flows {
        let Ends::Client { application, mapped, name, outer, inner } = &flow.ends else { continue };
        any = true;
        let (protocol, state) = (flow.protocol.clone(), flow.state.clone());
        let name = name.as_deref().unwrap_or("-").to_owned();
        let [to_host, to_client, times] = measures(flow);
        let (application, mapped) = (application.to_string(), mapped.to_string());
        let outer = if outer == inner { "no tunnel".into() } else { leg(outer) };
        let inner = leg(inner);
        table.row([
            protocol,
            state,
            application,
            mapped,
            name,
            outer,
            inner,
            to_host,
            to_client,
            times,
        ]);
    }
    any.then(|| format!("Flows opened here, through tunnels:\n{}", table.render()))
}

fn gateway_flows(flows: &[&Flow]) -> Option<String> {
    let mut table = Table::new(GATEWAY);
    let mut any = false;
    for flow in flows {
        let Ends::Gateway { client, inner, host, seen_as } = &flow.ends else { continue };
        any = true;
        let (protocol, state) = (flow.protocol.clone(), flow.state.clone());
        let [client, inner, host, seen_as] = [client, inner, host, seen_as].map(|e| e.to_string());
        let [to_host, to_client, times] = measures(flow);
        table.row([protocol, state, client, inner, host, seen_as, to_host, to_client, times]);
    }
    any.then(|| format!("Flows from tunnels to hosts behind this gateway:\n{}", table.render()))
}

fn left_out(total: usize, shown: usize) -> Option<String> {
    let left = total.saturating_sub(shown);
    (left > 0).then(|| format!("{left} of {total} flows are not shown; see --limit.\n"))
}

fn measures(flow: &Flow) -> [String; 3] {
    let (idle, expires) = (units::duration(flow.idle_s), units::duration(flow.expires_in_s));
    [traffic(flow.to_host), traffic(flow.to_client), format!("{idle}/{expires}")]
}

pub(super) fn traffic(traffic: Traffic) -> String {
    format!("{} ({})", traffic.packets, units::octets(traffic.octets))
}

fn leg(leg: &Leg) -> String {
    format!("{} -> {}", leg.from, leg.to)
}
