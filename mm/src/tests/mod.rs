//! Tests against simulated memory.
