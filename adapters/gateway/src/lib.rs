//! The gateway contracts, their compiled artifacts and the only code that knows their calldata.
