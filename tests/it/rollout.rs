//! Restarts programs behind load balancers, one after the other, while callers call: no call may be lost.

mod balancer;
mod behind_balancers;
mod load;
mod restarts;
mod room;
mod stopping;
