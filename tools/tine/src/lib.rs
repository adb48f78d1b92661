//! The host side of Tine.
