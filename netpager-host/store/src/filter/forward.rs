//! The methods of [`crate::Store`] a filter leaves to the store it wraps, named one by one: a method that is forgotten would
//! fall back to the trait's default, which knows nothing of the store below.

/// Hands the named methods to the store below: `forward!(inner, …)` to the field `inner`, `forward!(*, …)` to what `self`
/// points to. `read`, `write` and `flush` are all methods of that kind.
macro_rules! forward {
    ($to:tt, $($method:ident),+ $(,)?) => {
        $($crate::filter::forward!(@$method $to);)+
    };
    (@below $self:ident *) => { (**$self) };
    (@below $self:ident $field:ident) => { $self.$field };
    (@size $to:tt) => {
        fn size(&self) -> u64 {
            $crate::filter::forward!(@below self $to).size()
        }
    };
    (@is_immediate $to:tt) => {
        fn is_immediate(&self) -> bool {
            $crate::filter::forward!(@below self $to).is_immediate()
        }
    };
    (@is_zeroing_fast $to:tt) => {
        fn is_zeroing_fast(&self) -> bool {
            $crate::filter::forward!(@below self $to).is_zeroing_fast()
        }
    };
    (@usage $to:tt) => {
        fn usage(&self) -> $crate::Usage {
            $crate::filter::forward!(@below self $to).usage()
        }
    };
    (@state_at $to:tt) => {
        fn state_at(&self, offset: u64, length: u64) -> Result<$crate::StateExtent, $crate::StoreError> {
            $crate::filter::forward!(@below self $to).state_at(offset, length)
        }
    };
    (@extent_at $to:tt) => {
        fn extent_at(&self, offset: u64, length: u64) -> Result<$crate::Extent, $crate::StoreError> {
            $crate::filter::forward!(@below self $to).extent_at(offset, length)
        }
    };
    (@read $to:tt) => {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), $crate::StoreError> {
            $crate::filter::forward!(@below self $to).read_at(offset, buffer)
        }

        fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), $crate::StoreError> {
            $crate::filter::forward!(@below self $to).append_to(offset, length, out)
        }
    };
    (@write $to:tt) => {
        fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), $crate::StoreError> {
            $crate::filter::forward!(@below self $to).write_at(offset, data)
        }

        fn trim(&self, offset: u64, length: u64) -> Result<(), $crate::StoreError> {
            $crate::filter::forward!(@below self $to).trim(offset, length)
        }

        fn write_zeroes(&self, offset: u64, length: u64, space: $crate::Space) -> Result<(), $crate::StoreError> {
            $crate::filter::forward!(@below self $to).write_zeroes(offset, length, space)
        }
    };
    (@flush $to:tt) => {
        fn flush(&self) -> Result<(), $crate::StoreError> {
            $crate::filter::forward!(@below self $to).flush()
        }
    };
}

pub(crate) use forward;
