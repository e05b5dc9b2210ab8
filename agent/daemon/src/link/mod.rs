//! Sockets and interfaces: VRRP over raw IP, announcements over Ethernet, and what the kernel says of links.

pub mod announce;
pub mod picture;
pub mod socket;
pub mod watch;
