//! What the compiler made of the contracts: init code without constructor arguments.

/// Init code of the gateway, flavour `hash = opcode`.
pub const GATEWAY_INIT_CODE: &[u8] = include_bytes!("../artifacts/Gateway.bin");

/// Init code of the attester committee, flavour `hash = opcode`.
pub const COMMITTEE_INIT_CODE: &[u8] = include_bytes!("../artifacts/Committee.bin");

/// Init code of the gateway, flavour `hash = precompile`.
pub const PRECOMPILE_GATEWAY_INIT_CODE: &[u8] = include_bytes!("../artifacts/PrecompileGateway.bin");

/// Init code of the attester committee, flavour `hash = precompile`.
pub const PRECOMPILE_COMMITTEE_INIT_CODE: &[u8] = include_bytes!("../artifacts/PrecompileCommittee.bin");

/// Init code of the example receiver.
pub const NOTICE_BOARD_INIT_CODE: &[u8] = include_bytes!("../artifacts/NoticeBoard.bin");

/// Init code of the example sender.
pub const PREPAID_ORDERS_INIT_CODE: &[u8] = include_bytes!("../artifacts/PrepaidOrders.bin");

/// A contract of this release, as it looks when it is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shipped {
    /// The gateway.
    Gateway,
    /// The attester committee.
    Committee,
}

/// Which init code makes which contract; one line for each flavour.
const SHIPPED: &[(Shipped, &[u8])] = &[
    (Shipped::Gateway, GATEWAY_INIT_CODE),
    (Shipped::Committee, COMMITTEE_INIT_CODE),
    (Shipped::Gateway, PRECOMPILE_GATEWAY_INIT_CODE),
    (Shipped::Committee, PRECOMPILE_COMMITTEE_INIT_CODE),
];

/// `PUSH32`, the instruction before each place of an immutable value.
const PUSH32: u8 = 0x7f;

/// Which contract of this release has the deployed code `code`, whatever its immutable values are.
///
/// The compiler puts the runtime code at the end of the init code, with 32 zero bytes behind a `PUSH32` where an immutable
/// value will stand; everything else must be equal.
#[must_use]
pub fn recognize(code: &[u8]) -> Option<Shipped> {
    let is_it = |init_code: &[u8]| {
        let at = init_code.len().checked_sub(code.len())?;
        Some(!code.is_empty() && is_same_but_immutables(init_code.get(at..)?, code))
    };
    SHIPPED.iter().find(|(_, init_code)| is_it(init_code) == Some(true)).map(|(shipped, _)| *shipped)
}

fn is_same_but_immutables(template: &[u8], code: &[u8]) -> bool {
    let mut at = 0;
    while let (Some(expected), Some(got)) = (template.get(at), code.get(at)) {
        if expected != got {
            return false;
        }
        let next = at + 1;
        let place = template.get(next..next + 32);
        at = if *expected == PUSH32 && place.is_some_and(|place| place.iter().all(|byte| *byte == 0)) {
            next + 32
        } else {
            next
        };
    }
    at == template.len() && template.len() == code.len()
}
