//! How vodozemac's objects are written into records.
//!
//! Invariant: an object is written by its own pickle type, so that what is read back is what vodozemac checks.

/// Makes a module for `#[serde(with = "…")]` that writes an object as its pickle.
macro_rules! pickled {
    ($module:ident, $object:ty, $pickle:ty) => {
        pub(super) mod $module {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            pub(in crate::crypto) fn serialize<S: Serializer>(
                object: &$object,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                object.pickle().serialize(serializer)
            }

            pub(in crate::crypto) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$object, D::Error> {
                <$pickle>::deserialize(deserializer).map(<$object>::from_pickle)
            }
        }
    };
}

pickled!(
    account,
    vodozemac::olm::Account,
    vodozemac::olm::AccountPickle
);
pickled!(
    olm_session,
    vodozemac::olm::Session,
    vodozemac::olm::SessionPickle
);
pickled!(
    outbound,
    vodozemac::megolm::GroupSession,
    vodozemac::megolm::GroupSessionPickle
);
pickled!(
    inbound,
    vodozemac::megolm::InboundGroupSession,
    vodozemac::megolm::InboundGroupSessionPickle
);
