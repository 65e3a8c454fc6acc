//! Push rules: the account data `m.push_rules`, edited in one transaction and remembered as rules.
//!
//! Invariant: server-default rules are always those of this program, with the user's switches and
//! actions kept; the cache drops a user's rules in the commit that changes them.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#push-rules>

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;
use ruma::{
    OwnedUserId, UserId,
    events::push_rules::PushRulesEventContent,
    push::{Action, InsertPushRuleError, NewPushRule, RemovePushRuleError, RuleKind, Ruleset},
};
use sea_orm::{EntityTrait, QuerySelect};

use super::{
    Change, LogKind, Published, Store, StoreError, Tx, account_data as data, entity::account_data,
};

/// The type of the account data.
pub(super) const PUSH_RULES: &str = "m.push_rules";
/// The longest set of rules, in bytes.
const RULES_BYTES_MAX: usize = 256 * 1024;
/// How many users' rules are remembered; each costs about 10 KiB.
const CACHED_MAX: usize = 1000;

/// Rules as remembered.
#[derive(Debug)]
pub(super) struct RulesCache {
    rules: Cache<Box<str>, Arc<Ruleset>>,
    changes: Mutex<u64>,
}

impl RulesCache {
    pub(super) fn new() -> Self {
        Self {
            rules: Cache::new(CACHED_MAX),
            changes: Mutex::new(0),
        }
    }

    /// Drops the rules of users that a commit has changed.
    pub(super) fn on_commit(&self, published: &Published) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for row in &published.rows {
            if row.kind == LogKind::AccountData
                && row.reference.as_deref() == Some(PUSH_RULES)
                && let Some(user) = row.scope.strip_prefix('u')
            {
                *changes += 1;
                self.rules.remove(user);
            }
        }
    }
}

impl Store {
    /// The push rules of a local user.
    ///
    /// # Errors
    /// What the database says.
    pub async fn push_rules(&self, user: &UserId) -> Result<Arc<Ruleset>, StoreError> {
        let cache = &self.rules_cache;
        if let Some(rules) = cache.rules.get(user.as_str()) {
            return Ok(rules);
        }
        let lock = || cache.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = *lock();
        let stored = self.account_datum(user, None, PUSH_RULES).await?;
        let rules = Arc::new(current(user, stored.as_deref()));
        let changes = lock();
        if *changes == mark {
            cache.rules.insert(user.as_str().into(), Arc::clone(&rules));
        }
        drop(changes);
        Ok(rules)
    }
}

/// The rules as stored, brought up to date; the default ones if there are none or they are
/// unreadable.
fn current(user: &UserId, stored: Option<&str>) -> Ruleset {
    let defaults = Ruleset::server_default(user);
    let stored = stored.and_then(|json| serde_json::from_str::<PushRulesEventContent>(json).ok());
    match stored {
        Some(content) => {
            let mut rules = content.global;
            rules.update_with_server_default(defaults);
            rules
        }
        None => defaults,
    }
}

/// Rules as they are stored.
pub(super) fn to_json(rules: Ruleset) -> Result<String, StoreError> {
    serde_json::to_string(&PushRulesEventContent::new(rules))
        .map_err(|_| StoreError::corrupt("account_data", "content"))
}

/// How rules are changed.
#[derive(Clone, Debug)]
pub enum PushRuleEdit {
    /// A rule of the user's own is added or replaced.
    Insert {
        /// The rule.
        rule: Box<NewPushRule>,
        /// The rule that it comes next after.
        after: Option<String>,
        /// The rule that it comes next before.
        before: Option<String>,
    },
    /// A rule of the user's own is removed.
    Remove {
        /// Its kind.
        kind: RuleKind,
        /// Its id.
        rule_id: String,
    },
    /// A rule is switched on or off.
    SetEnabled {
        /// Its kind.
        kind: RuleKind,
        /// Its id.
        rule_id: String,
        /// Whether it applies from now on.
        enabled: bool,
    },
    /// A rule gets other actions.
    SetActions {
        /// Its kind.
        kind: RuleKind,
        /// Its id.
        rule_id: String,
        /// What it does from now on.
        actions: Vec<Action>,
    },
}

