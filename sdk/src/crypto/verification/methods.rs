//! Which ways of verifying a device offers, and which of them two devices have in common.
//!
//! Invariant: a code can be shown only to a device that scans, and scanned only from one that shows.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#qr-codes>

use ruma::serde::JsonObject;
use serde_json::{Value, json};

use super::{
    QrAbilities,
    qr::{RECIPROCATE, SCAN, SHOW},
    sas::METHOD,
};
use crate::crypto::machine::OlmMachine;

/// What a device can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Methods {
    pub(super) sas: bool,
    pub(super) codes: QrAbilities,
}

impl Methods {
    /// What the sender of a request or of a `ready` can do.
    pub(super) fn offered(content: &JsonObject) -> Self {
        let list = content.get("methods").and_then(Value::as_array);
        let has = |name: &str| {
            list.is_some_and(|list| list.iter().any(|item| item.as_str() == Some(name)))
        };
        Self {
            sas: has(METHOD),
            codes: QrAbilities {
                show: has(SHOW) && has(RECIPROCATE),
                scan: has(SCAN) && has(RECIPROCATE),
            },
        }
    }

    /// What this device can do with one that can do `theirs`.
    pub(super) const fn with(self, theirs: Self) -> Self {
        Self {
            sas: self.sas && theirs.sas,
            codes: QrAbilities {
                show: self.codes.show && theirs.codes.scan,
                scan: self.codes.scan && theirs.codes.show,
            },
        }
    }

    /// Whether there is any way.
    pub(super) const fn any(self) -> bool {
        self.sas || self.codes.show || self.codes.scan
    }

    fn names(self) -> Vec<&'static str> {
        let QrAbilities { show, scan } = self.codes;
        let all = [
            (self.sas, METHOD),
            (show, SHOW),
            (scan, SCAN),
            (show || scan, RECIPROCATE),
        ];
        all.into_iter()
            .filter_map(|(can, name)| can.then_some(name))
            .collect()
    }
}

impl OlmMachine {
    /// Says what this device can do with codes; without it, nothing. It is not remembered over a restart.
    pub const fn set_qr_abilities(&mut self, abilities: QrAbilities) {
        self.qr_abilities = abilities;
    }

    pub(super) const fn methods(&self) -> Methods {
        Methods {
            sas: true,
            codes: self.qr_abilities,
        }
    }

    pub(super) fn request_fields(&self) -> JsonObject {
        self.method_fields(self.methods())
    }

    pub(super) fn method_fields(&self, methods: Methods) -> JsonObject {
        JsonObject::from_iter([
            ("from_device".to_owned(), self.device_id.as_str().into()),
            ("methods".to_owned(), json!(methods.names())),
        ])
    }
}
