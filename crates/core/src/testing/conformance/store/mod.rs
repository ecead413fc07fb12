//! What every store engine owes (`ports::store`), as tests. An engine runs the whole suite with
//! [`store_conformance!`](crate::store_conformance).
//!
//! [`publishing`]: guarantees 1, 2, 4, 5; [`reading`]: 3, 6; [`rows`]: what stage accepts and refuses;
//! [`schemas`]: changes of the catalog while old snapshots are still read.

use std::sync::Arc;

use async_trait::async_trait;

use crate::ports::{StoreEngine, StoreWriter};
use crate::seq::{CommitSeq, WriterEpoch};
use crate::testing::tables::position;

pub mod publishing;
pub mod reading;
pub mod rows;
pub mod schemas;

/// One engine over one place of storage.
#[async_trait]
pub trait StoreUnderTest: Send + Sync {
    /// The engine as it runs now.
    fn engine(&self) -> Arc<dyn StoreEngine>;

    /// Ends the engine as `kill -9` would, and opens it again over the same storage.
    async fn crash(&mut self);
}

/// Makes empty engines.
#[async_trait]
pub trait StoreFactory: Send + Sync {
    /// An engine over new, empty storage.
    async fn open(&self) -> Box<dyn StoreUnderTest>;
}

/// Publishes everything staged, as transaction `seq`.
pub(crate) async fn publish(writer: &mut dyn StoreWriter, seq: u64) {
    writer.publish(CommitSeq(seq), position(seq)).await.expect("publish");
}

/// A writer of the first epoch.
pub(crate) async fn writer(engine: &dyn StoreEngine) -> Box<dyn StoreWriter> {
    engine.open_writer(WriterEpoch(1)).await.expect("open writer")
}

/// Declares one `#[tokio::test]` per conformance test, for the engines that the factory expression makes.
///
/// ```text
/// tidelake_core::store_conformance!(MyFactory);
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($factory:expr) => {
        $crate::store_conformance!(@tests $factory;
            publishing: staged_is_invisible, publish_is_atomic_over_tables, publish_checks_its_seq,
                crash_goes_back_to_durable_over_all_tables, open_writer_discards_staged, old_writers_are_fenced,
                progress_wakes_waiters, a_reader_of_the_seq_may_ask_for_the_catalog;
            reading: snapshots_repeat_under_flush, splits_survive_a_flush, durable_snapshots_survive_a_restart,
                below_the_horizon_is_expired, unpublished_is_refused, projection_reorders_and_narrows,
                predicates_never_lose_rows, statistics_count_live_rows, every_type_reads_back;
            rows: insert_of_an_existing_key_diverges, delete_of_a_missing_row_diverges, diverged_changes_nothing,
                diverged_after_flush_changes_nothing, tolerant_ops_tolerate, key_change_in_one_transaction,
                key_swap_in_one_transaction, delete_then_insert_again, born_and_dead_in_one_transaction,
                duplicates_without_a_key, upserts_without_a_key_are_inserts, rows_of_a_wrong_version_are_refused,
                keys_are_exact_bytes;
            schemas: catalog_is_by_seq, copying_tables_are_not_scannable, copy_swaps_beside_the_old_table,
                stopped_is_refused_with_its_reason, truncate_empties, truncate_can_be_discarded,
                drop_and_create_again, rename_swap, added_columns_have_their_initial_value,
                dropped_columns_stay_in_old_snapshots, columns_widen, keys_widen_and_still_match,
                new_key_columns_identify_old_rows, keyless_rows_match_after_an_added_column,
                lossy_alter_diverges, schema_survives_a_crash, discarded_alter_leaves_the_old_version;
        );
    };
    (@tests $factory:expr; $($room:ident: $($name:ident),+ $(,)?;)+) => {
        $(mod $room {
            #[allow(unused_imports)]
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::testing::conformance::store::$room::$name(&$factory).await;
            })+
        })+
    };
}

#[cfg(test)]
mod mem_store_conforms {
    use super::{StoreFactory, StoreUnderTest};
    use crate::ports::StoreEngine;
    use crate::testing::MemStore;
    use async_trait::async_trait;
    use std::sync::Arc;

    struct Mem(MemStore);

    #[async_trait]
    impl StoreUnderTest for Mem {
        fn engine(&self) -> Arc<dyn StoreEngine> {
            Arc::new(self.0.clone())
        }

        async fn crash(&mut self) {
            self.0 = self.0.crash();
        }
    }

    struct MemFactory;

    #[async_trait]
    impl StoreFactory for MemFactory {
        async fn open(&self) -> Box<dyn StoreUnderTest> {
            Box::new(Mem(MemStore::new()))
        }
    }

    crate::store_conformance!(MemFactory);
}
