//! Watches the interfaces that carry adverts: opens their sockets and hands the real-time thread the present
//! state of each, as a level, whenever it changed.
//!
//! Every kernel event only leads to reading the tables again, so a lost event (netlink overrun) or one in the
//! wrong order cannot leave a wrong picture for longer than `REREAD`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bascule_core::net::{Family, IfName};
use bascule_core::router::Link;
use bascule_core::time::Instant;
use bascule_core::vrrp::Settings;
use futures_util::StreamExt;
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::watch;

use super::picture::{Interface, Picture};
use super::socket::VrrpSocket;
use crate::sys::monotonic;
use crate::vrrpd::mailbox::{Inbox, Sockets};
use crate::vrrpd::statistics::{Report, Statistics};

/// The tables are read at least this often, and sockets that could not be opened are tried again.
const REREAD: Duration = Duration::from_secs(1);

/// The address of a virtual router that was removed stays on the interface for a moment, and is no source of
/// adverts in that time either.
const LINGER: Duration = Duration::from_secs(10);

/// The kernel events that can change a `Link`.
const GROUPS: [MulticastGroup; 3] =
    [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];

/// Runs until the settings' sender is gone.
///
/// # Errors
/// When the netlink socket cannot be opened.
pub async fn run(
    inbox: Arc<Inbox>,
    mut settings: watch::Receiver<Vec<Settings>>,
    problems: watch::Sender<Vec<String>>,
    statistics: Arc<Statistics>,
) -> std::io::Result<()> {
    // Two sockets: a burst of events that overruns the one cannot lose an answer on the other.
    let (connection, handle, _) = new_connection()?;
    let requests = tokio::spawn(connection);
    let (connection, _, mut events) = new_multicast_connection(&GROUPS)?;
    let listening = tokio::spawn(connection);
    let mut report = Report::default();
    let mut watcher = Watcher::new(inbox, settings.borrow_and_update().clone());
    loop {
        let found = watcher.look(&handle).await;
        problems.send_if_modified(|old| std::mem::replace(old, found.clone()) != found);
        report.look(monotonic(), &statistics);
        tokio::select! {
            changed = settings.changed() => {
                if changed.is_err() {
                    break;
                }
                watcher.settings = settings.borrow_and_update().clone();
                watcher.announce_settings = true;
            }
            event = events.next() => {
                if event.is_none() {
                    break;
                }
                // Whatever else is waiting is answered by the same look.
                while events.try_recv().is_ok() {}
            }
            () = tokio::time::sleep(REREAD) => {}
        }
    }
    requests.abort();
    listening.abort();
    Ok(())
}

struct Watcher {
    inbox: Arc<Inbox>,
    settings: Vec<Settings>,
    announce_settings: bool,
    sockets: Sockets,
    links: BTreeMap<IfName, Option<Link>>,
    /// Addresses that come and go with a role, and when each was last configured to.
    moving: BTreeMap<IpAddr, Instant>,
}

impl Watcher {
    const fn new(inbox: Arc<Inbox>, settings: Vec<Settings>) -> Self {
        Self {
            inbox,
            settings,
            announce_settings: true,
            sockets: Sockets::new(),
            links: BTreeMap::new(),
            moving: BTreeMap::new(),
        }
    }

    /// Reads the tables once, brings the sockets in line and hands over what changed. Returns the problems.
    async fn look(&mut self, handle: &Handle) -> Vec<String> {
        let picture = match Picture::read(handle).await {
            Ok(picture) => picture,
            Err(error) => return vec![format!("cannot read the network interfaces: {error}")],
        };
        self.remember_moving(monotonic());
        let mut problems = Vec::new();
        let sockets = self.sockets_for(&picture, &mut problems);
        let links = self.links_for(&picture, &sockets);
        self.hand_over(sockets, links);
        problems
    }

    fn remember_moving(&mut self, now: Instant) {
        self.moving.extend(moving_addresses(&self.settings).map(|address| (address, now)));
        self.moving.retain(|_, last| now.since(*last) < LINGER);
    }

    /// The sockets that the settings need: those of before where the interface is the same, else new ones.
    fn sockets_for(&self, picture: &Picture, problems: &mut Vec<String>) -> Sockets {
        let wanted: BTreeSet<(IfName, Family)> =
            self.settings.iter().map(|s| (s.interface.clone(), s.family)).collect();
        let mut sockets = Sockets::new();
        for (name, family) in wanted {
            let Some(interface) = picture.interfaces.get(&name) else { continue };
            match self.socket(&name, family, interface) {
                Ok(socket) => {
                    sockets.insert((name, family), socket);
                }
                Err(error) => {
                    problems
                        .push(format!("cannot open the {family} VRRP socket on interface {name}: {error}"));
                }
            }
        }
        sockets
    }

    fn socket(&self, name: &IfName, family: Family, at: &Interface) -> std::io::Result<Arc<VrrpSocket>> {
        let before = self.sockets.get(&(name.clone(), family)).filter(|socket| socket.index() == at.index);
        let Some(socket) = before else {
            return VrrpSocket::open(name, at.index, family).map(Arc::new);
        };
        let was_running = self.links.get(name).is_some_and(|link| link.as_ref().is_some_and(|l| l.running));
        if at.running && !was_running {
            socket.rejoin()?;
        }
        Ok(Arc::clone(socket))
    }

