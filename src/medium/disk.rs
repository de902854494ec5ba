//! The model of a spinning disk: when a request that arrives at some time is done. Arithmetic alone; nobody waits here.
//!
//! One head over one surface, whose tracks follow one another without a gap. A request to the medium takes the seek to its track, the turn
//! to its first byte, and the time that its bytes take to pass. The head's angle follows from the time, so that what is asked for late
//! waits for its turn as it would on a disk. Around it is what every disk has had for decades: it goes on reading behind a read (look-ahead),
//! and takes writes into a cache, whence they reach the medium in the order of their places when it is idle, full or flushed.
//!
//! The seek curve has the form `a + b * sqrt(distance)` (Ruemmler and Wilkes, "An introduction to disk drive modeling", 1994), with `b` such
//! that the mean over random places is the average of the data sheet: the mean of the square root of the distance of two random places
//! is 8/15.

use std::collections::BTreeMap;

/// What the data sheet of a disk says. Times are nanoseconds, rates bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DataSheet {
    /// Name, for the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// One turn.
    pub revolution_ns: u64,
    /// From a track to the next.
    pub track_seek_ns: u64,
    /// Between two random places.
    pub average_seek_ns: u64,
    /// Of bytes below the head.
    pub rate: u64,
    /// Between disk and computer.
    pub interface_rate: u64,
    /// Of writes that have not reached the medium.
    pub cache_bytes: u64,
    /// How far it reads ahead.
    pub ahead_bytes: u64,
}

/// The disks that can be had. The numbers are round ones of the kind that data sheets have, of no maker's disk in particular.
pub const DISKS: [DataSheet; 2] = [
    DataSheet {
        name: "hdd-7200",
        about: "a desktop's or server's disk: 7200 turns a minute, 8.5 ms average seek, 160 MB/s",
        revolution_ns: 8_333_333,
        track_seek_ns: 800_000,
        average_seek_ns: 8_500_000,
        rate: 160_000_000,
        interface_rate: 600_000_000,
        cache_bytes: 32 << 20,
        ahead_bytes: 2 << 20,
    },
    DataSheet {
        name: "hdd-5400",
        about: "a laptop's disk: 5400 turns a minute, 12 ms average seek, 100 MB/s",
        revolution_ns: 11_111_111,
        track_seek_ns: 1_500_000,
        average_seek_ns: 12_000_000,
        rate: 100_000_000,
        interface_rate: 600_000_000,
        cache_bytes: 16 << 20,
        ahead_bytes: 2 << 20,
    },
];

/// Bytes that are written back without a look at what else there is to do.
const PIECE: u64 = 1 << 20;

const SECOND_NS: u128 = 1_000_000_000;

/// Nanoseconds that bytes take at a rate.
fn takes(bytes: u64, rate: u64) -> u64 {
    (u128::from(bytes) * SECOND_NS / u128::from(rate.max(1))) as u64
}

/// A read that goes on behind what was asked for.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    from: u64,
    /// The byte that passed below the head at `at_ns`.
    to: u64,
    at_ns: u64,
    /// The last byte, and one, that it gets to.
    limit: u64,
}

/// A disk that turns. All times are nanoseconds since its start, all places bytes.
#[derive(Debug)]
pub struct SpinningDisk {
    sheet: DataSheet,
    size: u64,
    /// Bytes of a track.
    track: u64,
    /// When the head is done with what it was told to do.
    head_free_ns: u64,
    /// When the last bytes between disk and computer have passed. Writes are taken into the cache while the head is busy.
    bus_free_ns: u64,
    /// Where the head is.
    head: u64,
    ahead: Option<Ahead>,
    /// Written, and not on the medium: first byte to the byte after the last one. No two of them touch.
    cached: BTreeMap<u64, u64>,
    cached_bytes: u64,
}

impl SpinningDisk {
    /// A disk of `size` bytes, whose head is at the first one.
    pub fn new(sheet: DataSheet, size: u64) -> SpinningDisk {
        let track = u128::from(sheet.rate) * u128::from(sheet.revolution_ns) / SECOND_NS;
        SpinningDisk {
            sheet,
            size: size.max(1),
            track: (track as u64).max(1),
            head_free_ns: 0,
            bus_free_ns: 0,
            head: 0,
            ahead: None,
            cached: BTreeMap::new(),
            cached_bytes: 0,
        }
    }

    /// When a read that arrives now is done.
    pub fn read(&mut self, now_ns: u64, place: u64, length: u64) -> u64 {
        self.idle_until(now_ns);
        let end = place.saturating_add(length);
        let is_cached = self.cached.range(..=place).next_back().is_some_and(|(_, cached_end)| end <= *cached_end);
        let there = match self.ahead {
            _ if is_cached => now_ns,
            Some(ahead) if place >= ahead.from && end <= ahead.limit => {
                // Who reads on makes the disk read on, unless it has stopped.
                if self.head_at(now_ns) < ahead.limit && ahead.limit > ahead.to {
                    let limit = ahead.limit.max(end.saturating_add(self.sheet.ahead_bytes).min(self.size));
                    self.ahead = Some(Ahead { limit, ..ahead });
                }
                ahead.at_ns + takes(end.saturating_sub(ahead.to), self.sheet.rate)
            }
            _ => {
                let done = self.pass(self.head_free_ns.max(now_ns), place, length);
                let limit = end.saturating_add(self.sheet.ahead_bytes).min(self.size);
                self.ahead = Some(Ahead { from: place, to: end, at_ns: done, limit });
                done
            }
        };
        self.hand_over(there.max(now_ns), length)
    }

