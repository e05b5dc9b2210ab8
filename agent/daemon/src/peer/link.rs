//! The driving end of the channel: asks the other box, connects again where that does no harm.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bascule_core::config::Config;
use bascule_core::control::{Reply, Request};
use bascule_core::net::IfName;
use bascule_core::pair::message::{Answer, Ask, LANGUAGE, PART, Plan, Work};
use bascule_core::pair::{Side, System};
use socket2::{Domain, Protocol, Socket, Type};

use super::channel::{Channel, ChannelError, End};
use super::key::Key;
use super::sight::Connections;
use crate::shell::Agent;
use crate::update::{Got, Source};

/// The other box may take so long to accept a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// It may take so long to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// It may read back a slot for so long without a word.
const WORK: Duration = Duration::from_secs(300);
/// Between two looks at whether somebody wants an install to end.
const LOOK: Duration = Duration::from_millis(250);

/// Where the other box is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The other box.
    pub peer: SocketAddr,
    /// This one.
    pub own: IpAddr,
    /// Between them.
    pub interface: Option<IfName>,
}

impl Way {
    /// By the running configuration; `None` when it has no `[peer]`.
    ///
    /// # Errors
    /// When nobody tells the configuration.
    pub fn find(agent: &dyn Agent) -> Result<Option<Self>, String> {
        let text = match agent.ask(&Request::Configuration) {
            Ok(Reply::Lines(lines)) => lines.join("\n"),
            Ok(_) => return Err("the agent answered another question".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let checked = Config::parse(&text, "the running configuration");
        Ok(checked.ok().and_then(|checked| Self::of(&checked.config)))
    }

    fn of(config: &Config) -> Option<Self> {
        let peer = config.peer.as_ref()?;
        let own = peer.own(config)?;
        let address = SocketAddr::new(peer.address, peer.port.get());
        Some(Self { peer: address, own, interface: Some(peer.interface.clone()) })
    }

    /// A socket that speaks on this way only.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn socket(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.peer), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_str().as_bytes()))?;
        }
        Ok(socket)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = self.socket()?;
        socket.bind(&SocketAddr::new(self.own, 0).into())?;
        socket.connect_timeout(&self.peer.into(), CONNECT)?;
        Ok(socket.into())
    }
}

/// Asks the other box.
#[derive(Debug)]
pub struct Link {
    way: Way,
    key: Key,
    channel: Option<Channel>,
}

impl Link {
    /// Not connected yet.
    pub const fn new(way: Way, key: Key) -> Self {
        Self { way, key, channel: None }
    }

    fn connect(&self) -> Result<Channel, String> {
        let peer = self.way.peer;
        let stream = self.way.connect().map_err(|error| {
            format!("{peer} does not answer ({error}): is it up, and do both boxes have [peer] and a key?")
        })?;
        let failed = |error: ChannelError| format!("{peer}: {error}");
        let mut channel = Channel::open(stream, &self.key, End::Caller).map_err(failed)?;
        channel.send(&Ask::Hello(LANGUAGE)).map_err(failed)?;
        match channel.expect::<Answer>(ANSWER).map_err(failed)? {
            Answer::Hello(_) => Ok(channel),
            Answer::Refused(reason) => Err(format!("{peer}: {reason}")),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks once; whether the connection is still of use is for the caller to say.
    fn ask_on(channel: &mut Channel, ask: &Ask) -> Result<Answer, ChannelError> {
        channel.send(ask)?;
        channel.expect(ANSWER)
    }

    /// Asks what may be asked twice: an old connection may have been closed meanwhile.
    fn ask(&mut self, ask: &Ask) -> Result<Answer, String> {
        if let Some(mut channel) = self.channel.take()
            && let Ok(answer) = Self::ask_on(&mut channel, ask)
        {
            self.channel = Some(channel);
            return Ok(answer);
        }
        let mut channel = self.connect()?;
        let answer = Self::ask_on(&mut channel, ask).map_err(|error| error.to_string())?;
        self.channel = Some(channel);
        Ok(answer)
    }

    /// How the other box stands.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn look(&mut self) -> Result<Side, String> {
        match self.ask(&Ask::Look)? {
            Answer::Side(side) => Ok(*side),
            Answer::Refused(reason) => Err(format!("{}: {reason}", self.way.peer)),
            other => Err(unexpected(&other)),
        }
    }

    /// The connections that the other box knows.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn connections(&mut self) -> Result<Connections, String> {
        let mut all = Connections::default();
        let mut answer = self.ask(&Ask::Connections)?;
        loop {
            match answer {
                Answer::Connections { hashes, more } => {
                    hashes.into_iter().for_each(|hash| all.put(hash));
                    if !more {
                        return Ok(all);
                    }
                }
                Answer::Refused(reason) => return Err(format!("{}: {reason}", self.way.peer)),
                other => return Err(unexpected(&other)),
            }
            let channel = self.channel.as_mut().ok_or("the connection is gone")?;
            answer = channel.expect(ANSWER).map_err(|error| error.to_string())?;
        }
    }

