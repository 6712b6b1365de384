//! Where the server half puts what it has to say.

/// Takes bytes at its end. Everything that can be extended with bytes is one: a `Vec<u8>`, for instance.
pub trait Sink {
    /// Adds `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl<T: for<'a> Extend<&'a u8>> Sink for T {
    fn put(&mut self, bytes: &[u8]) {
        self.extend(bytes);
    }
}
