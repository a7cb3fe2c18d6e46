//! The way from the services to the checkout, which opens once the database could be served from.
//!
//! On tables that are older than this program, or not there yet, every statement fails as only a bug makes it fail,
//! though all that is missing is a migration. So callers are told that the database can't be used until a look has
//! found it up to date. Calls that come before the first look is over wait for it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::{checkout::Checkout, error::Error};

/// The checkout, and whether it may be called.
#[derive(Debug)]
pub(super) struct Gate {
    checkout: Checkout,
    /// Never turns false again: what goes wrong from then on shows at the calls themselves.
    open: AtomicBool,
    looked: watch::Sender<bool>,
}

impl Gate {
    /// Shut, and nobody has looked.
    pub(super) fn new(checkout: Checkout) -> Self {
        Self { checkout, open: AtomicBool::new(false), looked: watch::Sender::new(false) }
    }

    /// Takes what a look at the database has found. Opens for good where that is good.
    pub(super) fn looked(&self, ready: bool) {
        if ready {
            self.open.store(true, Ordering::Release);
        }
        self.looked.send_replace(true);
    }

    /// The checkout. Waits until the first look is over, which takes 5 s at the most.
    ///
    /// # Errors
    /// `Unavailable`: no look has found the database ready.
    pub(super) async fn checkout(&self) -> Result<&Checkout, Error> {
        if self.open.load(Ordering::Acquire) {
            return Ok(&self.checkout);
        }
        // The sender is here, so there is no error.
        let _looked = self.looked.subscribe().wait_for(|looked| *looked).await.is_ok();
        if self.open.load(Ordering::Acquire) {
            return Ok(&self.checkout);
        }
        Err(Error::Unavailable("the database has not been ready since this server started".to_owned()))
    }
}