    /// When a write that arrives now is accepted. It is on the medium after a [`flush`](SpinningDisk::flush).
    pub fn write(&mut self, now_ns: u64, place: u64, length: u64) -> u64 {
        self.idle_until(now_ns);
        let mut room_ns = now_ns;
        while self.cached_bytes.saturating_add(length) > self.sheet.cache_bytes && self.write_back() {
            room_ns = self.head_free_ns;
        }
        self.cache(place, length);
        self.head_free_ns = self.head_free_ns.max(now_ns);
        self.hand_over(room_ns, length)
    }

    /// When everything that was written is on the medium.
    pub fn flush(&mut self, now_ns: u64) -> u64 {
        self.idle_until(now_ns);
        while self.write_back() {}
        self.head_free_ns.max(self.bus_free_ns).max(now_ns)
    }

    /// When bytes that may pass between disk and computer from `from_ns` on have done so.
    fn hand_over(&mut self, from_ns: u64, length: u64) -> u64 {
        self.bus_free_ns = self.bus_free_ns.max(from_ns) + takes(length, self.sheet.interface_rate);
        self.bus_free_ns
    }

    /// What it did by itself up to now: an idle disk writes back. What it has begun it ends.
    fn idle_until(&mut self, now_ns: u64) {
        while self.head_free_ns < now_ns && self.write_back() {}
    }

    /// Writes the next cached piece back, in the order of places; false if there is none.
    fn write_back(&mut self) -> bool {
        let start = self.head_free_ns;
        let head = self.head_at(start);
        let next = self.cached.range(head..).next().or_else(|| self.cached.iter().next());
        let Some((&place, &end)) = next else { return false };
        let piece_end = end.min(place.saturating_add(PIECE));
        self.cached.remove(&place);
        if piece_end < end {
            self.cached.insert(piece_end, end);
        }
        self.cached_bytes -= piece_end - place;
        // What was read ahead up to here stays readable.
        self.ahead = self.ahead.map(|ahead| Ahead { to: head, at_ns: start, limit: head, ..ahead });
        self.pass(start, place, piece_end - place);
        true
    }

    /// Adds a write to the cached ones and joins it with those that it touches.
    fn cache(&mut self, place: u64, length: u64) {
        let (mut from, mut to) = (place, place.saturating_add(length));
        while let Some((&first, &end)) = self.cached.range(..=to).next_back().filter(|(_, end)| **end >= from) {
            self.cached.remove(&first);
            self.cached_bytes -= end - first;
            (from, to) = (from.min(first), to.max(end));
        }
        self.cached.insert(from, to);
        self.cached_bytes += to - from;
    }

    /// Where the head is at a time: behind the last request, or as far as it has read ahead since.
    fn head_at(&self, time_ns: u64) -> u64 {
        // A look-ahead that has ended is a buffer, and the head is elsewhere.
        let Some(ahead) = self.ahead.filter(|ahead| ahead.limit > ahead.to) else { return self.head };
        let read = u128::from(self.sheet.rate) * u128::from(time_ns.saturating_sub(ahead.at_ns)) / SECOND_NS;
        ahead.to.saturating_add(read as u64).min(ahead.limit)
    }

    /// When the last of some bytes has passed the head, which begins to move there at `start_ns`.
    fn pass(&mut self, start_ns: u64, place: u64, length: u64) -> u64 {
        let there = start_ns + self.seek(self.head_at(start_ns), place);
        let turn = self.sheet.revolution_ns;
        let angle = (u128::from(place % self.track) * u128::from(turn) / u128::from(self.track)) as u64;
        let wait = (angle + turn - there % turn) % turn;
        // What lies directly behind the last byte is reached without a wait: a rounding must not cost a turn.
        let wait = if wait + turn / 1000 >= turn { 0 } else { wait };
        self.head = place.saturating_add(length);
        self.head_free_ns = there + wait + takes(length, self.sheet.rate);
        self.head_free_ns
    }

