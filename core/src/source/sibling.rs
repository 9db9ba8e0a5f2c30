//! A token that a sibling has put into the store is taken up at once: the one before may be dead already.

use std::sync::Arc;
use std::time::Duration;

use super::Source;
use crate::events::EventKind;
use crate::refresh::Renewal;
use crate::token::Published;

impl Source {
    /// The record may have changed; `newest` is the generation of its token, where that is known. Who serves an older token
    /// looks whether there is a newer one, as does who waits out a pause without any; who renews looks by itself. Called on the engine's runtime.
    pub(crate) fn look_for_sibling(self: &Arc<Self>, newest: Option<u64>) {
        let wanted = {
            let state = self.life.lock();
            let older = |current: &Arc<Published>| newest.is_none_or(|newest| current.generation < newest);
            let awaited = || state.pause.is_some() && newest != Some(0);
            state.flight().is_none() && state.current().as_ref().map_or_else(awaited, older)
        };
        if wanted && !self.is_closed() {
            tokio::spawn(self.clone().take_up_sibling());
        }
    }

    async fn take_up_sibling(self: Arc<Self>) {
        let (epoch, brief) = self.glance();
        let profile = self.profile();
        let Some(obtained) = Renewal::new(&self.core, &profile, None, brief).of_sibling().await else { return };
        let published = obtained.published;
        let mut state = self.life.lock();
        // A renewal that has begun meanwhile finds it too; and another word of the same change may have been faster.
        let fits = state.flight().is_none() && published.generation > state.floor() && !self.core.is_closed();
        if !fits || !state.publish(&published, epoch) {
            return;
        }
        drop(state);
        self.schedule(&published);
        self.tally().token_ends(published.expires().map(|end| end.unix()));
        self.core.report((&profile, self.tally()), EventKind::Adopted, "announced", Duration::ZERO, |event| {
            event.with_generation(published.generation)
        });
    }
}
