//! A terminal for the shell: a console of the box, or standard input and output.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::time::Duration;

use embedded_io::ErrorType;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{
    ControlFlags, InputFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr,
};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// What the shell needs of a terminal.
pub trait Terminal: embedded_io::Read<Error = io::Error> + embedded_io::Write<Error = io::Error> {
    /// Waits for input, at most `timeout`; whether there is some (the end counts).
    ///
    /// # Errors
    /// When the terminal is gone.
    fn wait(&mut self, timeout: Duration) -> io::Result<bool>;
}

/// A terminal of the system, in raw mode. Its mode is restored when this value goes.
#[derive(Debug)]
pub struct Tty {
    input: File,
    output: File,
    saved: Option<Termios>,
}

impl Tty {
    /// Standard input and output, which may also be pipes.
    ///
    /// # Errors
    /// When they are closed.
    pub fn standard() -> io::Result<Self> {
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Self::raw(input, output)
    }

    /// The console `/dev/NAME`, as controlling terminal of a new session.
    ///
    /// # Errors
    /// When there is no such terminal.
    pub fn console(name: &str) -> io::Result<Self> {
        // A session leader without terminal gets the first one it opens (tty_ioctl(4)). Started by hand this
        // process may lead its group already, which does no harm.
        let _ = setsid();
        let path = format!("/dev/{name}");
        let console = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot open {path}: {error}")))?;
        dup2_stdin(&console)?;
        dup2_stdout(&console)?;
        dup2_stderr(&console)?;
        Self::raw(console.try_clone()?, console)
    }

    fn raw(input: File, output: File) -> io::Result<Self> {
        let saved = tcgetattr(&input).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            cfmakeraw(&mut raw);
            // A stray Ctrl-S must not freeze the output; a BREAK is noise; the line outlives us.
            raw.input_flags.remove(InputFlags::IXON | InputFlags::IXOFF | InputFlags::PARMRK);
            raw.input_flags.insert(InputFlags::IGNBRK | InputFlags::IGNPAR);
            raw.control_flags.insert(ControlFlags::CLOCAL | ControlFlags::CREAD);
            raw.control_flags.remove(ControlFlags::HUPCL);
            raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            tcsetattr(&input, SetArg::TCSANOW, &raw)?;
        }
        Ok(Self { input, output, saved })
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // The terminal may be gone; then there is nothing to restore.
            let _ = tcsetattr(&self.input, SetArg::TCSADRAIN, saved);
        }
    }
}

impl ErrorType for Tty {
    type Error = io::Error;
}

impl embedded_io::Read for Tty {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other side of a pty is gone.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                result => return result,
            }
        }
    }
}

impl embedded_io::Write for Tty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.output.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl Terminal for Tty {
    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::{AgentAt, Shell};
    use nix::pty::openpty;

    fn mode(terminal: &impl AsFd) -> Termios {
        tcgetattr(terminal).unwrap()
    }

    #[test]
    fn a_terminal_is_raw_without_flow_control_while_it_is_used_and_as_before_afterwards() {
        let pty = openpty(None, None).unwrap();
        let before = mode(&pty.slave);
        assert!(before.input_flags.contains(InputFlags::IXON));
        let slave = File::from(pty.slave.try_clone().unwrap());
        let tty = Tty::raw(slave.try_clone().unwrap(), slave).unwrap();
        let during = mode(&pty.slave);
        assert!(!during.input_flags.intersects(InputFlags::IXON | InputFlags::PARMRK | InputFlags::ICRNL));
        assert!(during.control_flags.contains(ControlFlags::CLOCAL));
        // What waits to be sent would hold the restoring up.
        drop(tty);
        let after = mode(&pty.slave);
        assert_eq!(after.input_flags, before.input_flags);
        assert_eq!(after.local_flags, before.local_flags);
        assert_eq!(after.output_flags, before.output_flags);
    }

    #[test]
    fn a_shell_on_a_pty_answers_byte_by_byte_and_ends_with_it() {
        let pty = openpty(None, None).unwrap();
        let slave = File::from(pty.slave);
        let tty = Tty::raw(slave.try_clone().unwrap(), slave).unwrap();
        let shell = std::thread::spawn(move || Shell::new(tty, AgentAt("/nonexistent".into()), false).run());
        let mut master = File::from(pty.master);
        for byte in b"show version\r\x04" {
            master.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        shell.join().unwrap().unwrap();
        let mut seen = Vec::new();
        // With nobody on the other side the last read fails.
        let _ = master.read_to_end(&mut seen);
        let text = String::from_utf8(seen).unwrap();
        assert!(text.contains("(NO AGENT)> show version\r\nBascule "), "{text}");
        assert_eq!(text.matches("(NO AGENT)> ").count(), 2, "{text}");
    }
}
