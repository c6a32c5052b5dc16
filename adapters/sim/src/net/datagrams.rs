use std::{fmt, io};

use super::{Address, Network, mailbox::Mailbox};

/// Messages that may be lost, or overtake each other. Made by
/// [`Node::datagrams`](super::Node::datagrams).
pub struct Datagrams {
    pub(super) network: Network,
    pub(super) address: Address,
    pub(super) mailbox: Mailbox<(Vec<u8>, Address)>,
}

impl Datagrams {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// Sends a message, which may be lost.
    pub fn send_to(&self, message: &[u8], to: Address) {
        let mut state = self.network.lock();
        let loss = state.loss;
        let lost = state.random.per_mille(loss)
            || state
                .parted
                .contains(&super::pair(self.address.node, to.node));
        let mailbox = state.datagrams.get(&to).cloned();
        drop(state);
        let arrives = self.network.arrival();
        if let Some(mailbox) = mailbox.filter(|_| !lost) {
            // A closed mailbox loses it.
            let _ = mailbox.send(arrives, false, (message.to_vec(), self.address));
        }
    }

    /// The next message to arrive, and the address of its sender.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionReset`] if the node has crashed.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, it has received nothing.
    pub async fn receive(&self) -> io::Result<(Vec<u8>, Address)> {
        self.mailbox.receive(&self.network.shared.sim).await
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        // After a crash the port may have another owner.
        let known = state.datagrams.get(&self.address);
        let gone = if known.is_some_and(|mailbox| mailbox.is(&self.mailbox)) {
            state.datagrams.remove(&self.address)
        } else {
            None
        };
        drop(state);
        drop(gone);
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
