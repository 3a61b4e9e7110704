//! A message between its reservation and its mailboxes: what the journal makes safe.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{boxes::Boxes, keys};
use crate::{
    error::Error,
    id::Key,
    mailbox::{Letter, Removed},
    message::{Arrival, Message, Seq},
    storage::{
        Accepted, Posting,
        journal::{Journal, Kept, KeptKey, Record, Sending},
    },
};

pub struct Parcel<J: Journal> {
    boxes: Arc<Boxes<J>>,
    to: Vec<crate::id::SessionId>,
    message: Arc<Message>,
    key: Option<Key>,
    /// A place for each receiver.
    promised: Vec<(Seq, Arrival)>,
    answer: oneshot::Sender<Result<Accepted, Error>>,
}

impl<J: Journal> Parcel<J> {
    /// A message for which room is reserved, and its key claimed.
    pub fn new(
        boxes: &Arc<Boxes<J>>,
        Posting { to, message, key }: Posting,
    ) -> (Self, oneshot::Receiver<Result<Accepted, Error>>) {
        let (answer, result) = oneshot::channel();
        let (boxes, message) = (Arc::clone(boxes), Arc::new(message));
        (Self { boxes, to, message, key, promised: Vec::new(), answer }, result)
    }

    fn kept_key(&self) -> Option<KeptKey> {
        self.key.map(|key| keys::kept(key, self.message.id, self.to.len(), self.message.accepted))
    }

    fn settle_key(&self, result: &Result<KeptKey, Error>) {
        if let Some(key) = &self.key {
            let forgotten = self.boxes.keys.settle(key, result);
            self.boxes.note_forgotten(forgotten);
        }
    }
}

impl<J: Journal> Sending for Parcel<J> {
    fn keep(self: Box<Self>) {
        self.arrive();
    }

    fn promise(&mut self, first: Arrival) -> Record {
        let arrivals = (first.0..).map(Arrival);
        let mut record = Record { messages: Vec::with_capacity(self.to.len()), key: self.kept_key() };
        self.promised.reserve_exact(self.to.len());
        for (of, arrival) in self.to.iter().zip(arrivals) {
            let (epoch, seq) = self.boxes.promise(of);
            self.promised.push((seq, arrival));
            let letter = Letter { seq, arrival, message: Arc::clone(&self.message) };
            record.messages.push(Kept { of: of.clone(), epoch, letter });
        }
        record
    }

    fn arrive(self: Box<Self>) {
        if let Some(kept) = self.kept_key() {
            self.settle_key(&Ok(kept));
        }
        let mut dropped = Removed::default();
        for (index, of) in self.to.iter().enumerate() {
            dropped += self.boxes.place(of, Arc::clone(&self.message), self.promised.get(index).copied());
        }
        let accepted = Accepted { id: self.message.id, recipients: self.to.len(), duplicate: false, dropped };
        // Nobody waits any more: the sender hung up. The message is in its mailboxes all the same.
        let _ = self.answer.send(Ok(accepted));
    }

    fn refuse(self: Box<Self>, why: Error) {
        for of in &self.to {
            self.boxes.give_back(of, self.message.cost(), !self.promised.is_empty());
        }
        if self.key.is_some() {
            self.boxes.discharge_key();
            self.settle_key(&Err(why.clone()));
        }
        let _ = self.answer.send(Err(why));
    }
}
