// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Governance} from "./Governance.sol";
import {Inbox} from "./Inbox.sol";
import {Outbox} from "./Outbox.sol";
import {SettlementDesk} from "./SettlementDesk.sol";

/// @title The gateway without its flavour: what every chain runs.
abstract contract GatewayLogic is Governance, Outbox, Inbox, SettlementDesk {}
