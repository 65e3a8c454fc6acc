//! Whether an event notifies a user, by the user's push rules.
//!
//! Invariant: the cost of one user is bounded by the number of their rules times the length of the event, whatever the
//! patterns are; an event is taken apart once for all users. An event never notifies its sender.
//!
//! The types are ruma's; the evaluation is our own, because that of the library recurses over a message's words, and aborts
//! on some patterns.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#push-rules>.

use std::{borrow::Cow, ops::RangeBounds as _};

use ruma::{
    UInt, UserId,
    push::{
        Action, AnyPushRuleRef, ConditionalPushRule, PushCondition, PushConditionPowerLevelsCtx,
        Ruleset, ScalarJsonValue,
    },
};
use serde_json::Value as JsonValue;

use crate::{
    glob::{self, Glob},
    limits::{PUSH_CONDITIONS_PER_RULE_MAX, PUSH_RULES_MAX},
    pdu::Pdu,
};

/// What an event adds to a user's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Whether it counts as a notification.
    pub notify: bool,
    /// Whether it counts as a highlight too.
    pub highlight: bool,
}

/// An event taken apart, once for all users of the room.
#[derive(Debug)]
pub struct PushEvent<'a> {
    pdu: &'a Pdu,
    content: JsonValue,
}

impl<'a> PushEvent<'a> {
    /// Takes an event apart. Use the redacted form of what is redacted or expired.
    pub fn new(pdu: &'a Pdu) -> Self {
        Self {
            pdu,
            content: serde_json::from_str(pdu.content.get()).unwrap_or_default(),
        }
    }

    /// The string at a dot-separated path.
    fn string(&self, path: &str) -> Option<&str> {
        match path {
            "type" | "sender" | "room_id" | "state_key" | "event_id" => self.top_level(path),
            _ => self.in_content(path)?.as_str(),
        }
    }

    fn top_level(&self, key: &str) -> Option<&str> {
        match key {
            "sender" => Some(self.pdu.sender.as_str()),
            "room_id" => Some(self.pdu.room_id.as_str()),
            "state_key" => self.pdu.state_key.as_deref(),
            "event_id" => Some(self.pdu.event_id.as_str()),
            _ => None,
        }
    }

    /// The value at a path below `content`. <https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths>
    fn in_content(&self, path: &str) -> Option<&JsonValue> {
        let mut value = &self.content;
        for key in segments(path.strip_prefix("content.")?) {
            value = value.get(&*key)?;
        }
        Some(value)
    }

    /// Whether the sender says whom the event mentions; the rules that look for names in the text are off then.
    fn has_mentions(&self) -> bool {
        self.content.get("m.mentions").is_some()
    }
}

/// The parts of a path: split at each dot that no backslash precedes.
fn segments(path: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = false;
        let end = text.bytes().position(|byte| {
            let is_end = byte == b'.' && !escaped;
            escaped = byte == b'\\' && !escaped;
            is_end
        });
        let (segment, after) = match end {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(if segment.contains('\\') {
            Cow::Owned(segment.replace(r"\.", ".").replace(r"\\", r"\"))
        } else {
            Cow::Borrowed(segment)
        })
    })
}

/// The room at the time of the event.
#[derive(Debug, Clone, Copy)]
pub struct PushRoom<'a> {
    /// How many members are joined.
    pub joined_members: u32,
    /// Who may notify the whole room. Without it, no one.
    pub power_levels: Option<&'a PushConditionPowerLevelsCtx>,
}

/// The user who is perhaps notified.
#[derive(Debug, Clone, Copy)]
pub struct PushUser<'a> {
    /// Whose rules these are.
    pub user_id: &'a UserId,
    /// The name that the user has in the room.
    pub display_name: Option<&'a str>,
}

/// What `event` adds to the counts of `user`: what the first rule that applies says.
pub fn count(
    ruleset: &Ruleset,
    event: &PushEvent<'_>,
    room: &PushRoom<'_>,
    user: &PushUser<'_>,
) -> Count {
    actions(ruleset, event, room, user).map_or(Count::default(), |actions| {
        let notify = actions.iter().any(Action::should_notify);
        Count {
            notify,
            highlight: notify && actions.iter().any(Action::is_highlight),
        }
    })
}

