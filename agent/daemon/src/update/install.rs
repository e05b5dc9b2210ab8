//! Writes a bundle into the slot that does not run.
//!
//! The order makes every cut harmless: head first, judged before anything is written; the slot is `empty` in the record
//! before its first byte changes; its first 4 KiB, without which nothing boots from it, are zeroed first and written
//! last, when everything else was read back from the medium; the record says `installed` at the very end.

use std::io;

use bascule_core::bundle::{self, Head, Keys, Manifest, Older, Payload, Refused, Running, Verified};
use bascule_core::release::Sha256;
use sha2::Digest as _;
use thiserror::Error;

use super::source::{Got, Source, SourceError};
use super::stop::{self, Phase};
use super::target::Target;

/// What is written last, in bytes: nothing boots without it.
pub const HEAD: usize = 4096;
/// Bytes written and read at once, a multiple of `HEAD`.
const BUFFER: usize = 256 << 10;
/// Written bytes after which the medium is waited for: what fails is noticed early, and memory stays small.
const SYNC: u64 = 4 << 20;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The head of the bundle comes.
    Checking,
    /// The payload comes and is written.
    Receiving,
    /// What was written is read back.
    ReadingBack,
}

impl Step {
    /// For people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Receiving => "receiving",
            Self::ReadingBack => "reading back",
        }
    }
}

/// Why an install is to end.
#[derive(Debug)]
pub enum Stop {
    /// Somebody wants it.
    Cancelled,
    /// Nobody is there any more.
    Gone(io::Error),
}

/// Who watches an install.
pub trait Watch {
    /// How far it is; called several times a second.
    ///
    /// # Errors
    /// When it is to end.
    fn progress(&mut self, step: Step, done: u64, total: u64) -> Result<(), Stop>;

    /// The signature and everything in the manifest is in order.
    ///
    /// # Errors
    /// When it is to end.
    fn verified(&mut self, bundle: &Verified) -> Result<(), Stop>;

    /// Something that must be known.
    ///
    /// # Errors
    /// When it is to end.
    fn news(&mut self, line: &str) -> Result<(), Stop>;
}

/// What the boot record is told. Each call is on the medium when it returns.
pub trait Ledger {
    /// The slot holds nothing that could be booted; this is to come.
    ///
    /// # Errors
    /// Why the record could not be written. It is as before then, or torn and read as before.
    fn empty(&mut self, manifest: &Manifest) -> Result<(), String>;

    /// The slot holds this, complete and read back.
    ///
    /// # Errors
    /// Why the record could not be written.
    fn installed(&mut self, manifest: &Manifest) -> Result<(), String>;
}

/// Why an install failed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The bundle may not be installed, or what came is not what was signed.
    #[error("the bundle is refused: {0}")]
    Refused(#[from] Refused),
    /// Its length does not fit what its manifest says.
    #[error("the bundle is refused: it is {have} bytes long and its manifest makes it {need}: get it again")]
    Length {
        /// Length of the file.
        have: u64,
        /// Length by the manifest.
        need: u64,
    },
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The slot cannot be written or read.
    #[error("slot {doing} failed: {error}: the disk may be failing, see \"show log\"")]
    Target {
        /// What was done.
        doing: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// The medium does not keep what it is given.
    #[error("what was written to the slot reads back as something else: the disk is failing, replace it")]
    ReadBack,
    /// The record cannot be written.
    #[error("the boot record cannot be written: {0}")]
    Record(String),
    /// Somebody wanted it to end.
    #[error("cancelled")]
    Cancelled,
    /// Nobody is there any more.
    #[error("the console is gone: {0}")]
    Gone(io::Error),
}

impl From<Stop> for InstallError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::Gone(error) => Self::Gone(error),
        }
    }
}

/// What is allowed.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who may sign.
    pub keys: Keys,
    /// The box.
    pub running: Running,
    /// Whether an older version is meant.
    pub older: Older,
}

/// Installs a bundle.
///
/// # Errors
/// When anything fails: the slot is `empty` in the record then, or untouched.
pub fn install(
    rules: &Rules,
    source: &mut dyn Source,
    target: &mut dyn Target,
    ledger: &mut dyn Ledger,
    watch: &mut dyn Watch,
) -> Result<Verified, InstallError> {
    stop::before(Phase::Download);
    let (verified, head_len, mut rest) = read_head(rules, source, watch)?;
    let whole = head_len + verified.manifest().payload.length;
    if let Some(have) = source.length().filter(|have| *have != whole) {
        return Err(InstallError::Length { have, need: whole });
    }
    source.expect(whole);
    watch.verified(&verified)?;
    let manifest = verified.manifest();
    if prove(manifest, head_len, source, watch)? {
        rest.clear();
    }
    ledger.empty(manifest).map_err(InstallError::Record)?;
    if let Err(error) = fill(manifest, &rest, source, target, watch) {
        // The record names nothing here; whoever looks at the slot itself shall not find anything either.
        let _ = target.write(0, &[0; HEAD]).and_then(|()| target.sync());
        return Err(error);
    }
    stop::before(Phase::Mark);
    // When this fails it may still have come to the medium. What the slot holds is complete in either case.
    ledger.installed(manifest).map_err(InstallError::Record)?;
    stop::after(Phase::Mark);
    Ok(verified)
}

