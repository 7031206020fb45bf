//! Storage under everything that goes wrong: power cuts, failing disks, damaged files.

mod durability;
mod formats;
mod index;
mod index_damage;
mod journal;
mod objects;
mod random;
mod snapshots;
mod world;
