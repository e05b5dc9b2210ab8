//! VLAN interfaces and MTUs: wanted by the configuration, found in the kernel, and the operations between.
//!
//! What is ours carries a mark, so that it can go again: a VLAN interface has our link group from its making on, and
//! a port whose MTU was changed has the one before noted in its alias. What somebody else made is used as it is when
//! it is what the configuration says, and is a problem to be told when it is not; it is never removed.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::config::model::Vlan;
use crate::net::{IfName, Mtu};

/// `IFLA_GROUP` of VLAN interfaces that this program made: the number that marks its addresses and routes too.
pub const GROUP: u32 = 112;
/// Begin of the alias of a port whose MTU was changed; the MTU before follows.
const ALIAS: &str = "bascule: mtu was ";

/// An interface of the kernel as far as it concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Index of the interface below and VLAN id, of a VLAN interface.
    pub vlan: Option<(u32, u16)>,
    /// `IFLA_GROUP`.
    pub group: u32,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// `ip link set alias`.
    pub alias: Option<String>,
}

impl Link {
    /// The MTU before it was changed here.
    #[must_use]
    pub fn mtu_before(&self) -> Option<u32> {
        self.alias.as_deref()?.strip_prefix(ALIAS)?.parse().ok()
    }

    fn is_ours(&self) -> bool {
        self.vlan.is_some() && self.group == GROUP
    }
}

/// The alias that notes an MTU.
#[must_use]
pub fn alias(mtu: u32) -> String {
    format!("{ALIAS}{mtu}")
}

/// One change to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOp {
    /// Make a VLAN interface on the interface with this index.
    Create {
        /// Its name.
        name: IfName,
        /// Index of the interface below.
        parent: u32,
        /// VLAN id.
        id: u16,
        /// Its MTU, in bytes.
        mtu: u32,
    },
    /// Remove an interface of ours.
    Delete(u32),
    /// Set the MTU in bytes of the interface with this index.
    SetMtu {
        /// Kernel index.
        index: u32,
        /// In bytes.
        mtu: u32,
        /// The alias it gets with that: empty for none, `None` to leave it.
        alias: Option<String>,
    },
}

/// Interfaces of the kernel by name, each with its index.
pub type Found = BTreeMap<IfName, (u32, Link)>;

/// The operations that turn `found` into what `config` says, and what stands in the way. Nothing is removed unless
/// `sure`: whoever has just started may not know yet what is in use.
///
/// Removals come first (a VLAN has one interface), then ports, then VLANs: those cannot carry more than their port.
#[must_use]
pub fn ops(config: &Config, found: &Found, sure: bool) -> (Vec<LinkOp>, Vec<String>) {
    let mut plan = Plan { config, found, sure, ops: Vec::new(), problems: Vec::new() };
    plan.surplus();
    plan.ports();
    for (name, interface) in &config.interface {
        if let Some(vlan) = &interface.vlan {
            plan.vlan(name, vlan, interface.mtu);
        }
    }
    (plan.ops, plan.problems)
}

struct Plan<'a> {
    config: &'a Config,
    found: &'a Found,
    sure: bool,
    ops: Vec<LinkOp>,
    problems: Vec<String>,
}

