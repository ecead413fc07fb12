//! The store's conformance suite over the wire, against the Magic Engine and against the oracle.

use std::sync::Arc;

use async_trait::async_trait;
use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::MemStore;
use tidelake_core::testing::conformance::store::{StoreFactory, StoreUnderTest};

use crate::served::{Kind, Served, tempdir};

struct Remote {
    kind: Kind,
    served: Option<Served>,
    store: Option<Arc<dyn StoreEngine>>,
}

impl Remote {
    async fn open(kind: Kind) -> Box<dyn StoreUnderTest> {
        let mut remote = Remote { kind, served: None, store: None };
        remote.serve().await;
        Box::new(remote)
    }

    async fn serve(&mut self) {
        let kind = self.kind.clone();
        let served = tokio::task::spawn_blocking(move || Served::start(&kind)).await.expect("started");
        self.store = Some(Arc::new(served.store().await));
        self.served = Some(served);
    }
}

#[async_trait]
impl StoreUnderTest for Remote {
    fn engine(&self) -> Arc<dyn StoreEngine> {
        self.store.clone().expect("open")
    }

    async fn crash(&mut self) {
        (self.store, self.served) = (None, None);
        if let Kind::Memory(store) = &mut self.kind {
            *store = store.crash();
        }
        self.serve().await;
    }
}

struct RemoteEngine;

#[async_trait]
impl StoreFactory for RemoteEngine {
    async fn open(&self) -> Box<dyn StoreUnderTest> {
        Remote::open(Kind::Engine(Arc::new(tempdir()))).await
    }
}

struct RemoteOracle;

#[async_trait]
impl StoreFactory for RemoteOracle {
    async fn open(&self) -> Box<dyn StoreUnderTest> {
        Remote::open(Kind::Memory(MemStore::new())).await
    }
}

mod engine {
    use super::*;
    tidelake_core::store_conformance!(RemoteEngine);
}

mod oracle {
    use super::*;
    tidelake_core::store_conformance!(RemoteOracle);
}