/// Why rules are not changed.
#[derive(Debug, thiserror::Error)]
pub enum PushRuleError {
    /// The new rule, or its place, is not valid.
    #[error(transparent)]
    Insert(#[from] InsertPushRuleError),
    /// The rule cannot be removed: it is one of the server's.
    #[error("server-default rules cannot be removed")]
    ServerDefault,
    /// There is no such rule.
    #[error("there is no such rule")]
    NotFound,
    /// There would be too many.
    #[error("too many rules")]
    TooMany,
}

/// Changes the rules of a user.
#[derive(Clone, Debug)]
pub struct EditPushRules {
    /// Whose.
    pub user_id: OwnedUserId,
    /// How.
    pub edit: PushRuleEdit,
}

impl Change for EditPushRules {
    type Output = Result<(), PushRuleError>;

    async fn apply(&self, tx: &mut Tx) -> Result<Self::Output, StoreError> {
        let stored: Option<String> =
            account_data::Entity::find_by_id(data::key(&self.user_id, None, PUSH_RULES))
                .select_only()
                .column(account_data::Column::Content)
                .into_tuple()
                .one(tx.connection())
                .await?;
        let mut rules = current(&self.user_id, stored.as_deref());
        if let Err(error) = self.edit(&mut rules) {
            return Ok(Err(error));
        }
        let content = to_json(rules)?;
        if content.len() > RULES_BYTES_MAX {
            return Ok(Err(PushRuleError::TooMany));
        }
        let written = data::write(tx, &self.user_id, None, PUSH_RULES, &content).await?;
        Ok(written.then_some(()).ok_or(PushRuleError::TooMany))
    }
}

impl EditPushRules {
    fn edit(&self, rules: &mut Ruleset) -> Result<(), PushRuleError> {
        match &self.edit {
            PushRuleEdit::Insert {
                rule,
                after,
                before,
            } => insert(rules, rule, after.as_deref(), before.as_deref()),
            PushRuleEdit::Remove { kind, rule_id } => {
                rules
                    .remove(kind.clone(), rule_id)
                    .map_err(|error| match error {
                        RemovePushRuleError::ServerDefault => PushRuleError::ServerDefault,
                        _ => PushRuleError::NotFound,
                    })
            }
            PushRuleEdit::SetEnabled {
                kind,
                rule_id,
                enabled,
            } => rules
                .set_enabled(kind.clone(), rule_id, *enabled)
                .map_err(|_| PushRuleError::NotFound),
            PushRuleEdit::SetActions {
                kind,
                rule_id,
                actions,
            } => rules
                .set_actions(kind.clone(), rule_id, actions.clone())
                .map_err(|_| PushRuleError::NotFound),
        }
    }
}

/// Adds a rule, or replaces one of the same id, which stays switched as it was. One that is put somewhere is taken away first, so
/// that its place is counted among the others.
fn insert(
    rules: &mut Ruleset,
    rule: &NewPushRule,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<(), PushRuleError> {
    let (kind, id) = (rule.kind(), rule.rule_id().to_owned());
    if after == Some(&id) || before == Some(&id) {
        return Err(InsertPushRuleError::UnknownRuleId.into());
    }
    let existing = rules.get(kind.clone(), &id);
    let enabled = existing.map(|rule| rule.enabled());
    if enabled.is_some() && (after.is_some() || before.is_some()) {
        // Rules of the server's are refused below, by their id.
        let _ = rules.remove(kind.clone(), &id);
    }
    rules.insert(rule.clone(), after, before)?;
    if let Some(enabled) = enabled {
        let _ = rules.set_enabled(kind, &id, enabled);
    }
    Ok(())
}
