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

/// The values are in objects of the engine: the promise of a slot, and behind it the reason. A free
/// slot has `undefined` twice.
///
/// A report calls code of the user, such as the getters of an error, and that code may reject further
/// promises. So there are two such objects, of which a report takes one and leaves the other to these
/// promises. To take one needs no memory.
///
/// One thread at a time has the engine, and hands it on with a lock: the order of these accesses does
/// not matter.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    // The index of the object for new ones.
    which: AtomicU32,
    // Later slots of it were never used.
    used: AtomicU32,
    others: AtomicU32,
    // As `used`, for the other object: 0 unless a report is made of it.
    told: AtomicU32,
}

impl Rejections {
    /// Begins, for an engine that has run no code yet.
    pub(super) fn track(self: &Arc<Self>, ctx: &Ctx<'_>) -> rquickjs::Result<RejectionTracker> {
        let both = Object::new(ctx.clone())?;
        for which in 0..2 {
            let slots = Object::new(ctx.clone())?;
            // Code cannot reach it, not by a setter of `Object.prototype` either.
            slots.set_prototype(None)?;
            both.set(which, slots)?;
        }
        ctx.store_userdata(both)
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
        let which = self.which.load(Ordering::Relaxed);
        let used = self.used.load(Ordering::Relaxed);
        let others = self.others.load(Ordering::Relaxed);
        if handled {
            // Perhaps by code that a report calls, before the report gets to it.
            let told = self.told.load(Ordering::Relaxed);
            for (slots, used) in [(slots(ctx, which)?, used), (slots(ctx, 1 - which)?, told)] {
                if let Some(slot) = find(&slots, used, |kept| *kept == promise) {
                    return free(&slots, slot);
                }
            }
            self.others
                .store(others.saturating_sub(1), Ordering::Relaxed);
            return Ok(());
        }
        let slots = slots(ctx, which)?;
        let slot = find(&slots, used, Value::is_undefined).unwrap_or(used);
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

    /// Are there any that were not told yet?
    pub(super) fn any(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0 || self.others.load(Ordering::Relaxed) > 0
    }

    /// Writes them to the client, and forgets them. Promises that are rejected meanwhile wait for the
    /// next report.
    pub(super) fn tell(&self, ctx: &Ctx<'_>) {
        let which = self.which.load(Ordering::Relaxed);
        let used = self.used.swap(0, Ordering::Relaxed);
        let others = self.others.swap(0, Ordering::Relaxed);
        self.told.store(used, Ordering::Relaxed);
        // The last report has left the other object empty.
        self.which.store(1 - which, Ordering::Relaxed);
        let told = slots(ctx, which).and_then(|slots| {
            let call = ("tell rejections", slots, used, others);
            bridge(ctx)?.call::<_, ()>(call)
        });
        if told.is_err() {
            // Too much output, no memory, or an interruption.
            ctx.catch();
        }
        self.told.store(0, Ordering::Relaxed);
        free_all(ctx, which, used);
    }

    pub(super) fn forget(&self, ctx: &Ctx<'_>) {
        self.others.store(0, Ordering::Relaxed);
        let used = self.used.swap(0, Ordering::Relaxed);
        free_all(ctx, self.which.load(Ordering::Relaxed), used);
    }
}

fn slots<'js>(ctx: &Ctx<'js>, which: u32) -> rquickjs::Result<Object<'js>> {
    let both = ctx.userdata::<Object<'_>>();
    both.ok_or(rquickjs::Error::Unknown)?.get(which)
}

/// The first of the used slots whose promise is so.
fn find<'js>(slots: &Object<'js>, used: u32, is_so: impl Fn(&Value<'js>) -> bool) -> Option<u32> {
    (0..used).find(|slot| {
        slots
            .get::<_, Value<'js>>(2 * slot)
            .is_ok_and(|kept| is_so(&kept))
    })
}

fn free<'js>(slots: &Object<'js>, slot: u32) -> rquickjs::Result<()> {
    let nothing = Value::new_undefined(slots.ctx().clone());
    slots.set(2 * slot, nothing.clone())?;
    slots.set(2 * slot + 1, nothing)
}

fn free_all(ctx: &Ctx<'_>, which: u32, used: u32) {
    let freed =
        slots(ctx, which).and_then(|slots| (0..used).try_for_each(|slot| free(&slots, slot)));
    if freed.is_err() {
        // To assign to a property that exists takes no memory.
        ctx.catch();
    }
}
