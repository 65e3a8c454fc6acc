//! What has no deadline is not among the deadlines: most messages have none, and each was written to an index for nothing.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, index) in indexes() {
            // If this was interrupted, it begins anew.
            let old = Index::drop().name(name).if_exists().to_owned();
            manager.drop_index(old).await?;
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn indexes() -> [(&'static str, IndexCreateStatement); 3] {
    [
        ("events_destroy_at", "events", "destroy_at"),
        ("to_device_expires", "to_device", "expires_ms"),
        ("outbound_edus_expires", "outbound_edus", "expires_ms"),
    ]
    .map(|(name, table, column)| {
        let index = Index::create()
            .name(name)
            .table(Alias::new(table))
            .col(Alias::new(column))
            .and_where(Expr::col(Alias::new(column)).is_not_null())
            .to_owned();
        (name, index)
    })
}
