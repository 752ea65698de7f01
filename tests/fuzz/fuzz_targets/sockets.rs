#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| envoy_exporter_fuzz::targets::sockets(data));
