//! People of identity providers who come in: the trail has the name of each before anything is done in it.

use super::{Broker, BrokerError};
use crate::grant::request::{Login, Person, ProviderLogin};
use crate::grant::{Author, Event};
use crate::people::{Arrival, Guest};

impl Broker {
    /// The person whom the front end introduces. Under a name that is new, the person comes in once the trail has it, so that
    /// after a restart it is nobody else's.
    ///
    /// # Errors
    /// [`BrokerError::NameService`] with the reason why the person is not known, [`BrokerError::Ledger`].
    pub async fn introduce(&self, guest: Guest, login: &ProviderLogin) -> Result<Person, BrokerError> {
        let people = self.people();
        if let Arrival::Known(person) = people.introduce(&guest).await.map_err(BrokerError::NameService)? {
            return Ok(person);
        }
        // Held until the name is somebody's, so that two people who come at once do not get names that look alike.
        let _turn = self.introductions.lock().await;
        match people.introduce(&guest).await.map_err(BrokerError::NameService)? {
            Arrival::Known(person) => Ok(person),
            Arrival::New(person) => {
                let login = Some(Login::Provider(Box::new(login.clone())));
                let author = Author::Person { name: person.name.clone(), login };
                self.ledger.note(&author, Event::Introduced { called: guest.name.clone() }).await?;
                people.admit(&person, guest);
                Ok(person)
            }
        }
    }
}
