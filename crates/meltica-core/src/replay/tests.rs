use super::*;
use crate::codec::MAX_FRAME;

const MAX_LINE: usize = MAX_FRAME + MAX_TAGS;

/// A source that returns its bytes in small pieces.
struct Drip(Vec<u8>, usize);

impl Read for Drip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(self.0.len()).min(out.len());
        out[..n].copy_from_slice(&self.0[..n]);
        self.0.drain(..n);
        Ok(n)
    }
}

fn lines(files: &[&str], step: usize) -> Vec<String> {
    let sources = files.iter().map(|f| Box::new(Drip(f.as_bytes().to_vec(), step)) as Box<dyn Read + Send>);
    let mut merge = Merge::new(sources.collect(), MAX_FRAME);
    let mut out = Vec::new();
    while let Some((Place { file, .. }, line)) = merge.next_line().unwrap() {
        out.push(match line {
            Line::Frame(Recorded { time, connection, symbol, frame }) => {
                let time = time.map_or("-".into(), |time| time.to_string());
                let parts = [connection, symbol, frame].map(String::from_utf8_lossy);
                let parts = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
                format!("{file}:{time}:{}", parts.join("|"))
            }
            Line::Mark(time, connection, mark) => {
                let mark = match mark {
                    Mark::Open => "open".into(),
                    Mark::Lost(reason) => format!("lost for {}", String::from_utf8_lossy(reason)),
                };
                format!("{file}:{time}:{} {mark}", String::from_utf8_lossy(connection))
            }
            Line::Bad(line) => format!("{file}:bad:{}", String::from_utf8_lossy(line)),
            Line::TooLong(_) => format!("{file}:long"),
        });
    }
    out
}

#[test]
fn files_merge_by_time_then_file_then_line() {
    for step in [1, 3, 1000] {
        let merged = lines(&["1 a\n3 b\n3 c\n", "1 d\r\n2 e\n\n3 f"], step);
        assert_eq!(merged, ["0:1:a", "1:1:d", "1:2:e", "0:3:b", "0:3:c", "1:3:f"]);
    }
}

#[test]
fn a_stamp_has_one_to_nineteen_digits_and_fits() {
    let largest = Nanos::MAX.to_string();
    for (line, read) in [
        ("0 a", Some((0, 2))),
        ("0001 a", Some((1, 5))),
        ("7 ", Some((7, 2))),
        (&format!("{largest} a"), Some((Nanos::MAX, 20))),
        ("9223372036854775808 a", None),
        ("9999999999999999999 a", None),
        ("00000000000000000001 a", None),
        ("", None),
        (" 1 a", None),
        ("12", None),
        ("12\t", None),
        ("-1 a", None),
        ("1: a", None),
        ("1/ a", None),
    ] {
        let read = read.map(|(time, start)| (Some(time), start));
        assert_eq!(stamp(line.as_bytes()), read, "{line:?}");
    }
}

#[test]
fn times_in_seconds_have_a_fraction_and_a_colon() {
    for (line, read) in [
        ("1.5: a", Some((1_500_000_000, 5))),
        ("1719831600.123456789: a", Some((1_719_831_600_123_456_789, 22))),
        ("1719831600.1234567899: a", Some((1_719_831_600_123_456_789, 23))),
        ("0.000000001: a", Some((1, 13))),
        ("1.: a", None),
        ("1.5 a", None),
        ("1.5:a", None),
        ("1.5:", None),
        ("1.5", None),
        (".5: a", None),
        ("1.5e3: a", None),
        ("9223372037.0: a", None),
        ("9999999999999999999.0: a", None),
    ] {
        let read = read.map(|(time, start)| (Some(time), start));
        assert_eq!(stamp(line.as_bytes()), read, "{line:?}");
    }
}

#[test]
fn connections_symbols_and_marks_come_before_the_frame() {
    for (line, read) in [
        ("1 {\"a\": 1}", "0:1:{\"a\": 1}"),
        ("1 [1, {}]", "0:1:[1, {}]"),
        ("1 @2 {}", "0:1:2|{}"),
        ("1 BTC-USDT {}", "0:1:BTC-USDT|{}"),
        ("1 @linear-1 BTC/USDT []", "0:1:linear-1|BTC/USDT|[]"),
        ("1.5: @a {}", "0:1500000000:a|{}"),
        ("1 @a open", "0:1:a open"),
        ("1 @a lost", "0:1:a lost for "),
        ("1 @a lost ping timed out", "0:1:a lost for ping timed out"),
        ("1 pong", "0:1:pong"),
        ("1 @a pong", "0:1:a|pong"),
        ("1 @a openings", "0:1:a|openings"),
        ("1 @a open now", "0:1:a|open now"),
        ("1 open", "0:1:open"),
        ("1 text of words", "0:1:text of words"),
        ("1  {}", "0:1:{}"),
        ("1  @a  BTC-USDT  []", "0:1:a|BTC-USDT|[]"),
        ("1  BTC-USDT {}", "0:1:BTC-USDT|{}"),
        ("1 @a  open", "0:1:a open"),
        ("1 @", "0:bad:1 @"),
        ("1 @a", "0:bad:1 @a"),
        ("1 @a ", "0:bad:1 @a "),
        ("1 @ {}", "0:bad:1 @ {}"),
    ] {
        assert_eq!(lines(&[line], 1000), [read], "{line:?}");
    }
}

