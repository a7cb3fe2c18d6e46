//! The way from the RPCs to the checkout. It opens once a check has found the database ready.
//!
//! Where a migration is missing, every statement fails like a bug. So callers are told that the database is
//! unavailable, until a check has found its tables up to date. Calls that arrive before the end of the first check wait
//! for it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::{checkout::Checkout, error::Error};

/// Holds the checkout, and whether it may be called.
#[derive(Debug)]
pub(super) struct Gate {
    checkout: Checkout,
    /// Stays true from the first good check on: later faults show in the calls themselves.
    open: AtomicBool,
    checked: watch::Sender<bool>,
}

impl Gate {
    /// Makes a gate that is shut, with no check done.
    pub(super) fn new(checkout: Checkout) -> Self {
        Self { checkout, open: AtomicBool::new(false), checked: watch::Sender::new(false) }
    }

    /// Reports what a check of the database has found. A good check opens the gate for good.
    pub(super) fn checked(&self, ready: bool) {
        if ready {
            self.open.store(true, Ordering::Release);
        }
        self.checked.send_replace(true);
    }

    /// Returns the checkout if a check has found the database ready.
    pub(super) fn opened(&self) -> Option<&Checkout> {
        self.open.load(Ordering::Acquire).then_some(&self.checkout)
    }

    /// Returns the checkout. Waits for the end of the first check, which takes at most 5 s.
    ///
    /// # Errors
    /// `Unavailable`: no check has found the database ready.
    pub(super) async fn checkout(&self) -> Result<&Checkout, Error> {
        if self.open.load(Ordering::Acquire) {
            return Ok(&self.checkout);
        }
        // It fails only without the sender, which is part of the gate.
        let _checked = self.checked.subscribe().wait_for(|checked| *checked).await.is_ok();
        if self.open.load(Ordering::Acquire) {
            return Ok(&self.checkout);
        }
        Err(Error::Unavailable("the database has not been ready since this server started".to_owned()))
    }
}
