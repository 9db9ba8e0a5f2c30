//! The locks, atomics and pointers that [`crate::life`] is written with. The model checker (`core/model`) has a module of the
//! same name and shape, whose every access it can reorder.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use arc_swap::{ArcSwapOption as Slot, Guard};

pub(crate) use crate::forkcell::ForkCell;