#[test]
fn a_file_without_times_has_frames_only() {
    assert_eq!(lines(&["{\"a\":1}\n[2]\n\n1 {}\nx\n"], 3), ["0:-:{\"a\":1}", "0:-:[2]", "0:-:1|{}", "0:-:x"]);
    assert_eq!(lines(&["1 a\n{}\n"], 3), ["0:1:a", "0:bad:{}"], "the first line decides");
}

#[test]
fn lines_of_another_form_keep_their_place() {
    let merged = lines(&["1 a\nnonsense\n99999999999999999999 x\n2 b\n"], 7);
    assert_eq!(merged, ["0:1:a", "0:bad:nonsense", "0:bad:99999999999999999999 x", "0:2:b"]);
}

#[test]
fn an_endless_line_is_one_bad_line() {
    let long = format!("1 {}\n2 b\n", "x".repeat(MAX_LINE + 3 * CHUNK));
    assert_eq!(lines(&[&long], usize::MAX), ["0:long", "0:2:b"]);
}

#[test]
fn the_longest_line_has_the_largest_frame() {
    for (max_frame, len) in [(100, 100), (3 * CHUNK, 3 * CHUNK), (3 * MAX_FRAME, 3 * MAX_FRAME)] {
        let file = format!("1 {}\n2 b\n3 {}\n4 d", "x".repeat(len), "x".repeat(len + MAX_TAGS));
        for step in [CHUNK, usize::MAX] {
            let source = Box::new(Drip(file.as_bytes().to_vec(), step)) as Box<dyn Read + Send>;
            let mut merge = Merge::new(vec![source], max_frame);
            let mut lens = Vec::new();
            while let Some((_, line)) = merge.next_line().unwrap() {
                lens.push(if let Line::Frame(recorded) = line { recorded.frame.len() } else { 0 });
            }
            assert_eq!(lens, [len, 1, 0, 1]);
        }
    }
}

#[test]
fn lines_are_numbered_as_an_editor_does() {
    let long = format!("1 a\n\n2 b\r\n3 {}\nbad\n5 c", "x".repeat(MAX_LINE + CHUNK));
    for step in [CHUNK / 3, CHUNK] {
        let source = Box::new(Drip(long.as_bytes().to_vec(), step)) as Box<dyn Read + Send>;
        let mut merge = Merge::new(vec![source], MAX_FRAME);
        let mut numbers = Vec::new();
        while let Some((place, _)) = merge.next_line().unwrap() {
            numbers.push(place.line);
        }
        assert_eq!(numbers, [1, 3, 4, 5, 6]);
    }
}

#[test]
fn stamps_of_another_unit_and_jumps_are_named() {
    let (now, day) = (1_700_000_000_000_000_000, 86_400_000_000_000);
    for last in [None, Some(now), Some(now - day), Some(now + day)] {
        assert_eq!(stamp_fault(now, last), None);
    }
    let back = stamp_fault(now, Some(now + day + 1));
    assert_eq!(back, Some(StampFault::Jump(-day - 1)));
    assert_eq!(back.unwrap().to_string(), "the receive time jumps back by 24.0 hours");
    assert_eq!(stamp_fault(now + day + 1, Some(now)), Some(StampFault::Jump(day + 1)));
    for (divisor, unit) in [(1_000, "microseconds"), (1_000_000, "milliseconds")] {
        assert_eq!(stamp_fault(now / divisor, Some(now)), Some(StampFault::Unit(now / divisor, unit)));
    }
    let seconds = now / 1_000_000_000;
    assert_eq!(stamp_fault(seconds, None), Some(StampFault::Unit(seconds, "seconds")));
    assert_eq!(stamp_fault(seconds, Some(seconds - 1)), None, "1.7 s by a clock that began at 0");
    assert_eq!(stamp_fault(Nanos::MAX, Some(Nanos::MIN)), Some(StampFault::Jump(Nanos::MAX)));
}
