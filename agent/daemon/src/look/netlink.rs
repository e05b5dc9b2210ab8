//! Dumps of rtnetlink, read at once and by themselves: no agent is needed.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteAddress, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::LookError;

/// The kernel answers a dump within this time, or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Interfaces and their addresses at one moment.
#[derive(Debug, Default)]
pub struct Links {
    /// `RTM_GETLINK`.
    pub links: Vec<LinkMessage>,
    /// `RTM_GETADDR`.
    pub addresses: Vec<AddressMessage>,
}

impl Links {
    /// The name of the interface with an index; the index in words when it has gone.
    #[must_use]
    pub fn name(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.header.index == index);
        link.and_then(name).unwrap_or_else(|| format!("index {index}"))
    }
}

/// The name of an interface.
#[must_use]
pub fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// Interfaces and addresses.
///
/// # Errors
/// What netlink says.
pub fn links() -> Result<Links, LookError> {
    dump("the interfaces", async |handle| {
        let links = handle.link().get().execute().try_collect().await?;
        let addresses = handle.address().get().execute().try_collect().await?;
        Ok(Links { links, addresses })
    })
}

/// The routes of both families and all tables, and the interfaces that they name.
///
/// # Errors
/// What netlink says.
pub fn routes() -> Result<(Links, Vec<RouteMessage>), LookError> {
    dump("the routes", async |handle| {
        let links = handle.link().get().execute().try_collect().await?;
        let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
        let mut routes: Vec<RouteMessage> = handle.route().get(v4).execute().try_collect().await?;
        routes.extend(handle.route().get(v6).execute().try_collect::<Vec<_>>().await?);
        Ok((Links { links, addresses: Vec::new() }, routes))
    })
}

/// The neighbour tables of both families, and the interfaces that they name.
///
/// # Errors
/// What netlink says.
pub fn neighbors() -> Result<(Links, Vec<NeighbourMessage>), LookError> {
    dump("the neighbours", async |handle| {
        let links = handle.link().get().execute().try_collect().await?;
        let neighbors = handle.neighbours().get().execute().try_collect().await?;
        Ok((Links { links, addresses: Vec::new() }, neighbors))
    })
}

/// The address in an attribute of a route.
#[must_use]
pub const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn dump<T, W>(what: &'static str, work: W) -> Result<T, LookError>
where
    W: AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
{
    let failed = |error: String| LookError::Kernel {
        what: what.to_owned(),
        error,
        way_out: "netlink does not answer; \"show log\" may tell why",
    };
    run(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| failed(error.to_string()))?;
        let connection = tokio::spawn(connection);
        let result = tokio::time::timeout(TIMEOUT, work(handle)).await;
        connection.abort();
        match result {
            Ok(result) => result.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    })
    .unwrap_or_else(|error| Err(failed(error.to_string())))
}

/// Runs something asynchronous to its end.
///
/// # Errors
/// When there is no runtime to be had.
pub fn run<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_with_its_name_and_address() {
        let links = links().expect("netlink");
        let lo = links.links.iter().find(|link| name(link).as_deref() == Some("lo")).expect("lo");
        assert_eq!(links.name(lo.header.index), "lo");
        assert_eq!(links.name(987_654), "index 987654");
        assert!(routes().is_ok() && neighbors().is_ok());
    }
}
