//! A disk in memory that remembers every write and every sync, and fails when it is told to.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Database, StorageBackend};

use crate::JournalError;
use crate::store::Open;

/// What happened to the disk, in order.
#[derive(Clone, Debug)]
pub enum Op {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    SetLen(usize),
    Sync,
    /// So many batches were handed to the journal.
    Issued(usize),
    /// So many batches were acknowledged.
    Acknowledged(usize),
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Writes and growth.
    Full,
    /// Syncs, after the bytes were written.
    Sync,
    /// Everything.
    Gone,
}

#[derive(Debug)]
struct State {
    image: Vec<u8>,
    log: Vec<Op>,
    fault: Fault,
    read_bytes: usize,
    check: bool,
}

/// A disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn new(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { image, log: Vec::new(), fault: Fault::None, read_bytes: 0, check: false })))
    }

    pub fn image(&self) -> Vec<u8> {
        self.0.lock().unwrap().image.clone()
    }

    pub fn log(&self) -> Vec<Op> {
        self.0.lock().unwrap().log.clone()
    }

    pub fn note(&self, op: Op) {
        self.0.lock().unwrap().log.push(op);
    }

    /// From now on every opening compares every checksum.
    pub fn checked(self) -> Self {
        self.0.lock().unwrap().check = true;
        self
    }

    /// Bytes read so far.
    pub fn read_bytes(&self) -> usize {
        self.0.lock().unwrap().read_bytes
    }

    pub fn fail(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    fn with<T>(&self, faults: &[Fault], call: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        if faults.contains(&state.fault) {
            let kind = if state.fault == Fault::Full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            return Err(io::Error::from(kind));
        }
        Ok(call(&mut state))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.with(&[Fault::Gone], |state| state.image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(&[Fault::Gone], |state| {
            state.read_bytes += out.len();
            let range = offset as usize..offset as usize + out.len();
            let bytes = state.image.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })?
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(&[Fault::Gone, Fault::Full], |state| {
            state.image.resize(len as usize, 0);
            state.log.push(Op::SetLen(len as usize));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(&[Fault::Gone, Fault::Sync], |state| state.log.push(Op::Sync))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(&[Fault::Gone, Fault::Full], |state| {
            write(&mut state.image, offset as usize, data);
            state.log.push(Op::Write { offset: offset as usize, bytes: data.to_vec() });
        })
    }
}

/// Writes into an image, which grows where it must.
pub fn write(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

impl Open for Disk {
    fn open(&self) -> Result<Database, JournalError> {
        let check = self.0.lock().unwrap().check;
        let mut builder = redb::Builder::new();
        builder
            .set_check_integrity_on_open(check)
            .set_cache_size(1 << 20)
            .create_with_backend(self.clone())
            .map_err(JournalError::from_store)
    }

    fn size(&self) -> u64 {
        self.0.lock().unwrap().image.len() as u64
    }

    fn keep_copy(&self, _: u32) -> Result<(), JournalError> {
        Ok(())
    }
}

/// A small generator, so that a seed decides.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}
