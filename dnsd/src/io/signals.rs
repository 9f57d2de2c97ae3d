//! SIGTERM and SIGINT stop the daemon, SIGHUP makes it read its file again.

use super::clock;
use super::driver::Input;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use tokio::signal::unix::{SignalKind, signal};

/// Catches signals from its start until the process ends, whatever restarts within it.
#[derive(Clone)]
pub struct Signals {
    is_stopping: Arc<AtomicBool>,
    inputs: Arc<Mutex<Option<SyncSender<Input>>>>,
}

impl Signals {
    /// Starts the thread that waits for them. `reload` is called on SIGHUP.
    pub fn start(reload: impl Fn() + Send + 'static) -> io::Result<Self> {
        let signals = Self {
            is_stopping: Arc::default(),
            inputs: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (mut terminate, mut interrupt, mut hangup) = {
            let _guard = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        let caught = signals.clone();
        clock::spawn("signals", move || {
            runtime.block_on(async move {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => caught.stop(),
                        _ = interrupt.recv() => caught.stop(),
                        _ = hangup.recv() => reload(),
                    }
                }
            });
        });
        Ok(signals)
    }

    /// The peer thread that is to be stopped from here on.
    pub fn tell(&self, inputs: SyncSender<Input>) {
        *self.inputs.lock().expect("nobody panics with it") = Some(inputs);
        // Nothing else is in the queue yet, so this does not wait.
        if self.is_stopping() {
            self.stop();
        }
    }

    /// True once the daemon has been told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// It waits while the peer has too much to do.
    fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let inputs = self.inputs.lock().expect("nobody panics with it");
        if let Some(inputs) = &*inputs {
            drop(inputs.send(Input::Stop));
        }
    }
}
