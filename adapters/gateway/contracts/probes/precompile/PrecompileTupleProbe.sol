// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PrecompileFlavour} from "../../precompile/PrecompileFlavour.sol";
import {TupleViews} from "../TupleProbe.sol";

/// Every hashed tuple, by the crypto contract.
contract PrecompileTupleProbe is TupleViews, PrecompileFlavour {}
