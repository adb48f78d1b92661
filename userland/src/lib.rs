//! Shared by the user programs.