/// Reads and judges the head: what it says, its length, and the first bytes of the payload that came with it.
fn read_head(
    rules: &Rules,
    source: &mut dyn Source,
    watch: &mut dyn Watch,
) -> Result<(Verified, u64, Vec<u8>), InstallError> {
    let mut head = Head::new();
    let mut chunk = vec![0; HEAD];
    let mut rest = Vec::new();
    while !head.is_whole() {
        watch.progress(Step::Checking, 0, 0)?;
        tell_news(source, watch)?;
        match source.read(&mut chunk)? {
            Got::Bytes(count) => {
                let used = head.take(&chunk[..count])?;
                rest = chunk[used..count].to_vec();
            }
            Got::Waiting => {}
            Got::End => break,
        }
    }
    // One that is not whole is refused by this.
    let verified = head.verify(&rules.keys)?;
    bundle::acceptable(&verified, &rules.running, rules.older)?;
    Ok((verified, head.bytes().len() as u64, rest))
}

/// Reads the whole payload once before anything is written, where the source can be read twice: a file that is damaged
/// costs nothing then. Whether the source stands at the beginning of the payload now.
fn prove(
    manifest: &Manifest,
    head_len: u64,
    source: &mut dyn Source,
    watch: &mut dyn Watch,
) -> Result<bool, InstallError> {
    if !source.rewind(head_len)? {
        return Ok(false);
    }
    let mut payload = Payload::new(manifest);
    let mut chunk = vec![0; BUFFER];
    loop {
        watch.progress(Step::Checking, payload.taken(), manifest.payload.length)?;
        match source.read(&mut chunk)? {
            Got::Bytes(count) => payload.feed(&chunk[..count])?,
            Got::Waiting => {}
            Got::End => break,
        }
    }
    payload.finish()?;
    Ok(source.rewind(head_len)?)
}

fn tell_news(source: &mut dyn Source, watch: &mut dyn Watch) -> Result<(), Stop> {
    source.news().map_or(Ok(()), |line| watch.news(&line))
}

/// Puts the payload into the slot.
fn fill(
    manifest: &Manifest,
    rest: &[u8],
    source: &mut dyn Source,
    target: &mut dyn Target,
    watch: &mut dyn Watch,
) -> Result<(), InstallError> {
    let failed = |doing| move |error| InstallError::Target { doing, error };
    stop::before(Phase::Write);
    target.write(0, &[0; HEAD]).and_then(|()| target.sync()).map_err(failed("writing"))?;
    let total = manifest.payload.length;
    let mut writer = Writer::new(target);
    let mut payload = Payload::new(manifest);
    let mut chunk = vec![0; BUFFER];
    let mut take = |payload: &mut Payload, bytes: &[u8]| -> Result<(), InstallError> {
        payload.feed(bytes)?;
        writer.take(bytes).map_err(failed("writing"))
    };
    take(&mut payload, rest)?;
    loop {
        watch.progress(Step::Receiving, payload.taken(), total)?;
        tell_news(source, watch)?;
        match source.read(&mut chunk)? {
            Got::Bytes(count) => take(&mut payload, &chunk[..count])?,
            Got::Waiting => {}
            Got::End => break,
        }
    }
    payload.finish()?;
    stop::after(Phase::Download);
    let first = writer.finish().map_err(failed("writing"))?;
    stop::after(Phase::Write);
    stop::before(Phase::Verify);
    read_back(manifest, &first, target, watch)?;
    stop::after(Phase::Verify);
    target.write(0, &first).and_then(|()| target.sync()).map_err(failed("writing"))?;
    let mut again = vec![0; first.len()];
    target.read(0, &mut again).map_err(failed("reading"))?;
    if again == first { Ok(()) } else { Err(InstallError::ReadBack) }
}

/// Compares what is on the medium, behind the first bytes, with what was signed.
fn read_back(
    manifest: &Manifest,
    first: &[u8],
    target: &mut dyn Target,
    watch: &mut dyn Watch,
) -> Result<(), InstallError> {
    let total = manifest.payload.length;
    let mut hash = sha2::Sha256::new();
    hash.update(first);
    let mut at = first.len() as u64;
    let mut buffer = vec![0; BUFFER];
    while at < total {
        watch.progress(Step::ReadingBack, at, total)?;
        let count = usize::try_from(total - at).map_or(BUFFER, |left| left.min(BUFFER));
        let bytes = &mut buffer[..count];
        target.read(at, bytes).map_err(|error| InstallError::Target { doing: "reading", error })?;
        hash.update(&*bytes);
        at += count as u64;
    }
    watch.progress(Step::ReadingBack, total, total)?;
    let found = Sha256(hash.finalize().into());
    if found == manifest.payload.sha256 { Ok(()) } else { Err(InstallError::ReadBack) }
}

/// Writes a stream in large pieces, except its beginning, which it keeps.
struct Writer<'a> {
    target: &'a mut dyn Target,
    first: Vec<u8>,
    buffer: Vec<u8>,
    at: u64,
    unsynced: u64,
}

impl<'a> Writer<'a> {
    fn new(target: &'a mut dyn Target) -> Self {
        let buffer = Vec::with_capacity(BUFFER);
        Self { target, first: Vec::with_capacity(HEAD), buffer, at: HEAD as u64, unsynced: 0 }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (first, mut bytes) = bytes.split_at((HEAD - self.first.len()).min(bytes.len()));
        self.first.extend_from_slice(first);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at((BUFFER - self.buffer.len()).min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.target.write(self.at, &self.buffer)?;
        let count = self.buffer.len() as u64;
        self.at += count;
        self.unsynced += count;
        self.buffer.clear();
        if self.unsynced >= SYNC {
            self.unsynced = 0;
            self.target.sync()?;
        }
        Ok(())
    }

    /// Everything is on the medium; the beginning, which is not.
    fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.buffer.is_empty() {
            self.write()?;
        }
        self.target.sync()?;
        Ok(self.first)
    }
}
