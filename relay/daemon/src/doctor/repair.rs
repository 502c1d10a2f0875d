//! What repairs a finding: always a command that can be typed as it stands.

use std::fmt;

/// A command for a shell, and what whoever types it should know besides.
///
/// There is no way to make one without a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    command: String,
    advice: Option<String>,
}

impl Repair {
    /// The command with these words; each is quoted where a shell would read something else into it.
    #[must_use]
    pub(super) fn of<'a>(program: &str, words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command = program.to_owned();
        for word in words {
            command.push(' ');
            command.push_str(&quoted(word));
        }
        Self { command, advice: None }
    }

    /// Followed by another command, where this one succeeds.
    #[must_use]
    pub(super) fn then(self, next: &Self) -> Self {
        Self { command: format!("{} && {}", self.command, next.command), ..self }
    }

    /// With what is to be known or done besides.
    #[must_use]
    pub(super) fn advice(self, words: impl Into<String>) -> Self {
        Self { advice: Some(words.into()), ..self }
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What is to be known besides.
    #[must_use]
    pub fn words(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl fmt::Display for Repair {
    /// The advice, where there is one, and the command on a line of its own at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(advice) = &self.advice {
            write!(f, "\n         {advice}")?;
        }
        write!(f, "\n         → {}", self.command)
    }
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_something_else() {
        let repair = Repair::of("mv", ["/a b", "it's", "$HOME", "/plain-1.x"]);
        assert_eq!(repair.command(), r"mv '/a b' 'it'\''s' '$HOME' /plain-1.x");
        let both = repair.then(&Repair::of("ls", [])).advice("look first");
        assert_eq!(both.to_string(), "\n         look first\n         → mv '/a b' 'it'\\''s' '$HOME' /plain-1.x && ls");
    }
}
