//! The contracts' interface, as in `contracts/`. A test compares it with the compiled artifacts.

use alloy_sol_types::sol;

sol! {
    #![sol(extra_derives(Debug, PartialEq, Eq))]

    struct LaneIdentity {
        bytes32 sourceDomain;
        bytes32 destinationDomain;
        bytes32 sourceGateway;
        bytes32 destinationGateway;
        bytes32 sourceVerifier;
        bytes32 destinationVerifier;
        bytes32 channelHash;
        bytes32 salt;
    }

    struct LaneLimits {
        bool strict;
        uint32 maxPayloadBytes;
        uint64 maxGasLimit;
        uint64 maxLifetimeMillis;
        uint64 callbackGas;
        uint64 quota;
    }

    struct LaneInfo {
        uint8 state;
        uint8 role;
        bool paused;
        address verifier;
        uint64 readyAtMillis;
        LaneLimits limits;
        bool senderList;
        bool receiverList;
        uint64 index;
        bytes32 head;
        uint64 peerIndex;
        bytes32 peerHead;
        bytes32 settledOutboxHead;
        bytes32 haltedId;
    }

    struct GatewayInfo {
        uint32 version;
        bytes32 domain;
        uint8 clock;
        uint64 openDelayMillis;
        uint64 closeDelayMillis;
        address owner;
        address proposedOwner;
        bool paused;
    }

    struct Entry {
        bytes32 sender;
        bytes32 receiver;
        uint64 deadlineMillis;
        uint64 gasLimit;
        bool payloadHashed;
        bytes payload;
    }

    struct Settlement {
        bytes32 sender;
        bytes32 receiver;
        uint64 deadlineMillis;
        uint64 gasLimit;
        bytes32 payloadHash;
        uint8 status;
        bytes32 resultHash;
    }

    interface Gateway {
        constructor(bytes32 domain, uint8 clock, uint64 openDelayMillis, uint64 closeDelayMillis, address owner);

        function heads(bytes32 lane) external view returns (bytes32 head);
        function indexes(bytes32 lane) external view returns (uint256 index);
        function pendingCallbacks(bytes32 lane, uint64 index) external view returns (bytes32 outcome);
        function gatewayInfo() external view returns (GatewayInfo memory);
        function laneInfo(bytes32 lane) external view returns (LaneInfo memory);
        function isAllowed(bytes32 lane, uint8 list, bytes32 account) external view returns (bool);

        function announceLane(LaneIdentity calldata identity, LaneLimits calldata limits, bytes32[] calldata senders, bytes32[] calldata receivers) external returns (bytes32 lane);
        function openLane(bytes32 lane) external;
        function pause(bytes32 lane) external;
        function unpause(bytes32 lane) external;
        function setAllowed(bytes32 lane, uint8 list, bytes32 account, bool allowed) external;
        function announceClose(bytes32 lane) external;
        function closeLane(bytes32 lane) external;
        function handOver(address proposed) external;
        function acceptOwner() external;
        function skip(bytes32 lane, uint64 index) external;

        function send(bytes32 lane, bytes32 receiver, uint64 deadlineMillis, uint64 gasLimit, bytes calldata payload) external returns (uint64 index, bytes32 id);
        function checkpoint(bytes32 lane, uint8 direction) external;
        function deliver(bytes32 lane, uint64 firstIndex, Entry[] calldata entries, bytes32[] calldata tailIds, bytes32 head, bytes calldata evidence) external;
        function execute(bytes32 lane, uint64 index, bytes32 sender, address receiver, uint64 gasLimit, bytes calldata payload) external;
        function settle(bytes32 lane, uint64 firstIndex, Settlement[] calldata entries, bytes32[] calldata tailOutcomes, bytes32[] calldata tailIds, bytes32 head, bytes calldata evidence) external;
        function retryCallback(bytes32 lane, uint64 index, Settlement calldata entry) external;

        event MessageSent(bytes32 indexed lane, uint64 indexed index, bytes32 sender, bytes32 receiver, uint64 deadlineMillis, uint64 gasLimit, bytes payload, bytes32 head);
        event Checkpoint(bytes32 indexed lane, uint8 direction, uint64 index, bytes32 head);
        event MessageDelivered(bytes32 indexed lane, uint64 indexed index, bytes32 id, uint8 status, bytes result, bytes32 head);
        event LaneHalted(bytes32 indexed lane, uint64 indexed index, bytes32 id, bytes result);
        event MessageSettled(bytes32 indexed lane, uint64 indexed index, bytes32 id, uint8 status, bytes32 resultHash, bool callbackOk);
        event CallbackRetried(bytes32 indexed lane, uint64 indexed index);
        event LaneAnnounced(bytes32 indexed lane, LaneIdentity identity, LaneLimits limits, bytes32[] senders, bytes32[] receivers, uint64 readyAtMillis);
        event LaneOpened(bytes32 indexed lane, uint8 role, bytes32 head);
        event CloseAnnounced(bytes32 indexed lane, uint64 readyAtMillis);
        event LaneClosed(bytes32 indexed lane, uint64 index, uint64 peerIndex);
        event PauseChanged(bytes32 indexed lane, bool paused);
        event AllowanceChanged(bytes32 indexed lane, uint8 list, bytes32 account, bool allowed);
        event HandOverProposed(address owner, address proposed);
        event OwnerChanged(address previous, address owner);

        error HashIsNotKeccak();
        error RecoveryIsWrong();
        error ClockIsWrong(uint8 clock, uint256 timestamp);
        error ZeroNotAllowed();
        error OnlyOwner(address caller);
        error OnlyProposedOwner(address caller);
        error OnlySelf(address caller);
        error OnlyPlainAccounts(address caller);
        error ReEntered();
        error Paused(bytes32 lane);
        error LaneIsNot(bytes32 lane, uint8 expectedRole);
        error WrongState(bytes32 lane, uint8 state);
        error TooEarly(uint64 nowMillis, uint64 readyAtMillis);
        error WrongDomains(bytes32 source, bytes32 destination);
        error WrongGateway(bytes32 local, bytes32 remote);
        error WrongVerifier(bytes32 local, bytes32 remote);
        error StrictNeedsLists();
        error LimitsMalformed();
        error NoSuchList(bytes32 lane, uint8 list);
        error WrongDirection(uint8 got, uint8 expected);
        error PayloadTooLong(uint256 got, uint256 max);
        error GasLimitOutOfRange(uint64 got, uint64 max);
        error DeadlinePassed(uint64 deadlineMillis, uint64 nowMillis);
        error DeadlineTooFar(uint64 deadlineMillis, uint64 latestMillis);
        error SenderNotAllowed(bytes32 sender);
        error ReceiverNotAllowed(bytes32 receiver);
        error QuotaExceeded(uint64 unsettled, uint64 quota);
        error Gap(uint64 firstIndex, uint64 nextIndex);
        error BatchEmpty();
        error HeadMismatch(bytes32 got, bytes32 expected);
        error NotVouched(bytes32 got);
        error NotExpired(uint64 index, uint64 deadlineMillis, uint64 nowMillis);
        error PayloadHashMalformed(uint64 index, uint256 length);
        error NotEnoughGas(uint64 index, uint64 gasLimit);
        error StillFailing(uint64 index, bytes result);
        error NotHalted(bytes32 lane, uint64 index);
        error StatusUnknown(uint64 index, uint8 status);
        error NoOutboxHeadAt(uint64 index);
        error NeverSent(uint64 index, bytes32 got, bytes32 expected);
        error NoPendingCallback(bytes32 lane, uint64 index);
        error CallbackFailed(uint64 index);
        error ReceiverRefused();
        error ReceiverNotListed();
        error ReceiverHasNoCode();
        error AboveLimits();
    }

    interface Committee {
        constructor(bytes32 domain, address[] members, uint32 threshold);

        function domain() external view returns (bytes32);
        function epoch() external view returns (uint64);
        function threshold() external view returns (uint32);
        function committee() external view returns (uint64 epoch, uint32 threshold, address[] memory members);
        function isMember(address account) external view returns (bool);
        function verify(bytes32 lane, uint8 direction, uint64 index, bytes32 head, bytes calldata evidence) external view returns (bytes32);
        function rotate(address[] calldata newMembers, uint32 newThreshold, bytes calldata oldSignatures, bytes calldata newSignatures) external;

        event Rotated(uint64 indexed epoch, address[] members, uint32 threshold);

        error HashIsNotKeccak();
        error RecoveryIsWrong();
        error ClockIsWrong(uint8 clock, uint256 timestamp);
        error DomainIsZero();
        error NoMembers();
        error TooManyMembers(uint256 got, uint256 max);
        error MembersNotAscending(uint256 position);
        error ThresholdOutOfRange(uint32 threshold, uint256 members);
        error EvidenceMalformed();
        error EpochUnknown(uint64 got, uint64 expected);
        error SignaturesMalformed(uint256 length);
        error TooFewSignatures(uint256 got, uint256 expected);
        error TooManySignatures(uint256 got, uint256 max);
        error SignatureInvalid(uint256 position);
        error SignersNotAscending(uint256 position);
        error SignerUnknown(address signer);
        error NewMemberMissing(address got, address expected);
    }

    /// What the gateway of flavour `hash = precompile` has besides.
    interface PrecompileGateway {
        constructor(bytes32 domain, uint8 clock, uint64 openDelayMillis, uint64 closeDelayMillis, address owner, uint8 callbackSelectors);

        function callbackSelectors() external view returns (uint8 selectors);

        error HashUnanswered();
        error CallbackSelectorsUnknown(uint8 got);
    }

    interface NoticeBoard {
        constructor(address gateway);

        function setTrusted(bytes32 lane, bool isTrusted) external;
        function count() external view returns (uint256);
        function notices(bytes32 lane, bytes32 sender) external view returns (bytes notice);
    }

    interface PrepaidOrders {
        constructor(address gateway);

        function issue(address buyer, uint256 amount) external;
        function order(bytes32 lane, bytes32 receiver, uint64 deadlineMillis, uint64 gasLimit, bytes calldata payload, uint256 price) external returns (uint64 index);
        function credit(address buyer) external view returns (uint256);
        function earned() external view returns (uint256);
    }
}
