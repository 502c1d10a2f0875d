//! From a configuration section to a chain.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_core::opaque::Opaque;

use crate::client::ErasedClient;
use crate::inspect::Inspect;
use crate::recording::Recording;
use crate::source::Source;
use crate::target::Target;

/// One kind of chain. The release registers its adapters in `adapters/all`.
pub trait Adapter: Send + Sync {
    /// The name in `adapter = "…"`, also in every [`Opaque`] of it.
    fn name(&self) -> &'static str;

    /// The keys that this adapter's chain section knows, for checking, reference and explanation.
    fn keys(&self) -> &'static [KeyDoc];

    /// A value for the section's `anchor` key with which [`Adapter::configure`] takes a section that has none yet: an
    /// anchor that no chain has, good for nothing but asking its nodes for a real one. `None` where sections have no
    /// such key.
    fn placeholder_anchor(&self, section: &serde_json::Value) -> Option<serde_json::Value> {
        let _ = section;
        None
    }

    /// Checks a whole chain section (`[chains.<name>]`, without the keys that the daemon owns) and builds the chain.
    /// Relative paths count from `base`. No network is touched.
    ///
    /// # Errors
    /// Every fault of the section at once.
    fn configure(&self, section: &serde_json::Value, base: &Path) -> Result<Arc<dyn Chain>, Vec<ConfigFault>>;
}

/// One configured chain.
pub trait Chain: Send + Sync {
    /// Its light client.
    fn client(&self) -> Arc<dyn ErasedClient>;

    /// The trusted state that the configured anchor gives.
    fn anchor(&self) -> Opaque;

    /// Read access. Cheap to call; the same source every time.
    fn source(&self) -> Arc<dyn Source>;

    /// Write access with the configured account; `None` when no account is configured.
    fn target(&self) -> Option<Arc<dyn Target>>;

    /// The longest time between two blocks when nobody sends transactions; `None` when such a chain may make no block at
    /// all. A daemon that sees no block for longer says that something is wrong.
    fn longest_silence(&self) -> Option<Duration> {
        None
    }

    /// Questions of an operator.
    fn inspect(&self) -> Arc<dyn Inspect>;

    /// Reading and writing recordings.
    fn recording(&self) -> Arc<dyn Recording>;
}

/// One key of a section.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// Dotted path inside the section; `[]` marks an array, such as `nodes[].url`.
    pub key: &'static str,
    /// What a value looks like, such as `"https://…"` or `integer ≥ 1`.
    pub form: &'static str,
    /// The default as text, or `None` when the key is required.
    pub default: Option<&'static str>,
    /// One sentence with unit and range.
    pub doc: &'static str,
    /// What a running daemon does about a change.
    pub reload: Reload,
}

impl KeyDoc {
    /// A key whose change needs a restart.
    #[must_use]
    pub const fn new(key: &'static str, form: &'static str, default: Option<&'static str>, doc: &'static str) -> Self {
        Self { key, form, default, doc, reload: Reload::Restart }
    }

    /// The same key, and a running daemon takes a change over.
    #[must_use]
    pub const fn applied(mut self) -> Self {
        self.reload = Reload::Applied;
        self
    }
}

/// What a running daemon does about a changed key when it is told to reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It takes the new value over at once.
    Applied,
    /// It keeps the old value until it is started anew.
    Restart,
}

impl Reload {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Restart => "restart",
        }
    }
}

/// One fault in a configuration section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigFault {
    /// Dotted path inside the section, with array positions as `nodes[1].url`; empty for the section itself.
    pub key: String,
    /// What was expected, what came, and what to do.
    pub problem: String,
}
