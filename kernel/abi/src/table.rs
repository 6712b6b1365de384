//! `subsystem!`: one table per Mach subsystem, from which the kernel's dispatch, the user stubs, the printed interface and the
//! golden layouts all come.
//!
//! A routine `name = id (ins) -> (outs)` gives `name::Request` and `name::Reply`; a simple routine has no arrow and no reply. All
//! routines of a table make up `Call`, whose `decode` checks a whole message before any code runs.

use crate::code::Code;
use crate::message::{Header, Malformed, Reader, Writer};

/// A message that can be sent: its id and its items.
pub trait Message: Sized {
    /// msgh_id.
    const ID: i32;
    /// Writes the items.
    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), Malformed>;
    /// Reads the items; what follows them is refused.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Builds the whole message; gives its size.
    fn build(&self, header: Header, bytes: &mut [u8]) -> Result<usize, Malformed> {
        let mut writer = Writer::new(bytes);
        self.encode(&mut writer)?;
        writer.finish(Header { id: Self::ID, ..header })
    }
}

/// A request that is answered.
pub trait Routine: Message {
    /// The items after the return code.
    type Reply: Message;
}

/// Reply ids are request ids plus this.
pub const REPLY: i32 = 100;

/// What a reply says: its return code and, on success, its items.
pub fn decode_reply<R: Message>(message: &[u8]) -> Result<R, Code> {
    use crate::item::Item;
    let header = Header::read(message).ok_or(Code::MIG_REPLY_MISMATCH)?;
    if header.id != R::ID {
        return Err(Code::MIG_REPLY_MISMATCH);
    }
    let mut reader = Reader::new(message);
    Code::get(&mut reader).map_err(|_| Code::MIG_TYPE_ERROR)?.ok()?;
    R::decode(&mut reader).map_err(|_| Code::MIG_TYPE_ERROR)
}

/// One line of the printed interface.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub id: i32,
    pub name: &'static str,
    /// Names and types of the items.
    pub request: &'static [(&'static str, &'static str)],
    /// None for a simple routine.
    pub reply: Option<&'static [(&'static str, &'static str)]>,
}

macro_rules! message {
    ($name:ident, $id:expr, ($($field:ident: $type:ty),*)) => {
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $(pub $field: $type,)* }
        impl $crate::table::Message for $name {
            const ID: i32 = $id;
            #[allow(unused_variables, reason = "a message may have no items")]
            fn encode(&self, writer: &mut $crate::message::Writer<'_>) -> Result<(), $crate::message::Malformed> {
                $($crate::item::Item::put(&self.$field, writer)?;)*
                Ok(())
            }
            #[allow(unused_variables, reason = "a message may have no items")]
            fn decode(reader: &mut $crate::message::Reader<'_>) -> Result<Self, $crate::message::Malformed> {
                $(let $field = $crate::item::Item::get(reader)?;)*
                if !reader.is_at_end() {
                    return Err($crate::message::Malformed);
                }
                Ok(Self { $($field),* })
            }
        }
    };
}

macro_rules! subsystem {
    ($(#[$doc:meta])* $base:literal; $($(#[$about:meta])* $name:ident = $id:literal ($($in:ident: $intype:ty),* $(,)?) $(-> ($($out:ident: $outtype:ty),* $(,)?))?;)*) => {
        $(#[$doc])*
        pub const BASE: i32 = $base;
        $(
            $(#[$about])*
            pub mod $name {
                #[allow(unused_imports, reason = "not every routine uses every type")]
                use super::*;
                $crate::table::message!(Request, $id, ($($in: $intype),*));
                $(
                    $crate::table::message!(Reply, $id + $crate::table::REPLY, ($($out: $outtype),*));
                    impl $crate::table::Routine for Request { type Reply = Reply; }
                )?
            }
        )*

        /// Any request of this subsystem.
        #[allow(non_camel_case_types, reason = "the names are Mach's")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Call { $($name($name::Request),)* }

        impl Call {
            /// Decodes a whole message; none if the id isn't of this subsystem.
            #[must_use]
            pub fn decode(message: &[u8]) -> Option<Result<Self, $crate::message::Malformed>> {
                let header = $crate::message::Header::read(message)?;
                let mut reader = $crate::message::Reader::new(message);
                match header.id {
                    $($id => Some($crate::table::Message::decode(&mut reader).map(Self::$name)),)*
                    _ => None,
                }
            }
        }

        /// The table, to be printed.
        pub const SPEC: &[$crate::table::Spec] = &[$($crate::table::Spec {
            id: $id,
            name: stringify!($name),
            request: &[$((stringify!($in), <$intype as $crate::item::Item>::NAME)),*],
            reply: $crate::table::reply_spec!($(($($out: $outtype),*))?),
        }),*];
    };
}

macro_rules! reply_spec {
    () => { None };
    (($($out:ident: $outtype:ty),*)) => { Some(&[$((stringify!($out), <$outtype as $crate::item::Item>::NAME)),*]) };
}

pub(crate) use {message, reply_spec, subsystem};
