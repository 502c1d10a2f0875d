//! What the compiler made of the contracts: init code without constructor arguments.

/// Init code of the gateway, flavour `hash = opcode`.
pub const GATEWAY_INIT_CODE: &[u8] = include_bytes!("../artifacts/Gateway.bin");

/// Init code of the attester committee, flavour `hash = opcode`.
pub const COMMITTEE_INIT_CODE: &[u8] = include_bytes!("../artifacts/Committee.bin");

/// Init code of the example receiver.
pub const NOTICE_BOARD_INIT_CODE: &[u8] = include_bytes!("../artifacts/NoticeBoard.bin");

/// Init code of the example sender.
pub const PREPAID_ORDERS_INIT_CODE: &[u8] = include_bytes!("../artifacts/PrepaidOrders.bin");
