//! Every guarantee of the `StoreEngine` port, with files in the directory and in an object store.

mod directory {
    use crate::harness::MagicFactory;

    tidelake_core::store_conformance!(MagicFactory);
}

mod object_store {
    use crate::harness::S3Factory;

    tidelake_core::store_conformance!(S3Factory);
}
