//! The server side of `remora`: projects over gRPC and REST, the way through to
//! their agents, and the store that snapshots go to where no other is named.
