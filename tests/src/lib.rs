//! Tests in machines.
