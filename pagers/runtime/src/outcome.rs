//! What a main function may return, and the exit status it means.

use core::fmt::Display;

/// Something that ends a program.
pub trait Outcome {
    /// The exit status: 0 is success. A failure is printed here.
    fn status(self) -> i32;
}

impl Outcome for () {
    fn status(self) -> i32 {
        0
    }
}

impl Outcome for i32 {
    fn status(self) -> i32 {
        self
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn status(self) -> i32 {
        match self {
            Ok(()) => 0,
            Err(error) => {
                crate::println!("error: {error}");
                1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn only_success_is_zero() {
        assert_eq!(().status(), 0);
        assert_eq!(7.status(), 7);
        assert_eq!(Ok::<(), &str>(()).status(), 0);
        assert_eq!(Err::<(), &str>("no disk").status(), 1);
    }
}
