//! Decodes blocks of lines on all processors: one thread reads and hashes, some decode, and whoever called takes what they made, in
//! the order of the input. What is under way is bounded in bytes. Knows nothing of what is decoded.

use std::{
    io,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use super::{
    blocks::{Block, Blocks, Filled},
    compression::Plain,
};

/// Bytes of text between reading and taking; a block that is longer has it all for itself.
const UNDER_WAY: usize = 8 * 1024 * 1024;

/// What a block was decoded to.
pub(super) struct Part<T> {
    pub(super) decoded: T,
    /// Bytes of the input, as it is, that were read with it.
    pub(super) read_bytes: u64,
    bytes: usize,
}

/// The block after the last that holds whole lines of which others follow, and what it is: the last line, the end, or why there
/// is none.
pub(super) struct Last {
    pub(super) block: Block,
    pub(super) filled: io::Result<Filled>,
}

/// Decodes `first`, then every block of lines, and has each part taken in order. The first error of `take` ends it.
pub(super) fn decode_blocks<T: Send, E>(
    blocks: &mut Blocks<Plain<'_>>,
    first: Block,
    decode: impl Fn(&[u8]) -> T + Sync,
    mut take: impl FnMut(Part<T>) -> Result<(), E>,
) -> Result<Last, E> {
    let (room, spare) = (Room::default(), Mutex::new(Vec::new()));
    let (jobs, waiting) = mpsc::channel();
    let (order, parts) = mpsc::channel::<Receiver<Part<T>>>();
    let waiting = Mutex::new(waiting);
    thread::scope(|scope| {
        // However this ends, the reading thread waits for room no more.
        let _closed = CloseOnDrop(&room);
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| work(&waiting, &spare, &decode));
        }
        let reader = Reading { blocks, room: &room, spare: &spare, jobs, order };
        let reading = scope.spawn(|| reader.read(first));
        for part in parts {
            // None comes where a decoder panicked; so will the scope, at its end.
            let Ok(part) = part.recv() else { break };
            let bytes = part.bytes;
            take(part)?;
            room.free(bytes);
        }
        Ok(reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// A block, and where what is made of it goes.
struct Job<T> {
    block: Block,
    read_bytes: u64,
    done: Sender<Part<T>>,
}

/// The reading end: each block goes to a decoder, and, as what will be made of it, to the taker.
struct Reading<'a, 'input, T> {
    blocks: &'a mut Blocks<Plain<'input>>,
    room: &'a Room,
    spare: &'a Mutex<Vec<Block>>,
    jobs: Sender<Job<T>>,
    order: Sender<Receiver<Part<T>>>,
}

impl<T> Reading<'_, '_, T> {
    fn read(self, first: Block) -> Last {
        let mut block = first;
        loop {
            if !self.hand_on(block) {
                // Nobody takes it: nor is what this says asked for.
                return Last { block: Block::default(), filled: Ok(Filled::End) };
            }
            block = lock(self.spare).pop().unwrap_or_default();
            match self.blocks.fill(&mut block) {
                Ok(Filled::Lines) => {}
                filled => return Last { block, filled },
            }
        }
    }

    /// Waits for room; `false` where nobody takes what is made.
    fn hand_on(&self, block: Block) -> bool {
        let (done, part) = mpsc::channel();
        self.room.take(block.len())
            && self.order.send(part).is_ok()
            && self.jobs.send(Job { block, read_bytes: self.blocks.input().read_bytes(), done }).is_ok()
    }
}

fn work<T>(waiting: &Mutex<Receiver<Job<T>>>, spare: &Mutex<Vec<Block>>, decode: impl Fn(&[u8]) -> T) {
    loop {
        let job = lock(waiting).recv();
        let Ok(Job { block, read_bytes, done }) = job else { return };
        let part = Part { decoded: decode(&block), read_bytes, bytes: block.len() };
        lock(spare).push(block);
        // After an error nobody takes it.
        let _ = done.send(part);
    }
}

/// Nothing is left half done under these locks, so one that was held in a panic is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much is under way.
#[derive(Default)]
struct Room {
    used: Mutex<Used>,
    changed: Condvar,
}

#[derive(Default)]
struct Used {
    bytes: usize,
    closed: bool,
}

impl Room {
    /// Waits for room; `false` once closed.
    fn take(&self, bytes: usize) -> bool {
        let full = |used: &mut Used| !used.closed && used.bytes > 0 && used.bytes + bytes > UNDER_WAY;
        let mut used = self.changed.wait_while(lock(&self.used), full).unwrap_or_else(PoisonError::into_inner);
        used.bytes += bytes;
        !used.closed
    }

    fn free(&self, bytes: usize) {
        lock(&self.used).bytes -= bytes;
        self.changed.notify_one();
    }
}

struct CloseOnDrop<'a>(&'a Room);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        lock(&self.0.used).closed = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    fn blocks(input: &[u8]) -> Blocks<Plain<'_>> {
        Blocks::new(Plain::open(input).unwrap(), 1000)
    }

    #[test]
    fn parts_come_in_order_however_long_each_takes() {
        let input: Vec<u8> = (0..600_000).flat_map(|n| format!("{n:020}\n").into_bytes()).collect();
        let (mut next, calls) = (0, AtomicUsize::new(0));
        let Ok(last) = decode_blocks(
            &mut blocks(&input),
            Block::default(),
            |block| {
                if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                    thread::sleep(Duration::from_millis(2));
                }
                block.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()
            },
            |part| -> Result<(), ()> {
                for line in part.decoded.iter().filter(|line| !line.is_empty()) {
                    assert_eq!(*line, format!("{next:020}").into_bytes());
                    next += 1;
                }
                Ok(())
            },
        ) else {
            panic!("nothing was refused")
        };
        assert!(matches!(last.filled, Ok(Filled::LastLine)));
        assert_eq!((next, &*last.block), (599_999, format!("{:020}\n", 599_999).as_bytes()));
    }

    #[test]
    fn an_error_of_the_taker_ends_it_before_the_input_does() {
        let endless = io::repeat(b'\n');
        let mut blocks = Blocks::new(Plain::open(endless).unwrap(), 1000);
        let mut taken = 0;
        let ended = decode_blocks(&mut blocks, Block::default(), <[u8]>::len, |_| {
            taken += 1;
            if taken == 3 { Err("enough") } else { Ok(()) }
        });
        assert_eq!((ended.err(), taken), (Some("enough"), 3));
        assert!(blocks.bytes() <= (UNDER_WAY * 3) as u64, "{} bytes were read ahead", blocks.bytes());
    }
}
