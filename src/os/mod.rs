//! Kernel and operating system.
