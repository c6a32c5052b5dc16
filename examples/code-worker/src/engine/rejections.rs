//! Promises that were rejected, and whose errors no code has taken yet: [`Rejections`].
//!
//! The engine reports them in the middle of code. No function of the language is called there: the
//! engine might check for an interruption in it, each time at the same place of a loop, and the code
//! would never see that.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use rquickjs::{Ctx, Object, Value, runtime::RejectionTracker};

use super::natives::bridge;

/// So many are kept; the others are counted.
const MOST: u32 = 100;

/// The values are in an object of the engine: the promise of a slot, and behind it the reason. A free
/// slot has `undefined` twice.
///
/// One thread at a time has the engine, and hands it on with a lock: the order of these accesses does
/// not matter.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    // Later slots were never used.
    used: AtomicU32,
    others: AtomicU32,
}

impl Rejections {
    /// Begins, for an engine that has run no code yet.
    pub(super) fn track(self: &Arc<Self>, ctx: &Ctx<'_>) -> rquickjs::Result<RejectionTracker> {
        let slots = Object::new(ctx.clone())?;
        // Code cannot reach it, not by a setter of `Object.prototype` either.
        slots.set_prototype(None)?;
        ctx.store_userdata(slots)
            .map_err(|_| rquickjs::Error::Unknown)?;
        let this = self.clone();
        Ok(Box::new(move |ctx, promise, reason, handled| {
            if this.note(&ctx, promise, reason, handled).is_err() {
                // There is no memory for it, and it is not told.
                ctx.catch();
            }
        }))
    }

    fn note<'js>(
        &self,
        ctx: &Ctx<'js>,
        promise: Value<'js>,
        reason: Value<'js>,
        handled: bool,
    ) -> rquickjs::Result<()> {
        let Some(slots) = slots(ctx) else {
            return Ok(());
        };
        let used = self.used.load(Ordering::Relaxed);
        let mut all = (0..used).map(|slot| (slot, slots.get::<_, Value<'js>>(2 * slot)));
        let others = self.others.load(Ordering::Relaxed);
        if handled {
            match all.find(|(_, kept)| kept.as_ref().is_ok_and(|kept| *kept == promise)) {
                Some((slot, _)) => return free(&slots, slot),
                None => self
                    .others
                    .store(others.saturating_sub(1), Ordering::Relaxed),
            }
            return Ok(());
        }
        let free = all.find(|(_, kept)| kept.as_ref().is_ok_and(Value::is_undefined));
        let slot = free.map_or(used, |(slot, _)| slot);
        if slot == MOST {
            self.others
                .store(others.saturating_add(1), Ordering::Relaxed);
            return Ok(());
        }
        slots.set(2 * slot + 1, reason)?;
        slots.set(2 * slot, promise)?;
        self.used.store(used.max(slot + 1), Ordering::Relaxed);
        Ok(())
    }

    /// Were there any since the last report?
    pub(super) fn any(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0 || self.others.load(Ordering::Relaxed) > 0
    }

    /// Writes them to the client, and forgets them.
    pub(super) fn tell(&self, ctx: &Ctx<'_>) {
        let (used, others) = (&self.used, &self.others);
        let counts = (used.load(Ordering::Relaxed), others.load(Ordering::Relaxed));
        let told = slots(ctx).map(|slots| {
            let call = ("tell rejections", slots, counts.0, counts.1);
            bridge(ctx)?.call::<_, ()>(call)
        });
        if told.is_some_and(|told| told.is_err()) {
            // Too much output, no memory, or an interruption.
            ctx.catch();
        }
        self.forget(ctx);
    }

    pub(super) fn forget(&self, ctx: &Ctx<'_>) {
        self.others.store(0, Ordering::Relaxed);
        let used = self.used.swap(0, Ordering::Relaxed);
        let Some(slots) = slots(ctx) else { return };
        for slot in 0..used {
            if free(&slots, slot).is_err() {
                // To assign to a property that exists takes no memory.
                ctx.catch();
            }
        }
    }
}

fn slots<'js>(ctx: &Ctx<'js>) -> Option<Object<'js>> {
    ctx.userdata::<Object<'_>>().map(|slots| slots.clone())
}

fn free<'js>(slots: &Object<'js>, slot: u32) -> rquickjs::Result<()> {
    let nothing = Value::new_undefined(slots.ctx().clone());
    slots.set(2 * slot, nothing.clone())?;
    slots.set(2 * slot + 1, nothing)
}
