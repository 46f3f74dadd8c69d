//! The order of writes: between any two writes a packet gets its old or its new answer, and the rows after each step are
//! those that the world computes from scratch.

use abi::row::{MapOp, Row};
use control::fixtures::{
    StepCheck, check_changed_rows, check_found_rows, check_rows, packets_between, random_change,
};
use control::{Change, Rows, World, Writes};
use policy::generate::Random;

/// Limit on the steps of one input.
const STEPS: usize = 10;
/// Limit on the packets that are evaluated after the writes of a step of a world.
const PACKETS: usize = 24;

/// Applies the steps of an input to a world, or to a graph of rows that the planner alone sees.
pub fn check(data: &[u8]) {
    let mut random = Random::from_bytes(data);
    match random.below(4) {
        0 => {
            let steps = 1 + random.below(STEPS);
            check_changed_rows("changed rows", random, steps);
        }
        1 => {
            let is_restart = random.chance(50);
            check_found_rows("found rows", random, is_restart);
        }
        _ => check_world(random),
    }
}

fn check_world(mut random: Random) {
    let (mut world, mut rows) = (World::new(), Rows::new());
    write(&mut rows, &world.apply([]), &world, "start");
    for _ in 0..STEPS {
        if random.is_spent() {
            break;
        }
        let changes: Vec<Change> = (0..=random.below(3)).map(|_| random_change(&mut random)).collect();
        let mut writes = world.apply(changes);
        let undo = std::mem::take(&mut writes.undo);
        if random.below(8) == 0 {
            fail(&mut rows, &writes, &mut random);
            world.adopt_rows(rows.values().copied());
            repair(&mut rows, &world.apply(undo), &world);
            continue;
        }
        write(&mut rows, &writes, &world, "changes");
        match random.below(8) {
            0 => write(&mut rows, &world.apply(undo), &world, "undo"),
            1 => {
                world = World::adopt(rows.values().copied(), world.identities().clone());
                write(&mut rows, &world.apply([]), &world, "restart");
            }
            _ => {}
        }
    }
}

/// Makes only the first writes of a step, as if the next one failed.
fn fail(rows: &mut Rows, writes: &Writes, random: &mut Random) {
    let made = random.below(writes.now.len() + 1);
    writes.now.iter().take(made).for_each(|write| follow(rows, write));
}

/// Makes the writes that undo a failed step.
fn repair(rows: &mut Rows, writes: &Writes, world: &World) {
    let batches = [&writes.now, &writes.later, &writes.last];
    batches.iter().flat_map(|batch| batch.iter()).for_each(|write| follow(rows, write));
    check_rows("repair", rows, &world.rows());
}

/// Makes the writes of a step, and evaluates packets after each.
fn write(rows: &mut Rows, writes: &Writes, world: &World, name: &str) {
    let new = world.rows();
    let is_transient =
        |row: &Row| row.key().is_some_and(|key| !rows.contains_key(&key) && !new.contains_key(&key));
    let transient = writes.now.iter().filter_map(MapOp::put).filter(is_transient).collect();
    let later = vec![&writes.later, &writes.last];
    let step = StepCheck { name, old: rows, new: &new, transient, now: &writes.now, later };
    step.check(packets_between(rows, &new), PACKETS);
    *rows = new;
}

fn follow(rows: &mut Rows, write: MapOp) {
    match write {
        MapOp::Put(row) => drop(row.key().map(|key| rows.insert(key, row))),
        MapOp::Delete(key) => assert!(rows.remove(&key).is_some(), "{key:?} is removed and was not there"),
    }
}
