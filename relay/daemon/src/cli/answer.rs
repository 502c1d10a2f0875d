//! What a command gives back: data on stdout, words on stderr, one of six exit codes.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use cityrelay_api::source::NodeError;
use cityrelay_api::target::TargetError;
use serde_json::{Value, json};

use crate::config::Faults;

/// Version of the JSON envelope; grows when a field changes its meaning or goes away.
pub const ENVELOPE_VERSION: u32 = 1;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything is fine.
    Fine,
    /// 1: our own fault.
    Internal,
    /// 2: the command line, a file or the configuration is wrong.
    Usage,
    /// 3: a node, a peer or the daemon can't be reached.
    Unreachable,
    /// 4: what was looked at is not healthy.
    Unhealthy,
    /// 5: a rule forbids it.
    Refused,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Unhealthy => 4,
            Self::Refused => 5,
        }
    }

    /// The word in the envelope's `error.code`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::Unhealthy => "unhealthy",
            Self::Refused => "refused",
        }
    }
}

/// A command that did what it was asked for.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The data, for `--json`.
    pub data: Value,
    /// The same for people, without a newline at the end; empty for nothing.
    pub text: String,
}

/// A command that did not.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// What was found all the same, for `--json`.
    pub details: Value,
    /// What was found all the same, for people; goes to stdout.
    pub text: String,
}

impl Failure {
    /// A failure with words only.
    #[must_use]
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), details: Value::Null, text: String::new() }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let list: Vec<Value> = faults
            .list()
            .iter()
            .map(|fault| json!({"at": fault.origin.to_string(), "key": fault.key, "problem": fault.problem}))
            .collect();
        Self { exit: Exit::Usage, message: faults.to_string(), details: json!({"faults": list}), text: String::new() }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let exit = match &error {
            NodeError::Unreachable { .. } => Exit::Unreachable,
            NodeError::Refused(_) => Exit::Internal,
            _ => Exit::Unhealthy,
        };
        Self::new(exit, error)
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Node(error) => error.into(),
            TargetError::NoAccount => Self::new(Exit::Usage, error),
            error => Self::new(Exit::Refused, error),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Internal, format!("{error:#}"))
    }
}

/// Prints the outcome of `command` and gives the process's exit code.
#[must_use]
pub fn print(command: &str, wants_json: bool, outcome: Result<Answer, Failure>) -> ExitCode {
    let (exit, out) = if wants_json {
        let (exit, envelope) = match &outcome {
            Ok(answer) => {
                (Exit::Fine, json!({"v": ENVELOPE_VERSION, "command": command, "ok": true, "data": answer.data}))
            }
            Err(failure) => {
                let error =
                    json!({"code": failure.exit.as_str(), "message": failure.message, "details": failure.details});
                (failure.exit, json!({"v": ENVELOPE_VERSION, "command": command, "ok": false, "error": error}))
            }
        };
        (exit, envelope.to_string())
    } else {
        match outcome {
            Ok(answer) => (Exit::Fine, answer.text),
            Err(failure) => {
                say(&failure.message);
                (failure.exit, failure.text)
            }
        }
    };
    if !out.is_empty() && write_line(&out).is_err() {
        return ExitCode::from(Exit::Internal.code());
    }
    ExitCode::from(exit.code())
}

/// Words for people, on stderr. A closed stderr is no reason to stop.
pub fn say(words: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{words}");
}

fn write_line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let exits = [Exit::Fine, Exit::Internal, Exit::Usage, Exit::Unreachable, Exit::Unhealthy, Exit::Refused];
        assert_eq!(exits.map(Exit::code), [0, 1, 2, 3, 4, 5]);
    }
}