    /// Tells the other box what to say of the update.
    pub fn note(&mut self, plan: &Plan) {
        if let Err(error) = self.ask(&Ask::Note(plan.clone())) {
            tracing::debug!("the other box was not told: {error}");
        }
    }

    /// Restarts the other box into the installed system.
    ///
    /// # Errors
    /// Why it does not.
    pub fn activate(&mut self) -> Result<(), String> {
        // Not twice: a broken connection may mean that it restarts.
        self.channel = None;
        let mut channel = self.connect()?;
        match Self::ask_on(&mut channel, &Ask::Activate).map_err(|error| error.to_string())? {
            Answer::Done => Ok(()),
            Answer::Refused(reason) => Err(format!("{}: {reason}", self.way.peer)),
            other => Err(unexpected(&other)),
        }
    }

    /// Installs a bundle there. `watch` is told how far it is and says whether it shall go on.
    ///
    /// # Errors
    /// Why it is not installed; `None` when it was `watch`.
    pub fn install(
        &mut self,
        user: &str,
        older: bool,
        source: &mut dyn Source,
        watch: &mut dyn FnMut(Option<(Work, u64, u64)>) -> bool,
    ) -> Result<System, Option<String>> {
        self.channel = None;
        let broke = |error: ChannelError| Some(error.to_string());
        let mut channel = self.connect().map_err(Some)?;
        let begin = Ask::Install { user: user.to_owned(), length: source.length(), older };
        channel.send(&begin).map_err(broke)?;
        let mut heard = Instant::now();
        loop {
            if !watch(None) {
                return Err(None);
            }
            let Some(answer) = channel.receive::<Answer>(LOOK).map_err(broke)? else {
                match heard.elapsed() < WORK {
                    true => continue,
                    false => return Err(broke(ChannelError::Stalled(WORK))),
                }
            };
            heard = Instant::now();
            match answer {
                Answer::Want(most) => {
                    let part = read_part(source, most, watch)?;
                    channel.send(&Ask::Part(part)).map_err(broke)?;
                }
                Answer::Rewind(to) => {
                    let done = source.rewind(to).map_err(|error| Some(error.to_string()))?;
                    channel.send(&Ask::Rewound(done)).map_err(broke)?;
                }
                Answer::Progress { step, done, total } => {
                    watch(Some((step, done, total)));
                }
                Answer::Installed(system) => return Ok(system),
                Answer::Refused(reason) => return Err(Some(format!("{}: {reason}", self.way.peer))),
                other @ (Answer::Hello(_) | Answer::Side(_) | Answer::Done | Answer::Connections { .. }) => {
                    return Err(Some(unexpected(&other)));
                }
            }
        }
    }
}

/// The next bytes; none at the end.
fn read_part(
    source: &mut dyn Source,
    most: u32,
    watch: &mut dyn FnMut(Option<(Work, u64, u64)>) -> bool,
) -> Result<Vec<u8>, Option<String>> {
    let most = usize::try_from(most).unwrap_or(PART).clamp(1, PART);
    let mut bytes = vec![0; most];
    loop {
        match source.read(&mut bytes).map_err(|error| Some(error.to_string()))? {
            Got::Bytes(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Got::End => return Ok(Vec::new()),
            Got::Waiting if watch(None) => {}
            Got::Waiting => return Err(None),
        }
    }
}

fn unexpected(answer: &Answer) -> String {
    let word = match answer {
        Answer::Hello(_) => "hello",
        Answer::Side(_) => "its standing",
        Answer::Want(_) => "that it wants more",
        Answer::Rewind(_) => "that it goes back",
        Answer::Progress { .. } => "how far it is",
        Answer::Installed(_) => "that it is installed",
        Answer::Done => "that it is done",
        Answer::Refused(reason) => reason,
        Answer::Connections { .. } => "connections",
    };
    format!("the other box answered another question ({word}): it is of another release")
}
