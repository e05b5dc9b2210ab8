use super::*;
use crate::router::RouterStatus;
use crate::time::Instant;

const FARM: &str = r#"
[interface.eth0]
addresses = ["192.0.2.11/24"]

[route.default]
to = "0.0.0.0/0"
via = "192.0.2.1"

[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.100/24", { address = "10.1.0.1/16", interface = "eth1" }]

[vrrp.dns]
interface = "eth0"
vrid = 52
addresses = ["192.0.2.101"]

[sync]
interface = "eth1"
id = 7

[virtual-server.web]
address = "192.0.2.100"
port = 80
forward = "dr"
persistence = "5m"
sorry-server = "10.1.0.99:80"
check = { kind = "tcp" }
real-server."10.1.0.21:80".weight = 3
real-server."10.1.0.22:80" = {}
real-server."10.1.0.23:80".weight = 0

[virtual-server.dns]
address = "192.0.2.101"
port = 53
protocol = "udp"
scheduler = "sh"
real-server."10.1.0.53:53" = {}
"#;

fn farm() -> Config {
    toml::from_str(FARM).expect("a good configuration")
}

fn roles(masters: &[&str]) -> Roles {
    let status = |name: &str| RouterStatus {
        role: if masters.contains(&name) { Role::Master } else { Role::Backup },
        since: Instant::ZERO,
        master: None,
        master_priority: None,
        priority: 100,
        interval: Duration::from_secs(1),
    };
    let named = |name: &str| (name.parse().expect("a name"), status(name));
    Roles { routers: ["web", "dns"].into_iter().map(named).collect() }
}

fn held(masters: &[&str]) -> Vec<String> {
    let mut held: Vec<String> = addressing(&farm(), &roles(masters))
        .addresses
        .into_iter()
        .map(|(key, kind)| format!("{} {} {kind:?}", key.interface, key.prefix))
        .collect();
    held.sort();
    held
}

#[test]
fn a_backup_holds_its_own_addresses_and_nothing_else() {
    assert_eq!(held(&[]), ["eth0 192.0.2.11/24 Own"]);
}

#[test]
fn a_master_also_holds_its_virtual_addresses_each_on_its_interface_with_its_prefix() {
    assert_eq!(
        held(&["web"]),
        ["eth0 192.0.2.100/24 Virtual", "eth0 192.0.2.11/24 Own", "eth1 10.1.0.1/16 Virtual"]
    );
    assert_eq!(held(&["dns"]), ["eth0 192.0.2.101/32 Virtual", "eth0 192.0.2.11/24 Own"]);
}

#[test]
fn a_virtual_router_in_fault_holds_nothing_virtual() {
    let mut faulty = roles(&["web", "dns"]);
    for status in faulty.routers.values_mut() {
        status.role = Role::Fault("interface eth0 does not exist".into());
    }
    let addresses = addressing(&farm(), &faulty).addresses;
    assert!(addresses.values().all(|kind| *kind == AddressKind::Own), "{addresses:?}");
}

#[test]
fn routes_do_not_depend_on_the_role() {
    for masters in [&[][..], &["web", "dns"]] {
        let routes = addressing(&farm(), &roles(masters)).routes;
        assert_eq!(
            routes,
            HashMap::from([("0.0.0.0/0".parse().expect("a prefix"), IpAddr::from([192, 0, 2, 1]))])
        );
    }
}

#[test]
fn an_owner_keeps_its_address_in_every_role_and_announces_it_as_master() {
    let mut config = farm();
    let web = config.vrrp.get_mut("web".parse::<Name>().as_ref().expect("a name")).expect("there");
    web.addresses.truncate(0);
    web.addresses.push(crate::config::model::VirtualAddress::Here("192.0.2.11".parse().expect("a prefix")));
    for (masters, kind) in [(&[][..], AddressKind::Own), (&["web"], AddressKind::Owned)] {
        let addresses = addressing(&config, &roles(masters)).addresses;
        let own: AddressKey = AddressKey {
            interface: "eth0".parse().expect("a name"),
            prefix: "192.0.2.11/24".parse().expect("a prefix"),
        };
        assert_eq!(addresses, HashMap::from([(own, kind)]));
        assert_eq!(kind.is_announced(), !masters.is_empty());
    }
}

#[test]
fn roles_are_known_when_every_virtual_router_has_one() {
    let config = farm();
    assert!(!roles_known(&config, &Roles::default()));
    assert!(roles_known(&config, &roles(&[])));
    assert!(roles_known(&Config::default(), &Roles::default()));
}

/// The destinations of the service `web`, with the given servers down.
fn web(down: &[&str]) -> Vec<(String, u16)> {
    let table =
        ipvs(&farm(), &Overrides::default(), |target| !down.contains(&target.address.to_string().as_str()));
    let key = ServiceKey::Address { protocol: 6, address: IpAddr::from([192, 0, 2, 100]), port: 80 };
    let mut servers: Vec<(String, u16)> = table.services[&key]
        .destinations
        .iter()
        .map(|(key, destination)| {
            assert_eq!(destination.method, Method::DirectRoute);
            (key.address.to_string(), destination.weight)
        })
        .collect();
    servers.sort();
    servers
}

fn servers(list: &[(&str, u16)]) -> Vec<(String, u16)> {
    list.iter().map(|(address, weight)| ((*address).to_owned(), *weight)).collect()
}

#[test]
fn a_real_server_that_is_down_leaves_and_the_others_keep_their_weights() {
    assert_eq!(web(&[]), servers(&[("10.1.0.21", 3), ("10.1.0.22", 1), ("10.1.0.23", 0)]));
    assert_eq!(web(&["10.1.0.21:80"]), servers(&[("10.1.0.22", 1), ("10.1.0.23", 0)]));
}

#[test]
fn the_sorry_server_stands_in_when_no_real_server_takes_new_connections() {
    let both = ["10.1.0.21:80", "10.1.0.22:80"];
    assert_eq!(web(&both), servers(&[("10.1.0.23", 0), ("10.1.0.99", 1)]));
    let all = ["10.1.0.21:80", "10.1.0.22:80", "10.1.0.23:80"];
    assert_eq!(web(&all), servers(&[("10.1.0.99", 1)]));
}

#[test]
fn a_real_server_without_check_is_always_used() {
    let table = ipvs(&farm(), &Overrides::default(), |_| false);
    let key = ServiceKey::Address { protocol: 17, address: IpAddr::from([192, 0, 2, 101]), port: 53 };
    let service = &table.services[&key];
    assert_eq!(service.scheduler.as_str(), "sh");
    assert_eq!(service.persistence, None);
    let only = DestinationKey { address: IpAddr::from([10, 1, 0, 53]), port: 53 };
    let masqueraded = Destination { method: Method::Masquerade, weight: 1 };
    assert_eq!(service.destinations, HashMap::from([(only, masqueraded)]));
}

#[test]
fn both_sync_daemons_run_with_the_same_parameters() {
    let table = ipvs(&farm(), &Overrides::default(), |_| true);
    let daemon = SyncDaemon {
        interface: "eth1".parse().expect("a name"),
        id: 7,
        group: Ipv4Addr::new(224, 0, 0, 81),
        port: 8848,
    };
    let both = HashMap::from([(SyncRole::Master, daemon.clone()), (SyncRole::Backup, daemon)]);
    assert_eq!(table.sync, both);
    assert!(ipvs(&Config::default(), &Overrides::default(), |_| true).sync.is_empty());
}

#[test]
fn the_virtual_routers_keep_the_configured_order_of_their_addresses() {
    let routers = routers(&farm(), &Overrides::default());
    let web = routers.iter().find(|r| r.name.as_str() == "web").expect("there");
    let addresses: Vec<String> = web.addresses.iter().map(|(i, a)| format!("{i} {a}")).collect();
    assert_eq!(addresses, ["eth0 192.0.2.100", "eth1 10.1.0.1"]);
    assert_eq!((web.vrid.get(), web.family, routers.len()), (51, Family::V4, 2));
}
