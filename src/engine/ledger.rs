//! Writes what happens and rings at the other process's door, so that a page or a comment there is at most a moment behind.
//! Only who writes rings: a bell that rang for what it heard would ring between two processes for ever.

use crate::bell::Bell;
use crate::store::{Store, StoreError, Transaction};

#[derive(Clone)]
pub struct Ledger {
    pub store: Store,
    bell: Bell,
}

impl Ledger {
    pub fn new(store: Store, bell: Bell) -> Ledger {
        Ledger { store, bell }
    }

    /// One transaction, and a ring when it is there.
    pub async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction) -> Result<T, StoreError> + Send + 'static,
    {
        let written = self.store.write(what, work).await?;
        self.bell.ring();
        Ok(written)
    }
}
