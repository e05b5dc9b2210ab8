//! The difference between wanted and found, as the operations that remove it.
//!
//! Order matters and is part of the answer: what carries traffic is added before what it replaces goes
//! (a sorry server before the last real server leaves, a changed weight before a removal).

use core::net::IpAddr;

use crate::desired::{
    AddressKey, AddressKind, Destination, DestinationKey, Service, ServiceKey, SyncDaemon, SyncRole,
};
use crate::net::Prefix;

/// One change to addresses or routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressOp {
    /// Add an address; a virtual one is announced as part of the operation.
    Add(AddressKey, AddressKind),
    /// Remove an address.
    Delete(AddressKey),
    /// Add or replace a route.
    SetRoute(Prefix, IpAddr),
    /// Remove a route.
    DeleteRoute(Prefix, IpAddr),
}

/// One change to IPVS; each maps to one generic netlink command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpvsOp {
    /// `NEW_SERVICE`, without its destinations.
    NewService(ServiceKey, Service),
    /// `SET_SERVICE`: scheduler and persistence.
    SetService(ServiceKey, Service),
    /// `DEL_SERVICE`, with its destinations.
    DeleteService(ServiceKey),
    /// `NEW_DEST`.
    NewDestination(ServiceKey, DestinationKey, Destination),
    /// `SET_DEST`: replaces every field.
    SetDestination(ServiceKey, DestinationKey, Destination),
    /// `DEL_DEST`.
    DeleteDestination(ServiceKey, DestinationKey),
    /// `NEW_DAEMON`.
    StartSync(SyncRole, SyncDaemon),
    /// `DEL_DAEMON`.
    StopSync(SyncRole),
}