impl Plan<'_> {
    /// The VLAN that the configuration wants under this name.
    fn wanted(&self, name: &IfName) -> Option<&Vlan> {
        self.config.interface.get(name)?.vlan.as_ref()
    }

    /// Whether `link` is this VLAN.
    fn is(&self, link: &Link, vlan: &Vlan) -> bool {
        let parent = self.found.get(&vlan.parent).map(|(index, _)| *index);
        parent.is_some_and(|parent| link.vlan == Some((parent, vlan.id.get())))
    }

    fn surplus(&mut self) {
        for (name, (index, link)) in self.found {
            let differs = self.wanted(name).is_none_or(|vlan| !self.is(link, vlan));
            if self.sure && link.is_ours() && differs {
                self.ops.push(LinkOp::Delete(*index));
            }
        }
    }

    /// The MTU that a port has once all is done.
    fn port_mtu(&self, name: &IfName) -> Option<u32> {
        let (_, link) = self.found.get(name)?;
        let configured = self.config.interface.get(name).and_then(|interface| interface.mtu);
        Some(configured.map_or_else(|| link.mtu_before().unwrap_or(link.mtu), |mtu| u32::from(mtu.get())))
    }

    fn ports(&mut self) {
        for (name, (index, link)) in self.found {
            if link.is_ours() || self.wanted(name).is_some() {
                continue;
            }
            let Some(mtu) = self.port_mtu(name) else { continue };
            let configured = self.config.interface.get(name).is_some_and(|interface| interface.mtu.is_some());
            let alias = match (configured, link.mtu_before()) {
                (true, Some(_)) | (false, None) => None,
                (true, None) => Some(alias(link.mtu)),
                (false, Some(_)) => Some(String::new()),
            };
            // The driver's choice may be what is configured.
            if mtu != link.mtu || (!configured && alias.is_some()) {
                self.ops.push(LinkOp::SetMtu { index: *index, mtu, alias });
            }
        }
    }

    fn vlan(&mut self, name: &IfName, vlan: &Vlan, mtu: Option<Mtu>) {
        // That it is missing is told where interfaces are.
        let Some((parent, _)) = self.found.get(&vlan.parent) else { return };
        let mtu = mtu.map_or_else(|| self.port_mtu(&vlan.parent), |mtu| Some(u32::from(mtu.get())));
        let Some(mtu) = mtu else { return };
        let create = LinkOp::Create { name: name.clone(), parent: *parent, id: vlan.id.get(), mtu };
        match self.found.get(name) {
            None => self.ops.push(create),
            Some((index, link)) if self.is(link, vlan) => {
                if link.mtu != mtu {
                    self.ops.push(LinkOp::SetMtu { index: *index, mtu, alias: None });
                }
            }
            Some((_, link)) if link.is_ours() => {
                if self.sure {
                    self.ops.push(create);
                }
            }
            Some(_) => self.problems.push(format!(
                "interface {name} is there already and is not VLAN {} of {}: give this one another name",
                vlan.id, vlan.parent
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "test").unwrap_or_else(|problems| panic!("{problems:?}")).config
    }

    fn name(text: &str) -> IfName {
        text.parse().unwrap()
    }

    /// Two ports of 1500 bytes, with the index 2 and 3.
    fn ports() -> Found {
        let port = |index| (index, Link { mtu: 1_500, ..Link::default() });
        [(name("eth0"), port(2)), (name("eth1"), port(3))].into()
    }

    /// What the kernel makes of operations.
    fn carry_out(found: &mut Found, ops: &[LinkOp]) {
        for op in ops {
            match op {
                LinkOp::Create { name, parent, id, mtu } => {
                    assert!(!found.contains_key(name), "{name} exists: EEXIST");
                    let taken = found.values().any(|(_, link)| link.vlan == Some((*parent, *id)));
                    assert!(!taken, "VLAN {id} has an interface: EEXIST");
                    let carrier = found.values().find(|(index, _)| index == parent).unwrap();
                    assert!(*mtu <= carrier.1.mtu, "ERANGE");
                    let index = found.values().map(|(index, _)| *index).max().unwrap() + 1;
                    let link = Link { vlan: Some((*parent, *id)), group: GROUP, mtu: *mtu, alias: None };
                    found.insert(name.clone(), (index, link));
                }
                LinkOp::Delete(index) => found.retain(|_, (i, _)| i != index),
                LinkOp::SetMtu { index, mtu, alias } => {
                    let (_, link) = found.values_mut().find(|(i, _)| i == index).unwrap();
                    link.mtu = *mtu;
                    if let Some(alias) = alias {
                        link.alias = (!alias.is_empty()).then(|| alias.clone());
                    }
                }
            }
        }
    }

    fn settle(found: &mut Found, text: &str) -> Vec<LinkOp> {
        let config = config(text);
        let (first, problems) = ops(&config, found, true);
        assert_eq!(problems, Vec::<String>::new());
        carry_out(found, &first);
        assert_eq!(ops(&config, found, true), (vec![], vec![]), "done in one pass");
        first
    }

    const VLAN: &str = "[interface.\"eth0.7\"]\nvlan = { parent = \"eth0\", id = 7 }\n";

    #[test]
    fn a_vlan_is_made_changed_and_removed_and_leaves_the_ports_as_they_were() {
        let mut found = ports();
        let create = LinkOp::Create { name: name("eth0.7"), parent: 2, id: 7, mtu: 1_500 };
        assert_eq!(settle(&mut found, VLAN), [create]);
        // Another id, another parent: it is made anew.
        assert_eq!(settle(&mut found, &VLAN.replace("id = 7", "id = 8")).len(), 2);
        assert_eq!(settle(&mut found, &VLAN.replace("\"eth0\"", "\"eth1\"")).len(), 2);
        settle(&mut found, "");
        assert_eq!(found, ports());
    }

    #[test]
    fn two_vlans_may_change_places() {
        let two = |a: u16, b: u16| {
            format!(
                "[interface.a]\nvlan = {{ parent = \"eth0\", id = {a} }}\n\
                 [interface.b]\nvlan = {{ parent = \"eth0\", id = {b} }}\n"
            )
        };
        let mut found = ports();
        settle(&mut found, &two(1, 2));
        assert_eq!(settle(&mut found, &two(2, 1)).len(), 4);
    }

    #[test]
    fn an_mtu_goes_back_to_what_it_was_and_a_vlan_follows_its_port() {
        let mut found = ports();
        settle(&mut found, &format!("{VLAN}[interface.eth0]\nmtu = 9000\n"));
        assert_eq!((found[&name("eth0")].1.mtu, found[&name("eth0.7")].1.mtu), (9_000, 9_000));
        settle(&mut found, &format!("{VLAN}mtu = 1400\n[interface.eth0]\nmtu = 8000\n"));
        assert_eq!((found[&name("eth0")].1.mtu, found[&name("eth0.7")].1.mtu), (8_000, 1_400));
        settle(&mut found, VLAN);
        assert_eq!((found[&name("eth0")].1.mtu, found[&name("eth0.7")].1.mtu), (1_500, 1_500));
        settle(&mut found, "");
        assert_eq!(found, ports());
    }

    #[test]
    fn any_way_leads_to_the_state_of_a_fresh_start() {
        let texts = [
            String::new(),
            VLAN.to_owned(),
            format!("{VLAN}mtu = 1300\n"),
            format!("{VLAN}[interface.eth0]\nmtu = 9000\n"),
            "[interface.eth1]\nmtu = 1500\n".to_owned(),
            "[interface.eth1]\nmtu = 2000\n[interface.x]\nvlan = { parent = \"eth1\", id = 7 }\n".to_owned(),
        ];
        let shape = |found: &Found| -> Vec<_> {
            found.iter().map(|(name, (_, link))| (name.clone(), link.mtu, link.vlan, link.group)).collect()
        };
        for last in &texts {
            let mut fresh = ports();
            settle(&mut fresh, last);
            for first in &texts {
                for second in &texts {
                    let mut found = ports();
                    for text in [first, second, last] {
                        settle(&mut found, text);
                    }
                    assert_eq!(shape(&found), shape(&fresh), "{first:?} {second:?} {last:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_of_others_is_removed_and_what_is_in_the_way_is_told() {
        let mut found = ports();
        let foreign = Link { vlan: Some((2, 7)), mtu: 1_500, ..Link::default() };
        found.insert(name("eth0.7"), (9, foreign));
        assert_eq!(ops(&config(""), &found, true), (vec![], vec![]));
        assert_eq!(ops(&config(VLAN), &found, true), (vec![], vec![]), "as it should be, whoever made it");
        let (nothing, problems) = ops(&config(&VLAN.replace("id = 7", "id = 8")), &found, true);
        assert_eq!(nothing, []);
        assert!(problems[0].contains("is not VLAN 8 of eth0"), "{problems:?}");
    }

    #[test]
    fn an_agent_that_is_not_sure_removes_nothing() {
        let mut found = ports();
        settle(&mut found, VLAN);
        assert_eq!(ops(&config(""), &found, false), (vec![], vec![]));
        assert_eq!(ops(&config(&VLAN.replace("id = 7", "id = 8")), &found, false), (vec![], vec![]));
    }

    #[test]
    fn a_vlan_waits_for_its_port() {
        assert_eq!(ops(&config(VLAN), &Found::new(), true), (vec![], vec![]));
    }
}
