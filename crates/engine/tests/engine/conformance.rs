//! Every guarantee of the `StoreEngine` port.

use crate::harness::MagicFactory;

tidelake_core::store_conformance!(MagicFactory);
