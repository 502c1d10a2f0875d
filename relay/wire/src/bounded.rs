//! Lists, bytes and texts with a limit that is checked before anything is allocated.

use core::marker::PhantomData;
use std::collections::BTreeMap;

use bincode::de::read::Reader;
use bincode::de::{BorrowDecode, BorrowDecoder, Decode, Decoder};
use bincode::enc::{Encode, Encoder};
use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::ids::AttesterId;

use crate::error::{DecodeError, EncodeError};

/// Where a decoder leaves the exact reason before it gives up: bincode's own errors have no room for one.
#[derive(Debug, Default)]
pub struct Fault(pub(crate) Option<DecodeError>);

/// A named limit.
pub(crate) trait Limit {
    /// What is counted, in the plural.
    const WHAT: &'static str;
    /// The most there may be.
    const MAX: usize;
}

macro_rules! limits {
    ($($name:ident = $what:literal, $max:expr;)*) => {
        $(
            #[derive(Clone, Debug)]
            pub(crate) enum $name {}

            impl Limit for $name {
                const WHAT: &'static str = $what;
                const MAX: usize = $max;
            }
        )*
    };
}

limits! {
    AdapterName = "bytes of an adapter name", cityrelay_core::opaque::MAX_ADAPTER_NAME_BYTES;
    OpaqueBytes = "opaque bytes", cityrelay_core::opaque::MAX_OPAQUE_BYTES;
    PayloadBytes = "payload bytes", crate::limits::MAX_PAYLOAD_BYTES;
    DetailBytes = "bytes of header detail", crate::limits::MAX_HEADER_DETAIL_BYTES;
    WitnessBytes = "bytes of a witness' name", cityrelay_core::record::MAX_WITNESS_BYTES;
    OperatorBytes = "bytes of an operator's name", cityrelay_core::order::MAX_OPERATOR_NAME_BYTES;
    ReasonBytes = "bytes of a reason", cityrelay_core::order::MAX_REASON_BYTES;
    OtherActionBytes = "bytes of an action", cityrelay_core::order::MAX_OTHER_ACTION_BYTES;
    ClaimEntries = "entries", cityrelay_core::claim::MAX_CLAIM_ENTRIES;
    ClaimTail = "links in a tail", cityrelay_core::claim::MAX_CLAIM_TAIL;
    SetEvidenceCount = "verifiers' attestations of a set", crate::limits::MAX_SET_EVIDENCE;
    EvidenceCount = "attested heads", crate::limits::MAX_EVIDENCE;
    SignatureCount = "signatures", cityrelay_core::frame::MAX_SIGNATURES;
    MemberCount = "attesters", cityrelay_core::attestation::MAX_ATTESTERS;
    HelloLanes = "flows", cityrelay_core::frame::MAX_HELLO_LANES;
    HelloClients = "clients", cityrelay_core::frame::MAX_HELLO_CLIENTS;
    RecordHeaders = "headers", crate::limits::MAX_RECORD_HEADERS;
}

/// Refuses a length over the limit on the way out.
pub(crate) fn fits<L: Limit>(got: usize) -> Result<(), EncodeError> {
    if got > L::MAX { Err(EncodeError::TooLong { what: L::WHAT, expected: L::MAX, got }) } else { Ok(()) }
}

fn fault<D: Decoder<Context = Fault>>(decoder: &mut D, fault: DecodeError) -> bincode::error::DecodeError {
    decoder.context().0 = Some(fault);
    bincode::error::DecodeError::Other("see the fault")
}

fn decode_count<L: Limit, D: Decoder<Context = Fault>>(decoder: &mut D) -> Result<usize, bincode::error::DecodeError> {
    let count = u32::decode(decoder)?;
    let got = usize::try_from(count).unwrap_or(usize::MAX);
    if got > L::MAX {
        return Err(fault(decoder, DecodeError::TooLong { what: L::WHAT, expected: L::MAX, got }));
    }
    Ok(got)
}

fn encode_count<E: Encoder>(count: usize, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
    u32::try_from(count).map_err(|_| bincode::error::EncodeError::Other("a count over u32::MAX"))?.encode(encoder)
}

/// Copies `count` bytes that are really there: a claimed length allocates nothing by itself.
fn decode_bytes<L: Limit, D: Decoder<Context = Fault>>(
    decoder: &mut D,
) -> Result<Vec<u8>, bincode::error::DecodeError> {
    let count = decode_count::<L, D>(decoder)?;
    decoder.claim_bytes_read(count)?;
    let Some(bytes) = decoder.reader().peek_read(count).map(<[u8]>::to_vec) else {
        return Err(fault(decoder, DecodeError::Truncated));
    };
    decoder.reader().consume(count);
    Ok(bytes)
}

/// The derived decoders ask for this too. Nothing is borrowed.
macro_rules! borrow_as_decode {
    ($($name:ty $(, $param:ident: $bound:path)*;)*) => {
        $(
            impl<'de $(, $param: $bound)*> BorrowDecode<'de, Fault> for $name {
                fn borrow_decode<D: BorrowDecoder<'de, Context = Fault>>(
                    decoder: &mut D,
                ) -> Result<Self, bincode::error::DecodeError> {
                    Self::decode(decoder)
                }
            }
        )*
    };
}