/// The actions of the first rule that applies.
pub fn actions<'r>(
    ruleset: &'r Ruleset,
    event: &PushEvent<'_>,
    room: &PushRoom<'_>,
    user: &PushUser<'_>,
) -> Option<&'r [Action]> {
    if event.pdu.sender == *user.user_id {
        return None;
    }
    let kind = event.pdu.kind.to_string();
    let context = Context {
        event,
        kind: &kind,
        room,
        user,
    };
    ruleset
        .iter()
        .take(PUSH_RULES_MAX)
        .find(|rule| context.applies(*rule))
        .map(AnyPushRuleRef::actions)
}

/// Whether a rule with this pattern can ever match. Refuse others when they are set (`M_INVALID_PARAM`).
pub fn is_usable_pattern(pattern: &str) -> bool {
    Glob::new(pattern).is_some()
}

/// All that a condition may look at.
struct Context<'a> {
    event: &'a PushEvent<'a>,
    /// The type of the event.
    kind: &'a str,
    room: &'a PushRoom<'a>,
    user: &'a PushUser<'a>,
}

impl Context<'_> {
    fn applies(&self, rule: AnyPushRuleRef<'_>) -> bool {
        if !rule.enabled() {
            return false;
        }
        match rule {
            AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
                self.conditions_hold(rule)
            }
            AnyPushRuleRef::Content(rule) => {
                !(rule.rule_id == ".m.rule.contains_user_name" && self.event.has_mentions())
                    && self.body_has(Glob::new(&rule.pattern))
            }
            AnyPushRuleRef::Room(rule) => rule.rule_id == self.event.pdu.room_id,
            AnyPushRuleRef::Sender(rule) => rule.rule_id == self.event.pdu.sender,
            _ => false,
        }
    }

    fn conditions_hold(&self, rule: &ConditionalPushRule) -> bool {
        let looks_for_names = matches!(
            &*rule.rule_id,
            ".m.rule.roomnotif" | ".m.rule.contains_display_name"
        );
        !(looks_for_names && self.event.has_mentions())
            && rule.conditions.len() <= PUSH_CONDITIONS_PER_RULE_MAX
            && rule
                .conditions
                .iter()
                .all(|condition| self.holds(condition))
    }

    #[expect(
        deprecated,
        reason = "clients still set rules with `contains_display_name`"
    )]
    fn holds(&self, condition: &PushCondition) -> bool {
        match condition {
            PushCondition::EventMatch(data) if data.key == "type" => {
                glob::matches(&data.pattern, self.kind)
            }
            PushCondition::EventMatch(data) if data.key == "content.body" => {
                self.body_has(Glob::new(&data.pattern))
            }
            PushCondition::EventMatch(data) => self
                .event
                .string(&data.key)
                .is_some_and(|text| glob::matches(&data.pattern, text)),
            PushCondition::ContainsDisplayName => self
                .user
                .display_name
                .is_some_and(|name| self.body_has(Glob::literal(name))),
            PushCondition::RoomMemberCount(data) => {
                data.is.contains(&UInt::from(self.room.joined_members))
            }
            PushCondition::SenderNotificationPermission(data) => {
                self.room.power_levels.is_some_and(|levels| {
                    levels.has_sender_notification_permission(&self.event.pdu.sender, &data.key)
                })
            }
            PushCondition::EventPropertyIs(data) => match data.key.as_str() {
                "type" => data.value.as_str() == Some(self.kind),
                key => match self.event.top_level(key) {
                    Some(text) => data.value.as_str() == Some(text),
                    None => self
                        .event
                        .in_content(key)
                        .is_some_and(|value| is_scalar(value, &data.value)),
                },
            },
            PushCondition::EventPropertyContains(data) => self
                .event
                .in_content(&data.key)
                .and_then(JsonValue::as_array)
                .is_some_and(|values| values.iter().any(|value| is_scalar(value, &data.value))),
            // "Unrecognised conditions MUST NOT match any events"
            _ => false,
        }
    }

    fn body_has(&self, pattern: Option<Glob>) -> bool {
        let body = self.event.content.get("body").and_then(JsonValue::as_str);
        matches!((body, pattern), (Some(body), Some(pattern)) if pattern.matches_words(body))
    }
}

fn is_scalar(value: &JsonValue, expect: &ScalarJsonValue) -> bool {
    match expect {
        ScalarJsonValue::Null => value.is_null(),
        ScalarJsonValue::Bool(expect) => value.as_bool() == Some(*expect),
        ScalarJsonValue::Integer(expect) => value.as_i64() == Some((*expect).into()),
        ScalarJsonValue::String(expect) => value.as_str() == Some(expect),
    }
}

#[cfg(test)]
mod tests;
