//! The command line: what can be asked, and what is printed.

mod anchor;
pub mod answer;
mod arguments;
mod chain;
mod config_commands;
mod control_arguments;
mod control_commands;
mod demo;
mod doctor;
mod gateway;
mod init;
mod init_arguments;
mod intents;
mod journal;
mod keys;
mod lane_move;
mod lanes;
mod manuals;
mod metrics;
mod order_commands;
mod owner;
mod owner_arguments;
mod progress;
mod rotation;
mod run;
mod setup;
mod signer;
mod top;
mod transaction;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use serde_json::json;

use self::answer::{Answer, Exit, Failure};
use self::arguments::{
    AnchorCommand, Arguments, ChainCommand, Command, ConfigCommand, JournalCommand, KeysCommand, MetricsCommand,
};
use self::init_arguments::InitCommand;
use self::owner_arguments::{AttestersCommand, GatewayCommand, LaneCommand, RotateCommand};
use crate::config::Sources;
use crate::core_dumps;

/// Reads the command line, runs the command, prints what came of it.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wants_json = arguments.json;
    let name = arguments.command.name();
    // Every command may meet a key.
    let outcome = match core_dumps::forbid() {
        Ok(()) => dispatch(arguments),
        Err(error) => Err(Failure::new(Exit::Internal, format!("{error:#}"))),
    };
    answer::print(name, wants_json, outcome)
}

/// Whether this command line would be taken; nothing is run. For whoever checks commands that are printed for people.
///
/// # Errors
/// What the program would say instead.
pub fn accepts(words: &[&str]) -> Result<(), String> {
    Arguments::try_parse_from(words).map(drop).map_err(|error| error.to_string())
}

