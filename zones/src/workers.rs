//! Who does the work of a large zone. What is done, and what comes of it, is the same whoever does it;
//! threads are for `io`.

/// Does two pieces of work that know nothing of each other.
pub trait Workers: Sync {
    /// Does both, in either order or at the same time.
    fn both<A: Send, B: Send>(
        &self,
        left: impl FnOnce() -> A + Send,
        right: impl FnOnce() -> B + Send,
    ) -> (A, B);
}

/// One piece after the other.
pub struct OneWorker;

impl Workers for OneWorker {
    fn both<A: Send, B: Send>(
        &self,
        left: impl FnOnce() -> A + Send,
        right: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        (left(), right())
    }
}
