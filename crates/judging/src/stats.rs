//! Statistics that a careful reviewer would ask for.
