//! Counts the workers of all trunks, so that one can wait until the last has gone.

use tokio::sync::watch;

/// How many there are.
pub(super) struct Workers(watch::Sender<usize>);

/// One of them; gone when this is dropped, by a panic too.
pub(super) struct Hired(watch::Sender<usize>);

impl Default for Workers {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Workers {
    /// One more.
    pub fn hire(&self) -> Hired {
        self.0.send_modify(|count| *count += 1);
        Hired(self.0.clone())
    }

    /// Returns when there are none.
    pub async fn gone(&self) {
        // The sender is here: it does not close.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Hired {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
