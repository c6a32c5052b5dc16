//! Arbitrary input on a connection, in pieces of any size.
#![no_main]

mod reader;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Some((cut, bytes)) = input.split_first() {
        reader::check(usize::from(*cut), bytes);
    }
});
