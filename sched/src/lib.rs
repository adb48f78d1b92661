//! Run queues and load balancing.
#![no_std]
#![forbid(unsafe_code)]