fn dispatch(arguments: Arguments) -> Result<Answer, Failure> {
    let sources = Sources {
        path: arguments.config,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        overrides: arguments.set,
    };
    let wants_json = arguments.json;
    match arguments.command {
        Command::Demo(arguments) => wait_for_all(demo::demo(&arguments)),
        Command::DemoChains(arguments) => wait_for_all(demo::chains(&arguments.dir, &arguments.pairing)),
        Command::Init(InitCommand::Relay(arguments)) => wait_for(init::relay(&sources, &arguments)),
        Command::Init(InitCommand::Attester(arguments)) => init::attester(&sources, &arguments),
        Command::Init(InitCommand::Card(arguments)) => init::card(&sources, &arguments),
        Command::Init(InitCommand::Join(arguments)) => init::join(&sources, &arguments),
        Command::Init(InitCommand::Peer(arguments)) => init::peer(&sources, &arguments),
        Command::Run(arguments) => run::run(&sources, arguments.with_parent),
        Command::Signer(arguments) => wait_for(signer::signer(arguments)),
        Command::Config(ConfigCommand::Check(arguments)) => wait_for(config_commands::check(&sources, &arguments)),
        Command::Config(ConfigCommand::Explain(arguments)) => config_commands::explain(&sources, &arguments),
        Command::Config(ConfigCommand::Schema) => config_commands::schema(),
        Command::Config(ConfigCommand::Reference) => Ok(config_commands::reference()),
        Command::Chain(ChainCommand::Replay(arguments)) => chain::replay(&sources, &arguments),
        Command::Chain(ChainCommand::Record(arguments)) => wait_for(chain::record(&sources, &arguments)),
        Command::Anchor(AnchorCommand::Fetch(arguments)) => wait_for(anchor::fetch(&sources, &arguments)),
        Command::Anchor(AnchorCommand::Verify(arguments)) => wait_for(anchor::verify(&sources, &arguments)),
        Command::Keys(KeysCommand::New(arguments)) => keys::new(&arguments),
        Command::Keys(KeysCommand::Show(arguments)) => keys::show(&arguments.file),
        Command::Gateway(GatewayCommand::Deploy(arguments)) => wait_for(setup::deploy(&sources, &arguments)),
        Command::Gateway(GatewayCommand::Status(arguments)) => wait_for(gateway::status(&sources, &arguments)),
        Command::Gateway(GatewayCommand::Handover(arguments)) => wait_for(gateway::handover(&sources, &arguments)),
        Command::Lane(LaneCommand::Salt) => setup::salt(),
        Command::Lane(LaneCommand::Open(arguments)) => wait_for(setup::open(&sources, &arguments)),
        Command::Lane(LaneCommand::Close(arguments)) => wait_for(lanes::close(&sources, &arguments)),
        Command::Lane(LaneCommand::Pause(arguments)) => wait_for(lanes::set_paused(&sources, &arguments, true)),
        Command::Lane(LaneCommand::Resume(arguments)) => wait_for(lanes::set_paused(&sources, &arguments, false)),
        Command::Lane(LaneCommand::Skip(arguments)) => wait_for(lanes::skip(&sources, &arguments)),
        Command::Lane(LaneCommand::Move(arguments)) => lane_move::section(&sources, &arguments),
        Command::Lane(LaneCommand::Remove(choice)) => wait_for(lane_move::remove(&sources, &choice)),
        Command::Attesters(AttestersCommand::Show) => wait_for(rotation::show(&sources)),
        Command::Attesters(AttestersCommand::Rotate(command)) => match command {
            RotateCommand::Propose(arguments) => wait_for(rotation::propose(&sources, &arguments)),
            RotateCommand::Sign(arguments) => rotation::sign(&sources, &arguments),
            RotateCommand::Status(arguments) => rotation::status(&arguments),
            RotateCommand::Send(arguments) => wait_for(rotation::send(&sources, &arguments)),
        },
        Command::Doctor => wait_for(doctor::doctor(&sources)),
        Command::Journal(JournalCommand::Check(arguments)) => journal::check(&sources, &arguments),
        Command::Journal(JournalCommand::Export(arguments)) => journal::export(&sources, &arguments),
        Command::Status => wait_for(control_commands::status(&sources)),
        Command::Lanes(arguments) => wait_for(control_commands::lanes(&sources, arguments)),
        Command::Messages(arguments) => wait_for(control_commands::messages(&sources, arguments)),
        Command::Why(arguments) => wait_for(control_commands::why(&sources, &arguments)),
        Command::Pause(arguments) => wait_for(order_commands::pause(&sources, arguments)),
        Command::Resume(arguments) => wait_for(order_commands::resume(&sources, arguments)),
        Command::Retry(arguments) => wait_for(order_commands::retry(&sources, arguments)),
        Command::Skip(arguments) => wait_for(order_commands::skip(&sources, arguments)),
        Command::Reload(arguments) => wait_for(order_commands::reload(&sources, arguments)),
        Command::Evidence(arguments) => wait_for(order_commands::evidence(&sources, arguments)),
        Command::Unfreeze(arguments) => wait_for(order_commands::unfreeze(&sources, arguments)),
        Command::Audit(arguments) => wait_for(order_commands::audit(&sources, arguments)),
        Command::Top => wait_for(top::top(&sources, wants_json)),
        Command::Send(arguments) => wait_for(control_commands::send(&sources, &arguments)),
        Command::Metrics(MetricsCommand::Reference) => Ok(metrics::reference()),
        Command::Completions(arguments) => {
            let mut script = Vec::new();
            clap_complete::generate(arguments.shell, &mut Arguments::command(), "cityrelay", &mut script);
            let text = String::from_utf8_lossy(&script).trim_end().to_owned();
            Ok(Answer { data: json!({"script": text}), text })
        }
        Command::Manuals(arguments) => manuals::write(&arguments.dir, Arguments::command()),
    }
}

/// As [`wait_for`], on all cores.
fn wait_for_all(command: impl Future<Output = Result<Answer, Failure>>) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(Exit::Internal, format!("the I/O runtime can't be started: {error}")))?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

fn wait_for(command: impl Future<Output = Result<Answer, Failure>>) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("the I/O runtime can't be started: {error}")))?;
    runtime.block_on(command)
}