    /// Nanoseconds between two places.
    fn seek(&self, from: u64, to: u64) -> u64 {
        let tracks = (from / self.track).abs_diff(to / self.track);
        if tracks == 0 {
            return 0;
        }
        let distance = (tracks * self.track) as f64 / self.size as f64;
        let slope = self.sheet.average_seek_ns.saturating_sub(self.sheet.track_seek_ns) as f64 / (8.0 / 15.0);
        self.sheet.track_seek_ns + (slope * distance.min(1.0).sqrt()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHEET: DataSheet = DISKS[0];
    const SIZE: u64 = 8 << 30;
    const MS: u64 = 1_000_000;

    #[test]
    fn random_reads_take_the_average_seek_and_half_a_turn() {
        let mut disk = SpinningDisk::new(SHEET, SIZE);
        // A linear congruential generator (Knuth's): the same places each time.
        let (mut state, mut now, mut total) = (1u64, 0, 0);
        const READS: u64 = 4000;
        for _ in 0..READS {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (state >> 20) % (SIZE / 4096) * 4096;
            let done = disk.read(now, place, 4096);
            total += done - now;
            now = done;
        }
        // 8.5 ms + 8.33 ms / 2 + 25.6 us = 12.69 ms; tracks make the shortest seeks a little longer.
        let mean = total as f64 / READS as f64 / MS as f64;
        assert!((mean - 12.7).abs() < 0.4, "{mean}");
    }

    #[test]
    fn a_sequential_read_runs_at_the_rate_of_the_medium_also_when_it_is_asked_for_in_pieces() {
        let mut disk = SpinningDisk::new(SHEET, SIZE);
        let mut now = disk.read(0, 1 << 30, 131_072);
        let start = now;
        for n in 1..=1000 {
            // The computer thinks for 20 us between two pieces.
            now = disk.read(now + 20_000, (1 << 30) + n * 131_072, 131_072);
        }
        let rate = 1000.0 * 131_072.0 / ((now - start) as f64 / 1e9);
        assert!((0.95..=1.01).contains(&(rate / SHEET.rate as f64)), "{rate}");
    }

    #[test]
    fn a_write_is_accepted_at_once_and_a_flush_waits_for_the_medium() {
        let mut disk = SpinningDisk::new(SHEET, SIZE);
        let accepted = disk.write(0, 4 << 30, 4096);
        assert_eq!(accepted, takes(4096, SHEET.interface_rate));
        let flushed = disk.flush(accepted);
        let seek = disk.seek(0, 4 << 30);
        assert!(flushed >= seek && flushed <= accepted + seek + SHEET.revolution_ns + takes(4096, SHEET.rate));
        assert_eq!(disk.flush(flushed + 1), flushed + 1, "nothing is left to flush");
        // The same place again a moment later: the turn, less the moment.
        let accepted = disk.write(flushed + 10, 4 << 30, 4096);
        let again = disk.flush(accepted);
        assert!((8 * MS..=SHEET.revolution_ns + MS / 10).contains(&(again - flushed)), "{}", again - flushed);
    }

    #[test]
    fn an_idle_disk_writes_back_and_a_read_waits_for_what_has_begun() {
        let mut disk = SpinningDisk::new(SHEET, SIZE);
        disk.write(0, 0, 4096);
        disk.write(0, 4 << 30, 4096);
        assert_eq!(disk.flush(1000 * MS), 1000 * MS, "written back long ago");
        let accepted = disk.write(2000 * MS, 0, 4096);
        let read = disk.read(accepted + 1, 4 << 30, 4096);
        assert!(read - accepted > disk.seek(0, 4 << 30), "the head went to 0 first, and came back");
        assert_eq!(disk.cached_bytes, 0);
    }

    #[test]
    fn a_stream_of_writes_runs_at_the_rate_of_the_medium() {
        let mut disk = SpinningDisk::new(SHEET, SIZE);
        let (mut now, pieces, piece) = (0, 2000, 131_072);
        for n in 0..pieces {
            // The computer thinks for 50 us between two pieces: the disk writes back meanwhile, and loses no turn by it.
            now = disk.write(now + 50_000, n * piece, piece);
        }
        let rate = (pieces * piece) as f64 / (disk.flush(now) as f64 / 1e9);
        assert!((0.95..=1.01).contains(&(rate / SHEET.rate as f64)), "{rate}");
    }

    #[test]
    fn cached_writes_are_joined_read_back_and_bounded() {
        let mut disk = SpinningDisk::new(SHEET, SIZE);
        for place in [8192, 0, 4096, 100_000, 2048] {
            disk.write(0, place, 4096);
        }
        assert_eq!(disk.cached, BTreeMap::from([(0, 12_288), (100_000, 104_096)]));
        assert_eq!(disk.cached_bytes, 12_288 + 4096);
        let now = disk.bus_free_ns;
        let mut disk = SpinningDisk { head_free_ns: 1000 * MS, ..disk };
        assert_eq!(disk.read(now, 4096, 4096), now + takes(4096, SHEET.interface_rate), "from the cache");
        let mut now = now;
        for n in 0..200 {
            now = disk.write(now, n * (40 << 20), 1 << 20);
            assert!(disk.cached_bytes <= SHEET.cache_bytes);
        }
        // 168 of them and more had to reach the medium, with a seek each.
        assert!(now > 168 * SHEET.track_seek_ns, "{now}");
    }

    #[test]
    fn the_extremes_of_places_lengths_and_sizes_are_no_panic() {
        for size in [0, 1, u64::MAX] {
            let mut disk = SpinningDisk::new(SHEET, size);
            for place in [0, 1, u64::MAX / 2, u64::MAX] {
                for length in [0, 1, 1 << 40] {
                    disk.read(0, place, length);
                    disk.write(0, place, length);
                }
            }
            disk.flush(u64::MAX >> 2);
        }
    }
}