borrow_as_decode! {
    List<T, L>, T: Decode<Fault>, L: Limit;
    Bytes<L>, L: Limit;
    Text<L>, L: Limit;
    Signatures;
    Coded<T>, T: Code;
}

/// At most `L::MAX` items.
#[derive(Clone, Debug)]
pub(crate) struct List<T, L>(Vec<T>, PhantomData<L>);

impl<T, L: Limit> List<T, L> {
    /// Converts each item, or says that there are too many.
    pub(crate) fn collect<S>(
        items: &[S],
        convert: impl FnMut(&S) -> Result<T, EncodeError>,
    ) -> Result<Self, EncodeError> {
        fits::<L>(items.len())?;
        Ok(Self(items.iter().map(convert).collect::<Result<_, _>>()?, PhantomData))
    }

    /// The items, in order.
    pub(crate) fn items(&self) -> &[T] {
        &self.0
    }

    /// Converts each item back.
    pub(crate) fn convert<S>(self, convert: impl FnMut(T) -> S) -> Vec<S> {
        self.0.into_iter().map(convert).collect()
    }
}

impl<T: Encode, L: Limit> Encode for List<T, L> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        encode_count(self.0.len(), encoder)?;
        self.0.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<T: Decode<Fault>, L: Limit> Decode<Fault> for List<T, L> {
    fn decode<D: Decoder<Context = Fault>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        let count = decode_count::<L, D>(decoder)?;
        // Grows with what is really read; the first allocation stays small whatever the count says.
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(T::decode(decoder)?);
        }
        Ok(Self(items, PhantomData))
    }
}

/// At most `L::MAX` bytes.
#[derive(Clone, Debug)]
pub(crate) struct Bytes<L>(Vec<u8>, PhantomData<L>);

impl<L: Limit> Bytes<L> {
    pub(crate) fn copy(bytes: &[u8]) -> Result<Self, EncodeError> {
        fits::<L>(bytes.len())?;
        Ok(Self(bytes.to_vec(), PhantomData))
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<L: Limit> Encode for Bytes<L> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        use bincode::enc::write::Writer;
        encode_count(self.0.len(), encoder)?;
        encoder.writer().write(&self.0)
    }
}

impl<L: Limit> Decode<Fault> for Bytes<L> {
    fn decode<D: Decoder<Context = Fault>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        decode_bytes::<L, D>(decoder).map(|bytes| Self(bytes, PhantomData))
    }
}

/// UTF-8 of at most `L::MAX` bytes.
#[derive(Clone, Debug)]
pub(crate) struct Text<L>(String, PhantomData<L>);

impl<L: Limit> Text<L> {
    pub(crate) fn copy(text: &str) -> Result<Self, EncodeError> {
        fits::<L>(text.len())?;
        Ok(Self(text.to_owned(), PhantomData))
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl<L: Limit> Encode for Text<L> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        use bincode::enc::write::Writer;
        encode_count(self.0.len(), encoder)?;
        encoder.writer().write(self.0.as_bytes())
    }
}

impl<L: Limit> Decode<Fault> for Text<L> {
    fn decode<D: Decoder<Context = Fault>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        let bytes = decode_bytes::<L, D>(decoder)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self(text, PhantomData)),
            Err(_) => Err(fault(decoder, DecodeError::Text { what: L::WHAT })),
        }
    }
}

/// Signatures by member, ascending and each member once: a list of (20 bytes, 65 bytes).
#[derive(Clone, Debug)]
pub(crate) struct Signatures(pub(crate) BTreeMap<AttesterId, SignatureBytes>);

impl Signatures {
    pub(crate) fn copy(map: &BTreeMap<AttesterId, SignatureBytes>) -> Result<Self, EncodeError> {
        fits::<SignatureCount>(map.len())?;
        Ok(Self(map.clone()))
    }
}

impl Encode for Signatures {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        encode_count(self.0.len(), encoder)?;
        self.0.iter().try_for_each(|(member, signature)| {
            member.0.encode(encoder)?;
            signature.0.encode(encoder)
        })
    }
}

impl Decode<Fault> for Signatures {
    fn decode<D: Decoder<Context = Fault>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        let count = decode_count::<SignatureCount, D>(decoder)?;
        let mut map = BTreeMap::new();
        for _ in 0..count {
            let member = AttesterId(Decode::decode(decoder)?);
            let signature = SignatureBytes(Decode::decode(decoder)?);
            if map.last_key_value().is_some_and(|(last, _)| *last >= member) {
                return Err(fault(decoder, DecodeError::Order { what: SignatureCount::WHAT }));
            }
            map.insert(member, signature);
        }
        Ok(Self(map))
    }
}

/// A value that stands for something by a number of one byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coded<T>(pub(crate) T);

/// Numbers that stand for something; core gives them where it has some.
pub(crate) trait Code: Copy {
    const WHAT: &'static str;
    fn code(self) -> u8;
    fn from_code(code: u8) -> Option<Self>;
}

impl<T: Code> Encode for Coded<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        self.0.code().encode(encoder)
    }
}

impl<T: Code> Decode<Fault> for Coded<T> {
    fn decode<D: Decoder<Context = Fault>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        let code = u8::decode(decoder)?;
        match T::from_code(code) {
            Some(value) => Ok(Self(value)),
            None => Err(fault(decoder, DecodeError::Code { what: T::WHAT, got: u32::from(code) })),
        }
    }
}
