//! One Ethernet segment: a bridge in a namespace, with ports for hosts (veth) and machines (tap).

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::{Netns, run};

/// The interface of a host, whatever the segment calls its port.
const HOST_INTERFACE: &str = "eth0";

/// A unicast Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// An address of QEMU's range, told apart by its last byte.
    #[must_use]
    pub const fn guest(number: u8) -> Self {
        Self([0x52, 0x54, 0x00, 0xba, 0x5c, number])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A port of a segment that QEMU opens as a tap; QEMU must run in the segment's namespace.
#[derive(Clone, Debug)]
pub struct Tap {
    /// Interface name in the segment's namespace; also the port's name.
    pub name: String,
    /// The guest's address.
    pub mac: Mac,
}

/// A namespace with `eth0` on a segment.
#[derive(Debug)]
pub struct Host {
    /// The namespace.
    pub netns: Netns,
    /// Name of the port on the segment.
    pub port: String,
}

/// A hand on the cable of a port, see [`Segment::grip`].
#[derive(Debug)]
pub struct Grip {
    shell: Child,
    go: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Grip {
    /// Pulls the cable; it is out when this returns.
    ///
    /// # Errors
    /// The port is gone.
    pub fn pull(mut self) -> Result<()> {
        self.go.write_all(b"\n")?;
        self.hear("done")
    }

    fn hear(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line.trim() == word, "the shell at a port said {line:?} instead of {word:?}");
        Ok(())
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// An Ethernet switch: a bridge that floods multicast and forwards from the first moment.
#[derive(Debug)]
pub struct Segment {
    netns: Netns,
}

impl Segment {
    /// Makes an empty segment.
    ///
    /// # Errors
    /// `ip` failed.
    pub fn new(role: &str) -> Result<Self> {
        let netns = Netns::new(role)?;
        netns.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        // Snooping would need a querier; a forwarding delay would look like an outage of the boxes.
        netns.ip("link add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0")?;
        netns.ip("link set br0 up")?;
        Ok(Self { netns })
    }

    /// The namespace of the switch, where QEMU has to run.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Adds a port for a machine.
    ///
    /// # Errors
    /// `ip` failed, or the name is longer than an interface name can be.
    pub fn tap(&self, name: &str, mac: Mac) -> Result<Tap> {
        let tap = Tap { name: name.to_owned(), mac };
        ensure!(name.len() <= 15, "port name {name} is longer than 15 characters");
        self.netns.ip(&format!("tuntap add dev {name} mode tap"))?;
        self.netns.ip(&format!("link set dev {name} master br0 up"))?;
        Ok(tap)
    }

    /// Adds a host: a namespace whose `eth0` has these addresses (with prefix length).
    ///
    /// # Errors
    /// `ip` failed, or the role is longer than an interface name can be.
    pub fn host(&self, role: &str, addresses: &[&str]) -> Result<Host> {
        let netns = Netns::new(role)?;
        self.attach(&netns, HOST_INTERFACE, role, addresses)?;
        Ok(Host { netns, port: role.to_owned() })
    }

    /// Connects `interface` of a namespace to a new port of this segment.
    ///
    /// # Errors
    /// `ip` failed, or the port's name is longer than an interface name can be.
    pub fn attach(&self, netns: &Netns, interface: &str, port: &str, addresses: &[&str]) -> Result<()> {
        ensure!(port.len() <= 15, "port name {port} is longer than 15 characters");
        self.netns
            .ip(&format!("link add name {port} type veth peer name {interface} netns {}", netns.name()))?;
        self.netns.ip(&format!("link set dev {port} master br0 up"))?;
        netns.ip(&format!("link set dev {interface} up"))?;
        for address in addresses {
            netns.ip(&format!("address add {address} dev {interface}"))?;
        }
        Ok(())
    }

    /// Pulls the cable of a port: its other end loses carrier.
    ///
    /// # Errors
    /// No such port.
    pub fn unplug(&self, port: &str) -> Result<()> {
        self.netns.ip(&format!("link set dev {port} down"))
    }

    /// Makes ready to pull the cable of a port at a moment of one's choice, exact to a fraction of a millisecond.
    ///
    /// # Errors
    /// The waiting shell cannot be started.
    pub fn grip(&self, port: &str) -> Result<Grip> {
        let script = r#"file=/sys/class/net/$0/flags; read flags <$file; echo ready; read go; echo $((flags & ~1)) >$file; echo done"#;
        let mut command = self.netns.command("sh");
        command.args(["-c", script, port]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().context("cannot start sh")?;
        let (Some(go), Some(said)) = (shell.stdin.take(), shell.stdout.take()) else {
            bail!("sh has no pipes")
        };
        let mut grip = Grip { shell, go, said: BufReader::new(said) };
        grip.hear("ready")?;
        Ok(grip)
    }

    /// Plugs the cable in again.
    ///
    /// # Errors
    /// No such port.
    pub fn plug(&self, port: &str) -> Result<()> {
        self.netns.ip(&format!("link set dev {port} up"))
    }

    /// Cuts a port off silently: nothing passes, yet the carrier stays, as when a switch further away fails.
    ///
    /// # Errors
    /// No such port.
    pub fn isolate(&self, port: &str) -> Result<()> {
        self.port_state(port, "0")
    }

    /// Ends [`Segment::isolate`].
    ///
    /// # Errors
    /// No such port, or it is unplugged.
    pub fn heal(&self, port: &str) -> Result<()> {
        self.port_state(port, "3")
    }

    fn port_state(&self, port: &str, state: &str) -> Result<()> {
        run("bridge", &["-n", self.netns.name(), "link", "set", "dev", port, "state", state])
    }
}
