//! `cityrelay top`.

use serde_json::Value;

use super::answer::{Answer, Exit, Failure};
use crate::config::{Layers, Sources, check};
use crate::top;

/// Shows the running daemon until the user quits.
pub(super) async fn top(sources: &Sources, wants_json: bool) -> Result<Answer, Failure> {
    let instead = "ask with `cityrelay status`, `lanes` or `messages`, which print text or, with --json, JSON";
    if wants_json {
        return Err(Failure::new(Exit::Usage, format!("top has no --json: {instead}")));
    }
    if !top::is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("top needs a terminal on both stdin and stdout: {instead}")));
    }
    let layers = Layers::read(sources)?;
    let socket = check::control_socket(&layers)?.socket;
    top::show(&socket).await?;
    Ok(Answer { data: Value::Null, text: String::new() })
}
