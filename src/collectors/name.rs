//! The collectors by name: what flags, environment, configuration and own metrics call them.

use std::time::Duration;

macro_rules! names {
    ($($variant:ident, $name:literal, $env:literal, $on:literal, $interval:expr, $about:literal;)*) => {
        /// A collector.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Name {
            $(#[doc = $about] $variant,)*
        }

        impl Name {
            /// Every collector.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// In the configuration and in label values.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The flag that switches it on, and its environment variable.
            pub const fn flag(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant => (
                        concat!("collector.", $name), concat!("ENVOY_EXPORTER_COLLECTOR_", $env),
                    ),)*
                }
            }

            /// The flag that switches it off, and its environment variable.
            pub const fn no_flag(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant => (
                        concat!("no-collector.", $name), concat!("ENVOY_EXPORTER_NO_COLLECTOR_", $env),
                    ),)*
                }
            }

            /// What it collects.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            /// Whether it is on where nobody says so.
            pub const fn is_on(self) -> bool {
                match self { $(Self::$variant => $on,)* }
            }

            /// The least time between two runs that succeed; one that failed runs with the next
            /// poll, and all do when the server is another one.
            pub const fn interval(self) -> Duration {
                match self { $(Self::$variant => $interval,)* }
            }
        }
    };
}

names! {
    Certificates, "certificates", "CERTIFICATES", true, Duration::from_mins(1), "Since when and until when certificates are valid";
    Endpoints, "endpoints", "ENDPOINTS", false, Duration::ZERO, "Requests, connections, health and place of each upstream endpoint";
    Listeners, "listeners", "LISTENERS", false, Duration::ZERO, "Names and addresses of listeners";
    Memory, "memory", "MEMORY", false, Duration::ZERO, "Memory of the process as its allocator sees it";
    ServerInfo, "server_info", "SERVER_INFO", true, Duration::from_mins(5), "Version, node and state of the server";
    Tcp, "tcp", "TCP", false, Duration::ZERO, "Round trip times, retransmissions and bytes of TCP connections, from the kernel";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_flags_and_variables_agree() {
        for name in Name::ALL {
            let upper = name.as_str().to_uppercase();
            let (flag, env) = name.flag();
            assert_eq!(flag, format!("collector.{}", name.as_str()));
            assert_eq!(env, format!("ENVOY_EXPORTER_COLLECTOR_{upper}"));
            let (flag, env) = name.no_flag();
            assert_eq!(flag, format!("no-collector.{}", name.as_str()));
            assert_eq!(env, format!("ENVOY_EXPORTER_NO_COLLECTOR_{upper}"));
        }
    }
}
