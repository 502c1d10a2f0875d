//! Tests of the whole crate; each file says what it is about.

mod crash;
mod damage;
mod disk;
mod disk_image;
mod faults;
mod fixture;
mod formats;
mod golden;
mod pruning;
mod reads;
mod recovery;
mod refusals;
mod sets;
mod simulated;
