//! What systemd hands over and is told: sockets that it listens on for us, and how we are.
//!
//! Sockets come by the protocol of socket activation (`LISTEN_FDS`, `LISTEN_PID`), all that there
//! are. Messages go to `NOTIFY_SOCKET`; without it, as in a container, nothing is sent. Nothing
//! here needs systemd to be there.

use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use socket2::SockRef;

use super::listen::{ListenError, Listener};

/// The sockets that were handed over. They are taken from the environment, which is safe only while
/// the program has one thread.
#[expect(
    missing_debug_implementations,
    reason = "there are only descriptors in it"
)]
pub struct Inherited(ListenFd);

impl Inherited {
    /// Takes them, and the variables that say so.
    pub fn take() -> Self {
        Self(ListenFd::from_env())
    }

    /// None.
    pub fn none() -> Self {
        Self(ListenFd::empty())
    }

    /// Listens on them; needs the runtime.
    pub fn listeners(mut self) -> Result<Vec<Listener>, ListenError> {
        if self.0.len() == 0 {
            return Err(ListenError::NoneInherited);
        }
        (0..self.0.len()).map(|at| self.listener(at)).collect()
    }

    fn listener(&mut self, at: usize) -> Result<Listener, ListenError> {
        let fault = |reason: String| ListenError::Inherited {
            number: at + 1,
            reason,
        };
        let no_listener = || fault("it is not listened on, as with Accept=yes".to_owned());
        let opened = |source: std::io::Error| fault(source.to_string());
        if let Ok(Some(socket)) = self.0.take_tcp_listener(at) {
            if !SockRef::from(&socket).is_listener().map_err(opened)? {
                return Err(no_listener());
            }
            socket.set_nonblocking(true).map_err(opened)?;
            return Listener::from_tcp(socket).map_err(opened);
        }
        let socket = self.0.take_unix_listener(at);
        let socket = socket.ok().flatten();
        let socket = socket.ok_or_else(|| fault("it is no stream socket".to_owned()))?;
        if !SockRef::from(&socket).is_listener().map_err(opened)? {
            return Err(no_listener());
        }
        socket.set_nonblocking(true).map_err(opened)?;
        Listener::from_unix(socket).map_err(opened)
    }
}

/// Says that the program serves, and where.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that the configuration is being read again; [`ready`] ends that.
pub fn reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else {
        return;
    };
    notify(&[NotifyState::Reloading, now]);
}

/// Says that the program ends.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Shows for ever that the runtime goes on, where a watchdog wants to know. It is a task like those
/// that answer requests, so that it stops when they do.
pub async fn show_life() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return;
    };
    // Half the limit is what systemd's documentation asks for.
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
