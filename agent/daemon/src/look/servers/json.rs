//! Services and real servers as JSON: everything that the agent and the kernel tell.

use serde_json::{Value, json};

use super::{Pair, ServerPair, usable};
use crate::kernel::ipvs_wire::TrafficStatistics;

/// A service with its real servers.
pub(super) fn service(pair: &Pair<'_>) -> Value {
    let kernel = pair.entry.map(|(entry, _)| {
        json!({
            "scheduler": entry.scheduler.to_string(),
            "persistence_seconds": entry.persistence.map(|timeout| timeout.as_secs()),
            "one_packet": entry.one_packet,
            "statistics": statistics(&entry.statistics),
        })
    });
    let servers: Vec<Value> = pair.servers().iter().map(server).collect();
    json!({
        "name": pair.line.map(|line| line.name.as_str()),
        "service": pair.address(),
        "scheduler": pair.scheduler(),
        "override": pair.overridden(),
        "in_kernel": pair.line.map(|line| line.in_kernel),
        "state": pair.state(),
        "wanted": pair.line,
        "kernel": kernel,
        "real_servers": servers,
    })
}

fn server(server: &ServerPair<'_>) -> Value {
    let kernel = server.entry.map(|entry| {
        json!({
            "weight": entry.destination.weight,
            "active": entry.connections.active,
            "inactive": entry.connections.inactive,
            "persistent": entry.connections.persistent,
            "statistics": statistics(&entry.statistics),
        })
    });
    json!({
        "endpoint": server.at,
        "health": server.health(),
        "takes_connections": usable(server),
        "override": server.line.and_then(|line| line.overridden.as_deref()),
        "wanted": server.line,
        "kernel": kernel,
    })
}

fn statistics(s: &TrafficStatistics) -> Value {
    json!({
        "connections": s.connections,
        "packets_in": s.packets_in,
        "packets_out": s.packets_out,
        "bytes_in": s.bytes_in,
        "bytes_out": s.bytes_out,
        "connections_per_second": s.connection_rate,
        "packets_in_per_second": s.packet_rate_in,
        "packets_out_per_second": s.packet_rate_out,
        "bytes_in_per_second": s.byte_rate_in,
        "bytes_out_per_second": s.byte_rate_out,
    })
}
