//! The example applications of `contracts/examples`: for the demo and the tests.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{SolCall, SolConstructor};
use cityrelay_core::ids::{Address, Index, LaneId, UnixMillis};

use crate::abi::{NoticeBoard, PrepaidOrders};
use crate::artifact;
use crate::call::{EncodeError, EncodedCall, account, creation};
use crate::strict::{DecodeError, decode_return, word};

/// Deploys the example receiver at `gateway`; the deployer may then say which lanes it trusts.
///
/// # Errors
/// [`EncodeError::NotAnAddress`].
pub fn deploy_notice_board(gateway: Address) -> Result<EncodedCall, EncodeError> {
    let arguments = NoticeBoard::constructorCall { gateway: account("gateway", gateway)? };
    Ok(creation(artifact::NOTICE_BOARD_INIT_CODE, &arguments.abi_encode()))
}

/// Calldata that makes a notice board take messages of `lane`, or stop to.
#[must_use]
pub fn trust_lane(lane: LaneId, is_trusted: bool) -> Vec<u8> {
    NoticeBoard::setTrustedCall { lane: word(lane.0), isTrusted: is_trusted }.abi_encode()
}

/// Asks a notice board how many notices it took.
#[must_use]
pub fn notice_count() -> Vec<u8> {
    NoticeBoard::countCall {}.abi_encode()
}

/// Asks a notice board for the latest notice of `sender` on `lane`.
#[must_use]
pub fn notice(lane: LaneId, sender: Address) -> Vec<u8> {
    NoticeBoard::noticesCall { lane: word(lane.0), sender: word(sender.0) }.abi_encode()
}

/// Reads the answer to [`notice`]; empty when there is none.
///
/// # Errors
/// [`DecodeError::NotCanonical`].
pub fn decode_notice(answer: &[u8]) -> Result<Vec<u8>, DecodeError> {
    decode_return::<NoticeBoard::noticesCall>(answer).map(Into::into)
}

/// Deploys the example sender at `gateway`; the deployer may then issue credit.
///
/// # Errors
/// [`EncodeError::NotAnAddress`].
pub fn deploy_prepaid_orders(gateway: Address) -> Result<EncodedCall, EncodeError> {
    let arguments = PrepaidOrders::constructorCall { gateway: account("gateway", gateway)? };
    Ok(creation(artifact::PREPAID_ORDERS_INIT_CODE, &arguments.abi_encode()))
}

/// Calldata that gives `buyer` credit.
///
/// # Errors
/// [`EncodeError::NotAnAddress`].
pub fn issue_credit(buyer: Address, amount: u64) -> Result<Vec<u8>, EncodeError> {
    let call = PrepaidOrders::issueCall { buyer: account("buyer", buyer)?, amount: U256::from(amount) };
    Ok(call.abi_encode())
}

/// An order: a message and its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The lane.
    pub lane: LaneId,
    /// Receiver on the other chain.
    pub receiver: Address,
    /// When it expires.
    pub deadline: UnixMillis,
    /// Gas for the receiver.
    pub gas_limit: u64,
    /// What the receiver gets.
    pub payload: Vec<u8>,
    /// Paid from the caller's credit now, paid back unless executed.
    pub price: u64,
}

/// Calldata that places `order`.
#[must_use]
pub fn place_order(order: &Order) -> Vec<u8> {
    PrepaidOrders::orderCall {
        lane: word(order.lane.0),
        receiver: word(order.receiver.0),
        deadlineMillis: order.deadline.0,
        gasLimit: order.gas_limit,
        payload: Bytes::copy_from_slice(&order.payload),
        price: U256::from(order.price),
    }
    .abi_encode()
}

/// Reads what placing an order returned: the message's index.
///
/// # Errors
/// [`DecodeError::NotCanonical`].
pub fn decode_order(answer: &[u8]) -> Result<Index, DecodeError> {
    decode_return::<PrepaidOrders::orderCall>(answer).map(Index)
}

/// Asks for the credit of `buyer`.
///
/// # Errors
/// [`EncodeError::NotAnAddress`].
pub fn credit(buyer: Address) -> Result<Vec<u8>, EncodeError> {
    Ok(PrepaidOrders::creditCall { buyer: account("buyer", buyer)? }.abi_encode())
}

/// Asks what executed orders earned.
#[must_use]
pub fn earned() -> Vec<u8> {
    PrepaidOrders::earnedCall {}.abi_encode()
}

/// Reads the answer to [`notice_count`], [`credit`] or [`earned`].
///
/// # Errors
/// [`DecodeError::NotCanonical`], or [`DecodeError::OutOfRange`] above 64 bits.
pub fn decode_amount(answer: &[u8]) -> Result<u64, DecodeError> {
    let got = decode_return::<PrepaidOrders::earnedCall>(answer)?;
    u64::try_from(got).map_err(|_| DecodeError::OutOfRange { field: "amount", got })
}
