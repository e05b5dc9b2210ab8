//! Real servers and the client's requests: each line is answered with the server's name before it.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_image::net::{Host, Netns, Segment};
use nix::sys::socket::{setsockopt, sockopt};

use super::park::{PORT, VIP_V4, VIP_V6};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A real server: TCP and UDP, IPv4 and IPv6.
pub struct Server {
    /// Its name in every answer.
    pub name: String,
    /// Its namespace.
    pub host: Host,
    /// Addresses it answers UDP from: its own behind NAT, the virtual ones with direct routing.
    udp: Vec<IpAddr>,
    stop: Option<Arc<AtomicBool>>,
}

impl Server {
    /// Behind the directors, which are its gateway.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn behind(back: &Segment, number: u8) -> Result<Self> {
        let addresses = [format!("10.10.0.{number}/24"), format!("2001:db8:10::{number}/64")];
        let host = back.host(&format!("nat{number}"), &[&addresses[0], &addresses[1]])?;
        host.netns.ip("route add default via 10.10.0.100")?;
        host.netns.ip("-6 route add default via 2001:db8:10::100")?;
        let udp = [format!("10.10.0.{number}"), format!("2001:db8:10::{number}")];
        Self::made(format!("nat{number}"), host, &udp)
    }

    /// Beside the directors, with the virtual addresses on its loopback.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn beside(front: &Segment, number: u8) -> Result<Self> {
        let addresses = [format!("10.9.0.{number}/24"), format!("2001:db8:9::{number}/64")];
        let host = front.host(&format!("dr{number}"), &[&addresses[0], &addresses[1]])?;
        host.netns.sysctl("ipv4/conf/all/arp_ignore", "1")?;
        host.netns.sysctl("ipv4/conf/all/arp_announce", "2")?;
        host.netns.ip(&format!("address add {VIP_V4}/32 dev lo"))?;
        host.netns.ip(&format!("address add {VIP_V6}/128 dev lo"))?;
        Self::made(format!("dr{number}"), host, &[VIP_V4.to_owned(), VIP_V6.to_owned()])
    }

    fn made(name: String, host: Host, udp: &[String]) -> Result<Self> {
        let udp = udp.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
        let mut server = Self { name, host, udp, stop: None };
        server.start()?;
        Ok(server)
    }

    /// Starts to listen, if it does not.
    ///
    /// # Errors
    /// A port is taken.
    pub fn start(&mut self) -> Result<()> {
        if self.stop.is_some() {
            return Ok(());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let listen = || -> Result<_> {
            // Both families on one socket; std sets SO_REUSEADDR.
            let tcp = TcpListener::bind(("::", PORT)).context("cannot listen")?;
            let udp = self.udp.iter().map(|address| UdpSocket::bind((*address, PORT)));
            Ok((tcp, udp.collect::<Result<Vec<_>, _>>().context("cannot listen for datagrams")?))
        };
        let (tcp, udp) = self.host.netns.enter(listen)??;
        tcp.set_nonblocking(true)?;
        let (name, flag) = (self.name.clone(), stop.clone());
        std::thread::spawn(move || accept(&tcp, &name, &flag));
        for socket in udp {
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            let (name, flag) = (self.name.clone(), stop.clone());
            std::thread::spawn(move || answer_datagrams(&socket, &name, &flag));
        }
        self.stop = Some(stop);
        Ok(())
    }

    /// Stops to listen; connections that are open stay.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.store(true, Ordering::Relaxed);
            // The listeners look at the flag twenty times a second.
            std::thread::sleep(Duration::from_millis(150));
        }
    }
}

fn accept(listener: &TcpListener, name: &str, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let name = name.to_owned();
                std::thread::spawn(move || answer_lines(stream, &name));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn answer_lines(stream: TcpStream, name: &str) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    let mut out = stream.try_clone().ok()?;
    for line in BufReader::new(stream).lines() {
        out.write_all(format!("{name} {}\n", line.ok()?).as_bytes()).ok()?;
    }
    Some(())
}

fn answer_datagrams(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut bytes = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let mut answer = format!("{name} ").into_bytes();
            answer.extend(&bytes[..length]);
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// A connection of the client.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects from the client's namespace.
    ///
    /// # Errors
    /// Refused, or no answer in time.
    pub fn open(client: &Netns, address: &str) -> Result<Self> {
        let to = SocketAddr::new(address.parse()?, PORT);
        let connect = || TcpStream::connect_timeout(&to, PATIENCE);
        let stream = client.enter(connect)?.with_context(|| format!("cannot connect to {to}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The client's end.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Waits longer or shorter for answers from now on.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn patience(&self, limit: Duration) -> Result<()> {
        Ok(self.stream.get_ref().set_read_timeout(Some(limit))?)
    }

    /// Ends the connection with RST: the kernel forgets it sooner than one that was closed.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn reset(self) -> Result<()> {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        Ok(setsockopt(self.stream.get_ref(), sockopt::Linger, &linger)?)
    }

    /// Sends a line and returns the name of the server that answers it.
    ///
    /// # Errors
    /// No answer, or a wrong one.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer).with_context(|| format!("no answer to {line:?}"))?;
        let (name, echo) = answer.trim_end().split_once(' ').with_context(|| format!("answer {answer:?}"))?;
        ensure!(echo == line, "answer {answer:?} to {line:?}");
        Ok(name.to_owned())
    }
}

/// One TCP request: connect, ask, close. The name of the server.
///
/// # Errors
/// Any of that fails.
pub fn request(client: &Netns, address: &str) -> Result<String> {
    Connection::open(client, address)?.ask("hello")
}

/// One datagram and its answer: the name of the server.
///
/// # Errors
/// No answer in time.
pub fn datagram(client: &Netns, address: &str) -> Result<String> {
    let to = SocketAddr::new(address.parse()?, PORT);
    let any: IpAddr = if to.is_ipv4() { "0.0.0.0".parse()? } else { "::".parse()? };
    let socket = client.enter(|| UdpSocket::bind((any, 0)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    socket.send(b"hello")?;
    let mut bytes = [0; 512];
    let length = socket.recv(&mut bytes).with_context(|| format!("no answer from {to} to a datagram"))?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}
