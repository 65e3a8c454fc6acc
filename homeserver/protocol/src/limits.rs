//! Every bound of the protocol, with its unit in its name.
//!
//! Invariant: what the specification bounds is bounded by a constant here, which code elsewhere names instead of the number.
//! Relations between them are asserted at compile time.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#size-limits>.

/// Largest event in federation format, canonical, with its signatures, without `unsigned`.
/// <https://spec.matrix.org/v1.19/client-server-api/#size-limits>
pub const PDU_BYTES_MAX: usize = 65_536;

/// Most persistent events in one transaction. <https://spec.matrix.org/v1.19/server-server-api/#transactions>
pub const PDUS_PER_TRANSACTION_MAX: usize = 50;

/// Most ephemeral events in one transaction. <https://spec.matrix.org/v1.19/server-server-api/#transactions>
pub const EDUS_PER_TRANSACTION_MAX: usize = 100;

/// Largest ephemeral event that is sent, and largest message to a device. The specification sets no bound: what is read of others is
/// bounded by their transaction alone, for one EDU may carry messages for any number of devices.
pub const EDU_BYTES_MAX: usize = 65_536;

/// Largest body of a transaction that is read: all its events at their largest, and room for the envelope.
pub const TRANSACTION_BYTES_MAX: usize = (PDUS_PER_TRANSACTION_MAX * PDU_BYTES_MAX)
    + (EDUS_PER_TRANSACTION_MAX * EDU_BYTES_MAX)
    + 65_536;

/// Deepest nesting of arrays and objects that is read, the outermost object counting as one.
///
/// Parsers in common use stop at 128 levels; an event is served inside the six or so levels of a sync response, and one
/// that no client can read would break that client's whole sync.
pub const JSON_DEPTH_MAX: usize = 100;

/// Deepest nesting of a peer's request that is taken as a whole: an event lies within the arrays of an answer, and a list of rooms
/// or users may lie around it. A transaction is taken piece by piece.
pub const TRANSACTION_DEPTH_MAX: usize = JSON_DEPTH_MAX + 10;

/// The depth at which the JSON parser that we and many clients use gives up.
pub const JSON_DEPTH_PARSER_MAX: usize = 128;

/// Most `auth_events` of an event. <https://spec.matrix.org/v1.19/rooms/v12/#event-format-1>
pub const AUTH_EVENTS_MAX: usize = 10;

/// Most `prev_events` of an event. <https://spec.matrix.org/v1.19/rooms/v12/#event-format-1>
pub const PREV_EVENTS_MAX: usize = 20;

/// Longest user, room, event, alias identifier, event type or state key, in bytes.
/// <https://spec.matrix.org/v1.19/appendices/#common-identifier-format>
pub const ID_BYTES_MAX: usize = 255;

/// Most forward extremities that a room may have: as many as one event of ours can name, so that the state before it is
/// what others compute from its predecessors. Beyond, those of the server that made most of them are dropped.
pub const EXTREMITIES_MAX: usize = PREV_EVENTS_MAX;

/// Most signing keys of one server that are looked up to verify one event.
pub const KEYS_PER_SERVER_AND_EVENT_MAX: usize = 8;

/// Greatest integer that canonical JSON can hold. <https://spec.matrix.org/v1.19/appendices/#canonical-json>
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// Greatest `depth` of an event. <https://spec.matrix.org/v1.19/rooms/v6/#canonical-json>
pub const DEPTH_MAX: u64 = (1 << 53) - 1;

/// Most events that the calculation of a state resolution looks at before it gives up.
pub const RESOLVE_EVENTS_MAX: usize = 200_000;

/// Most forks that are resolved against each other at once: all that a room can have, and one more that comes.
pub const STATE_SETS_MAX: usize = EXTREMITIES_MAX + 1;

/// Most characters, besides `*`, of a glob pattern that can match: no identifier that one is held against is longer.
pub const GLOB_CHARS_MAX: usize = 255;

/// Most push rules of one user. The specification sets no bound.
pub const PUSH_RULES_MAX: usize = 1_000;

/// Most conditions of one push rule. The specification sets no bound.
pub const PUSH_CONDITIONS_PER_RULE_MAX: usize = 32;

/// Longest `Authorization` header of a server that is read, in bytes.
pub const X_MATRIX_BYTES_MAX: usize = 2_048;

/// Most parameters of that header, unknown ones included.
pub const X_MATRIX_PARAMETERS_MAX: usize = 16;

/// Largest `/.well-known/matrix/server` that is read, in bytes. The specification sets no bound.
pub const WELL_KNOWN_BYTES_MAX: usize = 16 * 1024;

/// The first pause after a failed delivery to a server, in milliseconds; doubled after each further failure.
pub const BACK_OFF_MS_MIN: u64 = 2_000;

/// The longest pause between two attempts at a server, in milliseconds.
pub const BACK_OFF_MS_MAX: u64 = 3_600_000;

/// How long a server must have failed before it is sent one newest event for each room instead of all, in milliseconds.
pub const CATCH_UP_AFTER_MS: u64 = 3_600_000;

const _: () = assert!(BACK_OFF_MS_MIN < BACK_OFF_MS_MAX, "pauses grow");
const _: () = assert!(
    JSON_DEPTH_MAX + 20 < JSON_DEPTH_PARSER_MAX,
    "a served event must stay parseable"
);
const _: () = assert!(
    TRANSACTION_DEPTH_MAX < JSON_DEPTH_PARSER_MAX,
    "a transaction must be parseable"
);
const _: () = assert!(
    EXTREMITIES_MAX <= PREV_EVENTS_MAX,
    "what we send, others must accept"
);
const _: () = assert!(
    STATE_SETS_MAX > EXTREMITIES_MAX && STATE_SETS_MAX >= PREV_EVENTS_MAX,
    "every fork that we let be can be resolved"
);
const _: () = assert!(
    ID_BYTES_MAX * (AUTH_EVENTS_MAX + PREV_EVENTS_MAX) < PDU_BYTES_MAX / 2,
    "edges leave room"
);
const _: () = assert!(
    TRANSACTION_BYTES_MAX > PDUS_PER_TRANSACTION_MAX * PDU_BYTES_MAX,
    "a full transaction fits"
);
const _: () = assert!(
    DEPTH_MAX == INTEGER_MAX as u64,
    "depth is an integer of canonical JSON"
);
const _: () = assert!(
    PDU_BYTES_MAX <= u32::MAX as usize,
    "offsets within an event fit in 32 bits"
);
