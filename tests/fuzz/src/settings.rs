//! What operators write: configuration and the control socket.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use cityrelay::config::{self, Layers, Sources};
use cityrelay::control::ControlRequest;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().unwrap());
}

/// A configuration file is taken, or refused with at least one fault that has words.
pub fn config(input: &[u8]) {
    let path: PathBuf = FOLDER.with_borrow(|folder| folder.path().join("cityrelay.toml"));
    fs::write(&path, input).unwrap();
    let sources = Sources { path: Some(path), ..Sources::default() };
    let checked = Layers::read(&sources).and_then(|layers| config::check::config(&layers, cityrelay_all::adapters()));
    if let Err(faults) = checked {
        assert!(!faults.list().is_empty(), "refused without a reason");
        assert!(faults.list().iter().all(|fault| !fault.to_string().trim().is_empty()));
    }
}

/// A request that is read is the same after it was written and read again.
pub fn control(input: &[u8]) {
    let Ok(request) = serde_json::from_slice::<ControlRequest>(input) else { return };
    let text = serde_json::to_vec(&request).expect("a request can be written");
    assert_eq!(serde_json::from_slice::<ControlRequest>(&text).expect("what we write we read"), request);
}