    /// The present state of every interface that the settings name.
    fn links_for(&self, picture: &Picture, sockets: &Sockets) -> BTreeMap<IfName, Option<Link>> {
        let link = |name: &IfName| {
            let interface = picture.interfaces.get(name)?;
            let excluded = |address: IpAddr| self.moving.contains_key(&address);
            // Without the socket that it needs, the box is deaf and mute in that family: say that it has no address
            // to send from, so that nobody becomes Master there. A family that nothing needs any more is as it is:
            // who leaves it still has a last advert to send.
            let usable = |family| {
                let needed = self.settings.iter().any(|s| s.interface == *name && s.family == family);
                !needed || sockets.contains_key(&(name.clone(), family))
            };
            Some(Link {
                index: interface.index,
                running: interface.running,
                mac: interface.mac,
                primary_v4: picture.primary_v4(interface.index, excluded).filter(|_| usable(Family::V4)),
                link_local: picture.link_local(interface.index, excluded).filter(|_| usable(Family::V6)),
            })
        };
        self.settings.iter().map(|s| (s.interface.clone(), link(&s.interface))).collect()
    }

    fn hand_over(&mut self, sockets: Sockets, links: BTreeMap<IfName, Option<Link>>) {
        let same = |a: &Sockets, b: &Sockets| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
        };
        let new_sockets = (!same(&sockets, &self.sockets)).then(|| sockets.clone());
        let changed: Vec<_> = links
            .iter()
            .filter(|(name, link)| self.links.get(*name) != Some(*link))
            .map(|(name, link)| (name.clone(), link.clone()))
            .collect();
        let settings = std::mem::take(&mut self.announce_settings).then(|| self.settings.clone());
        // An interface that the settings no longer name is forgotten, so that it is new if it comes back.
        self.sockets = sockets;
        self.links = links;
        if new_sockets.is_none() && changed.is_empty() && settings.is_none() {
            return;
        }
        self.inbox.put(|inputs| {
            inputs.links.extend(changed);
            if new_sockets.is_some() {
                inputs.sockets = new_sockets;
            }
            if settings.is_some() {
                inputs.settings = settings;
            }
        });
    }
}

/// The addresses that come and go with a role, so that none of them is ever the source of an advert. The
/// owner's addresses (priority 255) are its own and stay.
fn moving_addresses(settings: &[Settings]) -> impl Iterator<Item = IpAddr> {
    settings
        .iter()
        .filter(|settings| !settings.priority.is_owner())
        .flat_map(|settings| settings.addresses.iter().map(|(_, address)| *address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::picture::Address;
    use bascule_core::config::Config;
    use bascule_core::desired::routers;
    use bascule_core::overrides::Overrides;

    fn settings(priority: u8) -> Vec<Settings> {
        let text = format!(
            r#"{{ "vrrp": {{
                "four": {{ "interface": "eth0", "vrid": 1, "priority": {priority}, "addresses": ["10.0.0.100/24"] }},
                "six": {{ "interface": "eth0", "vrid": 1, "addresses": ["fe80::100/64"] }} }} }}"#
        );
        let config: Config = serde_json::from_str(&text).expect("a configuration");
        routers(&config, &Overrides::default())
    }

    fn picture() -> Picture {
        let interface = Interface { index: 2, up: true, running: true, ..Interface::default() };
        let address = |text: &str, secondary| Address {
            index: 2,
            prefix: text.parse().expect("a prefix"),
            protocol: None,
            link_local: text.starts_with("fe80"),
            tentative: false,
            secondary,
            routeless: false,
        };
        Picture {
            interfaces: [("eth0".parse().expect("a name"), interface)].into(),
            addresses: vec![
                address("10.0.0.100/24", false),
                address("10.0.0.1/24", true),
                address("fe80::100/64", false),
                address("fe80::1/64", false),
            ],
        }
    }

    fn watcher(settings: Vec<Settings>) -> Watcher {
        let mut watcher = Watcher::new(Arc::new(Inbox::new().expect("an eventfd")), settings);
        watcher.remember_moving(Instant::ZERO);
        watcher
    }

    fn link(watcher: &Watcher) -> Link {
        // Both families are needed and have no socket here, unless the settings are forgotten.
        let links = watcher.links_for(&picture(), &Sockets::new());
        links.into_values().next().flatten().expect("a link")
    }

    #[test]
    fn a_family_that_needs_a_socket_and_has_none_has_no_address_to_send_from() {
        let watcher = watcher(settings(100));
        assert_eq!((link(&watcher).primary_v4, link(&watcher).link_local), (None, None));
    }

    #[test]
    fn a_virtual_address_is_no_source_also_for_a_moment_after_its_router_was_removed() {
        let mut watcher = watcher(settings(100));
        // The one that stays keeps the interface in the picture; its family has no socket and no address.
        watcher.settings.retain(|settings| settings.family == Family::V4);
        watcher.remember_moving(Instant::ZERO + Duration::from_secs(9));
        assert_eq!(link(&watcher).link_local, Some("fe80::1".parse().expect("an address")));
        watcher.remember_moving(Instant::ZERO + LINGER);
        assert_eq!(link(&watcher).link_local, Some("fe80::100".parse().expect("an address")));
    }

    #[test]
    fn the_owners_address_is_its_own() {
        let mut watcher = watcher(settings(255));
        watcher.settings.retain(|settings| settings.family == Family::V6);
        assert_eq!(link(&watcher).primary_v4, Some([10, 0, 0, 100].into()));
        let mut watcher = self::watcher(settings(100));
        watcher.settings.retain(|settings| settings.family == Family::V6);
        assert_eq!(link(&watcher).primary_v4, Some([10, 0, 0, 1].into()));
    }
}
