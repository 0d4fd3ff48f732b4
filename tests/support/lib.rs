//! Helpers of the tests over real sockets.
