//! The one static binary of Bascule: init, agent, prober, shell and the commands that ask the agent.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bascule_core::control::{Reply, Request};
use clap::{Args, Parser, Subcommand};

mod backoff;
mod check;
mod confine;
mod kernel;
mod link;
mod snapshot;
mod sys;
mod vrrpd;
mod control;
mod init;
mod log;
mod look;
mod peer;
mod people;
mod prober;
mod run;
#[cfg(test)]
mod scratch;
mod shell;
mod store;
mod system;
mod update;

/// Where an agent keeps its socket and what a successor needs.
const RUN_DIR: &str = "/run/bascule";
/// Where a box keeps users and the audit log.
const STATE_DIR: &str = "/data/state";

/// A pair of boxes that balances load: VRRP, IPVS and health checks in one program.
#[derive(Debug, Parser)]
#[command(name = "bascule", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a box as its first process. Started by the kernel.
    Init,
    /// Balance: virtual routers, services, health checks.
    Agent(AgentArguments),
    /// Print the state of the box.
    #[command(subcommand)]
    Show(Show),
    /// Read the configuration file again and apply what changed.
    Reload(RunDirArgument),
    /// Check a configuration file and print everything that is wrong with it.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Run health probes for an agent on standard input. Started by the agent.
    #[command(hide = true)]
    Prober,
    /// Judge the system that runs on trial. Started by init.
    #[command(hide = true)]
    Gate {
        #[command(flatten)]
        at: RunDirArgument,
        /// Where the box before the update is kept.
        #[arg(long, default_value = STATE_DIR)]
        state_dir: PathBuf,
    },
    /// Listen for the other box of the pair. Started by init.
    #[command(hide = true)]
    Peer {
        #[command(flatten)]
        at: RunDirArgument,
        /// Where key and plan are kept.
        #[arg(long, default_value = STATE_DIR)]
        state_dir: PathBuf,
    },
    /// Work with the box as on its console.
    Shell(ShellArguments),
    /// Print (-Ln, -Sn) or empty (-C) the kernel's IPVS table in ipvsadm's own words.
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// -L, -S or -C, with -n, --stats, --rate, --daemon or -c.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Install the next release into the slot that does not run, try it, keep it or go back.
    #[command(subcommand)]
    Update(UpdateCommand),
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum UpdateCommand {
    /// Write a signed bundle into the slot that does not run.
    Install {
        /// A path, usb:NAME, http://..., https://..., or "serial": over this terminal, by YMODEM or XMODEM-CRC.
        from: String,
        /// Also when it is older than what runs.
        #[arg(long)]
        older: bool,
    },
    /// What is installed, what runs, and the latest install.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Install, try and keep a bundle on both boxes of the pair, one after the other. Typed on the Master.
    Pair {
        /// A path, usb:NAME, http://... or https://...
        from: String,
        /// Also when it is older than what runs.
        #[arg(long)]
        older: bool,
        /// Hand over though the other box does not know every connection.
        #[arg(long)]
        lose_idle: bool,
        /// Tell how it ended as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Restart into the installed system, on trial.
    Activate,
    /// Keep the system on trial.
    Confirm,
    /// Restart into the system that ran before.
    Rollback,
    /// Stop a running install, or forget the installed system.
    Cancel,
}

impl UpdateCommand {
    /// The line of the shell that does the same.
    fn line(&self) -> String {
        match self {
            Self::Install { from, older } => {
                let from =
                    if from == "serial" { from.clone() } else { bascule_core::config::words::quote(from) };
                format!("update install {from}{}", if *older { " older" } else { "" })
            }
            Self::Status { json } => format!("update status{}", if *json { " | json" } else { "" }),
            Self::Pair { from, older, lose_idle, json } => {
                let mut line = format!("update pair {}", bascule_core::config::words::quote(from));
                for (given, word) in [(older, " older"), (lose_idle, " lose-idle"), (json, " json")] {
                    line += if *given { word } else { "" };
                }
                line
            }
            Self::Activate => "update activate".to_owned(),
            Self::Confirm => "update confirm".to_owned(),
            Self::Rollback => "update rollback".to_owned(),
            Self::Cancel => "update cancel".to_owned(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Show {
    /// Roles, services, real servers, sync, problems.
    Status {
        #[command(flatten)]
        at: RunDirArgument,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct AgentArguments {
    /// Configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Configuration that runs while the configuration file does not exist.
    #[arg(long)]
    factory: Option<PathBuf>,
    #[command(flatten)]
    at: RunDirArgument,
    /// Where the revisions of the configuration are kept [default: the run directory].
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Init starts it again when it ends, and reads its log from the kernel's.
    #[arg(long, hide = true)]
    supervised: bool,
}

#[derive(Debug, Args)]
struct ShellArguments {
    #[command(flatten)]
    at: RunDirArgument,
    /// Run this command, or several parted by ";", and end; may be given several times. The exit code is 1 when one
    /// was refused, 2 when one is no command.
    #[arg(short, long, value_name = "COMMAND")]
    command: Vec<String>,
    /// Where users and the audit log are kept.
    #[arg(long, default_value = STATE_DIR)]
    state_dir: PathBuf,
    /// Open this terminal of /dev and lead a session on it. Used by init.
    #[arg(long, hide = true, conflicts_with = "command")]
    console: Option<String>,
}

#[derive(Debug, Args)]
struct RunDirArgument {
    /// Run directory of the agent.
    #[arg(long, default_value = RUN_DIR)]
    run_dir: PathBuf,
}

fn main() -> ExitCode {
    // Children inherit the signal mask of whoever started them.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    // The kernel starts /init with whatever it does not understand of its command line.
    let called = std::env::args_os().next().unwrap_or_default();
    if std::process::id() == 1 && Path::new(&called).file_name().is_some_and(|name| name == "init") {
        return report(init::run());
    }
    let code = run(Arguments::parse().command);
    // The writer ends with the process, and the last words are the reason for the end.
    log::flush();
    code
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Init => report(init::run()),
        Command::Agent(arguments) => run_agent(arguments),
        Command::Reload(RunDirArgument { run_dir }) => ask(&run_dir, &Request::Reload),
        Command::Show(Show::Status { at, json }) => show_status(&at.run_dir, json),
        Command::Gate { at, state_dir } => {
            confine::enter(confine::Role::Gate);
            report(update::gate::command(&update::gate::Place { run_dir: at.run_dir, state_dir }))
        }
        Command::Peer { at, state_dir } => {
            confine::enter(confine::Role::Peer);
            report(peer::run(&at.run_dir, &state_dir))
        }
        Command::Shell(arguments) => run_shell(arguments),
        Command::Check { file } => check::command(&file),
        Command::Ipvsadm { arguments } => {
            report(kernel::ipvsadm::run(&arguments).map(|text| print!("{text}")))
        }
        Command::Prober => report(prober::child::run()),
        Command::Update(command) => update_command(&command),
        Command::Version => {
            println!("bascule {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn report(result: Result<(), impl std::fmt::Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bascule: {error}");
            ExitCode::FAILURE
        }
    }
}

/// To standard output; a reader that has gone (`| head`) wants no more.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn ask(run_dir: &Path, request: &Request) -> ExitCode {
    match control::ask(run_dir, request) {
        Ok(Reply::Done(text)) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Ok(Reply::Refused(lines)) => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            ExitCode::FAILURE
        }
        Ok(_) => report(Err("the agent answered another question")),
        Err(error) => report(Err(error)),
    }
}

fn show_status(run_dir: &Path, json: bool) -> ExitCode {
    let text = match control::ask(run_dir, &Request::Status) {
        Ok(Reply::Status(status)) if json => serde_json::to_string_pretty(&status).map_err(|e| e.to_string()),
        Ok(Reply::Status(status)) => Ok(look::status::status(&status).join("\n")),
        Ok(_) => Err("the agent answered another question".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    report(text.map(|text| print(&text)))
}

/// The agent says in its log why it cannot start.
fn run_agent(arguments: AgentArguments) -> ExitCode {
    if arguments.supervised && init::fault::wanted() == Some(init::fault::Fault::Crash) {
        return report(Err::<(), _>("bascule.fail=crash: the agent ends"));
    }
    let AgentArguments { config, factory, at, state_dir, supervised } = arguments;
    if supervised {
        confine::enter(confine::Role::Agent);
    }
    let options = run::Options { config, factory, run_dir: at.run_dir, state_dir, supervised };
    if run::run(options).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same as on the console, audit log included. On a terminal there is a bar, and Ctrl-C stops an install.
fn update_command(command: &UpdateCommand) -> ExitCode {
    let terminal = match shell::tty::Tty::standard(false) {
        Ok(terminal) => terminal,
        Err(error) => return report(Err(error)),
    };
    let run_dir = PathBuf::from(RUN_DIR);
    let place =
        people::Place { state_dir: STATE_DIR.into(), run_dir: run_dir.clone(), origin: "cli".to_owned() };
    let mut shell = shell::Shell::new(terminal, shell::AgentAt(run_dir), place, false);
    let words = shell::Words::Given(vec![command.line()]);
    shell::run_script(&mut shell, &words).unwrap_or_else(|error| report(Err(error)))
}

fn run_shell(arguments: ShellArguments) -> ExitCode {
    let on_box = arguments.console.is_some();
    if on_box {
        confine::enter(confine::Role::Shell);
    }
    let terminal = match &arguments.console {
        Some(name) => shell::tty::Tty::console(name),
        None => shell::tty::Tty::standard(!arguments.command.is_empty()),
    };
    let terminal = match terminal {
        Ok(terminal) => terminal,
        Err(error) => return report(Err(error)),
    };
    let script = match terminal.interactive() {
        true => None,
        false if arguments.command.is_empty() => Some(shell::Words::Input),
        false => Some(shell::Words::Given(arguments.command)),
    };
    let origin =
        arguments.console.unwrap_or_else(|| if script.is_some() { "script" } else { "shell" }.to_owned());
    let run_dir = arguments.at.run_dir;
    let place = people::Place { state_dir: arguments.state_dir, run_dir: run_dir.clone(), origin };
    let mut shell = shell::Shell::new(terminal, shell::AgentAt(run_dir), place, on_box);
    match script {
        None => report(shell.run()),
        Some(words) => shell::run_script(&mut shell, &words).unwrap_or_else(|error| report(Err(error))),
    }
}
