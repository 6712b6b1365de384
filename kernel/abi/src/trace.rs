//! A page's life in ten steps: the variants of the trace (ARCHITECTURE.md, "A page's life").

/// A step, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Touched = 1,
    Faulted = 2,
    Missed = 3,
    Asked = 4,
    Carried = 5,
    Served = 6,
    Fetched = 7,
    Supplied = 8,
    Entered = 9,
    Returned = 10,
}

impl Step {
    /// All, in order.
    pub const ALL: [Self; 10] = [
        Self::Touched,
        Self::Faulted,
        Self::Missed,
        Self::Asked,
        Self::Carried,
        Self::Served,
        Self::Fetched,
        Self::Supplied,
        Self::Entered,
        Self::Returned,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Touched => "Touched",
            Self::Faulted => "Faulted",
            Self::Missed => "Missed",
            Self::Asked => "Asked",
            Self::Carried => "Carried",
            Self::Served => "Served",
            Self::Fetched => "Fetched",
            Self::Supplied => "Supplied",
            Self::Entered => "Entered",
            Self::Returned => "Returned",
        }
    }
}
