//! The [`Source`] port over the rooms of this service.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::Conn;
use tidelake_core::ports::{Buffer, CopyProgress, Source, SourceStatus, StoreEngine, TransactionDecoder};
use tidelake_core::{Error, Result, SourcePosition, TableName};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::server::UpstreamServer;
use super::{DdlReading, ReplicaParts, ServiceOptions, Shared, TableVerdict, copy, history, stream, verify};
use crate::filter::TableFilter;
use crate::mysql::decoder::{BinlogDecoder, UnknownTables};
use crate::mysql::named;
use crate::mysql::position::BinlogPosition;

/// Longest wait for the upstream's answer to "where is your head".
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A MariaDB or MySQL server as a source. Cheap until [`Source::stream`] or [`Source::copy_tables`] run.
pub struct ServiceSource {
    shared: Arc<Shared>,
    /// The connection that asks for the head, kept open between questions.
    head: Mutex<Option<(Conn, UpstreamServer)>>,
}

impl ServiceSource {
    /// A source for these options, with this reading of DDL. Does not connect.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL is wrong.
    pub fn new(options: ServiceOptions) -> Result<ServiceSource> {
        let ddl = DdlReading { changes: crate::ddl::changes, create_table: crate::ddl::create_table };
        ServiceSource::with_ddl(options, ddl)
    }

    /// The same with another reading of DDL.
    ///
    /// # Errors
    /// As for [`ServiceSource::new`].
    pub fn with_ddl(options: ServiceOptions, ddl: DdlReading) -> Result<ServiceSource> {
        Ok(ServiceSource { shared: Arc::new(Shared::new(options, ddl)?), head: Mutex::new(None) })
    }

    /// The tables that are wanted now.
    #[must_use]
    pub fn filter(&self) -> TableFilter {
        self.shared.filter.now()
    }

    /// Other tables are wanted from now on: those that are missing are copied, those that are no longer wanted leave the
    /// replica.
    pub fn want_tables(&self, filter: TableFilter) {
        self.shared.filter.set(filter);
        self.shared.wishes.wake();
    }

    /// Copies a table again, beside the one that is there; readers keep that one until the copy is whole.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the table is not wanted.
    pub fn resync(&self, name: TableName) -> Result<()> {
        if !self.shared.filter.wants(&name) {
            return Err(Error::Invalid(format!("{name} is not among the replicated tables: add it first")));
        }
        self.shared.wishes.ask(name);
        Ok(())
    }

    /// The tables that were asked for with [`ServiceSource::resync`] and are not whole yet; `true`: the copy has begun,
    /// and goes on by itself after a restart.
    #[must_use]
    pub fn resyncs(&self) -> Vec<(TableName, bool)> {
        self.shared.wishes.all()
    }

    /// The tables that were asked for with [`ServiceSource::resync`] and are not copied again, because upstream has them no
    /// more.
    #[must_use]
    pub fn given_up_resyncs(&self) -> Vec<TableName> {
        self.shared.wishes.given_up()
    }

    /// Compares a table of the replica with the upstream's at one commit, while both go on. What keeps it from being
    /// compared stands in the verdict.
    pub async fn verify(&self, replica: &ReplicaParts, name: &TableName) -> TableVerdict {
        verify::verify(&self.shared, replica, name).await
    }

    /// Another server may answer now than the one that is read: its head would say nothing about the replica.
    async fn connect_head(&self, known: Option<&SourcePosition>) -> Result<(Conn, UpstreamServer)> {
        let connector = &self.shared.connector;
        let mut conn = connector.connect_plain().await?;
        let server = UpstreamServer::detect(connector, &mut conn).await?;
        if let Some(known) = known {
            let known = BinlogPosition::parse(known)?;
            match history::verify_same_history(connector, &mut conn, &server, &known).await {
                // whether it can be followed is found out by the stream
                Err(other) if !other.is_transient() && !self.shared.moves_to(&server).await => return Err(other),
                Err(other) if other.is_transient() => return Err(other),
                _ => {}
            }
        }
        Ok((conn, server))
    }

    /// One question over the kept connection; it is put back only if it answered.
    async fn ask_head(&self, kept: &mut Option<(Conn, UpstreamServer)>) -> Result<SourcePosition> {
        let known = self.shared.known();
        let (mut conn, server) = match kept.take() {
            Some(kept) => kept,
            None => self.connect_head(known.as_ref()).await?,
        };
        let head = history::read_head(&self.shared.connector, &mut conn, &server).await?;
        let head = self.shared.place_or_known(&server, head)?;
        if let Some(known) = known {
            history::verify_not_before(&self.shared.connector, &head, &known)?;
        }
        *kept = Some((conn, server));
        Ok(head)
    }
}

#[async_trait]
impl Source for ServiceSource {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    async fn stream(
        &self,
        after: Option<SourcePosition>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        stream::run(&self.shared, after, buffer, cancel).await
    }

    async fn first_position(&self) -> Result<Option<SourcePosition>> {
        let mut kept = self.head.lock().await;
        let (mut conn, server) = self.connect_head(None).await?;
        let start = history::read_start(&self.shared.connector, &mut conn, &server).await?;
        *kept = Some((conn, server));
        Ok(Some(start.to_source(0)))
    }

    /// Everything that was acknowledged to any client before this call is at or before the returned position: a
    /// server writes its bin log before it acknowledges.
    async fn head(&self) -> Result<SourcePosition> {
        let mut kept = self.head.lock().await;
        let had_one = kept.is_some();
        let late = || Err(Error::Unavailable("the upstream did not tell its head in 10 s".into()));
        let first = tokio::time::timeout(HEAD_TIMEOUT, self.ask_head(&mut kept)).await.unwrap_or_else(|_| late());
        match first {
            // the kept connection may have been closed long ago
            Err(e) if had_one && e.is_transient() => {
                tokio::time::timeout(HEAD_TIMEOUT, self.ask_head(&mut kept)).await.unwrap_or_else(|_| late())
            }
            other => other,
        }
    }

    fn still_follows(&self, head: &SourcePosition) -> bool {
        self.shared.still_follows(head)
    }

    fn has_read(&self, read: &SourcePosition, wanted: &SourcePosition) -> Result<bool> {
        named::has_read(read, wanted)
    }

    async fn copy_tables(
        &self,
        engine: Arc<dyn StoreEngine>,
        buffer: Arc<dyn Buffer>,
        cancel: CancellationToken,
    ) -> Result<()> {
        copy::run(self.shared.clone(), engine, buffer, cancel).await
    }

    fn can_copy(&self) -> bool {
        true
    }

    fn copy_complete(&self) -> watch::Receiver<bool> {
        self.shared.complete.subscribe()
    }

    fn decoder(&self) -> Box<dyn TransactionDecoder> {
        let filter = self.shared.filter.clone();
        // rows of a table that is not in the catalog yet come with its copy
        Box::new(BinlogDecoder::with_interpreter(filter, UnknownTables::Ignore, self.shared.ddl.changes))
    }

    fn status(&self) -> SourceStatus {
        self.shared.status()
    }

    fn copies(&self) -> Vec<CopyProgress> {
        self.shared.copies.lock().clone()
    }
}
